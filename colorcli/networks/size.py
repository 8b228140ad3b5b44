"""The input sizes a network accepts, as a value that travels with the model (also into ONNX metadata)."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class SizeRule:
    """How a photograph is resized before a network sees it.

    Attributes:
        size: working size in pixels: the short side, or both sides when ``fixed``.
        multiple_of: both sides are rounded up to a multiple of this.
        fixed: the network takes exactly ``size`` x ``size``; the photograph is stretched.
        max_aspect: photographs with a longer aspect ratio are coloured in overlapping tiles.
    """

    size: int = 256
    multiple_of: int = 16
    fixed: bool = False
    max_aspect: float = 4.0

    def working_shape(self, height: int, width: int, size: int | None = None) -> tuple[int, int]:
        """The (height, width) at which the network sees a photograph of ``height`` x ``width`` pixels."""
        size = size or self.size
        if self.fixed:
            return self._up(size), self._up(size)
        short = min(height, width)
        return self._up(height * size / short), self._up(width * size / short)

    def _up(self, length: float) -> int:
        # The tolerance keeps 341.0000001 from becoming a whole further step.
        return max(1, math.ceil(length / self.multiple_of - 1e-6)) * self.multiple_of
