"""Steps between opening a photograph and its line in the journal, at which faults can be injected."""

from __future__ import annotations

import errno
import io
import itertools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

from colorcli import stores
from colorcli.colorize import delivery, photograph
from colorcli.colorize.executors import local
from colorcli.colorize.journal import Journal
from colorcli.images import write

STEPS: dict[str, tuple[Any, str]] = {
    "prepare": (local, "prepare"),
    "open": (photograph, "_opened"),
    "decode": (photograph, "read_photo"),
    "resize": (photograph, "windows_of"),
    "draw": (local, "draw_controls"),
    "network": (local, "infer"),
    "join": (photograph, "Join"),
    "create": (write, "_created"),
    "encode": (write, "_write_part"),
    "header": (write, "_check_header"),
    "rename": (write, "_rename"),
    "sync": (write, "sync_folder"),
    "written": (photograph, "write_photo"),
    "record": (local, "done_record"),
    "journal": (Journal, "_write"),
    "journal sync": (Journal, "_sync"),
}
"""Every step with the function that performs it, in order."""

AFTERWARDS: dict[str, tuple[Any, str]] = {"packed": (delivery, "_packed"), "put": (stores, "put")}


def at(number: int, original: Callable[..., Any], fault: Callable[[], None], *, after: bool = False) -> Any:
    """A function that does the same as ``original``, with a fault at the ``number``-th call."""
    count = itertools.count(1)

    def faulty(*args: Any, **kwargs: Any) -> Any:
        last = next(count) == number
        if last and not after:
            fault()
        result = original(*args, **kwargs)
        if last and after:
            fault()
        return result

    return faulty


def raising(error: Callable[[], BaseException]) -> Callable[[], None]:
    """A fault that raises a new error."""

    def fault() -> None:
        raise error()

    return fault


class FullDisk(io.FileIO):
    """A file on a disk that accepts ``room`` bytes and then fails with error ``number``."""

    def __init__(self, path: Path, room: int, number: int) -> None:
        super().__init__(path, "x+b")
        self._room, self._number = room, number

    def write(self, data: Any) -> int:
        taken = len(memoryview(data).cast("B"))
        if taken > self._room:
            raise OSError(self._number, os.strerror(self._number))
        self._room -= taken
        return super().write(data)


def full_disk(room: int, number: int = errno.ENOSPC) -> Callable[[Path], BinaryIO]:
    """A replacement for ``images.write._created`` that makes files on such a disk."""

    def created(part: Path) -> BinaryIO:
        part.unlink(missing_ok=True)
        return io.BufferedRandom(FullDisk(part, room, number))

    return created
