"""A matrix of faults and places: every photograph is accounted for, and the next run completes the work."""

from __future__ import annotations

import errno
import itertools
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from colorcli import files
from colorcli.colorize.journal import read_journal
from colorcli.colorize.options import Execution
from colorcli.colorize.run import Report
from colorcli.errors import ExitCode
from colorcli.images import write
from colorcli.sessions.session import OutOfMemoryError

from ..fakes import FakeSession
from .conftest import Colour, contents, write_gray
from .faults import STEPS, at, full_disk, raising
from .test_resume import complete, finished, start

ONE_BY_ONE = Execution(jobs=1, fsync=False)
FAULTS: dict[str, Callable[[], BaseException]] = {
    "EIO": lambda: OSError(errno.EIO, os.strerror(errno.EIO)),
    "ENOSPC": lambda: OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)),
    "ESTALE": lambda: OSError(errno.ESTALE, os.strerror(errno.ESTALE)),
    "memory": MemoryError,
    "bug": lambda: RuntimeError("\x1b[31mhostile\nlibrary"),
}


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reads and renames are retried without waiting."""
    monkeypatch.setattr(files, "_WAITS", (0.0, 0.0))


@pytest.fixture
def four(tmp_path: Path, colour: Colour) -> Path:
    """A photograph of each format, coloured once without disturbance into ``reference``."""
    for name in ("a.png", "b.jpg", "c.tif", "d.webp"):
        write_gray(tmp_path / "in" / name)
    assert colour(tmp_path / "in", output=tmp_path / "reference").done == 4
    return tmp_path / "in"


def account_for(report: Report, originals: dict[str, bytes], folder: Path, reference: dict[str, bytes]) -> None:
    """Check what holds however a run ended: totals, originals, no partial output."""
    assert report.matched == report.done + report.already + report.skipped + report.failed + report.unprocessed
    assert report.unprocessed >= 0
    assert contents(folder) == originals
    for name, content in contents(folder.with_name("in_colorized")).items():
        assert content == reference[name], "an output is absent or complete"
    for failure in report.failures:
        assert failure.reason and "Traceback" not in failure.reason


def mended(colour: Colour, folder: Path, reference: dict[str, bytes], before: set[str]) -> None:
    """Check that the next run makes what is left, redoes nothing that is journalled, and completes the set."""
    root = folder.with_name("in_colorized")
    times = {name: (root / name).stat().st_mtime_ns for name in before}
    report = colour(folder)
    assert (report.done + report.already, report.exit_code) == (len(reference), ExitCode.OK)
    assert report.already == len(before)
    assert contents(root) == reference
    assert {name: (root / name).stat().st_mtime_ns for name in before} == times


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("step", STEPS)
def test_a_fault_at_each_step(
    four: Path, colour: Colour, monkeypatch: pytest.MonkeyPatch, step: str, fault: str
) -> None:
    """At the third photograph, a disk, a share, the memory or a library fails; nothing else is lost."""
    reference, originals = contents(four.with_name("reference")), contents(four)
    place, name = STEPS[step]
    # the journal's first line is the run's, and every photograph has two lines
    numbers = (5, 6, 7) if place is STEPS["journal"][0] else (3,)
    for number in numbers:
        root = four.with_name("in_colorized")
        shutil.rmtree(root, ignore_errors=True)
        with monkeypatch.context() as patch:
            patch.setattr(place, name, at(number, getattr(place, name), raising(FAULTS[fault])))
            report = colour(four, execution=replace(ONE_BY_ONE, fsync=step == "sync"))
        account_for(report, originals, four, reference)
        # Opening and renaming are retried, and some files that are opened are optional.
        assert report.done < 4 or step in ("open", "rename"), "the fault was not injected"
        assert report.exit_code in (ExitCode.OK, ExitCode.SOME_FAILED, ExitCode.OUTPUT)
        journalled = finished(root)
        assert journalled >= {r["output"] for r in colour.of("photo.done")}
        mended(colour, four, reference, journalled)


def _nan(lightness: Any, chroma: Any) -> Any:
    return np.full_like(chroma, np.nan)


def _wrong_shape(lightness: Any, chroma: Any) -> Any:
    return chroma[:, :1]


def _wrong_count(lightness: Any, chroma: Any) -> Any:
    return np.concatenate([chroma, chroma])


def _nothing(lightness: Any, chroma: Any) -> Any:
    return chroma[:0]


def _gray(lightness: Any, chroma: Any) -> Any:
    return np.zeros_like(chroma)


def _out_of_memory(lightness: Any, chroma: Any) -> Any:
    raise OutOfMemoryError


def _infinite(lightness: Any, chroma: Any) -> Any:
    return np.full_like(chroma, np.inf)


def _no_array(lightness: Any, chroma: Any) -> Any:
    return "blue"


SESSION_FAULTS = (_nan, _infinite, _wrong_shape, _wrong_count, _nothing, _gray, _no_array, _out_of_memory)


@pytest.mark.parametrize("fault", SESSION_FAULTS)
@pytest.mark.parametrize("number", [1, 3, 4])
def test_a_network_that_fails_at_one_photograph(four: Path, colour: Colour, fault: Any, number: int) -> None:
    """The photograph is named, the others are made, and the next run makes it."""
    reference, originals = contents(four.with_name("reference")), contents(four)
    count = itertools.count(1)

    def at_one(lightness: Any, chroma: Any) -> Any:
        return fault(lightness, chroma) if next(count) == number else None

    report = colour(four, session=FakeSession(at_one), execution=ONE_BY_ONE)
    account_for(report, originals, four, reference)
    assert (report.done, report.failed, report.exit_code) == (3, 1, ExitCode.SOME_FAILED)
    mended(colour, four, reference, finished(four.with_name("in_colorized")))


def test_a_network_that_always_fails(four: Path, colour: Colour) -> None:
    for fault in SESSION_FAULTS:
        report = colour(four, session=FakeSession(fault), execution=ONE_BY_ONE)
        assert (report.done, report.failed, report.exit_code) == (0, 4, ExitCode.ALL_FAILED)
    mended(colour, four, contents(four.with_name("reference")), set())


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EFBIG])
@pytest.mark.parametrize("room", [0, 100, 2000])
def test_a_disk_that_fails_in_the_middle_of_a_file(
    four: Path, colour: Colour, monkeypatch: pytest.MonkeyPatch, number: int, room: int
) -> None:
    """No truncated file gets its final name, and once there is space the run continues."""
    reference, originals = contents(four.with_name("reference")), contents(four)
    with monkeypatch.context() as patch:
        patch.setattr(write, "_created", full_disk(room, number))
        report = colour(four, execution=ONE_BY_ONE)
    account_for(report, originals, four, reference)
    assert report.done < 4
    if number in (errno.ENOSPC, errno.EDQUOT):
        assert "disk is full" in str(report.fatal)
    mended(colour, four, reference, finished(four.with_name("in_colorized")))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 kB, if the test may mount one."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = shutil.which("mount")
    made = (
        mount
        and subprocess.run(
            [mount, "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)], capture_output=True
        ).returncode
    )
    if made != 0:
        pytest.skip("file systems cannot be mounted here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_disk_that_is_really_full(tmp_path: Path, small_disk: Path, colour: Colour) -> None:
    """This includes the case that the journal has no room for its line."""
    for index in range(40):
        write_gray(tmp_path / "in" / f"{index:02}.tif", 64, 64)
    colour(tmp_path / "in", output=tmp_path / "reference")
    reference = contents(tmp_path / "reference")
    root = small_disk / "out"
    report = colour(tmp_path / "in", output=root)
    assert report.exit_code == ExitCode.OUTPUT
    assert 0 < report.done < 40
    assert report.matched == report.done + report.failed + report.unprocessed
    made = contents(root)
    assert all(reference[name] == content for name, content in made.items())
    subprocess.run(["mount", "-o", "remount,size=8m", str(small_disk)], check=True)
    report = colour(tmp_path / "in", output=root)
    assert (report.done + report.already, report.exit_code) == (40, ExitCode.OK)
    assert contents(root) == reference


def _vanish(path: Path) -> None:
    path.unlink()


def _grow(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"more")


def _shrink(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(40)


def _to_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _to_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _to_loop(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.name)


def _to_closed(path: Path) -> None:
    path.unlink()
    write_gray(path, value=255)
    path.chmod(0)


@pytest.mark.parametrize("change", [_vanish, _grow, _shrink, _to_pipe, _to_folder, _to_loop, _to_closed])
def test_an_input_that_changes_between_plan_and_turn(
    four: Path, colour: Colour, monkeypatch: pytest.MonkeyPatch, change: Callable[[Path], None]
) -> None:
    """Somebody may tidy up, or a scanner may still be writing."""
    reference = contents(four.with_name("reference"))
    place, name = STEPS["prepare"]
    monkeypatch.setattr(place, name, at(1, getattr(place, name), partial(change, four / "c.tif")))
    report = colour(four, execution=ONE_BY_ONE)
    assert report.matched == 4 == report.done + report.failed
    assert report.failed == (change not in (_grow, _to_closed)) or os.geteuid() != 0
    root = four.with_name("in_colorized")
    for name, content in contents(root).items():
        assert content == reference[name] or name == "c.tif"
        with Image.open(root / name) as image:
            image.load()


@pytest.mark.parametrize("change", [_vanish, _grow, _shrink])
def test_an_input_that_changes_while_it_is_read(
    four: Path, colour: Colour, monkeypatch: pytest.MonkeyPatch, change: Callable[[Path], None]
) -> None:
    """Otherwise the hash in the journal would be that of another file."""
    place, name = STEPS["decode"]
    monkeypatch.setattr(place, name, at(3, getattr(place, name), partial(change, four / "c.tif"), after=True))
    report = colour(four, execution=ONE_BY_ONE)
    assert (report.done, report.failed) == (3, 1)
    assert not (four.with_name("in_colorized") / "c.tif").exists()


@pytest.mark.slow
@pytest.mark.parametrize("step", STEPS)
def test_kill_9_at_each_step(tmp_path: Path, step: str) -> None:
    """The power fails at the third photograph; afterwards nothing is lost, and nothing is done twice."""
    for name in ("a.png", "b.jpg", "c.tif", "d.webp"):
        write_gray(tmp_path / "in" / name)
    complete(tmp_path / "in", "-o", str(tmp_path / "reference"))
    originals, reference = contents(tmp_path / "in"), contents(tmp_path / "reference")
    process = start(tmp_path / "in", 0.0, f"{step}:{6 if step.startswith('journal') else 3}")
    process.communicate(timeout=300)
    assert process.returncode == -signal.SIGKILL
    root = tmp_path / "in_colorized"
    done = finished(root)
    assert len(done) < 4
    for name, content in contents(root).items():
        assert name.endswith(".part") or content == reference[name]
    times = {name: (root / name).stat().st_mtime_ns for name in done}
    complete(tmp_path / "in")
    assert contents(root) == reference
    assert contents(tmp_path / "in") == originals
    assert {name: (root / name).stat().st_mtime_ns for name in done} == times
    assert sum(r["event"] == "photo.done" for r in read_journal(root)) == 4
