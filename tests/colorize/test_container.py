"""A container runs as a user without a home, on a root that is read only: ``.github/Containerfile`` counts on it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from .conftest import write_gray
from .test_resume import start

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform != "linux", reason="where nobody can write is /proc")]


def test_nothing_but_the_output_and_the_cache_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise it ends at the first photograph, or compiles its loops anew in every container."""
    write_gray(tmp_path / "in" / "a.png")
    for name in ("cache", "tmp"):
        (tmp_path / name).mkdir()
    for name in ("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "COLORCLI_DATA_DIR", "NUMBA_CACHE_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", "/proc/nobody")
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    monkeypatch.setenv("COLORCLI_CACHE_DIR", str(tmp_path / "cache"))
    process = start(tmp_path / "in", 0.0, "no", "-o", "out")
    _, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache", "in", "out", "tmp"]
    assert list((tmp_path / "tmp").iterdir()) == []
    assert any((tmp_path / "cache").rglob("*.nbc")), "compiled code is kept"
