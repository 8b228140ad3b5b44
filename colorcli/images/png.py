"""PNG files (W3C PNG, third edition): chunks are read and written here, pixels coded by libpng through imagecodecs."""

from __future__ import annotations

import binascii
import io
import re
import struct
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import BinaryIO, cast

import imagecodecs
import numpy as np
from PIL import PngImagePlugin

from colorcli.images import exif, icc, iptc
from colorcli.images.encoding import Encoding
from colorcli.images.formats import PNG
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
from colorcli.text import printable

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_XMP_KEYWORD = b"XML:com.adobe.xmp"
_RAW_PROFILE = b"Raw profile type "
_IPTC_KEYWORD = _RAW_PROFILE + b"iptc"
_XMP_PREFIX = b"http://ns.adobe.com/xap/1.0/\0"  # APP1 profiles are copies of JPEG's segment
# the largest size to which metadata may be unpacked, against decompression bombs
_MAX_TEXT = 1 << 24
_LEVEL = 3  # zlib's: on photographs level 6 takes four times as long for 4 % fewer bytes
# text chunks that hold other metadata, which is read as such
_NO_TEXTS = (_XMP_KEYWORD, _RAW_PROFILE)
# zlib compresses at most 1,032 bytes into one
_MOST_PACKED = 1032
_MAX_KEPT_TEXT = 1 << 20
# chunks about the coding, or true of the gray original only
_TECHNICAL = frozenset(
    (b"IHDR", b"IDAT", b"IEND", b"cHRM", b"sBIT", b"bKGD", b"hIST", b"tIME", b"fcTL", b"fdAT", b"dSIG")
)
_KEPT = (b"PLTE", b"iCCP", b"sRGB", b"gAMA", b"pHYs", b"eXIf", b"iTXt", b"zTXt", b"tEXt", b"tRNS", b"acTL")


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
    if source.size * _MOST_PACKED < height * -(-width * depth * _CHANNELS[color] // 8):
        raise too_small(width, height)
    return Header(width, height, 16 if depth == 16 else 8)


_PALETTE = 3
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
# Adam7 (W3C PNG, 8.2): first row and column of each pass, and the steps between its rows and columns
_PASSES = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))
_SALVAGED_AT_ONCE = 256  # bytes unpacked per step: a step that meets damage is lost as a whole
_DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}


@dataclass(frozen=True)
class _Layout:
    """What the header says of the pixels: ``color`` is the type of W3C PNG, 11.2.1; ``interlaced`` 0 or 1."""

    width: int
    height: int
    depth: int
    color: int
    interlaced: int

    def row_bytes(self, width: int) -> int:
        """Bytes of a row of so many pixels."""
        return -(-width * self.depth * _CHANNELS[self.color] // 8)


def decode(source: Source, *, salvage: bool = False) -> Decoded:
    """The image and its metadata. Raises ``UnreadableError``."""
    header(source)
    data = source.whole()
    form = _Layout(*struct.unpack_from(">IIBBxxB", data, 16))
    chunks, lost, picture, fault = _read_chunks(data)
    notes: tuple[str, ...] = ("only the first frame of an animation was read",) if b"acTL" in chunks else ()
    try:
        pixels, alpha = _decode_pixels(form, chunks, _sound(picture, fault))
    except UnreadableError as error:
        if not salvage:
            raise UnreadableError(f"{error}; --salvage colours what is left") from error
        picture, missing = _completed(form, picture)
        pixels, alpha = _decode_pixels(form, chunks, picture)
        notes += (missing_note(missing),)
    texts, damaged = _texts(chunks)
    profiles, unread = _raw_profiles(texts)
    packed = _first(chunks, b"iCCP")
    profile = _profile(packed)
    if packed and profile is None:
        damaged.append("its colour profile, which is damaged")
    return Decoded(
        pixels,
        alpha,
        exif=exif.strip_prefix(_first(chunks, b"eXIf") or profiles.get("exif")),
        xmp=texts.get(_XMP_KEYWORD) or profiles.get("xmp"),
        iptc=profiles.get("iptc"),
        icc=profile or profiles.get("icc"),
        resolution=_resolution(_first(chunks, b"pHYs")),
        texts=tuple(
            (name, content)
            for name in PNG.texts
            for content in chunks.get(name, [])
            if len(content) <= _MAX_KEPT_TEXT and not content.startswith(_NO_TEXTS)
        ),
        gamma=_gamma(chunks),
        notes=(
            *notes,
            *unread,
            *left_out_note(
                (
                    *(_told(name) for name in chunks if name not in _KEPT),
                    *(f"{_told(name)}, which is damaged" for name in lost),
                    *damaged,
                )
            ),
        ),
    )


def encode(handle: BinaryIO, strips: Iterator[Pixels], encoding: Encoding) -> None:
    """Write the file, with its profile and metadata before the pixels."""
    coded = imagecodecs.png_encode(encoding.assembled(strips), level=_LEVEL)
    for piece in _pieces(coded, encoding.metadata, encoding.xmp, encoding.profile):
        handle.write(piece)


def _pieces(coded: bytes | bytearray, metadata: Metadata, xmp: bytes, profile: bytes) -> Iterator[bytes]:
    yield bytes(coded[:33])
    yield _chunk(b"iCCP", (b"sRGB" if profile == icc.srgb_profile() else b"RGB") + b"\0\0" + zlib.compress(profile, 9))
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


def _told(name: bytes) -> str:
    known = {b"caBX": "Content Credentials", b"sPLT": "a suggested palette", b"eXIf": "EXIF"}
    return known.get(name, f"chunk {printable(name.decode('latin-1'))}")


def _read_chunks(data: bytes) -> tuple[dict[bytes, list[bytes]], list[bytes], list[bytes], str]:
    """What a file consists of, up to where it is cut off.

    Returns:
        The contents of the metadata chunks by name; the names of those left out because their checksum is wrong; the
        contents of the image data chunks; and what is wrong with the image itself, empty if nothing is.
    """
    chunks: dict[bytes, list[bytes]] = {}
    lost: list[bytes] = []
    picture: list[bytes] = []
    fault = ""
    at = len(SIGNATURE)
    while True:
        size, name = struct.unpack_from(">I4s", data, at) if at + 8 <= len(data) else (0, b"")
        end = at + 12 + size
        if end > len(data):
            picture += [data[at + 8 :]] if name == b"IDAT" else []
            return chunks, lost, picture, fault or "is cut off"
        content = data[at + 8 : end - 4]
        if name == b"IEND":
            return chunks, lost, picture, fault
        whole = zlib.crc32(content, zlib.crc32(name)).to_bytes(4, "big") == data[end - 4 : end]
        critical = name[:1].isupper()  # W3C PNG, 5.4
        if critical and not whole:
            fault = fault or f"is damaged: the checksum of its {printable(name.decode('latin-1'))} chunk is wrong"
        if name == b"IDAT":
            picture.append(content)
        if name in _KEPT or name not in _TECHNICAL:
            if whole or critical:
                chunks.setdefault(name, []).append(content)
            else:
                lost.append(name)
        at = end


def _sound(picture: list[bytes], fault: str) -> list[bytes]:
    """The image data, unless there is a fault. Raises ``UnreadableError``."""
    if fault:
        raise UnreadableError(fault)
    return picture


def _completed(form: _Layout, picture: list[bytes]) -> tuple[list[bytes], float]:
    """Valid image data made from damaged ones, with black for rows that cannot be unpacked, and the share of these."""
    row = 1 + form.row_bytes(form.width)
    unpacker, raw = zlib.decompressobj(), bytearray()
    for piece in picture:
        for at in range(0, len(piece), _SALVAGED_AT_ONCE):
            try:
                raw += unpacker.decompress(piece[at : at + _SALVAGED_AT_ONCE])
            except zlib.error:
                break
        else:
            continue
        break
    if form.interlaced:
        raise UnreadableError("is damaged and interlaced, so that what is left of it cannot be found")
    # every row begins with its filter, 0 to 4: the first that does not is damaged, even though it was unpacked
    whole_rows = min(len(raw) // row, form.height)
    rows = next((y for y in range(whole_rows) if raw[y * row] > 4), whole_rows)
    if not rows:
        raise UnreadableError("is damaged: nothing of its picture is left")
    whole = zlib.compress(bytes(raw[: rows * row]) + bytes(row) * (form.height - rows), 1)
    return [whole], 1 - rows / form.height


def _decode_pixels(
    form: _Layout, chunks: dict[bytes, list[bytes]], picture: list[bytes]
) -> tuple[Pixels, Pixels | None]:
    key = chunks.get(b"tRNS", [b""])[0]
    try:
        if form.depth < 8 or form.color == _PALETTE or (key and form.depth == 8):
            return _decode_with_pillow(_bare(form, picture, chunks), len(chunks.get(b"PLTE", [b""])[0]) // 3)
        if form.interlaced:
            pixels = _deinterlaced(form, picture)
        else:
            pixels = cast(Pixels, imagecodecs.png_decode(_bare(form, picture, chunks)))
    except UnicodeDecodeError as error:  # imagecodecs makes a string of an error's number
        raise UnreadableError("cannot be decoded: its image data are damaged") from error
    except LIBRARY_ERRORS as error:
        raise UnreadableError(f"cannot be decoded: {error}") from error
    if form.color in (4, 6):
        return _split_alpha(pixels)
    if pixels.ndim == 3 and pixels.shape[2] in (2, 4):  # libpng has made the colour key a channel
        return _split_alpha(pixels)
    if key and form.depth == 16 and len(key) >= (2 if form.color == 0 else 6):
        transparent = pixels == np.frombuffer(key, ">u2", 1 if form.color == 0 else 3).astype(np.uint16)
        opaque = ~(transparent if form.color == 0 else transparent.all(axis=-1))
        return pixels, opaque.astype(np.uint16) * np.uint16(65535)
    return pixels, None


def _bare(form: _Layout, picture: Iterable[bytes], chunks: Mapping[bytes, list[bytes]]) -> bytes:
    """A file of nothing but pixels: of every other chunk that libpng dislikes, it prints a warning on stderr."""
    header = struct.pack(">IIBBBBB", form.width, form.height, form.depth, form.color, 0, 0, form.interlaced)
    key = {0: 2, 2: 6}.get(form.color)
    palette = [
        _chunk(name, chunks[name][0])
        for name in (b"PLTE", b"tRNS")
        if name in chunks and (name == b"PLTE" or key in (None, len(chunks[name][0])))
    ]
    data = [_chunk(b"IDAT", piece) for piece in picture]
    return b"".join([SIGNATURE, _chunk(b"IHDR", header), *palette, *data, _chunk(b"IEND", b"")])


def _deinterlaced(form: _Layout, picture: list[bytes]) -> Pixels:
    """An interlaced image of 8 or 16 bits, each pass decoded as an image of its own.

    Through imagecodecs, libpng prints a warning of interlaced images on stderr; Pillow reads colours with 8 bits only.
    """
    passes = [
        (np.s_[top::down, left::across], -(-(form.width - left) // across), -(-(form.height - top) // down))
        for top, left, down, across in _PASSES
        if top < form.height and left < form.width
    ]
    sizes = [height * (1 + form.row_bytes(width)) for _, width, height in passes]
    unpacker = zlib.decompressobj()
    raw = unpacker.decompress(b"".join(picture), sum(sizes))
    if len(raw) < sum(sizes):
        raise UnreadableError("is damaged: its image data end early")
    unpacker.decompress(unpacker.unconsumed_tail, 1)  # compares the checksum
    channels = _CHANNELS[form.color]
    kind = np.uint16 if form.depth == 16 else np.uint8
    pixels = np.empty((form.height, form.width, channels)[: 2 if channels == 1 else 3], kind)
    at = 0
    for (place, width, height), size in zip(passes, sizes, strict=True):
        part = replace(form, width=width, height=height, interlaced=0)
        pixels[place] = imagecodecs.png_decode(_bare(part, [zlib.compress(raw[at : at + size], 1)], {}))
        at += size
    return cast(Pixels, pixels)


def _decode_with_pillow(data: bytes, colors: int) -> tuple[Pixels, Pixels | None]:
    """Images with palettes of so many colours, colour keys or fewer than 8 bits, which Pillow expands."""
    image = PngImagePlugin.PngImageFile(io.BytesIO(data))  # not Image.open: its size limit is not ours
    image.load()
    if image.mode == "P" and np.asarray(image).max() >= colors:  # Pillow would make them black
        raise UnreadableError(f"is damaged: its picture has colours that its palette of {colors} lacks")
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
    """Unpacked zlib data, or None if it is damaged or too large."""
    unpacker = zlib.decompressobj()
    try:
        unpacked = unpacker.decompress(data, _MAX_TEXT)
    except zlib.error:
        return None
    return unpacked if unpacker.eof else None


def _texts(chunks: dict[bytes, list[bytes]]) -> tuple[dict[bytes, bytes], list[str]]:
    """The texts that carry metadata, by keyword, and what cannot be kept of them and of the others."""
    texts: dict[bytes, bytes | None] = {}
    for content in chunks.get(b"tEXt", []):
        keyword, _, text = content.partition(b"\0")
        texts[keyword] = text
    for content in chunks.get(b"zTXt", []):
        keyword, _, packed = content.partition(b"\0")
        if keyword.startswith(_RAW_PROFILE):
            texts[keyword] = _unpack(packed[1:]) or b"?"
    for content in chunks.get(b"iTXt", []):
        keyword, _, rest = content.partition(b"\0")
        parts = rest[2:].split(b"\0", 2)
        if keyword.startswith((_XMP_KEYWORD, _RAW_PROFILE)) and len(parts) == 3:
            texts[keyword] = _unpack(parts[2]) if rest[:1] == b"\1" else parts[2]
    lost = ["XMP, which is damaged or too large" for keyword, text in texts.items() if text is None]
    if any(len(content) > _MAX_KEPT_TEXT for name in PNG.texts for content in chunks.get(name, [])):
        lost.append("a text of more than 1 MB")
    return {keyword: text for keyword, text in texts.items() if text}, lost


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


def _raw_profiles(texts: dict[bytes, bytes]) -> tuple[dict[str, bytes], tuple[str, ...]]:
    """Contents of raw profiles, by ``exif``, ``xmp``, ``iptc`` and ``icc``, and notes on those that are not kept."""
    found: dict[str, bytes] = {}
    notes = []
    for keyword, text in texts.items():
        if not keyword.startswith(_RAW_PROFILE):
            continue
        sort = keyword.removeprefix(_RAW_PROFILE).decode("latin-1").strip().lower()
        data = _unhexed(text)
        if data is None:
            notes.append(f"its {sort.upper()} data are left out because they are damaged")
        elif data.startswith(_XMP_PREFIX) or sort == "xmp":
            found["xmp"] = data.removeprefix(_XMP_PREFIX)
        elif sort in ("exif", "app1"):
            found["exif"] = data
        elif sort in ("iptc", "8bim"):
            resources = data.removeprefix(iptc.PHOTOSHOP)
            datasets = iptc.from_photoshop(resources) or (data if data[:1] == iptc.TAG_MARKER else None)
            if datasets is not None:
                found["iptc"] = datasets
        elif sort in ("icc", "icm"):
            found["icc"] = data
        else:
            notes.append(f"its metadata of type {printable(sort)} are left out")
    return found, tuple(notes)


def _unhexed(text: bytes) -> bytes | None:
    """A raw profile's content: hexadecimal digits below a line with a name and one with a length."""
    parts = re.match(rb"\s*[^\n]*\n\s*(\d+)\s*\n(.*)", text, re.DOTALL)
    try:
        data = binascii.unhexlify(b"".join(parts[2].split())) if parts else b""
    except (binascii.Error, ValueError):
        return None
    return data[: int(parts[1])] or None if parts else None


def _hex_profile(datasets: bytes) -> bytes:
    content = iptc.photoshop_resource(datasets).removeprefix(iptc.PHOTOSHOP)
    digits = binascii.hexlify(content)
    lines = [digits[i : i + 72] for i in range(0, len(digits), 72)]
    return b"\niptc\n%8d\n" % len(content) + b"\n".join(lines) + b"\n"


def _chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
