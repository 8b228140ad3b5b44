"""The journal of an output folder: append-only, one JSON object per line, and the only memory of a run.

An output counts as finished because the journal says so, never because a file exists. A ``photo.start`` is journalled
before a photograph is written, so that an output which was renamed just before a power cut, without a ``photo.done``,
is recognized as ours.

Every line ends with a checksum of itself and of the line before it, so that altered, added or removed lines are
detected. The checksum involves no secret: rewriting all following lines, or cutting off the end, is not detected.

A folder that was merged from others keeps their journals beside its own, as segments (``journal-*.jsonl``), each with
its own chain of checksums. They are read first, since the folder's own journal is newer.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from colorcli.colorize.events import VERSION, to_line
from colorcli.colorize.memory import no_collecting
from colorcli.colorize.options import fingerprint
from colorcli.colorize.state import state_folder
from colorcli.errors import OutputError

_NAME, _SEGMENT, _SUFFIX = "journal.jsonl", "journal-", ".jsonl"
_SEAL = b',"chain":"%s"}\n'
_SEALED = re.compile(rb',"chain":"([0-9a-f]{32})"\}\r?\n\Z')
_SEAL_BYTES = len(_SEAL % bytes(32))
_TAIL = 1 << 20
_decoded = json.JSONDecoder().decode  # which json.loads looks for anew, with the text's encoding, at every line

# A line's beginning, and what follows the parameters, as this version writes them for photographs that were coloured.
_TEXT = rb'"[^"\\]*(?:\\.[^"\\]*)*"'
_HEAD = re.compile(
    rb'\{"v":%(version)d,"event":"(photo\.start|photo\.done)","time":"[^"\\]*","input":(%(text)s),"source":%(text)s,'
    rb'"sample":(\d+),"output":(%(text)s),"model":' % {b"version": VERSION, b"text": _TEXT}
)
_SIZES = re.compile(
    rb'(\d+),"input_mtime_ns":(-?\d+),"input_sha256":"([0-9a-f]*)","status":"done","output_size":(\d+),"output_sha256"'
)

Record = dict[str, object]

Position = tuple[Path, int]
"""Where a line of a journal is: the segment, and the offset of the line's first byte."""


def journal_path(root: Path) -> Path:
    """Where the journal of an output folder lies."""
    return state_folder(root) / _NAME


def segments(root: Path) -> list[Path]:
    """The files that make up the journal of an output folder, in the order in which they are read.

    Raises:
        OSError: the folder cannot be read.
    """
    folder = state_folder(root)
    try:
        names = {path.name for path in folder.iterdir()}
    except (FileNotFoundError, NotADirectoryError):
        return []
    found = sorted(name for name in names if name.startswith(_SEGMENT) and name.endswith(_SUFFIX))
    return [folder / name for name in [*found, *({_NAME} & names)]]


def segment_path(root: Path, name: str) -> Path:
    """Where the segment ``name`` of the journal of an output folder lies."""
    return state_folder(root) / f"{_SEGMENT}{name}{_SUFFIX}"


def journal_size(root: Path) -> int:
    """Bytes of the journal of an output folder; 0 where there is none that can be read."""
    try:
        return sum(path.stat().st_size for path in segments(root))
    except OSError:
        return 0


class Journal:
    """An open journal. Lines may be appended from several threads.

    Raises:
        OutputError: the journal cannot be opened or written.
    """

    def __init__(self, root: Path, *, fsync: bool = True) -> None:
        self.path = journal_path(root)
        self._fsync = fsync
        self._write_lock = threading.Lock()
        self._sync_lock = threading.Lock()
        self._written = self._synced = 0
        self._fault: OutputError | None = None
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0)
            self._descriptor = os.open(self.path, flags, 0o666)
            self._torn = _ends_torn(self._descriptor)
            self._chain = _last_chain(self._descriptor)
        except OSError as error:
            raise self._explained(error) from error

    def append(self, record: Mapping[str, object], *, sync: bool = True) -> None:
        """Add one line by a single write; with ``sync``, return only once it is on the disk."""
        if self._fault is not None:
            # a later line would contradict the missing one
            raise self._fault
        content = to_line(record).encode("ascii")
        try:
            with self._write_lock:
                line, chain = sealed(content, self._chain)
                # a torn line is left as it is, and the next record starts on a new line
                line = b"\n" + line if self._torn else line
                self._torn = True
                self._write(line)
                self._torn = False
                self._chain = chain
                self._written += 1
                position = self._written
            if sync:
                self._sync(position)
        except OSError as error:
            self._fault = self._explained(error)
            raise self._fault from error

    def close(self) -> None:
        """Close the file; nothing can be appended afterwards."""
        with self._write_lock:
            os.close(self._descriptor)
            self._descriptor = -1

    def _write(self, line: bytes) -> None:
        if os.write(self._descriptor, line) != len(line):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def _sync(self, position: int) -> None:
        """Bring at least the first ``position`` lines to the disk; one fsync serves all threads that wait for it."""
        if not self._fsync:
            return
        with self._sync_lock:
            if self._synced >= position:
                return
            written = self._written
            os.fsync(self._descriptor)
            self._synced = written

    def _explained(self, error: OSError) -> OutputError:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return OutputError(f"{self.path} cannot be written: the disk is full. Free some room and run again.")
        return OutputError(f"{self.path} cannot be written: {error.strerror or error}. Choose another folder with -o.")


def _ends_torn(descriptor: int) -> bool:
    end = os.lseek(descriptor, 0, os.SEEK_END)
    if end == 0:
        return False
    os.lseek(descriptor, end - 1, os.SEEK_SET)
    return os.read(descriptor, 1) != b"\n"


def _last_chain(descriptor: int) -> bytes:
    """The checksum of the last whole line, from which the next one goes on; empty where there is none."""
    end = os.lseek(descriptor, 0, os.SEEK_END)
    os.lseek(descriptor, max(0, end - _TAIL), os.SEEK_SET)
    for line in reversed(os.read(descriptor, _TAIL).splitlines(keepends=True)):
        sealed = _SEALED.search(line)
        if sealed:
            return sealed[1]
    return b""


def sealed(content: bytes, before: bytes) -> tuple[bytes, bytes]:
    """A record's line with its checksum, and that; ``before`` is the checksum of the line before it, or empty."""
    chain = _chained(before, content)
    return content[:-2] + _SEAL % chain, chain


def _chained(before: bytes, content: bytes) -> bytes:
    """The checksum of a line, given that of the line before it."""
    return hashlib.sha256(before + content).hexdigest()[:32].encode("ascii")


def altered_lines(root: Path) -> list[tuple[Path, int]]:
    """Numbers of the journal's lines (from 1, with their file) that do not follow from the line before them.

    Lines that were torn by a crash, and those of versions that had no checksums, are passed over.

    Raises:
        OutputError: the journal cannot be read.
    """
    with _readable(root):
        return [(path, number) for path in segments(root) for number in _altered_lines(path)]


def _altered_lines(path: Path) -> Iterator[int]:
    before: bytes | None = None
    with path.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            sealed = _SEALED.search(line)
            if sealed is None:
                if before is not None and _parse(line) is not None:
                    yield number
                continue
            content = line[: sealed.start()] + b"}\n"
            # a line before the first checksum, or the beginning of the journal, is what the first one starts from
            if _chained(before or b"", content) != sealed[1]:
                yield number
            before = sealed[1]


def read_journal(root: Path) -> Iterator[Record]:
    """The records of a journal in order; lines that were torn by a crash are passed over. None where there is none.

    Raises:
        OutputError: the journal cannot be read, or was written by a newer version.
    """
    with _readable(root):
        for path in segments(root):
            yield from (record for record, _ in _records(path, _parse))


def skim_journal(root: Path) -> Iterator[tuple[Record, Position]]:
    """The records as ``read_journal`` has them, in a third of the time, with their places.

    Most records of photographs have only what identifies them and their output, how that was made, and the sizes and
    the hash that tell whether it is still so.
    """
    skim = _Skim()
    with _readable(root):
        for path in segments(root):
            for record, offset in _records(path, skim):
                yield record, (path, offset)


def records_at(root: Path, places: Iterable[Position]) -> Iterator[Record]:
    """The whole records at some places of a journal.

    Raises:
        OutputError: the journal cannot be read.
    """
    with _readable(root), ExitStack() as stack:
        opened: dict[Path, BinaryIO] = {}
        for path, offset in places:
            if path not in opened:
                opened[path] = stack.enter_context(path.open("rb"))
            opened[path].seek(offset)
            yield json.loads(opened[path].readline())


def _records(path: Path, parse: Callable[[bytes], Record | None]) -> Iterator[tuple[Record, int]]:
    """The records of a segment, each with the offset of its line."""
    offset = 0
    with path.open("rb") as lines:
        for line in lines:
            record = parse(line)
            if record is not None:
                version = record.get("v")
                if not isinstance(version, int) or version > VERSION:
                    raise OutputError(
                        f"{path} was written by a newer colorcli; upgrade colorcli to continue with this folder."
                    )
                yield record, offset
            offset += len(line)


@contextmanager
def _readable(root: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        path = error.filename or journal_path(root)
        raise OutputError(f"{path} cannot be read: {error.strerror or error}.") from error


def last_ends(root: Path) -> list[Record]:
    """The ``run.end`` of the run that came last; of merged shards, which ran beside each other, one of each.

    Raises:
        OutputError: the journal cannot be read.
    """
    ends: list[Record] = []
    with _readable(root):
        for path in segments(root):
            began, end = "", None
            for record, _ in _records(path, _Skim()):
                if record["event"] == "run.start":
                    began, end = str(record.get("time", "")), None
                elif record["event"] == "run.end":
                    end = record
            if path == journal_path(root):
                # a run here that began after the shards had ended went on with what they had made
                ends = [other for other in ends if str(other.get("time", "")) > began]
            ends += [end] if end is not None else []
    return ends


def made_outputs(root: Path) -> frozenset[str]:
    """What the journal of a folder says was made there, by path relative to it; nothing where it cannot be read."""
    keys = ("output", "uncertainty_map")
    try:
        done = (record for record, _ in skim_journal(root) if record["event"] == "photo.done")
        return frozenset(str(record[key]) for record in done for key in keys if key in record)
    except OutputError:
        return frozenset()


def files_of(record: Mapping[str, object]) -> Iterator[tuple[object, object, object]]:
    """Name, size and SHA-256 of an output and of what was written along with it, as its ``photo.done`` has them."""
    yield record.get("output"), record.get("output_size"), record.get("output_sha256")
    if "uncertainty_map" in record:
        yield record["uncertainty_map"], record.get("uncertainty_map_size"), record.get("uncertainty_map_sha256")
    beside = record.get("xmp")
    if isinstance(beside, dict):
        yield beside.get("output"), beside.get("size"), beside.get("sha256")


def _parse(line: bytes) -> Record | None:
    try:
        record = _decoded(line.decode())
    except ValueError:
        return None
    return record if isinstance(record, dict) and "event" in record else None


class _Skim:
    """Parses lines for ``skim_journal``; those that are not as usual, in full."""

    def __init__(self) -> None:
        self._raw, self._made_with = b"", Record()

    def __call__(self, line: bytes) -> Record | None:
        head = _HEAD.match(line)
        if head is None or not line.startswith(b',"chain":"', -_SEAL_BYTES) or not line.endswith(b'"}\n'):
            return _parse(line)
        event, name, sample, output = head.groups()
        made_with, _, rest = line[head.end() : -_SEAL_BYTES].partition(b',"input_size":')
        sizes = _SIZES.match(rest)
        end = rest.rpartition(b',"mean_chroma":')[2]
        if (sizes is None) != (event == b"photo.start") or b'"xmp":' in end or b'"uncertainty' in end:
            return _parse(line)
        try:
            if made_with != self._raw:  # a million lines may have been made with the same
                self._raw, self._made_with = made_with, json.loads(b'{"model":%s}' % made_with)
            made = _unquoted(output)
            record: Record = {
                "v": VERSION,
                "event": event.decode(),
                "input": made if name == output else _unquoted(name),
                "sample": int(sample),
                "output": made,
                **self._made_with,
            }
        except ValueError:
            return _parse(line)
        if sizes is not None:
            record["input_size"], record["input_mtime_ns"] = int(sizes[1]), int(sizes[2])
            record["input_sha256"], record["output_size"] = sizes[3].decode(), int(sizes[4])
        return record


def _unquoted(text: bytes) -> str:
    return str(json.loads(text)) if b"\\" in text else text[1:-1].decode()


@dataclass(frozen=True, slots=True)
class Map:
    """The map of an output's uncertainty: the ground's label, its path relative to the folder, and its bytes."""

    ground: str
    name: str
    size: int


@dataclass(slots=True)
class Finished:
    """An output as it was when it was last finished; ``fingerprint`` joins weights and parameters.

    ``map`` is that of its uncertainty, which does not decide the output; ``sidecar`` is name and size of the XMP file
    that was written along.
    """

    input: str
    sample: int
    input_size: int
    input_mtime_ns: int
    output_size: int
    fingerprint: str
    input_sha256: str = ""
    map: Map | None = field(default=None, compare=False)
    sidecar: tuple[str, int] | None = field(default=None, compare=False)


@dataclass(slots=True)
class Past:
    """What the journal knows of one output.

    Attributes:
        finished: its state when it was last finished.
        begun: fingerprint of an attempt without a known end: the run was killed.
        failed: fingerprint of an attempt that failed after it was begun, perhaps after the file had got its name.
        in_color: (size, mtime in ns) of an input that was skipped because it is in colour.
    """

    finished: Finished | None = None
    begun: str | None = None
    failed: str | None = None
    in_color: tuple[int, int] | None = None


@dataclass
class History:
    """What the journal of an output folder knows, by output path relative to that folder.

    Attributes:
        finished: the outputs that were finished; of a million, nearly all that there is to know.
        seconds_per_megapixel: how fast the last run that did something was, or None.
    """

    finished: dict[str, Finished] = field(default_factory=dict)
    seconds_per_megapixel: float | None = None
    _begun: dict[str, str] = field(default_factory=dict, repr=False)
    _failed: dict[str, str] = field(default_factory=dict, repr=False)
    _in_color: dict[str, tuple[int, int]] = field(default_factory=dict, repr=False)
    _last: tuple[object, str, str] = field(default=(None, "", ""), repr=False)

    @classmethod
    def of(cls, root: Path) -> History:
        """Read the journal of ``root``; empty where there is none."""
        history = cls()
        with no_collecting():
            for record, _ in skim_journal(root):
                history._add(record)
        return history

    def take(self, output: str) -> Past:
        """What is known of an output, which is then let go."""
        return Past(
            self.finished.pop(output, None),
            self._begun.pop(output, None),
            self._failed.pop(output, None),
            self._in_color.pop(output, None),
        )

    def _add(self, record: Record) -> None:
        kind, output = record["event"], record.get("output")
        if kind == "run.end":
            seconds, setup, megapixels = (_number(record, key) for key in ("seconds", "setup_seconds", "megapixels"))
            if megapixels > 0 and seconds > setup:
                self.seconds_per_megapixel = (seconds - setup) / megapixels
        if not isinstance(output, str):
            return
        try:
            if kind == "photo.start":
                self._begun[output] = self._fingerprint_of(record)
            elif kind == "photo.done":
                self.finished[output] = self._finished(record)
                self._begun.pop(output, None)
                self._failed.pop(output, None)
            elif kind == "photo.touched" and output in self.finished:
                self.finished[output].input_mtime_ns = _whole(record, "input_mtime_ns")
            elif kind in ("photo.failed", "photo.skipped"):
                if output in self._begun:
                    self._failed[output] = self._begun.pop(output)
                if record.get("code") == "in_color":
                    self._in_color[output] = _whole(record, "input_size"), _whole(record, "input_mtime_ns")
        except (KeyError, ValueError):
            # incomplete records are ignored
            return

    def _finished(self, record: Record) -> Finished:
        sample, size, mtime = _whole(record, "sample"), _whole(record, "input_size"), _whole(record, "input_mtime_ns")
        name, sha256, marks = str(record["input"]), str(record.get("input_sha256", "")), self._fingerprint_of(record)
        ground, drawn = record.get("uncertainty_ground"), record.get("uncertainty_map")
        made = Map(str(ground), str(drawn), _whole(record, "uncertainty_map_size")) if ground and drawn else None
        beside = record.get("xmp")
        sidecar = (str(beside["output"]), int(str(beside["size"]))) if isinstance(beside, dict) else None
        return Finished(name, sample, size, mtime, _whole(record, "output_size"), marks, sha256, made, sidecar)

    def _fingerprint_of(self, record: Record) -> str:
        """Worked out once for a run of records with the same parameters, of which there may be a million."""
        weights, parameters = record["weights_sha256"], record["parameters"]
        if not isinstance(parameters, dict):
            raise ValueError("parameters")  # noqa: TRY004 - a damaged record, caught above
        before, key, marks = self._last
        if parameters is not before:
            now = f"{weights} {parameters}"  # where 1 is not 1.0, as in the fingerprint
            self._last = (parameters, now, marks if now == key else sys.intern(fingerprint(str(weights), parameters)))
        return self._last[2]


def _whole(record: Record, key: str) -> int:
    value = record[key]
    return value if type(value) is int else int(str(value))


def _number(record: Record, key: str) -> float:
    value = record.get(key)
    return float(value) if isinstance(value, int | float) else 0.0
