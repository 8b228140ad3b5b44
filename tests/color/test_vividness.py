"""Vividness makes colours paler or more vivid without changing their hue."""

from __future__ import annotations

import numpy as np
import pytest

from colorcli.color.join import join
from colorcli.color.metrics import colorfulness
from colorcli.color.vividness import vivid


def _chroma() -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return np.random.default_rng(0).normal(0, 15, (2, 24, 24)).astype(np.float32)


def test_the_middle_is_the_networks_own() -> None:
    """Without --vividness, outputs keep their bytes."""
    chroma = _chroma()
    assert vivid(chroma, 0.5) is chroma


def test_pictures_grow_more_colourful_all_the_way_and_keep_their_hues() -> None:
    gray = np.full((48, 48), 128, np.uint8)
    chroma = _chroma()
    made = [vivid(chroma, step / 10) for step in range(11)]
    found = [colorfulness(np.asarray(join(gray, one), np.uint8)) for one in made]
    assert np.all(np.diff(found) > 0)
    assert found[-1] > 2 * found[0]
    for one in made:
        assert np.allclose(np.arctan2(one[1], one[0]), np.arctan2(chroma[1], chroma[0]), atol=1e-5)


def test_what_is_nearly_neutral_stays_so() -> None:
    """Gray stone and steel must not be painted for the sake of a vivid sky."""
    faint, strong = np.full((2, 4, 4), 1.0, np.float32), np.full((2, 4, 4), 20.0, np.float32)
    assert vivid(faint, 1.0).max() < 1.0
    assert vivid(strong, 1.0).min() > 35


@pytest.mark.parametrize("wrong", [-0.1, 1.1, float("nan")])
def test_other_numbers_are_refused(wrong: float) -> None:
    with pytest.raises(ValueError, match="from 0 to 1"):
        vivid(_chroma(), wrong)
