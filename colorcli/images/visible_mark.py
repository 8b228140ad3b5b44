"""A visible mark in the corner of an image, which tells viewers that a machine took part in making it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from colorcli.errors import PhotoError
from colorcli.images.photo import Pixels

# "AI" with a dark border: the abbreviation used in drafts of the EU's code of practice on marking AI content
_SIGN = np.array(
    [
        [character == "#" for character in row]
        for row in (
            "..............",
            "...###...###..",
            "..#...#...#...",
            "..#...#...#...",
            "..#####...#...",
            "..#...#...#...",
            "..#...#...#...",
            "..#...#..###..",
            "..............",
        )
    ]
)
_SHARE = 0.045  # the sign's height as a share of the shorter side
_DARK, _LIGHT = 0.08, 0.95


@dataclass(frozen=True)
class Sign:
    """The sign's place in an image, in pixels: its upper left corner, its size, and the side of one of its dots."""

    x: int
    y: int
    width: int
    height: int
    dot: int

    @classmethod
    def of(cls, height: int, width: int) -> Sign:
        """The sign for an image of this size, at the lower right. Raises ``PhotoError`` if there is no room for it."""
        rows, columns = _SIGN.shape
        if height < rows or width < columns:
            raise PhotoError(f"is too small for the visible mark, which takes {columns} x {rows} pixels")
        dot = max(1, round(min(height, width) * _SHARE / rows))
        dot = min(dot, height // rows, width // columns)
        x, y = width - columns * dot, height - rows * dot
        margin = min(2 * dot, x, y)
        return cls(x - margin, y - margin, columns * dot, rows * dot, dot)

    def record(self) -> dict[str, int | str]:
        """The sign as the journal records it."""
        return {"kind": "visible", **asdict(self)}

    def drawn(self, strips: Iterator[Pixels]) -> Iterator[Pixels]:
        """The strips ``(rows, W, 3)`` of an image from its top, uint8 or uint16, with the sign drawn in place."""
        top = 0
        for strip in strips:
            rows = strip.shape[0]
            first, last = max(top, self.y), min(top + rows, self.y + self.height)
            if first < last:
                values = self._values(strip.dtype)[first - self.y : last - self.y]
                strip[first - top : last - top, self.x : self.x + self.width] = values[..., None]
            top += rows
            yield strip

    def on(self, pixels: Pixels) -> Pixels:
        """A copy of an image ``(H, W)`` or ``(H, W, 3)`` with the sign drawn into it."""
        marked, values = pixels.copy(), self._values(pixels.dtype)
        place = values if pixels.ndim == 2 else values[..., None]
        marked[self.y : self.y + self.height, self.x : self.x + self.width] = place
        return marked

    def opaque(self, alpha: Pixels) -> Pixels:
        """A copy of an alpha channel ``(H, W)`` that is opaque at the sign."""
        shown = alpha.copy()
        shown[self.y : self.y + self.height, self.x : self.x + self.width] = np.iinfo(alpha.dtype).max
        return shown

    def _values(self, dtype: np.dtype[np.unsignedinteger]) -> NDArray[np.unsignedinteger]:
        top = np.iinfo(dtype).max
        dots = np.where(_SIGN, round(_LIGHT * top), round(_DARK * top)).astype(dtype)
        return dots.repeat(self.dot, 0).repeat(self.dot, 1)
