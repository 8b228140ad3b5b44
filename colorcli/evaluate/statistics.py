"""Means with intervals, and differences that are named only where they are significant.

Intervals are percentile bootstraps (Efron 1979) over images: 95 %, 2,000 resamplings from a fixed seed, the same
resamplings for every model and metric, so that a run repeats and paired differences are paired.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from colorcli.evaluate.metrics import Better

RESAMPLINGS = 2000
CONFIDENCE = 0.95
LEAST_FOR_VERDICT = 10
"""With fewer images a percentile interval is too narrow to conclude anything from."""
LEAST_SEEDS = 3
"""With fewer trainings, nothing is known about the effect of the seed: there is no verdict."""
_CHUNK = 1 << 22
# Two-sided 95 % quantiles of Student's t by degrees of freedom; the last serves for more, being slightly wider.
_STUDENT = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)

Values = NDArray[np.float64]
Verdict = Literal["better", "worse", "no difference shown", "too few photographs"]


@dataclass(frozen=True)
class Summary:
    """Mean and median over images, and the mean's interval; ``infinite`` images were left out."""

    mean: float
    median: float
    low: float
    high: float
    infinite: int = 0


@dataclass(frozen=True)
class Difference:
    """Mean of a - b over images that have both, its interval, and the verdict on a."""

    difference: float
    low: float
    high: float
    verdict: Verdict


@dataclass(frozen=True)
class Conclusion:
    """The verdict of several trainings on a paper's claim that a number rises or falls.

    Attributes:
        mean: of the differences.
        low: lower end of their 95 % interval over seeds (Student's t); NaN for fewer than two seeds, as ``high``.
        high: upper end.
        verdict: ``reproduced`` or ``not reproduced`` where the interval over photographs of every seed and that over
            seeds lie on one side of zero, else ``inconclusive``; ``one run`` or ``N runs`` where fewer than three seeds
            were trained, which allow no verdict.
    """

    mean: float
    low: float
    high: float
    verdict: str


def conclude(differences: Sequence[tuple[float, float, float]], expected: Literal["higher", "lower"]) -> Conclusion:
    """Test a claim against the differences of trainings with several seeds.

    Args:
        differences: for each seed the mean over photographs and both ends of its interval.
        expected: the direction that the paper claims.

    Raises:
        ValueError: there is no difference.
    """
    means = [mean for mean, _, _ in differences]
    middle, count = statistics.fmean(means), len(means)
    if count < 2:
        return Conclusion(middle, math.nan, math.nan, "one run")
    reach = _STUDENT[min(count - 1, len(_STUDENT)) - 1] * statistics.stdev(means) / math.sqrt(count)
    low, high = middle - reach, middle + reach
    if count < LEAST_SEEDS:
        return Conclusion(middle, low, high, f"{count} runs")
    lows, highs = [low, *(low for _, low, _ in differences)], [high, *(high for _, _, high in differences)]
    above, below = min(lows) > 0, max(highs) < 0
    if not (above or below):
        return Conclusion(middle, low, high, "inconclusive")
    return Conclusion(middle, low, high, "reproduced" if above == (expected == "higher") else "not reproduced")


class Bootstrap:
    """Resamplings of ``count`` images."""

    def __init__(self, count: int, resamplings: int = RESAMPLINGS, seed: int = 0) -> None:
        rng = np.random.Generator(np.random.Philox(key=seed))
        # How often each image is drawn. With more than 255 images, none is drawn more than 255 times.
        self._times = np.empty((resamplings, count), np.uint8)
        for times in self._times:
            times[:] = np.bincount(rng.integers(0, count, count), minlength=count)

    def means(self, values: Values, weights: Values) -> Values:
        """Weighted mean of each resampling; empty resamplings are dropped."""
        both = np.stack([np.where(weights > 0, values, 0) * weights, weights], axis=1)
        step = max(1, _CHUNK // max(1, len(values)))
        parts = [self._times[start : start + step] @ both for start in range(0, len(self._times), step)]
        sums, totals = np.concatenate(parts).T
        return np.asarray(sums[totals > 0] / totals[totals > 0])

    def summary(self, values: Values, weights: Values | None = None) -> Summary | None:
        """Summarize values ``(N,)``, NaN where an image has none; None if no value is finite."""
        weights = _usable(values, weights)
        if not weights.any():
            return None
        used = weights > 0
        mean = float((values[used] * weights[used]).sum() / weights.sum())
        low, high = interval(self.means(values, weights))
        return Summary(mean, float(np.median(values[used])), low, high, int(np.isinf(values).sum()))

    def difference(self, a: Values, b: Values, better: Better, weights: Values | None = None) -> Difference | None:
        """Compare two models' values for the same images; None if no image has both."""
        with np.errstate(invalid="ignore"):
            gap = a - b
        weights = _usable(gap, weights)
        if not weights.any():
            return None
        used = weights > 0
        mean = float((gap[used] * weights[used]).sum() / weights.sum())
        low, high = interval(self.means(gap, weights))
        verdict: Verdict = "no difference shown"
        if used.sum() < LEAST_FOR_VERDICT:
            verdict = "too few photographs"
        elif better != "none" and (low > 0 or high < 0):
            verdict = "better" if (mean > 0) == (better == "higher") else "worse"
        return Difference(mean, low, high, verdict)


def interval(means: Values) -> tuple[float, float]:
    """The central 95 % of resampled means."""
    tail = 100 * (1 - CONFIDENCE) / 2
    low, high = np.percentile(means, (tail, 100 - tail))
    return float(low), float(high)


def _usable(values: Values, weights: Values | None) -> Values:
    return np.where(np.isfinite(values), 1.0 if weights is None else weights, 0.0)
