"""Measures of colourfulness and of the difference between images. Each states its formula and source."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray


def colorfulness(rgb: NDArray[np.uint8], *, absolute: bool = False) -> float:
    """How colourful an 8-bit sRGB image ``(H, W, 3)`` is; 0 for gray, above 80 for the most vivid photographs.

    Hasler and Suesstrunk, "Measuring colourfulness in natural images" (2003), section 7: with rg = R - G and
    yb = (R + G) / 2 - B on codes 0..255, it is sqrt(std(rg)^2 + std(yb)^2) + 0.3 * sqrt(mean(rg)^2 + mean(yb)^2).

    Args:
        rgb: uint8, ``(H, W, 3)``.
        absolute: take |rg| and |yb|, as some papers and widespread code do; the numbers are not comparable.

    Raises:
        ValueError: the image is not uint8 ``(H, W, 3)``, or is empty.
    """
    check_rgb8(rgb)
    red, green, blue = (rgb[..., channel].astype(np.float64) for channel in range(3))
    red_green, yellow_blue = red - green, (red + green) / 2 - blue
    if absolute:
        red_green, yellow_blue = np.abs(red_green), np.abs(yellow_blue)
    spread = math.hypot(red_green.std(), yellow_blue.std())
    return spread + 0.3 * math.hypot(red_green.mean(), yellow_blue.mean())


def psnr_rgb8(picture: NDArray[np.uint8], reference: NDArray[np.uint8]) -> float:
    """Peak signal-to-noise ratio in dB of two 8-bit sRGB images ``(H, W, 3)``; infinite when they are equal.

    10 * log10(255^2 / MSE), the mean squared error taken over pixels and channels of the codes 0..255 (ISO/IEC
    29170-1; as ``skimage.metrics.peak_signal_noise_ratio``). Over several images, average the PSNR, never the MSE.

    Raises:
        ValueError: an image is not uint8 ``(H, W, 3)`` or is empty, or the sizes differ.
    """
    check_rgb8(picture)
    check_rgb8(reference)
    check_sizes(picture.shape, reference.shape)
    error = float(np.mean(np.square(picture.astype(np.float64) - reference)))
    return math.inf if error == 0 else 10 * math.log10(255**2 / error)


def check_rgb8(rgb: NDArray[np.uint8]) -> None:
    """Raise ``ValueError`` unless an image is uint8 ``(H, W, 3)`` with at least one pixel."""
    if rgb.dtype != np.uint8 or rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.size == 0:
        raise ValueError(f"expected an 8-bit RGB image (H, W, 3), got {rgb.dtype} of shape {rgb.shape}")


def check_sizes(first: tuple[int, ...], second: tuple[int, ...]) -> None:
    """Raise ``ValueError`` unless two shapes are equal."""
    if first != second:
        raise ValueError(f"images of different sizes cannot be compared: {first} and {second}")
