"""Real processes that are really killed: finished files stay, nothing is lost, and no partial file is ever seen."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

from colorcli.colorize.journal import read_journal
from colorcli.pipeline import opening
from colorcli.registry import registry

from ..conftest import ROOT
from ..fakes import CARD, FakeSession
from ..processes import await_done, await_word, run_here
from .conftest import contents, write_gray

pytestmark = pytest.mark.slow

# The folder of the tests may hold another colorcli than the one under test, so it comes last.
DRIVER = (
    f"import runpy, sys; sys.path.append({str(ROOT)!r}); runpy.run_module('tests.colorize.driver', run_name='__main__')"
)


def start(folder: Path, seconds: float = 0.0, deadly: str = "no", *extra: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [
            sys.executable,
            "-c",
            DRIVER,
            str(seconds),
            deadly,
            "colorize",
            str(folder),
            "-j",
            "2",
            *extra,
        ],
        cwd=folder.parent,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "COLORCLI_CONFIG": os.devnull},
    )


def complete(folder: Path, *extra: str) -> str:
    """Run to the end in this process, since only those that are killed need one of their own; returns stderr."""
    with pytest.MonkeyPatch.context() as changed:
        changed.setattr(registry, "find", lambda name: CARD)
        changed.setattr(opening, "open_model", lambda *args, **kwargs: FakeSession())
        ended = run_here(folder.parent, "colorize", str(folder), "-j", "2", *extra, COLORCLI_CONFIG=os.devnull)
    assert ended.returncode == 0, ended.stderr
    return ended.stderr


def finished(root: Path) -> set[str]:
    return {str(r["output"]) for r in read_journal(root) if r["event"] == "photo.done"}


@pytest.fixture
def many(tmp_path: Path) -> Path:
    """Twenty photographs, coloured once without disturbance into ``reference``."""
    for index in range(20):
        write_gray(tmp_path / "in" / f"{index:02}.{('png', 'jpg', 'tif', 'webp')[index % 4]}")
    complete(tmp_path / "in", "-o", str(tmp_path / "reference"))
    return tmp_path / "in"


def test_kill_9_at_any_moment_loses_nothing(many: Path) -> None:
    """Even if power fails five times in a night, the set is complete in the morning, and nothing was done twice."""
    root, reference = many.with_name("in_colorized"), contents(many.with_name("reference"))
    originals = contents(many)
    rng = random.Random(0)
    kills = 0
    # On a busy machine many may finish between two kills; the last one has to find some left.
    while kills < 5 and len(finished(root)) < 14:
        kills += 1
        before = {name: (root / name).stat().st_mtime_ns for name in finished(root)}
        process = start(many, 0.15, "no", "--json")
        await_done(process, rng.randint(1, 2))
        time.sleep(rng.random() * 0.15)  # a random moment to kill at, not a wait for anything
        process.kill()
        process.communicate()
        assert {name: (root / name).stat().st_mtime_ns for name in before} == before
        for name in finished(root):
            assert (root / name).read_bytes() == reference[name]
        for name, data in contents(root).items():
            assert name.endswith(".part") or data == reference[name], "under its final name a file is complete"
    assert kills >= 2
    assert len(finished(root)) < 20
    before = {name: (root / name).stat().st_mtime_ns for name in finished(root)}
    assert "ended without finishing" in complete(many)
    assert contents(root) == reference, "and nothing is left under a temporary name"
    assert {name: (root / name).stat().st_mtime_ns for name in before} == before
    assert contents(many) == originals


@pytest.mark.parametrize("stage", ["network", "part", "written"])
def test_kill_9_at_each_stage(many: Path, stage: str) -> None:
    """This includes the moment between the rename and the journal's line, when a file exists without a line."""
    root, reference = many.with_name("in_colorized"), contents(many.with_name("reference"))
    process = start(many, 0.0, f"{stage}:4")
    process.communicate(timeout=300)
    assert process.returncode == -signal.SIGKILL
    done = finished(root)
    assert len(done) < 20
    complete(many)
    assert contents(root) == reference, "and what the killed run left under a temporary name is gone"
    assert len(finished(root)) == 20


def test_a_killed_overwrite_is_continued(many: Path) -> None:
    root = many.with_name("in_colorized")
    complete(many)
    process = start(many, 0.0, "written:4", "--seed", "7", "--overwrite")
    process.communicate(timeout=300)
    complete(many, "--seed", "7", "--overwrite")
    complete(many, "--seed", "7", "-o", str(many.with_name("fresh")))
    assert contents(root) == contents(many.with_name("fresh"))


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (getattr(signal, "SIGUSR1", 0), 130)]
)
def test_the_first_signal_finishes_what_is_in_flight(many: Path, number: int, code: int) -> None:
    root = many.with_name("in_colorized")
    process = start(many, 0.5, "no", "--json")
    await_done(process, 2)
    process.send_signal(number)
    _, err = process.communicate(timeout=300)
    assert process.returncode == code
    assert "Traceback" not in err
    assert "run again to continue" in err
    assert set(contents(root)) == finished(root)
    assert not (root / ".colorcli" / "lock").exists()
    complete(many)
    assert contents(root) == contents(many.with_name("reference"))


def test_the_second_signal_aborts_even_a_network_that_hangs(many: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody should have to look up kill -9."""
    mark = many.with_name("begun")
    os.mkfifo(mark)
    monkeypatch.setenv("DRIVER_MARK", str(mark))
    process = start(many, 600.0)
    assert process.stderr is not None
    await_word(mark)
    monkeypatch.delenv("DRIVER_MARK")  # nobody reads the FIFO of the run that completes it
    process.send_signal(signal.SIGINT)
    assert any("Ctrl-C again aborts" in line for line in process.stderr), "it ended at the first signal"
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "Traceback" not in err
    complete(many)


def test_a_closed_log_does_not_end_the_run(many: Path) -> None:
    """``colorcli colorize … 2>&1 | head -1`` must still do the work."""
    process = start(many, 0.02, "no", "--verbose")
    assert process.stderr is not None
    process.stderr.close()
    process.wait(timeout=300)
    assert process.returncode == 0
    assert contents(many.with_name("in_colorized")) == contents(many.with_name("reference"))


def test_a_reader_that_goes_away_ends_the_run_quietly(many: Path) -> None:
    """``colorcli colorize … --json | head -1`` must not print a traceback."""
    process = start(many, 0.05, "no", "--json")
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    err = process.stderr.read()
    process.wait(timeout=300)
    assert process.returncode == 141
    assert "Traceback" not in err
    assert "Exception" not in err
    root = many.with_name("in_colorized")
    for name in contents(root):
        with Image.open(root / name) as image:
            image.load()
    complete(many)
