"""Enlarging a network's output to the photograph's size: its chroma, or the RGB that some released programs enlarge."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from skimage import color as skimage_color

from colorcli.color.enlarge import changed, chroma_of, strips
from colorcli.color.join import join_strips
from colorcli.networks.size import ENLARGEMENTS, IN_RGB

SIZES = [(41, 33), (12, 10), (5, 4), (1, 1), (29, 3), (3, 25)]


def picture(height: int = 12, width: int = 10) -> NDArray[np.float32]:
    return np.random.default_rng(5).uniform(0, 1, (3, height, width)).astype(np.float32)


def lab(rgb: NDArray[Any]) -> NDArray[Any]:
    found: NDArray[Any] = skimage_color.rgb2lab(rgb.astype(np.float64))
    return found.transpose(2, 0, 1)


def whole(answer: NDArray[np.float32], enlarge: str, height: int, width: int, rows: int = 7) -> NDArray[np.float32]:
    """The chroma that the join's compiled loops interpolate with four taps, ``(2, height, width)``."""
    strip = strips(answer, enlarge, 1.0, height, width)
    parts = []
    for top in range(0, height, rows):
        chroma, (down, down_weights), (across, across_weights) = strip(slice(top, top + rows))
        tall = sum(chroma[:, down + k] * down_weights[:, k, None] for k in range(4))
        parts.append(sum(tall[:, :, across + k] * across_weights[:, k] for k in range(4)))
    return np.asarray(np.concatenate(parts, axis=1), np.float32)


@pytest.mark.parametrize("size", SIZES)
def test_a_picture_is_enlarged_as_pytorch_does(size: tuple[int, int]) -> None:
    """BigColor's program enlarges RGB: the a*, b* of two colours' mean are not the mean of their a*, b*."""
    answer = picture()
    theirs = F.interpolate(torch.from_numpy(answer)[None], size=size, mode="bilinear", align_corners=False)[0].numpy()
    np.testing.assert_allclose(
        whole(answer, "bilinear-rgb", *size), lab(theirs.transpose(1, 2, 0))[1:], atol=0.01, rtol=0
    )
    if size != (12, 10):
        there = whole(chroma_of(answer), "bilinear", *size)
        assert np.abs(there - lab(theirs.transpose(1, 2, 0))[1:]).max() > 1, "the two ways differ"


@pytest.mark.parametrize("size", SIZES)
def test_a_picture_is_enlarged_as_pillow_does(size: tuple[int, int]) -> None:
    """DeOldify's program truncates RGB to 8 bits and enlarges that; all code values must be the same."""
    answer = picture()
    answer[:, 0, 0], answer[:, -1, -1] = 0, 1
    codes = (answer * np.float32(255)).astype(np.uint8).transpose(1, 2, 0)
    # width first, as every Pillow before version 13 does in one call
    wide = Image.fromarray(codes).resize((size[1], 12), Image.Resampling.BILINEAR)
    theirs = np.asarray(wide.resize(size[::-1], Image.Resampling.BILINEAR))
    np.testing.assert_allclose(whole(answer, "bilinear-8-rgb", *size), lab(theirs / 255)[1:], atol=0.01, rtol=0)


@pytest.mark.parametrize("enlarge", ENLARGEMENTS)
def test_strips_of_any_height_are_one_picture(enlarge: str) -> None:
    """Otherwise there would be a visible line at the edge of each strip."""
    photo = np.random.default_rng(2).integers(60, 190, (37, 23), np.uint8)
    answer = picture() if enlarge in IN_RGB else picture()[:2] * 40 - 20
    heights = (64, 5)
    one, several = (np.concatenate(list(join_strips(photo, answer, strip_rows=n, enlarge=enlarge))) for n in heights)
    assert np.array_equal(one, several)
    assert np.ptp(one, axis=2).max() > 5


@pytest.mark.parametrize("enlarge", ENLARGEMENTS)
def test_the_answer_is_what_the_enlargement_takes(enlarge: str) -> None:
    """Otherwise R and G could be taken for a* and b*, and the photograph silently come out without colour."""
    wrong = picture() if enlarge not in IN_RGB else picture()[:2]
    with pytest.raises(ValueError, match=r"must have the shape \("):
        strips(wrong, enlarge, 1.0, 20, 20)
    with pytest.raises(ValueError, match="not finite"):
        strips(np.full((5 - len(wrong), 4, 4), np.nan, np.float32), enlarge, 1.0, 20, 20)


def test_a_change_of_a_pictures_chroma_keeps_its_lightness() -> None:
    """Otherwise hints and palettes would also change the lightness of networks whose RGB is enlarged."""
    muted = picture() * np.float32(0.2) + np.float32(0.4)
    made = changed(muted, lambda chroma: np.asarray(chroma / 2, np.float32))
    before, after = lab(muted.transpose(1, 2, 0)), lab(made.transpose(1, 2, 0))
    np.testing.assert_allclose(after[0], before[0], atol=0.01)
    np.testing.assert_allclose(after[1:], before[1:] / 2, atol=0.01)
    np.testing.assert_allclose(chroma_of(made), before[1:] / 2, atol=0.01)
    assert changed(picture()[:2], lambda chroma: np.asarray(chroma * 2, np.float32)).max() > 1.5, (
        "chroma itself is not clipped"
    )
    assert changed(muted, lambda chroma: np.asarray(chroma * 50, np.float32)).max() <= 1
