"""The photograph at the size a network works at."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from colorcli.color.spaces import lightness_to_gray, srgb_to_lightness
from colorcli.images.photo import Pixels

_STRIP_PIXELS = 1 << 20


def working_lightness(pixels: Pixels, height: int, width: int) -> NDArray[np.float32]:
    """CIE L* 0..100 of a photograph, resized without aliasing: float32 ``(height, width)``.

    The picture is first reduced by a whole factor, strip by strip, to at least twice the size wanted, and then by
    Lanczos. What is averaged is the gamma-coded gray value, as in the pictures networks are trained on; of a toned or
    coloured photograph, the gray that has its lightness.

    Args:
        pixels: ``(H, W)`` or ``(H, W, 3)``, uint8 or uint16, sRGB-encoded.
        height: rows wanted.
        width: columns wanted.
    """
    rows, columns = pixels.shape[:2]
    factor = (max(1, rows // (2 * height)), max(1, columns // (2 * width)))
    code = Image.fromarray(_gray_code(pixels, *factor))
    # the last block of a row or column may be partial: the box keeps the geometry exact
    box = (0, 0, columns / factor[1], rows / factor[0])
    resized = np.asarray(code.resize((width, height), Image.Resampling.LANCZOS, box=box))
    lightness = srgb_to_lightness(np.clip(resized, 0, 1))
    return np.clip(lightness, 0, 100).astype(np.float32)


def _gray_code(pixels: Pixels, down: int, across: int) -> NDArray[np.float32]:
    """Gamma-coded gray 0..1, averaged over blocks of ``down`` by ``across`` pixels: float32."""
    rows, columns = pixels.shape[:2]
    code = np.empty((-(-rows // down), -(-columns // across)), np.float32)
    step = max(1, _STRIP_PIXELS // (columns * down))
    for y in range(0, code.shape[0], step):
        mean = _block_means(pixels[y * down : (y + step) * down], down, across)
        if mean.ndim == 3:
            mean = lightness_to_gray(srgb_to_lightness(mean))
        code[y : y + mean.shape[0]] = mean
    return code


def _block_means(strip: Pixels, down: int, across: int) -> NDArray[np.floating]:
    top = np.iinfo(strip.dtype).max
    if down == across == 1:
        return strip.astype(np.float32) / top
    rows, columns = strip.shape[:2]
    # sums of rows first: they run along memory, and over whole blocks NumPy takes them many at a time
    whole = rows - rows % down
    held = np.uint16 if down * int(top) <= np.iinfo(np.uint16).max else np.uint32  # half as wide, twice as fast
    sums = np.add.reduce(strip[:whole].reshape(-1, down, *strip.shape[1:]), axis=1, dtype=held)
    if whole < rows:
        sums = np.concatenate((sums, np.add.reduce(strip[whole:], axis=0, dtype=held, keepdims=True)))
    sums = np.add.reduceat(sums, np.arange(0, columns, across), axis=1, dtype=np.uint64)
    heights = np.diff(np.append(np.arange(0, rows, down), rows))
    widths = np.diff(np.append(np.arange(0, columns, across), columns))
    counts = (heights[:, None] * widths * float(top)).reshape(len(heights), len(widths), *([1] * (strip.ndim - 2)))
    return np.asarray(sums / counts)
