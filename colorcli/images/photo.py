"""What a photograph is, once it has been read."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Format = str
"""A format's name: a key of ``formats.FORMATS``."""

Kind = Literal["gray", "toned", "color"]
Pixels = NDArray[np.unsignedinteger[Any]]


@dataclass(frozen=True)
class Resolution:
    """Pixels per unit along x and y; ``unit`` is ``inch``, ``cm``, or ``none`` when only the ratio means anything."""

    x: float
    y: float
    unit: Literal["inch", "cm", "none"] = "inch"

    def per_inch(self) -> tuple[float, float]:
        """The same in pixels per inch (unchanged when the unit is ``none``)."""
        scale = 2.54 if self.unit == "cm" else 1.0
        return self.x * scale, self.y * scale


@dataclass(frozen=True)
class Metadata:
    """What travels with the pixels, in the form in which it may be written again.

    Attributes:
        exif: an EXIF block (a TIFF structure without the ``Exif`` prefix), orientation already reset, no thumbnail.
        xmp: the XMP packet as it was found.
        iptc: IPTC-IIM datasets.
        icc: the profile that was found. It has been applied to the pixels and is never written again.
        resolution: pixels per unit of length, x and y as the upright picture has them.
        texts: PNG's text chunks and JPEG's comments, which no other format holds: each with its chunk's or segment's
            name (``tEXt``, ``zTXt``, ``iTXt``, ``COM``).
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
        format: of the file.
        pixels: ``(H, W)`` or ``(H, W, 3)``, uint8 or uint16 over the whole range, sRGB-encoded, upright, 0 is black.
        kind: ``gray``, ``toned`` (all chroma along one curve over lightness, such as sepia) or ``color``.
        metadata: what travels with the pixels.
        alpha: opacity ``(H, W)`` of the pixels' type, not premultiplied, or None.
        lossless: whether its pixels were coded without loss, where the format has both ways (WebP).
        notes: what a person should know, such as that only the first page of several was read.
        other: where something beside or on a monochrome print has a colour of its own, see ``kind.Judgement``.
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
        """Rows of the upright picture."""
        return int(self.pixels.shape[0])

    @property
    def width(self) -> int:
        """Columns of the upright picture."""
        return int(self.pixels.shape[1])

    @property
    def bits(self) -> int:
        """Bits per sample: 8 or 16."""
        return int(self.pixels.dtype.itemsize) * 8


@dataclass(frozen=True)
class Header:
    """What a file says about its picture before any pixel is decoded; ``bits`` is the depth it is decoded to."""

    width: int
    height: int
    bits: int


@dataclass
class Decoded:
    """What a format's decoder hands over: pixels as stored, and what the file says about them.

    Attributes:
        pixels: ``(H, W)`` or ``(H, W, 3)``, uint8 or uint16, as stored (neither upright nor sRGB yet).
        gamma: encoding exponent from a PNG's gAMA chunk (about 0.4545 for sRGB), where nothing better is known.
        orientation: EXIF orientation where the file has it outside of its EXIF block (TIFF).
        lossless: whether a WebP was coded without loss.
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
    """The file is cut off, corrupt, or of a sort that is not supported; says which in one clause without the name."""


def left_out_note(what: Iterable[str]) -> tuple[str, ...]:
    """A sentence about metadata of a file that no output carries, as a tuple; none where there is nothing."""
    names = list(dict.fromkeys(what))
    return (f"left out of its metadata: {', '.join(names)}",) if names else ()


def missing_note(share: float | None) -> str:
    """A sentence about the share 0..1 of a damaged picture that is missing at least; None where that cannot be told."""
    if share is None:
        return "damaged: an unknown part of the picture is not the photograph's"
    percent = min(max(round(100 * share, 1), 0.1), 100.0)
    return f"damaged: at least {percent:g} % of the picture is missing"
