"""Checking CCITT streams (ITU-T T.4, T.6) for damage that decoders ignore: every row must fill the width exactly.

A flipped bit changes all runs that follow. Decoders cut rows that are too long, fill rows that are too short and go on.
No pixels are made here: compiled code only adds up the runs, about as fast as a decoder.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

RLE, GROUP3, GROUP4 = 2, 3, 4
"""The compressions, as values of TIFF tag 259."""

# the codes of runs of 0 to 63, then of 64 to 1728 by 64 (T.4, tables 2 and 3)
_WHITE = (
    "00110101 000111 0111 1000 1011 1100 1110 1111 10011 10100 00111 01000 001000 000011 110100 110101 101010 "
    "101011 0100111 0001100 0001000 0010111 0000011 0000100 0101000 0101011 0010011 0100100 0011000 00000010 "
    "00000011 00011010 00011011 00010010 00010011 00010100 00010101 00010110 00010111 00101000 00101001 00101010 "
    "00101011 00101100 00101101 00000100 00000101 00001010 00001011 01010010 01010011 01010100 01010101 00100100 "
    "00100101 01011000 01011001 01011010 01011011 01001010 01001011 00110010 00110011 00110100 11011 10010 010111 "
    "0110111 00110110 00110111 01100100 01100101 01101000 01100111 011001100 011001101 011010010 011010011 "
    "011010100 011010101 011010110 011010111 011011000 011011001 011011010 011011011 010011000 010011001 010011010 "
    "011000 010011011"
)
_BLACK = (
    "0000110111 010 11 10 011 0011 0010 00011 000101 000100 0000100 0000101 0000111 00000100 00000111 000011000 "
    "0000010111 0000011000 0000001000 00001100111 00001101000 00001101100 00000110111 00000101000 00000010111 "
    "00000011000 000011001010 000011001011 000011001100 000011001101 000001101000 000001101001 000001101010 "
    "000001101011 000011010010 000011010011 000011010100 000011010101 000011010110 000011010111 000001101100 "
    "000001101101 000011011010 000011011011 000001010100 000001010101 000001010110 000001010111 000001100100 "
    "000001100101 000001010010 000001010011 000000100100 000000110111 000000111000 000000100111 000000101000 "
    "000001011000 000001011001 000000101011 000000101100 000001011010 000001100110 000001100111 0000001111 "
    "000011001000 000011001001 000001011011 000000110011 000000110100 000000110101 0000001101100 0000001101101 "
    "0000001001010 0000001001011 0000001001100 0000001001101 0000001110010 0000001110011 0000001110100 "
    "0000001110101 0000001110110 0000001110111 0000001010010 0000001010011 0000001010100 0000001010101 "
    "0000001011010 0000001011011 0000001100100 0000001100101"
)
# runs of 1792 to 2560 by 64, for both colours
_LONG = (
    "00000001000 00000001100 00000001101 000000010010 000000010011 000000010100 000000010101 000000010110 000000010111 "
    "000000011100 000000011101 000000011110 000000011111"
)
_LONGEST_CODE = 13
# modes of two-dimensional rows (T.4, table 4): a vertical mode is 3 plus its distance, -3 to 3
_PASS, _HORIZONTAL = 7, 8
_MODES = {"0000010": 0, "000010": 1, "010": 2, "1": 3, "011": 4, "000011": 5, "0000011": 6, "0001": 7, "001": 8}


def is_sound(data: bytes, compression: int, width: int, rows: int, *, two_dimensional: bool = False) -> bool:
    """Whether a strip or tile holds exactly its rows, each of the full width, and then only padding.

    Args:
        data: the strip, most significant bit first.
        compression: ``RLE``, ``GROUP3`` or ``GROUP4``.
        width: pixels in a row.
        rows: rows in the strip.
        two_dimensional: for group 3, whether rows may refer to the row above.
    """
    codes = np.frombuffer(data + bytes(4), np.uint8)
    checker = _checker()
    return bool(checker(codes, 8 * len(data), compression, width, rows, two_dimensional, *_tables()))


@cache
def _tables() -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int32]]:
    """What the next 13 bits begin with, in tables for white, black and modes: 16 times the meaning, plus the length."""

    def table(meanings: dict[str, int]) -> NDArray[np.int32]:
        found = np.zeros(1 << _LONGEST_CODE, np.int32)
        for code, meaning in meanings.items():
            rest = _LONGEST_CODE - len(code)
            start = int(code, 2) << rest
            found[start : start + (1 << rest)] = 16 * meaning + len(code)
        return found

    runs = [*range(64), *range(64, 1729, 64)]
    longer = dict(zip(_LONG.split(), range(1792, 2561, 64), strict=True))
    white, black = (dict(zip(codes.split(), runs, strict=True)) | longer for codes in (_WHITE, _BLACK))
    return table(white), table(black), table(_MODES)


@cache
def _checker() -> Any:
    # numba is slow to import, and few photographs have one bit
    import numba

    return numba.njit(cache=True)(_check)


def _check(  # noqa: PLR0911, PLR0912, PLR0915
    data: NDArray[np.uint8],
    size: int,
    compression: int,
    width: int,
    rows: int,
    two_dimensional: bool,
    white: NDArray[np.int32],
    black: NDArray[np.int32],
    modes: NDArray[np.int32],
) -> bool:
    """One function, which numba compiles best; ``above`` holds the changes of colour in the previous row."""
    above, row = np.full(width + 4, width, np.int32), np.full(width + 4, width, np.int32)
    at = 0
    for _ in range(rows):
        flat = compression != 4
        if compression == 3:
            # fill bits, then the end-of-line code that starts each row; some writers omit the first one
            start = at
            while start < size and not data[start >> 3] >> (7 - (start & 7)) & 1:
                start += 1
            if start - at >= 11:
                at = start + 1
                if two_dimensional:
                    flat = data[at >> 3] >> (7 - (at & 7)) & 1 == 1
                    at += 1
        a0, color, count, k = 0, 0, 0, 0
        begun = False
        while a0 < width or (flat and not begun):
            if at > size:
                return False
            word = (
                (int(data[at >> 3]) << 16 | int(data[(at >> 3) + 1]) << 8 | int(data[(at >> 3) + 2])) >> (11 - (at & 7))
            ) & 8191
            runs = 0
            if flat:
                runs = 1
            else:
                entry = modes[word]
                if entry == 0:
                    return False
                at += entry & 15
                mode = entry >> 4
                # b1: the first change in the row above, right of a0, to the opposite of the current colour
                while k > 0 and above[k - 1] > a0:
                    k -= 1
                while (above[k] <= a0 and (begun or above[k] < a0 or a0 > 0) and above[k] < width) or (
                    k & 1 != color and above[k] < width
                ):
                    k += 1
                if mode == 7:
                    b2 = above[k + 1] if above[k] < width else width
                    a0, begun = b2, True
                    continue
                if mode == 8:
                    runs = 2
                else:
                    a1 = above[k] + mode - 3
                    if (
                        a1 < a0
                        or a1 > width
                        or (a1 == a0 and begun and a1 < width and count > 0 and row[count - 1] == a1)
                    ):
                        return False
                    row[count] = a1
                    count += 1
                    a0, begun, color = a1, True, 1 - color
                    continue
            for _run in range(runs):
                length = 0
                while True:
                    if at > size:
                        return False
                    word = (
                        (int(data[at >> 3]) << 16 | int(data[(at >> 3) + 1]) << 8 | int(data[(at >> 3) + 2]))
                        >> (11 - (at & 7))
                    ) & 8191
                    entry = white[word] if color == 0 else black[word]
                    if entry == 0:
                        return False
                    at += entry & 15
                    length += entry >> 4
                    if entry >> 4 < 64:
                        break
                a0 += length
                if a0 > width:
                    return False
                row[count] = a0
                count += 1
                begun, color = True, 1 - color
        row[count : count + 4] = width
        above, row = row, above
        if compression == 2:
            at = (at + 7) & ~7
    if at > size:
        return False
    # at most six end-of-line codes, and padding
    ones = 0
    zeros = 0
    while at < size:
        if data[at >> 3] >> (7 - (at & 7)) & 1:
            if zeros < 11 and not (two_dimensional and zeros == 0 and ones > 0):
                return False
            ones += 1
            zeros = 0
        else:
            zeros += 1
        at += 1
    return ones <= 12
