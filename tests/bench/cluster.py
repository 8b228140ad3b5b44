"""What a cluster costs beyond the local engine: CPU seconds of all processes, in one run on one machine (Linux).

CPU time, not wall time, since all workers share the cores of one machine.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Generator, Sequence
from functools import partial
from pathlib import Path

from colorcli.colorize.events import Event
from colorcli.colorize.executors import Append, Executor, Facts, Work
from colorcli.colorize.executors.local import LocalExecutor
from colorcli.colorize.executors.ray import RayExecutor
from colorcli.colorize.options import Execution
from colorcli.colorize.plan import Task
from colorcli.colorize.run import Request, Run

from .common import Row, photographs

_TICK = os.sysconf("SC_CLK_TCK")


def measure(folder: Path, model: str, backend: str, count: int) -> list[Row]:
    """CPU time per photograph of one and of two workers relative to the local engine, each with one thread.

    Also prints what limits the number of workers of one driver: the driver's own share of that time, and a worker's
    memory.
    """
    photos = photographs(folder / "photos", count, (500, 375))
    engines: dict[str, Callable[[Work], Executor]] = {"local": LocalExecutor}
    engines |= {f"{n} worker{'s' * (n > 1)}": partial(RayExecutor, workers=n) for n in (1, 2)}
    cost = {}
    for name, executor in engines.items():
        request = Request(
            (photos,), output=folder / name, model=model, backend=backend, device="cpu", execution=Execution(jobs=1)
        )
        meter = _Metered(executor)
        done = Run(request).carry_out(executor=meter)
        assert done.done == count, done
        cost[name] = meter.cpu / count
        driver = f"{1000 * meter.own / count:.2f} ms of them in this process"
        print(f"{name}: {1000 * cost[name]:.1f} ms CPU a photograph, {driver}; peak of a worker {meter.peak:.0f} MiB")
    return [
        Row(f"CPU a photograph, {name}, by the local engine", f"{cost[name] / cost['local']:.2f}", "≤ 1.10")
        for name in engines
        if name != "local"
    ]


class _Metered:
    """An executor that is timed from its first task to its last record, while its workers exist."""

    def __init__(self, make: Callable[[Work], Executor]) -> None:
        self._make = make
        self._executor: Executor
        self.cpu = self.own = self.peak = 0.0

    def __call__(self, work: Work) -> Executor:
        self._executor = self._make(work)
        return self

    def prepare(self, observe: Callable[[Event], None]) -> Facts:
        facts = self._executor.prepare(observe)
        if isinstance(self._executor, RayExecutor):
            # Only its first worker is ready, and opening models does not count.
            while not all(slot.about for slot in self._executor._slots):
                self._executor._look(None)
        return facts

    def carry_out(self, tasks: Sequence[Task], append: Append) -> Generator[Event, None, None]:
        cpu, own = _cpu_seconds(), time.process_time()
        ended = 0
        for event in self._executor.carry_out(tasks, append):
            self.own = time.process_time() - own
            ended += event["event"] == "photo.done"
            if ended == len(tasks):  # shutting the cluster down does not count
                self.cpu = _cpu_seconds() - cpu
                self.peak = max(map(_peak, _family()))
            yield event


def _family() -> list[str]:
    """This process and all that descend from it."""
    children: dict[str, list[str]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and (fields := _stat(entry.name)):
            children.setdefault(fields[1], []).append(entry.name)
    family = [str(os.getpid())]
    for process in family:
        family += children.get(process, [])
    return family


def _cpu_seconds() -> float:
    """CPU seconds of the family, including processes that have ended."""
    return sum(int(ticks) for process in _family() for ticks in _stat(process)[11:15]) / _TICK


def _stat(process: str) -> list[str]:
    """Fields of ``/proc/PID/stat`` from the state on; none if it has ended."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def _peak(process: str) -> float:
    """Highest resident memory of a worker so far, MiB; 0 for other processes."""
    try:
        is_worker = Path(f"/proc/{process}/cmdline").read_bytes().startswith(b"ray::_Worker")
        status = Path(f"/proc/{process}/status").read_text() if is_worker else ""
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmHWM")), 0.0)
