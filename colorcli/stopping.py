"""Stopping: the first signal lets work in flight finish, the second aborts."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

from colorcli.errors import ExitCode


def ended_by(signal_number: int | None) -> ExitCode:
    """Exit code of a run that a signal ended."""
    return ExitCode.TERMINATED if signal_number == signal.SIGTERM else ExitCode.INTERRUPTED


class Stop:
    """A request to finish work in flight and start nothing new; ``signal_number`` is its signal, if any."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self.signal_number: int | None = None

    def __call__(self) -> bool:
        """Whether it was requested."""
        return self._event.is_set()

    def is_set(self) -> bool:
        """The same by the name that events have."""
        return self()

    def wait(self, seconds: float) -> bool:
        """Wait until it is requested, at most so long; whether it was."""
        return self._event.wait(seconds)

    def request(self, signal_number: int | None = None) -> None:
        """Request the stop."""
        self.signal_number = self.signal_number or signal_number
        self._event.set()


@contextmanager
def stopping_on_signals(stop: Stop, announce: Callable[[], None]) -> Iterator[None]:
    """The first Ctrl-C or SIGTERM requests ``stop`` and is announced; the second raises, and so aborts.

    The second raises KeyboardInterrupt or SystemExit(143). SIGUSR1, with which Slurm says that the time is nearly up
    (``--signal=USR1@120``), requests ``stop`` and never aborts. Does nothing outside of the main thread, which alone
    gets signals.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def handle(number: int, _frame: FrameType | None) -> None:
        if not stop():
            stop.request(number)
            with suppress(RuntimeError):  # the signal may have come in the middle of a write to the same stream
                announce()
        elif number == signal.SIGTERM:
            raise SystemExit(143)
        elif number == signal.SIGINT:
            raise KeyboardInterrupt

    numbers = [signal.SIGINT, signal.SIGTERM]
    if hasattr(signal, "SIGUSR1"):  # not on Windows
        numbers.append(signal.SIGUSR1)
    previous = {number: signal.signal(number, handle) for number in numbers}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


@contextmanager
def aborting_at_once() -> Iterator[None]:
    """End the process on KeyboardInterrupt or SystemExit: an orderly exit would crash on threads in native code."""
    try:
        yield
    except (KeyboardInterrupt, SystemExit) as abort:
        sys.stderr.flush()
        os._exit(ExitCode.INTERRUPTED if isinstance(abort, KeyboardInterrupt) else ExitCode.TERMINATED)
