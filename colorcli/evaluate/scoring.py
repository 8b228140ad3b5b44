"""Scores one photograph: joins its colourings, compares them with the original, keeps them."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from colorcli.color.vividness import NEUTRAL
from colorcli.evaluate.coloring import Answer, Take
from colorcli.evaluate.diversity import diversity, segments
from colorcli.evaluate.metrics import LPIPS, Metric, Picture, Scene
from colorcli.evaluate.prepare import ProtocolImage, Rgb8, to_rgb8
from colorcli.images.resize import width_first
from colorcli.pipeline.coloring import Join

if TYPE_CHECKING:
    from colorcli.evaluate.perceptual import Perceptual

GRAY = "gray"
ORIGINAL = "original"

Values = dict[str, dict[str, list[float]]]


class Keep(Protocol):
    """Takes a scored image, for the gallery."""

    def __call__(self, name: str, model: str, rgb: Rgb8) -> None: ...


@dataclass
class ImageScores:
    """One photograph's numbers.

    Attributes:
        name: of the photograph.
        sha256: of its file.
        width: of the compared images, in pixels; ``height`` likewise.
        values: by model and metric, one for each seed; NaN where there is none.
        weight: of the photograph in weighted metrics.
        features: for FID, of each model's images ``(seeds, 2048)``.
        seconds: by stage.
    """

    name: str
    sha256: str
    width: int
    height: int
    values: Values = field(default_factory=dict)
    weight: float = 1.0
    features: dict[str, NDArray[np.float32]] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)


class Scorer:
    """Scores photographs; may be used by several threads.

    Args:
        metrics: to measure.
        perceptual: the metric networks that they need.
        pairs_as: name of the other tool whose colourings are scored, or None.
        keep: takes each image.
        strength: factor on chroma; ``vividness`` as in ``color.vividness``.
    """

    def __init__(
        self,
        metrics: Sequence[Metric],
        perceptual: Perceptual | None = None,
        pairs_as: str | None = None,
        keep: Keep | None = None,
        *,
        strength: float = 1.0,
        vividness: float = NEUTRAL,
    ) -> None:
        self._metrics = metrics
        self._ids = {metric.id for metric in metrics}
        self._perceptual = perceptual
        self._pairs_as = pairs_as
        self._keep = keep
        self._strength, self._vividness = strength, vividness

    def score(self, prepared: ProtocolImage, answers: Mapping[Take, Answer]) -> ImageScores:
        """Score one photograph, given the networks' answers."""
        start = time.perf_counter()
        scene = Scene(Picture(prepared.original), Picture(to_rgb8(prepared.gray)))
        rows: dict[str, list[Picture]] = {GRAY: [scene.gray]}
        if prepared.other is not None and self._pairs_as is not None:
            rows[self._pairs_as] = [Picture(prepared.other)]
        seconds: dict[str, list[float]] = {}
        errors: dict[str, list[float]] = {}
        samples: dict[tuple[str, str], list[Picture]] = {}
        for take, answer in answers.items():
            joining = time.perf_counter()
            picture = self._picture(prepared, answer)
            if take.spread:
                samples.setdefault((take.model, take.spread), []).append(picture)
                continue
            rows.setdefault(take.model, []).append(picture)
            seconds.setdefault(take.model, []).append(answer.seconds + time.perf_counter() - joining)
            errors.setdefault(take.model, []).append(answer.error)
        values = {model: self._compared(pictures, scene) for model, pictures in rows.items()}
        values[ORIGINAL] = {m.id: [m.measure(scene.original, scene)] for m in self._metrics if m.alone and m.measure}
        for model, spent in seconds.items():
            values[model].update({"seconds": spent, "native-mse": errors[model]})
        self._add_lpips(values, rows, scene)
        self._add_diversity(values, samples, scene)
        scores = ImageScores(
            prepared.name,
            prepared.sha256,
            int(prepared.original.shape[1]),
            int(prepared.original.shape[0]),
            {model: self._asked_for(found, len(rows.get(model, [0]))) for model, found in values.items()},
        )
        if any(metric.weighted for metric in self._metrics):
            scores.weight = float(scene.rarity.sum())
        if self._perceptual is not None and "fid" in self._ids:
            scores.features = _features(self._perceptual, rows, scene)
        if self._keep is not None:
            self._keep(prepared.name, ORIGINAL, prepared.original)
            for model, pictures in rows.items():
                self._keep(prepared.name, model, pictures[0].rgb)
        scores.seconds = {"decode": prepared.seconds, "encode": time.perf_counter() - start}
        if answers:
            scores.seconds["network"] = sum(answer.seconds for answer in answers.values())
        return scores

    def _compared(self, pictures: Sequence[Picture], scene: Scene) -> dict[str, list[float]]:
        values = {m.id: [m.measure(picture, scene) for picture in pictures] for m in self._metrics if m.measure}
        if "delta-colorfulness-mean" in self._ids:
            # per image; means follow when all images are done
            values["delta-colorfulness-mean"] = [p.colorfulness - scene.original.colorfulness for p in pictures]
        return values

    def _add_lpips(self, values: Values, rows: Mapping[str, Sequence[Picture]], scene: Scene) -> None:
        for name in sorted(self._ids & set(LPIPS)):
            assert self._perceptual is not None
            flat = [(model, picture) for model, pictures in rows.items() for picture in pictures]
            distances = self._perceptual.lpips(name, [picture.rgb for _, picture in flat], scene.original.rgb)
            for (model, _), distance in zip(flat, distances, strict=True):
                values[model].setdefault(name, []).append(distance)

    def _add_diversity(self, values: Values, samples: Mapping[tuple[str, str], list[Picture]], scene: Scene) -> None:
        regions = segments(scene.gray.lab[0]) if samples else None
        for (model, over), pictures in samples.items():
            for name in sorted({f"diversity@{over}", f"diversity-lpips@{over}", f"diversity-{over}"} & self._ids):
                if name.startswith("diversity-lpips"):
                    assert self._perceptual is not None
                    value = self._perceptual.mean_pairwise_lpips("lpips-alex", [picture.rgb for picture in pictures])
                else:
                    assert regions is not None
                    value = diversity([picture.lab[1:] for picture in pictures], regions)
                values[model][name] = [value]

    def _asked_for(self, found: Mapping[str, list[float]], count: int) -> dict[str, list[float]]:
        return {metric.id: found.get(metric.id, [math.nan] * count) for metric in self._metrics}

    def _picture(self, prepared: ProtocolImage, answer: Answer) -> Picture:
        """The image that ``colorize`` makes, or with ``native`` the network's own."""
        if answer.rgb is None:
            joined = Join(
                prepared.gray,
                answer.chroma,
                strength=self._strength,
                vividness=self._vividness,
                measured=True,
                enlarge=answer.enlarge,
            )
            return Picture(np.asarray(joined.picture(), np.uint8))
        height, width = prepared.gray.shape
        if answer.rgb.shape[:2] == (height, width):
            return Picture(answer.rgb)
        return Picture(np.asarray(width_first(Image.fromarray(answer.rgb), width, height, Image.Resampling.BICUBIC)))


def _features(
    perceptual: Perceptual, rows: Mapping[str, Sequence[Picture]], scene: Scene
) -> dict[str, NDArray[np.float32]]:
    flat = [(model, picture.rgb) for model, pictures in rows.items() for picture in pictures]
    found = perceptual.inception([scene.original.rgb, *(rgb for _, rgb in flat)]).astype(np.float32)
    features = {ORIGINAL: found[:1]}
    for model in rows:
        features[model] = found[1:][[owner == model for owner, _ in flat]]
    return features
