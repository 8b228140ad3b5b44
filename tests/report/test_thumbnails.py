"""Thumbnails keep within their bounds without losing size and colours unnecessarily."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from colorcli.report.thumbnails import MAX_PICTURES, Bounds, bounds_for, thumbnail


@pytest.mark.parametrize("pictures", [1, 300, 301, 800, 2000])
def test_a_full_page_stays_below_40_mb(pictures: int) -> None:
    """Noise compresses worst: even with it, a browser must open the page and a mail must carry it."""
    bounds = bounds_for(pictures)
    noise = np.random.default_rng(0).integers(0, 256, (700, 900, 3), np.uint8)
    assert len(thumbnail(noise, bounds)) <= bounds.bytes
    as_text = bounds.bytes * 4 / 3
    assert pictures * as_text + 3e6 < 40e6
    assert MAX_PICTURES >= 2000, "a thousand photographs beside their colourings"


def test_small_images_keep_size_and_colours() -> None:
    """Colourings are judged by their colours, so thumbnails must not change them."""
    rgb = np.zeros((40, 60, 3), np.uint8)
    rgb[:, :30] = (200, 60, 40)
    rgb[:, 30:] = (30, 80, 190)
    with Image.open(io.BytesIO(thumbnail(rgb, Bounds(100, 10_000)))) as image:
        assert image.format == "WEBP"
        assert image.size == (60, 40)
        back = np.asarray(image.convert("RGB")).astype(int)
    assert np.abs(back[20, 10] - (200, 60, 40)).max() <= 8
    assert np.abs(back[20, 50] - (30, 80, 190)).max() <= 8


def test_large_and_narrow_images_are_made_small() -> None:
    """A film strip and a single pixel are valid photographs too."""
    for shape in ((3000, 20), (1, 5000), (1, 1)):
        with Image.open(io.BytesIO(thumbnail(np.full(shape, 90, np.uint8), Bounds(320, 9000)))) as image:
            assert max(image.size) <= 320
