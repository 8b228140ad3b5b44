"""The full-resolution join of a photograph's own lightness with a network's small chroma.

Every pixel keeps its lightness: a colour outside the sRGB gamut loses chroma, at constant CIELAB hue, but never
lightness. The compiled loops are in ``kernel.py``; this module checks and prepares their arguments.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from colorcli.color.enlarge import Strips
from colorcli.color.enlarge import strips as enlarged
from colorcli.color.spaces import code_values, lightness_lut, srgb_to_linear

Codes = NDArray[np.uint8] | NDArray[np.uint16]

_MAX_STRENGTH = 1000.0


@dataclass
class Fidelity:
    """How faithful a joined image is to the photograph and to the chroma; filled when its last strip has been made.

    Attributes:
        max_delta_l: largest |dL*| of a pixel, output codes against input codes.
        mean_delta_l: mean |dL*| over the pixels.
        fitted_share: share of the pixels, 0..1, whose chroma was reduced to fit the sRGB gamut.
        mean_chroma: mean of hypot(a*, b*) as fitted, before rounding to codes.
    """

    max_delta_l: float = 0.0
    mean_delta_l: float = 0.0
    fitted_share: float = 0.0
    mean_chroma: float = 0.0


def join_strips(
    pixels: Codes,
    chroma: NDArray[np.floating[Any]],
    *,
    bits: int = 8,
    strength: float = 1.0,
    strip_rows: int = 256,
    fidelity: Fidelity | None = None,
    out: Codes | None = None,
    enlarge: str = "cubic",
) -> Iterator[Codes]:
    """Join a photograph's lightness with chroma, strip by strip from the top; memory does not grow with its height.

    With zero chroma, a gray photograph comes back exactly (R = G = B = its code). Otherwise L* is kept within 0.5 at 8
    bits and 0.01 at 16.

    Args:
        pixels: the photograph ``(H, W)`` or ``(H, W, 3)``, uint8 or uint16, sRGB-encoded. Only L* of RGB is used.
        chroma: a*, b* ``(2, h, w)`` of the same scene at any size; or a picture of it, sRGB 0..1 ``(3, h, w)``, where
            ``enlarge`` is in RGB.
        bits: bits per sample of the output, 8 or 16, independent of the photograph's.
        strength: factor on the chroma, 0..1000.
        strip_rows: rows in a strip, >= 1.
        fidelity: filled when the iterator is exhausted.
        out: array ``(H, W, 3)`` to write into, so that strips are views of it; None makes an array for each strip.
        enlarge: how chroma is resized to the photograph's size: our ``cubic``, which makes neither blocks nor
            overshoot and averages chroma that is larger than the photograph; or PyTorch's ``bilinear`` or ``nearest``,
            as in released programs; or PyTorch's ``bilinear-rgb`` or Pillow's 8-bit ``bilinear-8-rgb``, which resize
            the picture and take its chroma then.

    Returns:
        Iterator over strips ``(rows, W, 3)``, uint8 or uint16.

    Raises:
        ValueError: wrong shape, dtype or parameter, or chroma that is not finite; raised by the call, not at the first
            strip.
    """
    photo = _checked_photo(pixels)
    if bits not in (8, 16):
        raise ValueError(f"output must have 8 or 16 bits per channel, not {bits}")
    if strip_rows < 1:
        raise ValueError(f"a strip must have at least one row, not {strip_rows}")
    if not 0 <= strength <= _MAX_STRENGTH:
        raise ValueError(f"strength must be from 0 to {_MAX_STRENGTH:g}, not {strength}")
    height, width = photo.shape[:2]
    if out is not None and (
        out.shape != (height, width, 3) or out.dtype != f"u{bits // 8}" or not out.flags.c_contiguous
    ):
        raise ValueError(f"out must have the shape (H, W, 3) and {bits} bits, not {out.shape} of {out.dtype}")
    ready = enlarged(chroma, enlarge, strength, height, width)
    return _strips(photo, ready, bits, strip_rows, Fidelity() if fidelity is None else fidelity, out)


def join(
    pixels: Codes,
    chroma: NDArray[np.floating[Any]],
    *,
    bits: int = 8,
    strength: float = 1.0,
    fidelity: Fidelity | None = None,
) -> Codes:
    """``join_strips`` in one piece: ``(H, W, 3)``, uint8 or uint16."""
    out: Codes = np.empty((*pixels.shape[:2], 3), np.uint8 if bits == 8 else np.uint16)
    for _ in join_strips(pixels, chroma, bits=bits, strength=strength, fidelity=fidelity, out=out):
        pass
    return out


def warm_up() -> None:
    """Load the compiled loops, or compile them (seconds) if this machine has not done so yet, before a run."""
    join(np.zeros((1, 1), np.uint8), np.zeros((2, 1, 1), np.float32))


def _checked_photo(pixels: Codes) -> Codes:
    if pixels.dtype.kind != "u" or pixels.dtype.itemsize > 2:
        raise ValueError(f"a photograph must have uint8 or uint16 pixels, not {pixels.dtype}")
    if pixels.size == 0 or not (pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[2] == 3)):
        raise ValueError(
            f"a photograph must have the shape (H, W) or (H, W, 3) and at least one pixel, not {pixels.shape}"
        )
    return pixels[..., None] if pixels.ndim == 2 else pixels


@cache
def _code_to_f(bits: int) -> NDArray[np.float32]:
    return ((lightness_lut(bits).astype(np.float64) + 16) / 116).astype(np.float32)


@cache
def _code_to_linear(bits: int) -> NDArray[np.float32]:
    return srgb_to_linear(code_values(bits)).astype(np.float32)


def _strips(
    photo: Codes,
    enlarged: Strips,
    bits: int,
    strip_rows: int,
    fidelity: Fidelity,
    whole: Codes | None,
) -> Iterator[Codes]:
    # Importing numba takes longer than `colorcli --help` may take altogether.
    from colorcli.color import kernel

    join_rows = kernel.join_rows()
    height, width = photo.shape[:2]
    in_bits = 8 * photo.dtype.itemsize
    work = np.empty((kernel.WORK_ROWS, width), np.float32)
    largest, changed, fitted, total = 0.0, 0.0, 0, 0.0
    for top in range(0, height, strip_rows):
        rows = slice(top, top + strip_rows)
        strip = np.ascontiguousarray(photo[rows], photo.dtype.newbyteorder("="))
        out = np.empty((strip.shape[0], width, 3), f"u{bits // 8}") if whole is None else whole[rows]
        chroma, row_taps, column_taps = enlarged(rows)
        strip_largest, strip_changed, strip_fitted, strip_total = join_rows(
            *_by_depth(strip),
            _code_to_f(in_bits),
            _code_to_linear(in_bits),
            chroma,
            row_taps.first,
            row_taps.weights,
            column_taps.first,
            np.ascontiguousarray(column_taps.weights.T),
            _code_to_linear(bits),
            *_by_depth(out),
            work,
        )
        largest, changed = max(largest, strip_largest), changed + strip_changed
        fitted, total = fitted + strip_fitted, total + strip_total
        yield out
    fidelity.max_delta_l = largest
    fidelity.mean_delta_l = changed / (height * width)
    fidelity.fitted_share = fitted / (height * width)
    fidelity.mean_chroma = max(0.0, total / (height * width))


def _by_depth(codes: NDArray[Any]) -> tuple[NDArray[np.uint8], NDArray[np.uint16]]:
    """The codes as an 8-bit and a 16-bit array, one of which is empty."""
    nothing = (0, *codes.shape[1:])
    if codes.dtype.itemsize == 1:
        return codes, np.empty(nothing, np.uint16)
    return np.empty(nothing, np.uint8), codes
