"""A report only says "better" when the photographs show it."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats

from colorcli.evaluate.statistics import Bootstrap, conclude

RNG = np.random.default_rng(0)
NOISE = RNG.normal(0, 1, 200)


def test_the_interval_is_that_of_the_mean() -> None:
    """For normal values it is the mean +- 1.96 standard errors."""
    summary = Bootstrap(200).summary(NOISE + 5)
    assert summary is not None
    assert summary.mean == pytest.approx((NOISE + 5).mean())
    assert summary.median == pytest.approx(np.median(NOISE + 5))
    error = 1.96 * NOISE.std() / np.sqrt(200)
    assert (summary.low, summary.high) == pytest.approx((summary.mean - error, summary.mean + error), abs=0.02)


def test_it_repeats_to_the_last_digit() -> None:
    assert Bootstrap(200).summary(NOISE) == Bootstrap(200).summary(NOISE)


def test_pairing_shows_what_two_intervals_would_hide() -> None:
    """Scores differ far more between photographs than between models."""
    hard = 20 * NOISE
    a, b, bootstrap = hard + 0.3 + 0.1 * RNG.normal(size=200), hard, Bootstrap(200)
    first, second = bootstrap.summary(a), bootstrap.summary(b)
    assert first is not None and second is not None and first.low < second.high
    difference = bootstrap.difference(a, b, "higher")
    assert difference is not None
    assert difference.verdict == "better"
    assert difference.difference == pytest.approx(0.3, abs=0.05)
    assert bootstrap.difference(a, b, "lower").verdict == "worse"


def test_no_difference_is_claimed_without_evidence() -> None:
    """Noise, five photographs, and metrics of which neither direction is better are no evidence."""
    noise, larger = NOISE - NOISE.mean(), np.ones(200)
    found = [
        Bootstrap(200).difference(noise, np.zeros(200), "higher"),
        Bootstrap(5).difference(larger[:5], np.zeros(5), "higher"),
        Bootstrap(200).difference(larger, np.zeros(200), "none"),
    ]
    unshown = "no difference shown"
    assert [each.verdict for each in found if each] == [unshown, "too few photographs", unshown]


def test_images_without_a_value_are_left_out_and_infinite_ones_counted() -> None:
    values = np.array([1.0, 2.0, np.nan, np.inf])
    summary = Bootstrap(4).summary(values)
    assert summary is not None
    assert (summary.mean, summary.infinite) == (1.5, 1)
    assert Bootstrap(2).summary(np.full(2, np.nan)) is None
    assert Bootstrap(2).difference(np.full(2, np.inf), np.full(2, np.inf), "higher") is None


def test_weights_count() -> None:
    summary = Bootstrap(3).summary(np.array([0.0, 1.0, 1.0]), np.array([2.0, 1.0, 1.0]))
    assert summary is not None
    assert summary.mean == 0.5
    assert 0 <= summary.low <= summary.high <= 1


@pytest.mark.parametrize(
    ("differences", "verdict"),
    [
        ([(0.1, 0.05, 0.15)], "one run"),
        ([(0.1, 0.05, 0.15), (0.11, 0.06, 0.16)], "2 runs"),
        ([(0.10, 0.05, 0.16), (0.09, 0.03, 0.14), (0.11, 0.05, 0.17)], "reproduced"),
        ([(-0.10, -0.16, -0.05), (-0.09, -0.14, -0.03), (-0.11, -0.17, -0.05)], "not reproduced"),
        # One seed's photographs do not show the difference.
        ([(0.10, 0.05, 0.16), (0.09, 0.03, 0.14), (0.11, -0.05, 0.27)], "inconclusive"),
        # Each seed's photographs show it, but the seeds differ so much that another seed might show the opposite.
        ([(0.1, 0.05, 0.15), (0.7, 0.6, 0.8), (0.1, 0.05, 0.15)], "inconclusive"),
    ],
)
def test_a_verdict_takes_three_seeds_and_the_photographs_of_each(
    differences: list[tuple[float, float, float]], verdict: str
) -> None:
    """A result from one training run may hold for that run only."""
    assert conclude(differences, "higher").verdict == verdict


def test_intervals_over_seeds_are_students() -> None:
    means = np.array([0.62, 0.16, -0.24, 0.3])
    low, high = scipy.stats.t.interval(0.95, 3, means.mean(), scipy.stats.sem(means))
    found = conclude([(mean, mean, mean) for mean in means], "higher")
    assert (found.low, found.high) == pytest.approx((low, high), rel=1e-3)
