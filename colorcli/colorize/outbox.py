"""An object store as the place that outputs go to, with its journal and its lock.

Outputs are made and checked in a scratch folder of this machine, which stands for the store in plans and tasks, and
are put when they are done. Nothing can be appended to an object, so each run has segments of the journal of its own,
and replaces the last until it is full. An output is put only after its ``photo.start`` is in the store; so a run that
is killed at any moment leaves what the next one knows for its own.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
import socket
import tempfile
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from colorcli import stores
from colorcli.colorize.discover import object_identity
from colorcli.colorize.events import now, to_line
from colorcli.colorize.journal import files_of, journal_size, sealed, segment_path
from colorcli.colorize.places import LABEL, Folder, Place
from colorcli.colorize.state import state_folder
from colorcli.errors import OutputError, PhotoError, StoppedError, UsageError
from colorcli.files import STATE_FOLDER, Identity
from colorcli.stores import Object, Url

SEGMENT = 1 << 19
"""Bytes from which a segment of the journal is full: some 200 photographs, sent with each of them or for several."""

LEASE, BEAT = 120.0, 20.0
"""Seconds for which a lock holds, and after which its holder renews it."""

_STREAMS = 16
_LOCK = "lock-"


def reading(place: Path | Url) -> Place:
    """An output folder, or what a run has written to a store, to be read.

    Raises:
        UsageError: the store has no journal there.
        OutputError: the store cannot be read.
    """
    if isinstance(place, Path):
        return Folder(place)
    outbox = Outbox(place)
    if not outbox.journal_size():
        raise UsageError(f"{place} holds no journal; give a URL that colorize has written to.")
    return outbox


class Outbox:
    """A URL that outputs go to; see ``places.Place``.

    Attributes:
        url: below it are the outputs, by the names that they have below ``root``.
        root: the scratch folder, which ends with this object.
    """

    def __init__(self, url: Url, shard: tuple[int, int] | None = None) -> None:
        self.url = url
        self.root = _scratch()
        weakref.finalize(self, shutil.rmtree, self.root, ignore_errors=True)
        self._shard = shard
        self._sizes: dict[str, int] | None = None
        self._copies: dict[Url, tuple[Object, Path]] = {}
        self._run = secrets.token_hex(4)
        self._ledger: _Ledger | None = None
        self._lost = threading.Event()

    def __str__(self) -> str:
        return self.url

    def shown(self, name: str) -> str:
        """See ``Place.shown``."""
        return stores.below(self.url, name)

    def look(self, name: str) -> tuple[int, Identity] | None:
        """See ``Place.look``; from one listing of the whole, made at the first call."""
        if self._sizes is None:
            with self._explained("listed"):
                objects = stores.folders(self.url, leave=lambda key: key == STATE_FOLDER)
                self._sizes = {one.key: one.size for folder in objects for one in folder}
        size = self._sizes.get(name)
        return None if size is None else (size, object_identity(stores.below(self.url, name)))

    def read(self, name: str) -> bytes | None:
        """See ``Place.read``."""
        try:
            return stores.read(stores.below(self.url, name))
        except FileNotFoundError:
            return None

    def write(self, name: str, content: bytes) -> None:
        """See ``Place.write``."""
        stores.write(stores.below(self.url, name), content)

    def is_labelled(self, name: str) -> bool:
        """See ``Place.is_labelled``."""
        with self._explained("read"):
            return LABEL in stores.read(stores.below(self.url, name))

    def journal_size(self) -> int:
        """See ``Place.journal_size``; what has changed of the journal is fetched."""
        with self._explained("read"):
            found = {one.url: one for one in self._state("journal")}
            new = [one for one in found.values() if self._copies.get(one.url, (None,))[0] != one]
            for url in [url for url in self._copies if found.get(url) != self._copies[url][0]]:
                self._copies.pop(url)[1].unlink(missing_ok=True)
            state_folder(self.root).mkdir(exist_ok=True)
            with ThreadPoolExecutor(_STREAMS) as pool:
                self._copies.update(pool.map(self._copied, new))
        if new:
            self._sizes = None
        return journal_size(self.root)

    @contextmanager
    def locked(self, say: Callable[[str], None], stopped: Callable[[], bool]) -> Iterator[None]:
        """See ``Place.locked``. Runs of different parts (``--shard``) of one whole do not lock each other out.

        Each run writes an object of its own and renews it; then it looks for others. So of two that come at once, at
        least one sees the other. What is not renewed for the time of a lease is left by a run that was killed.
        """
        lock = self._state_url(f"{_LOCK}{self._run}")
        holder = {
            "pid": os.getpid(), "host": socket.gethostname(), "machine": _machine(), "since": now(),
            "shard": self._shard,
        }  # fmt: skip
        over = threading.Event()
        with self._explained("written"):
            _write_lock(lock, holder)
        beating = threading.Thread(target=self._beat, args=(lock, holder, over), daemon=True)
        beating.start()
        try:
            self._wait_for_others(lock, say, stopped)
            yield
        finally:
            over.set()
            beating.join()
            with suppress(OSError):
                stores.remove(lock)

    def journal(self, *, fsync: bool) -> _Ledger:
        """See ``Place.journal``."""
        if self._ledger is None:
            self._ledger = _Ledger(self)
        return self._ledger

    def put(self, names: Sequence[str]) -> None:
        """Move the files of one photograph from the scratch folder into the store, in this order.

        Raises:
            OSError: the store cannot be written.
            PhotoError: the store does not take one of them.
        """
        self._check_lock()
        try:
            for name in names:
                url = stores.below(self.url, name)
                try:
                    stores.put(self.root / name, url)
                except OSError as error:
                    if error.errno in stores.FAULTS_OF_THE_STORE:
                        raise
                    raise PhotoError(f"{url} cannot be written: {error.strerror or error}.") from error
        finally:
            for name in names:
                (self.root / name).unlink(missing_ok=True)

    def write_segment(self, number: int, began: datetime, content: bytes) -> None:
        """Write a segment of the journal of this run, which began at that time. Raises OSError."""
        self._check_lock()
        # by time, as they would be read from a folder
        name = f"journal-{began:%Y%m%dT%H%M%S}-{self._run}-{number:05}.jsonl"
        stores.write(self._state_url(name), content)

    def _check_lock(self) -> None:
        if self._lost.is_set():
            raise OSError(0, "another run has taken over its lock, which was not renewed in time")

    def _state_url(self, name: str) -> Url:
        return stores.below(self.url, f"{STATE_FOLDER}/{name}")

    def _state(self, prefix: str) -> Iterator[Object]:
        for folder in stores.folders(stores.below(self.url, STATE_FOLDER), leave=lambda key: True):
            yield from (one for one in folder if one.key.startswith(prefix))

    def _copied(self, one: Object) -> tuple[Url, tuple[Object, Path]]:
        """A local copy of a segment, named so that segments are read in the order in which they were written last."""
        path = segment_path(self.root, f"{one.mtime_ns:020}-{one.key.removesuffix('.jsonl')}")
        stores.fetch(one.url, path)
        return one.url, (one, path)

    @contextmanager
    def _explained(self, done: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise OutputError(f"{self.url} cannot be {done}: {error.strerror or error}.") from error

    def _wait_for_others(self, lock: Url, say: Callable[[str], None], stopped: Callable[[], bool]) -> None:
        seen: dict[Url, dict[str, Any]] | None = None
        until = time.monotonic() + LEASE
        while others := self._others(lock):
            if seen is None:
                seen = others
                who = _named(next(iter(others.values())))
                say(f"{self.url} is locked by {who}; waiting up to {LEASE:.0f} s to see whether it is still at work.")
            elif changed := [holder for url, holder in others.items() if seen.get(url) != holder]:
                raise OutputError(
                    f"{self.url} is in use by {_named(changed[0])} since {changed[0].get('since')}. "
                    "Wait for it, stop it, or choose another place with -o."
                )
            elif time.monotonic() > until:
                self._take_over(others, say)
                return
            if stopped():
                raise StoppedError("Stopped while waiting for the lock.")
            time.sleep(min(1.0, LEASE / 10))

    def _others(self, lock: Url) -> dict[Url, dict[str, Any]]:
        """The locks that stand in the way, without those whose process has certainly ended."""
        others = {}
        with self._explained("read"):
            for one in self._state(_LOCK):
                if one.url == lock:
                    continue
                with suppress(FileNotFoundError, ValueError):
                    holder = json.loads(stores.read(one.url))
                    if _is_dead(holder):
                        stores.remove(one.url)
                    elif not self._is_another_part(holder):
                        others[one.url] = holder
        return others

    def _is_another_part(self, holder: dict[str, Any]) -> bool:
        shard = holder.get("shard")
        return bool(shard and self._shard and shard[1] == self._shard[1] and shard[0] != self._shard[0])

    def _take_over(self, others: Mapping[Url, dict[str, Any]], say: Callable[[str], None]) -> None:
        for url, holder in others.items():
            with self._explained("written"):
                stores.remove(url)
            say(
                f"Process {holder.get('pid')} on {holder.get('host')} was working on {self.url} since "
                f"{holder.get('since')} and does not answer; its lock is taken over and its work continued."
            )

    def _beat(self, lock: Url, holder: dict[str, Any], over: threading.Event) -> None:
        """Renew the lock and bring what is journalled to the store, now and then.

        Another run that takes a lapsed lock over removes it, perhaps just before it is renewed after all; so after a
        lapse it looks for others again, as in taking the lock.
        """
        count, renewed = 0, time.time()  # which counts the time for which a machine is suspended, too
        while not over.wait(BEAT):
            count += 1
            with suppress(OSError, OutputError):  # the lease goes on: the next time may be in time
                if stores.look_up(lock) is None:
                    self._lost.set()
                    return
                began = time.time()
                _write_lock(lock, {**holder, "beat": count})
                if time.time() - renewed > LEASE and self._others(lock):
                    self._lost.set()
                    return
                renewed = began
                if self._ledger is not None:
                    self._ledger.flush()


class _Ledger:
    """The journal of one run; see ``places.Ledger``. What was appended is in the store when ``flush`` returns."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox, self._began = outbox, datetime.now(UTC)
        self._lock, self._flushing = threading.Lock(), threading.Lock()
        self._segments: dict[int, bytearray] = {0: bytearray()}  # all but the last are full
        self._chain = b""
        self._written = self._flushed = 0
        self._starts: dict[object, int] = {}
        self._fault: OutputError | None = None

    def append(self, record: Mapping[str, object], *, sync: bool = True) -> None:
        """Add a record, and first put the output if it says that one is done; a run's own records are flushed."""
        kind, output = record["event"], record.get("output")
        with self._explained():
            if kind == "photo.done":
                self._put(record)
            with self._lock:
                self._add(record)
                if kind == "photo.start":
                    self._starts[output] = self._written
                else:
                    self._starts.pop(output, None)
        if kind in ("run.start", "run.end"):
            self.flush()

    def flush(self, position: int | None = None) -> None:
        """Bring at least the first ``position`` lines to the store, or all; one writing serves all who wait for it."""
        with self._explained(), self._flushing:
            with self._lock:
                if self._flushed >= (self._written if position is None else position):
                    return
                written, contents = self._written, {n: bytes(lines) for n, lines in self._segments.items()}
            for number, content in contents.items():
                self._outbox.write_segment(number, self._began, content)
            with self._lock:
                self._flushed = written
                for number in list(contents)[:-1]:
                    del self._segments[number]

    def close(self) -> None:
        """See ``Ledger.close``; if the last lines cannot be written, ``append`` has said so or the next run will."""
        with suppress(OutputError):
            self.flush()

    def _put(self, record: Mapping[str, object]) -> None:
        """Put an output and what belongs to it, itself last, when its beginning is in the store."""
        with self._lock:
            position = self._starts.get(record.get("output"), self._written)
        self.flush(position)
        self._outbox.put([str(name) for name, _, _ in files_of(record)][::-1])

    def _add(self, record: Mapping[str, object]) -> None:
        number = max(self._segments)
        if len(self._segments[number]) >= SEGMENT:
            number += 1
            self._segments[number], self._chain = bytearray(), b""
        line, self._chain = sealed(to_line(record).encode("ascii"), self._chain)
        self._segments[number] += line
        self._written += 1

    @contextmanager
    def _explained(self) -> Iterator[None]:
        if self._fault is not None:
            # a later line would contradict the missing one
            raise self._fault
        try:
            yield
        except OSError as error:
            self._fault = OutputError(f"{self._outbox.url} cannot be written: {error.strerror or error}.")
            raise self._fault from error


def _write_lock(lock: Url, holder: Mapping[str, Any]) -> None:
    stores.write(lock, json.dumps(holder).encode())


def _named(holder: Mapping[str, Any]) -> str:
    return f"process {holder.get('pid')} on {holder.get('host')}"


def _machine() -> str:
    """What tells this machine and its numbering of processes from others'; empty where that cannot be told."""
    try:
        return f"{Path('/proc/sys/kernel/random/boot_id').read_text().strip()} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return ""


def _scratch() -> Path:
    """A new folder of this process; those that killed processes of this machine left are removed."""
    machine = _machine()
    prefix = f"colorcli-{hashlib.sha256(machine.encode()).hexdigest()[:12]}-"
    for folder in Path(tempfile.gettempdir()).glob(f"{prefix}*"):
        if _is_dead({"machine": machine, "pid": folder.name.removeprefix(prefix).partition("-")[0]}):
            shutil.rmtree(folder, ignore_errors=True)
    return Path(tempfile.mkdtemp(prefix=f"{prefix}{os.getpid()}-"))


def _is_dead(holder: Mapping[str, Any]) -> bool:
    """Whether a lock's process ran here and has ended, so that nobody need wait for its lease."""
    if not holder.get("machine") or holder["machine"] != _machine():
        return False
    try:
        os.kill(int(holder["pid"]), 0)
    except ProcessLookupError:
        return True
    except (OSError, ValueError, KeyError, OverflowError):
        return False
    return False
