"""The user's folders, wherever their names come from."""

from __future__ import annotations

from pathlib import Path

import pytest

from colorcli import environment


def test_a_home_folder_is_expanded_everywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A ``~`` that reaches us unexpanded made a folder of that name in the working directory."""
    numba = pytest.importorskip("numba")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    for variable in ("COLORCLI_CACHE_DIR", "COLORCLI_DATA_DIR", "COLORCLI_CONFIG"):
        monkeypatch.setenv(variable, "~/x")
    found = environment.cache_dir(), environment.data_dir(), environment.settings_file()
    assert found == (tmp_path / "x",) * 3

    from colorcli.color.compiled import compiled

    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    monkeypatch.setattr(numba.config, "CACHE_DIR", "")
    monkeypatch.chdir(tmp_path)
    compiled(_twice, numba.types.int64(numba.types.int64))
    assert (tmp_path / "x" / "numba").is_dir()
    assert not (tmp_path / "~").exists()


def _twice(x: int) -> int:
    return 2 * x


def test_switches_that_say_no(monkeypatch: pytest.MonkeyPatch) -> None:
    """``COLORCLI_OFFLINE=0`` in a profile must not cut anybody off."""
    for value, expected in (("1", True), ("yes", True), ("0", False), ("No", False), ("", False)):
        monkeypatch.setenv("COLORCLI_OFFLINE", value)
        monkeypatch.setenv("COLORCLI_DEBUG", value)
        assert (environment.offline(), environment.debugging()) == (expected, expected)
