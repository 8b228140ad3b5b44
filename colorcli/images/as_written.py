"""How far encoding moved lightness from the photograph's, measured on the written file, not on what went into it."""

from __future__ import annotations

import io
import os
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from colorcli.color.spaces import LUMINANCE, lightness_lut, linear_lut, luminance_to_lightness
from colorcli.errors import PhotoError
from colorcli.images import icc
from colorcli.images.encoding import Encoding
from colorcli.images.formats import PhotoFormat
from colorcli.images.photo import Metadata, Pixels, UnreadableError
from colorcli.images.source import Source
from colorcli.text import printable

# Files of up to this many pixels are decoded whole; for larger ones, bands of rows are re-encoded and decoded.
_WHOLE = 250_000
_COMPARED = 1 << 15


@dataclass(frozen=True)
class AsWritten:
    """Largest and mean |dL*| of a file's pixels against the photograph's, and the share 0..1 that was compared."""

    max_delta_l: float
    mean_delta_l: float
    share: float


def measure(part: Path, form: PhotoFormat, encoding: Encoding, original: Pixels, *, whole: bool = False) -> AsWritten:
    """Compare the lightness of a written file with that of the photograph.

    A file of up to 250,000 pixels is decoded, and about 33,000 of its pixels are compared, in evenly spaced rows. For a
    larger one, if its format codes blocks of rows independently, some blocks are encoded again with the same settings
    and compared, so that the cost does not grow with the size.

    Args:
        part: the file.
        form: its format.
        encoding: the settings it was written with.
        original: the photograph ``(H, W)`` or ``(H, W, 3)``, uint8 or uint16, sRGB-encoded.
        whole: whether to decode the file and compare every pixel, however long that takes.

    Raises:
        PhotoError: the file cannot be decoded.
    """
    height, width = original.shape[:2]
    rows = height if whole else max(1, min(height, _COMPARED // width))
    picked = np.unique(np.linspace(0, height - 1, rows).astype(np.intp))
    name = printable(os.fspath(part))
    try:
        if not whole and form.block_rows and height * width > _WHOLE and encoding.canvas is not None:
            starts = np.unique(picked[:: form.block_rows] // form.block_rows * form.block_rows)
            picked = np.concatenate([np.arange(y, min(y + form.block_rows, height)) for y in starts])
            written = _coded_again(encoding.canvas[picked], form, encoding)
        else:
            decoded = form.decoder.decode(Source(part.read_bytes()))
            written = icc.to_srgb(decoded.pixels[picked], decoded.icc)
    except UnreadableError as error:
        raise PhotoError(f"{name} was written but does not read back: it {error}.") from error
    difference = np.abs(_lightness(written) - _lightness(original[picked]))
    return AsWritten(float(difference.max()), float(difference.mean()), len(picked) / height)


def _coded_again(rows: Pixels, form: PhotoFormat, encoding: Encoding) -> Pixels:
    buffer = io.BytesIO()
    again = replace(encoding, height=len(rows), alpha=False, metadata=Metadata(), xmp=b"", canvas=None)
    form.encoder.encode(buffer, iter([rows]), again)
    return icc.to_srgb(form.decoder.decode(Source(buffer.getvalue())).pixels, encoding.icc)


def _lightness(pixels: Pixels) -> np.ndarray[tuple[int, ...], np.dtype[np.floating]]:
    bits = 8 * pixels.dtype.itemsize
    if pixels.ndim == 2:
        return lightness_lut(bits)[pixels]
    return luminance_to_lightness(linear_lut(bits)[pixels] @ LUMINANCE)
