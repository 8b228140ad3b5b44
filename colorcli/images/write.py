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
# faults of the folder or disk, which the next photograph would meet too
_FAULTS_OF_THE_PLACE = frozenset(
    (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOENT, errno.ENOTDIR, errno.EIO)
)


@dataclass(frozen=True)
class Written:
    """A finished output.

    Attributes:
        size: size in bytes.
        sha256: hexadecimal SHA-256 of the file.
        left_out: sentences about metadata that the format cannot hold.
        lightness: how far the file's lightness is from the photograph's; None if coding cannot change it.
        sidecar: the XMP packet that was written beside it; None if none was.
    """

    size: int
    sha256: str
    left_out: tuple[str, ...] = ()
    lightness: AsWritten | None = None
    sidecar: bytes | None = None


@dataclass(frozen=True)
class FurtherPage:
    """A page after the first: its strips, size, depth, alpha and metadata, as for ``write_photo``."""

    strips: Iterable[Pixels]
    height: int
    width: int
    bits: int
    alpha: Pixels | None = None
    metadata: Metadata = field(default_factory=Metadata)


def sidecar_name(name: str) -> str:
    """What the XMP file beside an output is called."""
    return f"{name}.xmp"


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
    shown: str | None = None,
) -> Written:
    """Write a photograph so that ``target`` is either absent, what it was before, or complete.

    The file is written under a temporary name in the same folder, its header is read back and checked, and only then is
    it renamed. TIFF is streamed; for other formats the image is in memory once.

    Args:
        target: path to write; an existing file is replaced.
        strips: the image from top to bottom, ``(rows, width, 3)`` each, sRGB-encoded, uint8 or uint16 according to
            ``bits``.
        height: rows of the image.
        width: columns of the image.
        bits: bits per sample: 8, or 16 if the format holds them.
        format: a format that can be written.
        quality: quality of lossy coding, 1..100.
        lossless: whether to code losslessly, in formats that can do both.
        metadata: the input's metadata to keep.
        provenance: what to state in the XMP label.
        alpha: opacity ``(height, width)`` with the pixels' dtype; left out if the format cannot hold it.
        canvas: array ``(height, width, 3)`` with the pixels' dtype in which the image is assembled, except for TIFF and
            with alpha; strips that already are its rows are not copied. None allocates one.
        more: further pages, in formats that hold several.
        sidecar: whether to write the XMP packet beside the file too, as ``sidecar_name``.
        profile: the colour space to write in; None is sRGB.
        original: the photograph, upright and sRGB-encoded, to compare the written file's lightness with; None compares
            nothing.
        mtime_ns: modification time of the file in nanoseconds; None keeps the time of writing.
        seal: called with the finished file and a second path, to which it writes a signed copy; None does not sign.
        fsync: whether to wait until file and folder are on the disk.
        verify: whether to decode the whole file, not only its header, before it is renamed.
        shown: what errors call the target; None for its path.

    Raises:
        OutputError: the folder cannot be written or the disk is full.
        PhotoError: this image cannot be written: it is too large for the format, the strips do not make up the image,
            or the file does not read back.
    """
    name = printable(shown or os.fspath(target))
    form = FORMATS[format]
    if bits not in (8, 16) or bits > form.bits:
        raise PhotoError(f"{name} cannot be written: {form.label} does not hold {bits} bits per sample.")
    if max(height, width) > form.max_side:
        raise PhotoError(f"{name} cannot be written: {form.label} holds at most {form.max_side} pixels a side.")
    metadata = metadata or Metadata()
    packet = provenance_packet(provenance, metadata.xmp)
    left_out = _left_out(metadata, form)
    if form.max_xmp is not None and len(packet) > form.max_xmp:
        # the label must stay, so the input's own properties have to go
        packet = provenance_packet(provenance)
        left_out += (f"its XMP is left out, except for the label: {form.label} holds 64 KB",)
    if not form.alpha:
        alpha = None
    elif alpha is not None and alpha.shape != (height, width):
        raise PhotoError(f"{name} cannot be written: its alpha channel has the wrong size.")
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
        written = _write_part(part, checked, form, encoding, name, fsync=fsync)
        if seal is not None:
            written = _sealed(part, seal, fsync=fsync)
        # the largest of several pages is read back
        most = max([(height, width, bits), *((p.height, p.width, p.bits) for p in more)], key=lambda p: p[0] * p[1])
        _check_header(part, (format, most[1], most[0], most[2]), name)
        if verify:
            _check_picture(part, (most[1], most[0], most[2]), name)
        if original is not None and (profile is not None or (form.lossy and not lossless)):
            written = replace(written, lightness=measure(part, form, encoding, original, whole=verify))
        written = replace(written, sidecar=packet if sidecar else None)
        _give_name(part, target, written.sidecar, mtime_ns, fsync=fsync)
    except BaseException as error:
        with suppress(OSError):
            part.unlink()
        if isinstance(error, OSError):
            raise _explained(error, name, part.parent) from error
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
    """Sentences about metadata that the format cannot hold."""
    notes = []
    if form.max_exif is not None and len(metadata.exif or b"") > form.max_exif:
        notes.append(f"its EXIF is left out, in part or entirely: {form.label} holds 64 KB")
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
    """The strips, with alpha as a fourth channel; raises ``PhotoError`` if they do not make up the stated image."""
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
    part: Path, strips: Iterator[Pixels], form: PhotoFormat, encoding: Encoding, name: str, *, fsync: bool
) -> Written:
    """Write, flush and hash the file under its temporary name."""
    with _created(part) as handle:
        try:
            form.encoder.encode(handle, strips, encoding)
        except (UnreadableError, RuntimeError, ValueError) as error:  # imagecodecs' errors are RuntimeErrors
            raise PhotoError(f"{name} cannot be encoded: {error}.") from error
        handle.flush()
        if fsync:
            os.fsync(handle.fileno())
        size = handle.seek(0, os.SEEK_END)
        handle.seek(0)
        return Written(size, hashlib.file_digest(cast(io.BufferedRandom, handle), "sha256").hexdigest())


def _give_name(part: Path, target: Path, sidecar: bytes | None, mtime_ns: int | None, *, fsync: bool) -> None:
    """The last step: the sidecar and the time first, then the final name."""
    if mtime_ns is not None:
        os.utime(part, ns=(mtime_ns, mtime_ns))
    if sidecar is not None:
        write_atomically(target.with_name(sidecar_name(target.name)), sidecar)
    _rename(part, target)
    if fsync:
        sync_folder(target.parent)


def _sealed(part: Path, seal: Callable[[Path, Path], None], *, fsync: bool) -> Written:
    """Replace the temporary file by the signed copy that ``seal`` writes, and hash it."""
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
    """Rename, and retry after growing waits: network shares and virus scanners lock files for a moment."""
    try:
        patiently(lambda: part.replace(target), _PASSING_FAULTS, going_on=lambda: os.access(target.parent, os.W_OK))
    except PermissionError as error:
        if not os.access(target.parent, os.W_OK):
            raise
        # the folder can be written, so only this file cannot be replaced
        raise PhotoError(f"{printable(os.fspath(target))} cannot be replaced: {error.strerror}.") from error


def _created(part: Path) -> BinaryIO:
    part.unlink(missing_ok=True)
    return part.open("x+b")


def _explained(error: OSError, name: str, folder: Path) -> OutputError | PhotoError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        here = name.startswith(printable(os.fspath(folder)))
        disk = "the disk" if here else f"the disk of {folder}, where it is made,"
        return OutputError(f"{name} cannot be written: {disk} is full. Free some room and run again to continue.")
    reason = error.strerror or str(error)
    if error.errno in _FAULTS_OF_THE_PLACE:
        return OutputError(f"{name} cannot be written: {reason}.")
    return PhotoError(f"{name} cannot be written: {reason}.")
