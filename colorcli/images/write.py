"""Writing photographs: complete under their final name, or not there at all."""

from __future__ import annotations

import errno
import hashlib
import io
import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np

from colorcli.errors import OutputError, PhotoError
from colorcli.files import part_path, sync_folder
from colorcli.images import jpeg, png, tiff, webp
from colorcli.images.photo import Format, Metadata, Pixels, UnreadableError
from colorcli.images.provenance import Provenance, provenance_packet
from colorcli.images.read import probe, read_photo
from colorcli.text import printable

SUFFIX: dict[Format, str] = {"JPEG": ".jpg", "PNG": ".png", "TIFF": ".tif", "WEBP": ".webp"}
"""The usual suffix of each format."""

BITS: dict[Format, int] = {"JPEG": 8, "PNG": 16, "TIFF": 16, "WEBP": 8}
"""The most bits per sample that each format is written with."""

_MAX_SIDE: dict[Format, int] = {
    "JPEG": jpeg.MAX_SIDE, "PNG": png.MAX_SIDE, "TIFF": tiff.MAX_SIDE, "WEBP": webp.MAX_SIDE
}  # fmt: skip
_TEXTS: dict[Format, tuple[bytes, ...]] = {"JPEG": (jpeg.COMMENT,), "PNG": png.TEXTS, "TIFF": (), "WEBP": ()}
# faults of the place rather than of this one photograph: the next one would meet them too
_FAULTS_OF_THE_PLACE = frozenset(
    (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOENT, errno.ENOTDIR, errno.EIO)
)


@dataclass(frozen=True)
class Written:
    """A finished output: bytes on disk, their hexadecimal SHA-256, and what metadata the format had no room for."""

    size: int
    sha256: str
    left_out: tuple[str, ...] = ()


def write_photo(
    target: Path,
    strips: Iterable[Pixels],
    *,
    height: int,
    width: int,
    bits: int,
    format: Format,
    quality: int = 95,
    lossless: bool = False,
    metadata: Metadata | None = None,
    provenance: Provenance,
    alpha: Pixels | None = None,
    canvas: Pixels | None = None,
    fsync: bool = True,
    verify: bool = False,
) -> Written:
    """Write a photograph so that ``target`` is either absent, what it was before, or complete.

    The file is written under a temporary name in the same folder, its header is read back and checked, and only then
    is it renamed. TIFF is streamed; the other formats hold the picture once.

    Args:
        target: where to; an existing file is replaced.
        strips: the picture from top to bottom, ``(rows, width, 3)`` each, uint8 or uint16 as ``bits`` says,
            sRGB-encoded.
        height: rows.
        width: columns.
        bits: 8, or 16 for PNG and TIFF.
        format: ``JPEG`` (4:4:4), ``PNG``, ``TIFF`` (Deflate with predictor) or ``WEBP``.
        quality: of JPEG and lossy WebP, 1..100.
        lossless: whether a WebP is coded without loss.
        metadata: what to keep of the input's.
        provenance: what to state in the XMP label.
        alpha: opacity ``(height, width)`` of the pixels' type; JPEG has no place for it.
        canvas: array ``(height, width, 3)`` of the pixels' type in which the picture is put together, unless it is TIFF
            or has an alpha channel; strips that are its rows already are not copied. None makes one.
        fsync: whether to wait until file and folder are on the disk.
        verify: whether to decode the file in full, not only its header, before it is renamed.

    Raises:
        OutputError: the folder cannot be written or the disk is full.
        PhotoError: this picture cannot be written (too large for the format, strips that do not make up the picture, a
            file that does not read back).
    """
    name = printable(os.fspath(target))
    if bits not in (8, 16) or bits > BITS[format]:
        raise PhotoError(f"{name} cannot be written: {format} does not hold {bits} bits per sample.")
    if max(height, width) > _MAX_SIDE[format]:
        raise PhotoError(f"{name} cannot be written: {format} holds at most {_MAX_SIDE[format]} pixels a side.")
    metadata = metadata or Metadata()
    packet = provenance_packet(provenance, metadata.xmp)
    left_out = []
    if format == "JPEG" and len(packet) > jpeg.MAX_XMP:
        # the label must stay, so what the input said besides has to go
        packet = provenance_packet(provenance)
        left_out.append("its XMP is left out, but for the label: JPEG holds 64 KB")
    if format == "JPEG" and len(metadata.exif or b"") > jpeg.MAX_EXIF:
        left_out.append("its EXIF is left out in part or whole: JPEG holds 64 KB")
    if any(name not in _TEXTS[format] for name, _ in metadata.texts):
        left_out.append(f"its comments are left out: {format} has no place for them")
    if format == "WEBP" and metadata.iptc:
        left_out.append("its IPTC data are left out: WebP has no place for them")
    if format == "JPEG" or (alpha is not None and alpha.shape != (height, width)):
        if format != "JPEG":
            raise PhotoError(f"{name} cannot be written: its alpha channel has another size.")
        alpha = None
    checked = _checked(strips, height, width, bits, alpha, name)
    part = part_path(target)
    try:
        written = _write_part(
            part, checked, height=height, width=width, bits=bits, format=format, quality=quality,
            lossless=lossless, metadata=metadata, xmp=packet, alpha=alpha is not None, canvas=canvas, fsync=fsync,
        )  # fmt: skip
        _check_header(part, (format, width, height, bits), name)
        if verify:
            _check_picture(part, (width, height, bits), name)
        part.replace(target)
        if fsync:
            sync_folder(target.parent)
    except BaseException as error:
        with suppress(OSError):
            part.unlink()
        if isinstance(error, OSError):
            raise _explained(error, name) from error
        raise
    return replace(written, left_out=tuple(left_out))


def _check_header(part: Path, expected: tuple[Format, int, int, int], name: str) -> None:
    if probe(part) != expected:
        raise PhotoError(f"{name} was written but its header does not read back as it should.")


def _check_picture(part: Path, expected: tuple[int, int, int], name: str) -> None:
    try:
        photo = read_photo(part)
    except PhotoError as error:
        reason = str(error).removeprefix(f"{printable(os.fspath(part))} ")
        raise PhotoError(f"{name} was written but does not read back: it {reason}") from error
    if (photo.width, photo.height, photo.bits) != expected:
        raise PhotoError(f"{name} was written but does not read back as the picture it should be.")


def _checked(
    strips: Iterable[Pixels], height: int, width: int, bits: int, alpha: Pixels | None, name: str
) -> Iterator[Pixels]:
    """The strips, with alpha as fourth channel, as long as they make up the picture that was announced."""
    dtype = np.uint8 if bits == 8 else np.uint16
    y = 0
    for strip in strips:
        rows = strip.shape[0]
        if strip.dtype != dtype or strip.shape[1:] != (width, 3) or y + rows > height:
            raise PhotoError(f"{name} cannot be written: the coloured picture has the wrong size or type.")
        if alpha is None:
            yield strip
        else:
            yield np.concatenate((strip, alpha[y : y + rows, :, None]), axis=2, dtype=dtype)
        y += rows
    if y != height:
        raise PhotoError(f"{name} cannot be written: the coloured picture has {y} rows instead of {height}.")


def _write_part(
    part: Path,
    strips: Iterator[Pixels],
    *,
    height: int,
    width: int,
    bits: int,
    format: Format,
    quality: int,
    lossless: bool,
    metadata: Metadata,
    xmp: bytes,
    alpha: bool,
    canvas: Pixels | None,
    fsync: bool,
) -> Written:
    """Write, flush and hash the file under its temporary name."""
    with _created(part) as handle:
        try:
            if format == "TIFF":
                tiff.encode(
                    handle, strips, height=height, width=width, bits=bits, alpha=alpha, metadata=metadata, xmp=xmp
                )
            else:
                if canvas is None or alpha:
                    canvas = np.empty((height, width, 4 if alpha else 3), np.uint8 if bits == 8 else np.uint16)
                pixels = _assembled(strips, canvas)
                for piece in _encoded(pixels, format, metadata, xmp, quality, lossless):
                    handle.write(piece)
        except (UnreadableError, RuntimeError, ValueError) as error:  # imagecodecs' errors are RuntimeErrors
            raise PhotoError(f"{printable(os.fspath(part))} cannot be encoded: {error}.") from error
        handle.flush()
        if fsync:
            os.fsync(handle.fileno())
        size = handle.seek(0, os.SEEK_END)
        handle.seek(0)
        return Written(size, hashlib.file_digest(cast(io.BufferedRandom, handle), "sha256").hexdigest())


def _created(part: Path) -> BinaryIO:
    part.unlink(missing_ok=True)
    return part.open("x+b")


def _assembled(strips: Iterator[Pixels], canvas: Pixels) -> Pixels:
    """The picture in one array; strips that are in their places already are not copied."""
    y = 0
    for strip in strips:
        place = canvas[y : y + strip.shape[0]]
        if not _is_same(strip, place):
            place[:] = strip
        y += strip.shape[0]
    return canvas


def _is_same(strip: Pixels, place: Pixels) -> bool:
    return strip.ctypes.data == place.ctypes.data and strip.strides == place.strides


def _encoded(
    pixels: Pixels, format: Format, metadata: Metadata, xmp: bytes, quality: int, lossless: bool
) -> Iterator[bytes | memoryview]:
    if format == "PNG":
        return png.encode(pixels, metadata, xmp)
    eight = pixels.astype(np.uint8, copy=False)
    if format == "JPEG":
        return jpeg.encode(eight, metadata, xmp, quality=quality)
    return webp.encode(eight, metadata, xmp, quality=quality, lossless=lossless)


def _explained(error: OSError, name: str) -> OutputError | PhotoError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return OutputError(f"{name} cannot be written: the disk is full. Free some room and run again to continue.")
    reason = error.strerror or str(error)
    if error.errno in _FAULTS_OF_THE_PLACE:
        return OutputError(f"{name} cannot be written: {reason}.")
    return PhotoError(f"{name} cannot be written: {reason}.")
