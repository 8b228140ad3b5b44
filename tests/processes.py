"""Waiting for events in other processes instead of sleeping."""

from __future__ import annotations

import json
import os
import select
import subprocess
from pathlib import Path

PATIENCE = 120.0


def await_word(fifo: Path) -> str:
    """Wait until another process writes to a FIFO, and return what it wrote."""
    descriptor = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    try:
        assert select.select([descriptor], [], [], PATIENCE)[0], "it did not happen"
        return os.read(descriptor, 100).decode()
    finally:
        os.close(descriptor)


def await_done(process: subprocess.Popen[str], count: int) -> None:
    """Wait until a run with ``--json`` reports that it has finished ``count`` photographs."""
    assert process.stdout is not None
    for line in process.stdout:
        count -= json.loads(line)["event"] == "photo.done"
        if count <= 0:
            return
    raise AssertionError("it ended before that")
