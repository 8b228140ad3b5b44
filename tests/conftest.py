"""Shared by all tests: the checkout's path, and the environment of the processes that tests start.

The program under test is the one that Python imports: an installed wheel, an editable install, or a folder in
``PYTHONPATH``. Tests never put the checkout in its place, so that a file missing in the wheel makes them fail.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# Tests start processes in other folders, where relative entries would not be found.
if "PYTHONPATH" in os.environ:
    entries = os.environ["PYTHONPATH"].split(os.pathsep)
    os.environ["PYTHONPATH"] = os.pathsep.join(str(Path(entry).absolute()) for entry in entries if entry)
# pytest-xdist runs a process on each core; with a thread pool in each, all of them would wait.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")


def pytest_report_header() -> str:
    """Show which program is tested."""
    import colorcli

    return f"colorcli: {Path(colorcli.__file__).parent}"


@pytest.fixture(scope="session", autouse=True)
def unsynced() -> Iterator[None]:
    """Files of this process are not synced: a disk takes 20 ms for each of thousands, and no test cuts its power.

    Processes that tests start do sync, and tests of syncing put their own function in its place.
    """
    with pytest.MonkeyPatch.context() as changed:
        changed.setattr(os, "fsync", os.fstat)
        yield


@pytest.fixture
def faked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Run in an empty folder, which is returned; every model's name opens a ``FakeSession``."""
    from colorcli.pipeline import opening
    from colorcli.registry import registry

    from .fakes import CARD, FakeSession

    monkeypatch.setattr(registry, "find", lambda name: CARD)
    monkeypatch.setattr(opening, "open_model", lambda card, **_: FakeSession())
    monkeypatch.chdir(tmp_path)
    return tmp_path
