"""Watching a folder: whatever a scanner, a camera or a person puts there is coloured once it stops changing.

A watch is a series of ordinary runs over one folder, with the same plan, journal and names, so that ``colorize`` can
continue where a watch ended, and vice versa. The model is opened once, and the output folder stays locked.
"""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from colorcli.colorize import discover
from colorcli.colorize.discover import Discovery, Found, Source
from colorcli.colorize.events import Observer, notice
from colorcli.colorize.run import Report, Request, Run
from colorcli.colorize.state import state_folder
from colorcli.errors import UsageError
from colorcli.locks import locked
from colorcli.pipeline.onnx_copy import Waiting
from colorcli.stopping import Stop

REST = 2.0
"""Seconds for which a file's size and time must stay the same before it counts as complete."""

POLL = 5.0
"""Seconds between two checks of a folder whose file system does not report changes."""

# Systems drop events when there are too many at once, and some never report those of another machine.
_LOOK_ANYWAY = 60.0
_MOUNTS = Path("/proc/self/mountinfo")
_WITHOUT_EVENTS = frozenset(
    ("nfs", "nfs4", "cifs", "smb3", "smbfs", "afs", "ceph", "9p", "vboxsf", "virtiofs", "lustre", "glusterfs", "beegfs")
)

_State = tuple[int, int]
"""Bytes and modification time of a file."""


@dataclass(frozen=True)
class Start:
    """Announces that a watch has begun and misses nothing; ``poll`` is None if the system reports changes."""

    folder: Path
    output: Path
    poll: float | None


@dataclass
class Resting:
    """Distinguishes complete files from those still being written.

    Attributes:
        rest: seconds for which size and modification time must have stayed the same.
    """

    rest: float
    _seen: dict[str, tuple[_State, float]] = field(default_factory=dict)
    _taken: dict[str, _State] = field(default_factory=dict)

    def take(self, photographs: Iterable[Found], now: float) -> list[Found]:
        """The photographs that have become complete; each state of a file is returned once.

        An empty file never counts as complete: its content is still to be written.

        Args:
            photographs: all photographs in the folder.
            now: the time of a monotonic clock, in seconds.
        """
        seen, ready = {}, []
        for found in photographs:
            state = (found.size, found.mtime_ns)
            if self._taken.get(found.relative) == state or not found.size:
                continue
            before, since = self._seen.get(found.relative, (None, now))
            since = since if before == state else now
            if now - since >= self.rest:
                self._taken[found.relative] = state
                ready.append(found)
            else:
                seen[found.relative] = (state, since)
        self._seen = seen
        return ready

    @property
    def is_waiting(self) -> bool:
        """Whether there are files that are not complete yet."""
        return bool(self._seen)


def watch(
    request: Request,
    *,
    rest: float = REST,
    poll: float | None = None,
    observe: Observer = lambda _: None,
    started: Callable[[Start], None] = lambda start: None,
    waiting: Waiting = lambda what, seconds: None,
    stop: Stop | None = None,
) -> Report:
    """Colour what is in a folder and what is added to it, until a stop is requested.

    Args:
        request: has the folder as its only input, and an output folder.
        rest: seconds for which a file's size and modification time must stay the same.
        poll: seconds between two checks of the folder; None relies on the system's events if there are any.
        observe: called with every event of every run, in the calling thread.
        started: called once the model is open and no new file can be missed.
        waiting: called with what is being waited for while the model is opened.
        stop: ends the watch after finishing the photographs in flight.

    Returns:
        The sum of all runs. Being stopped is not a failure, since a watch never ends otherwise.

    Raises:
        UsageError: the input is not a folder, or the output folder is not allowed.
        OutputError: the output folder cannot be written, or is in use by another run.
        ModelError, DeviceError: as for a run.
    """
    stop = stop or Stop()
    source = _source(request)
    folder, output = source.path, source.root
    begun = time.monotonic()
    total = Report()
    resting = Resting(rest)
    unusable: frozenset[str] = frozenset()
    first = Run(request, found=Discovery(), only=())
    with locked(output, state_folder(output)) as stale:
        if stale:
            observe(notice(stale))
        session = first.open_model(observe=observe, waiting=waiting, stop=stop)
        ground = first.open_ground(session, observe=observe, waiting=waiting, stop=stop)
        looks = _Looks(folder, rest, poll, stop, lambda text: observe(notice(text)))
        for _ in looks.due(lambda: resting.is_waiting, lambda: started(Start(folder, output, looks.poll))):
            found = discover.discover([source], include=request.include, exclude=request.exclude)
            ready = resting.take(found.photographs, time.monotonic())
            known, unusable = unusable, frozenset(item.relative for item in found.unusable)
            found = replace(found, unusable=[item for item in found.unusable if item.relative not in known])
            if "." in unusable - known:  # a share that is gone for a while; it is checked again
                observe(notice(f"{folder} {found.unusable[0].reason}; waiting for it."))
            elif ready or found.unusable:
                run = Run(request, found=found, only=frozenset(ready))
                report = run.carry_out(observe=observe, stop=stop, session=session, ground=ground, holding=True)
                total.add(report)
                if total.fatal is not None:
                    break
    total.seconds, total.signal_number = time.monotonic() - begun, None
    return total


def _source(request: Request) -> Source:
    folder = request.inputs[0] if len(request.inputs) == 1 else None
    if not isinstance(folder, Path) or not isinstance(request.output, Path):
        raise UsageError("A watch takes one folder, and an output folder with -o.")
    if not folder.is_dir():
        raise UsageError(f"There is no folder {folder}.")
    (source,) = discover.sources([folder], (), request.output)
    return source


class _Looks:
    """Decides when to check a folder: at every change, or at intervals if changes are not reported."""

    def __init__(
        self, folder: Path, rest: float, poll: float | None, stop: Stop, notify: Callable[[str], None]
    ) -> None:
        self._folder, self._rest, self._stop, self._notify = folder, rest, stop, notify
        self.poll = poll
        if poll is None and (reason := _no_events(folder)) is not None:
            self.poll = POLL
            notify(f"{reason}, so {self._every()}.")

    def due(self, is_waiting: Callable[[], bool], armed: Callable[[], None]) -> Iterator[None]:
        """Yield whenever it is time to check, until the stop.

        Args:
            is_waiting: whether there are files that are not complete yet.
            armed: called before the first check, once every later change will be noticed.
        """
        last: float | None = None
        for changed in self._changes():
            if last is None:
                armed()
            now = time.monotonic()
            if last is None or changed or is_waiting() or now - last >= _LOOK_ANYWAY:
                last = now
                yield

    def _changes(self) -> Iterator[bool]:
        """Yield True at once when something has changed, and False at intervals if nothing has."""
        if self.poll is None:
            try:
                yield from self._told()
            except (OSError, RuntimeError) as error:  # more folders than the system watches, or one that has gone
                self.poll = POLL
                self._notify(f"The system does not report changes ({error}), so {self._every()}.")
            else:
                return
        yield True
        while not self._stop.wait(self.poll or POLL):
            yield True

    def _told(self) -> Iterator[bool]:
        """Yield True when the system reports a change, and False when nothing has happened for a while."""
        from watchfiles import watch as changes

        # It starts to watch before it waits for the first time.
        told = changes(
            self._folder,
            watch_filter=None,
            debounce=1000,
            step=100,
            rust_timeout=max(100, round(self._rest * 500)),
            yield_on_timeout=True,
            stop_event=self._stop,
            raise_interrupt=False,
            ignore_permission_denied=True,
        )
        yield from map(bool, told)

    def _every(self) -> str:
        return f"the folder is checked every {self.poll:g} seconds"


def _no_events(folder: Path) -> str | None:
    """Why changes in a folder will not be reported; None if the system reports them."""
    try:
        import watchfiles
    except ImportError:
        return "The package watchfiles is not installed"
    del watchfiles
    kind = _file_system(folder)
    if kind in _WITHOUT_EVENTS or kind.startswith("fuse."):
        return f"{folder} is on a file system ({kind}) that does not report changes made by other machines"
    return None


def _file_system(folder: Path) -> str:
    """The type of the file system that a folder is on, by Linux's names; empty if unknown."""
    place = folder.resolve()
    if place.drive.startswith("\\\\"):  # a share, on Windows
        return "smb3"
    kinds = dict[Path, str]()
    with contextlib.suppress(OSError):
        for line in _MOUNTS.read_text(encoding="utf-8", errors="surrogateescape").splitlines():
            before, _, after = line.partition(" - ")
            name = re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), before.split(" ")[4])
            kinds[Path(name)] = after.split(" ")[0]
    return next((kinds[one] for one in (place, *place.parents) if one in kinds), "")
