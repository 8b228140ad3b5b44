"""Decoding JPEG streams without hiding damage.

After damage, libjpeg goes on, fills what is missing with gray and only warns, which most bindings hide. simplejpeg
raises the warning, with the same pixels at the same speed. This module distinguishes damage from harmless bytes that
writers leave before the end marker, and measures how much of the image comes before the damage.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from typing import cast

import imagecodecs
import numpy as np
import simplejpeg

from colorcli.images.photo import Pixels, UnreadableError

_END = b"\xff\xd9"
_LEFT_OVER = re.compile(r"Corrupt JPEG data: (\d+) extraneous bytes before marker 0xd9")
_DAMAGE = re.compile(r"Corrupt JPEG data|Premature end|Invalid|Bogus|Inconsistent|Unsupported marker", re.IGNORECASE)
_RESERVED = re.compile(rb"\xff[\x02-\xbf]")  # ITU-T T.81, table B.1
_RESTARTS, _SCAN = 0xDD, 0xDA
_RESTART = re.compile(rb"\xff[\xd0-\xd7]")
READABLE_FRAMES = frozenset((0xC0, 0xC1, 0xC2, 0xC9, 0xCA))
"""Frame markers of what libjpeg decodes: baseline and progressive JPEG, in Huffman and arithmetic coding."""

_PROGRESSIVE = frozenset((0xC2, 0xCA))
_ARITHMETIC = frozenset((0xC9, 0xCA))
# markers other than those inside a scan: stuffed zeros, restarts, fill bytes
_AFTER_SCAN = re.compile(rb"\xff([^\x00\xd0-\xd7\xff])")
# markers that cannot follow a scan: libjpeg gives up there
_NO_SCAN = re.compile(rb"\xff[\x01-\xbf\xd8\xf0-\xfd]")
_READ_AHEAD = 16  # bytes that libjpeg holds in its bit buffer when it stops
_SPACES = {1: "GRAY", 3: "RGB", 4: "CMYK"}


def decode_strictly(data: bytes, channels: int) -> Pixels | None:
    """``(H, W)``, ``(H, W, 3)`` or CMYK ``(H, W, 4)``, uint8; None for a kind of JPEG that cannot be checked.

    Args:
        data: the stream, with its end marker.
        channels: 1, 3 or 4.

    Raises:
        UnreadableError: libjpeg found damage, or a scan is missing.
    """
    _check_scans(data)
    try:
        pixels = simplejpeg.decode_jpeg(data, colorspace=_SPACES[channels])
    except ValueError as error:
        left_over = _LEFT_OVER.match(str(error))
        if left_over and _is_padding(data, int(left_over[1])):
            return _decode_loosely(data, channels)
        if left_over or _DAMAGE.match(str(error)):
            raise UnreadableError(f"is damaged: {_told(str(error))}") from error
        return None
    made = cast(Pixels, pixels[..., 0] if channels == 1 else pixels)
    if _is_arithmetic(data) and not np.array_equal(made, _decode_loosely(_continued(data), channels)):
        raise UnreadableError("is cut off or damaged: the data of its picture end early")
    return made


def _is_arithmetic(data: bytes) -> bool:
    return next((marker in _ARITHMETIC for marker, _ in _segments(data) if marker in READABLE_FRAMES), False)


def _continued(data: bytes) -> bytes:
    """An arithmetic-coded stream with more data, which change its picture only if it had ended early.

    libjpeg reads zeros after the end, without a warning, since encoders leave out final zeros (ITU-T T.81, D.1.8).
    Eight of them code more than any sound picture leaves out.
    """
    end = data.rfind(_END)
    return data[:end] + bytes(8) + b"\x55" * 64 + data[end:]


def _check_scans(data: bytes) -> None:
    """Raise ``UnreadableError`` unless the scans cover every coefficient of every channel with all its bits.

    libjpeg does not miss the later scans of a progressive JPEG, or the other channels' scans of a sequential one: it
    takes what has come as a picture with less detail (ITU-T T.81, G.1.1.1).
    """
    missing: dict[int, set[int]] = {}  # coefficients that have not come with their last bit, by channel
    is_progressive = False
    for marker, content in _segments(data):
        if marker in READABLE_FRAMES and not missing:
            is_progressive = marker in _PROGRESSIVE
            missing = {channel: set(range(64)) for channel in content[6::3]}
        elif marker == _SCAN and content:
            channels, (first, last, bits) = content[1 : 1 + 2 * content[0] : 2], content[-3:]
            arrived = range(first, last + 1) if is_progressive else range(64)
            for channel in channels:
                if not (is_progressive and bits & 15):
                    missing.get(channel, set()).difference_update(arrived)
            if not any(missing.values()):
                return
    if any(missing.values()):
        raise UnreadableError("is cut off or damaged: scans of its picture are missing")


def _segments(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Marker and content of every segment, those between scans included."""
    at = 2
    while (found := _AFTER_SCAN.search(data, at)) and found[1][0] != _END[1]:
        start = found.end()
        length = int.from_bytes(data[start : start + 2], "big")
        yield found[1][0], data[start + 2 : start + length]
        at = start + max(length, 2)


def as_eight_bits(data: bytes) -> bytes:
    """A 12-bit stream under the name of an 8-bit one, which simplejpeg reads.

    Its pixels mean nothing, but its damage is the same: the entropy-coded data do not depend on the precision.
    """
    at = 2
    while at + 5 <= len(data) and data[at] == 0xFF:
        marker, length = data[at + 1], int.from_bytes(data[at + 2 : at + 4], "big")
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):  # a frame header (ITU-T T.81, B.2.2)
            return data[: at + 4] + b"\x08" + data[at + 5 :]
        at += 2 + length if marker != 0xFF else 1
    return data


def without_reserved_markers(data: bytes, scan_at: int) -> bytes:
    """A damaged stream without the markers that no JPEG has, on which libjpeg gives up instead of going on.

    simplejpeg goes on by itself; this is for the decoder of 12 bits.
    """
    return data[:scan_at] + _RESERVED.sub(b"\xff\x00", data[scan_at:])


def sound_share(data: bytes, frame_at: int, height: int, channels: int) -> float | None:
    """An upper bound on the share of a damaged image's rows that are intact; None if it is unknown.

    The height in the frame header is lowered until libjpeg finds no damage. Damaged bytes may decode for a while before
    libjpeg notices, so the true share can be smaller.

    Args:
        data: the stream, with its end marker.
        frame_at: offset of the frame header's marker.
        height: rows of the image.
        channels: 1, 3 or 4.
    """
    if data[frame_at + 1] not in (0xC0, 0xC1):  # every scan of a progressive JPEG covers all rows
        return None
    intervals, lost = _restart_intervals(data)
    if intervals > 1:  # libjpeg goes on after each, so that rows after the damage may be sound
        return 1 - lost / intervals
    if end := _NO_SCAN.search(data, frame_at):
        data = data[: end.start()].rstrip(b"\xff") + _END
    if _is_sound_up_to(data, frame_at, height, channels):  # only bytes left over at the end show the damage
        return None
    low, high, step = 0, height, 8
    while high - low > step:
        middle = (low + high) // 2
        low, high = (middle, high) if _is_sound_up_to(data, frame_at, middle, channels) else (low, middle)
    return high / height


def _restart_intervals(data: bytes) -> tuple[int, int]:
    """How many restart intervals a damaged sequential image has in all, and of these at least how many are lost."""
    interval = rows = columns = 0
    for marker, content in _segments(data):
        if marker == _RESTARTS:
            interval = int.from_bytes(content[:2], "big")
        elif marker in READABLE_FRAMES:
            height, width = struct.unpack_from(">HH", content, 1)
            factors = content[7::3]  # both sampling factors of each channel
            across, down = (max(f >> 4 for f in factors), max(f & 15 for f in factors)) if len(factors) > 1 else (1, 1)
            rows, columns = -(-height // (8 * down)), -(-width // (8 * across))
        elif marker == _SCAN:
            break
    if not interval:
        return 0, 0
    expected = -(-rows * columns // interval)
    return expected, max(1, expected - 1 - len(_RESTART.findall(data)))


def _is_sound_up_to(data: bytes, frame_at: int, rows: int, channels: int) -> bool:
    shorter = data[: frame_at + 5] + struct.pack(">H", rows) + data[frame_at + 7 :]
    end = shorter.rfind(_END)
    try:
        simplejpeg.decode_jpeg(shorter, colorspace=_SPACES[channels])
    except ValueError as error:
        left_over = _LEFT_OVER.match(str(error))
        if left_over is None:
            return False
        # libjpeg reports only its last warning, so the data of the remaining rows must be tried on their own
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
    """What libjpeg makes of a damaged stream; shapes as for ``decode_strictly``.

    Raises:
        UnreadableError: libjpeg can make nothing of it.
    """
    try:
        return _decode_loosely(data, channels)
    except ValueError as error:
        raise UnreadableError(f"is damaged beyond repair: {_told(str(error))}") from error


def segment_with_tables(tables: bytes | None, segment: bytes) -> bytes:
    """A TIFF's strip or tile as a complete stream, with the tables that the file stores separately."""
    if not tables or len(tables) < 4:
        return segment
    return tables.removesuffix(_END) + segment[2:]


def _is_padding(data: bytes, count: int) -> bool:
    """Whether the bytes left over before the end marker are only fill bytes, not image data."""
    end = data.rfind(_END)
    return set(data[end - count : end]) <= {0x00, 0xFF}


def _told(message: str) -> str:
    return message.removeprefix("Corrupt JPEG data: ").lower()


def as_sixteen_bits(pixels: Pixels, precision: int) -> Pixels:
    """Samples of 9 to 15 bits scaled to the full 16-bit range: uint16 of the same shape."""
    top = (1 << precision) - 1
    table = np.rint(np.minimum(np.arange(65536) / top, 1) * 65535).astype(np.uint16)
    return cast(Pixels, table[pixels])


def decode_deep(data: bytes) -> Pixels:
    """A 12-bit JPEG as ``(H, W)`` or ``(H, W, 3)``, uint16.

    Raises:
        UnreadableError: it cannot be decoded.
    """
    try:
        pixels = imagecodecs.jpeg8_decode(data)
    except imagecodecs.Jpeg8Error as error:
        raise UnreadableError(f"cannot be decoded: {error}") from error
    return as_sixteen_bits(cast(Pixels, pixels), 12)
