"""The report of a run: ``report.html`` in the output folder, from the journal, the photographs and their outputs.

It is at the top of the output folder, where people see it, not among the files for programs. Thumbnails are kept in
``.colorcli/thumbnails``, so that a report that was interrupted, or is written again after more photographs, decodes
only what is new; that folder may be removed at any time.
"""

from __future__ import annotations

import hashlib
import os
import shlex
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray
from PIL import Image

import colorcli
from colorcli.color.spaces import lightness_to_gray, srgb_to_lightness
from colorcli.colorize import picks
from colorcli.colorize.audit import STATES
from colorcli.colorize.discover import Found
from colorcli.colorize.journal import Position, Record, last_ends, records_at, skim_journal
from colorcli.colorize.memory import PixelBudget
from colorcli.colorize.naming import sample_mark
from colorcli.colorize.options import Execution, Parameters
from colorcli.colorize.plan import Output, Plan
from colorcli.colorize.state import state_folder
from colorcli.errors import PhotoError
from colorcli.files import has_size, part_path
from colorcli.images.icc import srgb_profile
from colorcli.images.read import read_photo
from colorcli.pipeline.controls import declared_settings, variant
from colorcli.report.colouring import Colouring, write_colouring
from colorcli.report.gallery import Column, GalleryItem
from colorcli.report.page import check_place
from colorcli.report.thumbnails import Bounds, thumbnail
from colorcli.sessions.session import ModelInfo

NAME = "report.html"
_FOLDER = "thumbnails"
_INPUT = "input"
# the backends' names in journals and as options
_BACKENDS = {"pytorch": "pytorch", "onnxruntime": "onnx"}

Progress = Callable[[int, int], None]


def thumbnails(root: Path) -> Path:
    """The folder with the thumbnails for an output folder's reports."""
    return state_folder(root) / _FOLDER


def check_places(plan: Plan) -> None:
    """Check before a run that its reports can be written. Raises OutputError."""
    for root in plan.roots:
        check_place(root / NAME)


def write_reports(
    plan: Plan,
    model: ModelInfo,
    parameters: Parameters,
    *,
    inputs: Sequence[str] = (),
    progress: Progress = lambda done, total: None,
) -> list[Path]:
    """Write the report of each output folder of a plan from its journal, after the run or at any time.

    Args:
        plan: plan of the run; the report shows all of its outputs, whenever they were made.
        model: model of the run.
        parameters: parameters of the run.
        inputs: the inputs as given on the command line, for the command that colours the picks.
        progress: called with the number of photographs done, and of all.

    Returns:
        The files; the first of each folder is ``report.html``.

    Raises:
        OutputError: a report cannot be written, or a journal cannot be read.
    """
    found = [_Folder(root, plan, model, parameters, inputs) for root in plan.roots]
    total = sum(folder.colouring.count for folder in found)
    done = 0

    def one_more() -> None:
        nonlocal done
        done += 1
        progress(done, total)

    return [path for folder in found for path in folder.write(one_more)]


@dataclass(frozen=True, slots=True)
class _Last:
    """What a journal says last of an output, without the record itself, which a page reads when its turn comes.

    Attributes:
        event: of the record.
        reason: why it was not made; empty if it was.
        place: where the record is.
        running: backend and precision of the run.
        uncertainty: its score; None if it was not measured.
    """

    event: str
    reason: str
    place: Position
    running: Record
    uncertainty: float | None


class _Folder:
    """One output folder: what its report shows, and where the images come from."""

    def __init__(self, root: Path, plan: Plan, model: ModelInfo, parameters: Parameters, inputs: Sequence[str]) -> None:
        self._root = root
        outputs = _outputs(plan, root)
        latest = _latest(root, {output.relative for made in outputs.values() for output in made})
        samples = max((len(made) for made in outputs.values()), default=1)
        self._done: list[tuple[Found, list[tuple[str, _Last]]]] = []
        failures = dict.fromkeys((v.relative, v.reason) for v in plan.verdicts if _is(v.root, root, v.status, "failed"))
        skips = dict.fromkeys((v.relative, v.reason) for v in plan.verdicts if _is(v.root, root, v.status, "skipped"))
        for found, made in outputs.items():
            done: list[tuple[str, _Last]] = []
            for output in made:
                last = latest.get(output.relative)
                if last is not None and last.event == "photo.done":
                    done.append((_column(output.sample, samples), last))
                elif last is not None and last.event == "photo.failed":
                    failures[found.relative, last.reason] = None
                elif last is not None and last.event == "photo.skipped":
                    skips[found.relative, last.reason] = None
                else:
                    skips[found.relative, "not coloured yet: the run was stopped; run it again"] = None
            if done:
                self._done.append((found, done))
        unsure = any(last.uncertainty is not None for _, done in self._done for _, last in done)
        if unsure:
            # the least sure first, also where the page has several files
            self._done.sort(key=lambda one: -max(last.uncertainty or 0.0 for _, last in one[1]))
        count = len(self._done)
        columns = [Column(_INPUT, "photograph", "input")]
        if samples == 1:
            columns.append(Column(_column(0, 1), "colouring", "result"))
        else:
            labels = [_label(k, samples, parameters) for k in range(samples)]
            columns += [Column(_column(k, samples), label, "result", k) for k, label in enumerate(labels)]
        self.colouring = Colouring(
            root.name or str(root),
            _line(count, len(failures), len(skips), model.name),
            _summary(root, count, len(failures), len(skips), model.name),
            _facts(model, parameters, samples),
            columns,
            count,
            lambda part: [self._entry(index, choosable=samples > 1) for index in part],
            list(failures),
            list(skips),
            unsure,
            picks.header(model.name, model.weights_sha256, parameters) if samples > 1 and count else None,
            shlex.join(["colorcli", "colorize", *(inputs or ["INPUT"]), "--picks", "picks.json", "-o", "chosen"]),
        )

    def write(self, one_more: Callable[[], None]) -> list[Path]:
        """Write the pages."""
        budget = PixelBudget(Execution.max_pixels)

        def pictures(indices: Sequence[int], bounds: Bounds) -> Iterator[Mapping[str, bytes]]:
            pool = ThreadPoolExecutor(Execution.jobs)
            try:
                for found in pool.map(lambda index: self._pictures(index, bounds, budget), indices):
                    yield found
                    one_more()
            finally:
                pool.shutdown(cancel_futures=True)

        return write_colouring(self._root / NAME, self.colouring, pictures)

    def _records(self, index: int) -> dict[str, Record]:
        """The records of one photograph's colourings, by column."""
        done = self._done[index][1]
        records = records_at(self._root, [last.place for _, last in done])
        return {column: {**record, **last.running} for (column, last), record in zip(done, records, strict=True)}

    def _entry(self, index: int, *, choosable: bool) -> GalleryItem:
        return _entry(self._root, self._done[index][0], self._records(index), choosable=choosable)

    def _pictures(self, index: int, bounds: Bounds, budget: PixelBudget) -> dict[str, bytes]:
        """Thumbnails of one photograph, without those whose file is missing or changed."""
        found, done = self._done[index][0], self._records(index)
        first = next(iter(done.values()))
        pixels = int(str(first["width"])) * int(str(first["height"]))
        budget.acquire(pixels)
        try:
            pictures = {}
            for column, record in done.items():
                path = self._root / str(record["output"])
                with suppress(PhotoError):
                    pictures[column] = self._kept(record["output_sha256"], bounds, _output, path, record["output_size"])
            with suppress(PhotoError):
                pictures[_INPUT] = self._kept(first["input_sha256"], bounds, _original, found.path, first["input_size"])
            if _INPUT not in pictures and pictures:
                path = self._root / str(first["output"])
                with suppress(PhotoError):
                    pictures[_INPUT] = thumbnail(_gray(_output(path, bounds.edge), bounds.edge), bounds)
        finally:
            budget.release(pixels)
        return pictures

    def _kept(
        self,
        sha256: object,
        bounds: Bounds,
        decode: Callable[[Path, int], NDArray[np.uint8]],
        path: Path,
        size: object,
    ) -> bytes:
        """The cached thumbnail of a journalled file."""
        if not has_size(path, size):
            raise PhotoError("was moved, removed or changed")
        # hashed again, since a journal's content must not become a path
        name = hashlib.sha256(str(sha256).encode()).hexdigest()[:32]
        kept = thumbnails(self._root) / f"{name}-{bounds.edge}.webp"
        with suppress(OSError):
            return kept.read_bytes()
        small = thumbnail(decode(path, bounds.edge), bounds)
        with suppress(OSError):
            kept.parent.mkdir(parents=True, exist_ok=True)
            part = part_path(kept)
            part.write_bytes(small)
            part.replace(kept)
        return small


def _is(place: Path, root: Path, status: str, wanted: str) -> bool:
    return place == root and status == wanted


def _outputs(plan: Plan, root: Path) -> dict[Found, list[Output]]:
    """The outputs of each photograph of a folder, finished or planned."""
    pairs = [*plan.finished, *((task.found, output) for task in plan.tasks for output in task.outputs)]
    outputs: dict[Found, list[Output]] = {}
    for found, output in sorted(pairs, key=lambda pair: (pair[0].relative, pair[0].target, pair[1].sample)):
        if found.root == root:
            outputs.setdefault(found, []).append(output)
    return outputs


def _latest(root: Path, wanted: Collection[str]) -> dict[str, _Last]:
    """What the journal says last of each output."""
    latest: dict[str, _Last] = {}
    running: Record = {}
    for record, place in skim_journal(root):
        event, output, score = str(record["event"]), record.get("output"), record.get("uncertainty")
        if event == "run.start":
            running = {key: record.get(key) for key in ("backend", "precision")}
        elif event in STATES and isinstance(output, str) and output in wanted:
            uncertainty = None if score is None else float(str(score))
            latest[output] = _Last(event, str(record.get("reason", "")), place, running, uncertainty)
    return latest


def _made_by(record: Record) -> dict[str, str]:
    """Backend and precision of an output as option values; ``auto`` if unknown."""
    return {
        "backend": _BACKENDS.get(str(record.get("backend")), "auto"),
        "precision": str(record.get("precision") or "auto"),
    }


def _column(sample: int, samples: int) -> str:
    return "colouring" if samples == 1 else f"sample-{sample}"


def _label(output: int, samples: int, parameters: Parameters) -> str:
    """An output's column heading: its sample mark, and the values of settings that have several."""
    settings, _ = variant(parameters.settings, output)
    names = [
        setting.show(settings[setting.name])
        for _, setting in declared_settings()
        if isinstance(parameters.settings.get(setting.name), tuple)
    ]
    return " ".join([sample_mark(output, samples), *names])


def _steering(parameters: Parameters) -> dict[str, str]:
    """The settings in words, by their titles."""
    words = {}
    for _, setting in declared_settings():
        if setting.name in parameters.settings:
            value = parameters.settings[setting.name]
            words[setting.title] = ", ".join(map(setting.show, value if isinstance(value, tuple) else (value,)))
    return words


def _entry(root: Path, found: Found, done: Mapping[str, Record], *, choosable: bool) -> GalleryItem:
    first = next(iter(done.values()))
    values: dict[str, dict[str, float | None]] = {
        column: {
            **({"uncertainty": float(str(record["uncertainty"]))} if "uncertainty" in record else {}),
            "mean_chroma": float(str(record["mean_chroma"])),
            "fitted_share": 100 * float(str(record["fitted_share"])),
            "max_delta_l": float(str(record["max_delta_l"])),
            "written_max_delta_l": float(str(record.get("written_max_delta_l", record["max_delta_l"]))),
        }
        for column, record in done.items()
    }
    links = {column: _link(root, root / str(record["output"])) for column, record in done.items()}
    notes = first["notes"]
    remarks = [str(note) for note in notes] if isinstance(notes, list) else []
    if not has_size(found.path, first["input_size"]):
        remarks.append("the photograph was moved or changed: the lightness of its colouring is shown instead")
    else:
        links[_INPUT] = _link(root, found.path)
    source = str(first["source"])
    return GalleryItem(
        found.relative,
        f"{first['width']} × {first['height']}",
        values,
        links,
        remarks,
        "the file was moved, removed or changed",
        key=found.target,
        samples=[int(str(record["sample"])) for record in done.values()] if choosable else [],
        made_by=[_made_by(record) for record in done.values()] if choosable else [],
        identity={"input": found.relative, "source": source, "input_sha256": str(first["input_sha256"])},
    )


def _link(root: Path, path: Path) -> str:
    """A relative link from the report to a file, which still works if both are moved."""
    try:
        relative = os.path.relpath(path, root)
    except ValueError:  # another drive
        return path.absolute().as_uri()
    return quote(os.fsencode(Path(relative).as_posix()))


def _line(done: int, failed: int, skipped: int, model: str) -> str:
    parts = [f"{done} photographs coloured by {model}" if done != 1 else f"1 photograph coloured by {model}"]
    parts += [f"{failed} failed"] if failed else []
    parts += [f"{skipped} left alone"] if skipped else []
    return f"{', '.join(parts)} · {datetime.now().astimezone():%Y-%m-%d %H:%M}"


def _summary(root: Path, done: int, failed: int, skipped: int, model: str) -> dict[str, object]:
    """Counts and the end of the last run, or of the longest of several shards, failures first."""
    ends = last_ends(root)
    counts: dict[str, object] = {"Failed": failed or None, "Coloured": done, "Left alone": skipped or None}
    if not ends:
        return {**counts, "Model": model}
    codes = sorted({int(str(end.get("exit_code", 0))) for end in ends})
    seconds = f"{max(float(str(end['seconds'])) for end in ends):.1f} s"
    if len(ends) == 1:
        return {**counts, "Last run": seconds, "Exit code": codes[0], "Model": model}
    shards = {"Shards": len(ends), "Longest shard": seconds, "Exit codes": ", ".join(map(str, codes))}
    return {**counts, **shards, "Model": model}


def _facts(model: ModelInfo, parameters: Parameters, samples: int) -> dict[str, object]:
    return {
        "Model": model.name,
        "Weights, SHA-256": model.weights_sha256,
        "Licence": model.licence,
        **_steering(parameters),
        "Samples": samples,
        "Working size": f"{parameters.size} pixels",
        "Strength": parameters.strength,
        "Vividness": parameters.vividness,
        "Format": parameters.format or "each photograph’s own",
        "Software": f"colorcli {colorcli.__version__}",
    }


def _original(path: Path, _edge: int) -> NDArray[np.uint8]:
    pixels = read_photo(path).pixels
    return pixels.astype(np.uint8) if pixels.dtype.itemsize == 1 else (pixels >> 8).astype(np.uint8)


def _output(path: Path, edge: int) -> NDArray[np.uint8]:
    """An output's pixels; a JPEG of ours in sRGB is decoded at reduced size."""
    try:
        with Image.open(path, formats=("JPEG",)) as image:
            if image.info.get("icc_profile") != srgb_profile():
                return _original(path, edge)
            image.draft("RGB", (2 * edge, 2 * edge))
            return np.asarray(image.convert("RGB"))
    except OSError:
        return _original(path, edge)


def _gray(pixels: NDArray[np.uint8], edge: int) -> NDArray[np.uint8]:
    """A colouring's lightness, which equals its photograph's."""
    small = Image.fromarray(pixels)
    small.thumbnail((edge, edge))
    lightness = srgb_to_lightness(np.asarray(small, np.float32) / 255)
    return np.rint(np.clip(lightness_to_gray(lightness), 0, 1) * 255).astype(np.uint8)
