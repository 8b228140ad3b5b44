"""Resizes photographs to the working size of a network."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from colorcli.color.spaces import lightness_to_gray, srgb_to_lightness
from colorcli.images.photo import Pixels
from colorcli.networks.size import OURS

_STRIP_PIXELS = 1 << 20


def working_lightness(pixels: Pixels, height: int, width: int, resize: str = OURS) -> NDArray[np.float32]:
    """CIE L* 0..100 of a photograph, resized: float32 ``(height, width)``.

    Our own resize does not alias. The image is first reduced by an integer factor, strip by strip, to at least twice
    the target size, and then by Lanczos. Gamma-coded gray values are averaged, as in the images that networks are
    trained on; for a toned or colour photograph, those of the gray that has its lightness.

    Args:
        pixels: ``(H, W)`` or ``(H, W, 3)``, uint8 or uint16, sRGB-encoded.
        height: target rows.
        width: target columns.
        resize: ours, or what a released program does, including its faults; one of ``networks.size.RESIZES``:
            ``bicubic-8`` (zhang2016, siggraph17, pix2pix) and ``bilinear-8-luma`` (DeOldify) are Pillow's on 8 bits,
            which does not alias; ``bilinear`` (DDColor) and ``bilinear-luma`` (BigColor) use only the four nearest
            pixels. With ``luma`` in the name, colour becomes gray by 0.299 R + 0.587 G + 0.114 B.
    """
    if resize != OURS:
        gray = _RELEASED[resize](pixels, height, width)
        return np.clip(srgb_to_lightness(gray), 0, 100).astype(np.float32)
    rows, columns = pixels.shape[:2]
    factor = (max(1, rows // (2 * height)), max(1, columns // (2 * width)))
    code = Image.fromarray(_gray_code(pixels, *factor))
    # the last block of a row or column may be partial: the box keeps the geometry exact
    box = (0, 0, columns / factor[1], rows / factor[0])
    resized = np.asarray(code.resize((width, height), Image.Resampling.LANCZOS, box=box))
    lightness = srgb_to_lightness(np.clip(resized, 0, 1))
    return np.clip(lightness, 0, 100).astype(np.float32)


def width_first(image: Image.Image, width: int, height: int, filter_: Image.Resampling) -> Image.Image:
    """Resize by Pillow, width first, as every Pillow before version 13 does.

    From version 13 on, it begins with the height where that is reduced much more than the width, and the rounding in
    between gives up to two fifths of 8-bit pixels another code value: released programs and protocols mean the former.
    """
    return image.resize((width, image.height), filter_).resize((width, height), filter_)


def _pillow(pixels: Pixels, height: int, width: int, filter_: Image.Resampling) -> Image.Image:
    """Resized by Pillow on 8 bits, each channel rounded."""
    if pixels.dtype == np.uint16:
        pixels = ((pixels.astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8)
    return width_first(Image.fromarray(pixels), width, height, filter_)


def _bicubic_8(pixels: Pixels, height: int, width: int) -> NDArray[np.float32]:
    return np.asarray(_pillow(pixels, height, width, Image.Resampling.BICUBIC), np.float32) / np.float32(255)


def _bilinear_8_luma(pixels: Pixels, height: int, width: int) -> NDArray[np.float32]:
    # Pillow's own luma, which is also rounded to 8 bits
    return np.asarray(_pillow(pixels, height, width, Image.Resampling.BILINEAR).convert("L"), np.float32) / np.float32(
        255
    )


def _bilinear(pixels: Pixels, height: int, width: int) -> NDArray[np.float32]:
    """Bilinear from the four nearest pixels with half-pixel centres, as OpenCV and PyTorch resize floats."""
    top = np.float32(np.iinfo(pixels.dtype).max)
    (y0, y1, down), (x0, x1, across) = (
        _neighbours(*sides) for sides in ((pixels.shape[0], height), (pixels.shape[1], width))
    )
    down, across = (
        weight.reshape(-1, *[1] * axes) for weight, axes in ((down, pixels.ndim - 1), (across, pixels.ndim - 2))
    )

    def row(index: NDArray[np.intp]) -> NDArray[np.float32]:
        left, right = (pixels[index][:, columns].astype(np.float32) / top for columns in (x0, x1))
        return left * (1 - across) + right * across

    blended: NDArray[np.float32] = row(y0) * (1 - down) + row(y1) * down
    return blended


def _bilinear_luma(pixels: Pixels, height: int, width: int) -> NDArray[np.float32]:
    # the released program's weights add up to 0.9999, which scales gray photographs too
    resized = _bilinear(pixels, height, width)
    if resized.ndim == 2:
        return resized * np.float32(0.9999)
    return resized @ np.array([0.2989, 0.5870, 0.1140], np.float32)


def _neighbours(length: int, wanted: int) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float32]]:
    """For each target pixel, the two nearest source pixels along one side and the weight of the second."""
    at = np.maximum((np.arange(wanted, dtype=np.float32) + np.float32(0.5)) * np.float32(length / wanted) - 0.5, 0)
    first = np.minimum(at.astype(np.intp), length - 1)
    return first, np.minimum(first + 1, length - 1), (at - first).astype(np.float32)


_RELEASED: dict[str, Callable[[Pixels, int, int], NDArray[np.float32]]] = {
    "bicubic-8": _bicubic_8,
    "bilinear-8-luma": _bilinear_8_luma,
    "bilinear": _bilinear,
    "bilinear-luma": _bilinear_luma,
}


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
    # rows first: they are contiguous in memory, and NumPy vectorizes sums over whole blocks
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
