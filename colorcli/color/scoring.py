"""Compiled comparisons of 8-bit images: CIELAB, CIEDE2000 and SSIM, fast enough to run beside a network.

Everything is float64 and free of branches and calls, so that it compiles to vector instructions: CIEDE2000's
trigonometry works on unit vectors, and its remaining functions are polynomials exact to 1e-12. Compiled on first use.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from functools import cache
from typing import Any, cast

import numpy as np
from numpy.polynomial import chebyshev
from numpy.typing import NDArray

from colorcli.color.compiled import array, compiled, inlined, types
from colorcli.color.metrics import check_rgb8, check_sizes
from colorcli.color.spaces import CUBE_ROOT_FROM, RGB_TO_XYZ, TOE_OFFSET, TOE_SLOPE, WHITE_D65, code_values
from colorcli.color.spaces import srgb_to_linear as _srgb_to_linear

Lab = NDArray[np.float64]
Rgb8 = NDArray[np.uint8]

SSIM_WINDOW = 11
"""Rows and columns of the window of ``ssim_rgb8``; smaller images have no SSIM."""
_REACH = SSIM_WINDOW // 2
_C1, _C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
_TINY = 1e-300

# The cube root is r^(4/3) with r the fourth root, nearly straight over 0.3..1.05; one Halley step makes it exact.
_ROOT_FROM, _ROOT_TO = 0.30, 1.05


def _four_thirds(place: NDArray[np.float64]) -> Any:
    return ((_ROOT_FROM + _ROOT_TO) / 2 + (_ROOT_TO - _ROOT_FROM) / 2 * place) ** (4 / 3)


_R0, _R1, _R2, _R3, _R4, _R5 = (
    float(value) for value in chebyshev.cheb2poly(chebyshev.chebinterpolate(_four_thirds, 5))
)
_PLACE_SCALE = 2 / (_ROOT_TO - _ROOT_FROM)
_PLACE_SHIFT = -(_ROOT_TO + _ROOT_FROM) / (_ROOT_TO - _ROOT_FROM)

_M = RGB_TO_XYZ / WHITE_D65[:, None]
_XR, _XG, _XB = (float(v) for v in _M[0])
_YR, _YG, _YB = (float(v) for v in _M[1])
_ZR, _ZG, _ZB = (float(v) for v in _M[2])


def _turn(degrees: float) -> tuple[float, float]:
    return math.cos(math.radians(degrees)), math.sin(math.radians(degrees))


_COS_30, _SIN_30 = _turn(30)
_COS_6, _SIN_6 = _turn(6)
_COS_63, _SIN_63 = _turn(63)
_COS_275, _SIN_275 = _turn(275)
_DEGREES_IN_25 = math.degrees(1) / 25


def _exp_32nd(place: NDArray[np.float64]) -> Any:
    return np.exp(-0.5 + 0.5 * place)


# exp(x) for x in -32..0 is the 32nd power of exp(x / 32).
_E = tuple(float(value) for value in chebyshev.cheb2poly(chebyshev.chebinterpolate(_exp_32nd, 10)))
_E0, _E1, _E2, _E3, _E4, _E5, _E6, _E7, _E8, _E9, _E10 = _E


@inlined
def _f(ratio: float) -> float:
    """CIELAB's f of a tristimulus value relative to white, 0..1.1."""
    safe = max(ratio, 0.0088)
    place = _PLACE_SCALE * math.sqrt(math.sqrt(safe)) + _PLACE_SHIFT
    guess = _R0 + place * (_R1 + place * (_R2 + place * (_R3 + place * (_R4 + place * _R5))))
    cube = guess * guess * guess
    root = guess * (cube + 2 * safe) / (2 * cube + safe)
    return root if ratio > CUBE_ROOT_FROM else TOE_SLOPE * ratio + TOE_OFFSET


def _lab_of(rgb: Rgb8, linear: NDArray[np.float64], work: Lab, out: Lab) -> None:
    for y in range(rgb.shape[0]):
        red, green, blue = work[0], work[1], work[2]
        for x in range(rgb.shape[1]):
            red[x] = linear[rgb[y, x, 0]]
            green[x] = linear[rgb[y, x, 1]]
            blue[x] = linear[rgb[y, x, 2]]
        lightness, a, b = out[0, y], out[1, y], out[2, y]
        for x in range(rgb.shape[1]):
            f_x = _f(_XR * red[x] + _XG * green[x] + _XB * blue[x])
            f_y = _f(_YR * red[x] + _YG * green[x] + _YB * blue[x])
            f_z = _f(_ZR * red[x] + _ZG * green[x] + _ZB * blue[x])
            lightness[x] = 116 * f_y - 16
            a[x] = 500 * (f_x - f_y)
            b[x] = 200 * (f_y - f_z)


@inlined
def _saturation(chroma: float) -> float:
    """sqrt(C^7 / (C^7 + 25^7))."""
    square = chroma * chroma
    seventh = square * square * square * chroma
    return math.sqrt(seventh / (seventh + 6103515625.0))


@inlined
def _bell(cosine: float, sine: float) -> float:
    """exp(-((h - 275) / 25)^2) of the hue h in 0..360 degrees, given as a unit vector."""
    along = cosine * _COS_275 + sine * _SIN_275
    across = sine * _COS_275 - cosine * _SIN_275
    half = across / (1 + max(along, -0.9))
    quarter = half / (1 + math.sqrt(1 + half * half))
    eighth = quarter / (1 + math.sqrt(1 + quarter * quarter))
    s = eighth * eighth
    # arctan of |x| < 0.42 (its Taylor series)
    series = 1 / 15 - s * (1 / 17 - s * (1 / 19 - s * (1 / 21 - s * (1 / 23 - s / 25))))
    series = 1 - s * (1 / 3 - s * (1 / 5 - s * (1 / 7 - s * (1 / 9 - s * (1 / 11 - s * (1 / 13 - s * series))))))
    u = 8 * eighth * series * _DEGREES_IN_25
    place = 1 - 2 * min(u * u, 32.0) / 32
    p = _E6 + place * (_E7 + place * (_E8 + place * (_E9 + place * _E10)))
    p = _E0 + place * (_E1 + place * (_E2 + place * (_E3 + place * (_E4 + place * (_E5 + place * p)))))
    p2 = p * p
    p4 = p2 * p2
    p8 = p4 * p4
    p16 = p8 * p8
    # The formula takes hues from 0 to 360 without wrapping around: 275 is 85 from one end and 275 from the other.
    near = (along > -0.6) & (u < 3.4)
    return p16 * p16 if near else 0.0


@inlined
def _delta_e(l_1: float, a_1: float, b_1: float, l_2: float, a_2: float, b_2: float) -> float:
    """CIEDE2000 of two colours (Sharma, Wu and Dalal 2005, equations 2 to 22), see ``mean_delta_e_2000``."""
    plain = (math.sqrt(a_1 * a_1 + b_1 * b_1) + math.sqrt(a_2 * a_2 + b_2 * b_2)) / 2
    gain = 1.5 - 0.5 * _saturation(plain)
    a_1, a_2 = gain * a_1, gain * a_2
    chroma_1, chroma_2 = math.sqrt(a_1 * a_1 + b_1 * b_1), math.sqrt(a_2 * a_2 + b_2 * b_2)
    per_1, per_2 = 1 / max(chroma_1, _TINY), 1 / max(chroma_2, _TINY)
    x_1, y_1, x_2, y_2 = a_1 * per_1, b_1 * per_1, a_2 * per_2, b_2 * per_2
    # |u1 - u2| = 2 |sin(dh / 2)|, with the sign of the rotation from the first hue to the second.
    chord = math.sqrt((x_1 - x_2) * (x_1 - x_2) + (y_1 - y_2) * (y_1 - y_2))
    hue_difference = math.sqrt(chroma_1 * chroma_2) * (chord if x_1 * y_2 - y_1 * x_2 >= 0 else -chord)
    # The bisector of both hues; a neutral colour's hue is the zero vector, and does not count.
    c, s = x_1 + x_2, y_1 + y_2
    per = 1 / max(math.sqrt(c * c + s * s), _TINY)
    c, s = c * per, s * per
    c_2, s_2 = c * c - s * s, 2 * c * s
    c_3, s_3 = c * c_2 - s * s_2, s * c_2 + c * s_2
    c_4, s_4 = c_2 * c_2 - s_2 * s_2, 2 * c_2 * s_2
    hue_weight = (
        1
        - 0.17 * (c * _COS_30 + s * _SIN_30)
        + 0.24 * c_2
        + 0.32 * (c_3 * _COS_6 - s_3 * _SIN_6)
        - 0.20 * (c_4 * _COS_63 + s_4 * _SIN_63)
    )
    chroma = (chroma_1 + chroma_2) / 2
    middle = (l_1 + l_2) / 2 - 50
    middle = middle * middle
    scaled_l = (l_2 - l_1) / (1 + 0.015 * middle / math.sqrt(20 + middle))
    scaled_c = (chroma_2 - chroma_1) / (1 + 0.045 * chroma)
    scaled_h = hue_difference / (1 + 0.015 * chroma * hue_weight)
    angle = math.pi / 3 * _bell(c, s)
    q = angle * angle
    sine = angle * (
        1 - q / 6 * (1 - q / 20 * (1 - q / 42 * (1 - q / 72 * (1 - q / 110 * (1 - q / 156 * (1 - q / 210))))))
    )
    rotation = -2 * _saturation(chroma) * sine
    square = scaled_l * scaled_l + scaled_c * scaled_c + scaled_h * scaled_h + rotation * scaled_c * scaled_h
    return math.sqrt(max(square, 0.0))


def _mean_delta_e(first: Lab, second: Lab) -> float:
    total = 0.0
    for y in range(first.shape[1]):
        l_1, a_1, b_1 = first[0, y], first[1, y], first[2, y]
        l_2, a_2, b_2 = second[0, y], second[1, y], second[2, y]
        row = 0.0
        for x in range(first.shape[2]):
            row += _delta_e(l_1[x], a_1[x], b_1[x], l_2[x], a_2[x], b_2[x])
        total += row
    return float(total / (first.shape[1] * first.shape[2]))


def _mean_ssim(first: Lab, second: Lab, window: NDArray[np.float64], work: Lab) -> float:
    """Mean SSIM over the window positions inside the images, given as planes ``(3, H, W)``."""
    height, width = first.shape[1], first.shape[2]
    m_1, m_2, m_squares, m_12 = work[0], work[1], work[2], work[3]
    total = 0.0
    for channel in range(3):
        p, q = first[channel], second[channel]
        for y in range(height - 2 * _REACH):
            for x in range(width):
                s_1, s_2, s_squares, s_12 = 0.0, 0.0, 0.0, 0.0
                for k in range(SSIM_WINDOW):
                    u, v = p[y + k, x], q[y + k, x]
                    w_u, w_v = window[k] * u, window[k] * v
                    s_1 += w_u
                    s_2 += w_v
                    s_squares += w_u * u + w_v * v
                    s_12 += w_u * v
                m_1[x], m_2[x], m_squares[x], m_12[x] = s_1, s_2, s_squares, s_12
            row = 0.0
            for x in range(width - 2 * _REACH):
                s_1, s_2, s_squares, s_12 = 0.0, 0.0, 0.0, 0.0
                for k in range(SSIM_WINDOW):
                    s_1 += window[k] * m_1[x + k]
                    s_2 += window[k] * m_2[x + k]
                    s_squares += window[k] * m_squares[x + k]
                    s_12 += window[k] * m_12[x + k]
                product, squares = s_1 * s_2, s_1 * s_1 + s_2 * s_2
                row += ((2 * product + _C1) * (2 * (s_12 - product) + _C2)) / (
                    (squares + _C1) * (s_squares - squares + _C2)
                )
            total += row
    return float(total / (3 * (height - 2 * _REACH) * (width - 2 * _REACH)))


_PLANES = array(types.float64, 3)
_ROWS = array(types.float64, 2, readonly=False)
_TABLE = array(types.float64, 1)
_SIGNATURES: dict[str, tuple[Callable[..., Any], Any]] = {
    "lab": (_lab_of, types.void(array(types.uint8, 3), _TABLE, _ROWS, array(types.float64, 3, readonly=False))),
    "delta_e": (_mean_delta_e, types.float64(_PLANES, _PLANES)),
    "ssim": (_mean_ssim, types.float64(_PLANES, _PLANES, _TABLE, _ROWS)),
}
_LOCK = threading.Lock()
_loops: dict[str, Callable[..., Any]] = {}


def _loop(name: str) -> Callable[..., Any]:
    with _LOCK:
        if name not in _loops:
            _loops[name] = compiled(*_SIGNATURES[name])
        return _loops[name]


@cache
def _linear() -> NDArray[np.float64]:
    return np.ascontiguousarray(_srgb_to_linear(code_values(8)), np.float64)


@cache
def _window() -> NDArray[np.float64]:
    weights = np.exp(-0.5 * np.square(np.arange(-_REACH, _REACH + 1) / 1.5))
    return np.asarray(weights / weights.sum())


def lab_rgb8(rgb: Rgb8) -> Lab:
    """CIELAB of an 8-bit sRGB image ``(H, W, 3)``: float64 ``(3, H, W)``; equals ``spaces.srgb_to_lab`` to 1e-11.

    Raises:
        ValueError: the image is not uint8 ``(H, W, 3)``, or is empty.
    """
    check_rgb8(rgb)
    out = np.empty((3, *rgb.shape[:2]))
    _loop("lab")(np.ascontiguousarray(rgb), _linear(), np.empty((3, rgb.shape[1])), out)
    return out


def mean_delta_e_2000(lab: Lab, reference: Lab) -> float:
    """CIEDE2000 colour difference of two images, given as CIELAB planes ``(3, H, W)``, averaged over the pixels.

    Sharma, Wu and Dalal, "The CIEDE2000 color-difference formula: implementation notes, supplementary test data, and
    mathematical observations" (2005), equations 2 to 22, with kL = kC = kH = 1.

    Raises:
        ValueError: the sizes differ.
    """
    check_sizes(lab.shape, reference.shape)
    return cast(float, _loop("delta_e")(np.ascontiguousarray(lab), np.ascontiguousarray(reference)))


def ssim_rgb8(picture: Rgb8, reference: Rgb8) -> float:
    """Structural similarity of two 8-bit sRGB images ``(H, W, 3)``; at most 1, for equal images.

    Wang, Bovik, Sheikh and Simoncelli, "Image quality assessment: from error visibility to structural similarity"
    (2004), equation 13 with K1 = 0.01, K2 = 0.03, L = 255 on codes, moments weighted by an 11 x 11 Gaussian of sigma
    1.5 that sums to 1; averaged over the window positions inside the image, and over R, G and B. It equals
    ``skimage.metrics.structural_similarity(gaussian_weights=True, sigma=1.5, use_sample_covariance=False)``.

    Raises:
        ValueError: an image is not uint8 ``(H, W, 3)``, or is smaller than the window, or the sizes differ.
    """
    check_rgb8(picture)
    check_rgb8(reference)
    check_sizes(picture.shape, reference.shape)
    if min(picture.shape[:2]) < SSIM_WINDOW:
        raise ValueError(f"SSIM needs images of at least {SSIM_WINDOW} x {SSIM_WINDOW} pixels, got {picture.shape}")
    first, second = (np.ascontiguousarray(np.moveaxis(rgb, 2, 0), np.float64) for rgb in (picture, reference))
    return cast(float, _loop("ssim")(first, second, _window(), np.empty((4, picture.shape[1]))))


def warm_up() -> None:
    """Load the compiled loops, or compile them (seconds) if this machine has not done so yet, before a run."""
    black = np.zeros((SSIM_WINDOW, SSIM_WINDOW, 3), np.uint8)
    ssim_rgb8(black, black)
    mean_delta_e_2000(lab_rgb8(black), lab_rgb8(black))
