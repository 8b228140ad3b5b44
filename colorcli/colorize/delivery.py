"""What accompanies a finished folder when it is handed over: checksums, a description of each output, a BagIt bag.

All of it is made from the journal, after a run or at any time: a run that was killed and continued ends with the same
files as an uninterrupted one. None of it is input to a run.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Literal

import colorcli
from colorcli.colorize import premis
from colorcli.colorize.audit import Mismatch, read_status
from colorcli.colorize.journal import files_of, segments
from colorcli.colorize.naming import beside
from colorcli.colorize.places import Folder, Place
from colorcli.errors import OutputError, UsageError, VerificationError
from colorcli.files import file_sha256, is_debris, replacing, sync_folder, write_atomically
from colorcli.text import printable

MANIFEST = "SHA256SUMS"
Record = Mapping[str, object]
Progress = Callable[[int, int], None]

_BAGIT, _INFO, _PAYLOAD, _TAGS = "bagit.txt", "bag-info.txt", "manifest-sha256.txt", "tagmanifest-sha256.txt"
_JOURNAL = "colorcli/journal.jsonl"
_DECLARATION = b"BagIt-Version: 1.0\nTag-File-Character-Encoding: UTF-8\n"
_AGENT = "Bag-Software-Agent: colorcli"
_CHUNK = 1 << 20


@dataclass(frozen=True)
class Delivered:
    """A file or folder that was written: its kind, its path or URL, and the number of outputs it describes."""

    kind: Literal["manifest", "sidecars", "bag"]
    path: str
    outputs: int


def check_bag(bag: Path, roots: Sequence[Path]) -> None:
    """Check, before a run, that ``bag`` can become a bag of its outputs.

    Raises:
        UsageError: there are several output folders, or the bag is the output folder, inside it or around it.
        OutputError: the folder holds something other than a bag of ours, or cannot be read.
    """
    if len(roots) != 1:
        raise UsageError("--bag takes one output folder: give -o OUT, so that all outputs go there.")
    place, root = (Path(os.path.realpath(path)) for path in (bag, roots[0]))
    if place == root or root in place.parents or place in root.parents:
        raise UsageError(f"--bag {printable(str(bag))} must be neither the output folder nor inside or around it.")
    try:
        names = sorted(path.name for path in bag.iterdir())
    except FileNotFoundError:
        return
    except OSError as error:
        raise OutputError(f"{printable(str(bag))} cannot be a bag: {error.strerror or error}.") from error
    if names and not _is_ours(bag):
        raise OutputError(f"{printable(str(bag))} holds other files; choose a new folder for --bag.")


def write_manifest(place: Place, *, sidecars: bool = False) -> Delivered:
    """Write ``SHA256SUMS`` in an output folder: every finished output, and its XMP, as ``sha256sum -c`` reads it.

    The checksums are the journal's, so that an output which was changed later is detected. With ``sidecars``, these are
    listed too.

    Raises:
        OutputError: it cannot be written.
    """
    done = finished(place.root)
    path = place.shown(MANIFEST)
    with _writing(path):
        place.write(MANIFEST, _manifest(done, premis.runs_of(place.root) if sidecars else None))
    return Delivered("manifest", path, len(done))


def write_sidecars(place: Place, progress: Progress = lambda done, total: None) -> Delivered:
    """Write a JSON file beside every finished output, with the objects, events and agents of its making.

    Raises:
        OutputError: one cannot be written.
    """
    done, runs = finished(place.root), premis.runs_of(place.root)
    for count, record in enumerate(done, 1):
        name, content = sidecar_name(str(record["output"])), premis.sidecar(record, runs)
        with _writing(place.shown(name)):
            if place.read(name) != content:
                place.write(name, content)
        progress(count, len(done))
    return Delivered("sidecars", str(place), len(done))


def sidecar_name(output: str) -> str:
    """Name of an output's sidecar."""
    return beside(output, ".json")


def write_bag(
    root: Path, bag: Path, *, sidecars: bool = False, progress: Progress = lambda done, total: None
) -> Delivered:
    """Pack every finished output of a folder, and its XMP, into a BagIt bag (RFC 8493), or complete one that was begun.

    Copies are compared with the journal's checksums. The declaration ``bagit.txt`` is written last, so that an
    incomplete folder is not a bag. The journal is included as a tag file.

    Raises:
        OutputError: the bag cannot be written, or holds files that the output folder does not.
        VerificationError: an output has changed since it was made.
    """
    done = finished(root)
    payload = _listed(done)
    if sidecars:
        payload += [(name, file_sha256(root / name)) for name in (sidecar_name(str(r["output"])) for r in done)]
    _check_names(bag, [name for name, _ in payload])
    with _writing(str(bag)):
        bag.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            (bag / _BAGIT).unlink()
        # first, so that what an interrupted run leaves can be recognized as ours
        write_atomically(bag / _INFO, _info(done, 0))
        _refuse_others(bag, {name for name, _ in payload})
        size = 0
        for count, (name, sha256) in enumerate(payload, 1):
            size += _packed(root / name, bag / "data" / name, sha256)
            progress(count, len(payload))
        (bag / "data").mkdir(exist_ok=True)
        # several files if journals of shards were merged
        journals = {str(PurePosixPath(_JOURNAL).with_name(path.name)): path.read_bytes() for path in segments(root)}
        (bag / _JOURNAL).parent.mkdir(exist_ok=True)
        tags = {
            _BAGIT: _DECLARATION,
            _INFO: _info(done, size, len(payload)),
            **journals,
            _PAYLOAD: "".join(f"{sha256}  data/{_bag_name(name)}\n" for name, sha256 in sorted(payload)).encode(),
        }
        tag_lines = (f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in sorted(tags.items()))
        for name in (_INFO, *journals, _PAYLOAD):
            write_atomically(bag / name, tags[name])
        write_atomically(bag / _TAGS, "".join(tag_lines).encode())
        write_atomically(bag / _BAGIT, _DECLARATION)
        sync_folder(bag)
    return Delivered("bag", str(bag), len(done))


def finished(root: Path) -> list[dict[str, object]]:
    """The records of an output folder's finished outputs, by name.

    Raises:
        UsageError: the folder has no journal.
        OutputError: the journal cannot be read.
    """
    done = [record for _, record in read_status(root).records("done")]
    return sorted(done, key=lambda record: str(record["output"]))


def verify_delivered(place: Place) -> Iterator[Mismatch]:
    """Differences of an output folder's manifest and sidecars, if it has them, from what the journal says."""
    done, runs = finished(place.root), premis.runs_of(place.root)
    names = [sidecar_name(str(record["output"])) for record in done]
    there = {name for name in names if place.look(name) is not None}
    for record, name in zip(done, names, strict=True):
        # a folder has all of them or none
        if there and name not in there:
            yield Mismatch(name, "missing", "sidecar")
        elif there and _content(place, name) != premis.sidecar(record, runs):
            yield Mismatch(name, "changed", "sidecar")
    listed = _content(place, MANIFEST)
    expected = (_manifest(done, listing) for listing in ((None, runs) if there else (None,)))
    if listed is not None and listed not in expected:
        yield Mismatch(MANIFEST, "changed", "manifest")


def is_bag(folder: Path) -> bool:
    """Whether a folder declares itself to be a bag."""
    return (folder / _BAGIT).is_file()


def verify_bag(bag: Path, progress: Progress = lambda done, total: None) -> tuple[int, list[Mismatch]]:
    """Compare a bag with its manifests; returns the number of files compared, and what differs, is missing or surplus.

    Raises:
        UsageError: a manifest cannot be read.
    """
    mismatches = []
    listed = _read_manifest(bag, _PAYLOAD)
    tags = _read_manifest(bag, _TAGS) if (bag / _TAGS).is_file() else {}
    count = 0
    for name, sha256 in [*listed.items(), *tags.items()]:
        count += 1
        progress(count, len(listed) + len(tags))
        try:
            if file_sha256(bag / name) != sha256:
                mismatches.append(Mismatch(name, "changed", "bag"))
        except FileNotFoundError:
            mismatches.append(Mismatch(name, "missing", "bag"))
        except OSError:
            mismatches.append(Mismatch(name, "unreadable", "bag"))
    mismatches += [
        Mismatch(name, "unlisted", "bag") for name in (f"data/{n}" for n in _payload_files(bag)) if name not in listed
    ]
    return count, mismatches


def _content(place: Place, name: str) -> bytes | None:
    """The content of a file; None if it cannot be read."""
    try:
        return place.read(name)
    except OSError:
        return None


@contextlib.contextmanager
def _writing(path: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        shown = printable(error.filename or path)
        raise OutputError(f"{shown} cannot be written: {error.strerror or error}.") from error


def _manifest(done: Sequence[Record], runs: Mapping[str, Record] | None) -> bytes:
    """The lines for outputs and, if ``runs`` are given, for sidecars."""
    names = _listed(done)
    if runs is not None:
        names += [
            (sidecar_name(str(record["output"])), hashlib.sha256(premis.sidecar(record, runs)).hexdigest())
            for record in done
        ]
    return b"".join(_sum_line(name, sha256) for name, sha256 in sorted(names))


def _listed(done: Sequence[Record]) -> list[tuple[str, str]]:
    """Name and checksum of every output and of what belongs to it."""
    return [(str(name), str(sha256)) for record in done for name, _, sha256 in files_of(record)]


def _sum_line(name: str, sha256: str) -> bytes:
    """A line in the format of GNU sha256sum, which escapes special names and marks their lines with a backslash."""
    escaped = name.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r")
    return (b"\\" if escaped != name else b"") + sha256.encode() + b"  " + os.fsencode(escaped) + b"\n"


def _bag_name(name: str) -> str:
    """A name in the encoding of bags (RFC 8493, 2.1.3).

    A percent sign is encoded only where a reader could mistake it for an escape: the Library of Congress's own library
    decodes only line ends, and would miss other files with a percent sign in their names.
    """
    name = re.sub("%(?=0[AaDd]|25)", "%25", name)
    return name.replace("\r", "%0D").replace("\n", "%0A")


def _from_bag_name(name: str) -> str:
    return re.sub("%(0[AaDd]|25)", lambda found: chr(int(found[1], 16)), name)


def _check_names(bag: Path, names: Sequence[str]) -> None:
    for name in names:
        try:
            name.encode()
        except UnicodeEncodeError as error:
            raise OutputError(
                f"{printable(name)} cannot go into the bag {printable(str(bag))}: its name is not UTF-8, which bags "
                "demand. Rename the original and colour it again, or leave it out with --exclude."
            ) from error


def _is_ours(bag: Path) -> bool:
    content = _content(Folder(bag), _INFO)
    return content is not None and content.startswith(_AGENT.encode())


def _info(done: Sequence[Record], size: int, files: int = 0) -> bytes:
    days = [str(record["time"])[:10] for record in done]
    models = sorted({f"{record['model']}, weights SHA-256 {record['weights_sha256']}" for record in done})
    lines = [
        f"{_AGENT} {colorcli.__version__}",
        f"Bagging-Date: {datetime.now(UTC).date().isoformat()}",
        f"Payload-Oxum: {size}.{files}",
        f"Bag-Size: {size} bytes",
        "External-Description: Photographs that a machine has coloured. Their colours are plausible, not recorded.",
        *(f"Colorcli-Model: {printable(model)}" for model in models),
    ]
    if days:
        lines.append(f"Colorcli-Coloured: {min(days)} to {max(days)}")
    return "".join(f"{line}\n" for line in lines).encode()


def _payload_files(bag: Path) -> Iterator[str]:
    folder = bag / "data"
    # not the walk over photographs, which skips system folders: in a bag their files would be unlisted too
    for path in sorted(folder.rglob("*")):
        if not path.is_dir():
            yield path.relative_to(folder).as_posix()


def _refuse_others(bag: Path, names: set[str]) -> None:
    """Remove leftovers of an interrupted run; refuse other files, since a bag vouches for everything it holds."""
    for name in list(_payload_files(bag)):
        if is_debris(PurePosixPath(name).name):
            (bag / "data" / name).unlink()
        elif name not in names:
            raise OutputError(
                f"The bag {printable(str(bag))} holds {printable(name)}, which the output folder does not; remove it, "
                "or choose a new folder for --bag."
            )


def _packed(source: Path, target: Path, sha256: str) -> int:
    """Copy a file, unless it is there already; returns its size."""
    with contextlib.suppress(FileNotFoundError, IsADirectoryError):
        if file_sha256(target) == sha256:
            return target.stat().st_size
    target.parent.mkdir(parents=True, exist_ok=True)
    digest, size = hashlib.sha256(), 0
    with replacing(target) as part:
        try:
            original = source.open("rb")
        except OSError as error:
            raise VerificationError(
                f"{printable(str(source))} cannot be packed: {error.strerror or error}. Run colorize again to make it."
            ) from error
        with original, part.open("wb") as copy:
            while chunk := original.read(_CHUNK):
                digest.update(chunk)
                copy.write(chunk)
                size += len(chunk)
        _demand(digest.hexdigest() == sha256, source)
    return size


def _demand(same: bool, source: Path) -> None:
    if not same:
        raise VerificationError(
            f"{printable(str(source))} has changed since it was made. Remove it and run colorize again."
        )


def _read_manifest(bag: Path, name: str) -> dict[str, str]:
    try:
        text = (bag / name).read_bytes().decode()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8"
        raise UsageError(f"{printable(str(bag / name))} cannot be read: {reason}.") from error
    entries = {}
    for line in text.split("\n"):
        sha256, _, path = line.strip("\r").partition("  ")
        if not path:
            continue
        place = _from_bag_name(path)
        if PurePosixPath(place).is_absolute() or ".." in PurePosixPath(place).parts:
            raise UsageError(f"{printable(str(bag / name))} lists {printable(place)}, which lies outside the bag.")
        entries[place] = sha256
    return entries
