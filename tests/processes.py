"""Waiting for what other processes do, not for time to pass."""

from __future__ import annotations

import json
import os
import select
import subprocess
from pathlib import Path

PATIENCE = 120.0


def await_word(fifo: Path) -> str:
    """What another process writes into a FIFO, once it has begun to."""
    descriptor = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    try:
        assert select.select([descriptor], [], [], PATIENCE)[0], "it did not happen"
        return os.read(descriptor, 100).decode()
    finally:
        os.close(descriptor)


def await_done(process: subprocess.Popen[str], count: int) -> None:
    """Wait until a run with ``--json`` says that it has finished so many photographs."""
    assert process.stdout is not None
    for line in process.stdout:
        count -= json.loads(line)["event"] == "photo.done"
        if count <= 0:
            return
    raise AssertionError("it ended before that")
