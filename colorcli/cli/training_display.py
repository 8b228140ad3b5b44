"""Progress of training on stderr: a live table on a terminal, occasional lines elsewhere."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from colorcli.train.recipe import Recipe


# What a record says of the run's position.
_WHERE = {"step", "phase", "of"}


class TrainingDisplay(Protocol):
    """Shows the records of a run as they come; a context manager around the run."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def show(self, record: dict[str, Any]) -> None:
        """Show a log record."""


def training_display(recipe: Recipe, folder: Path, *, quiet: bool) -> TrainingDisplay:
    """The display for stderr."""
    if quiet:
        return _Silent()
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    if sys.stderr.isatty() and not console.is_dumb_terminal:
        return _Table(recipe, folder, console)
    return _Lines(recipe)


class _Silent:
    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return

    def show(self, record: dict[str, Any]) -> None:
        """Nothing."""


class _Progress:
    """Position of the run, and the time left at its recent speed."""

    def __init__(self, recipe: Recipe) -> None:
        # The length of phases in epochs is unknown until the photographs are counted.
        self.total = sum(phase.steps for phase in recipe.phases) if all(p.steps for p in recipe.phases) else 0
        self.step = 0
        self.phase = recipe.phases[0].name
        self.losses: dict[str, float] = {}
        self.measures: dict[str, float] = {}
        self._steps_per_second = 0.0
        self._last: tuple[int, float] | None = None

    def take(self, record: dict[str, Any]) -> None:
        self.step, self.phase = int(record["step"]), str(record["phase"])
        self.total = int(record.get("of", self.total))
        numbers = {key: float(value) for key, value in record.items() if key not in _WHERE}
        if not numbers:
            # A message instead of a step, shown in place of the phase; or the start of a run, perhaps a sweep's next.
            if "of" in record:
                self.losses, self.measures = {}, {}
                self._steps_per_second, self._last = 0.0, None
            return
        measures = {key.removeprefix("val_"): value for key, value in numbers.items() if key.startswith("val_")}
        if measures:
            self.measures = measures
            return
        self.losses = numbers
        now = time.monotonic()
        if self._last is not None and self.step > self._last[0]:
            speed = (self.step - self._last[0]) / (now - self._last[1])
            self._steps_per_second = speed if not self._steps_per_second else 0.7 * self._steps_per_second + 0.3 * speed
        self._last = (self.step, now)

    def left(self) -> str:
        """The time left, in words."""
        if not self._steps_per_second or not self.total:
            return ""
        seconds = (self.total - self.step) / self._steps_per_second
        if not seconds:
            return ""
        if seconds < 90:
            return f"{seconds:.0f} s left"
        return f"{seconds / 3600:.1f} h left" if seconds >= 5400 else f"{seconds / 60:.0f} min left"

    def where(self) -> str:
        """Step and phase."""
        of = f" of {self.total}" if self.total else ""
        return f"step {self.step}{of}, {self.phase}"


class _Lines:
    """Plain lines for logs."""

    def __init__(self, recipe: Recipe) -> None:
        self._progress = _Progress(recipe)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return

    def show(self, record: dict[str, Any]) -> None:
        self._progress.take(record)
        measured = any(key.startswith("val_") for key in record)
        numbers = self._progress.measures if measured else self._progress.losses if record.keys() - _WHERE else {}
        text = ", ".join(f"{name} {value:.4g}" for name, value in numbers.items())
        parts = [self._progress.where() + (" (held back)" if measured else ""), text, self._progress.left()]
        print("; ".join(part for part in parts if part), file=sys.stderr, flush=True)  # noqa: T201


class _Table:
    """A live table: losses on the left, measures of the held-back photographs on the right, a bar below."""

    def __init__(self, recipe: Recipe, folder: Path, console: Console) -> None:
        self._recipe, self._folder = recipe, folder
        self._progress = _Progress(recipe)
        self._live = Live(self._render(), console=console, refresh_per_second=2, transient=False)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def show(self, record: dict[str, Any]) -> None:
        self._progress.take(record)
        if len(record) == 2:
            # A message, not a step: keep it, since the next record would overwrite it.
            self._live.console.print(Text(f"step {record['step']}: {record['phase']}"))
        self._live.update(self._render())

    def _render(self) -> RenderableType:
        progress = self._progress
        table = Table.grid(padding=(0, 3))
        table.add_row(Text("training", style="bold"), Text(), Text("held back", style="bold"), Text())
        left, right = list(progress.losses.items()), list(progress.measures.items())
        for index in range(max(len(left), len(right), 1)):
            cells = [*_cells(left, index), *_cells(right, index)]
            table.add_row(*cells)
        parts: list[RenderableType] = [
            Text(f"{self._recipe.name}: {progress.where()}  {progress.left()}"),
            _bar(progress) if progress.total else Text(),
            table,
        ]
        samples = self._folder / "samples"
        pictures = sorted(samples.glob("step-*.png")) if samples.is_dir() else []
        if pictures:
            parts.append(Text(f"last sample: {pictures[-1]}", style="dim", overflow="fold"))
        return Group(*parts)


def _bar(progress: _Progress) -> Table:
    # A bar does not end its line, and would swallow the row below.
    row = Table.grid(expand=True)
    row.add_row(ProgressBar(total=progress.total, completed=progress.step))
    return row


def _cells(numbers: list[tuple[str, float]], index: int) -> tuple[Text, Text]:
    if index >= len(numbers):
        return Text(), Text()
    name, value = numbers[index]
    return Text(name.replace("_", " ")), Text(f"{value:.4g}", justify="right")
