"""Writing photographs: complete under their final name, or not there at all."""

from __future__ import annotations

import errno
import hashlib
import io
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np

from colorcli.errors import OutputError, PhotoError
from colorcli.files import PASSING_FAULTS, part_path, patiently, sync_folder, write_atomically
from colorcli.images import exif
from colorcli.images.as_written import AsWritten, measure
from colorcli.images.encoding import Encoding
from colorcli.images.formats import FORMATS, PhotoFormat
from colorcli.images.output_profile import OutputProfile
from colorcli.images.photo import Format, Metadata, Pixels, UnreadableError
from colorcli.images.provenance import Provenance, is_readable, provenance_packet
from colorcli.images.read import probe, read_photo
from colorcli.text import printable

_PASSING_FAULTS = PASSING_FAULTS | {errno.EACCES, errno.EPERM}
# faults of the place rather than of this one photograph: the next one would meet them too
_FAULTS_OF_THE_PLACE = frozenset(
    (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOENT, errno.ENOTDIR, errno.EIO)
)


@dataclass(frozen=True)
class Written:
    """A finished output.

    Attributes:
        size: bytes on disk.
        sha256: of them, hexadecimal.
        left_out: what metadata the format had no room for.
        lightness: how far the file's lightness is from the photograph's, where coding could change it.
    """

    size: int
    sha256: str
    left_out: tuple[str, ...] = ()
    lightness: AsWritten | None = None


@dataclass(frozen=True)
class FurtherPage:
    """A page after the first: its strips, as ``write_photo`` takes them, size, depth, alpha and metadata."""

    strips: Iterable[Pixels]
    height: int
    width: int
    bits: int
    alpha: Pixels | None = None
    metadata: Metadata = field(default_factory=Metadata)


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
    more: Sequence[FurtherPage] = (),
    sidecar: bool = False,
    profile: OutputProfile | None = None,
    original: Pixels | None = None,
    mtime_ns: int | None = None,
    seal: Callable[[Path, Path], None] | None = None,
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
        bits: 8, or 16 where the format holds them.
        format: one that is written.
        quality: of lossy coding, 1..100.
        lossless: whether to code without loss, where the format has both ways.
        metadata: what to keep of the input's.
        provenance: what to state in the XMP label.
        alpha: opacity ``(height, width)`` of the pixels' type; left out where the format has no place for it.
        canvas: array ``(height, width, 3)`` of the pixels' type in which the picture is put together, unless it is TIFF
            or has an alpha channel; strips that are its rows already are not copied. None makes one.
        more: further pages, where the format holds several.
        sidecar: whether to write the XMP packet beside the file too, under its name and ``.xmp``.
        profile: the colour space to write in; None is sRGB.
        original: the photograph, upright and sRGB-encoded, whose lightness a lossy file is compared with; None compares
            nothing.
        mtime_ns: the modification time that the file gets; None leaves it as it is.
        seal: writes the finished file with a signature, its first argument, into its second. None leaves it as it is.
        fsync: whether to wait until file and folder are on the disk.
        verify: whether to decode the file in full, not only its header, before it is renamed.

    Raises:
        OutputError: the folder cannot be written or the disk is full.
        PhotoError: this picture cannot be written (too large for the format, strips that do not make up the picture, a
            file that does not read back).
    """
    name = printable(os.fspath(target))
    form = FORMATS[format]
    if bits not in (8, 16) or bits > form.bits:
        raise PhotoError(f"{name} cannot be written: {form.label} does not hold {bits} bits per sample.")
    if max(height, width) > form.max_side:
        raise PhotoError(f"{name} cannot be written: {form.label} holds at most {form.max_side} pixels a side.")
    metadata = metadata or Metadata()
    packet = provenance_packet(provenance, metadata.xmp)
    left_out = _left_out(metadata, form)
    if form.max_xmp is not None and len(packet) > form.max_xmp:
        # the label must stay, so what the input said besides has to go
        packet = provenance_packet(provenance)
        left_out += (f"its XMP is left out, but for the label: {form.label} holds 64 KB",)
    if not form.alpha:
        alpha = None
    elif alpha is not None and alpha.shape != (height, width):
        raise PhotoError(f"{name} cannot be written: its alpha channel has another size.")
    if profile is not None:
        strips = profile.encoded(iter(strips))
        metadata = replace(metadata, exif=exif.uncalibrated(metadata.exif))
    checked = _checked(strips, height, width, bits, alpha, name)
    part = part_path(target)
    try:
        encoding = Encoding(
            height,
            width,
            bits,
            alpha is not None,
            metadata,
            packet,
            quality,
            lossless=lossless,
            icc=profile.icc if profile else None,
            canvas=canvas,
            more=tuple(_further(page, packet, profile, name) for page in more),
        )
        written = _write_part(part, checked, form, encoding, fsync=fsync)
        if seal is not None:
            written = _sealed(part, seal, fsync=fsync)
        # of several pages, what is read back is the largest
        shown = max([(height, width, bits), *((p.height, p.width, p.bits) for p in more)], key=lambda p: p[0] * p[1])
        _check_header(part, (format, shown[1], shown[0], shown[2]), name)
        if verify:
            _check_picture(part, (shown[1], shown[0], shown[2]), name)
        if original is not None and (profile is not None or (form.lossy and not lossless)):
            written = replace(written, lightness=measure(part, form, encoding, original, whole=verify))
        _give_name(part, target, packet if sidecar else None, mtime_ns, fsync=fsync)
    except BaseException as error:
        with suppress(OSError):
            part.unlink()
        if isinstance(error, OSError):
            raise _explained(error, name) from error
        raise
    return replace(written, left_out=left_out)


def _further(
    page: FurtherPage, packet: bytes, profile: OutputProfile | None, name: str
) -> tuple[Iterator[Pixels], Encoding]:
    strips = iter(page.strips) if profile is None else profile.encoded(iter(page.strips))
    metadata = page.metadata if profile is None else replace(page.metadata, exif=exif.uncalibrated(page.metadata.exif))
    icc = profile.icc if profile else None
    encoding = Encoding(page.height, page.width, page.bits, page.alpha is not None, metadata, packet, icc=icc)
    return _checked(strips, page.height, page.width, page.bits, page.alpha, name), encoding


def _left_out(metadata: Metadata, form: PhotoFormat) -> tuple[str, ...]:
    """Sentences about what the format has no room for."""
    notes = []
    if form.max_exif is not None and len(metadata.exif or b"") > form.max_exif:
        notes.append(f"its EXIF is left out in part or whole: {form.label} holds 64 KB")
    if any(name not in form.texts for name, _ in metadata.texts):
        notes.append(f"its comments are left out: {form.label} has no place for them")
    if metadata.xmp and not is_readable(metadata.xmp):
        notes.append("its XMP is left out: it is damaged")
    if metadata.iptc and not form.iptc:
        notes.append(f"its IPTC data are left out: {form.label} has no place for them")
    return tuple(notes)


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


def _write_part(part: Path, strips: Iterator[Pixels], form: PhotoFormat, encoding: Encoding, *, fsync: bool) -> Written:
    """Write, flush and hash the file under its temporary name."""
    with _created(part) as handle:
        try:
            form.encoder.encode(handle, strips, encoding)
        except (UnreadableError, RuntimeError, ValueError) as error:  # imagecodecs' errors are RuntimeErrors
            raise PhotoError(f"{printable(os.fspath(part))} cannot be encoded: {error}.") from error
        handle.flush()
        if fsync:
            os.fsync(handle.fileno())
        size = handle.seek(0, os.SEEK_END)
        handle.seek(0)
        return Written(size, hashlib.file_digest(cast(io.BufferedRandom, handle), "sha256").hexdigest())


def _give_name(part: Path, target: Path, sidecar: bytes | None, mtime_ns: int | None, *, fsync: bool) -> None:
    """The last step: what belongs to the file first, then its name."""
    if mtime_ns is not None:
        os.utime(part, ns=(mtime_ns, mtime_ns))
    if sidecar is not None:
        write_atomically(target.with_name(f"{target.name}.xmp"), sidecar)
    _rename(part, target)
    if fsync:
        sync_folder(target.parent)


def _sealed(part: Path, seal: Callable[[Path, Path], None], *, fsync: bool) -> Written:
    """Put what ``seal`` makes of the file under its temporary name in its place, and hash that."""
    signed = part_path(part)
    try:
        signed.unlink(missing_ok=True)
        seal(part, signed)
        with signed.open("r+b") as handle:
            if fsync:
                os.fsync(handle.fileno())
            size = handle.seek(0, os.SEEK_END)
            handle.seek(0)
            sha256 = hashlib.file_digest(handle, "sha256").hexdigest()
        signed.replace(part)
    except BaseException:
        with suppress(OSError):
            signed.unlink()
        raise
    return Written(size, sha256)


def _rename(part: Path, target: Path) -> None:
    """Rename, again after growing waits: network shares and virus scanners hold a file for a moment."""
    try:
        patiently(lambda: part.replace(target), _PASSING_FAULTS, going_on=lambda: os.access(target.parent, os.W_OK))
    except PermissionError as error:
        if not os.access(target.parent, os.W_OK):
            raise
        # the folder is open, so it is this one file that cannot be replaced
        raise PhotoError(f"{printable(os.fspath(target))} cannot be replaced: {error.strerror}.") from error


def _created(part: Path) -> BinaryIO:
    part.unlink(missing_ok=True)
    return part.open("x+b")


def _explained(error: OSError, name: str) -> OutputError | PhotoError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return OutputError(f"{name} cannot be written: the disk is full. Free some room and run again to continue.")
    reason = error.strerror or str(error)
    if error.errno in _FAULTS_OF_THE_PLACE:
        return OutputError(f"{name} cannot be written: {reason}.")
    return PhotoError(f"{name} cannot be written: {reason}.")
