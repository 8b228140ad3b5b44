"""The plan of a run, made before the first photograph: what is coloured into which file, and what is not, and why."""

from __future__ import annotations

import json
import os
import shutil
from array import array
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby, islice
from pathlib import Path
from typing import Literal

from colorcli.colorize.discover import Discovery, Found, Unusable
from colorcli.colorize.journal import Finished, History, Past
from colorcli.colorize.memory import no_collecting
from colorcli.colorize.naming import Collision, map_name, name_outputs
from colorcli.colorize.options import Parameters, fingerprint
from colorcli.colorize.places import Folder, Place
from colorcli.errors import OutputError, PhotoError, UsageError
from colorcli.files import name_digest
from colorcli.images.formats import FORMATS, output_format
from colorcli.images.photo import Format
from colorcli.images.read import MAX_PIXELS, probe, too_large
from colorcli.pipeline.controls import vary
from colorcli.text import human_bytes

Code = Literal[
    "other_parameters", "other_input", "changed", "unknown", "in_color", "not_a_file", "unreadable", "too_large",
    "unsignable",
]  # fmt: skip
CONFLICTS: frozenset[Code] = frozenset(("other_parameters", "other_input", "changed", "unknown"))
"""Reasons why an existing output is in the way; they do not apply with ``--overwrite``."""

_ASSUMED_PIXELS = 12_000_000
_MARGIN = 64 << 20
# Approximate time per output on an ordinary CPU: for the network, and for what grows with the photograph.
_SECONDS, _SECONDS_PER_MEGAPIXEL = 0.3, 0.35


@dataclass(frozen=True, slots=True)
class Output:
    """A file to be made: its sample index, the output folder, and its path relative to that (POSIX).

    ``stale_map`` is the path, relative likewise, of the map of an earlier making that this one does not have; or empty.
    ``store`` is the URL that the folder stands for, or empty.
    """

    sample: int
    root: Path
    relative: str
    stale_map: str = ""
    store: str = ""

    @property
    def path(self) -> Path:
        """The file; made when it is asked for, since a million of them would take half a gigabyte."""
        return self.root / self.relative

    @property
    def shown(self) -> str:
        """What to call it."""
        return f"{self.store}/{self.relative}" if self.store else os.fspath(self.path)

    @property
    def folder(self) -> str:
        """What to call the folder that it is in."""
        return self.shown.rpartition("/")[0] if self.store else os.fspath(self.path.parent)


@dataclass(frozen=True, slots=True)
class Task:
    """A photograph with the outputs that are still to be made; ``pixels`` is known from its header, or assumed.

    ``expected_sha256`` is the hash of the input whose colouring was chosen; empty if none was.
    """

    found: Found
    outputs: tuple[Output, ...]
    pixels: int
    estimated_bytes: int
    expected_sha256: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """An output that will not be made: skipped or failed, why, and the reason's code."""

    relative: str
    root: Path
    output: str | None
    sample: int
    status: Literal["skipped", "failed"]
    code: Code
    reason: str
    found: Found | None = None


class Pairs:
    """Photographs with an output each; of a million, in a tenth of the memory of such pairs."""

    def __init__(self) -> None:
        self._found: list[Found] = []
        self._names: list[str] = []
        self._samples = array("I")
        self._stores: dict[Path, str] = {}

    def append(self, found: Found, output: Output) -> None:
        """Add a pair; the output has no stale map."""
        self._found.append(found)
        self._names.append(output.relative)
        self._samples.append(output.sample)
        if output.store:
            self._stores[found.root] = output.store

    def __len__(self) -> int:
        return len(self._found)

    def __iter__(self) -> Iterator[tuple[Found, Output]]:
        for found, name, sample in zip(self._found, self._names, self._samples, strict=True):
            yield found, Output(sample, found.root, name, store=self._stores.get(found.root, ""))


@dataclass
class Plan:
    """What a run will do.

    Attributes:
        roots: the output folders.
        tasks: photographs with outputs to be made, in order.
        verdicts: outputs that will not be made.
        finished: outputs that are finished.
        touched: finished outputs whose input has a new modification time but unchanged content.
        collisions: outputs that were given other names.
        ignored: number of files in the input folders that are not photographs.
        left_out: number of system folders for thumbnails and trash that were skipped.
        earlier: number of outputs of earlier runs among the inputs, which were skipped.
        seconds_per_megapixel: how fast an earlier run was, or None.
        journal_sizes: bytes of each root's journal when it was read.
        places: what roots stand for that are not themselves where the outputs go.
    """

    roots: list[Path]
    tasks: list[Task] = field(default_factory=list)
    verdicts: list[Verdict] = field(default_factory=list)
    finished: Pairs = field(default_factory=Pairs)
    touched: list[tuple[Found, Output]] = field(default_factory=list)
    collisions: list[Collision] = field(default_factory=list)
    ignored: int = 0
    left_out: int = 0
    earlier: int = 0
    seconds_per_megapixel: float | None = None
    journal_sizes: dict[Path, int] = field(default_factory=dict)
    places: Mapping[Path, Place] = field(default_factory=dict)

    def place(self, root: Path) -> Place:
        """Where the outputs of a root go."""
        return self.places.get(root) or Folder(root)

    def shown(self, output: Output) -> str:
        """What to call an output."""
        return self.place(output.root).shown(output.relative)

    def is_outdated(self) -> bool:
        """Whether a journal has grown since the plan was made."""
        return any(self.place(root).journal_size() != size for root, size in self.journal_sizes.items())

    @property
    def already(self) -> int:
        """Number of outputs that are finished."""
        return len(self.finished)

    @property
    def pending(self) -> int:
        """Number of outputs to be made."""
        return sum(len(task.outputs) for task in self.tasks)

    @property
    def matched(self) -> int:
        """Number of all outputs."""
        return self.already + len(self.verdicts) + self.pending

    @property
    def megapixels(self) -> float:
        """Megapixels of all outputs to be made."""
        return sum(task.pixels * len(task.outputs) for task in self.tasks) / 1e6

    @property
    def estimated_bytes(self) -> int:
        """Approximate size of the outputs to be made."""
        return sum(task.estimated_bytes for task in self.tasks)

    def estimated_seconds(self) -> float:
        """Approximate duration of the run, at the speed of the last run into the folder, else of an ordinary CPU."""
        if self.seconds_per_megapixel is not None:
            return self.megapixels * self.seconds_per_megapixel
        return sum(seconds for _, seconds in self.work())

    def work(self) -> Iterator[tuple[str, float]]:
        """The input's source and the seconds that a plain CPU takes, about, of each output to be made."""
        for task in self.tasks:
            seconds = _SECONDS + task.pixels / 1e6 * _SECONDS_PER_MEGAPIXEL
            yield from ((task.found.source, seconds) for _ in task.outputs)


@dataclass(frozen=True)
class Pick:
    """The chosen sample of a photograph.

    Attributes:
        sample: index of the chosen sample.
        input_sha256: hexadecimal SHA-256 of the file when the samples were made.
        backend: the backend that made the sample, as for ``open_model``; ``auto`` if unknown.
        precision: the precision it was made with; ``auto`` if unknown.
    """

    sample: int
    input_sha256: str
    backend: str = "auto"
    precision: str = "auto"


@dataclass(frozen=True)
class Selection:
    """Which photographs belong to a run: those in ``shard`` (i, n), with i from 1, and of these the first ``limit``.

    With ``picks``, only the photographs in it, and of each only the chosen sample. With ``only``, only those in it.
    """

    shard: tuple[int, int] | None = None
    limit: int | None = None
    picks: Mapping[Found, Pick] | None = None
    only: Collection[Found] | None = None

    def takes(self, relative: str) -> bool:
        """Whether a photograph belongs to the shard; depends on its relative path only."""
        if self.shard is None:
            return True
        index, count = self.shard
        return int.from_bytes(name_digest(relative)[:8], "big") % count == index - 1

    def of(self, photographs: Sequence[Found]) -> Sequence[int]:
        """The numbers of the photographs that belong to the run, up to the limit."""
        if self.shard is None and self.picks is None and self.only is None:
            return range(len(photographs))[: self.limit]
        chosen = (
            number
            for number, found in enumerate(photographs)
            if self.takes(found.relative)
            and (self.picks is None or found in self.picks)
            and (self.only is None or found in self.only)
        )
        return array("q", islice(chosen, self.limit))  # a list of a million numbers takes 40 MB


def parse_shard(text: str) -> tuple[int, int]:
    """``i/n`` with i from 1 to n. Raises UsageError for anything else."""
    index, _, count = text.partition("/")
    if index.isdecimal() and count.isdecimal() and 1 <= int(index) <= int(count):
        return int(index), int(count)
    raise UsageError(f"--shard takes i/n with i from 1 to n, such as 2/4, not '{text}'.")


@no_collecting()
def make_plan(
    discovery: Discovery,
    parameters: Parameters,
    weights_sha256: str,
    *,
    samples: int = 1,
    selection: Selection = Selection(),
    overwrite: bool = False,
    recolor: bool = False,
    largest: int = MAX_PIXELS,
    uncertainty: str = "",
    places: Mapping[Path, Place] | None = None,
) -> Plan:
    """Name the outputs and decide, from the journals, which of them are to be made.

    An output is finished when the journal says that it was made from an input of this path, size and modification time
    (or content, where only the time differs) with these parameters and weights, and it still has its size. An existing
    file of which that is not true stands in the way until ``overwrite``. Where the label of a ground is given as
    ``uncertainty``, a finished output without that map is made again, which gives the same bytes.

    Raises:
        UsageError: an output or a map would overwrite an input or another output, or names cannot be told apart.
        OutputError: a journal cannot be read.
    """
    photographs = discovery.photographs
    outputs, collisions = name_outputs(photographs, parameters.format, samples)
    plan = Plan([], collisions=collisions, ignored=discovery.ignored, places=places or {})
    chosen = selection.of(photographs)
    used = {root for root, _ in groupby(photographs[number].root for number in chosen)}
    plan.roots = sorted(used | {unusable.root for unusable in discovery.unusable})
    # before the outputs are looked at, and those before the journals: what another run finishes meanwhile shows
    plan.journal_sizes = {root: plan.place(root).journal_size() for root in plan.roots}
    sizes = _sizes(plan, photographs, outputs)
    if uncertainty:
        _protect_from_maps(plan, photographs, outputs)
    at = {root: (plan.place(root), str(plan.places.get(root, "")), History.of(root)) for root in plan.roots}
    plan.left_out = len(discovery.left_out)
    plan.earlier = len(discovery.earlier)
    plan.verdicts = [_verdict_of(item) for item in discovery.unusable if selection.takes(item.relative)]
    plan.seconds_per_megapixel = next(
        (history.seconds_per_megapixel for _, _, history in at.values() if history.seconds_per_megapixel), None
    )
    general = _Judge(
        fingerprint(weights_sha256, parameters.record()),
        overwrite=overwrite,
        recolor=recolor,
        touched=plan.touched,
        uncertainty=uncertainty,
    )
    various = vary(parameters.settings)
    for number in chosen:
        found = photographs[number]
        root = found.root
        place, store, history = at[root]
        judge = general
        if various:
            special = parameters.of(found.relative)
            judge = replace(general, fingerprint=fingerprint(weights_sha256, special.record()))
        pick = selection.picks[found] if selection.picks is not None else None
        pending = []
        names = outputs[number]
        for index, name in enumerate(names):
            output = Output(pick.sample if pick else index, root, name, store=store)
            past = history.take(name)
            verdict = judge(found, output, past, sizes[number * len(names) + index], place)
            if verdict is None:
                made = past.finished
                stale = made.map.name if made and made.map and not uncertainty else ""
                pending.append(replace(output, stale_map=stale))
            elif verdict == "finished":
                plan.finished.append(found, output)
            else:
                plan.verdicts.append(verdict)
        if not pending:
            continue
        header = _header(found)
        refused = None if header is None else _refused(header, pending[0], parameters, largest)
        if refused is not None:
            plan.verdicts += [
                Verdict(found.relative, found.root, o.relative, o.sample, "failed", *refused, found) for o in pending
            ]
        else:
            plan.tasks.append(_task(found, pending, header, parameters.format, pick.input_sha256 if pick else ""))
    return plan


def check_room(plan: Plan) -> str | None:
    """Compare the size of the outputs with the free space on the disks; returns a warning if it may not suffice.

    Raises:
        OutputError: the outputs will certainly not fit.
    """
    needed: dict[int, int] = {}
    free: dict[int, tuple[int, Path]] = {}
    for root in plan.roots:
        if root in plan.places:  # a store has room
            continue
        place = next(folder for folder in (root, *root.parents) if os.path.lexists(folder))
        try:
            device = place.stat().st_dev
            free[device] = (shutil.disk_usage(place).free, root)
        except OSError:
            continue
        needed[device] = needed.get(device, 0) + sum(t.estimated_bytes for t in plan.tasks if t.found.root == root)
    warning = None
    for device, estimate in needed.items():
        room, root = free[device]
        sentence = f"The outputs need about {human_bytes(estimate)} and {root} has room for {human_bytes(room)}"
        # no photograph has been seen to need less than half of the estimate
        if estimate // 2 > room:
            raise OutputError(f"{sentence}. Free some room, choose another folder with -o, or use --limit.")
        if estimate and estimate + _MARGIN > room:
            warning = f"{sentence}: it may become full."
    return warning


def estimate_output(width: int, height: int, bits: int, form: Format) -> int:
    """Approximate size in bytes of a coloured photograph, measured on scans with ordinary grain."""
    record = FORMATS[form]
    return int(width * height * record.bytes_per_pixel * (record.deep_factor if bits == 16 else 1)) + 20_000


@dataclass(frozen=True)
class _Judge:
    fingerprint: str
    overwrite: bool
    recolor: bool
    touched: list[tuple[Found, Output]]
    uncertainty: str = ""

    def __call__(
        self, found: Found, output: Output, past: Past, size: int, place: Place
    ) -> Verdict | Literal["finished"] | None:
        """None where the output is to be made; ``size`` is that of the file that is there, or negative."""
        if past.in_color == (found.size, found.mtime_ns) and not self.recolor:
            return _in_color(found, output)
        if size < 0:
            return None
        made = past.finished
        if past.begun is not None and place.is_labelled(output.relative):
            # a killed run may or may not have replaced the file; making it again gives the same bytes
            if self.overwrite or self.fingerprint in (past.begun, made.fingerprint if made else None):
                return None
            code, reason = self._other_parameters(past.begun)
        elif made and self._is_wanted(made, found, output, size):
            return "finished" if self._has_map(made, place) and _has_sidecar(made, place) else None
        elif self.overwrite or self._is_failed_attempt(past, size, output, place):
            return None
        else:
            code, reason = self._conflict(made, found, output, size)
        reason += "; --overwrite replaces it, another -o keeps it"
        return Verdict(found.relative, found.root, output.relative, output.sample, "skipped", code, reason, found)

    def _has_map(self, made: Finished, place: Place) -> bool:
        """Whether the map of the ground that is asked for is there, if one is."""
        if not self.uncertainty:
            return True
        if made.map is None or made.map.ground != self.uncertainty:
            return False
        there = place.look(made.map.name)
        return there is not None and there[0] == made.map.size

    def _is_failed_attempt(self, past: Past, size: int, output: Output, place: Place) -> bool:
        """Whether the file is what a failed attempt at just this left: it had been renamed when something failed."""
        replaced = past.finished is None or past.finished.output_size != size
        return replaced and past.failed == self.fingerprint and place.is_labelled(output.relative)

    def _is_wanted(self, made: Finished, found: Found, output: Output, size: int) -> bool:
        """Whether the output is what would be made; where only the input's time is another, its hash decides."""
        if (
            made.input != found.relative
            or made.sample != output.sample
            or made.input_size != found.size
            or made.output_size != size
            or made.fingerprint != self.fingerprint
        ):
            return False
        if made.input_mtime_ns == found.mtime_ns:
            return True
        try:
            same = found.sha256() == made.input_sha256
        except OSError:
            return False
        if same:
            self.touched.append((found, output))
        return same

    def _conflict(self, made: Finished | None, found: Found, output: Output, size: int) -> tuple[Code, str]:
        """Why an existing file is not the output that is wanted."""
        if made is None:
            return "unknown", "has an output that no run has finished"
        if made.output_size != size:
            return "changed", "has an output that was changed since it was made"
        if made.input == found.relative and made.sample != output.sample:
            return (
                "other_parameters",
                f"has an output that is another of its samples ({made.sample}, now {output.sample})",
            )
        if made.input != found.relative:
            return "other_input", f"has an output made from another input ({made.input}, sample {made.sample})"
        if made.fingerprint != self.fingerprint:
            return self._other_parameters(made.fingerprint)
        return "other_input", "was changed since its output was made"

    def _other_parameters(self, before: str) -> tuple[Code, str]:
        return "other_parameters", f"has an output made with other parameters ({_difference(before, self.fingerprint)})"


def _difference(before: str, now: str) -> str:
    old, new = json.loads(before), json.loads(now)
    changed = [key for key in {**new, **old} if old.get(key) != new.get(key)]

    def shown(value: object) -> str:
        return f"{value[:8]}…" if isinstance(value, str) and len(value) == 64 else str(value)

    return ", ".join(f"{key} {shown(old.get(key))}, now {shown(new.get(key))}" for key in changed)


def _in_color(found: Found, output: Output) -> Verdict:
    return Verdict(found.relative, found.root, output.relative, output.sample, "skipped", "in_color", IN_COLOR, found)


IN_COLOR = "is in colour already; --recolor colours it from its lightness"


def _verdict_of(item: Unusable) -> Verdict:
    status: Literal["skipped", "failed"] = "failed" if item.failed else "skipped"
    code: Code = "unreadable" if item.failed else "not_a_file"
    return Verdict(item.relative, item.root, None, 0, status, code, item.reason)


def _has_sidecar(made: Finished, place: Place) -> bool:
    """Whether the XMP file that was written with an output, if one was, is still there."""
    return made.sidecar is None or place.look(made.sidecar[0]) is not None


def _header(found: Found) -> tuple[Format, int, int, int] | None:
    """The result of ``probe``; None if it fails, since decoding will say why, or would be a request to a store."""
    if found.url:
        return None
    try:
        return probe(found.path)
    except PhotoError:
        return None


def _refused(
    header: tuple[Format, int, int, int], output: Output, parameters: Parameters, largest: int
) -> tuple[Code, str] | None:
    """Code and reason where the header tells already that a photograph will fail."""
    form, width, height, _ = header
    if width * height > largest:
        return "too_large", too_large(width, height, largest)
    written = FORMATS[parameters.format or output_format(form, output.relative)]
    if parameters.credentials and not written.mime:
        return "unsignable", f"cannot be signed: {written.label} holds no Content Credentials; ask for --format tiff"
    return None


def _task(
    found: Found,
    outputs: Sequence[Output],
    header: tuple[Format, int, int, int] | None,
    wanted: Format | None,
    expected_sha256: str,
) -> Task:
    if header is None:
        return Task(found, tuple(outputs), _ASSUMED_PIXELS, 0, expected_sha256)
    form, width, height, bits = header
    size = estimate_output(width, height, bits, wanted or output_format(form, outputs[0].relative))
    return Task(found, tuple(outputs), width * height, size * len(outputs), expected_sha256)


def _sizes(plan: Plan, photographs: Sequence[Found], outputs: Sequence[tuple[str, ...]]) -> Sequence[int]:
    """Bytes of what is there of all outputs; -1 where nothing is.

    Raises:
        UsageError: it is an input.
    """
    inputs = {found.identity for found in photographs}
    sizes = array("q")
    for root, group in groupby(zip(photographs, outputs, strict=True), key=lambda one: one[0].root):
        place = plan.place(root)
        for found, names in group:
            for name in names:
                size, identity = place.look(name) or (-1, None)
                if identity in inputs:
                    raise UsageError(
                        f"The output of {found.shown} would replace the input {place.shown(name)}; choose another -o."
                    )
                sizes.append(size)
    return sizes


def _protect_from_maps(plan: Plan, photographs: Sequence[Found], outputs: Sequence[tuple[str, ...]]) -> None:
    """No map of an uncertainty may replace an input or an output."""
    maps = [tuple(map(map_name, names)) for names in outputs]
    _sizes(plan, photographs, maps)
    made = {(found.root, name) for found, names in zip(photographs, outputs, strict=True) for name in names}
    for found, names in zip(photographs, maps, strict=True):
        for name in names:
            if (found.root, name) in made:
                raise UsageError(
                    f"The map of {found.shown} would have the name of an output, {name}; rename the input."
                )
