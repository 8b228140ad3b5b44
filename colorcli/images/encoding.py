"""What an encoder needs besides the pixels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from colorcli.images.icc import srgb_profile
from colorcli.images.photo import Metadata, Pixels


@dataclass(frozen=True)
class Encoding:
    """How a photograph is written.

    Attributes:
        height: rows.
        width: columns.
        bits: bits per sample, 8 or 16.
        alpha: whether the strips have alpha as a fourth channel.
        metadata: the metadata to keep.
        xmp: the XMP packet.
        quality: quality of lossy coding, 1..100.
        lossless: whether to code losslessly, in formats that can do both.
        icc: ICC profile that the pixels are encoded in; None is sRGB.
        canvas: array ``(height, width, 3)`` in which the image may be assembled; None allocates one.
        more: further pages, in formats that hold several: the strips of each and how they are written.
    """

    height: int
    width: int
    bits: int
    alpha: bool
    metadata: Metadata
    xmp: bytes
    quality: int = 95
    lossless: bool = False
    icc: bytes | None = None
    canvas: Pixels | None = None
    more: tuple[tuple[Iterator[Pixels], Encoding], ...] = ()

    @property
    def profile(self) -> bytes:
        """The profile to embed."""
        return self.icc or srgb_profile()

    def assembled(self, strips: Iterator[Pixels]) -> Pixels:
        """The image in one array; strips that already are rows of the canvas are not copied."""
        canvas = self.canvas
        if canvas is None or self.alpha:
            dtype = np.uint8 if self.bits == 8 else np.uint16
            canvas = np.empty((self.height, self.width, 4 if self.alpha else 3), dtype)
        y = 0
        for strip in strips:
            place = canvas[y : y + strip.shape[0]]
            if not _is_same(strip, place):
                place[:] = strip
            y += strip.shape[0]
        return canvas


def _is_same(strip: Pixels, place: Pixels) -> bool:
    return strip.ctypes.data == place.ctypes.data and strip.strides == place.strides
