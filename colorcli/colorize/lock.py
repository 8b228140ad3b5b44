"""One run at a time on an output folder."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from colorcli.errors import OutputError
from colorcli.files import STATE_FOLDER

_NAME = "lock"


@contextmanager
def locked(root: Path) -> Iterator[str | None]:
    """Hold the lock of an output folder; yields a sentence about a stale lock that was taken over, or None.

    The lock is a file with pid and host. A living holder on this machine is known by its hold on the file, so that a
    lock left by a killed run never stands in the way. A lock of another machine cannot be judged from here and is
    respected.

    Raises:
        OutputError: another run holds the lock, or the folder cannot be written.
    """
    path = root / STATE_FOLDER / _NAME
    descriptor = _open(path)
    try:
        holder = _read(descriptor)
        if holder and holder.get("host") != socket.gethostname():
            raise OutputError(
                f"{root} is in use by process {holder.get('pid')} on {holder.get('host')} since {holder.get('since')}. "
                f"If that run no longer lives, remove {path} and run again."
            )
        _write(descriptor)
        stale = None
        if holder:
            stale = (
                f"Process {holder.get('pid')} was working on {root} since {holder.get('since')} and ended without "
                "finishing; its lock is taken over and its work continued."
            )
        try:
            yield stale
        finally:
            with contextlib.suppress(OSError):
                path.unlink()
    finally:
        os.close(descriptor)


def _open(path: Path) -> int:
    """Open the lock file and take hold of it."""
    while True:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            raise OutputError(
                f"{path.parent.parent} cannot be written: {error.strerror or error}. Choose another folder with -o."
            ) from error
        if not _hold(descriptor):
            holder = _read(descriptor) or {}
            os.close(descriptor)
            raise OutputError(
                f"{path.parent.parent} is in use by process {holder.get('pid', '?')} on "
                f"{holder.get('host', 'this host')} since {holder.get('since', '?')}. "
                "Wait for it, stop it, or choose another folder with -o."
            )
        # the holder before us may have removed the file between our open and our hold
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(descriptor), path.stat()):
                return descriptor
        os.close(descriptor)


if sys.platform == "win32":
    import msvcrt

    _FAR = 1 << 30  # a byte beyond the text: what is locked there cannot be read

    def _hold(descriptor: int) -> bool:
        os.lseek(descriptor, _FAR, os.SEEK_SET)
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

else:
    import fcntl

    def _hold(descriptor: int) -> bool:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:
            # a file system without locks: pid and host have to do
            return not _alive(_read(descriptor))
        return True


def _alive(holder: dict[str, object] | None) -> bool:
    if not holder or holder.get("host") != socket.gethostname() or not isinstance(holder.get("pid"), int):
        return False
    try:
        os.kill(int(str(holder["pid"])), 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _read(descriptor: int) -> dict[str, object] | None:
    os.lseek(descriptor, 0, os.SEEK_SET)
    try:
        holder = json.loads(os.read(descriptor, 4096))
    except (ValueError, OSError):
        return None
    return holder if isinstance(holder, dict) else None


def _write(descriptor: int) -> None:
    since = datetime.now(UTC).isoformat(timespec="seconds")
    text = json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "since": since})
    os.ftruncate(descriptor, 0)
    os.lseek(descriptor, 0, os.SEEK_SET)
    os.write(descriptor, text.encode())
