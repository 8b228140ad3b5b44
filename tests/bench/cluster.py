"""What a cluster costs beyond the local engine: CPU seconds of all processes, in one run on one machine (Linux)."""

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
    """CPU time a photograph of one and of two workers by that of the local engine, each with one thread."""
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
        print(f"{name}: {1000 * cost[name]:.1f} ms CPU a photograph, {count / meter.wall:.2f} photos/s")
    return [
        Row(f"CPU a photograph, {name}, by the local engine", f"{cost[name] / cost['local']:.2f}", "≤ 1.10")
        for name in engines
        if name != "local"
    ]


class _Metered:
    """An executor whose time is taken from its first task to its last record, while its workers are there."""

    def __init__(self, make: Callable[[Work], Executor]) -> None:
        self._make = make
        self._executor: Executor
        self.cpu = self.wall = 0.0

    def __call__(self, work: Work) -> Executor:
        self._executor = self._make(work)
        return self

    def prepare(self, observe: Callable[[Event], None]) -> Facts:
        return self._executor.prepare(observe)

    def carry_out(self, tasks: Sequence[Task], append: Append) -> Generator[Event, None, None]:
        cpu, wall = _cpu_seconds(), time.perf_counter()
        for event in self._executor.carry_out(tasks, append):
            self.cpu, self.wall = _cpu_seconds() - cpu, time.perf_counter() - wall
            yield event


def _cpu_seconds() -> float:
    """Of this process and all that descend from it."""
    parents: dict[int, list[int]] = {}
    ticks: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal():
            continue
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        parents.setdefault(int(fields[1]), []).append(int(entry.name))
        ticks[int(entry.name)] = sum(int(field) for field in fields[11:15])
    pending, total = [os.getpid()], 0
    while pending:
        process = pending.pop()
        total += ticks.get(process, 0)
        pending += parents.get(process, [])
    return total / _TICK
