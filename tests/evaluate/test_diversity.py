"""Diversity means different colours for different objects, not another tint over the whole image."""

from __future__ import annotations

import numpy as np
import pytest
from skimage import data

from colorcli.evaluate.diversity import diversity, segments


def regions() -> np.ndarray:
    halves = np.zeros((20, 30), np.int64)
    halves[:, 10:] = 1
    return halves


def test_a_tint_is_no_diversity() -> None:
    rng = np.random.default_rng(0)
    picture = rng.normal(0, 20, (2, 20, 30))
    tints = rng.normal(0, 20, (4, 2, 1, 1))
    assert diversity([picture + tint for tint in tints], regions()) == pytest.approx(0, abs=1e-9)


def test_regions_that_change_colour_count_by_their_distance() -> None:
    """a* is +-30 in the left third and 0 elsewhere; without its mean, +-20 and -+10."""
    first, second = np.zeros((2, 20, 30)), np.zeros((2, 20, 30))
    first[0, :, :10], second[0, :, :10] = 30, -30
    expected = (1 / 3) * (60 * 2 / 3) + (2 / 3) * (60 / 3)
    assert diversity([first, second], regions()) == pytest.approx(expected)
    assert diversity([first, second, second], regions()) == pytest.approx(expected * 2 / 3)


def test_segments_follow_the_photograph() -> None:
    lightness = np.where(np.arange(128) < 64, 20.0, 80.0) * np.ones((96, 1))
    found = segments(lightness)
    across = sum(len(np.unique(lightness[found == label])) > 1 for label in range(found.max() + 1))
    assert found.shape == lightness.shape
    assert across == 0
    assert 20 < segments(data.camera()[::4, ::4] / 2.55).max() < 90
