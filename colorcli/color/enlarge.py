"""Enlarging a network's small output to chroma of the photograph's size, strip by strip.

An output (``answer``) is chroma, a*, b* ``(2, h, w)`` in CIELAB units; or, for networks whose released program enlarges
RGB instead of chroma, sRGB ``(3, h, w)``, 0..1.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from colorcli.color.spaces import lab_to_srgb, srgb_to_lab

# No sRGB colour has a chroma above 134. Beyond this limit only the hue matters, and cubes stay exact in float32.
_MAX_CHROMA = 500.0
# Fractional bits of a weight in Pillow's fixed-point arithmetic for 8-bit images.
_FIXED = 22


class Taps(NamedTuple):
    """The samples along one side from which each output pixel is interpolated.

    Attributes:
        first: index of the first sample, uint32 ``(length,)``.
        weights: weights of that and the following samples, ``(length, count)``.
    """

    first: NDArray[np.uint32]
    weights: NDArray[Any]


class Strip(NamedTuple):
    """Chroma for some rows of the photograph, which the compiled loops interpolate with four taps per side.

    Attributes:
        chroma: a*, b*, float32 ``(2, h + 4, w + 4)``, with edges repeated twice on each side.
        rows: taps in ``chroma`` for the strip's rows.
        columns: taps in ``chroma`` for the photograph's columns.
    """

    chroma: NDArray[np.float32]
    rows: Taps
    columns: Taps


Strips = Callable[[slice], Strip]


def strips(answer: NDArray[np.floating[Any]], enlarge: str, strength: float, height: int, width: int) -> Strips:
    """Enlarge an output to the photograph's size.

    Args:
        answer: chroma, or RGB if ``enlarge`` is one of ``networks.size.IN_RGB``.
        enlarge: one of ``networks.size.ENLARGEMENTS``.
        strength: factor for the chroma.
        height: height of the photograph in pixels.
        width: width of the photograph in pixels.

    Returns:
        A function that returns the strip for a slice of rows.

    Raises:
        ValueError: the enlargement is unknown, or the output has the wrong shape or is not finite.
    """
    if enlarge not in _WEIGHTS and enlarge not in _PICTURES:
        raise ValueError(f"there is no enlargement '{enlarge}'; there are: {', '.join((*_WEIGHTS, *_PICTURES))}")
    if enlarge in _PICTURES:
        return _of_picture(_checked(answer, 3), _PICTURES[enlarge], strength, height, width)
    checked, weights = _checked(answer, 2), _WEIGHTS[enlarge]
    chroma = _ready_chroma(checked, strength, *((height, width) if enlarge == "cubic" else checked.shape[1:]))
    rows, columns = weights(chroma.shape[1] - 4, height), weights(chroma.shape[2] - 4, width)
    return lambda part: Strip(chroma, Taps(rows.first[part], rows.weights[part]), columns)


def chroma_of(answer: NDArray[np.float32]) -> NDArray[np.float32]:
    """The chroma ``(2, h, w)`` of an output at its own size."""
    return answer if len(answer) == 2 else np.ascontiguousarray(_lab(answer)[1:])


def changed(
    answer: NDArray[np.float32], change: Callable[[NDArray[np.float32]], NDArray[np.float32]]
) -> NDArray[np.float32]:
    """Apply ``change`` to the chroma of an output; RGB keeps its lightness and is clipped to sRGB."""
    if len(answer) == 2:
        return change(answer)
    lab = _lab(answer)
    lab[1:] = change(lab[1:])
    return np.ascontiguousarray(np.clip(lab_to_srgb(lab.transpose(1, 2, 0)), 0, 1).transpose(2, 0, 1), np.float32)


def _lab(picture: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.ascontiguousarray(srgb_to_lab(picture.transpose(1, 2, 0)).transpose(2, 0, 1), np.float32)


def _checked(answer: NDArray[np.floating[Any]], planes: int) -> NDArray[np.float32]:
    if answer.ndim != 3 or answer.shape[0] != planes or answer.size == 0:
        what = "chroma" if planes == 2 else "RGB"
        raise ValueError(f"{what} must have the shape ({planes}, h, w), not {answer.shape}")
    with np.errstate(over="ignore"):  # values beyond float32 become infinite and are refused below
        single = np.ascontiguousarray(answer, np.float32)
    if not np.isfinite(single).all():
        raise ValueError("chroma holds values that are not finite numbers")
    return single


def _ready_chroma(chroma: NDArray[np.float32], strength: float, height: int, width: int) -> NDArray[np.float32]:
    """Chroma times strength, reduced to at most the photograph's size, with edges repeated twice on each side."""
    ready = _reduce(_reduce(chroma, height, axis=1), width, axis=2) * np.float32(strength)
    if np.abs(ready).max() > _MAX_CHROMA:
        ready = ready / np.maximum(np.hypot(ready[0], ready[1]) / np.float32(_MAX_CHROMA), 1)
    return np.pad(ready, ((0, 0), (2, 2), (2, 2)), mode="edge")


def _reduce(image: NDArray[np.float32], length: int, *, axis: int) -> NDArray[np.float32]:
    """Average down to ``length`` along an axis by exact pixel coverage; unchanged where it is not longer."""
    count = image.shape[axis]
    if count <= length:
        return image
    rows = np.moveaxis(image, axis, 0).astype(np.float64)
    sums = np.concatenate((np.zeros_like(rows[:1]), np.cumsum(rows, axis=0)))
    edges = np.linspace(0, count, length + 1)
    whole = np.minimum(edges.astype(np.intp), count - 1)
    part = (edges - whole).reshape(-1, *[1] * (image.ndim - 1))
    means = np.diff(sums[whole] + part * rows[whole], axis=0) * (length / count)
    return np.ascontiguousarray(np.moveaxis(means, 0, axis), np.float32)


def _cubic_weights(count: int, length: int) -> Taps:
    """Taps in the padded samples for an interpolation from ``count`` samples to ``length`` pixels.

    Pixel centres are at half-integers. The kernel is Mitchell and Netravali's (1988) with B + 2C = 1: Catmull-Rom
    (B = 0, sharp) up to a factor of 2, then towards the cubic B-spline (B = 1, smooth) as the factor grows and the
    shape of each sample's patch would become visible.
    """
    b = max(0.0, 1 - 2 * count / length)
    c = (1 - b) / 2
    centre = (np.arange(length) + 0.5) * (count / length) - 0.5
    base = np.floor(centre)
    distance = np.abs((centre - base)[:, None] - np.arange(-1, 3))
    inner = (12 - 9 * b - 6 * c) * distance**3 + (12 * b + 6 * c - 18) * distance**2 + (6 - 2 * b)
    outer = -(b + 6 * c) * distance**3 + (6 * b + 30 * c) * distance**2 - (12 * b + 48 * c) * distance + 8 * b + 24 * c
    weights = np.where(distance < 1, inner, outer) / 6
    return Taps((base + 1).astype(np.uint32), weights.astype(np.float32))


def _bilinear_weights(count: int, length: int) -> Taps:
    """The same for PyTorch's bilinear interpolation with ``align_corners=False``, also for reducing."""
    centre = np.maximum((np.arange(length) + 0.5) * (count / length) - 0.5, 0)
    base = np.minimum(np.floor(centre), count - 1)
    weights = np.zeros((length, 4), np.float32)
    weights[:, 1], weights[:, 2] = 1 - (centre - base), centre - base
    return Taps((base + 1).astype(np.uint32), weights)


def _nearest_weights(count: int, length: int) -> Taps:
    """The same for PyTorch's ``nearest``, which rounds down to the pixel above and to the left."""
    base = np.minimum(np.floor(np.arange(length, dtype=np.float32) * np.float32(count / length)), count - 1)
    return Taps((base + 1).astype(np.uint32), np.tile(np.array([0, 1, 0, 0], np.float32), (length, 1)))


_WEIGHTS: dict[str, Callable[[int, int], Taps]] = {
    "cubic": _cubic_weights,
    "bilinear": _bilinear_weights,
    "nearest": _nearest_weights,
}


def _of_picture(picture: NDArray[np.float32], kind: _Picture, strength: float, height: int, width: int) -> Strips:
    """Enlarge RGB, first along its width, and return the chroma of each strip."""
    rows, columns = kind.taps(picture.shape[1], height), kind.taps(picture.shape[2], width)
    wide = kind.mixed(kind.coded(picture.transpose(2, 1, 0)), columns).transpose(1, 0, 2)
    across = _nearest_weights(width, width)

    def strip(part: slice) -> Strip:
        enlarged = kind.mixed(wide, Taps(rows.first[part], rows.weights[part])).astype(np.float32) / kind.white
        chroma = _ready_chroma(_lab(enlarged.transpose(2, 0, 1))[1:], strength, *enlarged.shape[:2])
        return Strip(chroma, _nearest_weights(len(enlarged), len(enlarged)), across)

    return strip


class _Picture(NamedTuple):
    """How a released program enlarges RGB.

    Attributes:
        taps: computes the taps for one side.
        coded: converts sRGB 0..1 to the program's samples.
        mixed: interpolates samples ``(count, n, 3)`` to ``(length, n, 3)``.
        white: the sample for sRGB 1.
    """

    taps: Callable[[int, int], Taps]
    coded: Callable[[NDArray[np.float32]], NDArray[Any]]
    mixed: Callable[[NDArray[Any], Taps], NDArray[Any]]
    white: np.float32


def _two_nearest(count: int, length: int) -> Taps:
    """``_bilinear_weights`` for samples without padding."""
    first, weights = _bilinear_weights(count, length)
    return Taps(first - 1, weights[:, 1:3])


def _pillow_weights(count: int, length: int) -> Taps:
    """Taps of Pillow's bilinear filter for 8 bits: a triangle, widened to an output pixel when reducing."""
    scale = count / length
    support = max(scale, 1.0)
    centre = (np.arange(length) + 0.5) * scale
    first = np.maximum((centre - support + 0.5).astype(np.intp), 0)
    beyond = np.minimum((centre + support + 0.5).astype(np.intp), count)
    samples = first[:, None] + np.arange(min(2 * math.ceil(support) + 1, count))
    weights = np.maximum(1 - np.abs((samples - centre[:, None] + 0.5) / support), 0)
    weights = np.where(samples < beyond[:, None], weights, 0)
    weights /= weights.sum(axis=1, keepdims=True)
    fixed = (0.5 + weights * (1 << _FIXED)).astype(np.int32)
    return Taps(first.astype(np.uint32), fixed)


def _floats(samples: NDArray[Any], taps: Taps) -> NDArray[Any]:
    return _sum(samples, taps, np.float32)


def _eight_bits(samples: NDArray[Any], taps: Taps) -> NDArray[Any]:
    rounded = (_sum(samples, taps, np.int32) + (1 << (_FIXED - 1))) >> _FIXED
    codes: NDArray[np.uint8] = np.clip(rounded, 0, 255).astype(np.uint8)
    return codes


def _sum(samples: NDArray[Any], taps: Taps, kind: Any) -> NDArray[Any]:
    mixed = np.zeros((len(taps.first), *samples.shape[1:]), kind)
    for number in range(taps.weights.shape[1]):
        # beyond the end, the last sample is repeated
        at = np.minimum(taps.first + number, len(samples) - 1)
        mixed += samples[at] * taps.weights[:, number, None, None].astype(kind)
    return mixed


_PICTURES = {
    "bilinear-rgb": _Picture(_two_nearest, lambda samples: samples, _floats, np.float32(1)),
    "bilinear-8-rgb": _Picture(
        # truncated rather than rounded, as in DeOldify's program
        _pillow_weights,
        lambda samples: (np.clip(samples, 0, 1) * np.float32(255)).astype(np.uint8),
        _eight_bits,
        np.float32(255),
    ),
}
