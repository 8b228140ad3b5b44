"""One run at a time on a folder."""

from __future__ import annotations

import contextlib
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout

from colorcli.errors import OutputError
from colorcli.files import write_atomically

_HOLDER = "lock"
_HELD = "lock.held"


@contextmanager
def locked(root: Path, state: Path, *, elsewhere: bool = True) -> Iterator[str | None]:
    """Hold the lock of an output folder; yields a sentence about a stale lock that was taken over, or None.

    The system's own lock ends with the process that holds it, so a killed run never stands in the way. Beside it lies
    a file with pid and host, for people and for machines that share the disk but not the lock: one that another
    machine left cannot be judged from here and is respected.

    Args:
        root: the folder, as errors name it.
        state: where the lock's files lie.
        elsewhere: whether to respect the file of another machine. A training that a cluster starts again, perhaps in a
            container, has another name each time, and must go on unattended.

    Raises:
        OutputError: another run holds the lock, or the folder cannot be written.
    """
    path = state / _HOLDER
    lock = FileLock(state / _HELD, timeout=0, thread_local=False)
    try:
        state.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout as error:
        holder = _read(path) or {}
        raise OutputError(
            f"{root} is in use by process {holder.get('pid', '?')} on {holder.get('host', 'this host')} since "
            f"{holder.get('since', '?')}. Wait for it, stop it, or choose another folder with -o."
        ) from error
    except (OSError, NotImplementedError) as error:
        raise _unwritable(root, error) from error
    try:
        stale = _stale(root, path, elsewhere)
        try:
            _write(path)
        except OSError as error:
            raise _unwritable(root, error) from error
        try:
            yield stale
        finally:
            with contextlib.suppress(OSError):
                path.unlink()
    finally:
        lock.release()


def _stale(root: Path, path: Path, elsewhere: bool) -> str | None:
    """What to say of the holder that did not remove its file."""
    holder = _read(path)
    if not holder:
        return None
    if elsewhere and holder.get("host") != socket.gethostname():
        raise OutputError(
            f"{root} is in use by process {holder.get('pid')} on {holder.get('host')} since {holder.get('since')}. "
            f"If that run has ended, remove {path} and run again."
        )
    return (
        f"Process {holder.get('pid')} was working on {root} since {holder.get('since')} and ended without finishing; "
        "its lock is taken over and its work continued."
    )


def _unwritable(root: Path, error: Exception) -> OutputError:
    reason = getattr(error, "strerror", None) or str(error)
    return OutputError(f"{root} cannot be written: {reason}. Choose another folder with -o.")


def _read(path: Path) -> dict[str, object] | None:
    try:
        holder = json.loads(path.read_bytes())
    except (ValueError, OSError):
        return None
    return holder if isinstance(holder, dict) else None


def _write(path: Path) -> None:
    since = datetime.now(UTC).isoformat(timespec="seconds")
    holder = {"pid": os.getpid(), "host": socket.gethostname(), "since": since}
    write_atomically(path, json.dumps(holder).encode())
