"""Small pictures for pages: bounded in pixels and in bytes, so that a page of a thousand photographs stays light."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

MAX_PICTURES = 2000
"""The most pictures that one page holds."""

_QUALITIES = (82, 70, 55, 40, 25)
_MIN_EDGE = 16


@dataclass(frozen=True)
class Bounds:
    """Of one picture: pixels along its longer side, and bytes of its file."""

    edge: int
    bytes: int


# as base64, at most 36 MB a page, whatever the pictures show
_BOUNDS = ((300, Bounds(640, 90_000)), (800, Bounds(480, 33_750)), (MAX_PICTURES, Bounds(360, 13_500)))


def bounds_for(pictures: int) -> Bounds:
    """The bounds that keep a page of so many pictures, at most ``MAX_PICTURES``, below 40 MB."""
    return next((bounds for most, bounds in _BOUNDS if pictures <= most), _BOUNDS[-1][1])


def thumbnail(pixels: NDArray[np.uint8], bounds: Bounds) -> bytes:
    """A picture as a small WebP file; never enlarged.

    Args:
        pixels: ``(H, W)`` or ``(H, W, 3)``, uint8, sRGB-encoded.
        bounds: quality is lowered, and at last the size, until the file keeps within.
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
