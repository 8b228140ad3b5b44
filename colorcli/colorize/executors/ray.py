"""Workers of a Ray cluster: each has a session and the local production line; the driver plans and keeps the journal.

Ray starts the workers where there is room, carries tasks and records, and says when a worker is lost. This module
decides which photographs go out together, and what happens to those of a lost worker. Inputs and outputs are read and
written where the workers are, under the same paths as on the driver's machine.
"""

from __future__ import annotations

import importlib
import os
import signal
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

import colorcli
from colorcli.colorize.events import Event, PhotoDone, PhotoStart, PhotoUnmade, notice
from colorcli.colorize.executors import Append, Facts, OpenGroundRemotely, OpenRemotely, Work
from colorcli.colorize.executors.local import LocalExecutor
from colorcli.colorize.options import Execution, Parameters
from colorcli.colorize.photograph import start_record, unmade_record
from colorcli.colorize.plan import Task
from colorcli.environment import install_command
from colorcli.errors import ColorcliError, DeviceError, OutputError, PhotoError, StoppedError, UsageError
from colorcli.sessions.machine import available_cpus
from colorcli.sessions.session import ModelInfo
from colorcli.stopping import Stop

_PORT = 6379
# A chunk is one message each way. It has enough pixels that a worker's threads are seldom idle at its end, and so few
# that a lost worker costs a minute.
_CHUNK_PIXELS, _CHUNK_OUTPUTS = 256_000_000, 64
_CHUNKS_EACH = 8  # at least, so that workers of different speed end together
_AHEAD = 2  # chunks of a worker: one in progress and one queued
_WORKER_LOSSES, _CHUNK_LOSSES = 4, 3
_GLANCE = 0.5
_PATIENCE = 20.0  # seconds after which a person wants to know the reason for a wait
_STORE = 100 << 20  # bytes of Ray's shared memory: messages are small, photographs do not travel
_CONTROL = "control"


@dataclass(frozen=True)
class _About:
    """A worker that is ready: its machine, how it runs the model and which, and its version of colorcli."""

    host: str
    facts: Facts
    info: ModelInfo
    version: str


@dataclass(frozen=True)
class _Answer:
    """What became of a chunk: lines for the journals of output folders, and the events; ``error`` ends the run."""

    lines: list[tuple[Path, PhotoDone | PhotoUnmade]]
    ends: list[Event]
    error: OutputError | None = None


class _Worker:
    """An actor: one session, and the local production line for each chunk."""

    def __init__(
        self,
        open_model: OpenRemotely,
        open_ground: OpenGroundRemotely | None,
        parameters: Parameters,
        execution: Execution,
    ) -> None:
        self._stop = Stop()
        self._host = socket.gethostname()
        threads = execution.jobs
        self._executor = LocalExecutor(
            Work(
                lambda: open_model(threads=threads),
                parameters,
                execution,
                self._stop,
                open_ground=lambda session: None if open_ground is None else open_ground(session, threads=threads),
            )
        )

    def open(self) -> _About:
        """Make the model ready."""
        facts = self._executor.prepare(lambda event: None)
        return _About(self._host, facts, self._executor.info, colorcli.__version__)

    def color(self, tasks: Sequence[Task]) -> _Answer:
        """Colour a chunk."""
        for root in {task.found.root for task in tasks}:
            if not root.is_dir():
                raise DeviceError(f"it does not see {root}")
        lines: list[tuple[Path, PhotoDone | PhotoUnmade]] = []
        ends: list[Event] = []

        def keep(root: Path, record: PhotoStart | PhotoDone | PhotoUnmade, *, sync: bool = True) -> None:
            if record["event"] != "photo.start":  # which the driver has journalled
                record["worker"] = self._host
                lines.append((root, record))

        try:
            ends.extend(self._executor.carry_out(tasks, keep))
        except OutputError as error:
            return _Answer(lines, ends, error)
        return _Answer(lines, ends)

    def drain(self) -> None:
        """Finish what is in flight; begin nothing new."""
        self._stop.request()


@dataclass(eq=False)
class _Chunk:
    """Photographs that travel together; ``lost`` counts the workers that they ended, ``losers`` are those' slots."""

    tasks: list[Task]
    lost: int = 0
    losers: set[int] = field(default_factory=set)


@dataclass(eq=False)
class _Slot:
    """One of the workers; a lost one is replaced. ``losses`` counts those lost here without a result."""

    number: int
    actor: Any
    starting: Any
    about: _About | None = None
    pending: dict[Any, _Chunk] = field(default_factory=dict)
    losses: int = 0


class RayExecutor:
    """Colours on the workers of a Ray cluster; see ``executors.Executor``.

    Args:
        work: what to work with; ``open_remotely`` is what the workers open.
        address: of a cluster: ``auto``, ``HOST`` or ``HOST:PORT`` of its head, or ``ray://HOST:PORT``. None takes that
            in ``RAY_ADDRESS``, or starts Ray on this machine for the time of the run.
        workers: how many; None takes as many as the cluster has room for.
        gpus_per_worker: of which each has its own; a fraction shares one.

    Raises:
        UsageError: Ray is not installed.
    """

    def __init__(
        self, work: Work, *, address: str | None = None, workers: int | None = None, gpus_per_worker: float = 0.0
    ) -> None:
        try:
            self._ray: Any = importlib.import_module("ray")
        except ImportError as error:
            raise UsageError(f"--engine ray needs Ray: {install_command('ray')}.") from error
        if work.open_remotely is None:
            raise UsageError("This model cannot be opened by workers elsewhere; omit --engine.")
        self._work, self._open = work, work.open_remotely
        self._address, self._workers, self._gpus = address, workers, gpus_per_worker
        self._slots: list[_Slot] = []
        self._said: list[str] = []
        self._first: _About | None = None
        self._fault: ColorcliError | None = None
        self._ours = False
        self._idle_since: float | None = None

    def prepare(self, observe: Callable[[Event], None]) -> Facts:
        """See ``Executor.prepare``; the first worker that is ready says how all of them are to run the model."""
        try:
            self._connect()
            # a group of its own, so that it is heard while a chunk is being coloured
            self._actor_class = self._ray.remote(concurrency_groups={_CONTROL: 1})(_Worker)
            count = self._workers or self._room()
            observe(notice(f"Starting {count} worker{'s' if count > 1 else ''} on {self._machines()}."))
            self._slots = [self._start(number) for number in range(count)]
            self._first = self._first_ready(observe)
        except BaseException:
            self._disconnect()
            raise
        return self._first.facts

    def carry_out(self, tasks: Sequence[Task], append: Append) -> Generator[Event, None, None]:
        """See ``Executor.carry_out``. Raises DeviceError where no worker is left."""
        waiting = deque(_chunks(tasks, len(self._slots)))
        fatal: ColorcliError | None = None
        draining = False
        try:
            while waiting or any(slot.pending for slot in self._slots):
                if (self._work.stop() or fatal) and not draining:
                    draining = True
                    waiting.clear()
                    for slot in self._slots:
                        slot.actor.drain.options(concurrency_group=_CONTROL).remote()
                if not self._slots:
                    fatal = fatal or DeviceError("No worker is left; run again to continue.")
                    break
                self._hand_out(waiting, append)
                for answer in self._look(None if draining else waiting):
                    fatal = fatal or answer.error
                    for root, lines in groupby(answer.lines, key=itemgetter(0)):
                        _append_all(root, [line for _, line in lines], append)
                    yield from answer.ends
                self._watch_idleness(bool(waiting))
                while self._said:
                    yield notice(self._said.pop(0))
        finally:
            self._disconnect()
        if fatal is not None:
            raise fatal

    def _connect(self) -> None:
        address = self._address or os.environ.get("RAY_ADDRESS") or "local"
        if address not in ("auto", "local") and ":" not in address:
            address = f"{address}:{_PORT}"
        self._ours = not self._ray.is_initialized()
        if not self._ours:
            return
        options: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
        if address == "local":
            os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # no telemetry
            options |= {"num_cpus": available_cpus(), "object_store_memory": _STORE, "include_dashboard": False}
        try:
            with _handlers_kept():
                self._ray.init(address=address, **options)
        except (ConnectionError, RuntimeError, ValueError) as error:
            reason = str(error).strip().split("\n")[0].rstrip(".")
            if address == "local":
                raise DeviceError(f"Ray cannot be started on this machine: {reason}.") from error
            raise DeviceError(
                f"No Ray cluster answers at {address}: {reason}. 'ray start --head' starts one."
            ) from error

    def _first_ready(self, observe: Callable[[Event], None]) -> _About:
        start: float | None = time.monotonic()
        while self._first is None:
            if self._work.stop():
                raise StoppedError("Stopped while workers were being started.")
            if not self._slots:
                raise self._fault or DeviceError(self._said[-1])
            if start is not None and time.monotonic() - start > _PATIENCE:
                observe(notice("Still waiting for the cluster to start a worker; 'ray status' shows what is in use."))
                start = None
            self._look(None)
        return self._first

    def _watch_idleness(self, work: bool) -> None:
        """Say once when there is work and nobody to do it."""
        idle = work and not any(slot.about for slot in self._slots)
        if not idle:
            self._idle_since = None
        elif self._idle_since is None:
            self._idle_since = time.monotonic() + _PATIENCE
        elif time.monotonic() > self._idle_since:
            self._idle_since = float("inf")
            self._said.append("No worker is running; waiting for the cluster to start one. Ctrl-C ends the run.")

    def _disconnect(self) -> None:
        for slot in self._slots:
            self._ray.kill(slot.actor)
        self._slots = []
        if self._ours:
            self._ray.shutdown()
            self._ours = False

    def _room(self) -> int:
        """Workers that fit on the machines there are."""
        cpus, fit = self._work.execution.jobs, 0
        for node in self._ray.nodes():
            there = node["Resources"] if node["Alive"] else {}
            rooms = [there.get("CPU", 0) // cpus] + ([there.get("GPU", 0) // self._gpus] if self._gpus else [])
            fit += int(min(rooms))
        if not fit:
            gpus = f" and {self._gpus:g} GPUs" if self._gpus else ""
            raise DeviceError(
                f"No machine of the cluster has the {cpus} CPUs{gpus} of a worker; lower --jobs or --gpus-per-worker, "
                "or give --workers to wait for one that has."
            )
        return fit

    def _machines(self) -> str:
        names = {node["NodeManagerHostname"] for node in self._ray.nodes() if node["Alive"]}
        return f"{len(names)} machines" if len(names) > 1 else next(iter(names), "no machine")

    def _start(self, number: int, losses: int = 0) -> _Slot:
        room = {"num_cpus": self._work.execution.jobs, "num_gpus": self._gpus}
        actor = self._actor_class.options(**room).remote(
            self._open, self._work.open_ground_remotely, self._work.parameters, _anywhere(self._work.execution)
        )
        return _Slot(number, actor, actor.open.remote(), losses=losses)

    def _hand_out(self, waiting: deque[_Chunk], append: Append) -> None:
        """Give every worker its next chunks; a chunk that ended a worker goes to another one, if there is one."""
        ready = [slot for slot in self._slots if slot.about]
        numbers = {slot.number for slot in ready}
        for slot in ready:
            while len(slot.pending) < _AHEAD:
                chunk = next((c for c in waiting if slot.number not in c.losers or c.losers >= numbers), None)
                if chunk is None:
                    break
                waiting.remove(chunk)
                self._record_starts(chunk, append)
                slot.pending[slot.actor.color.remote(chunk.tasks)] = chunk

    def _record_starts(self, chunk: _Chunk, append: Append) -> None:
        """Journal the starts before any worker can give an output its final name."""
        assert self._first is not None
        info, parameters = self._first.info, self._work.parameters
        for root, tasks in groupby(chunk.tasks, key=lambda task: task.found.root):
            starts = [start_record(task, output, info, parameters) for task in tasks for output in task.outputs]
            _append_all(root, starts, append)

    def _look(self, waiting: deque[_Chunk] | None) -> list[_Answer]:
        """The results of a moment's wait. Chunks of lost workers return to ``waiting``; with None, they are dropped."""
        awaited = {slot.starting: slot for slot in self._slots if slot.starting is not None}
        awaited |= {reference: slot for slot in self._slots for reference in slot.pending}
        if not awaited:
            return []
        ready, _ = self._ray.wait(list(awaited), num_returns=1, timeout=_GLANCE)
        answers: list[_Answer] = []
        for reference in ready:
            slot = awaited[reference]
            try:
                found = self._ray.get(reference)
            except self._ray.exceptions.RayError as error:
                answers += self._lose(slot, error, waiting)
                continue
            if reference == slot.starting:
                slot.starting = None
                self._admit(slot, found)
            else:
                del slot.pending[reference]
                slot.losses = 0
                answers.append(found)
        return answers

    def _admit(self, slot: _Slot, about: _About) -> None:
        """Accept a worker if it makes the same bytes as the others."""
        first = self._first = self._first or about
        if _kind(about) != _kind(first):
            self._leave_out(slot, f"{about.host} runs the model as {_kind(about)}, and {first.host} as {_kind(first)}")
        else:
            slot.about = about

    def _lose(self, slot: _Slot, error: Exception, waiting: deque[_Chunk] | None) -> list[_Answer]:
        """Queue a lost worker's chunks again, and start another in its place; its finished outputs count."""
        answers = []
        lost: list[_Chunk] = []
        for reference, chunk in slot.pending.items():
            there, _ = self._ray.wait([reference], timeout=0)
            try:
                answers += [self._ray.get(one) for one in there]
            except self._ray.exceptions.RayError:
                there = []
            lost += [] if there else [chunk]
        cause = getattr(error, "cause", None)
        reason = str(cause or error).strip().split("\n")[0].rstrip(".")
        host = slot.about.host if slot.about else "a machine of the cluster"
        if waiting is None and self._first is not None:  # the run is ending
            self._slots.remove(slot)
            return answers
        ours = isinstance(cause, ColorcliError)  # a fault of the machine, not of a photograph
        losses = slot.losses + 1
        if waiting is not None and lost:
            losses -= lost[0].lost > 0  # a photograph is already the suspect
            if ours:
                waiting.extendleft(reversed(lost))
            else:
                self._blame(lost[0], slot.number, reason, waiting, answers)
                waiting.extendleft(reversed(lost[1:]))
        self._ray.kill(slot.actor)
        if ours or losses >= _WORKER_LOSSES:
            self._fault = cause if isinstance(cause, ColorcliError) else self._fault
            self._leave_out(slot, f"{host}: {reason}")
        else:
            if lost:
                self._said.append(f"A worker on {host} was lost; its photographs are done again by another ({reason}).")
            self._slots[self._slots.index(slot)] = self._start(slot.number, losses)
        return answers

    def _blame(self, chunk: _Chunk, number: int, reason: str, waiting: deque[_Chunk], answers: list[_Answer]) -> None:
        """Queue a chunk that ended a worker last, one by one; a photograph that ends every worker has failed."""
        lost, losers = chunk.lost + 1, chunk.losers | {number}
        if len(chunk.tasks) == 1 and lost >= _CHUNK_LOSSES:
            task = chunk.tasks[0]
            error = PhotoError(f"ended the process that coloured it {lost} times: {reason}")
            records = [unmade_record(task, output, error, None) for output in task.outputs]
            answers.append(_Answer([(task.found.root, record) for record in records], [*records]))
        else:
            waiting.extend(_Chunk([task], lost, losers) for task in chunk.tasks)

    def _leave_out(self, slot: _Slot, reason: str) -> None:
        self._said.append(f"Worker {slot.number + 1} is left out: {reason}.")
        self._ray.kill(slot.actor)
        self._slots.remove(slot)


def _kind(about: _About) -> str:
    """Whatever decides a result's bytes and can differ between workers."""
    facts, info = about.facts, about.info
    runs = f"{facts.backend} in {facts.precision} on {facts.device.split(':')[0]}"
    return f"{info.weights_sha256[:8]}… with {runs} (colorcli {about.version})"


def _anywhere(execution: Execution) -> Execution:
    """The same with absolute paths, since workers run in other folders."""
    signer = execution.signer
    if signer is None:
        return execution
    key, certificate = os.path.abspath(signer.key), os.path.abspath(signer.certificate)  # noqa: PTH100
    return replace(execution, signer=replace(signer, key=key, certificate=certificate))


@contextmanager
def _handlers_kept() -> Iterator[None]:
    """Restore the signal handlers, which drain the run: ``ray.init`` replaces that of SIGTERM."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    kept = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)


def _append_all(root: Path, records: Sequence[PhotoStart | PhotoDone | PhotoUnmade], append: Append) -> None:
    """Append records to a journal, with one sync for all."""
    for index, record in enumerate(records, 1):
        append(root, record, sync=index == len(records))


def _chunks(tasks: Sequence[Task], workers: int) -> Iterator[_Chunk]:
    """The tasks in order, several at a time, with absolute paths, which are the same on every machine."""
    share = max(1, workers) * _CHUNKS_EACH
    most_pixels = min(_CHUNK_PIXELS, sum(task.pixels * len(task.outputs) for task in tasks) // share)
    most = min(_CHUNK_OUTPUTS, sum(len(task.outputs) for task in tasks) // share)
    chunk, pixels, outputs = list[Task](), 0, 0
    for task in tasks:
        count = len(task.outputs)
        if chunk and (pixels + task.pixels * count > most_pixels or outputs + count > most):
            yield _Chunk(chunk)
            chunk, pixels, outputs = [], 0, 0
        origin = task.found.origin
        origin = replace(origin, path=Path(os.path.abspath(origin.path)))  # noqa: PTH100 - resolve() would follow links
        chunk.append(replace(task, found=replace(task.found, origin=origin)))
        pixels, outputs = pixels + task.pixels * count, outputs + count
    if chunk:
        yield _Chunk(chunk)
