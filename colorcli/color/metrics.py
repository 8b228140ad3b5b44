"""Measures of colour and of colour difference. Each names its formula and where it comes from."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from colorcli.color.spaces import Floats


def colorfulness(rgb: NDArray[np.uint8], *, absolute: bool = False) -> float:
    """How colourful an 8-bit sRGB picture ``(H, W, 3)`` is; 0 for gray, above 80 for the most vivid photographs.

    Hasler and Suesstrunk, "Measuring colourfulness in natural images" (2003), section 7: with rg = R - G and
    yb = (R + G) / 2 - B on codes 0..255, it is sqrt(std(rg)^2 + std(yb)^2) + 0.3 * sqrt(mean(rg)^2 + mean(yb)^2).

    Args:
        rgb: uint8, ``(H, W, 3)``.
        absolute: take |rg| and |yb|, as some papers and widespread code do; the numbers are not comparable.

    Raises:
        ValueError: the picture is not uint8 ``(H, W, 3)``, or empty.
    """
    _check_rgb8(rgb)
    red, green, blue = (rgb[..., channel].astype(np.float64) for channel in range(3))
    red_green, yellow_blue = red - green, (red + green) / 2 - blue
    if absolute:
        red_green, yellow_blue = np.abs(red_green), np.abs(yellow_blue)
    spread = math.hypot(red_green.std(), yellow_blue.std())
    return spread + 0.3 * math.hypot(red_green.mean(), yellow_blue.mean())


def psnr_rgb8(picture: NDArray[np.uint8], reference: NDArray[np.uint8]) -> float:
    """Peak signal-to-noise ratio in dB of two 8-bit sRGB pictures ``(H, W, 3)``; infinite when they are equal.

    10 * log10(255^2 / MSE), the mean squared error taken over pixels and channels of the codes 0..255 (ISO/IEC
    29170-1; as ``skimage.metrics.peak_signal_noise_ratio``). Average it over pictures, never the MSE.

    Raises:
        ValueError: a picture is not uint8 ``(H, W, 3)`` or empty, or the sizes differ.
    """
    _check_rgb8(picture)
    _check_rgb8(reference)
    if picture.shape != reference.shape:
        raise ValueError(f"pictures of different sizes cannot be compared: {picture.shape} and {reference.shape}")
    error = float(np.mean(np.square(picture.astype(np.float64) - reference)))
    return math.inf if error == 0 else 10 * math.log10(255**2 / error)


def _check_rgb8(rgb: NDArray[np.uint8]) -> None:
    if rgb.dtype != np.uint8 or rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.size == 0:
        raise ValueError(f"expected an 8-bit RGB picture (H, W, 3), got {rgb.dtype} of shape {rgb.shape}")


def delta_e_2000(lab: ArrayLike, reference: ArrayLike) -> Floats:
    """CIEDE2000 colour difference of CIELAB colours, ``(..., 3)`` against ``(..., 3)`` (broadcast) to ``(...)``.

    Sharma, Wu and Dalal, "The CIEDE2000 color-difference formula: implementation notes, supplementary test data, and
    mathematical observations" (2005), equations 2 to 22, with kL = kC = kH = 1. float64.

    Raises:
        ValueError: the last axis does not hold L*, a*, b*.
    """
    first, second = np.asarray(lab, np.float64), np.asarray(reference, np.float64)
    for colours in (first, second):
        if colours.ndim == 0 or colours.shape[-1] != 3:
            raise ValueError(f"CIELAB needs three components along its last axis, got shape {colours.shape}")
    lightness_1, a_1, b_1 = np.moveaxis(first, -1, 0)
    lightness_2, a_2, b_2 = np.moveaxis(second, -1, 0)

    # Stretch a* near the neutral axis (equations 2 to 7).
    a_gain = 1.5 - 0.5 * _saturation((np.hypot(a_1, b_1) + np.hypot(a_2, b_2)) / 2)
    chroma_1, chroma_2 = np.hypot(a_gain * a_1, b_1), np.hypot(a_gain * a_2, b_2)
    hue_1 = np.degrees(np.arctan2(b_1, a_gain * a_1)) % 360
    hue_2 = np.degrees(np.arctan2(b_2, a_gain * a_2)) % 360

    # Differences (8 to 11); hue has no meaning, and no difference, where either colour is neutral.
    neutral = chroma_1 * chroma_2 == 0
    hue_step = np.where(neutral, 0, (hue_2 - hue_1 + 180) % 360 - 180)
    lightness_difference, chroma_difference = lightness_2 - lightness_1, chroma_2 - chroma_1
    hue_difference = 2 * np.sqrt(chroma_1 * chroma_2) * np.sin(np.radians(hue_step / 2))

    # Means (12 to 14); the mean hue lies on the shorter arc.
    lightness, chroma = (lightness_1 + lightness_2) / 2, (chroma_1 + chroma_2) / 2
    hue_sum = hue_1 + hue_2
    hue_mean = np.where(np.abs(hue_1 - hue_2) <= 180, hue_sum / 2, (hue_sum + np.where(hue_sum < 360, 360, -360)) / 2)
    hue = np.where(neutral, hue_sum, hue_mean)

    # Weights (15 to 21).
    hue_weight = (
        1
        - 0.17 * np.cos(np.radians(hue - 30))
        + 0.24 * np.cos(np.radians(2 * hue))
        + 0.32 * np.cos(np.radians(3 * hue + 6))
        - 0.20 * np.cos(np.radians(4 * hue - 63))
    )
    from_middle = np.square(lightness - 50)
    scaled_lightness = lightness_difference / (1 + 0.015 * from_middle / np.sqrt(20 + from_middle))
    scaled_chroma = chroma_difference / (1 + 0.045 * chroma)
    scaled_hue = hue_difference / (1 + 0.015 * chroma * hue_weight)
    turn = 60 * np.exp(-np.square((hue - 275) / 25))
    rotation = -2 * _saturation(chroma) * np.sin(np.radians(turn))
    square = scaled_lightness**2 + scaled_chroma**2 + scaled_hue**2 + rotation * scaled_chroma * scaled_hue
    return np.asarray(np.sqrt(np.maximum(square, 0)), np.float64)


def _saturation(chroma: NDArray[np.float64]) -> NDArray[np.float64]:
    """sqrt(C^7 / (C^7 + 25^7)), written so that huge chroma does not overflow."""
    tiny = np.finfo(np.float64).tiny
    return np.asarray(1 / np.sqrt(1 + (25 / np.maximum(chroma, tiny ** (1 / 8))) ** 7))
