"""WebP files (RFC 9649), through Pillow, which handles their containers."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np
from PIL import Image, WebPImagePlugin

from colorcli.images import exif
from colorcli.images.encoding import Encoding
from colorcli.images.photo import (
    LIBRARY_ERRORS,
    Decoded,
    Header,
    Pixels,
    UnreadableError,
    is_believable,
    left_out_note,
    missing_note,
    too_small,
)
from colorcli.images.source import Source
from colorcli.text import printable

# macroblocks of 16 x 16 pixels per byte: each takes four binary decisions, and a decision at least 1/177 bit
_MOST_BLOCKS = 8 * 177 // 4
_CHUNKS = frozenset((b"VP8 ", b"VP8L", b"VP8X", b"ALPH", b"ANIM", b"ANMF", b"ICCP", b"EXIF", b"XMP "))
_LEAST_SHARE = 0.01  # of a cut image, below which nobody would want to see the rest
_LOSSLESS_EFFORT = 25  # of 100: beyond it files hardly shrink while the time doubles


def header(source: Source) -> Header:
    """Size and depth, from the first chunk."""
    head = source.read(0, 30)
    if len(head) < 30:
        raise UnreadableError("is cut off inside its header")
    if head[12:16] == b"VP8X":
        width = int.from_bytes(head[24:27], "little") + 1
        height = int.from_bytes(head[27:30], "little") + 1
    elif head[12:16] == b"VP8L":
        packed = struct.unpack_from("<I", head, 21)[0]
        width, height = (packed & 0x3FFF) + 1, (packed >> 14 & 0x3FFF) + 1
    elif head[12:16] == b"VP8 ":
        width, height = (v & 0x3FFF for v in struct.unpack_from("<HH", head, 26))
    else:
        raise UnreadableError("has a damaged header")
    if not (width and height):
        raise UnreadableError("does not state its size")
    if head[12:16] == b"VP8 ":
        possible = -(-width // 16) * -(-height // 16) <= source.size * _MOST_BLOCKS
    else:
        possible = is_believable(width, height, source.size)
    if not possible:
        raise too_small(width, height)
    return Header(width, height, 8)


def check_container(source: Source) -> None:
    """Check that chunks follow each other up to the file's stated end, and that each is complete.

    Flipped bits inside an image cannot be detected in general: its coder has no redundancy.

    Raises:
        UnreadableError: a chunk is missing or incomplete.
    """
    end = struct.unpack_from("<I", source.read(0, 8).ljust(8, b"\0"), 4)[0] + 8
    if end > source.size:
        raise UnreadableError("is cut off")
    at, pictures = 12, 0
    while at + 8 <= end:
        name, size = struct.unpack_from("<4sI", source.read(at, 8).ljust(8, b"\0"))
        if at + 8 + size > end:
            raise UnreadableError("is cut off or damaged: its chunks extend beyond its end")
        if name == b"VP8 ":
            _check_frame(source.read(at + 8, min(size, 10)), size)
        pictures += name in (b"VP8 ", b"VP8L", b"ANMF")
        at += 8 + size + size % 2
    if not pictures:
        raise UnreadableError("holds no picture")


def _check_frame(head: bytes, size: int) -> None:
    """The header of a key frame (RFC 6386, 9.1): its first partition must lie inside the chunk."""
    if len(head) < 10 or head[3:6] != b"\x9d\x01\x2a" or head[0] & 1:
        raise UnreadableError("is damaged: its picture has no valid header")
    if 10 + (int.from_bytes(head[:3], "little") >> 5) > size:
        raise UnreadableError("is cut off or damaged: its picture is shorter than it states")


def _filled_up(data: bytes, reason: UnreadableError) -> tuple[bytes, float]:
    """A cut file whose picture goes on in zeros, and the share of the picture's bytes that is missing.

    The coder makes something of zeros, from where the picture was cut to its lower end.
    """
    at, kept = 12, bytearray()
    while at + 8 <= len(data):
        name, size = struct.unpack_from("<4sI", data, at)
        there = data[at + 8 : at + 8 + size]
        if name in (b"VP8 ", b"VP8L"):
            missing = 1 - len(there) / max(1, size)
            if missing > 1 - _LEAST_SHARE:
                break
            kept += data[at : at + 8] + there.ljust(size + size % 2, b"\0")
            return b"RIFF" + struct.pack("<I", len(kept) + 4) + b"WEBP" + bytes(kept), missing
        if len(there) < size or name == b"ANMF":
            break
        kept += data[at : at + 8 + size + size % 2]
        at += 8 + size + size % 2
    raise UnreadableError(f"{reason}; there is not enough of it to colour") from reason


def decode(source: Source, *, salvage: bool = False) -> Decoded:
    """The image and its metadata. Raises ``UnreadableError``."""
    header(source)
    data = source.whole()
    damage: tuple[str, ...] = ()
    try:
        check_container(source)
    except UnreadableError as error:
        if not salvage:
            raise UnreadableError(f"{error}; --salvage colours what is left") from error
        data, share = _filled_up(data, error)
        damage = (missing_note(share, about=True),)
    try:
        image = WebPImagePlugin.WebPImageFile(io.BytesIO(data))
        array = np.asarray(image)
    except Image.DecompressionBombError as error:
        raise UnreadableError("is a WebP of more than 178 megapixels, which is not supported") from error
    except LIBRARY_ERRORS as error:
        raise UnreadableError(f"cannot be decoded: {error}") from error
    pixels, alpha = array, None
    if array.shape[2] == 4:
        alpha = np.ascontiguousarray(array[..., 3])
        pixels = np.ascontiguousarray(array[..., :3])
        alpha = None if alpha.min() == 255 else alpha
    return Decoded(
        pixels,
        alpha,
        exif=exif.strip_prefix(image.info.get("exif")),
        xmp=image.info.get("xmp"),
        icc=image.info.get("icc_profile"),
        lossless=_is_lossless(data),
        notes=(
            *damage,
            *(("only the first frame of an animation was read",) if image.is_animated else ()),
            *left_out_note(_other_chunks(data)),
        ),
    )


def _is_lossless(data: bytes) -> bool:
    """Whether the (first) image is coded losslessly."""
    at = 12
    while at + 8 <= len(data):
        name, size = struct.unpack_from("<4sI", data, at)
        if name in (b"VP8 ", b"VP8L"):
            return bool(name == b"VP8L")
        # a frame of an animation holds chunks of its own
        at += 8 + (16 if name == b"ANMF" else size + size % 2)
    return False


def _other_chunks(data: bytes) -> Iterator[str]:
    """Names of the chunks that are neither read nor kept; what follows the file's stated end is none."""
    at, end = 12, min(struct.unpack_from("<I", data, 4)[0] + 8, len(data))
    while at + 8 <= end:
        name, size = struct.unpack_from("<4sI", data, at)
        if name not in _CHUNKS:
            yield "Content Credentials" if name == b"C2PA" else f"chunk {printable(name.decode('latin-1')).strip()}"
        at += 8 + size + size % 2


def encode(handle: BinaryIO, strips: Iterator[Pixels], encoding: Encoding) -> None:
    """Write the file with sRGB profile and metadata. WebP has no place for IPTC datasets."""
    metadata = encoding.metadata
    block = metadata.exif
    if block is None and metadata.resolution is not None:
        resolution = metadata.resolution
        block = exif.resolution_block(resolution.x, resolution.y, {"none": 1, "inch": 2, "cm": 3}[resolution.unit])
    buffer = io.BytesIO()
    Image.fromarray(encoding.assembled(strips)).save(
        buffer,
        "WEBP",
        quality=_LOSSLESS_EFFORT if encoding.lossless else encoding.quality,
        lossless=encoding.lossless,
        exact=encoding.alpha,
        icc_profile=encoding.profile,
        exif=block or b"",
        xmp=encoding.xmp,
    )
    handle.write(buffer.getbuffer())
