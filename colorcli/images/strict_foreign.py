"""Checking BMP and GIF files, whose decoders silently fill what is missing with black, or refuse all of it.

BMP: Microsoft's "Bitmap Storage". GIF: CompuServe's GIF89a, sections 18 to 22 and appendix F.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np

from colorcli.images.photo import UnreadableError, is_believable, too_small
from colorcli.images.source import Source

_MOST_LZW = 2731  # pixels per byte of LZW: a code of 12 bits stands for up to 4,096 pixels
_LARGEST_CODE = 4096
_LEAST_SHARE = 0.01  # of an uncompressed picture, below which nobody would want to see the rest


def check_capacity(source: Source) -> None:
    """Raise ``UnreadableError`` if a BMP or GIF is too small for the size it states; nothing is decoded."""
    head = source.read(0, 64)
    if head[:2] == b"BM":
        bmp = _bmp(head)
        width, height = bmp.width, bmp.height
        if bmp.rows is None:
            possible = is_believable(width, height, source.size)
        else:
            possible = source.size - bmp.start >= bmp.rows * _LEAST_SHARE
    elif head[:3] == b"GIF":
        width, height = struct.unpack_from("<HH", head.ljust(10, b"\0"), 6)
        possible = width * height <= source.size * _MOST_LZW
    else:
        return
    if not possible:
        raise too_small(width, height)


def missing_share(source: Source) -> float:
    """The share 0..1 of the first image's pixels that is missing from a BMP or GIF; 0 for other formats.

    Raises:
        UnreadableError: the structure is damaged before the image.
    """
    head = source.read(0, 64)
    if head[:2] == b"BM":
        bmp = _bmp(head)
        if bmp.rows is not None:
            return max(0.0, 1 - (source.size - bmp.start) / max(1, bmp.rows))
        rows, ended, _ = _runs(source.read(bmp.start, source.size), bmp)
        return 0.0 if ended else max(0.0, 1 - rows / bmp.height)
    if head[:3] != b"GIF":
        return 0.0
    found = _gif(source)
    if found.whole:
        return 0.0
    # too much, or no end: somewhere before it went wrong
    return max(1 - found.pixels / max(1, found.expected), 0.001)


def filled_up(source: Source) -> bytes:
    """A damaged BMP or GIF whose picture goes on in black, or the first colour of its palette, where it is missing.

    Raises:
        UnreadableError: as ``missing_share`` does.
    """
    head = source.read(0, 64)
    if head[:3] == b"GIF":
        return _filled_gif(source.whole(), _gif(source))
    data, bmp = source.whole(), _bmp(head)
    if bmp.rows is not None:
        return data.ljust(bmp.start + bmp.rows, b"\0")
    whole, _, sound = _runs(data[bmp.start :], bmp)
    row = bytes([255, 0]) * (bmp.width // 255) + bytes([bmp.width % 255, 0] * (bmp.width % 255 > 0)) + b"\0\0"
    return data[: bmp.start + sound] + row * (bmp.height - whole) + b"\0\1"


@dataclass(frozen=True)
class _Bmp:
    """What a BMP's header says; ``rows`` are the bytes of an uncompressed picture, None where it is compressed."""

    width: int
    height: int
    start: int
    rows: int | None
    nibbles: bool


def _bmp(head: bytes) -> _Bmp:
    if len(head) < 34:
        raise UnreadableError("is cut off inside its header")
    start, kind = struct.unpack_from("<II", head, 10)
    if kind == 12:
        width, height, _, bits = struct.unpack_from("<HHHH", head, 18)
        compression = 0
    else:
        width, height, _, bits, compression = struct.unpack_from("<iiHHI", head, 18)
    width, height = abs(width), abs(height)
    if not (width and height):
        raise UnreadableError("does not state its size")
    rows = (width * bits + 31) // 32 * 4 * height if compression in (0, 3, 6) else None
    return _Bmp(width, height, start, rows, nibbles=compression == 2)


def _runs(data: bytes, bmp: _Bmp) -> tuple[int, bool, int]:
    """Of a BMP in runs: rows up to where they make no sense, whether they come to an end, and bytes of these rows."""
    at = x = y = whole = 0
    while at + 1 < len(data) and y < bmp.height:
        count, value = data[at], data[at + 1]
        at += 2
        if count:
            x += count
        elif value == 0:
            x, y, whole = 0, y + 1, at
        elif value == 1:
            return y, True, at  # end of bitmap: what was not coded is meant to be empty
        elif value == 2:
            if at + 1 >= len(data):
                return y, False, whole
            x, y, at = x + data[at], y + data[at + 1], at + 2
        else:
            size = (value + 1) // 2 if bmp.nibbles else value
            at += size + size % 2
            x += value
        if x > bmp.width + 1 or at > len(data):
            return y, False, whole
    return y, y >= bmp.height, whole


@dataclass(frozen=True)
class _Gif:
    """How far the codes of a GIF's first picture make sense.

    Attributes:
        at: where the codes' minimal size stands.
        minimum: that size, in bits.
        codes: the codes, taken out of their blocks.
        expected: pixels of the picture.
        pixels: that the codes stand for as far as they make sense.
        bits: of the codes up to there.
        size: of the next code, in bits.
        whole: whether the picture is whole.
    """

    at: int
    minimum: int
    codes: bytes
    expected: int
    pixels: int
    bits: int
    size: int
    whole: bool


def _gif(source: Source) -> _Gif:
    data = source.whole()
    at = 13 + (3 << (data[10] & 7) + 1 if len(data) > 12 and data[10] & 0x80 else 0)
    while at < len(data) and data[at] == 0x21:  # extensions before the image
        at = _after_blocks(data, at + 2)
    if at + 11 > len(data) or data[at] != 0x2C:
        raise UnreadableError("is cut off or damaged: it holds no picture")
    width, height, packed = struct.unpack_from("<HHB", data, at + 5)
    at += 10 + (3 << (packed & 7) + 1 if packed & 0x80 else 0)
    if at >= len(data) or not 1 <= data[at] <= 11:
        raise UnreadableError("is cut off or damaged: it holds no picture")
    pieces, start = bytearray(), at + 1
    while start < len(data) and data[start]:
        pieces += data[start + 1 : start + 1 + data[start]]
        start += 1 + data[start]
    codes = bytes(pieces)
    return _Gif(at, data[at], codes, width * height, *_lzw_pixels(codes, data[at], width * height))


def _filled_gif(data: bytes, gif: _Gif) -> bytes:
    """The file up to where its codes make sense, then code 0 for every pixel that is missing."""
    clear, width = 1 << gif.minimum, gif.minimum + 1
    # the table is cleared before codes would become longer
    period = max(1, clear - 2)
    periods, rest = divmod(gif.expected - gif.pixels, period)
    row = _bits(clear, width) + [0] * (period * width)
    sound = np.unpackbits(np.frombuffer(gif.codes, np.uint8), bitorder="little")[: gif.bits]
    tail = row[: (1 + rest) * width] + _bits(clear + 1, width)
    bits = [sound, np.array(_bits(clear, gif.size), np.uint8), np.tile(np.array(row, np.uint8), periods)]
    codes = np.packbits(np.concatenate([*bits, np.array(tail, np.uint8)]), bitorder="little").tobytes()
    blocks = (codes[k : k + 255] for k in range(0, len(codes), 255))
    return data[: gif.at + 1] + b"".join(bytes([len(block)]) + block for block in blocks) + b"\0;"


def _bits(code: int, width: int) -> list[int]:
    """A code's bits, the lowest first."""
    return [code >> k & 1 for k in range(width)]


def _after_blocks(data: bytes, at: int) -> int:
    while at < len(data) and data[at]:
        at += 1 + data[at]
    return at + 1


def _lzw_pixels(data: bytes, minimum: int, expected: int) -> tuple[int, int, int, bool]:
    """How many pixels and bits the valid codes stand for and take, the size of the next, whether the image is whole."""
    clear = 1 << minimum
    lengths = [1] * clear + [0, 0]
    size, held, bits, total, taken = minimum + 1, 0, 0, 0, 0
    before = 0  # number of pixels of the previous code; 0 after a clear code
    for byte in data:
        held |= byte << bits
        bits += 8
        while bits >= size:
            code = held & ((1 << size) - 1)
            held >>= size
            bits -= size
            if code == clear:
                taken += size
                lengths = lengths[: clear + 2]
                size, before = minimum + 1, 0
                continue
            if code == clear + 1:
                return total, taken, size, total == expected
            if code > len(lengths) or (code == len(lengths) and not before):
                return total, taken, size, False
            length = lengths[code] if code < len(lengths) else before + 1
            if total + length > expected:
                return total, taken, size, False
            if before and len(lengths) < _LARGEST_CODE:
                lengths.append(before + 1)
            before = length
            total += length
            taken += size
            if len(lengths) == 1 << size and size < 12:
                size += 1
    return total, taken, size, total == expected  # some writers omit the end code
