"""PNG files (W3C PNG, third edition): chunks read and written here, pictures coded by libpng through imagecodecs."""

from __future__ import annotations

import binascii
import io
import struct
import zlib
from collections.abc import Iterator
from typing import BinaryIO, cast

import imagecodecs
import numpy as np
from PIL import PngImagePlugin

from colorcli.images import exif, icc, iptc
from colorcli.images.encoding import Encoding
from colorcli.images.formats import PNG
from colorcli.images.photo import Decoded, Header, Metadata, Pixels, Resolution, UnreadableError
from colorcli.images.source import Source

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_XMP_KEYWORD = b"XML:com.adobe.xmp"
_IPTC_KEYWORD = b"Raw profile type iptc"
# what a chunk of metadata may grow to when it is unpacked: text bombs stop here
_MAX_TEXT = 1 << 24
_LEVEL = 3  # of zlib: on photographs level 6 takes four times as long for 4 % fewer bytes
# texts that are metadata of another sort, told elsewhere or true of the gray original only
_NO_TEXTS = (_XMP_KEYWORD, b"Raw profile type ")
_MAX_KEPT_TEXT = 1 << 20
_KEPT = (b"iCCP", b"sRGB", b"gAMA", b"pHYs", b"eXIf", b"iTXt", b"zTXt", b"tEXt", b"tRNS", b"acTL")


def header(source: Source) -> Header:
    """Size and depth, from the first chunk."""
    head = source.read(0, 33)
    if len(head) < 33 or head[12:16] != b"IHDR":
        raise UnreadableError("has a damaged header")
    width, height, depth, color = struct.unpack_from(">IIBB", head, 16)
    if (color, depth) not in {(c, d) for c, ds in _DEPTHS.items() for d in ds}:
        raise UnreadableError("has a damaged header")
    if not (width and height):
        raise UnreadableError("does not state its size")
    return Header(width, height, 16 if depth == 16 else 8)


_DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}


def decode(source: Source) -> Decoded:
    """The picture and its metadata. Raises ``UnreadableError``."""
    header(source)
    data = source.whole()
    depth, color = data[24], data[25]
    chunks = _read_chunks(data)
    pixels, alpha = _decode_pixels(data, depth, color, chunks.get(b"tRNS", [b""])[0])
    texts = _texts(chunks)
    return Decoded(
        pixels,
        alpha,
        exif=exif.strip_prefix(_first(chunks, b"eXIf")),
        xmp=texts.get(_XMP_KEYWORD),
        iptc=_raw_profile(texts.get(_IPTC_KEYWORD)),
        icc=_profile(_first(chunks, b"iCCP")),
        resolution=_resolution(_first(chunks, b"pHYs")),
        texts=tuple(
            (name, content)
            for name in PNG.texts
            for content in chunks.get(name, [])
            if len(content) <= _MAX_KEPT_TEXT and not content.startswith(_NO_TEXTS)
        ),
        gamma=_gamma(chunks),
        notes=("only the first frame of an animation was read",) if b"acTL" in chunks else (),
    )


def encode(handle: BinaryIO, strips: Iterator[Pixels], encoding: Encoding) -> None:
    """Write the file, with sRGB profile and metadata before the picture."""
    coded = imagecodecs.png_encode(encoding.assembled(strips), level=_LEVEL)
    for piece in _pieces(coded, encoding.metadata, encoding.xmp):
        handle.write(piece)


def _pieces(coded: bytes | bytearray, metadata: Metadata, xmp: bytes) -> Iterator[bytes]:
    yield bytes(coded[:33])
    yield _chunk(b"iCCP", b"sRGB\0\0" + zlib.compress(icc.srgb_profile(), 9))
    if metadata.resolution is not None:
        yield _chunk(b"pHYs", _physical(metadata.resolution))
    if metadata.exif:
        yield _chunk(b"eXIf", metadata.exif)
    yield _chunk(b"iTXt", _XMP_KEYWORD + b"\0\0\0\0\0" + xmp)
    if metadata.iptc:
        yield _chunk(b"zTXt", _IPTC_KEYWORD + b"\0\0" + zlib.compress(_hex_profile(metadata.iptc), 9))
    for name, content in metadata.texts:
        if name in PNG.texts:
            yield _chunk(name, content)
    yield bytes(memoryview(coded)[33:])


def _read_chunks(data: bytes) -> dict[bytes, list[bytes]]:
    """The chunks of metadata by name; every chunk's presence to the last byte is checked."""
    chunks: dict[bytes, list[bytes]] = {}
    at = len(SIGNATURE)
    while True:
        if at + 12 > len(data):
            raise UnreadableError("is cut off")
        size, name = struct.unpack_from(">I4s", data, at)
        end = at + 12 + size
        if end > len(data):
            raise UnreadableError("is cut off")
        if name in _KEPT:
            chunks.setdefault(name, []).append(data[at + 8 : end - 4])
        if name == b"IEND":
            return chunks
        at = end


def _decode_pixels(data: bytes, depth: int, color: int, key: bytes) -> tuple[Pixels, Pixels | None]:
    try:
        if depth < 8 or color == 3 or (key and depth == 8):
            return _decode_with_pillow(data)
        pixels = cast(Pixels, imagecodecs.png_decode(data))
    except (imagecodecs.PngError, OSError, SyntaxError, ValueError) as error:
        raise UnreadableError(f"cannot be decoded: {error}") from error
    if color in (4, 6):
        return _split_alpha(pixels)
    if key and depth == 16 and pixels.ndim == (2 if color == 0 else 3):
        transparent = pixels == np.frombuffer(key, ">u2", 1 if color == 0 else 3).astype(np.uint16)
        opaque = ~(transparent if color == 0 else transparent.all(axis=-1))
        return pixels, opaque.astype(np.uint16) * np.uint16(65535)
    # libpng may have turned a 16-bit colour key into a channel of alpha
    return _split_alpha(pixels) if pixels.ndim == 3 and pixels.shape[2] in (2, 4) else (pixels, None)


def _decode_with_pillow(data: bytes) -> tuple[Pixels, Pixels | None]:
    """Palettes, colour keys and fewer than 8 bits, which Pillow expands."""
    image = PngImagePlugin.PngImageFile(io.BytesIO(data))  # not Image.open: its size limit is not ours
    image.load()
    if "transparency" in image.info:
        return _split_alpha(np.asarray(image.convert("LA" if image.mode in ("1", "L") else "RGBA")))
    return np.asarray(image.convert("RGB" if image.mode == "P" else "L")), None


def _split_alpha(pixels: Pixels) -> tuple[Pixels, Pixels | None]:
    alpha = np.ascontiguousarray(pixels[..., -1])
    values = pixels[..., 0] if pixels.shape[-1] == 2 else pixels[..., :3]
    opaque = alpha.min() == np.iinfo(alpha.dtype).max
    return np.ascontiguousarray(values), None if opaque else alpha


def _first(chunks: dict[bytes, list[bytes]], name: bytes) -> bytes | None:
    return chunks[name][0] if name in chunks else None


def _unpack(data: bytes) -> bytes | None:
    """zlib data unpacked, or None where it is damaged or too large."""
    unpacker = zlib.decompressobj()
    try:
        unpacked = unpacker.decompress(data, _MAX_TEXT)
    except zlib.error:
        return None
    return unpacked if unpacker.eof else None


def _texts(chunks: dict[bytes, list[bytes]]) -> dict[bytes, bytes]:
    """The texts that carry metadata, by keyword."""
    texts: dict[bytes, bytes | None] = {}
    for content in chunks.get(b"tEXt", []):
        keyword, _, text = content.partition(b"\0")
        texts[keyword] = text
    for content in chunks.get(b"zTXt", []):
        keyword, _, packed = content.partition(b"\0")
        if keyword == _IPTC_KEYWORD:
            texts[keyword] = _unpack(packed[1:])
    for content in chunks.get(b"iTXt", []):
        keyword, _, rest = content.partition(b"\0")
        parts = rest[2:].split(b"\0", 2)
        if keyword == _XMP_KEYWORD and len(parts) == 3:
            texts[keyword] = _unpack(parts[2]) if rest[:1] == b"\1" else parts[2]
    return {keyword: text for keyword, text in texts.items() if text}


def _profile(content: bytes | None) -> bytes | None:
    return _unpack(content.partition(b"\0")[2][1:]) if content else None


def _gamma(chunks: dict[bytes, list[bytes]]) -> float | None:
    content = _first(chunks, b"gAMA")
    if content is None or len(content) != 4 or b"sRGB" in chunks:
        return None
    return float(struct.unpack(">I", content)[0]) / 100000


def _resolution(content: bytes | None) -> Resolution | None:
    if content is None or len(content) != 9:
        return None
    x, y, unit = struct.unpack(">IIB", content)
    if not (x and y):
        return None
    return Resolution(x / 100, y / 100, "cm") if unit == 1 else Resolution(x, y, "none")


def _physical(resolution: Resolution) -> bytes:
    scale = {"inch": 100 / 2.54, "cm": 100.0, "none": 1.0}[resolution.unit]
    x, y = (min(max(round(v * scale), 1), 0xFFFFFFFF) for v in (resolution.x, resolution.y))
    return struct.pack(">IIB", x, y, 0 if resolution.unit == "none" else 1)


def _raw_profile(text: bytes | None) -> bytes | None:
    """ImageMagick's way of putting IPTC into PNG: a name, a length and hexadecimal digits, one to a line."""
    if not text:
        return None
    try:
        data = binascii.unhexlify(b"".join(text.split()[2:]))
    except (binascii.Error, ValueError):
        return None
    return iptc.from_photoshop(data.removeprefix(iptc.PHOTOSHOP)) or data or None


def _hex_profile(datasets: bytes) -> bytes:
    content = iptc.photoshop_resource(datasets).removeprefix(iptc.PHOTOSHOP)
    digits = binascii.hexlify(content)
    lines = [digits[i : i + 72] for i in range(0, len(digits), 72)]
    return b"\niptc\n%8d\n" % len(content) + b"\n".join(lines) + b"\n"


def _chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
