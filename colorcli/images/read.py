"""Reading photographs: recognizing them, reading their headers, decoding their pixels."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import numpy as np

from colorcli.errors import PhotoError
from colorcli.files import patiently
from colorcli.images import dng, exif, icc, provenance
from colorcli.images.formats import DNG, TIFF, PhotoFormat, format_of_content, labels
from colorcli.images.kind import gray_channel, judge
from colorcli.images.photo import Decoded, Format, Metadata, Photo, Pixels, Resolution, UnreadableError
from colorcli.images.source import Source
from colorcli.text import printable

__all__ = ["MAX_PIXELS", "Metadata", "Photo", "Resolution", "decode_photo", "decode_pixels", "probe", "read_photo"]


MAX_PIXELS = 1_000_000_000


def probe(path: Path) -> tuple[Format, int, int, int]:
    """Format, width, height and bits per sample (8 or 16), from the header alone; the size as stored, not upright.

    Raises:
        PhotoError: the file cannot be read, is not a photograph, or is not supported.
    """
    with _opened(path) as source:
        return _header(source)


def probe_content(file: BinaryIO, size: int) -> tuple[Format, int, int, int]:
    """``probe`` for an open file of so many bytes. Raises UnreadableError, and what the file raises."""
    return _header(Source(file, size))


def _header(source: Source) -> tuple[Format, int, int, int]:
    form = _sniff(source)
    header = form.decoder.header(source)
    return form.name, header.width, header.height, header.bits


def read_photo(path: Path, *, max_pixels: int = MAX_PIXELS, salvage: bool = False, page: int | None = None) -> Photo:
    """Decode a photograph: upright, sRGB-encoded, at its own bit depth.

    The file is opened read-only; if a network share or disk fails for a moment, reading is retried after growing waits.
    The content decides the format, never the name. Safe to call from several threads.

    Args:
        path: the file.
        max_pixels: refuse anything larger, before a pixel is decoded.
        salvage: read what is left of a damaged photograph; its notes say how much is missing.
        page: index of the page in a file that holds several; None takes the largest.

    Raises:
        PhotoError: the file cannot be read, is damaged or cut off, too large, or not supported.
    """

    def read() -> Photo:
        with _handle(path) as source:
            return _decode(source, path, max_pixels, salvage=salvage, page=page)

    with _explained(path):
        return patiently(read)


def decode_photo(content: bytes, path: Path, *, max_pixels: int = MAX_PIXELS, salvage: bool = False) -> Photo:
    """``read_photo`` for a file's content in memory, such as a member of an archive.

    Args:
        content: the file's bytes.
        path: its name in messages and in the result.
        max_pixels: as for ``read_photo``.
        salvage: as for ``read_photo``.

    Raises:
        PhotoError: as ``read_photo`` does.
    """
    with _explained(path):
        return _decode(Source(content), path, max_pixels, salvage=salvage)


def decode_pixels(content: bytes, path: Path) -> Pixels:
    """The pixels of ``decode_photo``, for readers who need nothing else: judging the kind takes longer than decoding.

    Args:
        content: the file's bytes.
        path: its name in messages.

    Returns:
        ``(H, W)`` or ``(H, W, 3)``, uint8 or uint16, sRGB-encoded, upright.

    Raises:
        PhotoError: as ``decode_photo`` does.
    """
    with _explained(path):
        source = Source(content)
        decoded = _decoded(_sniff(source), source, MAX_PIXELS, salvage=False)
        return _upright(icc.to_srgb(decoded.pixels, decoded.icc, decoded.gamma), _orientation(decoded))


def too_large(width: int, height: int, max_pixels: int) -> str:
    """A clause that says why a photograph beyond the limit of ``max_pixels`` is refused."""
    has, limit = (f"{n / 1e6:,.0f}" if n >= 1e7 else f"{n / 1e6:.3g}" for n in (width * height, max_pixels))
    return (
        f"has {width} x {height} pixels, {has} megapixels, more than the limit of {limit} megapixels; "
        "raise it with --max-megapixels"
    )


def page_count(path: Path) -> int:
    """Number of a file's pages, without smaller copies and masks. Raises ``PhotoError`` if it cannot be read."""
    from colorcli.images import tiff  # imports tifffile, which few photographs need

    with _opened(path) as source:
        return tiff.count_pages(source) if _sniff(source).paged else 1


def _decode(source: Source, path: Path, max_pixels: int, *, salvage: bool, page: int | None = None) -> Photo:
    form = _sniff(source)
    if page is not None and form.paged:
        return _decode_page(source, path, max_pixels, page, salvage=salvage)
    return _finish(path, form.name, _decoded(form, source, max_pixels, salvage=salvage))


def _decoded(form: PhotoFormat, source: Source, max_pixels: int, *, salvage: bool) -> Decoded:
    header = form.decoder.header(source)
    if header.width * header.height > max_pixels:
        raise UnreadableError(too_large(header.width, header.height, max_pixels))
    decoded = form.decoder.decode(source, salvage=salvage)
    if decoded.pixels.shape[:2] != (header.height, header.width):
        raise UnreadableError("cannot be decoded: its picture does not have the stated size")
    return decoded


def _decode_page(source: Source, path: Path, max_pixels: int, page: int, *, salvage: bool) -> Photo:
    from colorcli.images import tiff

    header = tiff.header(source, page=page)
    if header.width * header.height > max_pixels:
        raise UnreadableError(too_large(header.width, header.height, max_pixels))
    return _finish(path, TIFF.name, tiff.decode(source, salvage=salvage, page=page))


@contextmanager
def _opened(path: Path) -> Iterator[Source]:
    """The open file, with every failure turned into a sentence that names it."""
    with _explained(path), _handle(path) as source:
        yield source


@contextmanager
def _handle(path: Path) -> Iterator[Source]:
    with open(os.fspath(path), "rb", opener=_open_without_waiting) as handle:
        yield _regular(handle)


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Turn every failure into a sentence that names the file."""
    try:
        yield
    except UnreadableError as damage:
        raise PhotoError(f"{_shown(path)} {damage}.") from damage
    except MemoryError as error:
        raise PhotoError(f"{_shown(path)} does not fit into memory.") from error
    except OSError as error:
        raise PhotoError(f"{_shown(path)} cannot be read: {error.strerror or error}.") from error


def _open_without_waiting(path: str, flags: int) -> int:
    """Open without blocking: a pipe called x.jpg must not hold up the run."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _regular(handle: BinaryIO) -> Source:
    status = os.fstat(handle.fileno())
    if not stat.S_ISREG(status.st_mode):
        raise UnreadableError("is not a regular file")
    return Source(handle, status.st_size)


def _shown(path: Path) -> str:
    """A path that can be printed on one line."""
    return printable(os.fspath(path))


def _sniff(source: Source) -> PhotoFormat:
    head = source.read(0, 32)
    form = format_of_content(head)
    if form is None:
        raise UnreadableError("is empty" if not head else f"is not a {labels('or')} file")
    if form is TIFF and dng.is_dng(source):
        return DNG
    return form


def _finish(path: Path, form: Format, decoded: Decoded) -> Photo:
    orientation = _orientation(decoded)
    turned = orientation >= 5
    ignored = icc.why_not_applied(decoded.icc, 1 if decoded.pixels.ndim == 2 else 3)
    pixels = icc.to_srgb(decoded.pixels, decoded.icc, decoded.gamma)
    judged = judge(pixels)
    kind = judged.kind
    if kind == "gray" and pixels.ndim == 3 and (channel := gray_channel(pixels)) is not None:
        pixels = channel
    pixels = _upright(pixels, orientation)
    alpha = None if decoded.alpha is None else _upright(decoded.alpha, orientation)
    other = None if judged.other is None else _upright(judged.other, orientation)
    block = exif.upright(decoded.exif, width=pixels.shape[1], height=pixels.shape[0], turned=turned)
    resolution = decoded.resolution
    if resolution is None:
        resolution = _exif_resolution(block)
    elif turned:
        resolution = replace(resolution, x=resolution.y, y=resolution.x)
    metadata = Metadata(block, decoded.xmp, decoded.iptc, decoded.icc, resolution, decoded.texts)
    notes = (*decoded.notes, judged.note) if judged.note else decoded.notes
    if ignored:
        notes += (f"its colour profile was not applied, and its values taken as sRGB: {ignored}",)
    if decoded.exif and block is None:
        notes += ("its EXIF is left out: it is damaged",)
    return Photo(path, form, pixels, kind, metadata, alpha, decoded.lossless, notes, other)


def _orientation(decoded: Decoded) -> int:
    return decoded.orientation or exif.orientation(decoded.exif) or provenance.orientation(decoded.xmp) or 1


def inverted(photo: Photo) -> Photo:
    """The positive of a negative; colours of its own, such as a stamp's, are not kept."""
    top = photo.pixels.dtype.type(np.iinfo(photo.pixels.dtype).max)
    return replace(photo, pixels=top - photo.pixels, other=None)


def _upright(pixels: Pixels, orientation: int) -> Pixels:
    """Apply an EXIF orientation (EXIF 2.32, tag 274)."""
    if orientation >= 5:
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)


def _exif_resolution(block: bytes | None) -> Resolution | None:
    reader = exif.TiffReader.open(Source(block)) if block else None
    entries = reader.entries(reader.first) if reader else {}
    x, y = (entries[tag].rational() if tag in entries else None for tag in (0x011A, 0x011B))
    units = entries[0x0128].integers() if 0x0128 in entries else ()
    if not (x and y):
        return None
    unit = units[0] if units else 2
    return Resolution(x, y, "cm" if unit == 3 else "none" if unit == 1 else "inch")
