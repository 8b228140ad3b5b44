"""If these fail, tables of results can't be compared with anybody else's."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from skimage.metrics import peak_signal_noise_ratio

from colorcli.color.metrics import colorfulness, psnr_rgb8


def test_gray_pictures_have_no_colourfulness() -> None:
    gray = np.random.default_rng(0).integers(0, 256, (20, 30, 1), dtype=np.uint8)
    assert colorfulness(np.repeat(gray, 3, axis=2)) == 0


def test_colourfulness_by_hand() -> None:
    # One red and one blue pixel: rg = 255, 0; yb = 127.5, -255.
    picture = np.array([[[255, 0, 0], [0, 0, 255]]], np.uint8)
    spread = math.hypot(127.5, 191.25)
    assert colorfulness(picture) == pytest.approx(spread + 0.3 * math.hypot(127.5, -63.75))
    assert colorfulness(picture, absolute=True) == pytest.approx(
        math.hypot(127.5, 63.75) + 0.3 * math.hypot(127.5, 191.25)
    )


def test_signed_colourfulness_tells_two_hues_from_one() -> None:
    red_and_cyan = np.zeros((2, 2, 3), np.uint8)
    red_and_cyan[0] = (200, 100, 100)
    red_and_cyan[1] = (100, 200, 200)
    only_red = np.full((2, 2, 3), (200, 100, 100), np.uint8)
    assert colorfulness(red_and_cyan) > 2 * colorfulness(only_red)
    assert colorfulness(red_and_cyan, absolute=True) == pytest.approx(colorfulness(only_red, absolute=True))


@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.integers(1, 40))
def test_psnr_is_scikit_images(seed: int, height: int, width: int) -> None:
    rng = np.random.default_rng(seed)
    first, second = rng.integers(0, 256, (2, height, width, 3), dtype=np.uint8)
    if (first != second).any():
        assert psnr_rgb8(first, second) == pytest.approx(peak_signal_noise_ratio(second, first))


def test_psnr_does_not_wrap_around_and_is_infinite_for_equal_pictures() -> None:
    black, white = np.zeros((4, 4, 3), np.uint8), np.full((4, 4, 3), 255, np.uint8)
    assert psnr_rgb8(black, white) == psnr_rgb8(white, black) == 0
    assert psnr_rgb8(white, white) == math.inf


@pytest.mark.parametrize("wrong", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3)), np.zeros((0, 4, 3), np.uint8)])
def test_pictures_of_another_kind_are_refused(wrong: Any) -> None:
    with pytest.raises(ValueError, match="8-bit RGB"):
        colorfulness(wrong)
    with pytest.raises(ValueError, match="8-bit RGB"):
        psnr_rgb8(wrong, wrong)


def test_pictures_of_different_sizes_are_not_compared() -> None:
    with pytest.raises(ValueError, match="different sizes"):
        psnr_rgb8(np.zeros((1, 4, 3), np.uint8), np.zeros((4, 4, 3), np.uint8))
