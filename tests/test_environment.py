"""The user's folders, switches in the environment, and commands that install extras."""

from __future__ import annotations

import importlib.metadata
import json
from pathlib import Path

import pytest

from colorcli import environment


def test_a_home_folder_is_expanded_everywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An unexpanded ``~`` used to create a folder of that name in the working directory."""
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
    """``COLORCLI_OFFLINE=0`` in a profile must not prevent downloads."""
    for value, expected in (("1", True), ("yes", True), ("0", False), ("No", False), ("", False)):
        monkeypatch.setenv("COLORCLI_OFFLINE", value)
        monkeypatch.setenv("COLORCLI_DEBUG", value)
        assert (environment.offline(), environment.debugging()) == (expected, expected)


def _distribution(folder: Path, origin: dict[str, object] | None) -> importlib.metadata.Distribution:
    """An installed colorcli that came from ``origin``, which pip records in direct_url.json."""
    info = folder / "colorcli-0.2.0.dist-info"
    info.mkdir()
    requires = ["numpy>=2", "accelerate>=1.2; extra == 'train'", "timm>=1.0 ; extra == 'train'", "x; extra == 'test'"]
    (info / "METADATA").write_text(
        "Name: colorcli\nVersion: 0.2.0\n" + "".join(f"Requires-Dist: {r}\n" for r in requires)
    )
    if origin is not None:
        (info / "direct_url.json").write_text(json.dumps(origin))
    return importlib.metadata.PathDistribution(info)


@pytest.mark.parametrize(
    ("origin", "command"),
    [
        (None, "pip install 'colorcli[train]'"),
        (
            {"url": "https://example.org/colorcli.git", "vcs_info": {"vcs": "git", "commit_id": "abc"}},
            "pip install 'colorcli[train] @ git+https://example.org/colorcli.git@abc'",
        ),
        (
            {"url": "https://example.org/colorcli-0.2.0-py3-none-any.whl", "archive_info": {}},
            "pip install 'colorcli[train] @ https://example.org/colorcli-0.2.0-py3-none-any.whl'",
        ),
        ({"url": "file:///gone/colorcli.whl", "archive_info": {}}, "pip install 'accelerate>=1.2' 'timm>=1.0'"),
    ],
)
def test_an_extra_is_installed_from_where_the_package_came_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, origin: dict[str, object] | None, command: str
) -> None:
    """A package index may not have the version that is installed, and the suggested command would fail."""
    distribution = _distribution(tmp_path, origin)
    monkeypatch.setattr(importlib.metadata, "distribution", lambda _: distribution)
    monkeypatch.setattr(environment, "_PACKAGE", tmp_path / "site-packages" / "colorcli")
    assert environment.install_command("train") == command


def test_an_extra_is_installed_from_the_wheel_or_the_checkout_that_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel = tmp_path / "my wheels" / "colorcli-0.2.0-py3-none-any.whl"
    wheel.parent.mkdir()
    wheel.touch()
    distribution = _distribution(tmp_path, {"url": wheel.as_uri(), "archive_info": {}})
    monkeypatch.setattr(importlib.metadata, "distribution", lambda _: distribution)
    monkeypatch.setattr(environment, "_PACKAGE", tmp_path / "checkout" / "colorcli")
    assert environment.install_command("train") == f"pip install 'colorcli[train] @ {wheel.as_uri()}'"

    (tmp_path / "checkout").mkdir()
    (tmp_path / "checkout" / "pyproject.toml").write_text('[project]\nname = "colorcli"\n')
    assert environment.install_command("train") == f"pip install '{tmp_path / 'checkout'}[train]'"
    monkeypatch.chdir(tmp_path / "checkout")
    assert environment.install_command("train") == "pip install '.[train]'"
