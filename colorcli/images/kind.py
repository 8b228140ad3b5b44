"""Whether a photograph is gray, toned or in colour."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from colorcli.color.spaces import srgb_to_lab
from colorcli.images.photo import Kind, Pixels

_SIDE = 128
_OVERSAMPLING = 4
# JPEG's chroma noise around gray is within 3 codes either way of the common value
_GRAY_SPREAD = 6 / 255
_STRAY_SHARE = 0.002
_BINS = 16
# distances in a*, b* from the tone curve: 95th and 98th percentiles, and what only another colour explains.
# Between synthetic toned prints with JPEG noise and uneven fading on one side and colour photographs on the other
_USUAL_RESIDUAL, _LARGE_RESIDUAL, _STRAY_RESIDUAL = 7.5, 10.5, 25.0


def kind_of(pixels: Pixels) -> Kind:
    """``gray``, ``toned`` or ``color``, judged on a reduced copy of at most 128 pixels a side.

    Toned means that chroma is a function of lightness, as in sepia, cyanotype and split tones: what is left of a* and
    b* beside a smooth curve over L* is noise or uneven fading.

    Args:
        pixels: ``(H, W)`` or ``(H, W, 3)``, uint8 or uint16, sRGB-encoded.
    """
    if pixels.ndim == 2:
        return "gray"
    rgb = _reduced(pixels)
    spread = rgb.max(axis=-1) - rgb.min(axis=-1)
    if np.mean(spread > _GRAY_SPREAD) <= _STRAY_SHARE:
        return "gray"
    return "toned" if _is_toned(srgb_to_lab(rgb).reshape(-1, 3)) else "color"


def _reduced(pixels: Pixels) -> NDArray[np.float64]:
    """Every so manieth pixel, then means of small blocks: noise goes, and large photographs cost no more than small."""
    height, width = pixels.shape[:2]
    step = max(1, max(height, width) // (_SIDE * _OVERSAMPLING))
    sample = pixels[::step, ::step].astype(np.float64) / np.iinfo(pixels.dtype).max
    block = max(1, -(-max(sample.shape[:2]) // _SIDE))
    rows, columns = sample.shape[0] // block, sample.shape[1] // block
    if rows == 0 or columns == 0:
        return sample
    sample = sample[: rows * block, : columns * block]
    return np.asarray(sample.reshape(rows, block, columns, block, 3).mean(axis=(1, 3)))


def _is_toned(lab: NDArray[np.floating]) -> bool:
    lightness, chroma = lab[:, 0], lab[:, 1:]
    residual = np.hypot(*(chroma - _tone_curve(lightness, chroma)).T)
    return bool(
        np.percentile(residual, 95) <= _USUAL_RESIDUAL
        and np.percentile(residual, 98) <= _LARGE_RESIDUAL
        and np.mean(residual > _STRAY_RESIDUAL) <= _STRAY_SHARE
    )


def _tone_curve(lightness: NDArray[np.floating], chroma: NDArray[np.floating]) -> NDArray[np.floating]:
    """a*, b* ``(N, 2)`` that pixels of these lightnesses usually have: medians over bins of L*, interpolated."""
    bins = np.minimum((lightness * (_BINS / 100)).astype(np.intp), _BINS - 1)
    members = [bins == i for i in range(_BINS)]
    members = [m for m in members if m.sum() >= max(4, 0.002 * len(lightness))] or [np.ones(len(lightness), bool)]
    centers = np.array([np.median(lightness[m]) for m in members])
    medians = np.array([np.median(chroma[m], axis=0) for m in members])
    return np.stack([np.interp(lightness, centers, medians[:, k]) for k in (0, 1)], axis=1)
