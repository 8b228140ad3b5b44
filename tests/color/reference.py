"""The join written in the slow and obvious way, in float64, to compare the compiled kernel with."""

from typing import Any

import numpy as np

from colorcli.color.spaces import lab_to_srgb, srgb_to_lightness


def cubic(distance: float, b: Any) -> Any:
    """Mitchell and Netravali's kernel with B + 2C = 1 at one distance."""
    c, d = (1 - b) / 2, abs(distance)
    if d < 1:
        return ((12 - 9 * b - 6 * c) * d**3 + (-18 + 12 * b + 6 * c) * d**2 + (6 - 2 * b)) / 6
    if d < 2:
        return ((-b - 6 * c) * d**3 + (6 * b + 30 * c) * d**2 + (-12 * b - 48 * c) * d + (8 * b + 24 * c)) / 6
    return 0.0


def upsampled_line(samples: Any, length: int) -> Any:
    """One line ``(n, ...)`` interpolated to ``length`` at pixel centres, clamped to its four neighbours."""
    count = len(samples)
    sharpness = max(0.0, 1 - 2 * count / length)
    line = []
    for x in range(length):
        place = (x + 0.5) * count / length - 0.5
        neighbours = [int(np.floor(place)) + step for step in (-1, 0, 1, 2)]
        values = [samples[min(max(n, 0), count - 1)] for n in neighbours]
        value = sum(cubic(place - n, sharpness) * v for n, v in zip(neighbours, values, strict=True))
        line.append(np.clip(value, np.min(values, axis=0), np.max(values, axis=0)))
    return np.array(line)


def upsampled(chroma: Any, height: int, width: int) -> Any:
    """Chroma ``(2, h, w)`` at the photograph's size ``(height, width, 2)``, which must not be smaller."""
    wide = upsampled_line(np.moveaxis(np.asarray(chroma, np.float64), (2, 1, 0), (0, 1, 2)), width)
    return upsampled_line(np.moveaxis(wide, 1, 0), height)


def is_inside(lab: Any, slack: float = 1e-6) -> Any:
    """Whether colours ``(..., 3)`` lie in the sRGB gamut."""
    rgb = lab_to_srgb(lab)
    return ((rgb >= -slack) & (rgb <= 1 + slack)).all(axis=-1)


def fitted_lab(lab: Any, steps: int = 4000) -> Any:
    """Colours ``(n, 3)`` with the most chroma, of ``steps`` evenly spaced shares of their own, that is in gamut."""
    best = np.zeros(len(lab))
    for share in np.linspace(0, 1, steps + 1):
        best[is_inside(lab * [1, share, share])] = share
    return lab * np.stack((np.ones_like(best), best, best), axis=-1)


def photo_lightness(pixels: Any) -> Any:
    """L* of a photograph of codes, ``(H, W)`` or ``(H, W, 3)``."""
    return srgb_to_lightness(pixels / np.iinfo(pixels.dtype).max)
