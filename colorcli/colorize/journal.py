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
import struct
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
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

# How lines of photographs begin, and what follows the parameters of a finished one, as this version writes them. A key
# between a comma and a colon is nowhere else in a line, since JSON escapes the quotes in texts.
_START = b'{"v":%d,"event":"photo.start",' % VERSION
_TEXT = rb'"[^"\\]*(?:\\.[^"\\]*)*"'
_DONE = re.compile(
    rb'\{"v":%(version)d,"event":"photo\.done","time":"[^"\\]*","input":(%(text)s),"source":%(text)s,'
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
                if before is not None and _parse(line, path) is not None:
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
            with path.open("rb") as lines:
                yield from (record for line in lines if (record := _parse(line, path)) is not None)


def skim_journal(root: Path) -> Iterator[tuple[Record, Position]]:
    """The records as ``read_journal`` has them, in a fifth of the time, with their places.

    Most records of finished photographs have only what identifies them and their output, how that was made, and the
    sizes and the hash that tell whether it is still so. Their ``photo.start`` is passed over, and others may come later
    than they were written, but before any record of another kind.
    """
    with _readable(root):
        for path in segments(root):
            for record, offset in _skimmed(path):
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


def _skimmed(path: Path) -> Iterator[tuple[Record, int]]:
    """The records of a segment that ``skim_journal`` has, each with the offset of its line."""
    skim = _Skim()
    begun: dict[bytes, tuple[bytes, int]] = {}
    offset = 0
    with path.open("rb") as lines:
        for line in lines:
            whole = line.startswith(b',"chain":"', -_SEAL_BYTES) and line.endswith(b'"}\n')
            if whole and line.startswith(_START):
                begun[_output_of(line)] = line, offset
            else:
                record = skim(line) if whole else None
                if record is not None:
                    begun.pop(skim.output, None)
                    yield record, offset
                elif (record := _parse(line, path)) is not None:
                    if record["event"] == "photo.done":
                        begun.pop(_output_of(line), None)
                    yield from _parsed(begun, path)
                    yield record, offset
            offset += len(line)
    yield from _parsed(begun, path)


def _parsed(lines: dict[bytes, tuple[bytes, int]], path: Path) -> Iterator[tuple[Record, int]]:
    """The records of some lines, which are let go."""
    for line, offset in lines.values():
        if (record := _parse(line, path)) is not None:
            yield record, offset
    lines.clear()


def _output_of(line: bytes) -> bytes:
    """The output in a photograph's line as this version writes it, quoted."""
    return line.partition(b',"model":')[0].rpartition(b',"output":')[2]


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
            for record, _ in _skimmed(path):
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


def _parse(line: bytes, path: Path) -> Record | None:
    """The record of a line; None if it was torn by a crash. Raises OutputError if a newer version wrote it."""
    try:
        record = _decoded(line.decode())
    except ValueError:
        return None
    if not isinstance(record, dict) or "event" not in record:
        return None
    version = record.get("v")
    if not isinstance(version, int) or version > VERSION:
        raise OutputError(f"{path} was written by a newer colorcli; upgrade colorcli to continue with this folder.")
    return record


class _Skim:
    """Reads from a whole line of a finished photograph what ``skim_journal`` has of it; None where it is unusual.

    Attributes:
        output: of the last line that was read, quoted.
    """

    def __init__(self) -> None:
        self.output = b""
        self._raw, self._made_with = b"", Record()

    def __call__(self, line: bytes) -> Record | None:
        head = _DONE.match(line)
        if head is None:
            return None
        name, sample, output = head.groups()
        made_with, _, rest = line[head.end() : -_SEAL_BYTES].partition(b',"input_size":')
        sizes = _SIZES.match(rest)
        end = rest.rpartition(b',"mean_chroma":')[2]
        if sizes is None or b'"xmp":' in end or b'"uncertainty' in end:
            return None
        try:
            if made_with != self._raw:  # a million lines may have been made with the same
                self._raw, self._made_with = made_with, json.loads(b'{"model":%s}' % made_with)
            self.output, made = output, _unquoted(output)
            return {
                "v": VERSION,
                "event": "photo.done",
                "input": made if name == output else _unquoted(name),
                "sample": int(sample),
                "output": made,
                **self._made_with,
                "input_size": int(sizes[1]),
                "input_mtime_ns": int(sizes[2]),
                "input_sha256": sizes[3].decode(),
                "output_size": int(sizes[4]),
            }
        except ValueError:
            return None


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


class _Shelf:
    """Finished outputs by name, packed: of a million, nearly all that a history is, in a third of the memory."""

    _ROW = struct.Struct("<IqqqI32s")  # sample, input's size and time, output's size, fingerprint, input's SHA-256

    def __init__(self) -> None:
        self._rows: dict[str, bytes | Finished] = {}
        self._fingerprints: dict[str, int] = {}
        self._fingerprint_at: list[str] = []

    def put(self, name: str, made: Finished) -> None:
        """Keep an output, in place of what was known of one of its name."""
        usual = made.input == name and len(made.input_sha256) == 64 and made.map is None and made.sidecar is None
        self._rows[name] = (usual and self._packed(made)) or made

    def pop(self, name: str) -> Finished | None:
        """Take an output out."""
        row = self._rows.pop(name, None)
        return self._unpacked(name, row) if isinstance(row, bytes) else row

    def items(self) -> Iterator[tuple[str, Finished]]:
        """All outputs."""
        for name, row in self._rows.items():
            yield name, self._unpacked(name, row) if isinstance(row, bytes) else row

    def _packed(self, made: Finished) -> bytes | None:
        """None for damaged numbers."""
        number = self._fingerprints.setdefault(made.fingerprint, len(self._fingerprint_at))
        if number == len(self._fingerprint_at):
            self._fingerprint_at.append(made.fingerprint)
        try:
            sha256 = bytes.fromhex(made.input_sha256)
            return self._ROW.pack(made.sample, made.input_size, made.input_mtime_ns, made.output_size, number, sha256)
        except (struct.error, ValueError):
            return None

    def _unpacked(self, name: str, row: bytes) -> Finished:
        sample, input_size, input_mtime_ns, output_size, number, sha256 = self._ROW.unpack(row)
        return Finished(
            name, sample, input_size, input_mtime_ns, output_size, self._fingerprint_at[number], sha256.hex()
        )


@dataclass
class History:
    """What the journal of an output folder knows, by output path relative to that folder.

    Attributes:
        seconds_per_megapixel: how fast the last run that did something was, or None.
    """

    seconds_per_megapixel: float | None = None
    _finished: _Shelf = field(default_factory=_Shelf, repr=False)
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

    def finished(self) -> Iterator[tuple[str, Finished]]:
        """The outputs that were finished, by name."""
        return self._finished.items()

    def take(self, output: str) -> Past:
        """What is known of an output, which is then let go."""
        return Past(
            self._finished.pop(output),
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
                self._finished.put(output, self._made(record))
                self._begun.pop(output, None)
                self._failed.pop(output, None)
            elif kind == "photo.touched":
                mtime = _whole(record, "input_mtime_ns")
                if (made := self._finished.pop(output)) is not None:
                    self._finished.put(output, replace(made, input_mtime_ns=mtime))
            elif kind in ("photo.failed", "photo.skipped"):
                if output in self._begun:
                    self._failed[output] = self._begun.pop(output)
                if record.get("code") == "in_color":
                    self._in_color[output] = _whole(record, "input_size"), _whole(record, "input_mtime_ns")
        except (KeyError, ValueError):
            # incomplete records are ignored
            return

    def _made(self, record: Record) -> Finished:
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
