"""Builds ``report.json`` from the scores of each photograph."""

from __future__ import annotations

import json
import math
import os
import platform
import statistics
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib import metadata
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

import colorcli
from colorcli.evaluate.engine import EvaluationOptions, Outcome
from colorcli.evaluate.metrics import Metric
from colorcli.evaluate.protocols import Protocol
from colorcli.evaluate.scoring import GRAY, ORIGINAL, ImageScores
from colorcli.evaluate.statistics import CONFIDENCE, LEAST_FOR_VERDICT, RESAMPLINGS, Bootstrap, Summary, interval
from colorcli.report.records import VERSION, Extremes, ImageRecord, ModelRecord, PairedRecord, Report, Score

FID_LEAST = 2048
"""With fewer pictures than features the covariance is singular, and FID depends on their number more than on them."""

_EXTREMES = 8
_NONE: Score = {"mean": None, "median": None, "low": None, "high": None}
_LIBRARIES = (
    "numpy",
    "numba",
    "torch",
    "torchvision",
    "onnxruntime",
    "onnxruntime-gpu",
    "pillow",
    "imagecodecs",
    "scikit-image",
)

Numbers = NDArray[np.float64]


def build(
    outcome: Outcome,
    metrics: Sequence[Metric],
    protocol: Protocol,
    models: Sequence[ModelRecord],
    *,
    roots: Sequence[str],
    options: EvaluationOptions,
    command: Sequence[str],
    device: str,
    metric_networks: Mapping[str, str],
    left: int = 0,
) -> Report:
    """The report of a finished evaluation.

    Args:
        outcome: the scores.
        metrics: that were measured.
        protocol: of the evaluation.
        models: the models' rows, without gray and the original.
        roots: folders and files of the photographs.
        options: of the evaluation.
        command: the command line.
        device: that the networks ran on.
        metric_networks: SHA-256 of each metric network's weights, by name.
        left: number of photographs left unscored by an early stop.
    """
    rows: list[ModelRecord] = [{"name": GRAY}, *models, {"name": ORIGINAL}]
    names = [row["name"] for row in rows]
    table = _Table(outcome.images, metrics, names)
    summary = table.summary()
    return {
        "version": VERSION,
        "title": f"{', '.join(names[1:-1]) or GRAY} on {len(outcome.images)} photographs, {protocol.id}",
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "protocol": protocol.record(),
        "options": {
            "seed": options.seed,
            "seeds": options.seeds,
            "samples": options.samples,
            "classes": options.classes,
        },
        "intervals": {"confidence": CONFIDENCE, "resamplings": RESAMPLINGS, "method": "percentile bootstrap"},
        "software": _software(),
        "command": list(command),
        "machine": {"platform": platform.platform(), "cpus": os.cpu_count(), "device": device},
        "data": {"roots": list(roots), "images": len(outcome.images), "failed": len(outcome.failures), "left": left},
        "models": rows,
        "metrics": [metric.record() for metric in metrics],
        "metric_networks": dict(metric_networks),
        "summary": summary,
        "paired": table.paired(),
        "extremes": table.extremes(),
        "notes": [*_stopped(left), *_notes(outcome.images, metrics, summary)],
        "images": [_image_record(image, metrics, names) for image in outcome.images],
        "failures": [{"name": name, "reason": reason} for name, reason in outcome.failures],
    }


def to_json(report: Report) -> bytes:
    """The report as ASCII JSON, so that names that are not UTF-8 survive."""
    return json.dumps(report, ensure_ascii=True, allow_nan=False, indent=1).encode("ascii") + b"\n"


class _Table:
    """All scores as arrays, by model and metric."""

    def __init__(self, images: Sequence[ImageScores], metrics: Sequence[Metric], names: Sequence[str]) -> None:
        self._images, self._metrics, self._names = images, metrics, names
        self._bootstrap = Bootstrap(len(images)) if images else None
        self._weights = np.array([image.weight for image in images])

    def _values(self, name: str, metric: Metric) -> Numbers:
        """One mean over seeds for each photograph."""
        return np.array([_mean(image.values[name][metric.id]) for image in self._images])

    def _of(self, metric: Metric) -> Numbers | None:
        return self._weights if metric.weighted else None

    def summary(self) -> dict[str, dict[str, Score]]:
        """Mean, median and interval by model and metric, with the spread over seeds where there are several."""
        return {name: {metric.id: self._summary(name, metric) for metric in self._metrics} for name in self._names}

    def _summary(self, name: str, metric: Metric) -> Score:
        if self._bootstrap is None:
            return _NONE
        if metric.id == "fid":
            return {**_NONE, "mean": self._fid(name)}
        values = self._values(name, metric)
        if metric.id == "delta-colorfulness-mean":
            return self._of_means(values)
        summary = self._bootstrap.summary(values, self._of(metric))
        if summary is None:
            infinite = int(np.isinf(values).sum())
            return {**_NONE, "infinite": infinite} if infinite else _NONE
        found = _score(summary)
        seeds = max(len(image.values[name][metric.id]) for image in self._images)
        if seeds > 1:
            found["sd_over_seeds"] = statistics.stdev(self._seed_mean(name, metric, seed) for seed in range(seeds))
        return found

    def _seed_mean(self, name: str, metric: Metric, seed: int) -> float:
        values = np.array([image.values[name][metric.id][seed] for image in self._images])
        used = np.isfinite(values)
        return float(np.average(values[used], weights=self._weights[used] if metric.weighted else None))

    def _of_means(self, differences: Numbers) -> Score:
        """|mean of the differences| = |difference of the means|; the interval comes from resampled means."""
        if self._bootstrap is None or not np.isfinite(differences).any():
            return _NONE
        low, high = interval(np.abs(self._bootstrap.means(differences, np.ones(len(differences)))))
        return {**_NONE, "mean": abs(float(differences.mean())), "low": low, "high": high}

    def _fid(self, name: str) -> float | None:
        """FID of the first seed's images. Resampling would bias it, so it has no interval."""
        from colorcli.evaluate.perceptual import frechet_distance

        if name == ORIGINAL or len(self._images) < 2:
            return None
        original = np.concatenate([image.features[ORIGINAL] for image in self._images])
        made = np.concatenate([image.features[name][:1] for image in self._images])
        return frechet_distance(made.astype(np.float64), original.astype(np.float64))

    def paired(self) -> list[PairedRecord]:
        """Differences between all pairs of rows, by metrics for which higher or lower is better."""
        found: list[PairedRecord] = []
        rows = [name for name in self._names if name != ORIGINAL]
        for metric in self._metrics:
            if not metric.per_image or metric.better == "none" or self._bootstrap is None:
                continue
            for b, a in combinations(rows, 2):
                difference = self._bootstrap.difference(
                    self._values(a, metric), self._values(b, metric), metric.better, self._of(metric)
                )
                if difference is not None:
                    found.append(
                        {
                            "metric": metric.id,
                            "a": a,
                            "b": b,
                            "difference": difference.difference,
                            "low": difference.low,
                            "high": difference.high,
                            "verdict": difference.verdict,
                        }
                    )
        return found

    def extremes(self) -> dict[str, dict[str, Extremes]]:
        """Names of the best and worst photographs by metric and model, most extreme first."""
        found: dict[str, dict[str, Extremes]] = {}
        for metric in self._metrics:
            if not metric.per_image or metric.better == "none":
                continue
            for name in self._names:
                values = self._values(name, metric)
                usable = [index for index in np.argsort(values, kind="stable") if not math.isnan(values[index])]
                if name == ORIGINAL or not usable:
                    continue
                ordered = [self._images[index].name for index in usable]
                ordered = ordered if metric.better == "lower" else ordered[::-1]
                count = min(_EXTREMES, len(ordered))
                found.setdefault(metric.id, {})[name] = {"best": ordered[:count], "worst": ordered[::-1][:count]}
        return found


def _image_record(image: ImageScores, metrics: Sequence[Metric], names: Sequence[str]) -> ImageRecord:
    ids = [metric.id for metric in metrics if metric.per_image]
    return {
        "name": image.name,
        "sha256": image.sha256,
        "width": image.width,
        "height": image.height,
        "values": {name: {key: _finite(_mean(image.values[name][key])) for key in ids} for name in names},
    }


def _notes(
    images: Sequence[ImageScores], metrics: Sequence[Metric], summary: Mapping[str, Mapping[str, Score]]
) -> list[str]:
    notes = []
    if any(metric.id == "fid" for metric in metrics) and len(images) < FID_LEAST:
        notes.append(
            f"FID is of {len(images)} photographs, fewer than {FID_LEAST:,}: it is biased upwards and cannot be "
            f"compared with any other number."
        )
    for name, of_model in summary.items():
        notes += [
            f"{metric.label} of {name} is infinite for {of_model[metric.id]['infinite']} of {len(images)} photographs, "
            "which its mean and differences leave out."
            for metric in metrics
            if of_model[metric.id].get("infinite")
        ]
    if 0 < len(images) < 30:
        notes.append(
            f"Intervals of {len(images)} photographs are rough"
            + ("; with so few, nothing is called better." if len(images) < LEAST_FOR_VERDICT else ".")
        )
    return notes


def _stopped(left: int) -> list[str]:
    return [f"Stopped before the end: {left} photographs are left out: do not publish these numbers."] if left else []


def _mean(values: Sequence[float]) -> float:
    return values[0] if len(values) == 1 else sum(values) / len(values)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _score(summary: Summary) -> Score:
    score: Score = {"mean": summary.mean, "median": summary.median, "low": summary.low, "high": summary.high}
    return {**score, "infinite": summary.infinite} if summary.infinite else score


def _software() -> dict[str, str]:
    versions = {"colorcli": colorcli.__version__, "python": platform.python_version()}
    for library in _LIBRARIES:
        try:
            versions[library] = metadata.version(library)
        except metadata.PackageNotFoundError:
            continue
    return versions
