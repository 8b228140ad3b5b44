"""Reading a journal back: what happened to every photograph, and whether the files are unchanged."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Literal

from colorcli import stores
from colorcli.colorize.journal import (
    Position,
    Record,
    altered_lines,
    files_of,
    journal_path,
    read_journal,
    records_at,
    segments,
    skim_journal,
)
from colorcli.colorize.places import Folder, Place
from colorcli.colorize.state import state_folder
from colorcli.errors import OutputError, UsageError
from colorcli.files import STATE_FOLDER, file_sha256, walk
from colorcli.images.formats import is_photograph_name
from colorcli.images.provenance import is_labelled

State = Literal["done", "skipped", "failed", "unfinished"]
Fault = Literal["missing", "changed", "unreadable", "unlisted"]
Side = Literal["output", "input", "journal", "manifest", "sidecar", "bag"]

COLUMNS = (
    "state", "input", "output", "sample", "reason", "kind", "input_sha256", "output_sha256", "model", "weights_sha256",
    "max_delta_l", "written_max_delta_l", "written_share", "fitted_share", "mean_chroma", "uncertainty", "time",
)  # fmt: skip
"""The fields of a record listed by ``status --csv``, in order."""

STATES: dict[object, State] = {
    "photo.done": "done", "photo.skipped": "skipped", "photo.failed": "failed", "photo.start": "unfinished"
}  # fmt: skip
"""The state of an output after each event."""


@dataclass
class Status:
    """State of an output folder, of which its journal may tell a million outputs.

    Attributes:
        root: the folder.
        latest: the state of every output, and where its last record is.
        runs: number of runs.
        last_run: record of the last run's start, and ``last_end`` of its end, if it came to one.
    """

    root: Path
    latest: dict[str, tuple[State, Position]] = field(default_factory=dict)
    runs: int = 0
    last_run: Record = field(default_factory=dict)
    last_end: Record | None = None

    def counts(self) -> dict[State, int]:
        """Number of outputs in each state."""
        found = Counter(state for state, _ in self.latest.values())
        return {state: found.get(state, 0) for state in STATES.values()}

    def records(self, *states: State) -> Iterator[tuple[State, Record]]:
        """The last record of every output, or of those in some states, by name; each is read when it is asked for.

        Raises:
            OutputError: the journal cannot be read.
        """
        found = [self.latest[name] for name in sorted(self.latest)]
        found = [(state, place) for state, place in found if state in states or not states]
        records = records_at(self.root, (place for _, place in found))
        return ((state, record) for (state, _), record in zip(found, records, strict=True))


@dataclass(frozen=True)
class Mismatch:
    """A file that differs from the journal: its journalled path, what is wrong, and what it is."""

    path: str
    fault: Fault
    side: Side


def read_status(root: Path) -> Status:
    """Read the state of every photograph of an output folder.

    Raises:
        UsageError: the folder has no journal.
        OutputError: the journal cannot be read.
    """
    with contextlib.suppress(PermissionError):  # reading it will say so
        if not segments(root):
            raise UsageError(
                f"{root} holds no journal ({journal_path(root)}); give a folder that colorize has written to."
            )
    status = Status(root)
    for record, place in skim_journal(root):
        kind = record["event"]
        if kind == "run.start":
            status.runs += 1
            status.last_run, status.last_end = record, None
        elif kind == "run.end":
            status.last_end = record
        elif kind in STATES:
            status.latest[str(record.get("output") or record.get("input"))] = STATES[kind], place
    return status


def verify(
    place: Place,
    *,
    inputs: bool = False,
    jobs: int = 2,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[int, list[Mismatch]]:
    """Compare size and SHA-256 of every finished output and its XMP with the journal; with ``inputs``, of inputs too.

    A journal whose lines were altered, added or removed is a mismatch itself. Lines lost at its end leave no trace in
    it, so an output that it does not know as finished, recognized by its label, is one too.

    Args:
        place: the output folder.
        inputs: whether to compare the originals too, at their journalled paths and URLs.
        jobs: threads.
        progress: called with the numbers of compared files and of all files.

    Returns:
        Number of compared files, and those that differ.

    Raises:
        UsageError: the folder has no journal.
    """
    status = read_status(place.root)
    files = list(_finished_files(place, status, inputs=inputs))
    mismatches = [
        Mismatch(f"{_shown(path, place.root)}, line {number}", "changed", "journal")
        for path, number in altered_lines(place.root)
    ]
    if isinstance(place, Folder):
        mismatches += [Mismatch(name, "unlisted", "output") for name in _unlisted(status)]
    with ThreadPoolExecutor(jobs) as pool:
        for done, mismatch in enumerate(pool.map(_compare, files), 1):
            progress(done, len(files))
            if mismatch is not None:
                mismatches.append(mismatch)
    return len(files), mismatches


def record_of(path: Path) -> Record | None:
    """The last ``photo.done`` of an output in the journal of the folder that it lies in, or below; None without one."""
    path = path.absolute()
    for root in path.parents:
        try:
            if not segments(root):
                continue
            name, found = path.relative_to(root).as_posix(), None
            for record in read_journal(root):
                if record["event"] == "photo.done" and record.get("output") == name:
                    found = record
        except (OSError, OutputError):
            continue
        return found
    return None


def _shown(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)


@dataclass(frozen=True)
class _File:
    where: str
    shown: str
    side: Literal["output", "sidecar", "input"]
    size: object
    sha256: object


def _finished_files(place: Place, status: Status, *, inputs: bool) -> Iterator[_File]:
    originals: set[str] = set()
    for _, record in status.records("done"):
        source = str(record.get("source"))
        for name, size, sha256 in files_of(record):
            side: Literal["output", "sidecar"] = "sidecar" if _is_sidecar(name, record) else "output"
            yield _File(place.shown(str(name)), str(name), side, size, sha256)
        if inputs and source not in originals:
            originals.add(source)
            yield _File(source, source, "input", record.get("input_size"), record.get("input_sha256"))


def _unlisted(status: Status) -> list[str]:
    """Outputs that the journal does not know, or not as finished; copies of those it knows do not count.

    What a run began and did not finish is known as long as the file is that of an earlier, finished run.
    """
    root = status.root
    if state_folder(root) != root / STATE_FOLDER:  # a folder of originals
        return []
    found = [
        name
        for name in walk(root, regular=True, unreadable=lambda *_: None)
        if status.latest.get(name, ("", None))[0] != "done"
        and is_photograph_name(name.rpartition("/")[2])
        and _is_ours(root, name)
    ]
    if not found:
        return []
    hashes = {name: file_sha256(root / name) for name in found}
    unknown = set(hashes.values())
    for record in read_journal(root):
        if record["event"] == "photo.done":
            unknown.difference_update(str(sha256) for _, _, sha256 in files_of(record))
    return [name for name in found if hashes[name] in unknown]


def _is_ours(root: Path, name: str) -> bool:
    """Whether a file is an output of a run into ``root``, not of one into a folder inside."""
    if any((root / parent / STATE_FOLDER).is_dir() for parent in Path(name).parents[:-1]):
        return False
    try:
        return is_labelled((root / name).read_bytes())
    except OSError:
        return False


def _is_sidecar(name: object, record: Record) -> bool:
    beside = record.get("xmp")
    return isinstance(beside, dict) and beside.get("output") == name


def _content(where: str) -> tuple[int, Callable[[], str]]:
    """Bytes of a file or an object, and what makes its SHA-256. Raises OSError."""
    scheme, _, below = where.partition("://")
    if not below or scheme not in stores.DRIVERS:
        path = Path(where)
        return path.stat().st_size, partial(file_sha256, path)
    url = stores.Url(where)
    there = stores.look_up(url)
    if there is None:
        raise FileNotFoundError(where)
    return there.size, partial(stores.sha256, url)


def _compare(file: _File) -> Mismatch | None:
    try:
        size, sha256 = _content(file.where)
        if size != file.size or sha256() != file.sha256:
            return Mismatch(file.shown, "changed", file.side)
    except FileNotFoundError:
        return Mismatch(file.shown, "missing", file.side)
    except OSError:
        return Mismatch(file.shown, "unreadable", file.side)
    return None
