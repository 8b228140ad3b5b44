"""Decoding JPEG streams so that damage shows.

libjpeg goes on after damage, fills what is missing with gray and tells of it in a warning only, which most bindings
hide. simplejpeg raises it, with the same pixels at the same speed. Here it is told apart from what writers leave
between picture and end marker, and measured: how much of the picture comes before the damage.
"""

from __future__ import annotations

import re
import struct
from typing import cast

import imagecodecs
import numpy as np
import simplejpeg

from colorcli.images.photo import Pixels, UnreadableError

_END = b"\xff\xd9"
_LEFT_OVER = re.compile(r"Corrupt JPEG data: (\d+) extraneous bytes before marker 0xd9")
_DAMAGE = re.compile(r"Corrupt JPEG data|Premature end|Invalid|Bogus|Inconsistent|Unsupported marker", re.IGNORECASE)
_READ_AHEAD = 16  # bytes that libjpeg holds in its bit buffer when it stops
_SPACES = {1: "GRAY", 3: "RGB", 4: "CMYK"}


def decode_strictly(data: bytes, channels: int) -> Pixels | None:
    """``(H, W)``, ``(H, W, 3)`` or CMYK ``(H, W, 4)``, uint8; None for a sort of JPEG that cannot be checked.

    Args:
        data: the stream, with its end marker.
        channels: 1, 3 or 4.

    Raises:
        UnreadableError: libjpeg found damage.
    """
    try:
        pixels = simplejpeg.decode_jpeg(data, colorspace=_SPACES[channels])
    except ValueError as error:
        left_over = _LEFT_OVER.match(str(error))
        if left_over and _is_padding(data, int(left_over[1])):
            return _decode_loosely(data, channels)
        if left_over or _DAMAGE.match(str(error)):
            raise UnreadableError(f"is damaged: {_told(str(error))}") from error
        return None
    return cast(Pixels, pixels[..., 0] if channels == 1 else pixels)


def sound_share(data: bytes, frame_at: int, height: int, channels: int) -> float | None:
    """The share of a damaged picture's rows that come before libjpeg first finds fault; None where that does not tell.

    The stream is cut to fewer rows, by the height that its frame header states, until libjpeg finds no fault in it.
    Damaged bytes may make sense for a while, so the share is at most this.

    Args:
        data: the stream, with its end marker.
        frame_at: where the frame header's marker is.
        height: rows.
        channels: 1, 3 or 4.
    """
    if data[frame_at + 1] not in (0xC0, 0xC1):  # of a progressive picture each scan covers all rows
        return None
    if _is_sound_up_to(data, frame_at, height, channels):  # what is left over at the end alone shows the damage
        return None
    low, high, step = 0, height, 8
    while high - low > step:
        middle = (low + high) // 2
        low, high = (middle, high) if _is_sound_up_to(data, frame_at, middle, channels) else (low, middle)
    return high / height


def _is_sound_up_to(data: bytes, frame_at: int, rows: int, channels: int) -> bool:
    shorter = data[: frame_at + 5] + struct.pack(">H", rows) + data[frame_at + 7 :]
    end = shorter.rfind(_END)
    try:
        simplejpeg.decode_jpeg(shorter, colorspace=_SPACES[channels])
    except ValueError as error:
        left_over = _LEFT_OVER.match(str(error))
        if left_over is None:
            return False
        # libjpeg tells of its last warning only: what lies before the rows that were left out has to be tried alone
        try:
            simplejpeg.decode_jpeg(shorter[: end - int(left_over[1])] + _END, colorspace=_SPACES[channels])
        except ValueError as error:
            read_ahead = _LEFT_OVER.match(str(error))
            return read_ahead is not None and int(read_ahead[1]) <= _READ_AHEAD
    return True


def _decode_loosely(data: bytes, channels: int) -> Pixels:
    pixels = simplejpeg.decode_jpeg(data, colorspace=_SPACES[channels], strict=False)
    return cast(Pixels, pixels[..., 0] if channels == 1 else pixels)


def decode_damaged(data: bytes, channels: int) -> Pixels:
    """What libjpeg makes of a damaged stream; shapes as of ``decode_strictly``.

    Raises:
        UnreadableError: nothing.
    """
    try:
        return _decode_loosely(data, channels)
    except ValueError as error:
        raise UnreadableError(f"is damaged beyond repair: {_told(str(error))}") from error


def segment_with_tables(tables: bytes | None, segment: bytes) -> bytes:
    """A strip or tile of a TIFF as a stream of its own, with the tables that the file keeps apart."""
    if not tables or len(tables) < 4:
        return segment
    return tables.removesuffix(_END) + segment[2:]


def _is_padding(data: bytes, count: int) -> bool:
    """Whether what was left over before the end marker is nothing but fill bytes, and so no part of a picture."""
    end = data.rfind(_END)
    return set(data[end - count : end]) <= {0x00, 0xFF}


def _told(message: str) -> str:
    return message.removeprefix("Corrupt JPEG data: ").lower()


def as_sixteen_bits(pixels: Pixels, precision: int) -> Pixels:
    """Samples of 9 to 15 bits over the whole range of 16."""
    top = (1 << precision) - 1
    table = np.rint(np.minimum(np.arange(65536) / top, 1) * 65535).astype(np.uint16)
    return cast(Pixels, table[pixels])


def decode_deep(data: bytes) -> Pixels:
    """``(H, W)`` or ``(H, W, 3)``, uint16, of a JPEG of 12 bits.

    Raises:
        UnreadableError: it cannot be decoded.
    """
    try:
        pixels = imagecodecs.jpeg8_decode(data)
    except imagecodecs.Jpeg8Error as error:
        raise UnreadableError(f"cannot be decoded: {error}") from error
    return as_sixteen_bits(cast(Pixels, pixels), 12)
