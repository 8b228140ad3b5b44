"""JPEG 2000 files (ITU-T T.800): boxes are read and written here, pixels coded by OpenJPEG through imagecodecs.

They are written losslessly (reversible 5/3 wavelet): archives use JPEG 2000 for their masters.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO, cast

import imagecodecs
import numpy as np

from colorcli.images import exif, icc
from colorcli.images.encoding import Encoding
from colorcli.images.photo import (
    LIBRARY_ERRORS,
    Decoded,
    Header,
    Pixels,
    Resolution,
    UnreadableError,
    is_believable,
    left_out_note,
    missing_note,
    too_small,
)
from colorcli.images.source import Source

_CODESTREAM = b"\xff\x4f\xff\x51"
_UUID_XMP = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")
_UUID_EXIF = b"JpgTiffExif->JP2"
_UUID_IPTC = bytes.fromhex("33c7a4d2b81d4723a0baf1a3e097ad38")
_SIGNATURE = b"\0\0\0\x0cjP  \r\n\x87\n"
_ENUMERATED_SRGB = 16
# colour spaces that are decoded: bilevel, sRGB, gray, sYCC (ITU-T T.801, table M.25); the others by name
_ENUMERATED = frozenset((0, 15, 16, 17, 18))
_OTHER_SPACES = {12: "CMYK", 13: "YCCK", 14: "CIELAB"}
# steps of the first and of the other channels' samples, across and down, that OpenJPEG can bring together
_SUBSAMPLINGS = frozenset((((1, 1), (1, 1)), ((1, 1), (2, 1)), ((1, 1), (2, 2))))
_MAX_BOX = 1 << 26
_READ = ("xmp", "exif", "iptc", "icc", "resolution", "space")
_NOT_KEPT = {"xml": "XML boxes", "uuid d8fec3d61b0e483c92975828877ec481": "Content Credentials"}
_TILE_PART = b"\xff\x90"
_DIFFERENT_SIZES = "is a JPEG 2000 whose channels have different sizes, which is not supported"
_LEAST_TILE = 14  # bytes of a tile's markers


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
    if not is_believable(size.width, size.height, source.size):
        raise too_small(size.width, size.height)
    _tile_count(source, _codestream_at(source))
    return Header(size.width, size.height, 8 if size.bits <= 8 else 16)


def check_codestream(source: Source) -> None:
    """Check that nothing is missing in a codestream, or in a JP2 file's.

    The stream must be an unbroken chain of segments and tile parts from its first marker to its last. Flipped bits
    inside a part cannot be detected: its coder has no redundancy.

    Raises:
        UnreadableError: the chain breaks, or a tile is missing.
    """
    found = _whole_tiles(source)
    if found.fault:
        raise UnreadableError(found.fault)
    if len(found.tiles) < found.stated:
        missing = found.stated - len(found.tiles)
        raise UnreadableError(f"is damaged: {missing} of its {found.stated} tiles are missing")


@dataclass(frozen=True)
class _Tiles:
    """What of a codestream is there: tiles by number, how many it states, where the last of them ends, and the fault
    after it; empty where the stream comes to its end."""

    tiles: frozenset[int]
    stated: int
    end: int
    fault: str = ""


def _whole_tiles(source: Source) -> _Tiles:
    at, end = _codestream_at(source), source.size
    stated, tiles = _tile_count(source, at), set[int]()
    at += 2
    while True:
        head, fault = source.read(at, 12), "is cut off: the end of the picture is missing"
        if head[:2] == b"\xff\xd9":
            return _Tiles(frozenset(tiles), stated, at)
        if len(head) == 12 and head[:2] == _TILE_PART:
            tile, length = struct.unpack_from(">HI", head, 4)
            if length == 0:  # the last part, up to the end marker
                if source.read(end - 2, 2) == b"\xff\xd9" or b"\xff\xd9" in source.read(end - 64, 64):
                    return _Tiles(frozenset({*tiles, tile}), stated, end)
            elif at + max(length, _LEAST_TILE) <= end:
                tiles.add(tile)
                at += max(length, _LEAST_TILE)
                continue
        elif len(head) == 12 and head[0] == 0xFF:
            at += 2 + struct.unpack_from(">H", head, 2)[0]
            continue
        elif len(head) == 12:
            fault = "is damaged: its chain of segments is broken"
        return _Tiles(frozenset(tiles), stated, at, fault)


def _whole_part(source: Source, reason: UnreadableError) -> tuple[bytes, float]:
    """A file that ends after its last whole tile, and the share of its tiles that is missing."""
    found = _whole_tiles(source)
    if not found.tiles:
        raise UnreadableError(f"{reason}; no tile of it is whole, so nothing can be salvaged") from reason
    at = _codestream_at(source)
    before = source.read(0, at)
    if at:  # the box of the picture, without its length: up to the file's end
        wide = source.read(at - 16, 8) == b"\0\0\0\1jp2c"
        before = before[: at - (16 if wide else 8)] + b"\0\0\0\0jp2c"
    return before + source.read(at, found.end - at) + b"\xff\xd9", 1 - len(found.tiles) / found.stated


def _tile_count(source: Source, at: int) -> int:
    head = source.read(at, 48)
    right, bottom, _, _, width, height, left, top = struct.unpack_from(">8I", head, 8)
    if not (width and height) or left >= right or top >= bottom:
        raise UnreadableError("has a damaged header")
    tiles = -(-(right - left) // width) * -(-(bottom - top) // height)
    if tiles > 65535 or tiles * _LEAST_TILE > source.size:
        raise UnreadableError("is cut off or damaged: it cannot hold the tiles that it states")
    return int(tiles)


def decode(source: Source, *, salvage: bool = False) -> Decoded:
    """The image and its metadata. Raises ``UnreadableError``."""
    size = _size(source)
    damage: tuple[str, ...] = ()
    try:
        check_codestream(source)
    except UnreadableError as error:
        content, share = _whole_part(source, error)
        if not salvage:
            raise UnreadableError(f"{error}; --salvage colours the tiles that are left") from error
        source, damage = Source(content), (missing_note(share),)
    if size.signed or size.bits > 16:
        sign = "signed" if size.signed else "unsigned"
        raise UnreadableError(f"is a JPEG 2000 of {size.bits}-bit {sign} samples, which is not supported")
    boxes = _boxes(source)
    _check_color(source, boxes)
    # given the boxes, imagecodecs would apply the profile itself, inexactly; sYCC and palettes need them
    content = source.whole()[_codestream_at(source) :] if "icc" in boxes else source.whole()
    try:
        array: np.ndarray[Any, Any] = np.asarray(imagecodecs.jpeg2k_decode(content))
    except NotImplementedError as error:
        raise UnreadableError(_DIFFERENT_SIZES) from error
    except LIBRARY_ERRORS as error:
        raise UnreadableError(f"cannot be decoded: {error}") from error
    if array.ndim == 3 and array.shape[2] not in (3, 4) and size.components != 2:
        raise UnreadableError(f"is a JPEG 2000 of {size.components} channels, which is not supported")
    array = _full_range(array, size.bits)
    alpha = np.ascontiguousarray(array[..., -1]) if array.ndim == 3 and array.shape[2] in (2, 4) else None
    if alpha is not None:
        array = array[..., 0] if array.shape[2] == 2 else array[..., :3]
        alpha = None if alpha.min() == np.iinfo(alpha.dtype).max else alpha
    return Decoded(
        cast(Pixels, np.ascontiguousarray(array)),
        cast("Pixels | None", alpha),
        exif=exif.strip_prefix(boxes.get("exif")),
        xmp=boxes.get("xmp"),
        iptc=boxes.get("iptc"),
        icc=boxes.get("icc"),
        resolution=_resolution(boxes.get("resolution", b"")),
        notes=(*damage, *left_out_note(_NOT_KEPT.get(name, f"box {name}") for name in boxes if name not in _READ)),
    )


def _check_color(source: Source, boxes: Mapping[str, bytes]) -> None:
    """Raise ``UnreadableError`` for a colour space or a subsampling that would be decoded as something else."""
    space = boxes.get("space", b"")
    if len(space) == 4 and (number := int.from_bytes(space, "big")) not in _ENUMERATED and "icc" not in boxes:
        name = _OTHER_SPACES.get(number, f"colour space {number}")
        raise UnreadableError(f"is a JPEG 2000 in {name}, which is not supported")
    if (space_of_profile := icc.color_space(boxes.get("icc"))) not in (None, "GRAY", "RGB"):
        raise UnreadableError(f"is a JPEG 2000 in {space_of_profile}, which is not supported")
    at = _codestream_at(source) + 43
    steps = [tuple(source.read(at + 3 * k, 2)) for k in range(_size(source).components)]
    if any((steps[0], step) not in _SUBSAMPLINGS for step in steps[1:]) or len(set(steps[1:])) > 1:
        raise UnreadableError(_DIFFERENT_SIZES)


def encode(handle: BinaryIO, strips: Iterator[Pixels], encoding: Encoding) -> None:
    """Write a lossless JP2 file, with its profile, resolution and metadata before the pixels."""
    picture = encoding.assembled(strips)
    coded = bytes(imagecodecs.jpeg2k_encode(picture, level=0, reversible=True, codecformat="j2k"))
    metadata = encoding.metadata
    channels = 4 if encoding.alpha else 3
    inner = _box(
        b"ihdr", struct.pack(">IIHBBBB", encoding.height, encoding.width, channels, encoding.bits - 1, 7, 0, 0)
    )
    if encoding.icc is None:
        inner += _box(b"colr", struct.pack(">BBBI", 1, 0, 0, _ENUMERATED_SRGB))
    else:
        inner += _box(b"colr", b"\2\0\0" + encoding.icc)
    if encoding.alpha:
        colors = b"".join(struct.pack(">HHH", k, 0, k + 1) for k in range(3))
        inner += _box(b"cdef", struct.pack(">H", 4) + colors + struct.pack(">HHH", 3, 1, 0))
    if metadata.resolution is not None and metadata.resolution.unit != "none":
        inner += _box(b"res ", _box(b"resc", _resolution_box(metadata.resolution)))
    handle.write(_SIGNATURE + _box(b"ftyp", b"jp2 \0\0\0\0jp2 ") + _box(b"jp2h", inner))
    contents = ((_UUID_XMP, encoding.xmp), (_UUID_EXIF, metadata.exif), (_UUID_IPTC, metadata.iptc))
    for name, content in contents:
        if content:
            handle.write(_box(b"uuid", name + content))
    if len(coded) + 8 < 1 << 32:
        handle.write(_box(b"jp2c", coded))
    else:
        handle.write(struct.pack(">I4sQ", 1, b"jp2c", len(coded) + 16) + coded)


def _box(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I4s", len(content) + 8, name) + content


def _resolution_box(resolution: Resolution) -> bytes:
    """Pixels per metre, y before x, each as numerator, denominator and exponent of ten."""
    scale = 100 / 2.54 if resolution.unit == "inch" else 100.0
    numbers, exponents = [], []
    for value in (resolution.y * scale, resolution.x * scale):
        exponent = 0
        while value / 10**exponent >= 655:
            exponent += 1
        numbers += [max(1, round(100 * value / 10**exponent)), 100]
        exponents.append(exponent)
    return struct.pack(">HHHHBB", *numbers, *exponents)


def _resolution(content: bytes) -> Resolution | None:
    if len(content) != 10:
        return None
    y, y_below, x, x_below, y_exponent, x_exponent = struct.unpack(">HHHHbb", content)
    if not (y and y_below and x and x_below):
        return None
    per_metre = [a / b * 10.0**e for a, b, e in ((x, x_below, x_exponent), (y, y_below, y_exponent))]
    return Resolution(per_metre[0] / 100, per_metre[1] / 100, "cm")


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
    """Name, offset and size of each box's content."""
    for _ in range(1 << 12):
        head = source.read(at, 16)
        if at >= end or len(head) < 8:
            return
        size, name = struct.unpack_from(">I4s", head)
        start = at + 8
        if size == 1 and len(head) == 16:
            size, start = struct.unpack_from(">Q", head, 8)[0], at + 16
        stop = end if size == 0 else at + size
        if name == b"jp2c":  # what of the picture is missing is found in it
            stop = min(stop, end)
        if stop < start or stop > end:
            return
        yield name, start, stop - start
        at = stop


def _boxes(source: Source) -> dict[str, bytes]:
    """Contents of the metadata boxes by kind; boxes that are not kept appear too, by their name."""
    found: dict[str, bytes] = {}
    if source.read(0, 4) == _CODESTREAM:
        return found
    for name, at, size in _walk(source, 0, source.size):
        if name == b"uuid" and 16 < size <= _MAX_BOX:
            content = source.read(at, size)
            sort = {_UUID_XMP: "xmp", _UUID_EXIF: "exif", _UUID_IPTC: "iptc"}.get(content[:16])
            found.setdefault(sort or f"uuid {content[:16].hex()}", content[16:])
        elif name == b"xml ":
            found.setdefault("xml", b"")
        elif name == b"jp2h":
            for inner, inner_at, inner_size in _walk(source, at, at + size):
                head = source.read(inner_at, 3)
                if inner == b"colr" and head[:1] == b"\x02" and inner_size <= _MAX_BOX:
                    found.setdefault("icc", source.read(inner_at + 3, inner_size - 3))
                elif inner == b"colr" and head[:1] == b"\x01":
                    found.setdefault("space", source.read(inner_at + 3, 4))
                elif inner == b"res ":
                    for kind, place, length in _walk(source, inner_at, inner_at + inner_size):
                        if kind in (b"resc", b"resd"):
                            found.setdefault("resolution", source.read(place, min(length, 10)))
    return found
