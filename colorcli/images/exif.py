"""EXIF blocks and TIFF directories (TIFF 6.0 section 2; EXIF 2.32 section 4.6), read and patched byte by byte.

An EXIF block is patched in place where possible: maker notes hold offsets into the block, and moving them breaks them.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass, field
from fractions import Fraction

from colorcli.images.source import Source

ORIENTATION = 0x0112
EXIF_IFD = 0x8769
GPS_IFD = 0x8825
INTEROP_IFD = 0xA005
MAKER_NOTE = 0x927C
_COLOR_SPACE = 0xA001
_POINTERS = (EXIF_IFD, GPS_IFD, INTEROP_IFD)
_THUMBNAIL_OFFSET, _THUMBNAIL_LENGTH = 0x0201, 0x0202
_PREFIX = b"Exif\0\0"
_MAX_ENTRIES = 4096
_MAX_VALUE = 1 << 26

# bytes of one value of each TIFF type, and of the unit that byte order applies to
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_UNITS = {3: 2, 4: 4, 5: 4, 8: 2, 9: 4, 10: 4, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}

# tags of a TIFF's main directory that describe the photograph, not how its pixels are stored
DESCRIPTIVE_TAGS = frozenset(
    (
        0x010D,
        0x010E,
        0x010F,
        0x0110,
        0x011D,
        0x0131,
        0x0132,
        0x013B,
        0x013C,
        0x4746,
        0x4749,
        0x8298,
        *range(0x9C9B, 0x9CA0),
    )
)


@dataclass(frozen=True)
class IfdEntry:
    """One tag: its TIFF type, number of values, and the values as little-endian bytes."""

    tag: int
    type: int
    count: int
    data: bytes

    def integers(self) -> tuple[int, ...]:
        """The values if their type is an unsigned integer, else an empty tuple."""
        code = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}.get(self.type)
        return struct.unpack(f"<{self.count}{code}", self.data) if code else ()

    def rational(self) -> float | None:
        """The first value if the type is RATIONAL and its denominator is not 0, else None."""
        if self.type != 5 or self.count < 1:
            return None
        numerator, denominator = struct.unpack_from("<II", self.data)
        return numerator / denominator if denominator else None


@dataclass
class Slot:
    """Where an entry (``at``) and its value (``value_at``) lie in a file."""

    tag: int
    type: int
    count: int
    at: int
    value_at: int

    @property
    def nbytes(self) -> int:
        """Size of the value in bytes."""
        return self.count * _SIZES[self.type]


@dataclass
class TiffReader:
    """Walks the directories of a TIFF structure, classic or BigTIFF, in a file or an EXIF block."""

    source: Source
    order: str = "<"
    big: bool = False
    first: int = 0

    @staticmethod
    def open(source: Source) -> TiffReader | None:
        """A reader, or None if ``source`` is not a TIFF structure."""
        head = source.read(0, 16)
        order = {b"II": "<", b"MM": ">"}.get(head[:2])
        if order is None or len(head) < 8:
            return None
        version = struct.unpack_from(order + "H", head, 2)[0]
        if version == 42:
            return TiffReader(source, order, False, struct.unpack_from(order + "I", head, 4)[0])
        if version == 43 and len(head) == 16 and struct.unpack_from(order + "HH", head, 4) == (8, 0):
            return TiffReader(source, order, True, struct.unpack_from(order + "Q", head, 8)[0])
        return None

    def slots(self, offset: int) -> tuple[list[Slot], int, int]:
        """The entries of the directory at ``offset``, where the pointer to the next lies, and that pointer.

        Entries of unknown type, or whose values lie outside the file, are left out; a truncated directory has neither
        entries nor a successor.
        """
        count_code, entry_size, pointer = ("Q", 20, 8) if self.big else ("H", 12, 4)
        head = self.source.read(offset, struct.calcsize("<" + count_code))
        if offset <= 0 or len(head) < struct.calcsize("<" + count_code):
            return [], 0, 0
        count = struct.unpack(self.order + count_code, head)[0]
        if count > _MAX_ENTRIES:
            return [], 0, 0
        start = offset + len(head)
        table = self.source.read(start, count * entry_size + pointer)
        if len(table) < count * entry_size:
            return [], 0, 0
        found = (self._slot(table, at, start + at) for at in range(0, count * entry_size, entry_size))
        slots = [slot for slot in found if slot is not None]
        next_at = start + count * entry_size
        tail = table[count * entry_size :]
        following = struct.unpack(self.order + ("Q" if self.big else "I"), tail)[0] if len(tail) == pointer else 0
        return slots, next_at, following

    def _slot(self, table: bytes, at: int, position: int) -> Slot | None:
        layout, inline = ("HHQQ", 8) if self.big else ("HHII", 4)
        tag, kind, count, value = struct.unpack_from(self.order + layout, table, at)
        nbytes = count * _SIZES.get(kind, 0)
        if not 0 < nbytes <= _MAX_VALUE:
            return None
        value_at = position + (12 if self.big else 8) if nbytes <= inline else value
        if value_at + nbytes > self.source.size:
            return None
        return Slot(tag, kind, count, position, value_at)

    def raw(self, slot: Slot) -> bytes:
        """The value's bytes as stored, for blocks in another format (XMP, ICC) whatever type the tag states."""
        return self.source.read(slot.value_at, slot.nbytes)

    def entry(self, slot: Slot) -> IfdEntry:
        """The entry with its values."""
        data = self.raw(slot)
        if self.order == ">" and slot.type in _UNITS:
            unit = _UNITS[slot.type]
            data = b"".join(data[i : i + unit][::-1] for i in range(0, len(data), unit))
        return IfdEntry(slot.tag, slot.type, slot.count, data)

    def entries(self, offset: int) -> dict[int, IfdEntry]:
        """All entries of the directory at ``offset``, by tag."""
        return {slot.tag: self.entry(slot) for slot in self.slots(offset)[0]}


@dataclass
class Exif:
    """The entries of an EXIF block by directory, without the pointers between directories."""

    main: dict[int, IfdEntry] = field(default_factory=dict)
    exif: dict[int, IfdEntry] = field(default_factory=dict)
    gps: dict[int, IfdEntry] = field(default_factory=dict)
    interop: dict[int, IfdEntry] = field(default_factory=dict)

    @staticmethod
    def of(reader: TiffReader) -> Exif:
        """Everything reachable from the first directory."""
        main = reader.entries(reader.first)

        def follow(parent: dict[int, IfdEntry], tag: int) -> dict[int, IfdEntry]:
            pointer = parent.pop(tag, None)
            values = pointer.integers() if pointer else ()
            return reader.entries(values[0]) if values else {}

        exif = follow(main, EXIF_IFD)
        return Exif(main, exif, follow(main, GPS_IFD), follow(exif, INTEROP_IFD))

    def block(self) -> bytes | None:
        """A little-endian EXIF block, or None if there are no entries."""
        if not (self.main or self.exif or self.gps):
            return None
        pointers = {tag: 0 for tag, entries in ((EXIF_IFD, self.exif), (GPS_IFD, self.gps)) if entries}
        reserve = len(directory(with_pointers(self.main, pointers), 8))
        below, pointers = self.below(8 + reserve)
        return b"II*\0" + struct.pack("<I", 8) + directory(with_pointers(self.main, pointers), 8) + below

    def below(self, offset: int, big: bool = False) -> tuple[bytes, dict[int, int]]:
        """The EXIF and GPS directories as bytes to place at ``offset``, and each one's offset by its pointer's tag."""
        body, pointers = b"", {}
        exif = dict(self.exif)
        if self.interop:
            interop_at = offset
            body += directory(self.interop, interop_at, big)
            exif = with_pointers(exif, {INTEROP_IFD: interop_at}, big)
        for tag, entries in ((EXIF_IFD, exif), (GPS_IFD, self.gps)):
            if entries:
                pointers[tag] = offset + len(body)
                body += directory(entries, pointers[tag], big)
        return body, pointers


def with_pointers(entries: dict[int, IfdEntry], pointers: dict[int, int], big: bool = False) -> dict[int, IfdEntry]:
    """The entries by tag, with pointers to other directories added."""
    kind, code = (16, "<Q") if big else (4, "<I")
    return entries | {tag: IfdEntry(tag, kind, 1, struct.pack(code, at)) for tag, at in pointers.items()}


def directory(entries: dict[int, IfdEntry], offset: int, big: bool = False, following: int = 0) -> bytes:
    """One little-endian directory, as an even number of bytes to be placed at the even offset ``offset``."""
    count, layout, inline = ("<Q", "<HHQ", 8) if big else ("<H", "<HHI", 4)
    pointer = "<Q" if big else "<I"
    table = struct.pack(count, len(entries))
    values = b""
    values_at = offset + len(table) + len(entries) * (20 if big else 12) + inline
    for entry in sorted(entries.values(), key=lambda entry: entry.tag):
        table += struct.pack(layout, entry.tag, entry.type, entry.count)
        if len(entry.data) <= inline:
            table += entry.data.ljust(inline, b"\0")
        else:
            table += struct.pack(pointer, values_at + len(values))
            values += entry.data + b"\0" * (len(entry.data) % 2)
    return table + struct.pack(pointer, following) + values


def strip_prefix(data: bytes | None) -> bytes | None:
    """An EXIF block without the prefix that JPEG (and some WebP writers) put before it."""
    if data and data.startswith(_PREFIX):
        data = data[len(_PREFIX) :]
    return data or None


def with_prefix(block: bytes) -> bytes:
    """An EXIF block with the prefix that JPEG puts before it."""
    return _PREFIX + block


def orientation(block: bytes | None) -> int | None:
    """The orientation 1..8 that an EXIF block states, or None."""
    reader = TiffReader.open(Source(block)) if block else None
    entry = reader.entries(reader.first).get(ORIENTATION) if reader else None
    values = entry.integers() if entry else ()
    return values[0] if values and 1 <= values[0] <= 8 else None


def at_most(block: bytes | None, limit: int) -> bytes | None:
    """The block; without its maker note if it is longer than ``limit`` bytes; None if that does not suffice."""
    if block is None or len(block) <= limit:
        return block
    reader = TiffReader.open(Source(block))
    if reader is None:
        return None
    tree = Exif.of(reader)
    tree.exif.pop(MAKER_NOTE, None)
    smaller = tree.block()
    return smaller if smaller and len(smaller) <= limit else None


def resolution_block(x: float, y: float, unit: int) -> bytes:
    """An EXIF block with only the resolution, for formats that have no other place for it."""
    entries = {
        tag: IfdEntry(tag, 5, 1, struct.pack("<II", *Fraction(value).limit_denominator(10000).as_integer_ratio()))
        for tag, value in ((0x011A, x), (0x011B, y))
    }
    entries[0x0128] = IfdEntry(0x0128, 3, 1, struct.pack("<H", unit))
    return b"II*\0" + struct.pack("<I", 8) + directory(entries, 8)


def upright(block: bytes | None, *, width: int, height: int, turned: bool) -> bytes | None:
    """The block for the upright sRGB image: orientation 1, its size and colour space stated, no thumbnail.

    Everything is patched in place. None if ``block`` is not an EXIF block.

    Args:
        block: the block as found.
        width: columns of the upright image.
        height: rows of the upright image.
        turned: whether x and y were swapped.
    """
    reader = TiffReader.open(Source(block)) if block else None
    if block is None or reader is None or reader.big:
        return None
    main, next_at, thumbnail = reader.slots(reader.first)
    if not main:
        return None
    patched = bytearray(block)
    sub = _below(reader, main)
    values = {ORIENTATION: 1, 0x0100: width, 0x0101: height, 0xA001: 1, 0xA002: width, 0xA003: height}
    for slot in main + sub:
        if slot.tag in values and slot.count == 1 and slot.type in (3, 4):
            code = "H" if slot.type == 3 else "I"
            if values[slot.tag] < 1 << (8 * _SIZES[slot.type]):
                struct.pack_into(reader.order + code, patched, slot.value_at, values[slot.tag])
    if turned:
        _swap_resolution(patched, main)
    if thumbnail:
        _remove_thumbnail(patched, reader, main + sub, next_at, thumbnail)
    return bytes(patched)


def uncalibrated(block: bytes | None) -> bytes | None:
    """The block with its colour space, if it states one, set to "uncalibrated" (EXIF 2.32, tag 0xA001: 65535)."""
    reader = TiffReader.open(Source(block)) if block else None
    if block is None or reader is None:
        return block
    patched = bytearray(block)
    for slot in _below(reader, reader.slots(reader.first)[0]):
        if slot.tag == _COLOR_SPACE and slot.count == 1 and slot.type == 3:
            struct.pack_into(reader.order + "H", patched, slot.value_at, 65535)
    return bytes(patched)


def _below(reader: TiffReader, slots: Iterable[Slot]) -> list[Slot]:
    found: list[Slot] = []
    for slot in slots:
        if slot.tag in _POINTERS:
            values = reader.entry(slot).integers()
            inner = reader.slots(values[0])[0] if values else []
            found += inner
            if slot.tag == EXIF_IFD:
                found += _below(reader, [s for s in inner if s.tag == INTEROP_IFD])
    return found


def _swap_resolution(patched: bytearray, slots: list[Slot]) -> None:
    by_tag = {slot.tag: slot for slot in slots}
    x, y = by_tag.get(0x011A), by_tag.get(0x011B)
    if x and y and x.nbytes == y.nbytes == 8:
        at_x, at_y = slice(x.value_at, x.value_at + 8), slice(y.value_at, y.value_at + 8)
        patched[at_x], patched[at_y] = patched[at_y], patched[at_x]


def _remove_thumbnail(patched: bytearray, reader: TiffReader, kept: list[Slot], next_at: int, offset: int) -> None:
    """Unlink the thumbnail's directory, blank its pixels, and cut both off if nothing else follows them."""
    end = max([next_at + 4] + [max(slot.at + 12 + 4, slot.value_at + slot.nbytes) for slot in kept])
    entries = reader.entries(offset)
    picture = [entries[tag].integers() for tag in (_THUMBNAIL_OFFSET, _THUMBNAIL_LENGTH) if tag in entries]
    if len(picture) == 2 and all(picture):
        start, length = picture[0][0], picture[1][0]
        kept_ranges = [(slot.value_at, slot.value_at + slot.nbytes) for slot in kept]
        stop = min(start + length, len(patched))
        if start < stop and not any(a < stop and start < b for a, b in kept_ranges):
            patched[start:stop] = bytes(stop - start)
    struct.pack_into(reader.order + "I", patched, next_at, 0)
    if offset >= end:
        del patched[end:]
