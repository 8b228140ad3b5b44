"""The input sizes a network accepts, as a value that travels with the model (also into ONNX metadata)."""

from __future__ import annotations

import math
from dataclasses import dataclass

RENDER_BASE = 16
"""Pixels of working size for one of what DeOldify calls ``render_factor``."""

OURS = "lanczos"
RESIZES = (OURS, "bicubic-8", "bilinear-8-luma", "bilinear", "bilinear-luma")
"""Ways to the working size: ours, and those of released programs; see ``images.resize``."""

SMOOTH = "cubic"
IN_RGB = ("bilinear-rgb", "bilinear-8-rgb")
ENLARGEMENTS = (SMOOTH, "bilinear", "nearest", *IN_RGB)
"""Ways of a network's answer to the photograph's size: ours, and those of released programs, some of which enlarge the
network's RGB and not its chroma; see ``color.enlarge``."""


@dataclass(frozen=True)
class SizeRule:
    """How a photograph is resized before a network sees it.

    Attributes:
        size: working size in pixels: the short side, or both sides when ``fixed``.
        multiple_of: both sides are rounded up to a multiple of this.
        fixed: the network takes exactly ``size`` x ``size``; the photograph is stretched.
        max_aspect: photographs with a longer aspect ratio are coloured in overlapping tiles.
        stretch: the network takes several sizes, and the photograph is stretched to a square.
        resize: how the photograph is brought to the working size, one of ``RESIZES``.
        enlarge: how the answer is brought to the photograph's size, one of ``ENLARGEMENTS``.
    """

    size: int = 256
    multiple_of: int = 16
    fixed: bool = False
    max_aspect: float = 4.0
    stretch: bool = False
    resize: str = OURS
    enlarge: str = SMOOTH

    @property
    def square(self) -> bool:
        """Whether photographs are stretched to a square."""
        return self.fixed or self.stretch

    @property
    def in_rgb(self) -> bool:
        """Whether the network answers with its RGB, which is enlarged, instead of its chroma."""
        return self.enlarge in IN_RGB

    @property
    def planes(self) -> int:
        """Of the answer: a* and b*, or R, G and B."""
        return 3 if self.in_rgb else 2

    def working_shape(self, height: int, width: int, size: int | None = None) -> tuple[int, int]:
        """The (height, width) at which the network sees a photograph of ``height`` x ``width`` pixels."""
        size = size or self.size
        if self.square:
            return self._up(size), self._up(size)
        short = min(height, width)
        return self._up(height * size / short), self._up(width * size / short)

    def _up(self, length: float) -> int:
        # The tolerance keeps 341.0000001 from becoming a whole further step.
        return max(1, math.ceil(length / self.multiple_of - 1e-6)) * self.multiple_of
