"""Very long photographs: cutting them into overlapping windows along the long side, and blending the chroma."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from colorcli.errors import PhotoError
from colorcli.images.photo import Pixels
from colorcli.images.resize import working_lightness
from colorcli.networks.size import SizeRule

MAX_ASPECT = 200.0
_TILE_ASPECT = 2


@dataclass(frozen=True)
class Windows:
    """The parts of one photograph that a network colours separately.

    Attributes:
        lightness: one or more windows of the same shape, float32 ``(height, width)``, L* 0..100.
        starts: where each window begins along the long side, in working pixels.
        length: length of the long side in working pixels.
        axis: the long side: 0 for height, 1 for width.
    """

    lightness: tuple[NDArray[np.float32], ...]
    starts: tuple[int, ...]
    length: int
    axis: int

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of every window."""
        height, width = self.lightness[0].shape
        return height, width

    def whole(self) -> NDArray[np.float32]:
        """The lightness of the whole photograph at its working size, float32 ``(height, width)``."""
        if len(self.lightness) == 1:
            return self.lightness[0]
        tile = self.shape[self.axis]
        shape = (self.length, self.shape[1]) if self.axis == 0 else (self.shape[0], self.length)
        joined = np.empty(shape, np.float32)
        for start, part in zip(self.starts, self.lightness, strict=True):
            along = slice(start, start + tile)
            joined[(along, slice(None)) if self.axis == 0 else (slice(None), along)] = part
        return joined


def windows(pixels: Pixels, rule: SizeRule, size: int) -> Windows:
    """A photograph at its working size: whole, or in windows that overlap by half if it is too long for the network.

    Args:
        pixels: ``(H, W)`` or ``(H, W, 3)``, uint8 or uint16, sRGB-encoded.
        rule: the sizes that the network takes.
        size: working size in pixels.

    Raises:
        PhotoError: the photograph is more than 200 times as long as wide.
    """
    height, width = int(pixels.shape[0]), int(pixels.shape[1])
    aspect = max(height, width) / min(height, width)
    axis = 0 if height > width else 1
    if aspect <= rule.max_aspect:
        shape = rule.working_shape(height, width, size)
        return Windows((working_lightness(pixels, *shape, rule.resize),), (0,), shape[axis], axis)
    if aspect > MAX_ASPECT:
        raise PhotoError(f"is {aspect:.0f} times as long as wide ({width} x {height}); the limit is {MAX_ASPECT:.0f}")
    short = rule.working_shape(1, 1, size)[0]
    tile = short if rule.square else short * max(1, min(_TILE_ASPECT, int(rule.max_aspect)))
    length = round(short * aspect)
    whole = working_lightness(pixels, *((length, short) if axis == 0 else (short, length)), rule.resize)
    count = -(-(length - tile) // (tile // 2)) + 1
    starts = tuple(round(index * (length - tile) / (count - 1)) for index in range(count)) if count > 1 else (0,)
    parts = tuple(
        np.ascontiguousarray(whole[start : start + tile] if axis == 0 else whole[:, start : start + tile])
        for start in starts
    )
    return Windows(parts, starts, length, axis)


def blend(parts: Sequence[NDArray[np.float32]], layout: Windows) -> NDArray[np.float32]:
    """The output ``(C, h, w)`` for a whole photograph from those for its windows, cross-faded where they overlap."""
    if len(parts) == 1:
        return parts[0]
    height, width = layout.shape
    tile = layout.shape[layout.axis]
    # a triangle that never reaches zero, so that the photograph's ends have weight
    ramp = np.minimum(np.arange(1, tile + 1), np.arange(tile, 0, -1)).astype(np.float32)
    ramp = ramp[:, None] if layout.axis == 0 else ramp[None, :]
    planes = len(parts[0])
    shape = (planes, layout.length, width) if layout.axis == 0 else (planes, height, layout.length)
    total, weight = np.zeros(shape, np.float32), np.zeros(shape[1:], np.float32)
    for start, part in zip(layout.starts, parts, strict=True):
        along = slice(start, start + tile)
        place = (along, slice(None)) if layout.axis == 0 else (slice(None), along)
        for channel in range(planes):
            total[channel][place] += ramp * _resized(part[channel], height, width)
        weight[place] += ramp
    return np.divide(total, weight, dtype=np.float32)


def _resized(channel: NDArray[np.float32], height: int, width: int) -> NDArray[np.float32]:
    if channel.shape == (height, width):
        return channel
    return np.asarray(Image.fromarray(channel).resize((width, height), Image.Resampling.BILINEAR))
