"""A photograph in memory: its pixels, metadata and what the file said about them."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Format = str
"""A format's name: a key of ``formats.FORMATS``."""

_MOST_PLAIN, _MOST_ALIKE = 1 << 25, 1 << 15

Kind = Literal["gray", "toned", "color"]
Pixels = NDArray[np.unsignedinteger[Any]]


@dataclass(frozen=True)
class Resolution:
    """Pixels per unit along x and y; ``unit`` is ``inch``, ``cm``, or ``none`` when only the ratio means anything."""

    x: float
    y: float
    unit: Literal["inch", "cm", "none"] = "inch"


@dataclass(frozen=True)
class Metadata:
    """The metadata that belongs to the pixels, in the form in which it can be written again.

    Attributes:
        exif: an EXIF block (a TIFF structure without the ``Exif`` prefix), orientation already reset, no thumbnail.
        xmp: the XMP packet as it was found.
        iptc: IPTC-IIM datasets.
        icc: the profile as it was found. It has been applied to the pixels and is never written again.
        resolution: pixels per unit of length, along x and y of the upright image.
        texts: PNG's text chunks and JPEG's comments, which no other format holds: each with the name of its chunk or
            segment (``tEXt``, ``zTXt``, ``iTXt``, ``COM``).
    """

    exif: bytes | None = None
    xmp: bytes | None = None
    iptc: bytes | None = None
    icc: bytes | None = None
    resolution: Resolution | None = None
    texts: tuple[tuple[bytes, bytes], ...] = ()


@dataclass(frozen=True)
class Photo:
    """A decoded photograph.

    Attributes:
        path: where it was read from.
        format: the file's format.
        pixels: ``(H, W)`` or ``(H, W, 3)``, uint8 or uint16 over the full range, sRGB-encoded, upright, 0 is black.
        kind: ``gray``, ``toned`` (all chroma along one curve over lightness, such as sepia) or ``color``.
        metadata: the file's metadata.
        alpha: opacity ``(H, W)`` with the pixels' dtype, not premultiplied, or None.
        lossless: whether the pixels were coded losslessly, in a format that can do both (WebP).
        notes: what a person should know, such as that only the first page of several was read.
        other: map of what has a colour of its own beside or on a monochrome print, see ``kind.Judgement``.
    """

    path: Path
    format: Format
    pixels: Pixels
    kind: Kind
    metadata: Metadata = field(default_factory=Metadata)
    alpha: Pixels | None = None
    lossless: bool = False
    notes: tuple[str, ...] = ()
    other: NDArray[np.uint8] | None = None

    @property
    def height(self) -> int:
        """Rows of the upright image."""
        return int(self.pixels.shape[0])

    @property
    def width(self) -> int:
        """Columns of the upright image."""
        return int(self.pixels.shape[1])

    @property
    def bits(self) -> int:
        """Bits per sample: 8 or 16."""
        return int(self.pixels.dtype.itemsize) * 8


@dataclass(frozen=True)
class Header:
    """Size in pixels and ``bits`` per sample after decoding (8 or 16), known before any pixel is decoded."""

    width: int
    height: int
    bits: int


@dataclass
class Decoded:
    """What a format's decoder returns: pixels as stored, and what the file says about them.

    The attributes not listed are those of ``Photo`` and ``Metadata``.

    Attributes:
        pixels: ``(H, W)`` or ``(H, W, 3)``, uint8 or uint16, as stored: not yet upright, not yet sRGB.
        gamma: encoding exponent from a PNG's gAMA chunk (about 0.4545 for sRGB), if nothing better is known.
        orientation: EXIF orientation that the file states outside its EXIF block (TIFF).
        lossless: whether a WebP was coded losslessly.
    """

    pixels: Pixels
    alpha: Pixels | None = None
    exif: bytes | None = None
    xmp: bytes | None = None
    iptc: bytes | None = None
    icc: bytes | None = None
    resolution: Resolution | None = None
    texts: tuple[tuple[bytes, bytes], ...] = ()
    gamma: float | None = None
    orientation: int | None = None
    lossless: bool = False
    notes: tuple[str, ...] = ()


class UnreadableError(Exception):
    """The file is cut off, corrupt or not supported; the message is one clause that lacks the file's name."""


def too_small(width: int, height: int) -> UnreadableError:
    """The error of a file that cannot hold the picture whose size its header states."""
    return UnreadableError(f"is cut off or damaged: it cannot hold the {width} x {height} it states")


def is_believable(width: int, height: int, size: int) -> bool:
    """Whether a file of ``size`` bytes may hold a picture of this size in a format that says "and so on" in no bits.

    What is all of one colour takes next to no bytes there. Up to 33 megapixels that is believed; a larger picture must
    have a byte for every 32,768 pixels, which is less than any photograph has.
    """
    return width * height <= max(_MOST_PLAIN, size * _MOST_ALIKE)


LIBRARY_ERRORS = (OSError, SyntaxError, ValueError, RuntimeError, LookupError, EOFError, TypeError, ArithmeticError,
                  AttributeError, struct.error, zlib.error)  # fmt: skip
"""What decoding libraries raise for damaged files, whatever their documentation says."""


def left_out_note(what: Iterable[str]) -> tuple[str, ...]:
    """A note on metadata that is not carried into the output, in a tuple; an empty tuple if there is none."""
    names = list(dict.fromkeys(what))
    return (f"left out of its metadata: {', '.join(names)}",) if names else ()


def missing_note(share: float | None, *, about: bool = False) -> str:
    """A note on the share 0..1 of a damaged image that is missing: the least, or with ``about`` an estimate.

    ``share`` is None if it is unknown.
    """
    if share is None:
        return "damaged: an unknown part of the picture is missing"
    percent = min(max(round(100 * share, 1), 0.1), 100.0)
    return f"damaged: {'about' if about else 'at least'} {percent:g} % of the picture is missing"
