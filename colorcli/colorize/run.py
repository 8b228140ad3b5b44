"""The front door of ``colorize``: a ``Request`` makes a ``Run``, whose plan can be inspected, and that a ``Report``."""

from __future__ import annotations

import contextlib
import os
import platform
import socket
import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

import colorcli
from colorcli.color.vividness import NEUTRAL
from colorcli.colorize import delivery, discover, picks, report
from colorcli.colorize.discover import Found
from colorcli.colorize.events import (
    VERSION,
    Event,
    Observer,
    PhotoDone,
    PhotoStart,
    PhotoTouched,
    PhotoUnmade,
    RunStart,
    Written,
    notice,
    now,
)
from colorcli.colorize.executors import Executor, Facts, OpenGroundRemotely, Work
from colorcli.colorize.executors.local import LocalExecutor
from colorcli.colorize.options import Execution, Mark, Pages, choose_parameters
from colorcli.colorize.outbox import Outbox
from colorcli.colorize.places import Ledger
from colorcli.colorize.plan import CONFLICTS, Pairs, Plan, Selection, Task, Verdict, make_plan
from colorcli.colorize.state import apart_folder
from colorcli.errors import (
    ColorcliError,
    DeviceError,
    ExitCode,
    ModelError,
    NothingToDoError,
    OutputError,
    StoppedError,
    UsageError,
)
from colorcli.files import STATE_FOLDER
from colorcli.images import credentials
from colorcli.images.credentials import Identity
from colorcli.images.formats import FORMATS, format_of_name, labels
from colorcli.images.output_profile import OutputProfile
from colorcli.images.photo import Format
from colorcli.pipeline import opening, uncertainty
from colorcli.pipeline.controls import declared_settings, variants
from colorcli.pipeline.onnx_copy import Waiting
from colorcli.pipeline.uncertainty import Asked, Ground
from colorcli.registry import registry
from colorcli.registry.card import ModelCard
from colorcli.sessions.session import ModelInfo, Session
from colorcli.stopping import Stop, ended_by
from colorcli.stores import Url
from colorcli.text import printable

_LIBRARIES = (
    "numpy", "numba", "torch", "onnxruntime", "onnxruntime-gpu", "onnxruntime-directml", "onnxruntime-rocm", "pillow",
    "tifffile", "imagecodecs",
)  # fmt: skip


Engine = tuple[str, str]
"""A backend and a precision, as for ``open_model``."""


@dataclass(frozen=True)
class Request:
    """What to colour, and how.

    Attributes:
        inputs: folders and files; URLs (as ``stores.checked`` returns them) of folders and objects of stores.
        listed: names from a list, relative or absolute.
        output: folder (or file, of a single input), or URL; None puts it beside the input.
        model: name, run folder, weights file or ONNX file.
        controls: values of the network's controls, as for ``pipeline.controls.choose``.
        samples: number of colourings of each photograph.
        size: working size in pixels; None takes the model's.
        strength: factor on chroma, 0..2.
        vividness: 0..1; 0.5 changes nothing.
        format: format of the outputs; None keeps each input's own.
        quality: JPEG and WebP quality, 1..100.
        negative: whether photographs are inverted first.
        profile: colour space of the outputs; None is sRGB.
        pages: which pages of a multi-page file are coloured: ``largest``, ``first`` or ``all``.
        backend: ``auto``, ``pytorch`` or ``onnx``.
        device: as for ``open_model``; so are ``precision`` and ``compile``.
        include: patterns of photographs to take; empty for all.
        exclude: patterns of photographs to leave out.
        shard: (i, n): only the i-th of n parts.
        limit: the largest number of photographs to colour.
        picks: files of choices among samples; only chosen samples are made.
        insisted: names of attributes and controls given on the command line, which picks must not override.
        overwrite: whether to replace outputs of other parameters or of unknown origin.
        report: whether to write a report.
        manifest: whether to write ``SHA256SUMS``.
        sidecars: whether to write a sidecar beside each output.
        bag: folder of a BagIt bag to make from the finished outputs.
        mark: ``visible`` for a sign in the corner of each output.
        uncertainty: ground of the maps beside the outputs, as ``pipeline.uncertainty.ask`` takes it; None for no maps.
        signer: who signs the outputs' Content Credentials.
        execution: how the work is done.
        configuration: all options as given, for the journal.
    """

    inputs: tuple[Path | Url, ...]
    listed: tuple[str, ...] = ()
    output: Path | Url | None = None
    model: str = "bigcolor"
    controls: Mapping[str, Any] = field(default_factory=dict)
    samples: int = 1
    size: int | None = None
    strength: float = 1.0
    vividness: float = NEUTRAL
    format: Format | None = None
    quality: int = 95
    negative: bool = False
    profile: OutputProfile | None = None
    pages: Pages = "largest"
    backend: str = "auto"
    device: str = "auto"
    precision: str = "auto"
    compile: bool = False
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    shard: tuple[int, int] | None = None
    limit: int | None = None
    picks: tuple[Path, ...] = ()
    insisted: frozenset[str] = frozenset()
    overwrite: bool = False
    report: bool = False
    manifest: bool = False
    sidecars: bool = False
    bag: Path | None = None
    mark: Mark | None = None
    uncertainty: str | None = None
    signer: Identity | None = None
    execution: Execution = field(default_factory=Execution)
    configuration: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Failure:
    """A photograph that failed or was skipped: its relative path, the reason, and the place in the code."""

    input: str
    reason: str
    trace: str = ""


@dataclass
class Report:
    """How a run ended. ``done + already + skipped + failed + unprocessed`` equals the number of outputs matched.

    Attributes:
        matched: number of outputs in the plan.
        done: number of outputs made in this run.
        already: number of outputs finished before.
        skipped: number of outputs skipped for a reason.
        conflicts: number of those skipped because an existing file is in the way.
        failures: what failed, in order.
        skips: what was skipped, in order.
        seconds: duration of the run.
        setup_seconds: the part of it before the first photograph.
        megapixels: megapixels of the outputs that were made.
        signal_number: number of the signal that ended the run early, or None.
        fatal: the error that ended the run early, or None.
    """

    matched: int = 0
    done: int = 0
    already: int = 0
    skipped: int = 0
    conflicts: int = 0
    failures: list[Failure] = field(default_factory=list)
    skips: list[Failure] = field(default_factory=list)
    seconds: float = 0.0
    setup_seconds: float = 0.0
    megapixels: float = 0.0
    signal_number: int | None = None
    fatal: ColorcliError | None = None

    @property
    def failed(self) -> int:
        """Number of outputs that failed."""
        return len(self.failures)

    @property
    def unprocessed(self) -> int:
        """Outputs that an early end left for the next run."""
        return self.matched - self.done - self.already - self.skipped - self.failed

    @property
    def came_to_its_end(self) -> bool:
        """Whether nothing ended the run early."""
        return self.signal_number is None and self.fatal is None

    @property
    def outputs_per_second(self) -> float:
        """Speed after setup."""
        return self.done / max(self.seconds - self.setup_seconds, 1e-3)

    @property
    def exit_code(self) -> ExitCode:
        """Exit code of the process."""
        if self.fatal is not None:
            return self.fatal.exit_code
        if self.signal_number is not None:
            return ended_by(self.signal_number)
        if self.failed and self.failed == self.matched:
            return ExitCode.ALL_FAILED
        return ExitCode.SOME_FAILED if self.failed or self.conflicts else ExitCode.OK

    def add(self, later: Report) -> None:
        """Add the report of a later part of the run."""
        for name, value in vars(later).items():
            setattr(self, name, value if name in ("signal_number", "fatal") else getattr(self, name) + value)

    def count(self, record: Event) -> None:
        """Count the end of an output."""
        if record["event"] == "photo.done":
            self.done += 1
            self.megapixels += record["width"] * record["height"] / 1e6
        elif record["event"] == "photo.failed" or record["event"] == "photo.skipped":
            failure = Failure(record["input"], record["reason"], record.get("trace", ""))
            if record["event"] == "photo.failed":
                self.failures.append(failure)
            else:
                self.skips.append(failure)
                self.skipped += 1
                self.conflicts += record.get("code") in CONFLICTS

    def record(self) -> Event:
        """The run's last event."""
        return {
            "v": VERSION,
            "event": "run.end",
            "time": now(),
            "matched": self.matched,
            "done": self.done,
            "already_done": self.already,
            "skipped": self.skipped,
            "conflicts": self.conflicts,
            "failed": self.failed,
            "unprocessed": self.unprocessed,
            "seconds": round(self.seconds, 3),
            "setup_seconds": round(self.setup_seconds, 3),
            "megapixels": round(self.megapixels, 3),
            "exit_code": int(self.exit_code),
        }


def run(request: Request, *, observe: Observer = lambda _: None, stop: Stop | None = None) -> Report:
    """Carry out a request; raises as ``Run``, ``Run.carry_out`` and ``Run.deliver`` do."""
    asked = Run(request)
    report = asked.carry_out(observe=observe, stop=stop)
    if report.came_to_its_end:
        for made in asked.deliver():
            observe(made)
    return report


class Run:
    """A checked request, with its model, parameters and plan.

    Attributes:
        plan: outputs to make, and those not to make, with reasons.
        info: facts about the model.
        parameters: the parameters that decide the results.

    Raises:
        UsageError: the request is contradictory, or an input cannot be read.
        ModelError: there is no such model.
        NothingToDoError: no photograph matches.
        OutputError: a journal cannot be read, a store cannot be listed, or a report cannot be written.
    """

    def __init__(
        self, request: Request, *, found: discover.Discovery | None = None, only: Collection[Found] | None = None
    ) -> None:
        """Check a request and plan it.

        Args:
            request: the request.
            found: the result of an earlier search of its inputs.
            only: the photographs that are ready; the others wait for another run, and an empty plan is then no error.
        """
        _check_stores(request)
        chosen = picks.read_picks(request.picks) if request.picks else None
        if chosen is not None:
            request = _as_chosen(request, chosen)
        output = request.output if isinstance(request.output, str) else None
        self._outbox = None if output is None else Outbox(output, request.shard)
        folder = self._outbox.root if self._outbox else request.output
        assert not isinstance(folder, str)
        sources = discover.sources(request.inputs, request.listed, folder)
        self._request = request = _with_format_of_file(request, sources)
        if request.signer and request.format and not FORMATS[request.format].mime:
            label = FORMATS[request.format].label
            raise UsageError(f"{label} holds no Content Credentials; choose another format, or omit --c2pa-key.")
        self._card = registry.find(request.model)
        self.info: ModelInfo = registry.model_info(self._card)
        self.parameters = choose_parameters(
            self.info,
            samples=request.samples,
            size=request.size,
            strength=request.strength,
            vividness=request.vividness,
            format=request.format,
            quality=request.quality,
            negative=request.negative,
            profile=request.profile,
            pages=request.pages,
            mark=request.mark,
            credentials=credentials.check_identity(request.signer) if request.signer else None,
            **request.controls,
        )
        self._ground = None if request.uncertainty is None else uncertainty.ask(request.uncertainty, self._card)
        self._beside = [source.root for source in sources if source.beside]
        if request.manifest and self._beside:
            raise UsageError("--manifest would land among the originals; give an output folder with -o OUT.")
        self._found = found or discover.discover(
            sources, include=request.include, exclude=request.exclude, output=output
        )
        if only is None and self._found.photographs:
            self._check_names()
        self._selection = Selection(request.shard, request.limit, only=only)
        self._samples = request.samples * variants(self.parameters.settings)
        if chosen is not None:
            self._choose(chosen)
        self.plan = self._make_plan()
        if not self.plan.matched and only is None:
            others = f"; {self._found.ignored} other files were ignored" if self._found.ignored else ""
            raise NothingToDoError(f"No photograph matched ({labels()} are supported{others}).")
        if request.report:
            report.check_places(self.plan)
        if request.bag is not None:
            delivery.check_bag(request.bag, self.plan.roots)

    def _check_names(self) -> None:
        """Refuse what is given by photographs' names, such as hints, if it names none of those that were found."""
        for _, setting in declared_settings():
            value = self.parameters.settings.get(setting.name)
            if setting.own is None or value is None:
                continue
            if not any(setting.own(value, photograph.relative) for photograph in self._found.photographs):
                such = printable(self._found.photographs[0].relative)
                raise UsageError(
                    f"{setting.option} names none of the photographs; names are relative to the input, such as {such}."
                )

    def _choose(self, chosen: picks.Picks) -> None:
        """Narrow the run to the picks, with the samples' parameters.

        Format, quality and profile may differ, since the colours stay the same.
        """
        request = self._request
        chosen.follow_weights(self.info.name, self.info.weights_sha256)
        names = {setting.keyword: (setting.name, setting.option) for _, setting in declared_settings()}
        names |= {
            "size": ("size", "--size"),
            "render_factor": ("size", "--render-factor"),
            "strength": ("strength", "--strength"),
            "vividness": ("vividness", "--vividness"),
            "negative": ("negative", "--negative"),
            "pages": ("pages", "--pages"),
        }
        asked = {**vars(self.parameters), **self.parameters.settings}
        chosen.follow(
            {name: (option, asked.get(name)) for key, (name, option) in names.items() if key in request.insisted}
        )
        made = chosen.parameters
        self.parameters = replace(
            made,
            format=self.parameters.format if self.parameters.format is not None else made.format,
            quality=self.parameters.quality if "quality" in request.insisted else made.quality,
            profile=self.parameters.profile,
            mark=self.parameters.mark,
            credentials=self.parameters.credentials,
        )
        self._found, picked = chosen.find(self._found, include=request.include, exclude=request.exclude)
        self._selection = replace(self._selection, picks=picked)
        self._samples = 1

    def _make_plan(self) -> Plan:
        return make_plan(
            self._found,
            self.parameters,
            self.info.weights_sha256,
            samples=self._samples,
            selection=self._selection,
            overwrite=self._request.overwrite,
            recolor=self._request.execution.recolor,
            largest=self._request.execution.largest,
            uncertainty="" if self._ground is None else self._ground.label,
            places={self._outbox.root: self._outbox} if self._outbox else {},
        )

    def carry_out(
        self,
        *,
        observe: Observer = lambda _: None,
        waiting: Waiting = lambda what, seconds: None,
        stop: Stop | None = None,
        executor: Callable[[Work], Executor] = LocalExecutor,
        session: Session | None = None,
        ground: Ground | None = None,
        holding: bool = False,
    ) -> Report:
        """Carry out the plan.

        Args:
            observe: called with every event, in the calling thread.
            waiting: called several times a second while something is waited for.
            stop: may be requested at any time.
            executor: does the work.
            session: the model, if ``open_model`` has opened it already.
            ground: of the uncertainty, if ``open_ground`` has opened it already.
            holding: whether the caller holds the locks of the output folders.

        Raises:
            OutputError: an output folder cannot be written, or is locked by another run.
            ModelError: the weights are missing or damaged.
            DeviceError: the device is missing.
        """
        request, ready = self._request, stop or Stop()
        self._keep_state_apart()
        execution = replace(request.execution, signer=request.signer)

        def turn(number: int, engine: Engine) -> Report:
            def opened() -> Session:
                return session or self.open_model(engine, observe=observe, waiting=waiting, stop=ready)

            def opened_ground(session: Session) -> Ground | None:
                return ground or self.open_ground(session, observe=observe, waiting=waiting, stop=ready)

            elsewhere = partial(opening.open_model, _name_elsewhere(self._card), **self._opening(engine))
            work = Work(opened, self.parameters, execution, ready, elsewhere, opened_ground, self._ground_elsewhere())
            return carry_out(
                self._part(self.plan, number, engine),
                executor(work),
                self.info,
                work,
                observe=observe,
                configuration=request.configuration,
                again=lambda: self._part(self._make_plan(), number, engine),
                holding=holding,
            )

        # There are several engines only for picks whose samples were made by several backends.
        engines = list(dict.fromkeys(map(self._engine, self.plan.tasks))) or [(request.backend, request.precision)]
        outcome = turn(0, engines[0])
        for number, engine in enumerate(engines[1:], 1):
            if not ready() and outcome.fatal is None:
                outcome.add(turn(number, engine))
        outcome.matched = self.plan.matched
        return outcome

    def open_model(
        self,
        engine: Engine | None = None,
        *,
        observe: Observer = lambda _: None,
        waiting: Waiting = lambda what, seconds: None,
        stop: Stop | None = None,
    ) -> Session:
        """Open the model as the request wants it; see ``carry_out`` for the arguments and for what is raised.

        ``engine`` is another backend and precision than the request's.
        """
        engine = engine or (self._request.backend, self._request.precision)
        return self._open(self._card, engine, observe=observe, waiting=waiting, stop=stop or Stop())

    def open_ground(
        self,
        session: Session,
        *,
        observe: Observer = lambda _: None,
        waiting: Waiting = lambda what, seconds: None,
        stop: Stop | None = None,
    ) -> Ground | None:
        """Open the ground of the uncertainty of the session's colourings; None if the request has none.

        See ``carry_out`` for the arguments and for what is raised.
        """
        if self._ground is None:
            return None

        def opened(card: ModelCard, backend: str) -> Session:
            engine = (self._request.backend if backend == "auto" else backend, "auto")
            return self._open(card, engine, observe=observe, waiting=waiting, stop=stop or Stop())

        return self._ground.open(session, opened)

    def _ground_elsewhere(self) -> OpenGroundRemotely | None:
        """What opens the ground in another process, which finds its models by name."""
        asked = self._ground
        if asked is None:
            return None
        names = [_name_elsewhere(card) for card in asked.cards]
        opened = self._opening((self._request.backend, "auto"))
        return partial(_open_ground, replace(asked, cards=()), names, asked.label, opened)

    def _open(self, card: ModelCard, engine: Engine, *, observe: Observer, waiting: Waiting, stop: Stop) -> Session:
        return opening.open_model(
            card,
            **self._opening(engine),
            notify=lambda text: observe(notice(text)),
            waiting=waiting,
            stopped=stop,
        )

    def _opening(self, engine: Engine) -> dict[str, Any]:
        """Arguments of ``opening.open_model``, the same in every process of a run."""
        backend, precision = engine
        request = self._request
        return {
            "backend": backend,
            "device": request.device,
            "precision": precision,
            "photographs": self.plan.pending,
            "compile": request.compile,
        }

    def _engine(self, task: Task) -> Engine:
        """The backend and the precision for a photograph."""
        asked = (self._request.backend, self._request.precision)
        pick = (self._selection.picks or {}).get(task.found)
        if pick is None:
            return asked
        return (
            asked[0] if pick.backend == "auto" else pick.backend,
            asked[1] if pick.precision == "auto" else pick.precision,
        )

    def _part(self, plan: Plan, number: int, engine: Engine) -> Plan:
        """The part of a plan for one engine; the first part also has everything that needs no engine."""
        plan = replace(plan, tasks=[task for task in plan.tasks if self._engine(task) == engine])
        return plan if number == 0 else replace(plan, verdicts=[], finished=Pairs(), touched=[])

    def _keep_state_apart(self) -> None:
        """Make state folders elsewhere for folders that hold originals, so that no journal lands among these."""
        for root in self._beside:
            if not (root / STATE_FOLDER).is_dir():
                with contextlib.suppress(OSError):  # without it, the journal lies where the output does
                    apart_folder(root).mkdir(parents=True, exist_ok=True)

    def deliver(self, progress: Callable[[str, int, int], None] = lambda what, done, total: None) -> Iterator[Written]:
        """Write what was requested beside the outputs, from the journals: reports, sidecars, manifests, a bag.

        Args:
            progress: called with what is being written, the number of photographs done, and of all.

        Yields:
            An event for each file or folder that was written.

        Raises:
            OutputError: one cannot be written, or a journal cannot be read.
            VerificationError: an output that goes into the bag has changed since it was made.
        """
        request = self._request
        if request.report:
            inputs = [str(path) for path in request.inputs]
            for path in report.write_reports(
                self.plan, self.info, self.parameters, inputs=inputs, progress=partial(progress, "Report")
            ):
                yield _written("report", path, bytes=path.stat().st_size)
        # a folder in which every photograph failed before its first line has no journal
        for place in [place for place in map(self.plan.place, self.plan.roots) if place.journal_size()]:
            if request.sidecars:
                yield _delivered(delivery.write_sidecars(place, partial(progress, "Sidecars")))
            if request.manifest:
                yield _delivered(delivery.write_manifest(place, sidecars=request.sidecars))
            if request.bag is not None:
                made = delivery.write_bag(
                    place.root, request.bag, sidecars=request.sidecars, progress=partial(progress, "Bag")
                )
                yield _delivered(made)


def carry_out(
    plan: Plan,
    executor: Executor,
    info: ModelInfo,
    work: Work,
    *,
    observe: Observer = lambda _: None,
    configuration: Mapping[str, Any] | None = None,
    again: Callable[[], Plan] | None = None,
    holding: bool = False,
) -> Report:
    """Carry out a plan: lock and journal its folders, count and announce results.

    Args:
        plan: the work.
        executor: does it; prepared only if there is work, after the folders are locked.
        info: of the model.
        work: the executor's inputs.
        observe: called with every event, in the calling thread.
        configuration: all options as given, for the journal.
        again: makes a new plan if another run finished more before the folders were locked.
        holding: whether the caller holds the locks of the folders.

    Raises:
        OutputError: an output folder cannot be written, or is locked by another run.
        ColorcliError: whatever opening the model raises.
    """
    started = time.monotonic()
    with ExitStack() as stack:
        journals: dict[Path, Ledger] = {}
        if plan.tasks and not holding:
            _lock(plan, stack, observe, work.stop)
            plan = again() if again and plan.is_outdated() else plan
        _record_times(plan, work.execution)
        outcome = Report(matched=plan.matched, already=plan.already)
        facts: Facts | None = None
        if plan.tasks:
            with contextlib.suppress(StoppedError):
                facts = executor.prepare(observe)
        if facts is not None:
            for root in plan.roots:
                journals[root] = plan.place(root).journal(fsync=work.execution.fsync)
                stack.callback(journals[root].close)
            head = _run_start(plan, facts, info, work, configuration or {})
            for journal in journals.values():
                journal.append(head)
            observe(head)
        outcome.setup_seconds = time.monotonic() - started

        def tell(record: Event) -> None:
            outcome.count(record)
            observe({key: value for key, value in record.items() if key != "trace"})  # type: ignore[arg-type]
            if record["event"] == "photo.failed" and work.execution.fail_fast:
                work.stop.request()

        def append(root: Path, record: PhotoStart | PhotoDone | PhotoUnmade, *, sync: bool = True) -> None:
            journals[root].append(record, sync=sync)

        for verdict in plan.verdicts:
            record = _verdict_record(verdict)
            if verdict.code not in ("in_color", *CONFLICTS) and verdict.root in journals:
                journals[verdict.root].append(record, sync=False)
            outcome.count(record)
            observe(record)
        if facts is not None:
            try:
                with contextlib.closing(executor.carry_out(plan.tasks, append)) as ends:
                    for end in ends:
                        tell(end)
            except (OutputError, DeviceError) as error:
                outcome.fatal = error
        outcome.seconds = time.monotonic() - started
        outcome.signal_number = work.stop.signal_number
        tail = outcome.record()
        for journal in journals.values():
            try:
                journal.append(tail)
            except OutputError as error:  # in a store, what was done before may not be recorded either
                outcome.fatal = outcome.fatal or error
        observe(outcome.record())
    return outcome


def _name_elsewhere(card: ModelCard) -> str:
    """A model by a name that means the same in another folder, and whatever the default tag is there."""
    name = card.reference or card.exact_name
    return os.path.abspath(name) if os.path.exists(name) else name  # noqa: PTH100, PTH110 - resolve() would follow links


def _open_ground(
    asked: Asked, names: Sequence[str], label: str, arguments: Mapping[str, Any], session: Session, *, threads: int
) -> Ground:
    """Open a ground, labelled ``label``, in a process whose models of these names may be others.

    Raises:
        ModelError: they are.
    """
    asked = replace(asked, cards=tuple(registry.find(name) for name in names))
    if asked.label != label:
        raise ModelError(f"--uncertainty would compare with {asked.label} there, not with {label}.")

    def opened(card: ModelCard, backend: str) -> Session:
        engine = {} if backend == "auto" else {"backend": backend}
        return opening.open_model(card, **{**arguments, **engine}, threads=threads)

    return asked.open(session, opened)


def _written(kind: Literal["report", "manifest", "sidecars", "bag"], path: str | Path, **more: int) -> Written:
    event: Written = {"v": VERSION, "event": f"{kind}.written", "time": now(), "path": os.fspath(path)}  # type: ignore[typeddict-item]
    return {**event, **more}  # type: ignore[typeddict-item]


def _delivered(made: delivery.Delivered) -> Written:
    return _written(made.kind, made.path, outputs=made.outputs)


def _lock(plan: Plan, stack: ExitStack, observe: Observer, stop: Stop) -> None:
    for root in plan.roots:
        stack.enter_context(plan.place(root).locked(lambda text: observe(notice(text)), stop))


def _record_times(plan: Plan, execution: Execution) -> None:
    """Journal the new times of inputs with unchanged content, so that they are not hashed again."""
    for root in sorted({found.root for found, _ in plan.touched}):
        journal = plan.place(root).journal(fsync=execution.fsync)
        for found, output in plan.touched:
            if found.root == root:
                record: PhotoTouched = {
                    "v": VERSION,
                    "event": "photo.touched",
                    "time": now(),
                    "input": found.relative,
                    "sample": output.sample,
                    "output": output.relative,
                    "input_mtime_ns": found.mtime_ns,
                }
                journal.append(record, sync=False)
        journal.close()


def _as_chosen(request: Request, chosen: picks.Picks) -> Request:
    """The request with the samples' model; backend and precision follow each pick."""
    if request.samples != 1:
        raise UsageError("--picks makes the one chosen colouring of each photograph; omit --samples.")
    for name in ("backend", "precision"):
        if name in request.insisted:
            chosen.follow_backend(name, getattr(request, name))
    return request if "model" in request.insisted else replace(request, model=chosen.model)


def _check_stores(request: Request) -> None:
    """Refuse what needs folders of this machine where inputs or outputs are in a store. Raises UsageError."""
    needs_folder = {
        "--report": request.report,
        "--bag": request.bag is not None,
        "--uncertainty": request.uncertainty is not None,
        "--keep-times": request.execution.keep_times,
    }
    needs_originals = {
        "--report": request.report,
        "--c2pa-key": request.signer is not None,
    }
    for url, needs, whose in (
        (isinstance(request.output, str), needs_folder, "the outputs go to"),
        (any(isinstance(one, str) for one in request.inputs), needs_originals, "the photographs are in"),
    ):
        options = " or ".join(option for option, asked in needs.items() if asked)
        if url and options:
            raise UsageError(f"{options} cannot be used when {whose} a store; omit it.")


def _with_format_of_file(request: Request, sources: list[discover.Source]) -> Request:
    """The request with the format of a single output's suffix."""
    output = request.output
    if not isinstance(output, Path) or len(sources) != 1 or sources[0].target != output.name or output.is_dir():
        return request
    named = format_of_name(output.name)
    if request.format is not None and named is not None and request.format != named:
        raise UsageError(f"--format {request.format.lower()} does not go with the name {output}.")
    if named is not None and not FORMATS[named].written:
        raise UsageError(f"{FORMATS[named].label} is read only; name {output} .tif, .png or .jpg.")
    return replace(request, format=request.format or named)


def _verdict_record(verdict: Verdict) -> PhotoUnmade:
    record: PhotoUnmade = {
        "v": VERSION,
        "event": "photo.skipped" if verdict.status == "skipped" else "photo.failed",
        "time": now(),
        "input": verdict.relative,
        "sample": verdict.sample,
        "output": verdict.output,
        "status": verdict.status,
        "code": verdict.code,
        "reason": verdict.reason,
    }
    if verdict.found is not None:
        record["source"] = verdict.found.source
    return record


def _run_start(plan: Plan, facts: Facts, info: ModelInfo, work: Work, configuration: Mapping[str, Any]) -> RunStart:
    return {
        "v": VERSION,
        "event": "run.start",
        "time": now(),
        "colorcli": colorcli.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "libraries": {name: version for name in _LIBRARIES if (version := _version_of(name))},
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "command": sys.argv,
        "configuration": dict(configuration),
        "model": info.name,
        "model_version": info.version,
        "weights_sha256": info.weights_sha256,
        "weights_origin": info.origin,
        "parameters": work.parameters.record(),
        "execution": asdict(work.execution),
        "device": facts.device,
        "precision": facts.precision,
        "compiled": facts.compiled,
        "backend": facts.backend,
        "threads": facts.threads,
        "matched": plan.matched,
        "already_done": plan.already,
        "pending": plan.pending,
    }


def _version_of(library: str) -> str | None:
    try:
        return metadata.version(library)
    except metadata.PackageNotFoundError:
        return None
