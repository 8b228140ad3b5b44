"""WebP files (RFC 9649), through Pillow, which handles their containers."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np
from PIL import Image, WebPImagePlugin

from colorcli.images import exif, icc
from colorcli.images.encoding import Encoding
from colorcli.images.photo import Decoded, Header, Pixels, UnreadableError
from colorcli.images.source import Source

_LOSSLESS_EFFORT = 25  # of 100, from where files hardly shrink and time doubles


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
    if struct.unpack_from("<I", head, 4)[0] + 8 > source.size:
        raise UnreadableError("is cut off")
    if not (width and height):
        raise UnreadableError("does not state its size")
    return Header(width, height, 8)


def decode(source: Source, *, salvage: bool = False) -> Decoded:
    """The picture and its metadata. Raises ``UnreadableError``."""
    header(source)
    data = source.whole()
    try:
        image = WebPImagePlugin.WebPImageFile(io.BytesIO(data))
        array = np.asarray(image)
    except Image.DecompressionBombError as error:
        raise UnreadableError("is a WebP of more than 178 megapixels, which is not supported") from error
    except (OSError, SyntaxError, ValueError, RuntimeError) as error:
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
        notes=("only the first frame of an animation was read",) if image.is_animated else (),
    )


def _is_lossless(data: bytes) -> bool:
    """Whether the (first) picture is coded without loss."""
    at = 12
    while at + 8 <= len(data):
        name, size = struct.unpack_from("<4sI", data, at)
        if name in (b"VP8 ", b"VP8L"):
            return bool(name == b"VP8L")
        # a frame of an animation holds chunks of its own
        at += 8 + (16 if name == b"ANMF" else size + size % 2)
    return False


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
        icc_profile=icc.srgb_profile(),
        exif=block or b"",
        xmp=encoding.xmp,
    )
    handle.write(buffer.getbuffer())
