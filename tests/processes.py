"""Running the program, and waiting for events in other processes instead of sleeping."""

from __future__ import annotations

import io
import json
import os
import select
import subprocess
import sys
from pathlib import Path

import pytest

from colorcli.cli import main

PATIENCE = 120.0


def run_here(folder: Path, *arguments: str, stdin: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    """Run ``colorcli ARGUMENTS`` in a folder, in this process, since a new one takes seconds to import PyTorch.

    The environment is as in ``environment_of``. What libraries write in C is not captured.
    """
    streams = [io.TextIOWrapper(io.BytesIO(content), "utf-8") for content in (stdin.encode(), b"", b"")]
    variables = environment_of(folder, environment)
    with pytest.MonkeyPatch.context() as changed:
        for name in os.environ.keys() - variables.keys():
            changed.delenv(name)
        for name, value in variables.items():
            changed.setenv(name, value)
        for name, stream in zip(("stdin", "stdout", "stderr"), streams, strict=True):
            changed.setattr(sys, name, stream)
        changed.chdir(folder)
        try:
            code = main(arguments)
        except SystemExit as end:
            code = int(end.code or 0)
    for stream in streams:
        stream.seek(0)
    return subprocess.CompletedProcess(arguments, code, streams[1].read(), streams[2].read())


def environment_of(folder: Path, own: dict[str, str]) -> dict[str, str]:
    """This process's environment without the program's variables; its data folder is in ``folder``."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("COLORCLI_")}
    return {**inherited, "COLORCLI_DATA_DIR": str(folder / "data"), "COLUMNS": "200", "NO_COLOR": "1", **own}


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
