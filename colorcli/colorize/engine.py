"""Streaming photographs through a network: decode -> network -> join and encode -> journal.

Threads decode and encode; one thread runs the network, or as many as the session takes. What is in flight is bounded
by its pixels, so memory is flat whatever the sizes and numbers. What a photograph becomes depends on nothing but
itself, the parameters and the weights.
"""

from __future__ import annotations

import contextlib
import os
import platform
import queue
import socket
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import colorcli
from colorcli.color import join
from colorcli.colorize.events import Event, Observer, event
from colorcli.colorize.flow import Canvases, PixelBudget
from colorcli.colorize.journal import Journal
from colorcli.colorize.lock import locked
from colorcli.colorize.options import Execution, Parameters
from colorcli.colorize.photograph import Prepared, SkippedError, finish, prepare
from colorcli.colorize.plan import CONFLICTS, Output, Plan, Task, Verdict
from colorcli.errors import ColorcliError, ExitCode, OutputError, PhotoError, StoppedError
from colorcli.pipeline.coloring import infer, too_large
from colorcli.pipeline.controls import controls, draw, variant
from colorcli.sessions.session import Controls, OutOfMemoryError, Session
from colorcli.stopping import Stop, ended_by
from colorcli.text import printable

_GPU_BATCH = 16
# Measured with bigcolor lite: on the CPU larger batches take longer for each photograph, not less, and one at a time
# makes the bytes of a result independent of what else is in the run.
_CPU_BATCH = 1
_PATIENCE = 5.0
_PATIENCE_UNTOLD = 2.0
_LIBRARIES = (
    "numpy", "numba", "torch", "onnxruntime", "onnxruntime-gpu", "onnxruntime-directml", "onnxruntime-rocm", "pillow",
    "tifffile", "imagecodecs",
)  # fmt: skip


@dataclass(frozen=True)
class Failure:
    """A photograph that failed or was skipped: its relative path, why, and where in the code for ``--debug``."""

    input: str
    reason: str
    trace: str = ""


@dataclass
class Report:
    """How a run ended. ``done + already + skipped + failed + unprocessed`` equals the number of outputs matched.

    Attributes:
        matched: outputs in the plan.
        done: made in this run.
        already: finished before it.
        skipped: left alone, for a reason.
        conflicts: those of the skipped that stand in the way of what was asked for.
        failures: what failed, in order; ``skips`` likewise.
        seconds: that the run took.
        megapixels: of what was done.
        signal_number: of the signal that ended the run early, or None.
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
    def exit_code(self) -> ExitCode:
        """What the process should exit with."""
        if self.fatal is not None:
            return self.fatal.exit_code
        if self.signal_number is not None:
            return ended_by(self.signal_number)
        if self.failed and self.failed == self.matched:
            return ExitCode.ALL_FAILED
        return ExitCode.SOME_FAILED if self.failed or self.conflicts else ExitCode.OK

    def counts(self) -> dict[str, object]:
        """The counts as the journal and ``--json`` hold them."""
        return {
            "matched": self.matched,
            "done": self.done,
            "already_done": self.already,
            "skipped": self.skipped,
            "conflicts": self.conflicts,
            "failed": self.failed,
            "unprocessed": self.unprocessed,
            "seconds": round(self.seconds, 3),
            "megapixels": round(self.megapixels, 3),
            "exit_code": int(self.exit_code),
        }


def run(
    plan: Plan,
    load: Callable[[], Session],
    parameters: Parameters,
    execution: Execution,
    *,
    observe: Observer = lambda _: None,
    stop: Stop | None = None,
    configuration: Mapping[str, object] | None = None,
    make_plan: Callable[[], Plan] | None = None,
) -> Report:
    """Carry out a plan.

    Args:
        plan: what to do.
        load: makes the session; called only if there is something to do, and once the output folders are locked. By
            StoppedError it says that it was asked to stop, and nothing is done.
        parameters: what decides the results.
        execution: how the work is done.
        observe: is told every event, in the calling thread.
        stop: may be requested at any time.
        configuration: what the run was asked for, for the journal.
        make_plan: plans again where a journal grew until the folders were locked: another run has finished more.

    Raises:
        OutputError: an output folder cannot be written, or is locked by another run.
        ColorcliError: whatever ``load`` raises.
    """
    started = time.monotonic()
    stop = stop or Stop()
    with ExitStack() as stack:
        journals: dict[Path, Journal] = {}
        if plan.tasks:
            for root in plan.roots:
                stale = stack.enter_context(locked(root))
                if stale:
                    observe(event("notice", {"message": stale}))
            plan = make_plan() if make_plan and plan.is_outdated() else plan
        _record_times(plan, execution)
        report = Report(matched=plan.matched, already=plan.already)
        session: Session | None = None
        if plan.tasks:
            with contextlib.suppress(StoppedError):
                session = load()
        if session is not None:
            if not stop():
                _warm_up(observe)
            for root in plan.roots:
                journals[root] = Journal(root, fsync=execution.fsync)
                stack.callback(journals[root].close)
            head = _run_start(plan, session, parameters, execution, configuration or {})
            for journal in journals.values():
                journal.append(head)
            observe(head)
        for verdict in plan.verdicts:
            record = _verdict_event(verdict)
            if verdict.code not in ("in_color", *CONFLICTS) and verdict.root in journals:
                journals[verdict.root].append(record, sync=False)
            _count(report, record)
            observe(record)
        if session is not None:
            line = _Line(session, parameters, execution, journals, stop)
            line.carry_out(plan.tasks, report, observe)
        report.seconds = time.monotonic() - started
        report.signal_number = stop.signal_number
        tail = event("run.end", report.counts())
        for journal in journals.values():
            with contextlib.suppress(OutputError):
                journal.append(tail)
        observe(tail)
    return report


def _warm_up(observe: Observer) -> None:
    """Compile the join before the clock of the run starts: done within it, it would be taken for the speed to come."""
    from colorcli.color import kernel  # noqa: F401 - importing numba takes long too, and is not compiling

    def compile_it() -> None:
        with contextlib.suppress(Exception):  # a fault will be that of the first photograph
            join.warm_up()

    compiling = threading.Thread(target=compile_it, daemon=True)
    compiling.start()
    compiling.join(_PATIENCE_UNTOLD)
    if compiling.is_alive():
        message = "Compiling for this machine's processor, once; this takes half a minute at most."
        observe(event("notice", {"message": message}))
        compiling.join()


@dataclass
class _Flight:
    """A photograph in flight: how many of its outputs are not yet decided."""

    prepared: Prepared
    open: int
    lock: threading.Lock = field(default_factory=threading.Lock)

    def close_one(self) -> bool:
        """Whether that was the last."""
        with self.lock:
            self.open -= 1
            return self.open == 0


@dataclass
class _Coloring:
    """One output of a photograph on its way through the network."""

    flight: _Flight
    output: Output
    controls: list[Controls]
    parts: dict[int, NDArray[np.float32]] = field(default_factory=dict)
    over: bool = False
    seconds: float = 0.0


@dataclass(frozen=True)
class _Item:
    """One window of a colouring."""

    coloring: _Coloring
    window: int

    @property
    def lightness(self) -> NDArray[np.float32]:
        return self.coloring.flight.prepared.windows.lightness[self.window]

    @property
    def controls(self) -> Controls:
        return self.coloring.controls[self.window]


class _Line:
    """The production line: its threads and the queues between them."""

    def __init__(
        self,
        session: Session,
        parameters: Parameters,
        execution: Execution,
        journals: Mapping[Path, Journal],
        stop: Stop,
    ) -> None:
        self._session = session
        self._parameters = parameters
        self._execution = execution
        self._journals = journals
        self._stop = stop
        self._streams = session.streams
        self._batch = execution.batch_size or (_CPU_BATCH if session.device == "cpu" else _GPU_BATCH)
        self._budget = PixelBudget(execution.max_pixels)
        self._encoding = PixelBudget(execution.max_pixels)
        self._canvases = Canvases(3 * execution.max_pixels)
        self._to_decode: queue.Queue[Task | None] = queue.Queue()
        self._to_color: queue.Queue[list[_Item] | None] = queue.Queue()
        self._to_encode: queue.Queue[_Coloring | None] = queue.Queue()
        self._events: queue.Queue[Event] = queue.Queue()
        self._fed = threading.Event()
        self._abandoned = threading.Event()
        self._threads: list[threading.Thread] = []
        self._fatal: ColorcliError | None = None
        self._crash: BaseException | None = None

    def carry_out(self, tasks: list[Task], report: Report, observe: Observer) -> None:
        """Run to the end of the tasks, or until a stop and the end of what is in flight."""
        jobs = self._execution.jobs
        loops = [self._color_loop] * self._streams + [self._decode_loop] * jobs + [self._encode_loop] * jobs
        self._start(lambda: self._feed(tasks))
        for loop in loops:
            self._start(loop)
        try:
            self._collect(report, observe)
        except BaseException:
            self._abandoned.set()
            raise
        self._finish()
        report.fatal = self._fatal
        if self._crash is not None:
            raise self._crash

    def _finish(self) -> None:
        """End the threads: one that is still in native code when the interpreter ends takes the process down."""
        self._abandoned.set()
        for _ in range(self._execution.jobs):
            self._to_decode.put(None)
            self._to_encode.put(None)
        for _ in range(self._streams):
            self._to_color.put(None)
        for thread in self._threads:
            thread.join(_PATIENCE if self._crash else None)

    def _collect(self, report: Report, observe: Observer) -> None:
        while self._crash is None:
            # in this order: what is in flight puts its events before it leaves
            finished = self._fed.is_set() and self._budget.idle
            try:
                record = self._events.get(timeout=0.0 if finished else 0.1)
            except queue.Empty:
                if finished:
                    return
                continue
            _count(report, record)
            observe({key: value for key, value in record.items() if key != "trace"})
            if record["event"] == "photo.failed" and self._execution.fail_fast:
                self._stop.request()

    def _start(self, loop: Callable[[], None]) -> None:
        def guarded() -> None:
            try:
                loop()
            except BaseException as error:
                self._crash = error

        # daemons: a network that hangs must not keep the program alive after a second Ctrl-C
        thread = threading.Thread(target=guarded, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _feed(self, tasks: list[Task]) -> None:
        for task in tasks:
            if not self._budget.acquire(task.pixels, lambda: self._stop() or self._abandoned.is_set()):
                break
            self._to_decode.put(task)
        self._fed.set()

    def _decode_loop(self) -> None:
        while (task := self._to_decode.get()) is not None:
            if self._stop():
                self._budget.release(task.pixels)
                continue
            try:
                prepared = prepare(task, self._session.info, self._parameters, self._execution)
            except Exception as error:
                for output in task.outputs:
                    self._end_badly(task, output, error, None)
                self._budget.release(task.pixels)
                continue
            flight = _Flight(prepared, len(task.outputs))
            for output in task.outputs:
                coloring = _Coloring(flight, output, self._draw(prepared, output))
                self._to_color.put([_Item(coloring, window) for window in range(len(prepared.windows.starts))])

    def _draw(self, prepared: Prepared, output: Output) -> list[Controls]:
        settings, sample = variant(self._parameters.settings, output.sample)
        relative = prepared.task.found.relative
        return draw(self._session.info.controls, settings, relative, sample, prepared.windows)

    def _color_loop(self) -> None:
        """Batches of one shape: full ones first, and whatever is there rather than wait."""
        waiting: dict[tuple[int, int], deque[_Item]] = {}
        while True:
            shape = next((s for s, items in waiting.items() if len(items) >= self._batch), None)
            if shape is None:
                # No more than a full batch: the rest is for the other threads that do this.
                try:
                    items = self._to_color.get(block=not waiting)
                except queue.Empty:
                    shape = next(iter(waiting))
                else:
                    if items is None:
                        return
                    for item in items:
                        waiting.setdefault((item.lightness.shape[0], item.lightness.shape[1]), deque()).append(item)
                    continue
            bucket = waiting[shape]
            batch = [bucket.popleft() for _ in range(min(self._batch, len(bucket)))]
            if not bucket:
                del waiting[shape]
            self._color([item for item in batch if not item.coloring.over])

    def _color(self, batch: list[_Item]) -> None:
        """Run the network on a batch, on halves of it where memory is short, on single ones where it raises."""
        if not batch:
            return
        if self._stop():
            # dozens may be waiting: a person who asks for an end is not kept until they are through
            for item in batch:
                self._give_up(item.coloring)
            return
        start = time.perf_counter()
        try:
            answers = infer(self._session, [item.lightness for item in batch], [item.controls for item in batch])
        except OutOfMemoryError as error:
            self._color_smaller(batch, error)
            return
        except Exception as error:
            if len(batch) > 1:
                for item in batch:
                    self._color([item])
            else:
                self._fail_coloring(batch[0].coloring, error)
            return
        seconds = (time.perf_counter() - start) / len(batch)
        for item, answer in zip(batch, answers, strict=True):
            item.coloring.seconds += seconds
            if isinstance(answer, PhotoError):
                self._fail_coloring(item.coloring, answer)
                continue
            item.coloring.parts[item.window] = answer
            if len(item.coloring.parts) == len(item.coloring.flight.prepared.windows.starts):
                self._to_encode.put(item.coloring)

    def _color_smaller(self, batch: list[_Item], error: OutOfMemoryError) -> None:
        height, width = batch[0].lightness.shape
        if len(batch) == 1:
            self._fail_coloring(batch[0].coloring, too_large(self._session, (height, width), error))
            return
        half = len(batch) // 2
        if half < self._batch:
            self._batch = half
            message = f"Out of memory with {len(batch)} photographs at a time; going on with {half}."
            self._events.put(event("notice", {"message": message, "batch_size": half}))
        for start in range(0, len(batch), half):
            self._color(batch[start : start + half])

    def _fail_coloring(self, coloring: _Coloring, error: Exception) -> None:
        if coloring.over:
            return
        coloring.over = True
        self._end_badly(coloring.flight.prepared.task, coloring.output, error, coloring.flight.prepared)
        self._leave(coloring.flight)

    def _give_up(self, coloring: _Coloring) -> None:
        """Leave it for the next run."""
        if not coloring.over:
            coloring.over = True
            self._leave(coloring.flight)

    def _encode_loop(self) -> None:
        while (coloring := self._to_encode.get()) is not None:
            flight, output = coloring.flight, coloring.output
            pixels = flight.prepared.photo.height * flight.prepared.photo.width
            self._encoding.acquire(pixels)
            try:
                self._encode(coloring)
            except Exception as error:
                if isinstance(error, OutputError):
                    # the next photograph would meet the same fault
                    self._fatal = self._fatal or error
                    self._stop.request()
                self._end_badly(flight.prepared.task, output, error, flight.prepared)
            finally:
                self._encoding.release(pixels)
                self._leave(flight)

    def _encode(self, coloring: _Coloring) -> None:
        prepared, output = coloring.flight.prepared, coloring.output
        journal = self._journals[prepared.task.found.root]
        info, parameters = self._session.info, self._parameters
        identity = _identity(prepared.task, output) | {
            "model": info.name,
            "weights_sha256": info.weights_sha256,
            "parameters": parameters.record(),
        }
        journal.append(event("photo.start", identity))
        parts = [coloring.parts[window] for window in range(len(coloring.parts))]
        result = finish(
            prepared,
            output,
            parts,
            info,
            parameters,
            self._canvases,
            fsync=self._execution.fsync,
            verify=self._execution.verify,
        )
        photo, fidelity = prepared.photo, asdict(result.fidelity)
        seconds = {**prepared.seconds, "network": coloring.seconds, **result.seconds}
        record = event(
            "photo.done",
            identity
            | _input_fields(prepared)
            | {
                "status": "done",
                "output_size": result.written.size,
                "output_sha256": result.written.sha256,
                "format": result.format,
                "bits": result.bits,
                "width": photo.width,
                "height": photo.height,
                "kind": photo.kind,
                "notes": list(result.notes),
                "controls": self._controls(output),
                "seconds": {stage: round(value, 4) for stage, value in seconds.items()},
            }
            | {name: round(float(value), 6) for name, value in fidelity.items()},
        )
        journal.append(record)
        self._events.put(record)

    def _controls(self, output: Output) -> dict[str, object]:
        settings, sample = variant(self._parameters.settings, output.sample)
        return {one.name: one.record(settings, sample) for one in controls(self._session.info.controls)}

    def _end_badly(self, task: Task, output: Output, error: Exception, prepared: Prepared | None) -> None:
        """Journal and announce that an output was not made."""
        skipped = isinstance(error, SkippedError)
        fields = _identity(task, output) | _stated_input(task, prepared)
        fields |= {"status": "skipped" if skipped else "failed", "reason": _reason(error, task.found.path)}
        if isinstance(error, SkippedError):
            fields["code"] = error.code
        record = event("photo.skipped" if skipped else "photo.failed", fields)
        try:
            self._journals[task.found.root].append(record)
        except OutputError as fault:
            self._fatal = self._fatal or fault
            self._stop.request()
        trace = "" if isinstance(error, SkippedError | ColorcliError) else "".join(traceback.format_exception(error))
        self._events.put({**record, "trace": trace})

    def _leave(self, flight: _Flight) -> None:
        if flight.close_one():
            self._budget.release(flight.prepared.task.pixels)


def _identity(task: Task, output: Output) -> dict[str, object]:
    return {
        "input": task.found.relative,
        "source": os.path.abspath(task.found.path),  # noqa: PTH100 - resolve() would follow links
        "sample": output.sample,
        "output": output.relative,
    }


def _input_fields(prepared: Prepared) -> dict[str, object]:
    given = prepared.input
    return {"input_size": given.size, "input_mtime_ns": given.mtime_ns, "input_sha256": given.sha256}


def _stated_input(task: Task, prepared: Prepared | None) -> dict[str, object]:
    if prepared is not None:
        return _input_fields(prepared)
    return {"input_size": task.found.size, "input_mtime_ns": task.found.mtime_ns}


def _reason(error: Exception, path: Path) -> str:
    """Why, as a clause to be put after the name of the photograph."""
    if isinstance(error, MemoryError):
        return "out of memory: this machine has too little for it; try --jobs 1"
    if isinstance(error, ColorcliError | SkippedError):
        return str(error).removeprefix(f"{printable(os.fspath(path))} ").rstrip(".")
    return f"unexpected {type(error).__name__}: {error}"


def _record_times(plan: Plan, execution: Execution) -> None:
    """Journal the new times of inputs that have the content they had, so that they are not hashed again."""
    for root in sorted({found.root for found, _ in plan.touched}):
        journal = Journal(root, fsync=execution.fsync)
        for found, output in plan.touched:
            if found.root == root:
                fields = {"input": found.relative, "sample": output.sample, "output": output.relative}
                journal.append(event("photo.touched", {**fields, "input_mtime_ns": found.mtime_ns}), sync=False)
        journal.close()


def _verdict_event(verdict: Verdict) -> Event:
    fields: dict[str, object] = {"input": verdict.relative}
    if verdict.found is not None:
        fields["source"] = os.path.abspath(verdict.found.path)  # noqa: PTH100
    fields |= {"sample": verdict.sample, "output": verdict.output, "status": verdict.status}
    return event(f"photo.{verdict.status}", fields | {"code": verdict.code, "reason": verdict.reason})


def _count(report: Report, record: Event) -> None:
    kind = record["event"]
    if kind == "photo.done":
        report.done += 1
        report.megapixels += int(str(record["width"])) * int(str(record["height"])) / 1e6
    elif kind in ("photo.failed", "photo.skipped"):
        failure = Failure(str(record["input"]), str(record["reason"]), str(record.get("trace", "")))
        if kind == "photo.failed":
            report.failures.append(failure)
        else:
            report.skips.append(failure)
            report.skipped += 1
            report.conflicts += record.get("code") in CONFLICTS


def _run_start(
    plan: Plan, session: Session, parameters: Parameters, execution: Execution, configuration: Mapping[str, object]
) -> Event:
    info = session.info
    return event(
        "run.start",
        {
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
            "parameters": parameters.record(),
            "execution": asdict(execution),
            "device": session.device,
            "precision": session.precision,
            "compiled": session.compiled,
            "backend": session.backend,
            "threads": session.threads,
            "matched": plan.matched,
            "already_done": plan.already,
            "pending": plan.pending,
        },
    )


def _version_of(library: str) -> str | None:
    try:
        return metadata.version(library)
    except metadata.PackageNotFoundError:
        return None
