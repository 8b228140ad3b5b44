"""Merging the output folders of shards into one: outputs, journals and reports."""

from __future__ import annotations

import filecmp
import hashlib
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path

from colorcli.colorize import report
from colorcli.colorize.discover import Found, Source
from colorcli.colorize.journal import Finished, History, read_journal, segment_path, segments
from colorcli.colorize.picks import parameters_of
from colorcli.colorize.plan import Output, Plan, Verdict
from colorcli.colorize.state import state_folder
from colorcli.errors import ModelError, OutputError, UsageError
from colorcli.files import has_size, replacing
from colorcli.locks import locked
from colorcli.registry import registry
from colorcli.text import printable

Observer = Callable[[int, int], None]


@dataclass
class Merged:
    """What a merge did.

    Attributes:
        outputs: number of outputs that are now finished according to the merged folder's journal.
        placed: number of those that were linked or copied this time.
        missing: names of those that are not where their journal says; ``colorize`` makes them again.
        reports: files of the report; empty if no shard has one.
        notices: sentences about what could not be merged.
    """

    outputs: int = 0
    placed: int = 0
    missing: list[str] = field(default_factory=list)
    reports: list[Path] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)


def merge(shards: Sequence[Path], output: Path, observe: Observer = lambda done, total: None) -> Merged:
    """Merge the output folders of shards into ``output``, which ``colorize`` then continues as if it had made it all.

    Outputs are linked if both folders are on one disk, and copied otherwise; the shards are not changed. Journals are
    kept as segments, each with its chain of checksums. After an interruption, or when shards have grown, the same
    command completes the merge.

    Args:
        shards: output folders of ``colorize``.
        output: another folder, or one of them.
        observe: called with the number of outputs in place, and the number of all.

    Raises:
        UsageError: a folder has no journal, or two of them hold different outputs of one name.
        OutputError: a journal cannot be read, the output cannot be written, or a run is using one of the folders.
    """
    others = _distinct(shards, output)
    merged = Merged()
    with ExitStack() as stack:
        for root in (output, *others):
            stale = stack.enter_context(locked(root, state_folder(root)))
            merged.notices += [stale] if stale else []
        finished, origins = _finished(output, others)
        try:
            for done, (name, origin) in enumerate(origins.items(), 1):
                if not has_size(origin / name, finished[name].output_size, follow=False):
                    merged.missing.append(name)
                else:
                    _place_sidecar(finished[name].sidecar, origin, output, merged)
                    merged.placed += _place(origin / name, output / name, name)
                mapped = finished[name].map
                if mapped is not None and has_size(origin / mapped.name, mapped.size, follow=False):
                    _place(origin / mapped.name, output / mapped.name, mapped.name)
                observe(done, len(origins))
            _copy_thumbnails(others, output)
            # last, since what the journal says has to be there
            for root in others:
                for path in segments(root):
                    _copy(path, segment_path(output, _identity(path)))
        except OSError as error:
            place = error.filename2 or error.filename or output
            raise OutputError(f"{place} cannot be written: {error.strerror or error}.") from error
        merged.outputs = len(finished) - len(merged.missing)
        if any((root / report.NAME).exists() for root in (output, *others)):
            _write_report(output, merged)
    return merged


def _distinct(shards: Sequence[Path], output: Path) -> list[Path]:
    """The shards that are not the output, each once."""
    found: dict[Path, Path] = {}
    for root in shards:
        if not segments(root):
            raise UsageError(f"{root} holds no journal; give folders that colorize has written to.")
        found.setdefault(root.resolve(), root)
    found.pop(output.resolve(), None)
    if not found:
        raise UsageError(f"There is nothing to merge into {output}; give at least one other folder.")
    return list(found.values())


def _finished(output: Path, others: Sequence[Path]) -> tuple[dict[str, Finished], dict[str, Path]]:
    """Everything that is finished, by name; and for what is not in ``output`` yet, the shard that has it."""
    finished: dict[str, Finished] = {}
    origins: dict[str, Path] = {}
    for root in (output, *others):
        for name, made in History.of(root).finished():
            known = finished.setdefault(name, made)
            if known.map is None:
                known.map = made.map
            if _decides(known) != _decides(made):
                raise UsageError(
                    f"{printable(name)} in {root} was made from another photograph, or with other parameters, than in "
                    f"{origins.get(name, output)}; only shards of one run can be merged."
                )
            if root != output and (
                name not in origins or not has_size(origins[name] / name, known.output_size, follow=False)
            ):
                origins[name] = root
    return finished, origins


def _decides(made: Finished) -> tuple[object, ...]:
    return made.input, made.sample, made.input_sha256, made.fingerprint, made.output_size


def _place(source: Path, target: Path, name: str) -> bool:
    """Link or copy an output to its place; False if it is there already."""
    if os.path.lexists(target):
        if target.samefile(source) or filecmp.cmp(source, target, shallow=False):
            return False
        raise UsageError(f"{target} is in the way: it is not the {printable(name)} of {source.parent}; move it away.")
    target.parent.mkdir(parents=True, exist_ok=True)
    _copy(source, target, link=True)
    return True


def _place_sidecar(sidecar: tuple[str, int] | None, origin: Path, output: Path, merged: Merged) -> None:
    if sidecar is None:
        return
    name, size = sidecar
    if has_size(origin / name, size, follow=False):
        _place(origin / name, output / name, name)
    else:
        merged.notices.append(f"{printable(name)} is left out: in {origin} it is missing or has changed.")


def _copy(source: Path, target: Path, *, link: bool = False) -> None:
    """Copy a file, or link it, so that the target is absent or whole."""
    with replacing(target) as part:
        if not (link and _linked(source, part)):
            shutil.copy2(source, part)


def _linked(source: Path, target: Path) -> bool:
    try:
        os.link(source, target)
    except OSError:  # another disk, or one that has no links
        return False
    return True


def _identity(path: Path) -> str:
    """The name of a segment: a hash of its first line, which says which run began it and when."""
    with path.open("rb") as lines:
        return hashlib.sha256(lines.readline()).hexdigest()[:16]


def _copy_thumbnails(others: Sequence[Path], output: Path) -> None:
    for root in others:
        folder = report.thumbnails(root)
        for path in folder.glob("*.webp"):
            target = report.thumbnails(output) / path.name
            if not target.exists():
                target.parent.mkdir(parents=True, exist_ok=True)
                _copy(path, target, link=True)


def _write_report(output: Path, merged: Merged) -> None:
    start: dict[str, object] = {}
    latest: dict[str, dict[str, object]] = {}
    for record in read_journal(output):
        if record["event"] == "run.start":
            start = record
        elif record["event"] in ("photo.done", "photo.failed", "photo.skipped"):
            latest[str(record.get("output") or record["input"])] = record
    try:
        model = registry.model_info(registry.find(str(start["model"])))
        parameters = parameters_of(_mapping(start["parameters"]))
    except (ModelError, KeyError, ValueError) as error:
        merged.notices.append(f"The report of {output} is not written: {error}")
        return
    plan = Plan([output])
    for record in latest.values():
        with suppress(KeyError, ValueError):  # a record that lacks what it should have says nothing
            _add(plan, output, record)
    merged.reports = report.write_reports(plan, model, parameters)


def _add(plan: Plan, root: Path, record: Mapping[str, object]) -> None:
    relative, sample, name = str(record["input"]), int(str(record["sample"])), record.get("output")
    if record["event"] == "photo.done":
        size, mtime = int(str(record["input_size"])), int(str(record["input_mtime_ns"]))
        origin = Source(Path(str(record["source"])), root, relative=relative, target=relative)
        found = Found(origin, relative, size, mtime, (0, 0))
        plan.finished.append(found, Output(sample, root, str(name)))
    else:
        status = "skipped" if record["event"] == "photo.skipped" else "failed"
        code, reason = record.get("code", "unreadable"), str(record["reason"])
        output = str(name) if name is not None else None
        plan.verdicts.append(Verdict(relative, root, output, sample, status, code, reason))  # type: ignore[arg-type]


def _mapping(value: object) -> Mapping[str, object]:
    if not isinstance(value, Mapping):
        raise ValueError("its run.start names no parameters")  # noqa: TRY004 - a damaged record, caught above
    return value
