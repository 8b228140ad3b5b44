"""The compiled loops of the full-resolution join. Importing this module imports numba; ``join.py`` does so when needed.

A strip of the photograph is processed row by row: interpolate the chroma, join it with the lightness, fit it into the
gamut, encode, and measure how rounding changed the lightness. Each step is a loop over a row without branches, so that
it compiles to vector instructions; intermediate rows stay in the processor's cache.

Everything is float32. XYZ is relative to the white of the sRGB primaries themselves (R = G = B = 1), which differs from
the tabulated D65 white by at most 8e-5 (0.006 units of b*), so that zero chroma is exactly gray, even at 16 bits.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.polynomial import chebyshev
from numpy.typing import NDArray

from colorcli.color.compiled import array, compiled, types
from colorcli.color.compiled import jit as _jit
from colorcli.color.spaces import CUBE_ROOT_FROM, LUMINANCE, RGB_TO_XYZ, TOE_OFFSET, TOE_SLOPE, XYZ_TO_RGB

WORK_ROWS = 21
"""Scratch rows of the photograph's width that ``join_rows`` needs, float32."""

Row = NDArray[np.float32]
Rows = NDArray[np.float32]
Table = NDArray[np.float32]
Weights = NDArray[np.float32]
CodeRow = NDArray[np.uint8] | NDArray[np.uint16]
Taps = NDArray[np.uint32]
Pixels = NDArray[np.uint8] | NDArray[np.uint16]

_single = np.float32

# Columns scaled by the white of the primaries: each row sums to 1, so that channel = Y + c_x (X - Y) + c_z (Z - Y).
_MIX = (XYZ_TO_RGB * RGB_TO_XYZ.sum(axis=1)).astype(np.float32)
_RX, _RZ = _MIX[0, 0], _MIX[0, 2]
_GX, _GZ = _MIX[1, 0], _MIX[1, 2]
_BX, _BZ = _MIX[2, 0], _MIX[2, 2]
_Y_RED, _Y_GREEN, _Y_BLUE = LUMINANCE.astype(np.float32)

_Y_JOINT, _F_JOINT = _single(CUBE_ROOT_FROM), _single(np.cbrt(CUBE_ROOT_FROM))
_TOE_SLOPE, _PER_TOE_SLOPE, _TOE_OFFSET = _single(TOE_SLOPE), _single(1 / TOE_SLOPE), _single(TOE_OFFSET)
_PER_A, _PER_B = _single(1 / 500), _single(1 / 200)
_ZERO, _HALF, _ONE, _TWO = _single(0), _single(0.5), _single(1), _single(2)
# Linear light this far outside 0..1 is noise, not a colour out of gamut; cutting it off costs 0.003 L* at most.
_BELOW, _BELOW_PER_Y, _ABOVE = _single(-1e-6), _single(-3e-5), _single(1 + 5e-5)
_BISECTIONS = 16

# With u the fourth root of c, the sRGB curve 1.055 c^(1/2.4) - 0.055 is 1.055 u^(5/3) - 0.055, which is so nearly
# straight over the range needed that a polynomial of degree 8 follows it to 0.01 of a 16-bit code.
_LINEAR_TO = 0.0031308
_MIDDLE, _RADIUS = (1 + _LINEAR_TO**0.25) / 2, (1 - _LINEAR_TO**0.25) / 2


def _curve(place: NDArray[np.float64]) -> Any:
    return 1.055 * (_MIDDLE + _RADIUS * place) ** (5 / 3) - 0.055


_P = tuple(_single(value) for value in chebyshev.cheb2poly(chebyshev.chebinterpolate(_curve, 8)))
_CURVE_JOINT, _STRAIGHT = _single(_LINEAR_TO), _single(12.92)
_PLACE_SCALE, _PLACE_SHIFT = _single(1 / _RADIUS), _single(-_MIDDLE / _RADIUS)


@_jit
def _f_inverse(f: np.float32) -> np.float32:
    return f * f * f if f > _F_JOINT else (f - _TOE_OFFSET) * _PER_TOE_SLOPE


@_jit
def _cube_root_step(guess: np.float32, value: np.float32) -> np.float32:
    """One step of Halley's iteration towards the cube root; triples the number of correct digits."""
    cube = guess * guess * guess
    return guess * (cube + _TWO * value) / (_TWO * cube + value)


@_jit
def _linear_rgb(f: np.float32, a: np.float32, b: np.float32) -> tuple[np.float32, np.float32, np.float32]:
    """Linear R, G, B of f = (L* + 16) / 116 and a*, b*."""
    y = _f_inverse(f)
    x_y = _f_inverse(f + a * _PER_A) - y
    z_y = _f_inverse(f - b * _PER_B) - y
    return y + _RX * x_y + _RZ * z_y, y + _GX * x_y + _GZ * z_y, y + _BX * x_y + _BZ * z_y


@_jit
def _is_outside(red: np.float32, green: np.float32, blue: np.float32) -> np.bool[bool]:
    return (min(red, green, blue) < _ZERO) | (max(red, green, blue) > _ONE)


@_jit
def _needs_fit(red: np.float32, green: np.float32, blue: np.float32) -> np.bool[bool]:
    luminance = _Y_RED * red + _Y_GREEN * green + _Y_BLUE * blue
    outside: np.bool[bool] = (min(red, green, blue) < _BELOW + _BELOW_PER_Y * luminance) | (
        max(red, green, blue) > _ABOVE
    )
    return outside


@_jit
def _widen_row(row: Row, taps: Taps, weights: Weights, out: Row) -> None:
    """Interpolate one row of the chroma to the photograph's width with four taps, clamped to the taps' range."""
    for x in range(out.shape[0]):
        k = taps[x]
        p, q, r, s = row[k], row[k + 1], row[k + 2], row[k + 3]
        value = weights[0, x] * p + weights[1, x] * q + weights[2, x] * r + weights[3, x] * s
        out[x] = min(max(value, min(p, q, r, s)), max(p, q, r, s))


@_jit
def _blend_rows(p: Row, q: Row, r: Row, s: Row, weights: Row, out: Row) -> None:
    """Interpolate between four widened rows of the chroma, clamped to their range at each pixel."""
    w0, w1, w2, w3 = weights[0], weights[1], weights[2], weights[3]
    for x in range(out.shape[0]):
        value = w0 * p[x] + w1 * q[x] + w2 * r[x] + w3 * s[x]
        low = min(p[x], q[x], r[x], s[x])
        high = max(p[x], q[x], r[x], s[x])
        out[x] = min(max(value, low), high)


@_jit
def _gray_row(pixels: Pixels, code_to_f: Table, f: Row) -> None:
    """f = (L* + 16) / 116 of a row of gray codes ``(W, 1)``."""
    for x in range(f.shape[0]):
        f[x] = code_to_f[pixels[x, 0]]


@_jit
def _rgb_row(pixels: Pixels, code_to_linear: Table, f: Row, luminance: Row, guess: Row) -> None:
    """f = (L* + 16) / 116 of a row of RGB codes ``(W, 3)``, from their luminance; two scratch rows."""
    for x in range(f.shape[0]):
        red, green, blue = pixels[x, 0], pixels[x, 1], pixels[x, 2]
        luminance[x] = _Y_RED * code_to_linear[red] + _Y_GREEN * code_to_linear[green] + _Y_BLUE * code_to_linear[blue]
    bits, guess_bits = luminance.view(np.int32), guess.view(np.int32)
    for x in range(f.shape[0]):
        # Dividing the float's bits by three divides its exponent: the cube root to within 4 %.
        guess_bits[x] = bits[x] // np.int32(3) + np.int32(709921077)
    for x in range(f.shape[0]):
        above = max(luminance[x], _Y_JOINT)
        root = _cube_root_step(_cube_root_step(guess[x], above), above)
        f[x] = root if luminance[x] > _Y_JOINT else _TOE_SLOPE * luminance[x] + _TOE_OFFSET


@_jit
def _lightness_row(pixels: Pixels, code_to_f: Table, code_to_linear: Table, f: Row, luminance: Row, guess: Row) -> None:
    if pixels.shape[1] == 1:
        _gray_row(pixels, code_to_f, f)
    else:
        _rgb_row(pixels, code_to_linear, f, luminance, guess)


@_jit
def _join_row(
    f: Row, a: Row, b: Row, red: Row, green: Row, blue: Row, marks: NDArray[np.uint8]
) -> tuple[np.int32, np.float32]:
    """Linear R, G, B of a row, and a mark at each pixel that is out of gamut.

    Returns the number of marked pixels and the sum of the row's chroma.
    """
    outside = np.int32(0)
    chroma = _ZERO
    for x in range(f.shape[0]):
        r, g, u = _linear_rgb(f[x], a[x], b[x])
        red[x], green[x], blue[x] = r, g, u
        mark = np.uint8(_needs_fit(r, g, u))
        marks[x] = mark
        outside += np.int32(mark)
        chroma += np.sqrt(a[x] * a[x] + b[x] * b[x])
    return outside, chroma


@_jit
def _bracket(f: np.float32, a: np.float32, b: np.float32) -> tuple[np.float32, np.float32]:
    """Shares (low, high) of the chroma that bracket the gamut boundary nearest to the full chroma.

    Nearly every line of constant hue and lightness leaves the gamut once. Near the yellow primary, some lines leave it,
    return and leave it again: there the search goes inwards by single units of chroma.
    """
    low, high = _ZERO, _ONE
    if f > 0.94 and a < 0 and b > 0 and a * a + b * b > 3600:
        step = _ONE / np.sqrt(a * a + b * b)
        t = _ONE - step
        while t > 0:
            red, green, blue = _linear_rgb(f, t * a, t * b)
            if not _is_outside(red, green, blue):
                low = t
                break
            high = t
            t -= step
    return low, high


@_jit
def _fit_row(
    f: Row,
    a: Row,
    b: Row,
    red: Row,
    green: Row,
    blue: Row,
    eights: NDArray[np.uint64],
    picked: NDArray[np.int32],
    work: Rows,
) -> np.float32:
    """Scale the chroma of out-of-gamut pixels down to the boundary. Returns the sum of chroma taken away.

    The pixels are gathered first: bisecting many in parallel is several times faster than solving one by one.

    Args:
        eights: the marks of ``_join_row``, eight in each.
        picked: scratch, as long as the row.
        work: scratch, five rows.
    """
    count = 0
    f_out, a_out, b_out, low, high = work[0], work[1], work[2], work[3], work[4]
    marks = eights.view(np.uint8)
    for eight in range(eights.shape[0]):
        if eights[eight] != 0:
            # Every pixel is stored, and overwritten by the next unless it was marked: no branch to mispredict.
            for x in range(8 * eight, min(8 * eight + 8, f.shape[0])):
                picked[count] = x
                count += 1 if marks[x] != 0 else 0
    for n in range(count):
        x = picked[n]
        f_out[n], a_out[n], b_out[n] = f[x], a[x], b[x]
        low[n], high[n] = _bracket(f[x], a[x], b[x])
    for _ in range(_BISECTIONS):
        for n in range(count):
            t = (low[n] + high[n]) * _HALF
            r, g, u = _linear_rgb(f_out[n], t * a_out[n], t * b_out[n])
            outside = _is_outside(r, g, u)
            low[n], high[n] = low[n] if outside else t, t if outside else high[n]
    taken = _ZERO
    for n in range(count):
        t, x = low[n], picked[n]
        red[x], green[x], blue[x] = _linear_rgb(f_out[n], t * a_out[n], t * b_out[n])
        taken += (_ONE - t) * np.sqrt(a_out[n] * a_out[n] + b_out[n] * b_out[n])
    return taken


@_jit
def _encode_row(linear: Row, top: np.float32, codes: CodeRow) -> None:
    """Encode linear light as codes 0..top, rounded."""
    for x in range(linear.shape[0]):
        light = min(max(linear[x], _ZERO), _ONE)
        v = np.sqrt(np.sqrt(light)) * _PLACE_SCALE + _PLACE_SHIFT
        curve = _P[7] + v * _P[8]
        curve = _P[4] + v * (_P[5] + v * (_P[6] + v * curve))
        curve = _P[0] + v * (_P[1] + v * (_P[2] + v * (_P[3] + v * curve)))
        encoded = curve if light > _CURVE_JOINT else _STRAIGHT * light
        codes[x] = np.int32(encoded * top + _HALF)


@_jit
def _note_change(
    f: Row,
    red: CodeRow,
    green: CodeRow,
    blue: CodeRow,
    code_to_linear: Table,
    luminance: Row,
    largest: Row,
    summed: Row,
) -> None:
    """Raise ``largest`` to the difference between f = (L* + 16) / 116 and that of a row of codes, and add it to
    ``summed``, column by column.

    A single maximum over all columns would not be vectorized.
    """
    for x in range(f.shape[0]):
        luminance[x] = (
            _Y_RED * code_to_linear[red[x]] + _Y_GREEN * code_to_linear[green[x]] + _Y_BLUE * code_to_linear[blue[x]]
        )
    for x in range(f.shape[0]):
        y = luminance[x]
        # Rounding moves f by a few percent at most, so that one step from the intended f finds the true one to 1e-6.
        root = _cube_root_step(f[x], max(y, _Y_JOINT))
        changed = root if y > _Y_JOINT else _TOE_SLOPE * y + _TOE_OFFSET
        change = abs(changed - f[x])
        largest[x] = max(largest[x], change)
        summed[x] += change


@_jit
def _interleave(red: CodeRow, green: CodeRow, blue: CodeRow, out: Pixels) -> None:
    # This is vectorized only with a single index and codes of the output's width.
    flat = out.reshape(-1)
    for x in range(red.shape[0]):
        flat[3 * x], flat[3 * x + 1], flat[3 * x + 2] = red[x], green[x], blue[x]


@_jit
def _write_row(
    f: Row, red: Row, green: Row, blue: Row, code_to_linear: Table, codes: NDArray[Any], changes: Rows, out: Pixels
) -> None:
    """Encode a row of linear light, and record how rounding changed its lightness; ``codes`` is scratch ``(3, W)``."""
    top = np.float32(code_to_linear.shape[0] - 1)
    _encode_row(red, top, codes[0])
    _encode_row(green, top, codes[1])
    _encode_row(blue, top, codes[2])
    _note_change(f, codes[0], codes[1], codes[2], code_to_linear, red, changes[0], changes[1])
    _interleave(codes[0], codes[1], codes[2], out)


def _join_rows(
    pixels8: NDArray[np.uint8],
    pixels16: NDArray[np.uint16],
    code_to_f: Table,
    code_to_linear: Table,
    chroma: NDArray[np.float32],
    row_taps: Taps,
    row_weights: Weights,
    column_taps: Taps,
    column_weights: Weights,
    out_code_to_linear: Table,
    out8: NDArray[np.uint8],
    out16: NDArray[np.uint16],
    work: Rows,
) -> tuple[float, float, int, float]:
    """Colour a strip of rows; the arguments' types are in ``_SIGNATURE``.

    Args:
        pixels8: codes of the photograph ``(rows, W, 1 or 3)`` if it has 8 bits, else ``(0, ...)``.
        pixels16: the same if it has 16 bits.
        code_to_f: (L* + 16) / 116 of every code of the photograph's depth.
        code_to_linear: linear light of every code of the photograph's depth.
        chroma: a*, b* ``(2, h + 4, w + 4)``, its edges repeated twice on each side.
        row_taps: the first of the four rows of ``chroma`` that each row of the strip lies between.
        row_weights: their weights ``(rows, 4)``.
        column_taps: the same for the columns ``(W,)``.
        column_weights: ``(4, W)``.
        out_code_to_linear: linear light of every code of the output's depth.
        out8: codes of the output ``(rows, W, 3)``, written if it has 8 bits, else ``(0, ...)``.
        out16: the same if it has 16 bits.
        work: scratch, float32 ``(WORK_ROWS, W)``.

    Returns:
        Largest |dL*| of the output's codes and their sum, number of pixels fitted, sum of chroma written.
    """
    f, a, b, red, green, blue = work[0], work[1], work[2], work[3], work[4], work[5]
    wide_a, wide_b, changes = work[6:10], work[10:14], work[19:21]
    changes[:] = _ZERO
    held = np.full(4, -1)
    eights = np.zeros((f.shape[0] + 7) // 8, np.uint64)
    marks = eights.view(np.uint8)
    picked = np.empty(f.shape[0], np.int32)
    codes8, codes16 = np.empty((3, f.shape[0]), np.uint8), np.empty((3, f.shape[0]), np.uint16)
    fitted, total = 0, 0.0
    for y in range(row_taps.shape[0]):
        first = int(row_taps[y])
        for k in range(first, first + 4):
            if held[k & 3] != k:
                held[k & 3] = k
                _widen_row(chroma[0, k], column_taps, column_weights, wide_a[k & 3])
                _widen_row(chroma[1, k], column_taps, column_weights, wide_b[k & 3])
        p, q, r, s = first & 3, (first + 1) & 3, (first + 2) & 3, (first + 3) & 3
        _blend_rows(wide_a[p], wide_a[q], wide_a[r], wide_a[s], row_weights[y], a)
        _blend_rows(wide_b[p], wide_b[q], wide_b[r], wide_b[s], row_weights[y], b)
        if pixels8.shape[0] > 0:
            _lightness_row(pixels8[y], code_to_f, code_to_linear, f, red, green)
        else:
            _lightness_row(pixels16[y], code_to_f, code_to_linear, f, red, green)
        outside, row_chroma = _join_row(f, a, b, red, green, blue, marks)
        total += float(row_chroma)
        if outside > 0:
            fitted += int(outside)
            total -= float(_fit_row(f, a, b, red, green, blue, eights, picked, work[14:19]))
        if out8.shape[0] > 0:
            _write_row(f, red, green, blue, out_code_to_linear, codes8, changes, out8[y])
        else:
            _write_row(f, red, green, blue, out_code_to_linear, codes16, changes, out16[y])
    return float(changes[0].max()) * 116, float(changes[1].sum()) * 116, fitted, total


_TABLE = array(types.float32, 1)
_TAPS = array(types.uint32, 1)
_WEIGHTS = array(types.float32, 2)
_SIGNATURE = types.Tuple((types.float64, types.float64, types.int64, types.float64))(
    array(types.uint8, 3),
    array(types.uint16, 3),
    _TABLE,
    _TABLE,
    array(types.float32, 3),
    _TAPS,
    _WEIGHTS,
    _TAPS,
    _WEIGHTS,
    _TABLE,
    array(types.uint8, 3, readonly=False),
    array(types.uint16, 3, readonly=False),
    array(types.float32, 2, readonly=False),
)

JoinRows = Callable[..., tuple[float, float, int, float]]
_LOCK = threading.Lock()
_compiled: list[JoinRows] = []


def join_rows() -> JoinRows:
    """The compiled ``_join_rows``."""
    with _LOCK:
        if not _compiled:
            _compiled.append(compiled(_join_rows, _SIGNATURE))
        return _compiled[0]
