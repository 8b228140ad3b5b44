"""TIFF files (TIFF 6.0, BigTIFF), through tifffile and imagecodecs."""

from __future__ import annotations

import logging
import struct
from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO, cast

import imagecodecs
import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image

from colorcli.images import exif, icc, iptc
from colorcli.images.encoding import Encoding
from colorcli.images.jpeg import cmyk_to_rgb
from colorcli.images.photo import Decoded, Header, Metadata, Pixels, Resolution, UnreadableError
from colorcli.images.source import Source

_CLASSIC_LIMIT = 0xF0000000
_STRIP_BYTES = 1 << 20
_LEVEL = 6  # of libdeflate, where it costs little more than level 1
_PAGES_LOOKED_AT = 16
_MINISWHITE, _MINISBLACK, _RGB, _PALETTE, _CMYK, _YCBCR = 0, 1, 2, 3, 5, 6
_SAMPLES = {_MINISWHITE: 1, _MINISBLACK: 1, _RGB: 3, _PALETTE: 1, _CMYK: 4, _YCBCR: 3}
_COLOR_SPACES = {4: "a mask", 8: "CIELAB", 9: "ICCLAB", 10: "ITULAB", 32803: "raw sensor data", 34892: "linear raw"}
_XMP, _IPTC, _PHOTOSHOP, _ICC, _DNG_VERSION = 700, 33723, 34377, 34675, 50706
_RESOLUTION_TAGS = frozenset((0x011A, 0x011B, 0x0128))
_DESCRIPTION = 0x010E
# programs that describe the layout of the gray samples there, which readers believe, and not the photograph
_LAYOUTS = (b'{"shape":', b"ImageJ=")

# tifffile reports damage to its logger as well as by exceptions; the exceptions are what a user gets to see
logging.getLogger("tifffile").addHandler(logging.NullHandler())


class _Page:
    """The tags of the directory that holds the photograph."""

    def __init__(self, source: Source) -> None:
        reader = exif.TiffReader.open(source)
        if reader is None:
            raise UnreadableError("has a damaged header")
        self.index, reader.first, self.others = _find_page(reader)
        self.reader = reader
        self.entries = reader.entries(reader.first)
        self.width, self.height = self.number(256, 0), self.number(257, 0)
        self.samples = self.number(277, 1)
        bits = self.numbers(258) or (1,)
        self.bits = bits[0]
        formats = self.numbers(339) or (1,)
        self.sample_format = 1 if formats[0] == 4 else formats[0]
        self.compression = self.number(259, 1)
        self.photometric = self.number(262, -1)
        self.planar = self.number(284, 1) == 2
        self._check(bits, formats)

    def numbers(self, tag: int) -> tuple[int, ...]:
        entry = self.entries.get(tag)
        return entry.integers() if entry else ()

    def number(self, tag: int, default: int) -> int:
        return next(iter(self.numbers(tag)), default)

    def bytes(self, tag: int) -> bytes | None:
        entry = self.entries.get(tag)
        return entry.data if entry else None

    def _check(self, bits: tuple[int, ...], formats: tuple[int, ...]) -> None:
        if not (self.width and self.height):
            raise UnreadableError("does not state its size, or is cut off")
        if self.photometric not in _SAMPLES or _DNG_VERSION in self.entries:
            name = _COLOR_SPACES.get(self.photometric, "raw or of an unknown colour space")
            raise UnreadableError(f"is a TIFF whose picture is {name}, which is not supported")
        if self.photometric == _YCBCR and self.compression != 7:
            raise UnreadableError("is a TIFF in YCbCr without JPEG compression, which is not supported")
        if self.photometric == _CMYK and (self.bits != 8 or self.number(332, 1) != 1):
            raise UnreadableError("is a TIFF of inks other than 8-bit CMYK, which is not supported")
        if self.samples < _SAMPLES[self.photometric] or len(set(bits)) > 1 or len(set(formats)) > 1:
            raise UnreadableError("is a TIFF whose channels do not fit together, which is not supported")
        whole = self.sample_format == 1 and (1 <= self.bits <= 16)
        real = self.sample_format == 3 and self.bits in (16, 32, 64) and self.photometric in (_MINISBLACK, _RGB)
        if not (whole or real):
            kind = {1: "unsigned", 2: "signed", 3: "floating-point"}.get(self.sample_format, "complex")
            raise UnreadableError(f"is a TIFF of {self.bits}-bit {kind} samples, which is not supported")
        if self.photometric == _PALETTE and len(self.numbers(320)) != 3 << self.bits:
            raise UnreadableError("is a TIFF with a damaged palette")
        if self.number(32997, 1) > 1:
            raise UnreadableError("is a TIFF of several layers in depth, which is not supported")

    def check_segments(self) -> None:
        """Raise ``UnreadableError`` unless every strip or tile is there to its last byte."""
        tiled = 322 in self.entries
        offsets, counts = self.numbers(324 if tiled else 273), self.numbers(325 if tiled else 279)
        if tiled:
            across = -(-self.width // max(self.number(322, 1), 1))
            expected = across * -(-self.height // max(self.number(323, 1), 1))
        else:
            expected = -(-self.height // max(min(self.number(278, self.height), self.height), 1))
        expected *= self.samples if self.planar else 1
        if not counts and len(offsets) == expected == 1 and self.compression == 1:
            row = -(-self.width * (1 if self.planar else self.samples) * self.bits // 8)
            counts = (row * self.height,)
        if len(offsets) < expected or len(counts) < expected:
            raise UnreadableError("is cut off: parts of the picture are missing")
        size = self.reader.source.size
        for offset, count in zip(offsets[:expected], counts[:expected], strict=True):
            if not (offset and count):
                raise UnreadableError("leaves parts of the picture empty, which is not supported")
            if offset + count > size:
                raise UnreadableError("is cut off: parts of the picture are missing")


def _find_page(reader: exif.TiffReader) -> tuple[int, int, bool]:
    """Index and offset of the first full-size directory, and whether other full-size pages follow."""
    full: list[tuple[int, int]] = []
    seen: set[int] = set()
    offset = reader.first
    while offset and offset not in seen and len(seen) < _PAGES_LOOKED_AT:
        slots, _, following = reader.slots(offset)
        if not slots:
            break
        kinds = [reader.entry(slot).integers() for slot in slots if slot.tag == 254]
        if not (kinds and kinds[0] and kinds[0][0] & 5):  # neither a smaller copy nor a mask
            full.append((len(seen), offset))
        seen.add(offset)
        offset = following
    if not seen:
        raise UnreadableError("is cut off: it has no directory")
    index, first = full[0] if full else (0, reader.first)
    return index, first, len(full) > 1


def header(source: Source) -> Header:
    """Size and depth, from the directory."""
    page = _Page(source)
    return Header(page.width, page.height, 8 if page.bits <= 8 else 16)


def decode(source: Source) -> Decoded:
    """The picture and its metadata. Raises ``UnreadableError``."""
    page = _Page(source)
    page.check_segments()
    values = _decode_samples(source.handle, page)
    notes: tuple[str, ...] = ("only the first page of several was read",) if page.others else ()
    profile = page.bytes(_ICC)
    alpha: Pixels | None = None
    color = _SAMPLES[page.photometric]
    if values.shape[2] > color:
        values, alpha, note = _split_extra(values, color, page)
        notes += note
    if page.photometric == _CMYK:
        pixels = cmyk_to_rgb(Image.fromarray(np.ascontiguousarray(values), "CMYK"), profile)
        notes += ("CMYK was converted to RGB",)
    elif page.photometric == _PALETTE:
        pixels = _palette(page)[values[..., 0]]
    else:
        pixels = _full_range(values if color == 3 else values[..., 0], page)
    descriptive = exif.DESCRIPTIVE_TAGS | _RESOLUTION_TAGS | {exif.EXIF_IFD, exif.GPS_IFD}
    tree = exif.Exif.of(page.reader)
    tree.main = {tag: entry for tag, entry in tree.main.items() if tag in descriptive}
    if _DESCRIPTION in tree.main and tree.main[_DESCRIPTION].data.startswith(_LAYOUTS):
        del tree.main[_DESCRIPTION]
    orientation = page.number(exif.ORIENTATION, 1)
    return Decoded(
        pixels,
        alpha,
        exif=tree.block(),
        xmp=page.bytes(_XMP),
        iptc=page.bytes(_IPTC) or iptc.from_photoshop(page.bytes(_PHOTOSHOP) or b""),
        icc=profile,
        orientation=orientation if 1 <= orientation <= 8 else 1,
        notes=notes,
    )


def _decode_samples(handle: BinaryIO, page: _Page) -> NDArray[Any]:
    """``(H, W, samples)`` as stored, without a copy where that is possible."""
    try:
        handle.seek(0)
        with tifffile.TiffFile(handle, _multifile=False) as tiff:
            values = tiff.pages[page.index].asarray(squeeze=False, maxworkers=1)
    except Exception as error:  # tifffile meets damage with every sort of exception
        raise UnreadableError(f"cannot be decoded: {error}") from error
    if values.shape[1:4] != (1, page.height, page.width) or values.shape[0] * values.shape[4] != page.samples:
        raise UnreadableError("cannot be decoded: its picture has not the size that it states")
    return np.moveaxis(values[:, 0, ..., 0], 0, -1) if page.planar and page.samples > 1 else values[0, 0]


def _split_extra(values: NDArray[Any], color: int, page: _Page) -> tuple[NDArray[Any], Pixels | None, tuple[str, ...]]:
    """Colour and alpha apart, premultiplied colour divided by its alpha."""
    kind = page.number(338, 0)
    base = values[..., :color]
    if kind not in (1, 2) or page.bits not in (8, 16) or page.sample_format != 1:
        return base, None, ("extra channels without a stated meaning were left out",)
    alpha = np.ascontiguousarray(values[..., color])
    if kind == 1:
        base = base.copy()
        top = np.iinfo(alpha.dtype).max
        divisor = np.maximum(alpha, 1)[..., None].astype(np.float64)
        for y in range(0, base.shape[0], 256):
            rows = slice(y, y + 256)
            base[rows] = np.minimum(np.rint(base[rows] * (top / divisor[rows])), top)
    return base, alpha, ()


def _palette(page: _Page) -> NDArray[np.uint8]:
    table = np.array(page.numbers(320), np.uint16).reshape(3, -1).T
    # some writers fill in 8-bit values, which read as 16-bit ones would be all but black
    return (table if table.max() < 256 else table >> 8).astype(np.uint8)


def _full_range(values: NDArray[Any], page: _Page) -> Pixels:
    """uint8 or uint16 over the whole range, 0 is black."""
    if page.sample_format == 3:
        return _from_float(values)
    if page.bits == 1:
        values = values.astype(np.uint8)
    pixels = cast(Pixels, np.ascontiguousarray(values))
    if not pixels.flags.writeable:
        pixels = pixels.copy()
    top = (1 << page.bits) - 1
    stated = page.number(281, top)  # MaxSampleValue: 12 bits in 16, say
    if page.bits == 16 and stated in (1023, 4095, 16383) and pixels.max() <= stated:
        top = stated
    full = 255 if pixels.dtype == np.uint8 else 65535
    if top != full:
        table = np.rint(np.minimum(np.arange(full + 1) / top, 1) * full).astype(pixels.dtype)
        for y in range(0, pixels.shape[0], 512):
            pixels[y : y + 512] = table[pixels[y : y + 512]]
    if page.photometric == _MINISWHITE:
        np.invert(pixels, out=pixels)
    return pixels


def _from_float(values: NDArray[Any]) -> NDArray[np.uint16]:
    # comparisons with NaN are false, so NaN is refused here too
    if not (values.min() >= -1e-6 and values.max() <= 1 + 1e-6):
        raise UnreadableError("holds floating-point values outside of 0..1, which is not supported")
    pixels = np.empty(values.shape, np.uint16)
    for y in range(0, values.shape[0], 256):
        pixels[y : y + 256] = np.rint(np.clip(values[y : y + 256].astype(np.float64), 0, 1) * 65535)
    return pixels


def encode(handle: BinaryIO, strips: Iterator[Pixels], encoding: Encoding) -> None:
    """Write the file strip by strip (Deflate, horizontal predictor), so that it is never in memory as a whole."""
    height, width, bits, metadata = encoding.height, encoding.width, encoding.bits, encoding.metadata
    samples = 4 if encoding.alpha else 3
    row_bytes = width * samples * bits // 8
    rows = max(1, min(_STRIP_BYTES // row_bytes, height))
    big = row_bytes * height + (64 << 20) > _CLASSIC_LIMIT
    reader = exif.TiffReader.open(Source(metadata.exif)) if metadata.exif else None
    tree = exif.Exif.of(reader) if reader else exif.Exif()
    with tifffile.TiffWriter(handle, bigtiff=big, byteorder="<") as writer:
        writer.write(
            (_compress(block) for block in _regroup(strips, rows)),
            shape=(height, width, samples),
            dtype=np.uint8 if bits == 8 else np.uint16,
            photometric="rgb",
            planarconfig="contig",
            extrasamples=["unassalpha"] if encoding.alpha else None,
            rowsperstrip=rows,
            compression="adobe_deflate",
            predictor=True,
            iccprofile=icc.srgb_profile(),
            metadata=None,
            software=False,
            extratags=_extra_tags(tree, metadata, encoding.xmp),
            **_resolution(metadata.resolution),
        )
    _append_below(handle, tree, big)


def _resolution(resolution: Resolution | None) -> dict[str, Any]:
    if resolution is None:
        return {}
    unit = {"none": 1, "inch": 2, "cm": 3}[resolution.unit]
    return {"resolution": (resolution.x, resolution.y), "resolutionunit": unit}


def _extra_tags(tree: exif.Exif, metadata: Metadata, xmp: bytes) -> list[tuple[int, int, int, Any, bool]]:
    tags: list[tuple[int, int, int, Any, bool]] = [
        (entry.tag, entry.type, entry.count, entry.data, True)
        for entry in tree.main.values()
        if entry.tag in exif.DESCRIPTIVE_TAGS
    ]
    tags.append((_XMP, 1, len(xmp), xmp, True))
    if metadata.iptc:
        tags.append((_IPTC, 7, len(metadata.iptc), metadata.iptc, True))
    return tags


def _regroup(strips: Iterable[Pixels], rows: int) -> Iterator[Pixels]:
    """The same rows in blocks of ``rows``, the last of which may be shorter."""
    waiting: list[Pixels] = []
    count = 0
    for strip in strips:
        waiting.append(strip)
        count += strip.shape[0]
        if count < rows:
            continue
        joined = waiting[0] if len(waiting) == 1 else np.concatenate(waiting)
        whole = count - count % rows
        for y in range(0, whole, rows):
            yield joined[y : y + rows]
        count -= whole
        waiting = [joined[whole:].copy()] if count else []
    if count:
        yield waiting[0] if len(waiting) == 1 else np.concatenate(waiting)


def _compress(block: Pixels) -> bytes:
    differences: Any = imagecodecs.delta_encode(np.ascontiguousarray(block), axis=1)
    return bytes(imagecodecs.deflate_encode(differences, level=_LEVEL))


def _append_below(handle: BinaryIO, tree: exif.Exif, big: bool) -> None:
    """Append the EXIF and GPS directories, which tifffile cannot write, and a main directory that points to them."""
    if not (tree.exif or tree.gps):
        return
    end = handle.seek(0, 2)
    start = end + end % 2
    body, pointers = tree.below(start, big)
    reader = exif.TiffReader.open(Source(handle, end))
    if reader is None:
        raise UnreadableError("could not be read back")
    main = exif.with_pointers(reader.entries(reader.first), pointers, big)
    main_at = start + len(body)
    handle.seek(end)
    handle.write(b"\0" * (start - end) + body + exif.directory(main, main_at, big))
    handle.seek(8 if big else 4)
    handle.write(struct.pack("<Q" if big else "<I", main_at))
