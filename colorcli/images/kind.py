"""Whether a photograph is gray, toned or in colour."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from colorcli.color.spaces import srgb_to_lab
from colorcli.images.photo import Kind, Pixels

_SIDE = 128
_OVERSAMPLING = 4
_STRIP_ROWS = 64
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
    top = np.iinfo(pixels.dtype).max
    sample = _sample(pixels)
    # most files are told from the codes as they are; means of blocks take JPEG's noise out of the rest
    if _is_gray(sample, _GRAY_SPREAD * top):
        return "gray"
    rgb = _block_means(sample) / top
    if _is_gray(rgb, _GRAY_SPREAD):
        return "gray"
    return "toned" if _is_toned(srgb_to_lab(rgb).reshape(-1, 3)) else "color"


def gray_channel(pixels: Pixels) -> Pixels | None:
    """The one channel ``(H, W)`` of RGB pixels whose three channels are exactly equal, else None."""
    for y in range(0, pixels.shape[0], _STRIP_ROWS):
        red, green, blue = np.moveaxis(pixels[y : y + _STRIP_ROWS], -1, 0)
        if not (np.array_equal(red, green) and np.array_equal(red, blue)):
            return None
    return np.ascontiguousarray(pixels[..., 0])


def _sample(pixels: Pixels) -> Pixels:
    """Every so manieth pixel, so that large photographs cost no more than small ones."""
    step = max(1, max(pixels.shape[:2]) // (_SIDE * _OVERSAMPLING))
    return pixels[::step, ::step]


def _block_means(sample: Pixels) -> NDArray[np.float64]:
    block = max(1, -(-max(sample.shape[:2]) // _SIDE))
    rows, columns = sample.shape[0] // block, sample.shape[1] // block
    if rows == 0 or columns == 0:
        return sample.astype(np.float64)
    whole = sample[: rows * block, : columns * block]
    return np.asarray(whole.reshape(rows, block, columns, block, 3).mean(axis=(1, 3)))


def _is_gray(rgb: NDArray[Any], spread: float) -> bool:
    red, green, blue = np.moveaxis(rgb, -1, 0)
    largest = np.maximum(np.maximum(red, green), blue)
    smallest = np.minimum(np.minimum(red, green), blue)
    return bool(np.mean(largest - smallest > spread) <= _STRAY_SHARE)


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
