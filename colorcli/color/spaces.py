"""sRGB, linear light, CIE XYZ and CIELAB in NumPy, and the lightness L* of gray photographs.

White point D65, 2 degree observer. Arrays hold colours along their last axis and keep their precision: float32 stays
float32, everything else becomes float64. Nothing is clipped unless a docstring says so: a colour outside the sRGB
gamut keeps its true coordinates, below 0 or above 1.

The constants are those of scikit-image (``skimage.color``), rounded as there, so that numbers measured with either
agree. Sources: IEC 61966-2-1 (sRGB), CIE 15 (CIELAB).
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

RGB_TO_XYZ: NDArray[np.float64] = np.array(
    [
        [0.412453, 0.357580, 0.180423],
        [0.212671, 0.715160, 0.072169],
        [0.019334, 0.119193, 0.950227],
    ]
)
"""Linear sRGB to XYZ; its second row gives the luminance Y."""

XYZ_TO_RGB: NDArray[np.float64] = np.linalg.inv(RGB_TO_XYZ).astype(np.float64)
"""XYZ to linear sRGB: the exact inverse."""

WHITE_D65: NDArray[np.float64] = np.array([0.95047, 1.0, 1.08883])
"""XYZ of the reference white."""

LUMINANCE: NDArray[np.float64] = RGB_TO_XYZ[1]
"""Weights of linear R, G, B in the luminance Y; they sum to 1."""

LUMA601: NDArray[np.float64] = np.array([0.299, 0.587, 0.114])
"""Weights of gamma-coded R, G, B in the luma Y' (ITU-R BT.601); they sum to 1."""

CUBE_ROOT_FROM = 0.008856
"""Relative luminance above which L* follows a cube root; below, it is linear."""

CUBE_FROM = 0.2068966
"""The same limit in terms of f = (L* + 16) / 116."""

TOE_SLOPE = 7.787
TOE_OFFSET = 16.0 / 116.0

Floats = NDArray[np.floating[Any]]


def _as_float(values: ArrayLike) -> Floats:
    array = np.asarray(values)
    return array if array.dtype == np.float32 else array.astype(np.float64, copy=False)


def _as_colours(values: ArrayLike, name: str) -> Floats:
    array = _as_float(values)
    if array.ndim == 0 or array.shape[-1] != 3:
        raise ValueError(f"{name} needs three components along its last axis, got an array of shape {array.shape}")
    return array


def _mix(colours: Floats, matrix: NDArray[np.float64]) -> Floats:
    return colours @ matrix.T.astype(colours.dtype)


def srgb_to_linear(encoded: ArrayLike) -> Floats:
    """Undo the sRGB transfer function (IEC 61966-2-1), elementwise; its linear segment continues below 0."""
    encoded = _as_float(encoded)
    return np.where(encoded > 0.04045, ((np.maximum(encoded, 0.04045) + 0.055) / 1.055) ** 2.4, encoded / 12.92)


def linear_to_srgb(linear: ArrayLike) -> Floats:
    """Apply the sRGB transfer function (IEC 61966-2-1), elementwise; its linear segment continues below 0."""
    linear = _as_float(linear)
    curve = 1.055 * np.maximum(linear, 0.0031308) ** (1 / 2.4) - 0.055
    # The standard's constants are rounded: where its two segments meet, the curve would step down by 3e-8.
    return np.where(linear > 0.0031308, np.maximum(curve, 12.92 * 0.0031308), 12.92 * linear)


def _f(ratio: Floats) -> Floats:
    return np.where(ratio > CUBE_ROOT_FROM, np.cbrt(ratio), TOE_SLOPE * ratio + TOE_OFFSET)


def _f_inverse(value: Floats) -> Floats:
    return np.where(value > CUBE_FROM, value**3, (value - TOE_OFFSET) / TOE_SLOPE)


def srgb_to_xyz(rgb: ArrayLike) -> Floats:
    """Encoded sRGB 0..1 to XYZ with Y of white = 1, ``(..., 3)`` to ``(..., 3)``."""
    return _mix(srgb_to_linear(_as_colours(rgb, "sRGB")), RGB_TO_XYZ)


def xyz_to_srgb(xyz: ArrayLike) -> Floats:
    """XYZ with Y of white = 1 to encoded sRGB, ``(..., 3)`` to ``(..., 3)``; outside 0..1 if out of gamut."""
    return linear_to_srgb(_mix(_as_colours(xyz, "XYZ"), XYZ_TO_RGB))


def xyz_to_lab(xyz: ArrayLike) -> Floats:
    """XYZ with Y of white = 1 to CIELAB, ``(..., 3)`` to ``(..., 3)``: L* 0..100, a*, b*."""
    xyz = _as_colours(xyz, "XYZ")
    f = _f(xyz / WHITE_D65.astype(xyz.dtype))
    x, y, z = f[..., 0], f[..., 1], f[..., 2]
    return np.stack((116 * y - 16, 500 * (x - y), 200 * (y - z)), axis=-1)


def lab_to_xyz(lab: ArrayLike) -> Floats:
    """CIELAB to XYZ with Y of white = 1, ``(..., 3)`` to ``(..., 3)``; imaginary colours may have negative X or Z."""
    lab = _as_colours(lab, "CIELAB")
    y = (lab[..., 0] + 16) / 116
    f = np.stack((y + lab[..., 1] / 500, y, y - lab[..., 2] / 200), axis=-1)
    return _f_inverse(f) * WHITE_D65.astype(f.dtype)


def srgb_to_lab(rgb: ArrayLike) -> Floats:
    """Encoded sRGB 0..1 to CIELAB, ``(..., 3)`` to ``(..., 3)``: L* 0..100, a*, b*.

    Raises ValueError when the last axis does not hold three components.
    """
    return xyz_to_lab(srgb_to_xyz(rgb))


def lab_to_srgb(lab: ArrayLike) -> Floats:
    """CIELAB to encoded sRGB, ``(..., 3)`` to ``(..., 3)``, unclipped: outside 0..1 when out of gamut.

    Raises ValueError when the last axis does not hold three components.
    """
    return xyz_to_srgb(lab_to_xyz(lab))


def gray_to_lightness(gray: ArrayLike) -> Floats:
    """CIE L* 0..100 of neutral pixels, elementwise, from their encoded value 0..1."""
    return luminance_to_lightness(srgb_to_linear(gray))


def luminance_to_lightness(luminance: ArrayLike) -> Floats:
    """CIE L* 0..100 of a luminance 0..1 relative to white, elementwise."""
    return 116 * _f(_as_float(luminance)) - 16


def srgb_to_lightness(image: ArrayLike) -> Floats:
    """CIE L* 0..100 of an encoded image 0..1: of gray ``(H, W)``, or of RGB ``(..., H, W, 3)`` as ``(..., H, W)``.

    An array of three or more axes is RGB; ``ValueError`` is raised unless its last axis has three components.
    """
    image = _as_float(image)
    if image.ndim < 3:
        return gray_to_lightness(image)
    return luminance_to_lightness(srgb_to_linear(_as_colours(image, "RGB")) @ LUMINANCE.astype(image.dtype))


def lightness_to_gray(lightness: ArrayLike) -> Floats:
    """Encoded gray value 0..1 of neutral pixels of CIE L* 0..100, elementwise: the inverse of ``gray_to_lightness``.

    It never decreases as L* grows; L* outside 0..100 gives 0 or 1.
    """
    f = (_as_float(lightness) + 16) / 116
    # CUBE_FROM is rounded: with it, the curve would step down by 4e-8 where its two segments meet.
    toe = np.minimum((f - TOE_OFFSET) / TOE_SLOPE, CUBE_ROOT_FROM)
    return np.clip(linear_to_srgb(np.where(f > np.cbrt(CUBE_ROOT_FROM), f**3, toe)), 0, 1)


@cache
def lightness_lut(bits: int) -> NDArray[np.float32]:
    """CIE L* of every gray code: float32 ``(256,)`` for 8 bits, ``(65536,)`` for 16, read-only.

    ``lightness_lut(8)[photo]`` is the lightness of an 8-bit gray photo. Raises ValueError for other depths.
    """
    table = gray_to_lightness(code_values(bits)).astype(np.float32)
    table.flags.writeable = False
    return table


@cache
def linear_lut(bits: int) -> Floats:
    """Linear light 0..1 of every code, read-only: ``linear_lut(8)[photo]``. Raises ValueError for other depths."""
    table = srgb_to_linear(code_values(bits))
    table.flags.writeable = False
    return table


def code_values(bits: int) -> NDArray[np.float64]:
    """Every code of 8 or 16 bits as an encoded value 0..1, ascending. Raises ValueError for other depths."""
    if bits not in (8, 16):
        raise ValueError(f"photographs must have 8 or 16 bits per channel, not {bits}")
    return np.linspace(0, 1, 2**bits)
