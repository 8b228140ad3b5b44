"""The photograph formats: one record each, which names the module that decodes and encodes it.

Codecs are imported only when a photograph is read or written, so that completing ``--format`` or finding files loads
no image library.
"""

from __future__ import annotations

import importlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, BinaryIO, Protocol, cast

from colorcli.errors import UsageError
from colorcli.files import is_debris

if TYPE_CHECKING:
    from colorcli.images.encoding import Encoding
    from colorcli.images.photo import Decoded, Format, Header, Pixels
    from colorcli.images.source import Source


class Decoder(Protocol):
    """A module that reads a format; both functions raise ``UnreadableError``."""

    def header(self, source: Source) -> Header:
        """Size and depth, without decoding a pixel."""

    def decode(self, source: Source, *, salvage: bool = False) -> Decoded:
        """The image and its metadata; with ``salvage``, what is left of a damaged one, and a note."""


class Encoder(Protocol):
    """A module that writes a format."""

    def encode(self, handle: BinaryIO, strips: Iterator[Pixels], encoding: Encoding) -> None:
        """Write the file into ``handle``, which is empty and open for reading and writing.

        ``strips`` are ``(rows, W, 3)``, or ``(rows, W, 4)`` with alpha, of any number of rows, from top to bottom.
        """


@dataclass(frozen=True)
class PhotoFormat:
    """A format that can be read, and what is known about it without opening a file.

    Attributes:
        name: its name in records and journals.
        label: its name for people.
        suffixes: lower-case file suffixes, the usual one first.
        signature: matches the first 32 bytes of a file.
        module: name of its codec's module in this package.
        read_suffixes: further suffixes of files that are read; their outputs get the usual suffix.
        options: its names for ``--format``; empty for a read-only format.
        bits: the largest number of bits per sample that is written.
        max_side: the largest number of pixels a side.
        texts: kinds of comments it holds (``Metadata.texts``).
        alpha: whether it holds transparency.
        iptc: whether it holds IPTC datasets.
        max_xmp: the largest XMP packet in bytes; None for no limit.
        max_exif: the largest EXIF block in bytes; None for no limit.
        paged: whether it holds several pages.
        streamed: whether it is written strip by strip, so that the image is never in memory as a whole.
        lossy: whether pixels are coded lossily unless the encoder is told otherwise.
        block_rows: number of rows that are coded independently of all others, such as JPEG's blocks; 0 for none.
        mime: media type of the format to the C2PA library; empty if a file cannot hold Content Credentials.
        bytes_per_pixel: approximate size of a colour photograph at 8 bits.
        deep_factor: how many times that size a photograph takes at 16 bits.
    """

    name: Format
    label: str
    suffixes: tuple[str, ...]
    signature: re.Pattern[bytes]
    module: str
    read_suffixes: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    bits: int = 8
    max_side: int = (1 << 31) - 1
    texts: tuple[bytes, ...] = ()
    alpha: bool = True
    iptc: bool = True
    max_xmp: int | None = None
    max_exif: int | None = None
    paged: bool = False
    streamed: bool = False
    lossy: bool = False
    block_rows: int = 0
    mime: str = ""
    bytes_per_pixel: float = 2.0
    deep_factor: float = 1.0

    @property
    def written(self) -> bool:
        """Whether photographs can be written in it."""
        return bool(self.options)

    @property
    def decoder(self) -> Decoder:
        """Its codec, imported now."""
        return cast(Decoder, self._codec())

    @property
    def encoder(self) -> Encoder:
        """Its codec, imported now; only for a format that can be written."""
        return cast(Encoder, self._codec())

    def _codec(self) -> object:
        return importlib.import_module(f"colorcli.images.{self.module}")


JPEG = PhotoFormat(
    "JPEG",
    "JPEG",
    (".jpg", ".jpeg", ".jpe", ".jfif"),
    re.compile(rb"\xff\xd8\xff"),
    "jpeg",
    options=("jpeg", "jpg"),
    max_side=65500,  # libjpeg's own limit
    texts=(b"COM",),
    alpha=False,
    # a segment holds 65,533 bytes, less the prefix that names its content
    max_xmp=65533 - 29,
    max_exif=65533 - 6,
    lossy=True,
    block_rows=8,  # without chroma subsampling, as we write it
    mime="image/jpeg",
    bytes_per_pixel=0.9,
)
PNG = PhotoFormat(
    "PNG",
    "PNG",
    (".png",),
    re.compile(rb"\x89PNG\r\n\x1a\n"),
    "png",
    options=("png",),
    bits=16,
    texts=(b"tEXt", b"zTXt", b"iTXt"),
    mime="image/png",
    bytes_per_pixel=1.9,
    deep_factor=2.5,
)
TIFF = PhotoFormat(
    "TIFF",
    "TIFF",
    (".tif", ".tiff"),
    re.compile(rb"II\*\0|MM\0\*|II\+\0|MM\0\+"),
    "tiff",
    options=("tiff", "tif"),
    bits=16,
    paged=True,
    streamed=True,
    mime="image/tiff",
    bytes_per_pixel=2.1,
    deep_factor=2.5,
)
WEBP = PhotoFormat(
    "WEBP",
    "WebP",
    (".webp",),
    re.compile(rb"RIFF....WEBP", re.DOTALL),
    "webp",
    options=("webp",),
    max_side=16383,
    iptc=False,
    lossy=True,
    mime="image/webp",
    bytes_per_pixel=0.4,
)

JPEG2000 = PhotoFormat(
    "JPEG2000",
    "JPEG 2000",
    (".jp2",),
    re.compile(rb"\0\0\0\x0cjP  \r\n\x87\n|\xff\x4f\xff\x51"),
    "jpeg2000",
    read_suffixes=(".j2k", ".jpf", ".jpx", ".j2c", ".jpc"),
    options=("jp2",),
    bits=16,
    bytes_per_pixel=1.7,
    deep_factor=2.7,
)
BMP = PhotoFormat("BMP", "BMP", (".bmp", ".dib"), re.compile(rb"BM.{12}[\x0c-\x7c]\0\0\0", re.DOTALL), "foreign")
GIF = PhotoFormat("GIF", "GIF", (".gif",), re.compile(rb"GIF8[79]a"), "foreign", mime="image/gif")
AVIF = PhotoFormat("AVIF", "AVIF", (".avif",), re.compile(rb"....ftypavi[fs]", re.DOTALL), "foreign", mime="image/avif")
HEIF = PhotoFormat(
    "HEIF",
    "HEIF",
    (".heic", ".heif"),
    re.compile(rb"....ftyp(?:hei[cxms]|hev[cxms]|mif1|msf1)", re.DOTALL),
    "heif",
    mime="image/heif",
)
# A DNG has TIFF's signature: ``read`` tells them apart by the directory.
DNG = PhotoFormat("DNG", "DNG", (".dng",), re.compile(rb"(?!)"), "dng")

FORMATS: dict[Format, PhotoFormat] = {
    record.name: record for record in (JPEG, PNG, TIFF, WEBP, JPEG2000, BMP, GIF, AVIF, HEIF, DNG)
}
"""Every format by its name. A file's format is decided by its content, never by its name."""

SUFFIXES = frozenset(suffix for record in FORMATS.values() for suffix in (*record.suffixes, *record.read_suffixes))
"""Lower-case suffixes of files that count as photographs."""

OPTIONS = {option: record.name for record in FORMATS.values() for option in record.options}
"""The formats that can be written, by their names for ``--format``."""


def is_photograph_name(name: str) -> bool:
    """Whether a file of this name counts as a photograph, by its suffix."""
    return os.path.splitext(name)[1].lower() in SUFFIXES and not is_debris(name)  # noqa: PTH122


def xmp_names(name: str) -> tuple[str, ...]:
    """What an XMP file beside a photograph of this name may be called: ``a.jpg.xmp``, or ``a.xmp``."""
    stem = PurePosixPath(name).stem
    return f"{name}.xmp", f"{name}.XMP", f"{stem}.xmp", f"{stem}.XMP"


def format_of_content(head: bytes) -> PhotoFormat | None:
    """The format of a file that begins with these bytes (32 are enough), or None."""
    return next((record for record in FORMATS.values() if record.signature.match(head)), None)


def suffix_of(name: str) -> str:
    """The suffix of a POSIX path, as ``PurePosixPath`` has it, ten times as fast: plans ask a million times."""
    stem, _, suffix = name.rpartition("/")[2].rpartition(".")
    return f".{suffix}" if stem and suffix else ""


def format_of_name(name: str) -> Format | None:
    """The format that a file name's suffix stands for, or None."""
    return _format_of_suffix(suffix_of(name).lower())


@cache
def _format_of_suffix(suffix: str) -> Format | None:
    return next(
        (record.name for record in FORMATS.values() if suffix in (*record.suffixes, *record.read_suffixes)), None
    )


def format_of_option(option: str) -> Format:
    """The format called ``option`` by ``--format``.

    Raises:
        UsageError: there is no such format, or it is read-only.
    """
    if option.lower() not in OPTIONS:
        raise UsageError(f"--format must be one of {', '.join(main_options())}, not '{option}'.")
    return OPTIONS[option.lower()]


def main_options() -> tuple[str, ...]:
    """The main ``--format`` name of each format that can be written."""
    return tuple(record.options[0] for record in FORMATS.values() if record.written)


def output_format(content: Format, output: str) -> Format:
    """The format that a photograph is written in if none was asked for.

    Args:
        content: the photograph's own format, which is kept if it can be written.
        output: name of the output, whose suffix decides otherwise; TIFF if that is no help either.
    """
    if FORMATS[content].written:
        return content
    named = format_of_name(output)
    return named if named is not None and FORMATS[named].written else TIFF.name


def labels(conjunction: str = "and") -> str:
    """All formats for people: ``JPEG, PNG, TIFF and WebP``."""
    *others, last = (record.label for record in FORMATS.values())
    return f"{', '.join(others)} {conjunction} {last}"
