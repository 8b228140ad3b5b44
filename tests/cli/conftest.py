"""A fixture that runs the program as a user does, with a data folder of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run ``colorcli ARGUMENTS`` in ``tmp_path``; keyword arguments except ``stdin`` are environment variables."""

    def start(*arguments: str, stdin: str | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("COLORCLI_")}
        own = {"COLORCLI_DATA_DIR": str(tmp_path / "data"), "COLUMNS": "200", "NO_COLOR": "1"}
        return subprocess.run(
            [sys.executable, "-m", "colorcli", *arguments],
            cwd=tmp_path,
            env={**inherited, **own, **environment},
            input=stdin,
            capture_output=True,
            text=True,
            timeout=600,
        )

    return start
