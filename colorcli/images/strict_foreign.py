"""Checking BMP and GIF files, whose decoders silently fill what is missing with black.

BMP: Microsoft's "Bitmap Storage". GIF: CompuServe's GIF89a, sections 18 to 22 and appendix F.
"""

from __future__ import annotations

import struct

from colorcli.images.photo import UnreadableError
from colorcli.images.source import Source

_MOST_LZW = 2731  # pixels per byte of LZW: a code of 12 bits stands for up to 4,096 pixels
_LARGEST_CODE = 4096


def check_capacity(source: Source) -> None:
    """Raise ``UnreadableError`` if a BMP or GIF is too small for the size it states; nothing is decoded."""
    head = source.read(0, 64)
    if head[:2] == b"BM":
        width, height, needed = _bmp_size(head)
        possible = needed is None or needed <= source.size
    elif head[:3] == b"GIF":
        width, height = struct.unpack_from("<HH", head.ljust(10, b"\0"), 6)
        possible = width * height <= source.size * _MOST_LZW
    else:
        return
    if not possible:
        raise UnreadableError(f"is cut off or damaged: it cannot hold the {width} x {height} it states")


def missing_share(source: Source) -> float:
    """The share 0..1 of the first image's pixels that is missing from a BMP or GIF; 0 for other formats.

    Raises:
        UnreadableError: the structure is damaged before the image.
    """
    head = source.read(0, 64)
    if head[:2] == b"BM":
        return _bmp_missing(source, head)
    return _gif_missing(source) if head[:3] == b"GIF" else 0.0


def _bmp_size(head: bytes) -> tuple[int, int, int | None]:
    """Width, height, and the smallest file size in bytes; None for a compressed file, where it is unknown."""
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
    if compression not in (0, 3, 6):
        return width, height, None
    return width, height, start + (width * bits + 31) // 32 * 4 * height


def _bmp_missing(source: Source, head: bytes) -> float:
    width, height, needed = _bmp_size(head)
    if needed is not None:
        return max(0.0, (needed - source.size) / max(1, needed))
    start = struct.unpack_from("<I", head, 10)[0]
    four = struct.unpack_from("<I", head, 30)[0] == 2
    data = source.read(start, source.size)
    at = x = y = 0
    while at + 1 < len(data) and y < height:
        count, value = data[at], data[at + 1]
        at += 2
        if count:
            x += count
        elif value == 0:
            x, y = 0, y + 1
        elif value == 1:
            return 0.0  # end of bitmap: what was not coded is meant to be empty
        elif value == 2:
            if at + 1 >= len(data):
                break
            x, y, at = x + data[at], y + data[at + 1], at + 2
        else:
            size = (value + 1) // 2 if four else value
            at += size + size % 2
            x += value
        if x > width + 1 or at > len(data):
            break
    return max(0.0, 1 - y / height)


def _gif_missing(source: Source) -> float:
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
    pixels, ended = _lzw_pixels(bytes(pieces), data[at], width * height)
    if pixels == width * height and ended:
        return 0.0
    # too many pixels, or no end code: the data are damaged at some unknown place
    return float(max(1 - pixels / max(1, width * height), 0.001))


def _after_blocks(data: bytes, at: int) -> int:
    while at < len(data) and data[at]:
        at += 1 + data[at]
    return at + 1


def _lzw_pixels(data: bytes, minimum: int, expected: int) -> tuple[int, bool]:
    """How many pixels the codes stand for, up to the first invalid one, and whether they end properly."""
    clear = 1 << minimum
    lengths = [1] * clear + [0, 0]
    size, held, bits, total = minimum + 1, 0, 0, 0
    before = 0  # number of pixels of the previous code; 0 after a clear code
    for byte in data:
        held |= byte << bits
        bits += 8
        while bits >= size:
            code = held & ((1 << size) - 1)
            held >>= size
            bits -= size
            if code == clear:
                lengths = lengths[: clear + 2]
                size, before = minimum + 1, 0
                continue
            if code == clear + 1:
                return total, True
            if code > len(lengths) or (code == len(lengths) and not before):
                return total, False
            if before and len(lengths) < _LARGEST_CODE:
                lengths.append(before + 1)
            before = lengths[code] if code < len(lengths) else before + 1
            total += before
            if total > expected:
                return total, False
            if len(lengths) == 1 << size and size < 12:
                size += 1
    return total, total == expected  # some writers omit the end code
