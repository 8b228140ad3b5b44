"""Where outputs go, as plans and runs see it: a folder of this machine; a store is in ``outbox``."""

from __future__ import annotations

import mmap
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Protocol

from colorcli.colorize.journal import Journal, journal_size
from colorcli.colorize.state import state_folder
from colorcli.files import Identity, write_atomically
from colorcli.images.provenance import DIGITAL_SOURCE_TYPE
from colorcli.locks import locked

LABEL = DIGITAL_SOURCE_TYPE.encode()
"""Is in every output of ours."""


class Ledger(Protocol):
    """An open journal; see ``journal.Journal``."""

    def append(self, record: Mapping[str, object], *, sync: bool = True) -> None:
        """Add a record. Raises OutputError, and PhotoError where a store does not take the output that it speaks of."""
        ...

    def close(self) -> None:
        """Nothing is appended afterwards."""
        ...


class Place(Protocol):
    """An output folder. Names are POSIX paths relative to it, and ``str`` is what to call it."""

    @property
    def root(self) -> Path:
        """The folder that has the journal as it was at the last ``journal_size``."""
        ...

    def shown(self, name: str) -> str:
        """What to call an output."""
        ...

    def look(self, name: str) -> tuple[int, Identity] | None:
        """Bytes of an output, and its identity as ``Found.identity`` has it; None if it is not there.

        Links are not followed.
        """
        ...

    def read(self, name: str) -> bytes | None:
        """The content of a file; None if it is not there. Raises OSError if it cannot be read."""
        ...

    def write(self, name: str, content: bytes) -> None:
        """Write a file so that it is absent, as it was, or whole. Raises OSError if it cannot be written."""
        ...

    def is_labelled(self, name: str) -> bool:
        """Whether a file holds the label that every output of ours carries."""
        ...

    def journal_size(self) -> int:
        """Bytes of the journal as it is now."""
        ...

    def locked(self, say: Callable[[str], None], stopped: Callable[[], bool]) -> AbstractContextManager[None]:
        """Keep other runs away; ``say`` is called with what a person should know.

        Raises:
            OutputError: another run is at work here, or the place cannot be written.
            StoppedError: ``stopped`` became true while that was being found out.
        """
        ...

    def journal(self, *, fsync: bool) -> Ledger:
        """Open the journal. Raises OutputError."""
        ...


class Folder:
    """A folder of this machine; see ``Place``."""

    def __init__(self, root: Path) -> None:
        self.root = root
        # strings: a Path for each of a million takes longer than the system does
        self._top = os.path.join(root, "")  # noqa: PTH118

    def __str__(self) -> str:
        return str(self.root)

    def shown(self, name: str) -> str:
        """See ``Place.shown``."""
        return self._path(name)

    def look(self, name: str) -> tuple[int, Identity] | None:
        """See ``Place.look``."""
        try:
            status = os.lstat(self._top + name)
        except OSError:
            return None
        return status.st_size, (status.st_dev, status.st_ino)

    def read(self, name: str) -> bytes | None:
        """See ``Place.read``."""
        try:
            return (self.root / name).read_bytes()
        except FileNotFoundError:
            return None

    def write(self, name: str, content: bytes) -> None:
        """See ``Place.write``."""
        write_atomically(self.root / name, content)

    def is_labelled(self, name: str) -> bool:
        """See ``Place.is_labelled``; false where it cannot be read."""
        try:
            descriptor = os.open(
                self._path(name), os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
            )
            try:
                with mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ) as content:
                    return content.find(LABEL) >= 0
            finally:
                os.close(descriptor)
        except (OSError, ValueError):
            return False

    def journal_size(self) -> int:
        """See ``Place.journal_size``."""
        return journal_size(self.root)

    @contextmanager
    def locked(self, say: Callable[[str], None], stopped: Callable[[], bool]) -> Iterator[None]:
        """See ``Place.locked``; it never waits."""
        with locked(self.root, state_folder(self.root)) as stale:
            if stale:
                say(stale)
            yield

    def journal(self, *, fsync: bool) -> Ledger:
        """See ``Place.journal``."""
        return Journal(self.root, fsync=fsync)

    def _path(self, name: str) -> str:
        return self._top + name
