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

from colorcli.color.spaces import lab_to_srgb
from colorcli.images import exif, iptc, jpeg2000, strict_ccitt, webp
from colorcli.images.encoding import Encoding
from colorcli.images.jpeg import cmyk_to_rgb
from colorcli.images.photo import (
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
from colorcli.images.strict_jpeg import as_eight_bits, decode_strictly, segment_with_tables

_CLASSIC_LIMIT = 0xF0000000
_STRIP_BYTES = 1 << 20
_LEVEL = 6  # libdeflate's, which costs little more than level 1
_PAGES_LOOKED_AT = 1024
_MINISWHITE, _MINISBLACK, _RGB, _PALETTE, _CMYK, _YCBCR, _CIELAB = 0, 1, 2, 3, 5, 6, 8
_SAMPLES = {_MINISWHITE: 1, _MINISBLACK: 1, _RGB: 3, _PALETTE: 1, _CMYK: 4, _YCBCR: 3, _CIELAB: 3}
_COLOR_SPACES = {4: "a mask", 9: "ICCLAB", 10: "ITULAB", 32803: "raw sensor data", 34892: "linear raw"}
_UNCOMPRESSED, _LZW, _OLD_JPEG, _JPEG, _PACKBITS = 1, 5, 6, 7, 32773
_CCITT = (strict_ccitt.RLE, strict_ccitt.GROUP3, strict_ccitt.GROUP4)
_ZSTD, _WEBP, _JPEG2000 = 50000, 50001, (33003, 33005, 34712)
_FILL_ORDER, _T4_OPTIONS = 266, 292
_JPEG_TABLES, _JPEG_STREAM, _JPEG_STREAM_LENGTH = 347, 513, 514
# the most bytes that one compressed byte can stand for; compressions that are not listed have no useful bound
_MOST_PACKED = {
    _UNCOMPRESSED: 1,
    _LZW: 2731,
    8: 1032,
    32946: 1032,
    _JPEG: 64 * 8 * 4,
    _PACKBITS: 64,
    34925: 8000,
    50000: 1 << 17,
}
_XMP, _IPTC, _PHOTOSHOP, _ICC, _DNG_VERSION = 700, 33723, 34377, 34675, 50706
_RESOLUTION_TAGS = frozenset((0x011A, 0x011B, 0x0128))
_DESCRIPTION = 0x010E
# tags about how pixels are stored, which an output has of its own
_UNDERSTOOD = frozenset(
    (
        *range(254, 270), 273, 274, 277, 278, 279, 280, 281, 284, 290, 291, 292, 293, 297, 301, 317, 318, 319, 320, 321,
        322, 323, 324, 325, 326, 327, 328, 332, 338, 339, 340, 341, 347, *range(512, 522), 529, 530, 531, 532, 559,
        32995, 32996, 32997, 32998, _XMP, _IPTC, _PHOTOSHOP, _ICC,
    )
)  # fmt: skip
_TOLD = {
    330: "sub-images", 333: "ink names", 33550: "georeferencing", 33922: "georeferencing", 34264: "georeferencing",
    34735: "georeferencing", 34736: "georeferencing", 34737: "georeferencing", 37724: "Photoshop layers",
    37510: "a user comment", 50838: "ImageJ data", 50839: "ImageJ data", 52545: "Content Credentials",
}  # fmt: skip
# programs that put the layout of the gray samples into the description: readers would apply it to the output
_LAYOUTS = (b'{"shape":', b"ImageJ=")

# tifffile reports damage both to its logger and by exceptions; users see the exceptions
logging.getLogger("tifffile").addHandler(logging.NullHandler())


class _Page:
    """The tags of the directory that holds the photograph."""

    def __init__(self, source: Source, wanted: int | None = None) -> None:
        reader = exif.TiffReader.open(source)
        if reader is None:
            raise UnreadableError("has a damaged header")
        self.index, reader.first, self.rank, self.pages = _find_page(reader, wanted)
        self.chosen = wanted is not None
        self.reader = reader
        self.slots = {slot.tag: slot for slot in reader.slots(reader.first)[0]}
        self.entries = {tag: reader.entry(slot) for tag, slot in self.slots.items()}
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

    def stored(self, tag: int) -> bytes | None:
        return self.reader.raw(self.slots[tag]) if tag in self.slots else None

    def _check(self, bits: tuple[int, ...], formats: tuple[int, ...]) -> None:
        if not (self.width and self.height):
            raise UnreadableError("does not state its size, or is cut off")
        if self.photometric not in _SAMPLES or _DNG_VERSION in self.entries:
            name = _COLOR_SPACES.get(self.photometric, "raw or of an unknown colour space")
            raise UnreadableError(f"is a TIFF whose picture is {name}, which is not supported")
        if self.photometric == _YCBCR and self.compression == _OLD_JPEG and not self.number(_JPEG_STREAM, 0):
            raise UnreadableError("is a TIFF with old-style JPEG compression in parts, which is not supported")
        if self.compression not in tifffile.TIFF.DECOMPRESSORS:
            raise UnreadableError(f"is a TIFF with {_name_of(self.compression)} compression, which is not supported")
        if self.photometric == _YCBCR and self.compression not in (_OLD_JPEG, _JPEG):
            raise UnreadableError("is a TIFF in YCbCr without JPEG compression, which is not supported")
        if self.photometric == _CMYK and (self.bits not in (8, 16) or self.number(332, 1) != 1):
            raise UnreadableError("is a TIFF of inks other than 8- or 16-bit CMYK, which is not supported")
        if self.photometric == _CIELAB and self.bits not in (8, 16):
            raise UnreadableError("is a TIFF in CIELAB of other than 8 or 16 bits, which is not supported")
        if self.samples < _SAMPLES[self.photometric] or len(set(bits)) > 1 or len(set(formats)) > 1:
            raise UnreadableError("is a TIFF whose channels differ in type or are too few, which is not supported")
        whole = (self.sample_format == 1 and 1 <= self.bits <= 32) or (
            self.sample_format == 2 and self.bits in (8, 16, 32)
        )
        real = self.sample_format == 3 and self.bits in (16, 32, 64) and self.photometric in (_MINISBLACK, _RGB)
        plain = self.bits <= 16 and self.sample_format == 1
        if not (plain or ((whole or real) and self.photometric in (_MINISWHITE, _MINISBLACK, _RGB, _CIELAB))):
            kind = {1: "unsigned", 2: "signed", 3: "floating-point"}.get(self.sample_format, "complex")
            raise UnreadableError(f"is a TIFF of {self.bits}-bit {kind} samples, which is not supported")
        if self.photometric == _PALETTE and len(self.numbers(320)) != 3 << self.bits:
            raise UnreadableError("is a TIFF with a damaged palette")
        if self.number(32997, 1) > 1:
            raise UnreadableError("is a TIFF of a volume, not of a picture, which is not supported")

    @property
    def tiled(self) -> bool:
        """Whether the image is stored in tiles rather than strips."""
        return 322 in self.entries

    def segment_shape(self, index: int) -> tuple[int, int]:
        """Rows and columns that the strip or tile ``index`` holds."""
        if self.tiled:
            return max(self.number(323, 1), 1), max(self.number(322, 1), 1)
        rows = max(min(self.number(278, self.height), self.height), 1)
        strips = -(-self.height // rows)
        return (rows if index % strips < strips - 1 else self.height - rows * (strips - 1)), self.width

    def segment_bytes(self, index: int) -> int:
        """Bytes that the strip or tile ``index`` unpacks to, unless colour is subsampled."""
        rows, columns = self.segment_shape(index)
        return rows * -(-columns * (1 if self.planar else self.samples) * self.bits // 8)

    def segments(self, *, salvage: bool = False) -> tuple[list[tuple[int, int]], bool]:
        """Offset and size of every strip or tile, and whether any size had to be derived.

        With ``salvage``, incomplete ones have size 0.

        Raises:
            UnreadableError: not all are complete.
        """
        offsets, counts = self.numbers(324 if self.tiled else 273), self.numbers(325 if self.tiled else 279)
        rows, columns = self.segment_shape(0)
        expected = -(-self.height // rows) * -(-self.width // columns) * (self.samples if self.planar else 1)
        in_one_stream = self.compression == _OLD_JPEG and self.number(_JPEG_STREAM, 0)
        if in_one_stream:
            offsets, counts, expected = self.numbers(_JPEG_STREAM), self.numbers(_JPEG_STREAM_LENGTH), 1
        elif not counts:
            counts = (0,) * len(offsets)
        missing = UnreadableError("is cut off: parts of the picture are missing; --salvage colours what is left")
        if len(offsets) < expected or len(counts) < expected:
            raise missing
        size = self.reader.source.size
        found, derived = [], False
        for index, (offset, stated) in enumerate(zip(offsets[:expected], counts[:expected], strict=True)):
            count = stated
            if offset and (not count or offset + count > size) and not in_one_stream:
                count = self._derived_bytes(index, offset, stated, offsets)
            whole = offset and count and offset + count <= size
            if not whole and not salvage:
                if not (offset and stated):
                    raise UnreadableError("leaves parts of the picture empty; --salvage colours what is left")
                raise missing
            derived = derived or bool(whole and count != stated)
            found.append((offset, count if whole else 0))
        return found, derived

    def _derived_bytes(self, index: int, offset: int, stated: int, offsets: tuple[int, ...]) -> int:
        """The size of a strip or tile whose stated one is 0 or goes beyond the end of the file, or that if it is lost.

        It is known if the strip is not compressed; others end at most where the next one or the directory begins. The
        last of a file may go on to its end, unless it says that it was longer: then the file was cut.
        """
        if self.compression == _UNCOMPRESSED:
            return self.segment_bytes(index)
        size = self.reader.source.size
        following = min((at for at in (*offsets, self.reader.first) if at > offset), default=size)
        return following - offset if following < size or not stated else stated

    def is_last(self, index: int) -> bool:
        """Whether a strip is the last one of its plane and has fewer rows than the others."""
        rows = max(self.number(278, self.height), 1)
        return not self.tiled and self.height % rows > 0 and (index + 1) % -(-self.height // rows) == 0

    def is_padded(self, segments: list[tuple[int, int]]) -> bool:
        """Whether a last strip is filled up to the rows of the others, as by some writers: tifffile refuses it."""
        for index, place in enumerate(segments):
            if self.is_last(index) and self.compression in _REPACKERS:
                content = self.reader.source.read(*place)
                if self.without_padding(index, content) is not content:
                    return True
        return False

    def without_padding(self, index: int, content: bytes) -> bytes:
        """The content of a strip, packed anew without rows that it has too many."""
        if self.compression not in _REPACKERS or self.number(_FILL_ORDER, 1) == 2:
            return content
        unpack, pack = _REPACKERS[self.compression]
        try:
            unpacked = bytes(unpack(content))
        except (RuntimeError, ValueError):  # damage, which is found where it is decoded
            return content
        size = self.segment_bytes(index)
        return bytes(pack(np.frombuffer(unpacked[:size], np.uint8))) if len(unpacked) > size else content

    def check_capacity(self) -> None:
        """Raise ``UnreadableError`` if the file is too small for the size it states."""
        most = _MOST_PACKED.get(self.compression)
        row = -(-self.width * self.samples * self.bits // 8)
        if self.compression in _CCITT and self.height > 8 * self.reader.source.size:  # a row takes at least one bit
            most, row = 1, self.reader.source.size
        if most is not None and self.height * row > self.reader.source.size * most:
            raise too_small(self.width, self.height)

    def find_damage(self, segments: list[tuple[int, int]]) -> set[int]:
        """Indices of the strips or tiles in which a strict decoder finds damage that the fast one ignores."""
        if self.bits not in (1, 2, 4, 8, 16) and self.compression != _JPEG:
            return set()
        return {index for index, place in enumerate(segments) if not place[1] or self._is_damaged(index, place)}

    def _is_damaged(self, index: int, place: tuple[int, int]) -> bool:
        if self.compression == _UNCOMPRESSED:
            return place[1] < self.segment_bytes(index)
        content = self.reader.source.read(*place)
        if self.number(_FILL_ORDER, 1) == 2:
            content = bytes(imagecodecs.bitorder_decode(content))
        try:
            if self.compression in _UNPACKERS:
                unpacked = _UNPACKERS[self.compression](content)
                return len(unpacked) < self.segment_bytes(index)
            if self.compression in _CCITT and self.samples == 1 and self.bits == 1:
                rows, columns = self.segment_shape(index)
                both = self.compression == strict_ccitt.GROUP3 and bool(self.number(_T4_OPTIONS, 0) & 1)
                return not strict_ccitt.is_sound(content, self.compression, columns, rows, two_dimensional=both)
            if self.compression in _JPEG2000:
                jpeg2000.check_codestream(Source(content))
            if self.compression == _WEBP:
                webp.check_container(Source(content))
            if self.compression == _OLD_JPEG and self.number(_JPEG_STREAM, 0):
                decode_strictly(content, self.samples)
            if self.compression == _JPEG and self.bits in (8, 12):
                stream = segment_with_tables(self.stored(_JPEG_TABLES), content)
                decode_strictly(as_eight_bits(stream), 1 if self.planar else self.samples)
        except (UnreadableError, RuntimeError, ValueError, KeyError):
            return True
        return False


# decoders that raise or return too few bytes if the strip is damaged
_UNPACKERS: dict[int, Any] = {
    _LZW: imagecodecs.lzw_decode,
    _PACKBITS: imagecodecs.packbits_decode,
    _ZSTD: imagecodecs.zstd_decode,
}


_REPACKERS: dict[int, tuple[Any, Any]] = {
    8: (imagecodecs.zlib_decode, imagecodecs.zlib_encode),
    32946: (imagecodecs.zlib_decode, imagecodecs.zlib_encode),
    _PACKBITS: (imagecodecs.packbits_decode, imagecodecs.packbits_encode),
    _ZSTD: (imagecodecs.zstd_decode, imagecodecs.zstd_encode),
}


def _name_of(compression: int) -> str:
    try:
        return tifffile.COMPRESSION(compression).name.replace("_", " ")
    except ValueError:
        return f"unknown ({compression})"


def _find_page(reader: exif.TiffReader, wanted: int | None) -> tuple[int, int, int, int]:
    """Index and offset of a full-size page, its number (from 1) among the full-size pages, and their count.

    ``wanted`` is an index among the full-size pages; None takes the largest, and the first of equals.
    """
    full: list[tuple[int, int, int]] = []
    seen: set[int] = set()
    offset = reader.first
    while offset and offset not in seen and len(seen) < _PAGES_LOOKED_AT:
        slots, _, following = reader.slots(offset)
        if not slots:
            break
        numbers = {slot.tag: reader.entry(slot).integers()[:1] for slot in slots if slot.tag in (254, 256, 257)}
        kind, width, height = (next(iter(numbers.get(tag, ())), 0) for tag in (254, 256, 257))
        if not kind & 5:  # neither a smaller copy nor a mask
            full.append((width * height, len(seen), offset))
        seen.add(offset)
        offset = following
    if not seen:
        raise UnreadableError("is cut off: it has no directory")
    if not full:
        return 0, reader.first, 1, 1
    if wanted is not None and not 0 <= wanted < len(full):
        raise UnreadableError(f"has {len(full)} pages, not {wanted + 1}")
    page = max(full, key=lambda page: (page[0], -page[1])) if wanted is None else full[wanted]
    return page[1], page[2], full.index(page) + 1, len(full)


def count_pages(source: Source) -> int:
    """Number of pages that are neither masks nor smaller copies of others."""
    return _Page(source).pages


def header(source: Source, *, page: int | None = None) -> Header:
    """Size and depth of a page, from its directory; by default of the largest page."""
    return _header(_Page(source, page))


def _header(page: _Page) -> Header:
    page.check_capacity()
    return Header(page.width, page.height, 8 if page.bits <= 8 and page.sample_format == 1 else 16)


def decode(source: Source, *, salvage: bool = False, page: int | None = None) -> Decoded:
    """The image of a page, by default the largest, and its metadata. Raises ``UnreadableError``."""
    return _decode(source, _Page(source, page), salvage=salvage)


def _decode(source: Source, page: _Page, *, salvage: bool) -> Decoded:
    page.check_capacity()
    values, notes = _decode_samples(source.handle, page, salvage=salvage)
    if page.pages > 1 and not page.chosen:
        which, number = ("first", "") if page.rank == 1 else ("largest", f", number {page.rank},")
        notes += (f"only the {which} of its {page.pages} pages{number} was read",)
    profile = page.stored(_ICC)
    alpha: Pixels | None = None
    color = _SAMPLES[page.photometric]
    if values.shape[2] > color:
        values, alpha, note = _split_extra(values, color, page)
        notes += note
    if page.photometric == _CMYK:
        if page.bits == 16:
            values = (values >> 8).astype(np.uint8)
            notes += ("16-bit CMYK was reduced to 8 bits",)
        pixels = cmyk_to_rgb(Image.fromarray(np.ascontiguousarray(values), "CMYK"), profile)
        notes += ("CMYK was converted to RGB",)
    elif page.photometric == _CIELAB:
        pixels, profile = _from_lab(values, page), None
        notes += ("CIELAB was converted to RGB",)
    elif page.photometric == _PALETTE:
        # one-bit images come as booleans, which would select rows instead of indexing them
        pixels = _palette(page)[values[..., 0].astype(np.uint16)]
    else:
        pixels, note = _full_range(values if color == 3 else values[..., 0], page)
        notes += note
    descriptive = exif.DESCRIPTIVE_TAGS | _RESOLUTION_TAGS | {exif.EXIF_IFD, exif.GPS_IFD}
    tree = exif.Exif.of(page.reader)
    tree.main = {tag: entry for tag, entry in tree.main.items() if tag in descriptive}
    if _DESCRIPTION in tree.main and tree.main[_DESCRIPTION].data.startswith(_LAYOUTS):
        del tree.main[_DESCRIPTION]
    notes += left_out_note(
        (
            *(_told(tag) for tag in page.entries if tag not in descriptive and tag not in _UNDERSTOOD),
            *iptc.other_resources(page.stored(_PHOTOSHOP) or b""),
        )
    )
    orientation = page.number(exif.ORIENTATION, 1)
    return Decoded(
        pixels,
        alpha,
        exif=tree.block(),
        xmp=page.stored(_XMP),
        iptc=page.stored(_IPTC) or iptc.from_photoshop(page.stored(_PHOTOSHOP) or b""),
        icc=profile,
        orientation=orientation if 1 <= orientation <= 8 else 1,
        notes=notes,
    )


def _told(tag: int) -> str:
    return _TOLD.get(tag, f"TIFF tag {tag}")


def _decode_samples(handle: BinaryIO, page: _Page, *, salvage: bool) -> tuple[NDArray[Any], tuple[str, ...]]:
    """``(H, W, samples)`` as stored, not copied if possible, and a note on what is missing."""
    segments, derived = page.segments(salvage=salvage)
    if page.compression == _OLD_JPEG and page.photometric == _YCBCR:
        pixels = _old_jpeg(page.reader.source.read(*segments[0]))
        if pixels is None or pixels.shape[:2] != (page.height, page.width):
            raise UnreadableError("is a TIFF with a kind of old-style JPEG compression that is not supported")
        return pixels, ()
    damaged = page.find_damage(segments)
    if damaged and not salvage:
        raise UnreadableError(
            f"is damaged in {len(damaged)} of its {len(segments)} strips or tiles; --salvage colours what is left"
        )
    try:
        handle.seek(0)
        with tifffile.TiffFile(handle, _multifile=False) as tiff:
            opened = tiff.pages[page.index]
            values, missing = None if salvage or derived else _whole(opened, page, segments), 0.0
            if values is None:
                values, missing = _assembled(handle, opened, page, segments, damaged)
    except Exception as error:  # tifffile raises many types of exceptions on damage
        hint = "" if salvage else "; --salvage colours what is left"
        raise UnreadableError(f"cannot be decoded: {error}{hint}") from error
    if missing and not salvage:
        raise UnreadableError("is damaged in some of its strips or tiles; --salvage colours what is left")
    if values.shape[1:4] != (1, page.height, page.width) or values.shape[0] * values.shape[4] != page.samples:
        raise UnreadableError("cannot be decoded: its picture does not have the stated size")
    values = np.moveaxis(values[:, 0, ..., 0], 0, -1) if page.planar and page.samples > 1 else values[0, 0]
    notes = ("the sizes of its strips or tiles are missing or wrong, and were derived",) if derived else ()
    return values, (*notes, *((missing_note(missing),) if missing else ()))


def _whole(page: Any, ours: _Page, segments: list[tuple[int, int]]) -> NDArray[Any] | None:
    """The image as tifffile decodes it; None where it refuses a padded strip."""
    try:
        return cast(NDArray[Any], page.asarray(squeeze=False, maxworkers=1))
    except Exception:  # whether a strip is padded shows only once it is unpacked, which few images need
        if ours.is_padded(segments):
            return None
        raise


def _old_jpeg(stream: bytes) -> Pixels | None:
    """The picture in an old-style JPEG stream, if it is one stream with all of it; None otherwise."""
    try:
        return decode_strictly(stream, 3)
    except UnreadableError as error:
        if "sos" in str(error):  # libjpeg's words for a stream of tables, whose picture is elsewhere
            return None
        raise


def _assembled(
    handle: BinaryIO, page: Any, ours: _Page, segments: list[tuple[int, int]], damaged: set[int]
) -> tuple[NDArray[Any], float]:
    """The image in the shape of tifffile's ``page``, with zeros where strips or tiles are damaged, and their share."""
    picture = np.zeros(page.shaped, page.dtype)
    tables = page.jpegtables
    missing = 0
    for index, (offset, count) in enumerate(segments):
        handle.seek(offset)
        content = handle.read(count) if index not in damaged else None
        try:
            if content and ours.is_last(index):
                content = ours.without_padding(index, content)
            part, (plane, depth, y, x, _), _ = page.decode(content, index, jpegtables=tables)
        except Exception:  # tifffile again
            part, (plane, depth, y, x, _), _ = page.decode(None, index)
        if part is None:
            missing += 1
            continue
        part = part[: picture.shape[1] - depth, : picture.shape[2] - y, : picture.shape[3] - x]
        picture[plane, depth : depth + part.shape[0], y : y + part.shape[1], x : x + part.shape[2]] = part
    if missing == len(segments):
        raise UnreadableError("nothing of its picture is left")
    return picture, missing / len(segments)


def _split_extra(values: NDArray[Any], color: int, page: _Page) -> tuple[NDArray[Any], Pixels | None, tuple[str, ...]]:
    """Colour and alpha as two arrays, with premultiplied colour divided by alpha, and notes."""
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
    # some writers store 8-bit values, which would be almost black if read as 16-bit ones
    return (table if table.max() < 256 else table >> 8).astype(np.uint8)


def _full_range(values: NDArray[Any], page: _Page) -> tuple[Pixels, tuple[str, ...]]:
    """uint8 or uint16 over the full range, 0 is black, and a note if the range had to be guessed."""
    if page.sample_format == 3:
        pixels, note = _from_float(values)
    elif page.sample_format == 2 or page.bits > 16:
        pixels, note = _from_integers(values, page.bits, signed=page.sample_format == 2)
    else:
        pixels, note = _from_codes(values, page), ()
    if page.photometric == _MINISWHITE:
        np.invert(pixels, out=pixels)
    return pixels, note


def _from_codes(values: NDArray[Any], page: _Page) -> Pixels:
    if values.dtype.kind == "b":
        values = values.astype(np.uint8)
    if values.dtype.kind != "u":
        raise UnreadableError(f"cannot be decoded: its samples are {values.dtype}, not what it states")
    pixels = cast(Pixels, np.ascontiguousarray(values))
    if not pixels.flags.writeable:
        pixels = pixels.copy()
    top = (1 << page.bits) - 1
    stated = page.number(281, top)  # MaxSampleValue, such as 4095 for 12 bits stored in 16
    if page.bits == 16 and stated in (1023, 4095, 16383) and pixels.max() <= stated:
        top = stated
    full = 255 if pixels.dtype == np.uint8 else 65535
    if top != full:
        table = np.rint(np.minimum(np.arange(full + 1) / top, 1) * full).astype(pixels.dtype)
        for y in range(0, pixels.shape[0], 512):
            pixels[y : y + 512] = table[pixels[y : y + 512]]
    return pixels


def _from_integers(values: NDArray[Any], bits: int, *, signed: bool) -> tuple[NDArray[np.uint16], tuple[str, ...]]:
    """Signed integers, or unsigned ones of more than 16 bits, scaled to uint16, and a note on the range."""
    low, high = int(values.min()), int(values.max())
    floor, top = (-(1 << bits - 1) if low < 0 else 0, (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)
    if bits > 16 and low >= 0 and high < 65536:  # 16-bit values that a program stored in more bits
        top = 65535
    return _scaled(values, floor, top), (f"values {floor} to {top} were taken as black to white",)


def _from_float(values: NDArray[Any]) -> tuple[NDArray[np.uint16], tuple[str, ...]]:
    low, high = float(values.min()), float(values.max())
    if not (np.isfinite(low) and np.isfinite(high)):
        raise UnreadableError("holds NaN or infinite values, which is not supported")
    if low >= -1e-6 and high <= 1 + 1e-6:
        return _scaled(values, 0, 1), ()
    floor = min(low, 0.0)
    # a maximum a little over 1 means 0..1 with brighter highlights; larger ones mean 8- or 16-bit codes
    top = high if high <= 2 else next((usual for usual in (255.0, 65535.0) if high <= usual), high)
    note = f"floating-point values {floor:g} to {top:g} were taken as black to white"
    return _scaled(values, floor, top), (note,)


def _scaled(values: NDArray[Any], floor: float, top: float) -> NDArray[np.uint16]:
    pixels = np.empty(values.shape, np.uint16)
    for y in range(0, values.shape[0], 256):
        share = (values[y : y + 256].astype(np.float64) - floor) / (top - floor)
        pixels[y : y + 256] = np.rint(np.clip(share, 0, 1) * 65535)
    return pixels


def _from_lab(values: NDArray[Any], page: _Page) -> Pixels:
    """CIELAB to sRGB (TIFF 6.0, section 23): L* over the unsigned range, a* and b* signed, in units of 1 or 1/256."""
    full, unit = (255, 1.0) if page.bits == 8 else (65535, 256.0)
    kind = np.int8 if page.bits == 8 else np.int16
    pixels = np.empty(values.shape, np.uint8 if page.bits == 8 else np.uint16)
    for y in range(0, values.shape[0], 256):
        rows = np.ascontiguousarray(values[y : y + 256])
        lab = rows.view(kind).astype(np.float64) / unit
        lab[..., 0] = rows[..., 0].astype(np.float64) * (100 / full)
        pixels[y : y + 256] = np.rint(np.clip(lab_to_srgb(lab), 0, 1) * full)
    return pixels


def encode(handle: BinaryIO, strips: Iterator[Pixels], encoding: Encoding) -> None:
    """Write the file strip by strip (Deflate, horizontal predictor): the image is never in memory as a whole."""
    pages = [(strips, encoding), *encoding.more]
    big = sum(_row_bytes(page) * page.height for _, page in pages) + (64 << 20) > _CLASSIC_LIMIT
    with tifffile.TiffWriter(handle, bigtiff=big, byteorder="<") as writer:
        for rows, page in pages:
            _write_page(writer, rows, page)
    _append_below(handle, _tree(encoding.metadata), big)


def _row_bytes(page: Encoding) -> int:
    return page.width * (4 if page.alpha else 3) * page.bits // 8


def _tree(metadata: Metadata) -> exif.Exif:
    reader = exif.TiffReader.open(Source(metadata.exif)) if metadata.exif else None
    return exif.Exif.of(reader) if reader else exif.Exif()


def _write_page(writer: tifffile.TiffWriter, strips: Iterator[Pixels], page: Encoding) -> None:
    rows = max(1, min(_STRIP_BYTES // _row_bytes(page), page.height))
    writer.write(
        (_compress(block) for block in _regroup(strips, rows)),
        shape=(page.height, page.width, 4 if page.alpha else 3),
        dtype=np.uint8 if page.bits == 8 else np.uint16,
        photometric="rgb",
        planarconfig="contig",
        extrasamples=["unassalpha"] if page.alpha else None,
        rowsperstrip=rows,
        compression="adobe_deflate",
        predictor=True,
        iccprofile=page.profile,
        metadata=None,
        software=False,
        extratags=_extra_tags(_tree(page.metadata), page.metadata, page.xmp),
        **_resolution(page.metadata.resolution),
    )


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
    """The same rows in blocks of ``rows`` each; the last block may be shorter."""
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
    """Append EXIF and GPS directories, which tifffile cannot write, and a new main directory that points to them."""
    if not (tree.exif or tree.gps):
        return
    end = handle.seek(0, 2)
    start = end + end % 2
    body, pointers = tree.below(start, big)
    reader = exif.TiffReader.open(Source(handle, end))
    if reader is None:
        raise UnreadableError("could not be read back")
    main = exif.with_pointers(reader.entries(reader.first), pointers, big)
    following = reader.slots(reader.first)[2]
    main_at = start + len(body)
    handle.seek(end)
    handle.write(b"\0" * (start - end) + body + exif.directory(main, main_at, big, following))
    handle.seek(8 if big else 4)
    handle.write(struct.pack("<Q" if big else "<I", main_at))
