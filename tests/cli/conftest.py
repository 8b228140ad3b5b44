"""Fixtures that run the program as a user does, with a data folder of its own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from ..processes import environment_of, run_here

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run ``colorcli ARGUMENTS`` in ``tmp_path``; keyword arguments except ``stdin`` are environment variables."""
    return partial(run_here, tmp_path)


@pytest.fixture
def program(tmp_path: Path) -> Run:
    """The same in a new process, for what depends on how the program starts."""

    def start(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "colorcli", *arguments]
        variables = environment_of(tmp_path, environment)
        return subprocess.run(command, cwd=tmp_path, env=variables, capture_output=True, text=True, timeout=600)

    return start
