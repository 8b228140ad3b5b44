"""JPEG files (ITU-T T.81, JFIF 1.02): segments are read and written here, pixels coded by libjpeg-turbo.

simplejpeg and imagecodecs call libjpeg-turbo on NumPy arrays directly; Pillow decodes the same pixels in 40 % more time
because it copies them twice. Only CMYK goes through Pillow, which handles Adobe's inversion.
"""

from __future__ import annotations

import io
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO, cast

import imagecodecs
import numpy as np
from PIL import Image, ImageCms, JpegImagePlugin

from colorcli.images import exif, formats, icc, iptc
from colorcli.images.encoding import Encoding
from colorcli.images.photo import (
    LIBRARY_ERRORS,
    Decoded,
    Header,
    Metadata,
    Pixels,
    Resolution,
    UnreadableError,
    left_out_note,
    missing_note,
    too_small,
)
from colorcli.images.source import Source
from colorcli.images.strict_jpeg import (
    READABLE_FRAMES,
    as_eight_bits,
    decode_damaged,
    decode_deep,
    decode_strictly,
    sound_share,
    without_reserved_markers,
)

COMMENT = b"COM"
_SOI, _EOI, _SOS = 0xD8, 0xD9, 0xDA
_END = bytes((0xFF, _EOI))
_SALVAGE = "--salvage colours what is left"
_STANDALONE = frozenset((0x01, *range(0xD0, 0xD8)))
_FRAMES = frozenset((*range(0xC0, 0xC4), *range(0xC5, 0xC8), *range(0xC9, 0xCC), *range(0xCD, 0xD0)))
_XMP = b"http://ns.adobe.com/xap/1.0/\0"
_EXTENDED_XMP = b"http://ns.adobe.com/xmp/extension/\0"
_ICC = b"ICC_PROFILE\0"
_SEGMENT = 65533
_APPLICATIONS = range(0xE0, 0xF0)
# comments and application segments; of these, libjpeg decodes colours by two
_METADATA = frozenset((*_APPLICATIONS, 0xFE))
_ABOUT_CODING = (b"JFIF", b"Adobe")
_LEAST_MARKER = 0xC0
_MARKER = re.compile(rb"\xff[\xc0-\xcf\xd9-\xdd\xe0-\xef\xfe]")
# segments about the coding, or with a smaller copy, that say nothing about the photograph
_TECHNICAL = (b"JFIF", b"JFXX", b"Adobe", b"Ducky", b"ICC_PROFILE", b"Exif", b"http://ns.adobe.com/", b"MPF")
_JUMBF = "Content Credentials or other JUMBF"
_ICC_PART = _SEGMENT - len(_ICC) - 2


@dataclass
class _Segments:
    """What the segments before the first scan say.

    Attributes:
        frame: the frame header's marker; ``frame_at`` is its offset in ``coding``.
        scan_at: where the data of the first scan begin in the file.
        coding: the start of the file without the segments that do not matter to decoding: damage in metadata is none
            in the picture.
        strays: bytes between segments that belong to none.
        icc: parts of the colour profile: number, count of parts, and content of each.
    """

    width: int = 0
    height: int = 0
    channels: int = 0
    precision: int = 8
    frame: int = 0
    frame_at: int = 0
    scan_at: int = 0
    coding: bytearray = field(default_factory=lambda: bytearray(b"\xff\xd8"))
    strays: int = 0
    exif: bytes | None = None
    xmp: bytes | None = None
    extended_xmp: bool = False
    photoshop: bytes = b""
    icc: list[tuple[int, int, bytes]] = field(default_factory=list)
    density: Resolution | None = None
    comments: list[bytes] = field(default_factory=list)
    others: list[str] = field(default_factory=list)


def header(source: Source) -> Header:
    """Size and depth, from the segments alone."""
    found = _read_segments(source)
    return Header(found.width, found.height, 8 if found.precision == 8 else 16)


def decode(source: Source, *, salvage: bool = False) -> Decoded:
    """The image and its metadata. Raises ``UnreadableError``."""
    data = source.whole()
    found = _read_segments(Source(data))
    if found.strays and not salvage:
        raise UnreadableError(f"has a damaged header: {found.strays} bytes belong to none of its segments; {_SALVAGE}")
    notes: tuple[str, ...] = ("CMYK was converted to RGB",) if found.channels == 4 else ()
    # scans escape 0xFF, so the first end marker in them is the real one; libjpeg would make up a missing one
    end = data.find(_END, found.scan_at)
    if end < 0 and not salvage:
        raise UnreadableError(f"is cut off: the end of the picture is missing; {_SALVAGE}")
    profile, unread = _profile(found.icc)
    coded = bytes(found.coding) + data[found.scan_at :] + (_END if end < 0 else b"")
    pixels, damage = _decode_pixels(coded, found, profile, salvage=salvage)
    if not damage and (end < 0 or found.strays):
        what = "its end marker is missing" if end < 0 else "its header has bytes that belong to no segment"
        damage = (f"damaged: {what}; no part of the picture seems to be missing",)
    notes += damage
    if end >= 0 and _holds_picture(data[end + len(_END) :]):
        notes += ("only the first of its pictures was read",)
    block = exif.strip_prefix(found.exif)
    if found.extended_xmp:
        notes += ("XMP beyond the first 64 KB was left out",)
    notes += left_out_note((*unread, *found.others, *iptc.other_resources(found.photoshop)))
    return Decoded(
        pixels,
        exif=block,
        xmp=found.xmp,
        iptc=iptc.from_photoshop(found.photoshop),
        icc=profile,
        resolution=found.density,
        texts=tuple((COMMENT, content) for content in found.comments),
        notes=notes,
    )


def _profile(parts: list[tuple[int, int, bytes]]) -> tuple[bytes | None, tuple[str, ...]]:
    """The colour profile put together from its parts (ICC.1:2022, B.4), and what to say if it cannot be."""
    parts = sorted(parts)
    if [part[:2] for part in parts] != [(number, len(parts)) for number in range(1, len(parts) + 1)]:
        return None, ("its colour profile, which is damaged",)
    return b"".join(content for _, _, content in parts) or None, ()


def _holds_picture(data: bytes) -> bool:
    """Whether what follows the picture has another, as in MPO files."""
    at = data.find(b"\xff\xd8\xff")
    try:
        return at >= 0 and _read_segments(Source(data[at:])).frame > 0
    except UnreadableError:
        return False


def _decode_pixels(
    data: bytes, found: _Segments, profile: bytes | None, *, salvage: bool
) -> tuple[Pixels, tuple[str, ...]]:
    """The image, and notes on what is missing from it."""
    is_deep = found.precision != 8
    strict = as_eight_bits(data) if is_deep else data
    damage: tuple[str, ...] = ()
    try:
        pixels = decode_strictly(strict, found.channels)
    except UnreadableError as error:
        if not salvage:
            raise UnreadableError(f"{error}; {_SALVAGE}") from error
        share = sound_share(strict, found.frame_at, found.height, found.channels)
        damage = (missing_note(None if share is None else 1 - share),)
        if is_deep:
            data = without_reserved_markers(data, len(found.coding))
        else:
            pixels = decode_damaged(data, found.channels)
    if is_deep:
        return decode_deep(data), damage
    try:
        if found.channels == 4:
            return _decode_cmyk(data, profile), damage
        return cast(Pixels, imagecodecs.jpeg8_decode(data)) if pixels is None else pixels, damage
    except LIBRARY_ERRORS as error:
        raise UnreadableError(f"cannot be decoded: {error}") from error


def encode(handle: BinaryIO, strips: Iterator[Pixels], encoding: Encoding) -> None:
    """Write the file: no chroma subsampling, with its profile and metadata before the pixels.

    Whatever does not fit into JPEG's 64 KB segments is left out; the XMP packet must fit.
    """
    coded = imagecodecs.jpeg8_encode(encoding.assembled(strips), level=encoding.quality, subsampling="444")
    for piece in _pieces(coded, encoding.metadata, encoding.xmp, encoding.profile):
        handle.write(piece)


def _pieces(coded: bytes | bytearray, metadata: Metadata, xmp: bytes, profile: bytes) -> Iterator[bytes | memoryview]:
    yield b"\xff\xd8" + _jfif(metadata.resolution)
    block = exif.at_most(metadata.exif, formats.JPEG.max_exif or 0)
    if block:
        yield _segment(0xE1, exif.with_prefix(block))
    yield _segment(0xE1, _XMP + xmp)
    parts = [profile[i : i + _ICC_PART] for i in range(0, len(profile), _ICC_PART)]
    for number, part in enumerate(parts, 1):
        yield _segment(0xE2, _ICC + bytes((number, len(parts))) + part)
    if metadata.iptc and len(resource := iptc.photoshop_resource(metadata.iptc)) <= _SEGMENT:
        yield _segment(0xED, resource)
    for name, content in metadata.texts:
        if name == COMMENT:
            yield _segment(0xFE, content)
    # the start marker and JFIF segment that libjpeg wrote are replaced by those above
    own = 4 + struct.unpack_from(">H", coded, 4)[0] if coded[2:4] == b"\xff\xe0" else 2
    yield memoryview(coded)[own:]


def _read_segments(source: Source) -> _Segments:
    found = _Segments()
    at = 2
    while not found.scan_at:
        marker, size, strays, at = _next_marker(source, at)
        found.strays += strays
        if marker == _EOI:
            raise UnreadableError("holds no picture")
        content = source.read(at + 2, size - 2)
        if size < 2 or len(content) < size - 2:
            raise UnreadableError("is cut off inside its header")
        if marker in _FRAMES:
            _read_frame(found, marker, content)
            found.frame_at = found.frame_at or len(found.coding)
        else:
            _read_application(found, marker, content)
        if marker not in _METADATA or content.startswith(_ABOUT_CODING):
            found.coding += _segment(marker, content)
        at += size
        found.scan_at = at if marker == _SOS else 0
    if not found.frame:
        raise UnreadableError("holds no picture")
    # every block of 8 x 8 pixels takes at least one bit
    if 8 * (source.size - found.scan_at) < -(-found.width // 8) * -(-found.height // 8):
        raise too_small(found.width, found.height)
    return found


def _next_marker(source: Source, at: int) -> tuple[int, int, int, int]:
    """The next marker that has a segment, that segment's size, bytes skipped that belong to none, and its start."""
    strays = 0
    for _ in range(1 << 16):
        head = source.read(at, 4)
        if len(head) < 2:
            raise UnreadableError("is cut off inside its header")
        if head[0] != 0xFF or (head[1] < _LEAST_MARKER and head[1] not in _STANDALONE):
            found = _MARKER.search(source.read(at, 1 << 16))
            if found is None:
                raise UnreadableError("has a damaged header")
            strays += found.start()
            at += found.start()
        elif head[1] == 0xFF:
            at += 1
        elif head[1] in _STANDALONE or head[1] == _SOI:
            at += 2
        elif head[1] == _EOI:
            return _EOI, 0, strays, at + 2
        elif len(head) < 4:
            raise UnreadableError("is cut off inside its header")
        else:
            return head[1], struct.unpack_from(">H", head, 2)[0], strays, at + 2
    raise UnreadableError("has a damaged header")


def _read_frame(found: _Segments, marker: int, content: bytes) -> None:
    if len(content) < 6:
        raise UnreadableError("has a damaged header")
    if found.frame:
        return
    found.frame = marker
    found.precision, found.height, found.width, found.channels = struct.unpack_from(">BHHB", content)
    if marker not in READABLE_FRAMES:
        raise UnreadableError("is a lossless or hierarchical JPEG, which is not supported")
    if found.precision not in (8, 12) or (found.precision == 12 and found.channels == 4):
        raise UnreadableError(f"is a JPEG of {found.precision} bits per sample, which is not supported")
    if found.channels not in (1, 3, 4):
        raise UnreadableError(f"is a JPEG of {found.channels} channels, which is not supported")
    if not (found.width and found.height):
        raise UnreadableError("does not state its size")


def _read_application(found: _Segments, marker: int, content: bytes) -> None:
    if marker == 0xE0 and content[:5] == b"JFIF\0" and len(content) >= 12:
        unit, x, y = struct.unpack_from(">BHH", content, 7)
        if x and y and unit <= 2 and (unit or x != y):
            found.density = Resolution(x, y, ("none", "inch", "cm")[unit])
    elif marker == 0xE1 and content[:6] == b"Exif\0\0" and found.exif is None:
        found.exif = content
    elif marker == 0xE1 and content.startswith(_XMP) and found.xmp is None:
        found.xmp = content[len(_XMP) :]
    elif marker == 0xE1 and content.startswith(_EXTENDED_XMP):
        found.extended_xmp = True
    elif marker == 0xE2 and content.startswith(_ICC) and len(content) >= 14:
        found.icc.append((content[12], content[13], content[14:]))
    elif marker == 0xFE:
        found.comments.append(content)
    elif marker == 0xED:
        found.photoshop += content.removeprefix(iptc.PHOTOSHOP)
    elif marker in _APPLICATIONS and not content.startswith(_TECHNICAL):
        found.others.append(_JUMBF if content.startswith(b"JP") and marker == 0xEB else f"APP{marker - 0xE0} segment")


def _decode_cmyk(data: bytes, profile: bytes | None) -> Pixels:
    image = JpegImagePlugin.JpegImageFile(io.BytesIO(data))  # not Image.open: its size limit is not ours
    return cmyk_to_rgb(image, profile)


def cmyk_to_rgb(image: Image.Image, profile: bytes | None) -> Pixels:
    """A CMYK image as sRGB ``(H, W, 3)`` uint8, converted by its profile if it has a readable one."""
    if icc.color_space(profile) == "CMYK":
        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(cast(bytes, profile)))
            target = ImageCms.ImageCmsProfile(io.BytesIO(icc.srgb_profile()))
            converted = ImageCms.profileToProfile(image, source, target, outputMode="RGB")
            return np.asarray(converted)
        except (ImageCms.PyCMSError, OSError):
            pass
    return np.asarray(image.convert("RGB"))


def _segment(marker: int, content: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content


def _jfif(resolution: Resolution | None) -> bytes:
    unit, x, y = 0, 1.0, 1.0
    if resolution is not None:
        unit, x, y = {"none": 0, "inch": 1, "cm": 2}[resolution.unit], resolution.x, resolution.y
    x, y = (min(max(round(v), 1), 65535) for v in (x, y))
    return _segment(0xE0, b"JFIF\0" + struct.pack(">HBHHBB", 0x0101, unit, int(x), int(y), 0, 0))
