"""What an encoder is told besides the pixels."""

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
        bits: 8 or 16.
        alpha: whether the strips have a fourth channel of alpha.
        metadata: what to keep.
        xmp: the packet.
        quality: of lossy coding, 1..100.
        lossless: whether to code without loss, where the format has both ways.
        icc: the profile that the pixels are encoded by; None is sRGB.
        more: further pages, where the format holds several: the strips and how they are written.
        canvas: array ``(height, width, 3)`` in which the picture may be put together; None makes one.
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
        """The picture in one array; strips that are the canvas's rows already are not copied."""
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
