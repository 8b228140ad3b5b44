"""The table of a sweep: results for each seed, confidence intervals, and the verdict on each claim."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from colorcli.evaluate.metrics import Metric, choose
from colorcli.evaluate.scoring import GRAY
from colorcli.evaluate.statistics import Bootstrap, Conclusion, conclude
from colorcli.report.records import Report
from colorcli.sweep.plan import Claim, Sweep

_ABSENT = "–"


@dataclass(frozen=True)
class Results:
    """The results of a sweep so far.

    Attributes:
        sweep: the sweep.
        scores: ``evaluate`` reports of the finished runs, by variant and seed.
        failures: why runs diverged, by run folder.
        command: the command line that repeats the sweep.
    """

    sweep: Sweep
    scores: Mapping[tuple[str, int], Report]
    failures: Mapping[str, str]
    command: tuple[str, ...]

    @property
    def seeds(self) -> list[int]:
        """The seeds, in running order."""
        return list(dict.fromkeys(training.seed for training in self.sweep.trainings))

    @property
    def metrics(self) -> list[Metric]:
        """The metrics of the sweep."""
        names = dict.fromkeys(name.split("@")[0] for name in self.sweep.metrics)
        return choose(tuple(names), self.sweep.protocol.sigmas)

    def mean(self, variant: str, seed: int, metric: str) -> float | None:
        """The metric's mean over photographs for one run; None if the run has no report."""
        found = self.scores.get((variant, seed))
        if found is None:
            return None
        return found["summary"][found["models"][1]["name"]][metric]["mean"]

    def gray(self, metric: str) -> float | None:
        """The metric's mean for uncoloured photographs; None without reports."""
        return next((found["summary"][GRAY][metric]["mean"] for found in self.scores.values()), None)

    def differences(self, claim: Claim) -> dict[int, tuple[float, float, float]]:
        """The mean difference over the photographs common to both runs, with its 95 % interval, by seed."""
        found = {}
        for seed in self.seeds:
            pair = [self._values(name, seed, claim.metric) for name in (claim.variant, claim.against)]
            common = sorted(set(pair[0]) & set(pair[1]))
            a, b = (np.array([values[name] for name in common], np.float64) for values in pair)
            metric = next(metric for metric in self.metrics if metric.id == claim.metric)
            gap = Bootstrap(len(common)).difference(a, b, metric.better) if common else None
            if gap is not None:
                found[seed] = (gap.difference, gap.low, gap.high)
        return found

    def _values(self, variant: str, seed: int, metric: str) -> dict[str, float]:
        report = self.scores.get((variant, seed))
        if report is None:
            return {}
        model = report["models"][1]["name"]
        values = {image["name"]: image["values"][model].get(metric) for image in report["images"]}
        return {name: math.nan if value is None else value for name, value in values.items()}

    def record(self) -> dict[str, Any]:
        """All numbers of the table, as plain data."""
        claims = []
        for claim in self.sweep.claims:
            differences = self.differences(claim)
            conclusion = conclude([*differences.values()], claim.expected) if differences else None
            claims.append({**vars(claim), "differences": differences, **_of(conclusion)})
        return {
            "title": self.sweep.name,
            "command": " ".join(self.command),
            "protocol": self.sweep.protocol.id,
            "photographs": next((found["data"]["images"] for found in self.scores.values()), 0),
            "seeds": self.seeds,
            "gray": {metric.id: self.gray(metric.id) for metric in self.metrics},
            "variants": {
                variant: {m.id: [self.mean(variant, seed, m.id) for seed in self.seeds] for m in self.metrics}
                for variant in self.sweep.variants
            },
            "claims": claims,
            "failures": dict(self.failures),
            "notes": list(dict.fromkeys(note for found in self.scores.values() for note in found["notes"])),
        }


def to_markdown(results: Results, figures: Sequence[str] = ()) -> str:
    """The table, the claims and the figures, as Markdown."""
    record, metrics = results.record(), results.metrics
    heads = ["", *(metric.label + (f", {metric.unit}" if metric.unit else "") for metric in metrics)]
    rows = [["gray", *(_number(record["gray"][metric.id], metric) for metric in metrics)]]
    for variant, numbers in record["variants"].items():
        rows.append([variant, *(_numbers(numbers[metric.id], metric) for metric in metrics)])
    parts = [f"# {record['title']}", _table(heads, rows), _caption(record)]
    if record["claims"]:
        labels = {metric.id: metric for metric in metrics}
        lines = [_claim(entry, labels[entry["metric"]]) for entry in record["claims"]]
        heads = ["claim", "difference for each seed, 95 % over photographs", "over seeds, 95 %", "verdict"]
        parts.append(_table(heads, lines))
    parts += [f"{name}: {reason}" for name, reason in record["failures"].items()]
    parts += record["notes"]
    parts += [f"![{name}]({name}.png)" for name in figures]
    return "\n\n".join(parts) + "\n"


def _claim(entry: Mapping[str, Any], metric: Metric) -> list[str]:
    def shown(*numbers: float) -> str:
        middle, low, high = (f"{number:+.{metric.decimals + 1}f}" for number in numbers)
        return f"{middle} [{low}, {high}]"

    each = "; ".join(shown(*numbers) for numbers in entry["differences"].values())
    over = _ABSENT if entry["low"] is None else shown(entry["mean"], entry["low"], entry["high"])
    verdict = entry["verdict"]
    return [entry["text"], each or _ABSENT, over, f"{verdict}, no verdict" if "run" in verdict else verdict]


def _of(conclusion: Conclusion | None) -> dict[str, Any]:
    if conclusion is None:
        return {"mean": None, "low": None, "high": None, "verdict": "no run"}
    return {key: None if isinstance(v, float) and math.isnan(v) else v for key, v in vars(conclusion).items()}


def _caption(record: Mapping[str, Any]) -> str:
    seeds = ", ".join(map(str, record["seeds"]))
    again = f"; again by `{record['command']}`" if record["command"] else ""
    return (
        f"{record['photographs']} photographs; protocol {record['protocol']}; seeds {seeds}, a number for each{again}"
    )


def _numbers(values: Sequence[float | None], metric: Metric) -> str:
    return "; ".join(_number(value, metric) for value in values)


def _number(value: float | None, metric: Metric) -> str:
    return _ABSENT if value is None else f"{value:.{metric.decimals}f}"


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, ["---", *["---:"] * (len(heads) - 1)], *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)
