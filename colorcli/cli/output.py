"""Output: data on stdout, everything else on stderr.

While a command runs, libraries that print, in Python or in C, reach stderr instead; ``emit`` and ``line`` alone
reach the real stdout.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import textwrap
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, TextIO

from colorcli.text import printable_lines

if TYPE_CHECKING:
    from rich.console import Console

VERSION = 1
_NARROWEST = 20
PATIENCE = 2.0
"""Seconds after which people want to know what they are waiting for."""


class _Protection:
    """The data stream while stdout is protected."""

    data: TextIO | None = None


_protection = _Protection()


def stdout() -> TextIO:
    """The stream for data, also while stdout is protected."""
    return _protection.data or sys.stdout


def emit(event: str, **fields: Any) -> None:
    """Write one JSON object on a line: ``{"v": 1, "event": event, ...}``."""
    line(json.dumps({"v": VERSION, "event": event, **fields}))


def line(text: str) -> None:
    """Write a line of data and flush it, since a reader may be waiting.

    On a terminal, control characters, which come from names and files, are escaped.
    """
    stream = stdout()
    if stream.isatty():
        text = printable_lines(text)
    stream.write(f"{text}\n")
    stream.flush()


def emit_bytes(content: bytes) -> None:
    """Write bytes as they are."""
    stream = stdout()
    stream.flush()
    stream.buffer.write(content)
    stream.buffer.flush()


def note(text: str) -> None:
    """Write a line for people to stderr; a closed stderr is ignored."""
    try:
        print(fitted(text, sys.stderr), file=sys.stderr, flush=True)  # noqa: T201
    except OSError:
        silence(sys.stderr)


@contextlib.contextmanager
def waiting(what: str, *, quiet: bool = False) -> Iterator[Callable[[int, int], None]]:
    """On a terminal, show what is being waited for and for how long, once it takes over two seconds.

    Yields a function that takes how many are done, and of how many. Not for work that shows its own progress.
    """
    screen = console(stderr=True)
    if quiet or not screen.is_terminal or screen.is_dumb_terminal:
        yield lambda done, total: None
        return
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
    line = Progress(*columns, console=screen, transient=True)
    task = line.add_task(what, total=None)
    timer = threading.Timer(PATIENCE, line.start)
    timer.daemon = True
    timer.start()
    try:
        yield lambda done, total: line.update(task, description=f"{what}: {done:,} of {total:,}")
    finally:
        timer.cancel()
        timer.join()
        line.stop()


def fitted(text: str, stream: TextIO) -> str:
    """Text, wrapped between words if ``stream`` is a terminal, which would wrap inside them.

    Control characters, which come from names and files, are escaped.
    """
    text = printable_lines(text)
    try:
        width = os.get_terminal_size(stream.fileno()).columns if stream.isatty() else 0
    except (OSError, ValueError, AttributeError):
        width = 0
    if width < _NARROWEST:
        return text
    return "\n".join(
        textwrap.fill(one, width, break_long_words=False, break_on_hyphens=False) if len(one) > width else one
        for one in text.split("\n")
    )


def listing(rows: Iterable[tuple[str, str]], heading: str = "") -> None:
    """Write names with descriptions; on a terminal in two columns, wrapped to its width."""
    rows = list(rows)
    if not stdout().isatty():
        width = max(len(name) for name, _ in rows)
        for text in ([heading] if heading else []) + [f"{name:<{width}}  {text}".rstrip() for name, text in rows]:
            line(text)
        return
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, show_header=bool(heading), header_style="bold")
    table.add_column(heading, no_wrap=True)
    table.add_column()
    for name, text in rows:
        table.add_row(Text(name), Text(text))
    console().print(table)


def silence(stream: TextIO) -> None:
    """Discard a stream's buffer and all further output: its reader has gone or its disk is full."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def console(*, stderr: bool = False) -> Console:
    """A Rich console on the data stream (or stderr); it heeds NO_COLOR and FORCE_COLOR."""
    from rich.console import Console

    stream = sys.stderr if stderr else stdout()
    # A file or a pipe has no width to wrap at.
    return Console(file=stream, highlight=False, width=None if stream.isatty() else 1000)


@contextlib.contextmanager
def protected() -> Iterator[None]:
    """Keep stdout for data: redirect file descriptor 1 and ``sys.stdout`` to stderr meanwhile."""
    if _protection.data is not None:
        yield
        return
    original = sys.stdout
    with contextlib.ExitStack() as stack:
        separate = _is_descriptor_1(original)
        _protection.data = stack.enter_context(_keep_descriptor(original)) if separate else original
        sys.stdout = sys.stderr
        try:
            yield
        finally:
            sys.stdout = original
            _protection.data = None


@contextlib.contextmanager
def _keep_descriptor(original: TextIO) -> Iterator[TextIO]:
    """Redirect descriptor 1 to stderr; returns a stream to its former target."""
    original.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    stream = os.fdopen(os.dup(kept), "w", encoding=original.encoding, errors="backslashreplace", newline="\n")
    try:
        yield stream
    finally:
        os.dup2(kept, 1)
        os.close(kept)
        # Closing flushes, which fails if the reader has gone or the disk is full; that error was raised before.
        with contextlib.suppress(OSError):
            stream.close()


def _is_descriptor_1(stream: TextIO) -> bool:
    try:
        os.fstat(2)
        return stream.fileno() == 1
    except (OSError, ValueError, AttributeError):
        return False
