"""Thumbnails for pages, bounded in pixels and bytes, so that a page of a thousand photographs stays small."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

MAX_PICTURES = 2000
"""The largest number of images on one page."""

_QUALITIES = (82, 70, 55, 40, 25)
_MIN_EDGE = 16


@dataclass(frozen=True)
class Bounds:
    """Limits of a thumbnail: pixels along the longer side, and bytes of the file."""

    edge: int
    bytes: int


# at most 36 MB of base64 per page, whatever the images show
_BOUNDS = ((300, Bounds(640, 90_000)), (800, Bounds(480, 33_750)), (MAX_PICTURES, Bounds(360, 13_500)))


def bounds_for(pictures: int) -> Bounds:
    """Bounds that keep a page of ``pictures`` images, at most ``MAX_PICTURES``, below 40 MB."""
    return next((bounds for most, bounds in _BOUNDS if pictures <= most), _BOUNDS[-1][1])


def thumbnail(pixels: NDArray[np.uint8], bounds: Bounds) -> bytes:
    """An image as a small WebP file; never enlarged.

    Args:
        pixels: ``(H, W)`` or ``(H, W, 3)``, uint8, sRGB-encoded.
        bounds: limits of the file; quality is lowered first, then the size, until it fits.
    """
    small = Image.fromarray(pixels)
    edge = bounds.edge
    while True:
        small.thumbnail((edge, edge), Image.Resampling.LANCZOS, reducing_gap=3.0)
        for quality in _QUALITIES:
            packed = io.BytesIO()
            small.save(packed, "WEBP", quality=quality, method=4)
            if packed.tell() <= bounds.bytes or edge <= _MIN_EDGE:
                return packed.getvalue()
        edge = edge * 3 // 4
