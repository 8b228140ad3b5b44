"""JPEG 2000 files (ITU-T T.800), decoded by OpenJPEG through imagecodecs."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

import imagecodecs
import numpy as np

from colorcli.images import exif
from colorcli.images.photo import Decoded, Header, Pixels, UnreadableError
from colorcli.images.source import Source

_CODESTREAM = b"\xff\x4f\xff\x51"
_UUID_XMP = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")
_UUID_EXIF = b"JpgTiffExif->JP2"
_UUID_IPTC = bytes.fromhex("33c7a4d2b81d4723a0baf1a3e097ad38")
_MAX_BOX = 1 << 26


@dataclass(frozen=True)
class _Size:
    """What the codestream's SIZ segment says."""

    width: int
    height: int
    components: int
    bits: int
    signed: bool


def header(source: Source) -> Header:
    """Size and depth, from the codestream's first segment."""
    size = _size(source)
    return Header(size.width, size.height, 8 if size.bits <= 8 else 16)


def decode(source: Source, *, salvage: bool = False) -> Decoded:
    """The picture and its metadata. Raises ``UnreadableError``."""
    del salvage  # OpenJPEG either decodes a file or does not
    size = _size(source)
    if size.signed or size.bits > 16:
        raise UnreadableError(f"is a JPEG 2000 of {size.bits} bits per sample, signed or not, which is not supported")
    try:
        array: np.ndarray[Any, Any] = np.asarray(imagecodecs.jpeg2k_decode(source.whole()))
    except (imagecodecs.Jpeg2kError, ValueError) as error:
        raise UnreadableError(f"cannot be decoded: {error}") from error
    if array.ndim == 3 and array.shape[2] not in (3, 4) and size.components != 2:
        raise UnreadableError(f"is a JPEG 2000 of {size.components} channels, which is not supported")
    array = _full_range(array, size.bits)
    alpha = np.ascontiguousarray(array[..., -1]) if array.ndim == 3 and array.shape[2] in (2, 4) else None
    if alpha is not None:
        array = array[..., 0] if array.shape[2] == 2 else array[..., :3]
        alpha = None if alpha.min() == np.iinfo(alpha.dtype).max else alpha
    boxes = _boxes(source)
    return Decoded(
        cast(Pixels, np.ascontiguousarray(array)),
        cast("Pixels | None", alpha),
        exif=exif.strip_prefix(boxes.get("exif")),
        xmp=boxes.get("xmp"),
        iptc=boxes.get("iptc"),
        icc=boxes.get("icc"),
    )


def _full_range(array: np.ndarray[Any, Any], bits: int) -> np.ndarray[Any, Any]:
    full = 255 if bits <= 8 else 65535
    array = array.astype(np.uint8 if bits <= 8 else np.uint16, copy=False)
    top = (1 << bits) - 1
    if top == full:
        return array
    table = np.rint(np.minimum(np.arange(full + 1) / top, 1) * full).astype(array.dtype)
    return cast("np.ndarray[Any, Any]", table[array])


def _size(source: Source) -> _Size:
    at = _codestream_at(source)
    head = source.read(at, 48)
    if len(head) < 43 or head[:4] != _CODESTREAM:
        raise UnreadableError("has a damaged header")
    right, bottom, left, top = struct.unpack_from(">4I", head, 8)
    components, depth = struct.unpack_from(">HB", head, 40)
    if right <= left or bottom <= top or not components:
        raise UnreadableError("does not state its size")
    return _Size(right - left, bottom - top, components, (depth & 0x7F) + 1, bool(depth & 0x80))


def _codestream_at(source: Source) -> int:
    if source.read(0, 4) == _CODESTREAM:
        return 0
    for name, at, _ in _walk(source, 0, source.size):
        if name == b"jp2c":
            return at
    raise UnreadableError("is cut off: it holds no picture")


def _walk(source: Source, at: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Name, place and size of the content of each box."""
    for _ in range(1 << 12):
        head = source.read(at, 16)
        if at >= end or len(head) < 8:
            return
        size, name = struct.unpack_from(">I4s", head)
        start = at + 8
        if size == 1 and len(head) == 16:
            size, start = struct.unpack_from(">Q", head, 8)[0], at + 16
        stop = end if size == 0 else at + size
        if stop < start or stop > end:
            if name == b"jp2c":
                raise UnreadableError("is cut off")
            return
        yield name, start, stop - start
        at = stop


def _boxes(source: Source) -> dict[str, bytes]:
    """The metadata by what they are."""
    found: dict[str, bytes] = {}
    if source.read(0, 4) == _CODESTREAM:
        return found
    for name, at, size in _walk(source, 0, source.size):
        if name == b"uuid" and 16 < size <= _MAX_BOX:
            content = source.read(at, size)
            sort = {_UUID_XMP: "xmp", _UUID_EXIF: "exif", _UUID_IPTC: "iptc"}.get(content[:16])
            if sort is not None:
                found.setdefault(sort, content[16:])
        elif name == b"jp2h":
            for inner, inner_at, inner_size in _walk(source, at, at + size):
                head = source.read(inner_at, 3)
                if inner == b"colr" and head[:1] == b"\x02" and inner_size <= _MAX_BOX:
                    found.setdefault("icc", source.read(inner_at + 3, inner_size - 3))
    return found
