"""Where the tests find what they read, and how they and the processes that they start find the program.

The program under test is the one that Python imports: an installed wheel, an editable install, or what ``PYTHONPATH``
names. Tests never put the checkout in its place, so that what is missing in the wheel is missed.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# Tests start processes in folders of their own, where a relative entry would mean another place.
if "PYTHONPATH" in os.environ:
    entries = os.environ["PYTHONPATH"].split(os.pathsep)
    os.environ["PYTHONPATH"] = os.pathsep.join(str(Path(entry).absolute()) for entry in entries if entry)
# One process of tests for each core: a pool of spinning threads in each would make all of them wait.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")


def pytest_report_header() -> str:
    """Say which program is tested."""
    import colorcli

    return f"colorcli: {Path(colorcli.__file__).parent}"


@pytest.fixture
def faked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A folder of one's own, and a fake behind every model's name."""
    from colorcli.pipeline import opening
    from colorcli.registry import registry

    from .fakes import CARD, FakeSession

    monkeypatch.setattr(registry, "find", lambda name: CARD)
    monkeypatch.setattr(opening, "open_model", lambda card, **_: FakeSession())
    monkeypatch.chdir(tmp_path)
    return tmp_path
