"""Progress of a run on stderr: a bar on a terminal, occasional lines elsewhere, nothing when quiet."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.text import Text

from colorcli.cli.output import PATIENCE, fitted, note
from colorcli.text import printable

_INTERVAL = 30.0
_FIRST_INTERVAL = 5.0
_WAIT_INTERVAL = 10.0
_MACHINES = 4  # that are listed by name
_STAGES = (("decode", ("hash", "decode", "resize")), ("network", ("network",)), ("encode", ("join", "encode")))


class Display(Protocol):
    """Shows the events of a run as they come; a context manager around the run."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def show(self, record: Mapping[str, object]) -> None:
        """Show an event."""

    def say(self, text: str) -> None:
        """Write a line for people."""

    def wait(self, what: str, seconds: float) -> None:
        """Show what is being waited for, and for how long, before the first photograph."""


def display(
    total: int, *, quiet: bool, verbose: bool, work: Iterable[tuple[str, float]] = (), unit: str = "photos"
) -> Display:
    """The display for stderr, for a run with ``total`` outputs.

    ``work`` has the absolute input path and the estimated seconds of each output to be made, so that large photographs
    weigh more in the time left. Without it all weigh the same. ``unit`` says what the outputs are.
    """
    tally = _Tally(total, work, unit)
    if quiet:
        return _Silent()
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    if sys.stderr.isatty() and not console.is_dumb_terminal:
        return _Bar(tally, console, verbose=verbose)
    return _Lines(tally, verbose=verbose)


class _Silent:
    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return

    def show(self, record: Mapping[str, object]) -> None:
        """Nothing."""

    def say(self, text: str) -> None:
        """Nothing."""

    def wait(self, what: str, seconds: float) -> None:
        """Nothing."""


class _Tally:
    """Counts, how much of the work is done, and a moving average of the seconds that each stage takes."""

    def __init__(self, total: int, work: Iterable[tuple[str, float]], unit: str) -> None:
        self.total, self._unit = total, unit
        outputs = list(work)
        self._work = dict(outputs)
        self._total_work = sum(seconds for _, seconds in outputs)
        self._work_done = 0.0
        self.counts = {"done": 0, "skipped": 0, "failed": 0}
        self._seconds: dict[str, float] = {}
        self._machines: Counter[str] = Counter()

    @property
    def ended(self) -> int:
        return sum(self.counts.values())

    def take(self, record: Mapping[str, object]) -> bool:
        """Whether the event ended a photograph."""
        _, _, status = str(record["event"]).partition("photo.")
        if status not in self.counts:
            return False
        self.counts[status] += 1
        self._work_done += self._work.get(str(record.get("source")), 0.0)
        if "worker" in record:
            self._machines[str(record["worker"])] += 1
        seconds = record.get("seconds")
        if isinstance(seconds, dict):
            for stage, parts in _STAGES:
                if not any(part in seconds for part in parts):
                    continue
                spent = sum(float(seconds.get(part, 0)) for part in parts)
                self._seconds[stage] = spent + 0.9 * (self._seconds.get(stage, spent) - spent)
        return True

    @property
    def share_done(self) -> float:
        """Share of the work that is done, 0..1."""
        done, total = (self._work_done, self._total_work) if self._total_work else (self.ended, self.total)
        return min(done / total, 1.0) if total else 1.0

    def shown_counts(self) -> str:
        return ", ".join(f"{count} {status}" for status, count in self.counts.items())

    def shown_machines(self) -> str:
        """Photographs finished by each machine of a cluster; for many machines, only their number."""
        if len(self._machines) > _MACHINES:
            return f"{len(self._machines)} machines"
        return ", ".join(f"{printable(name)}: {count}" for name, count in sorted(self._machines.items()))

    def shown_rate(self, elapsed: float) -> str:
        """Outputs per second; empty before the first."""
        done = self.counts["done"]
        return f"{done / max(elapsed, 1e-3):.2f} {self._unit}/s" if done else ""

    def shown_stages(self) -> str:
        """Seconds of each stage for one photograph; rates would not add up, since several threads share the work."""
        times = ", ".join(f"{stage} {seconds:.2f}" for stage, seconds in self._seconds.items())
        return f"each: {times} s" if times else ""


def photo_line(record: Mapping[str, object]) -> str:
    """One line about a photograph that has ended."""
    name = printable(str(record["input"]))
    if record["event"] == "photo.done":
        notes = record.get("notes")
        return "; ".join([f"done {name}", *(str(note) for note in (notes if isinstance(notes, list) else ()))])
    return f"{record['status']} {name}: {printable(str(record['reason']))}"


class WaitingLines:
    """Occasional plain lines while something is waited for."""

    def __init__(self) -> None:
        self._what, self._next = "", 0.0

    def __call__(self, what: str, seconds: float) -> None:
        """Print what is being waited for, and for how long, if it is time for a line."""
        if what != self._what:
            self._what, self._next = what, 0.0
        if seconds >= self._next:
            self._next = seconds + _WAIT_INTERVAL
            note(f"{what}: {seconds:.0f} s" if seconds >= 1 else f"{what} …")


class _Lines:
    """Plain lines for logs."""

    def __init__(self, tally: _Tally, *, verbose: bool) -> None:
        self._tally, self._verbose = tally, verbose
        self._start = time.monotonic()
        self._next = self._start + _FIRST_INTERVAL
        self._waiting = WaitingLines()

    def __enter__(self) -> Self:
        self._start = time.monotonic()
        self._next = self._start + _FIRST_INTERVAL
        return self

    def __exit__(self, *_: object) -> None:
        return

    def show(self, record: Mapping[str, object]) -> None:
        if record["event"] == "run.start":
            self._start = time.monotonic()  # loading the model must not count towards the time left
        if not self._tally.take(record):
            return
        if self._verbose:
            self.say(photo_line(record))
        now = time.monotonic()
        if now >= self._next:
            self._next = now + _INTERVAL
            self.say(self._summary(now - self._start))

    def say(self, text: str) -> None:
        note(text)

    def wait(self, what: str, seconds: float) -> None:
        self._waiting(what, seconds)

    def _summary(self, elapsed: float) -> str:
        from tqdm import tqdm

        tally, share = self._tally, self._tally.share_done
        left = tqdm.format_interval(elapsed * (1 - share) / share) if share else "?"
        pace = ", ".join(filter(None, (tally.shown_rate(elapsed), f"{left} left")))
        parts = (
            f"{tally.ended}/{tally.total}, {pace}",
            tally.shown_counts(),
            tally.shown_machines(),
            tally.shown_stages(),
        )
        return "; ".join(filter(None, parts))


class _TwoLines(Progress):
    """A progress bar with a line of text below it: before the run is ready, how long that takes."""

    below = ""
    is_ready = False
    since = 0.0

    def get_renderables(self) -> Iterable[RenderableType]:
        yield from super().get_renderables()
        waited = time.monotonic() - self.since
        idle = not self.is_ready and not self.below and waited > PATIENCE
        text = f"Getting ready: {waited:.0f} s" if idle else self.below
        yield Text(text, style="dim", no_wrap=True, overflow="ellipsis")


class _Bar:
    """A bar with photographs per second and the time left; below it counts and the seconds of each stage."""

    def __init__(self, tally: _Tally, console: Console, *, verbose: bool) -> None:
        self._tally, self._verbose = tally, verbose
        self._progress = _TwoLines(
            BarColumn(bar_width=None),
            TextColumn("{task.fields[count]}"),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
            TextColumn("left"),
            console=console,
            transient=True,
            expand=True,
        )
        self._task: TaskID | None = None
        self._start = time.monotonic()

    def __enter__(self) -> Self:
        self._start = self._progress.since = time.monotonic()
        self._progress.start()
        self._task = self._progress.add_task("", total=1.0, count=f"0/{self._tally.total}", rate="")
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def show(self, record: Mapping[str, object]) -> None:
        if record["event"] == "run.start":
            self._start = time.monotonic()
            self._progress.is_ready, self._progress.below = True, ""
            self._progress.refresh()
        if not self._tally.take(record) or self._task is None:
            return
        if self._verbose:
            self.say(photo_line(record))
        self._progress.below = " · ".join(
            filter(None, (self._tally.shown_counts(), self._tally.shown_machines(), self._tally.shown_stages()))
        )
        self._progress.update(
            self._task,
            completed=self._tally.share_done,
            count=f"{self._tally.ended}/{self._tally.total}",
            rate=self._tally.shown_rate(time.monotonic() - self._start),
        )

    def say(self, text: str) -> None:
        self._progress.console.print(fitted(text, sys.stderr), markup=False)

    def wait(self, what: str, seconds: float) -> None:
        self._progress.below = f"{what}: {seconds:.0f} s"
        self._progress.refresh()
