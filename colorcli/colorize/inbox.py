"""Photographs of stores as files of this machine, for as long as they are decoded."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from colorcli import stores
from colorcli.colorize.discover import Found
from colorcli.colorize.plan import Task
from colorcli.images.read import probe_content


@contextmanager
def at_hand(found: Found) -> Iterator[Path]:
    """A photograph's file; of an object, a copy with its name and time and the XMP file beside it, then deleted.

    Raises:
        OSError: it cannot be fetched.
    """
    if not found.url:
        yield found.path
        return
    with tempfile.TemporaryDirectory(prefix="colorcli-") as folder:
        path = Path(folder) / found.path
        stores.fetch(found.url, path)
        if found.sidecar:
            stores.fetch(stores.beside(found.url, found.sidecar), path.with_name(found.sidecar))
        os.utime(path, ns=(found.mtime_ns, found.mtime_ns))
        yield path


def measured(task: Task) -> Task:
    """A task with the pixels of its photograph, which the plan did not read from the header where it is an object.

    It stays as it is if they cannot be read: decoding will say why.
    """
    found = task.found
    if found.url:
        with suppress(Exception), stores.opened(found.url) as file:
            _, width, height, _ = probe_content(file, found.size)
            return replace(task, pixels=width * height)
    return task
