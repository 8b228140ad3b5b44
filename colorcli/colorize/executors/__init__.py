"""Executors colour the photographs of a plan: in threads, or in other ways, each in a file of its own.

All take the same tasks and yield the same records; the journal and the output folders stay with ``colorize.run``.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from colorcli.colorize.events import Event, PhotoDone, PhotoStart, PhotoUnmade
from colorcli.colorize.options import Execution, Parameters
from colorcli.colorize.plan import Task
from colorcli.pipeline.uncertainty import Ground
from colorcli.sessions.session import Session
from colorcli.stopping import Stop


class Append(Protocol):
    """Adds a record to the journal of an output folder.

    With ``sync`` it is on the disk, with all before it, when this returns. Raises OutputError.
    """

    def __call__(self, root: Path, record: PhotoStart | PhotoDone | PhotoUnmade, *, sync: bool = True) -> None: ...


class OpenRemotely(Protocol):
    """Opens the model in another process, to which this is sent; ``threads`` is the number of its CPUs."""

    def __call__(self, *, threads: int) -> Session: ...


class OpenGroundRemotely(Protocol):
    """Opens the ground of the uncertainty in another process, to which this is sent, for a session there."""

    def __call__(self, session: Session, *, threads: int) -> Ground: ...


OpenModel = Callable[[], Session]
"""Opens the model. Raises StoppedError if a stop was requested meanwhile, and other ColorcliErrors."""


@dataclass(frozen=True)
class Work:
    """What an executor works with.

    Attributes:
        open_model: opens the model.
        parameters: that decide the results.
        execution: how the work is done.
        stop: may be requested at any time; photographs in flight are finished.
        open_remotely: the same in another process; None where that cannot be done.
        open_ground: opens the ground of the outputs' uncertainty, for a session of the model; gives None where none is
            asked.
        open_ground_remotely: the same in another process; None where none is asked.
    """

    open_model: OpenModel
    parameters: Parameters
    execution: Execution
    stop: Stop
    open_remotely: OpenRemotely | None = None
    open_ground: Callable[[Session], Ground | None] = lambda _: None
    open_ground_remotely: OpenGroundRemotely | None = None


@dataclass(frozen=True)
class Facts:
    """How the model runs, for the journal; see ``sessions.session.Session``."""

    device: str
    precision: str
    backend: str
    compiled: bool
    threads: int


class Executor(Protocol):
    """Colours the tasks of a plan."""

    def prepare(self, observe: Callable[[Event], None]) -> Facts:
        """Prepare everything that does not count as colouring time.

        ``observe`` is called with notices. Raises as ``Work.open_model`` does.
        """
        ...

    def carry_out(self, tasks: Sequence[Task], append: Append) -> Generator[Event, None, None]:
        """Colour all tasks, or until a stop.

        A ``photo.start`` is appended before an output gets its final name, and its end record afterwards. End records
        and notices are yielded in the caller's thread. A failed photograph does not stop the others.

        Raises:
            OutputError: an output folder or a journal cannot be written; photographs in flight have been yielded.
        """
        ...
