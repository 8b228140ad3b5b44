"""Threads of this process: decode -> network -> join and encode.

Threads decode and encode; one thread runs the network, or as many as the session allows. The pixels in flight are
bounded, so memory use does not grow with the size or number of photographs. A result depends only on the photograph,
the parameters and the weights.
"""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from colorcli.color import join
from colorcli.colorize.events import Event, notice
from colorcli.colorize.executors import Append, Facts, Work
from colorcli.colorize.inbox import measured
from colorcli.colorize.memory import Canvases, PixelBudget
from colorcli.colorize.photograph import (
    Prepared,
    done_record,
    draw_controls,
    finish,
    prepare,
    start_record,
    trace_of,
    unmade_record,
)  # fmt: skip
from colorcli.colorize.plan import Output, Task
from colorcli.errors import ColorcliError, OutputError, PhotoError
from colorcli.pipeline.coloring import infer, too_large
from colorcli.pipeline.uncertainty import Ground
from colorcli.sessions.session import Controls, ModelInfo, OutOfMemoryError, Session

_GPU_BATCH = 16
# Measured with bigcolor lite: on the CPU, larger batches take more time per photograph, not less, and batches of one
# make the bytes of a result independent of what else is in the run.
_CPU_BATCH = 1
_PATIENCE = 5.0


@dataclass
class _Flight:
    """A photograph in flight; ``open`` is the number of its outputs that have not ended yet."""

    prepared: Prepared
    open: int
    lock: threading.Lock = field(default_factory=threading.Lock)

    def close_one(self) -> bool:
        """Count one output as ended; returns whether it was the last."""
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
        return self.coloring.flight.prepared.lightness[self.window]

    @property
    def controls(self) -> Controls:
        return self.coloring.controls[self.window]


class LocalExecutor:
    """Colours in threads of this process; see ``executors.Executor``."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._session: Session
        self._ground: Ground | None = None

    def prepare(self, observe: Callable[[Event], None]) -> Facts:
        """See ``Executor.prepare``."""
        session = self._session = self._work.open_model()
        self._ground = self._work.open_ground(session)
        if not self._work.stop():
            from colorcli.color.compiled import announcing  # imports numba

            message = "Compiling for this machine's processor, once; this takes half a minute at most."
            # If the join fails here, it will fail the first photograph, where it is reported.
            with announcing(lambda: observe(notice(message))), contextlib.suppress(Exception):
                join.warm_up()
        return Facts(session.device, session.precision, session.backend, session.compiled, session.threads)

    @property
    def info(self) -> ModelInfo:
        """``info`` of the opened model."""
        return self._session.info

    def carry_out(self, tasks: Sequence[Task], append: Append) -> Generator[Event, None, None]:
        """See ``Executor.carry_out``."""
        return _Line(self._session, self._work, append, self._ground).carry_out(tasks)


class _Line:
    """The pipeline's threads and the queues between them."""

    def __init__(self, session: Session, work: Work, append: Append, ground: Ground | None) -> None:
        self._session, self._append, self._ground = session, append, ground
        self._parameters, self._execution, self._stop = work.parameters, work.execution, work.stop
        self._batch = self._execution.batch_size or (_CPU_BATCH if session.device == "cpu" else _GPU_BATCH)
        self._budget = PixelBudget(self._execution.max_pixels)
        self._encoding = PixelBudget(self._execution.max_pixels)
        self._canvases = Canvases(3 * self._execution.max_pixels)
        self._to_decode: queue.Queue[Task | None] = queue.Queue()
        self._to_color: queue.Queue[list[_Item] | None] = queue.Queue()
        self._to_encode: queue.Queue[_Coloring | None] = queue.Queue()
        self._events: queue.Queue[Event] = queue.Queue()
        self._fed = threading.Event()
        self._abandoned = threading.Event()
        self._threads: list[threading.Thread] = []
        self._fatal: ColorcliError | None = None
        self._crash: BaseException | None = None

    def carry_out(self, tasks: Sequence[Task]) -> Generator[Event, None, None]:
        """Run to the end of the tasks, or until a stop and the end of what is in flight."""
        jobs = self._execution.jobs
        loops = [self._color_loop] * self._session.streams + [self._decode_loop] * jobs + [self._encode_loop] * jobs
        self._start(lambda: self._feed(tasks))
        for loop in loops:
            self._start(loop)
        try:
            yield from self._ends()
        except BaseException:
            # the caller gives up: do not wait for threads in native code
            self._abandoned.set()
            raise
        self._finish()
        for error in (self._crash, self._fatal):
            if error is not None:
                raise error

    def _finish(self) -> None:
        """End the threads: one in native code while the interpreter shuts down would crash the process."""
        self._abandoned.set()
        for _ in range(self._execution.jobs):
            self._to_decode.put(None)
            self._to_encode.put(None)
        for _ in range(self._session.streams):
            self._to_color.put(None)
        for thread in self._threads:
            thread.join(_PATIENCE if self._crash else None)

    def _ends(self) -> Iterator[Event]:
        while self._crash is None:
            # checked before the queue: photographs in flight put their events before they leave the budget
            finished = self._fed.is_set() and self._budget.idle
            try:
                yield self._events.get(timeout=0.0 if finished else 0.1)
            except queue.Empty:
                if finished:
                    return

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

    def _feed(self, tasks: Sequence[Task]) -> None:
        for task in map(measured, tasks):
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
                colorings = self._begun(task)
            except Exception as error:
                for output in task.outputs:
                    self._end_badly(task, output, error, None)
                self._budget.release(task.pixels)
                continue
            for coloring in colorings:
                self._to_color.put([_Item(coloring, window) for window in range(len(coloring.controls))])

    def _begun(self, task: Task) -> list[_Coloring]:
        """Decode a photograph and draw its controls: everything that can fail before the network."""
        info = self._session.info
        prepared = prepare(task, info, self._parameters, self._execution)
        flight, parameters = _Flight(prepared, len(task.outputs)), self._parameters.of(task.found.relative)
        return [_Coloring(flight, output, draw_controls(prepared, output, info, parameters)) for output in task.outputs]

    def _color_loop(self) -> None:
        """Run batches of one shape: full ones first, otherwise whatever is there, without waiting."""
        waiting: dict[tuple[int, int], deque[_Item]] = {}
        while True:
            shape = next((s for s, items in waiting.items() if len(items) >= self._batch), None)
            if shape is None:
                # Take no more than a full batch: the rest is for the other threads of this kind.
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
        """Run the network on a batch; on halves if memory runs out, and one by one if it raises."""
        if not batch:
            return
        if self._stop():
            # dozens may be queued: a person who asks to stop should not have to wait for them
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
            if len(item.coloring.parts) == len(item.coloring.flight.prepared.lightness):
                self._to_encode.put(item.coloring)

    def _color_smaller(self, batch: list[_Item], error: OutOfMemoryError) -> None:
        height, width = batch[0].lightness.shape
        if len(batch) == 1:
            self._fail_coloring(batch[0].coloring, too_large(self._session, (height, width), error))
            return
        half = len(batch) // 2
        if half < self._batch:
            self._batch = half
            message = f"Out of memory with {len(batch)} photographs at a time; continuing with {half}."
            self._events.put({**notice(message), "batch_size": half})
        for start in range(0, len(batch), half):
            self._color(batch[start : start + half])

    def _fail_coloring(self, coloring: _Coloring, error: Exception) -> None:
        if coloring.over:
            return
        coloring.over = True
        self._end_badly(coloring.flight.prepared.task, coloring.output, error, coloring.flight.prepared)
        self._leave(coloring.flight)

    def _give_up(self, coloring: _Coloring) -> None:
        """Leave an output for the next run."""
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
        info, root = self._session.info, prepared.task.found.root
        parameters = self._parameters.of(prepared.task.found.relative)
        start = start_record(prepared.task, output, info, parameters)
        self._append(root, start)
        parts = [coloring.parts[window] for window in range(len(coloring.parts))]
        result = finish(
            prepared,
            output,
            parts,
            info,
            parameters,
            self._canvases,
            signer=self._execution.signer,
            fsync=self._execution.fsync,
            verify=self._execution.verify,
            insist=self._execution.recolor,
            keep_times=self._execution.keep_times,
            ground=self._ground,
        )
        record = done_record(start, prepared, result, info, parameters, coloring.seconds)
        self._append(root, record)
        self._events.put(record)

    def _end_badly(self, task: Task, output: Output, error: Exception, prepared: Prepared | None) -> None:
        """Journal and announce that an output was not made."""
        record = unmade_record(task, output, error, prepared)
        try:
            self._append(task.found.root, record)
        except OutputError as fault:
            self._fatal = self._fatal or fault
            self._stop.request()
        self._events.put({**record, "trace": trace_of(error)})

    def _leave(self, flight: _Flight) -> None:
        if flight.close_one():
            self._budget.release(flight.prepared.task.pixels)
