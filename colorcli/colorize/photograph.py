"""The steps of one photograph in a run, without threads: decode, colour, join, write."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import stat
import time
import traceback
from collections.abc import Iterator
from contextlib import ExitStack, nullcontext, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from io import BufferedReader
from pathlib import Path, PurePosixPath
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

import colorcli
from colorcli.color.join import Codes, Fidelity
from colorcli.colorize.events import VERSION, PhotoDone, PhotoStart, PhotoUnmade, now
from colorcli.colorize.inbox import at_hand
from colorcli.colorize.memory import Canvases
from colorcli.colorize.naming import map_name
from colorcli.colorize.options import Execution, Parameters
from colorcli.colorize.plan import IN_COLOR, Output, Task
from colorcli.errors import ColorcliError, OutputError, PhotoError
from colorcli.files import patiently, write_atomically
from colorcli.images.as_written import AsWritten
from colorcli.images.content import Content, content_of
from colorcli.images.credentials import Identity, sign_file
from colorcli.images.formats import FORMATS, PhotoFormat, format_of_name, output_format, xmp_names
from colorcli.images.photo import Format, Photo, Pixels
from colorcli.images.provenance import Provenance, is_labelled, merged
from colorcli.images.read import inverted, page_count, read_photo
from colorcli.images.tiles import Windows, blend
from colorcli.images.visible_mark import Sign
from colorcli.images.write import FurtherPage, Written, sidecar_name, write_photo
from colorcli.pipeline.coloring import Join
from colorcli.pipeline.coloring import prepare as windows_of
from colorcli.pipeline.controls import draw, follow, steering, variant
from colorcli.pipeline.uncertainty import Ground, Seen, Uncertainty
from colorcli.sessions.session import Controls, ModelInfo
from colorcli.text import printable

_MAX_SIDECAR = 1 << 24


class SkippedError(Exception):
    """A photograph is skipped; has the reason and its code."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason)
        self.code = code


@dataclass(frozen=True)
class Input:
    """The input file: size, modification time and hexadecimal SHA-256."""

    size: int
    mtime_ns: int
    sha256: str


@dataclass
class Prepared:
    """A decoded photograph, ready for the network; ``seconds`` by stage."""

    task: Task
    photo: Photo
    input: Input
    windows: Windows
    notes: tuple[str, ...]
    content: Content
    sidecar: bool = False
    seconds: dict[str, float] = field(default_factory=dict)
    more: list[Prepared] = field(default_factory=list)

    @property
    def pages(self) -> list[Prepared]:
        """This and the further pages of the file that are coloured."""
        return [self, *self.more]

    @property
    def lightness(self) -> list[NDArray[np.float32]]:
        """The windows of all pages, as the network gets them."""
        return [window for page in self.pages for window in page.windows.lightness]


@dataclass(frozen=True)
class Result:
    """A finished output and its fidelity to the photograph."""

    written: Written
    format: Format
    bits: Literal[8, 16]
    fidelity: Fidelity
    notes: tuple[str, ...]
    seconds: dict[str, float]
    sign: Sign | None = None
    map: Mapped | None = None


@dataclass(frozen=True)
class Mapped:
    """The map of an output's uncertainty: the ground's label, the score, the file's name, bytes and SHA-256."""

    ground: str
    score: float
    name: str
    size: int
    sha256: str


def prepare(task: Task, info: ModelInfo, parameters: Parameters, execution: Execution) -> Prepared:
    """Hash and decode a photograph, which is fetched first if it is an object, and resize its lightness.

    Raises:
        SkippedError: it is in colour, or was coloured by colorcli, and ``recolor`` is off.
        PhotoError: it cannot be read, changed while being read, or is not the file whose colouring was chosen.
    """
    start = time.perf_counter()
    with ExitStack() as stack:
        try:
            path = stack.enter_context(at_hand(task.found))
        except OSError as error:
            raise PhotoError(f"cannot be read: {error.strerror or error}") from error
        try:
            prepared = _prepare(path, task, info, parameters, execution)
        except PhotoError as error:
            raise PhotoError(_reason(error, path)) from error
    if task.found.url:
        prepared.seconds["fetch"] = time.perf_counter() - start - sum(prepared.seconds.values())
    return prepared


def _prepare(path: Path, task: Task, info: ModelInfo, parameters: Parameters, execution: Execution) -> Prepared:
    start = time.perf_counter()
    try:
        before, sha256 = patiently(lambda: _hashed(path))
        hashed = time.perf_counter()
        photo, *others = _read(path, parameters, execution)
        after = path.stat()
    except OSError as error:
        raise PhotoError(f"cannot be read: {error.strerror or error}") from error
    if _version(before) != _version(after):
        raise PhotoError("changed while it was read; run again when it is complete")
    if task.expected_sha256 not in ("", sha256):
        raise PhotoError("is not the file whose colouring was chosen: it has changed since; make its samples again")
    if is_labelled(photo.metadata.xmp) and not execution.recolor:
        raise SkippedError("made_here", "was coloured by colorcli, as its label says; --recolor colours it anew")
    photo, beside = _with_sidecar(photo)
    if any(page.kind == "color" for page in (photo, *others)) and not execution.recolor:
        raise SkippedError("in_color", IN_COLOR)
    decoded = time.perf_counter()
    digest = Input(before.st_size, before.st_mtime_ns, sha256)
    seconds = {"hash": hashed - start, "decode": decoded - hashed}
    prepared, *more = (_laid_out(task, page, digest, info, parameters) for page in (photo, *others))
    prepared.seconds.update(seconds, resize=time.perf_counter() - decoded)
    prepared.sidecar, prepared.more = beside, more
    return prepared


def _read(path: Path, parameters: Parameters, execution: Execution) -> list[Photo]:
    """The pages of a file that are asked for, which together may not have more pixels than one photograph."""

    def read(page: int | None, most: int = execution.largest) -> Photo:
        return read_photo(path, max_pixels=most, salvage=execution.salvage, page=page)

    count = page_count(path) if parameters.pages != "largest" else 1
    if count == 1:
        return [read(None)]
    if parameters.pages == "first":
        photo = read(0)
        return [replace(photo, notes=(f"only the first of its {count} pages was read", *photo.notes))]
    pages: list[Photo] = []
    for index in range(count):
        pages.append(read(index, execution.largest - sum(page.height * page.width for page in pages)))
    notes = [f"page {k}: {note}" for k, page in enumerate(pages[1:], 2) for note in page.notes]
    pages[0] = replace(pages[0], notes=(f"all its {count} pages were read", *pages[0].notes, *notes))
    return pages


def _laid_out(task: Task, photo: Photo, digest: Input, info: ModelInfo, parameters: Parameters) -> Prepared:
    if parameters.negative:
        photo = inverted(photo)
    layout = windows_of(photo.pixels, info.size_rule, parameters.size)
    content = content_of(photo.pixels)
    notes = _notes(photo, content, len(layout.starts), negative=parameters.negative)
    return Prepared(task, photo, digest, layout, notes, content)


def finish(
    prepared: Prepared,
    output: Output,
    parts: list[NDArray[np.float32]],
    info: ModelInfo,
    parameters: Parameters,
    canvases: Canvases,
    *,
    signer: Identity | None = None,
    fsync: bool = True,
    verify: bool = False,
    insist: bool = False,
    keep_times: bool = False,
    ground: Ground | None = None,
) -> Result:
    """Join the chroma of a photograph's windows with its lightness, in one of the canvases, and write it.

    With ``insist`` what stays neutral by rule is coloured too; with ``keep_times`` the output gets the input's time. A
    ``ground`` measures the uncertainty, of which a map is written beside the output: of a file with several pages, the
    map of the first and the mean score of all.

    Raises:
        OutputError: the output folder cannot be written or the disk is full.
        PhotoError: the result is gray, its lightness is wrong, or it cannot be written.
    """
    photo = prepared.photo
    sign = Sign.of(photo.height, photo.width) if parameters.mark else None
    provenance = _provenance(prepared, output, info, parameters)
    form: Format = parameters.format or output_format(photo.format, output.relative)
    holds = FORMATS[form]
    bits = _depth(photo, holds)
    if prepared.more and not holds.paged:
        raise PhotoError(f"has {len(prepared.pages)} pages, which {holds.label} does not hold; ask for --format tiff")
    settings, sample = variant(parameters.settings, output.sample)
    joins, unsure, at, measured = [], [], 0, 0.0
    clock = _Clock()
    for page in prepared.pages:
        count = len(page.windows.lightness)
        answer = blend(parts[at : at + count], page.windows)
        if ground is not None:
            begun = time.perf_counter()
            seen = Seen(page.photo.pixels, page.windows, answer, settings, prepared.task.found.relative, sample)
            unsure.append(ground.of(seen))
            measured += time.perf_counter() - begun
        chroma = follow(info.controls, settings, answer, page.windows.whole())
        joins.append(_joined(page, chroma, holds, info, parameters, insist=insist))
        at += count
    joined = joins[0]
    _make_folder(output)
    mapped = None if ground is None else _write_map(prepared, output, ground.label, unsure)
    # Formats that are not streamed need the whole image in one array.
    whole = nullcontext() if holds.streamed else canvases.taken((photo.height, photo.width, 3), bits)
    alpha = None if photo.alpha is None or not holds.alpha else _at_depth(photo.alpha, bits)
    start = time.perf_counter()
    with whole as canvas:
        strips = clock.timed(joined.strips(canvas))
        written = write_photo(
            output.path,
            strips if sign is None else sign.drawn(strips),
            height=photo.height,
            width=photo.width,
            bits=bits,
            format=form,
            quality=parameters.quality,
            lossless=photo.lossless,
            metadata=photo.metadata,
            provenance=provenance,
            alpha=sign.opaque(alpha) if sign is not None and alpha is not None else alpha,
            seal=None if signer is None else partial(sign_file, signer, source=photo.path, provenance=provenance),
            canvas=canvas,
            more=[_further(page, join, holds, parameters) for page, join in zip(prepared.more, joins[1:], strict=True)],
            sidecar=prepared.sidecar,
            profile=parameters.profile,
            original=None if prepared.more else photo.pixels if sign is None else sign.on(photo.pixels),
            mtime_ns=prepared.input.mtime_ns if keep_times else None,
            shown=output.shown,
            fsync=fsync,
            verify=verify,
        )
    if output.stale_map:
        with suppress(OSError):  # it would speak of other colours
            output.path.with_name(PurePosixPath(output.stale_map).name).unlink()
    seconds = {"join": clock.seconds, "encode": time.perf_counter() - start - clock.seconds}
    if ground is not None:
        seconds["uncertainty"] = measured
    mark = "page {}: " if prepared.more else ""
    lost = [mark.format(number) + one.neutral for number, one in enumerate(joins, 1) if one.neutral]
    if photo.alpha is not None and not holds.alpha:
        lost.append(f"its transparency is left out: {holds.label} has none")
    if bits < photo.bits:
        lost.append(f"reduced from {photo.bits} to {bits} bits per sample: {holds.label} holds no more")
    notes = (*prepared.notes, *lost, *written.left_out)
    return Result(written, form, bits, _of_all(prepared, joins), notes, seconds, sign, mapped)


def _make_folder(output: Output) -> None:
    try:
        output.path.parent.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:  # other folders of the tree may be writable
        raise PhotoError(f"cannot be written: {output.folder} is, or is below, a file") from error
    except OSError as error:
        kind = PhotoError if error.errno == errno.ENAMETOOLONG else OutputError
        raise kind(f"{output.folder} cannot be made: {error.strerror or error}.") from error


def _write_map(prepared: Prepared, output: Output, label: str, found: list[Uncertainty]) -> Mapped:
    """Write the map of the first page beside the output; the score is that of all pages."""
    weights = [page.photo.height * page.photo.width for page in prepared.pages]
    content = io.BytesIO()
    Image.fromarray(found[0].codes).save(content, "PNG")
    name = map_name(output.relative)
    path = output.path.with_name(PurePosixPath(name).name)
    try:
        write_atomically(path, content.getvalue())
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror or error}.") from error
    sha256 = hashlib.sha256(content.getvalue()).hexdigest()
    score = float(np.average([one.score for one in found], weights=weights))
    return Mapped(label, score, name, len(content.getvalue()), sha256)


def _joined(
    page: Prepared,
    chroma: NDArray[np.float32],
    holds: PhotoFormat,
    info: ModelInfo,
    parameters: Parameters,
    *,
    insist: bool,
) -> Join:
    return Join(
        page.photo.pixels,
        chroma,
        bits=_depth(page.photo, holds),
        strength=parameters.strength,
        vividness=parameters.vividness,
        enlarge=info.size_rule.enlarge,
        content=page.content,
        other=page.photo.other,
        insist=insist,
    )


def _depth(photo: Photo, holds: PhotoFormat) -> Literal[8, 16]:
    return 16 if min(photo.bits, holds.bits) == 16 else 8


def _further(page: Prepared, joined: Join, holds: PhotoFormat, parameters: Parameters) -> FurtherPage:
    photo, bits = page.photo, _depth(page.photo, holds)
    alpha = None if photo.alpha is None else _at_depth(photo.alpha, bits)
    strips = joined.strips()
    if parameters.mark:
        sign = Sign.of(photo.height, photo.width)
        strips, alpha = sign.drawn(strips), None if alpha is None else sign.opaque(alpha)
    return FurtherPage(strips, photo.height, photo.width, bits, alpha, photo.metadata)


def _of_all(prepared: Prepared, joins: list[Join]) -> Fidelity:
    """The fidelity of all pages together, with means over their pixels."""
    if len(joins) == 1:
        return joins[0].fidelity
    weights = [page.photo.height * page.photo.width for page in prepared.pages]

    def mean(name: str) -> float:
        return float(np.average([getattr(join.fidelity, name) for join in joins], weights=weights))

    largest = max(join.fidelity.max_delta_l for join in joins)
    return Fidelity(largest, mean("mean_delta_l"), mean("fitted_share"), mean("mean_chroma"))


def draw_controls(prepared: Prepared, output: Output, info: ModelInfo, parameters: Parameters) -> list[Controls]:
    """The controls of one output of a photograph, for each window; ``parameters`` are the photograph's own."""
    settings, sample = variant(parameters.settings, output.sample)
    name = prepared.task.found.relative
    drawn = draw(info.controls, settings, name, sample, prepared.windows)
    for number, page in enumerate(prepared.more, 2):
        drawn += draw(info.controls, settings, f"{name}#{number}", sample, page.windows)
    return drawn


def start_record(task: Task, output: Output, info: ModelInfo, parameters: Parameters) -> PhotoStart:
    """The record before an output is renamed to its final name."""
    return {
        "v": VERSION,
        "event": "photo.start",
        "time": now(),
        "input": task.found.relative,
        "source": task.found.source,
        "sample": output.sample,
        "output": output.relative,
        "model": info.name,
        "weights_sha256": info.weights_sha256,
        "parameters": parameters.record(),
    }


def done_record(
    start: PhotoStart, prepared: Prepared, result: Result, info: ModelInfo, parameters: Parameters, seconds: float
) -> PhotoDone:
    """The record of a finished output, whose network took ``seconds``."""
    settings, sample = variant(parameters.settings, start["sample"])
    photo, given, fidelity = prepared.photo, prepared.input, result.fidelity
    spent = {**prepared.seconds, "network": seconds, **result.seconds}
    # a lossless file holds exactly the codes that were computed
    written = result.written.lightness or AsWritten(float(fidelity.max_delta_l), float(fidelity.mean_delta_l), 1.0)
    record: PhotoDone = {
        "v": VERSION,
        "event": "photo.done",
        "time": now(),
        "input": start["input"],
        "source": start["source"],
        "sample": start["sample"],
        "output": start["output"],
        "model": start["model"],
        "weights_sha256": start["weights_sha256"],
        "parameters": start["parameters"],
        "input_size": given.size,
        "input_mtime_ns": given.mtime_ns,
        "input_sha256": given.sha256,
        "status": "done",
        "output_size": result.written.size,
        "output_sha256": result.written.sha256,
        "format": result.format,
        "bits": result.bits,
        "width": photo.width,
        "height": photo.height,
        "pages": len(prepared.pages),
        "kind": photo.kind,
        "notes": list(result.notes),
        "controls": {one.name: one.record(settings, sample) for one in steering(info.controls, settings)},
        "seconds": {stage: round(value, 4) for stage, value in spent.items()},
        "max_delta_l": round(float(fidelity.max_delta_l), 6),
        "mean_delta_l": round(float(fidelity.mean_delta_l), 6),
        "written_max_delta_l": round(written.max_delta_l, 6),
        "written_mean_delta_l": round(written.mean_delta_l, 6),
        "written_share": round(written.share, 6),
        "fitted_share": round(float(fidelity.fitted_share), 6),
        "mean_chroma": round(float(fidelity.mean_chroma), 6),
    }
    if result.sign is not None:
        record["mark"] = result.sign.record()
    if result.map is not None:
        record["uncertainty"] = round(result.map.score, 6)
        record["uncertainty_ground"] = result.map.ground
        record["uncertainty_map"] = result.map.name
        record["uncertainty_map_size"] = result.map.size
        record["uncertainty_map_sha256"] = result.map.sha256
    if (packet := result.written.sidecar) is not None:
        name, sha256 = sidecar_name(start["output"]), hashlib.sha256(packet).hexdigest()
        record["xmp"] = {"output": name, "size": len(packet), "sha256": sha256}
    return record


def unmade_record(task: Task, output: Output, error: Exception, prepared: Prepared | None) -> PhotoUnmade:
    """The record of an output that was not made; ``prepared`` if the photograph was decoded."""
    skipped = isinstance(error, SkippedError)
    record: PhotoUnmade = {
        "v": VERSION,
        "event": "photo.skipped" if skipped else "photo.failed",
        "time": now(),
        "input": task.found.relative,
        "source": task.found.source,
        "sample": output.sample,
        "output": output.relative,
        "input_size": prepared.input.size if prepared else task.found.size,
        "input_mtime_ns": prepared.input.mtime_ns if prepared else task.found.mtime_ns,
        "status": "skipped" if skipped else "failed",
        "reason": _reason(error, task.found.path),
    }
    if prepared is not None:
        record["input_sha256"] = prepared.input.sha256
    if isinstance(error, SkippedError):
        record["code"] = error.code
    return record


def trace_of(error: Exception) -> str:
    """The place in the code that an error comes from; empty for errors that explain themselves."""
    return "" if isinstance(error, SkippedError | ColorcliError) else "".join(traceback.format_exception(error))


def _reason(error: Exception, path: Path) -> str:
    """The reason as a clause that follows the photograph's name."""
    if isinstance(error, MemoryError):
        return "out of memory: this machine has too little for it; try --jobs 1"
    if isinstance(error, ColorcliError | SkippedError):
        return str(error).removeprefix(f"{printable(os.fspath(path))} ").rstrip(".")
    return f"unexpected {type(error).__name__}: {error}"


class _Clock:
    """Measures the time that an iterator takes for its items."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def timed(self, items: Iterator[Codes]) -> Iterator[Codes]:
        while True:
            start = time.perf_counter()
            item = next(items, None)
            self.seconds += time.perf_counter() - start
            if item is None:
                return
            yield item


def _with_sidecar(photo: Photo) -> tuple[Photo, bool]:
    """The photograph with what an XMP file beside it says (``a.jpg.xmp``, or ``a.xmp``), and whether there is one."""
    path = photo.path
    for name in xmp_names(path.name):
        try:
            with _opened(path.with_name(name)) as file:
                packet = file.read(_MAX_SIDECAR + 1)
        except (OSError, PhotoError):
            continue
        both = merged(packet, photo.metadata.xmp) if len(packet) <= _MAX_SIDECAR else None
        if both is None:
            note = f"its sidecar {printable(name)} is left out: it is damaged or too large"
            return replace(photo, notes=(*photo.notes, note)), False
        note = f"its sidecar {printable(name)} was read and is written along"
        return replace(photo, metadata=replace(photo.metadata, xmp=both), notes=(*photo.notes, note)), True
    return photo, False


def _notes(photo: Photo, content: Content, tiles: int, *, negative: bool) -> tuple[str, ...]:
    notes = [*photo.notes, *([content.note] if content.note else [])]
    if format_of_name(photo.path.name) not in (None, photo.format):
        notes.append(f"is a {FORMATS[photo.format].label} despite its name")
    if not FORMATS[photo.format].written:
        notes.append(f"{FORMATS[photo.format].label} is read-only: written in another format")
    if negative:
        notes.append("a negative: inverted before colouring")
    if photo.kind == "toned":
        notes.append("toned: coloured from its lightness, without its tone; if its colours are true, --exclude it")
    if photo.kind == "color":
        notes.append("in colour: recoloured from its lightness")
    if tiles > 1:
        notes.append(f"very long: coloured in {tiles} overlapping windows")
    return tuple(notes)


def _provenance(prepared: Prepared, output: Output, info: ModelInfo, parameters: Parameters) -> Provenance:
    settings, sample = variant(parameters.settings, output.sample)
    # without a time, so that the same input and parameters give the same bytes; the journal has the time
    return Provenance(
        model=info.name,
        version=info.version,
        weights_sha256=info.weights_sha256,
        software=f"colorcli {colorcli.__version__}",
        parameters={**parameters.record(), **settings, "sample": sample},
        input_name=prepared.task.found.relative,
        input_sha256=prepared.input.sha256,
    )


def _at_depth(alpha: Pixels, bits: int) -> Pixels:
    if alpha.dtype.itemsize * 8 == bits:
        return alpha
    return (alpha >> 8).astype(np.uint8) if bits == 8 else alpha.astype(np.uint16) * np.uint16(257)


def _hashed(path: Path) -> tuple[os.stat_result, str]:
    with _opened(path) as handle:
        return os.fstat(handle.fileno()), hashlib.file_digest(handle, "sha256").hexdigest()


def _opened(path: Path) -> BufferedReader:
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    handle = os.fdopen(descriptor, "rb")
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        handle.close()
        raise PhotoError("is not a regular file")
    return handle


def _version(status: os.stat_result) -> tuple[int, int]:
    return status.st_size, status.st_mtime_ns
