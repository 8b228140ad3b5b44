"""Where the photographs of a plan are coloured: threads of this process; another engine is another file beside them.

Every executor is given the same tasks and gives the same records; the journal, and all that a run knows of folders,
stays with ``colorize.run``.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from colorcli.colorize.events import Event, PhotoDone, PhotoStart, PhotoUnmade
from colorcli.colorize.options import Execution, Parameters
from colorcli.colorize.plan import Task
from colorcli.sessions.session import Session
from colorcli.stopping import Stop

Append = Callable[[Path, PhotoStart | PhotoDone | PhotoUnmade], None]
"""Adds a record to the journal of an output folder; when it returns, the record is on the disk. Raises OutputError."""

OpenModel = Callable[[], Session]
"""Makes the model ready. Raises StoppedError where an end was asked for meanwhile, and other ColorcliErrors."""


@dataclass(frozen=True)
class Work:
    """What an executor works with.

    Attributes:
        open_model: makes the model ready.
        parameters: what decides the results.
        execution: how the work is done.
        stop: may be requested at any time: what is in flight is finished, and nothing new begun.
    """

    open_model: OpenModel
    parameters: Parameters
    execution: Execution
    stop: Stop


@dataclass(frozen=True)
class Facts:
    """How the model is run, as the journal has it; see ``sessions.session.Session``."""

    device: str
    precision: str
    backend: str
    compiled: bool
    threads: int


class Executor(Protocol):
    """Colours the tasks of a plan."""

    def prepare(self, observe: Callable[[Event], None]) -> Facts:
        """Make everything ready before the clock of the run starts.

        ``observe`` is told what takes long. Raises as ``Work.open_model`` does.
        """
        ...

    def carry_out(self, tasks: Sequence[Task], append: Append) -> Generator[Event, None, None]:
        """Colour every task, or as many as there are until a stop.

        A ``photo.start`` is appended before an output gets its name, and the record of its end after that. What is
        yielded, in the caller's thread, is that end, and notices; a photograph that fails does not keep the others.

        Raises:
            OutputError: an output folder or a journal cannot be written; what was in flight has been yielded.
        """
        ...
