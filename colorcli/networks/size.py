"""The input sizes that a network accepts, as a value that is stored with the model, also in ONNX metadata."""

from __future__ import annotations

import math
from dataclasses import dataclass

RENDER_BASE = 16
"""Pixels of working size per unit of DeOldify's ``render_factor``."""

OURS = "lanczos"
RESIZES = (OURS, "bicubic-8", "bilinear-8-luma", "bilinear", "bilinear-luma")
"""Ways to resize to the working size: ours, and those of released programs; see ``images.resize``."""

SMOOTH = "cubic"
IN_RGB = ("bilinear-rgb", "bilinear-8-rgb")
ENLARGEMENTS = (SMOOTH, "bilinear", "nearest", *IN_RGB)
"""Ways to enlarge a network's output to the photograph's size: ours, and those of released programs, some of which
enlarge the network's RGB instead of its chroma; see ``color.enlarge``."""


@dataclass(frozen=True)
class SizeRule:
    """How a photograph is resized before a network sees it.

    Attributes:
        size: working size in pixels: of the short side, or of both sides if the photograph is stretched to a square.
        multiple_of: both sides are rounded up to a multiple of this.
        fixed: whether the network takes exactly ``size`` x ``size``, to which photographs are stretched.
        max_aspect: photographs with a larger aspect ratio are coloured in overlapping tiles.
        stretch: whether photographs are stretched to a square, though the network takes several sizes.
        resize: how photographs are resized to the working size, one of ``RESIZES``.
        enlarge: how the output is enlarged to the photograph's size, one of ``ENLARGEMENTS``.
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
        """Whether the network's RGB is enlarged instead of its chroma."""
        return self.enlarge in IN_RGB

    @property
    def planes(self) -> int:
        """How many planes the output has: a* and b*, or R, G and B."""
        return 3 if self.in_rgb else 2

    def working_shape(self, height: int, width: int, size: int | None = None) -> tuple[int, int]:
        """The working (height, width) for a photograph of ``height`` x ``width`` pixels."""
        size = size or self.size
        if self.square:
            return self._up(size), self._up(size)
        short = min(height, width)
        return self._up(height * size / short), self._up(width * size / short)

    def _up(self, length: float) -> int:
        # The tolerance keeps rounding errors, such as 320.0000001, from adding a whole step.
        return max(1, math.ceil(length / self.multiple_of - 1e-6)) * self.multiple_of
