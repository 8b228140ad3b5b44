"""Watching a folder: whatever a scanner, a camera or a person puts there is coloured once it has come to rest.

A watch is a series of ordinary runs over one folder: the same plan, journal and names, so that ``colorize`` can go on
where a watch ended and the other way round. The model is opened once, and the output folder is locked all along.
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
from colorcli.colorize.lock import locked
from colorcli.colorize.run import Report, Request, Run
from colorcli.errors import UsageError
from colorcli.pipeline.onnx_copy import Waiting
from colorcli.stopping import Stop

REST = 2.0
"""Seconds for which a file's size and time must stay the same before it counts as complete."""

POLL = 5.0
"""Seconds between two looks at a folder whose system does not tell of changes."""

# Systems drop events when too many come at once, and some never send those of another machine.
_LOOK_ANYWAY = 60.0
_MOUNTS = Path("/proc/self/mountinfo")
_WITHOUT_EVENTS = frozenset(
    ("nfs", "nfs4", "cifs", "smb3", "smbfs", "afs", "ceph", "9p", "vboxsf", "virtiofs", "lustre", "glusterfs", "beegfs")
)

_State = tuple[int, int]
"""Bytes and modification time of a file."""


@dataclass(frozen=True)
class Start:
    """What a watch says once it sees whatever comes; ``poll`` is None where the system tells of changes."""

    folder: Path
    output: Path
    poll: float | None


@dataclass
class Resting:
    """Tells files that are complete from those that are still being written.

    Attributes:
        rest: seconds for which size and time must have stayed the same.
    """

    rest: float
    _seen: dict[str, tuple[_State, float]] = field(default_factory=dict)
    _taken: dict[str, _State] = field(default_factory=dict)

    def take(self, photographs: Iterable[Found], now: float) -> list[Found]:
        """Those that have come to rest since they were last taken, each state of a file once.

        An empty file never rests: whoever made it has something to write.

        Args:
            photographs: all that are there.
            now: the time of a clock that never goes back, in seconds.
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
        """Whether there are files that have not yet come to rest."""
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
    """Colour what is in a folder and what comes into it, until a stop is requested.

    Args:
        request: with the folder as its one input, and an output folder.
        rest: seconds for which a file's size must stay the same.
        poll: seconds between two looks; None has the system tell of changes where it does.
        observe: is told every event of every run, in the calling thread.
        started: is told once the model is open and nothing that comes can be missed.
        waiting: is told what is being waited for while the model is made ready.
        stop: ends the watch: what is in flight is finished.

    Returns:
        All runs together. That the watch was stopped is no failure: it never ends otherwise.

    Raises:
        UsageError: the input is no folder, or the output lies where it cannot.
        OutputError: the output folder cannot be written, or another run works on it.
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
    with locked(output) as stale:
        if stale:
            observe(notice(stale))
        session = first.open_model(observe=observe, waiting=waiting, stop=stop)
        looks = _Looks(folder, rest, poll, stop, lambda text: observe(notice(text)))
        for _ in looks.due(lambda: resting.is_waiting, lambda: started(Start(folder, output, looks.poll))):
            found = discover.discover([source], include=request.include, exclude=request.exclude)
            ready = resting.take(found.photographs, time.monotonic())
            known, unusable = unusable, frozenset(item.relative for item in found.unusable)
            found = replace(found, unusable=[item for item in found.unusable if item.relative not in known])
            if "." in unusable - known:  # a share that is not there for a while; it is looked at again
                observe(notice(f"{folder} {found.unusable[0].reason}; waiting for it."))
            elif ready or found.unusable:
                run = Run(request, found=found, only=frozenset(ready))
                report = run.carry_out(observe=observe, stop=stop, session=session, holding=True)
                total.add(report)
                if total.fatal is not None:
                    break
    total.seconds, total.signal_number = time.monotonic() - begun, None
    return total


def _source(request: Request) -> Source:
    if len(request.inputs) != 1 or not request.inputs[0].is_dir() or request.output is None:
        named = ", ".join(map(str, request.inputs)) or "nothing"
        raise UsageError(f"A watch takes one folder that exists, not {named}, and an output folder with -o.")
    (source,) = discover.sources(request.inputs, (), request.output)
    return source


class _Looks:
    """When to look at a folder: at every change, or every so often where nothing tells of changes."""

    def __init__(
        self, folder: Path, rest: float, poll: float | None, stop: Stop, notify: Callable[[str], None]
    ) -> None:
        self._folder, self._rest, self._stop, self._notify = folder, rest, stop, notify
        self.poll = poll
        if poll is None and (reason := _no_events(folder)) is not None:
            self.poll = POLL
            notify(f"{reason}, so {self._every()}.")

    def due(self, is_waiting: Callable[[], bool], armed: Callable[[], None]) -> Iterator[None]:
        """Yield whenever it is time to look, until the stop.

        Args:
            is_waiting: whether files have not yet come to rest.
            armed: is called before the first look, once every change after it will be told.
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
        """Whether something has changed, at once when it has, and every so often when not."""
        if self.poll is None:
            try:
                yield from self._told()
            except (OSError, RuntimeError) as error:  # more folders than the system watches, or one that has gone
                self.poll = POLL
                self._notify(f"The system does not tell of changes ({error}), so {self._every()}.")
            else:
                return
        yield True
        while not self._stop.wait(self.poll or POLL):
            yield True

    def _told(self) -> Iterator[bool]:
        """Whether the system has told of a change, or nothing happened for a while."""
        from watchfiles import watch as changes

        # It begins to tell before it waits for the first time.
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
        return f"the folder is looked at every {self.poll:g} seconds"


def _no_events(folder: Path) -> str | None:
    """Why nothing will tell of changes in a folder; None where the system does."""
    try:
        import watchfiles
    except ImportError:
        return "The package watchfiles is not installed"
    del watchfiles
    kind = _file_system(folder)
    if kind in _WITHOUT_EVENTS or kind.startswith("fuse."):
        return f"{folder} is on a file system ({kind}) that does not tell of other machines' changes"
    return None


def _file_system(folder: Path) -> str:
    """The kind of file system that a folder is on, by Linux's names; empty where it is unknown."""
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
