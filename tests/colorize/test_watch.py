"""A watched folder: complete files are coloured once; files still being written wait until they are complete."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import pytest

from colorcli.colorize import watch
from colorcli.colorize.discover import Found, Source
from colorcli.colorize.journal import read_journal
from colorcli.colorize.options import Execution
from colorcli.colorize.run import Request, run
from colorcli.colorize.watch import Resting
from colorcli.errors import OutputError
from colorcli.images.photo import Format
from colorcli.pipeline import opening
from colorcli.registry import registry
from colorcli.registry.card import ModelCard
from colorcli.stopping import Stop

from ..fakes import INFO, FakeSession
from .conftest import contents, write_gray
from .test_resume import DRIVER

PHOTOGRAPH = Found(Source(Path("in"), Path("out")), "a.tif", 1000, 7, (1, 2))


def test_a_file_counts_once_its_size_has_rested() -> None:
    """If a file counted while the scanner still writes, half a scan would be coloured or called damaged."""
    resting = Resting(2)
    growing = [replace(PHOTOGRAPH, size=size) for size in (100, 500, 1000)]
    assert [resting.take([one], now) for now, one in zip((0, 1.5, 3), growing, strict=True)] == [[], [], []]
    assert resting.is_waiting
    assert resting.take(growing[2:], 4.9) == []
    assert resting.take(growing[2:], 5.0) == growing[2:]
    assert resting.take(growing[2:], 9.0) == [] and not resting.is_waiting


def test_a_file_that_is_written_again_counts_again() -> None:
    """A copy that stalled may be coloured too early and fail; the complete file must be coloured later."""
    resting = Resting(2)
    assert [resting.take([PHOTOGRAPH], now) for now in (0, 2)] == [[], [PHOTOGRAPH]]
    longer = replace(PHOTOGRAPH, size=2000, mtime_ns=8)
    assert [resting.take([longer], now) for now in (3, 5)] == [[], [longer]]


def test_an_empty_file_never_counts() -> None:
    """Scanners create the file first and fill it when the lamp is warm."""
    resting = Resting(2)
    empty = replace(PHOTOGRAPH, size=0)
    assert [resting.take([empty], now) for now in (0, 5, 100)] == [[], [], []]


@pytest.mark.parametrize(
    ("folder", "kind"),
    [("/scans/today", "cifs"), ("/scans", "cifs"), ("/mnt/my scans/x", "fuse.sshfs"), ("/home/x", "ext4")],
)
def test_network_shares_are_known_by_their_mount(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str, kind: str
) -> None:
    """They do not report what other machines write: a station that relied on reports would wait forever."""
    mounts = tmp_path / "mountinfo"
    mounts.write_text(
        "21 1 8:1 / / rw - ext4 /dev/sda1 rw\n"
        "30 21 0:50 / /scans rw,relatime shared:9 - cifs //nas/scans rw\n"
        "31 21 0:51 / /mnt/my\\040scans rw - fuse.sshfs nas: rw\n"
    )
    monkeypatch.setattr(watch, "_MOUNTS", mounts)
    assert watch._file_system(Path(folder)) == kind
    assert (watch._no_events(Path(folder)) is None) == (kind == "ext4")


class Station:
    """A watch in a thread with a fake network, and a queue of its events."""

    def __init__(self, folder: Path, output: Path, poll: float | None = None, form: Format | None = None) -> None:
        self._events: queue.Queue[Any] = queue.Queue()
        self._stop = Stop()
        request = Request((folder,), output=output, format=form, execution=Execution(jobs=2, fsync=False))

        def work() -> None:
            try:
                self.report = watch.watch(
                    request,
                    rest=0.2,
                    poll=poll,
                    observe=self._events.put,
                    started=lambda start: self._events.put({"event": "watch.start"}),
                    stop=self._stop,
                )
            finally:
                self._events.put({"event": "watch.end"})

        self._thread = threading.Thread(target=work)

    def __enter__(self) -> Self:
        self._thread.start()
        self.until("watch.start")
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.request(signal.SIGINT)
        self._thread.join(60)
        assert not self._thread.is_alive()

    def until(self, kind: str) -> Any:
        """Wait for the next event of a kind."""
        while (event := self._events.get(timeout=120))["event"] != kind:
            assert event["event"] != "watch.end", f"it ended before {kind}"
        return event


@pytest.fixture(autouse=True)
def _fake_network(monkeypatch: pytest.MonkeyPatch) -> None:
    card = ModelCard("fake", "fake", INFO.weights_sha256, "test", size=INFO.size_rule, controls=INFO.controls)
    monkeypatch.setattr(registry, "find", lambda name: card)
    monkeypatch.setattr(opening, "open_model", lambda *args, **kwargs: FakeSession())


@pytest.mark.parametrize("poll", [None, 0.1], ids=["told", "polling"])
def test_a_station_colours_new_files_and_continues_the_next_day(tmp_path: Path, poll: float | None) -> None:
    """The hot folder of a scan station: old and new files, even in new folders, are coloured once and journalled."""
    folder, output = tmp_path / "in", tmp_path / "out"
    write_gray(folder / "there.png")
    with Station(folder, output, poll) as first:
        assert first.until("photo.done")["input"] == "there.png"
        write_gray(folder / "new" / "scan.tif")
        assert first.until("photo.done")["input"] == "new/scan.tif"
        (folder / "torn.png").write_bytes((folder / "there.png").read_bytes()[:200])
        assert first.until("photo.failed")["input"] == "torn.png"
        write_gray(folder / "torn.png")
        assert first.until("photo.done")["input"] == "torn.png"
    report = first.report
    assert (report.done, report.failed, report.unprocessed, report.exit_code) == (3, 1, 0, 3)
    before = contents(output)
    assert sorted(before) == ["new/scan.tif", "there.png", "torn.png"]

    write_gray(folder / "night.png")
    with Station(folder, output, poll) as second:
        assert second.until("photo.done")["input"] == "night.png"
    report = second.report
    assert (report.done, report.already, report.failed, report.exit_code) == (1, 3, 0, 0)
    assert {name: content for name, content in contents(output).items() if name != "night.png"} == before
    made = [str(record["output"]) for record in read_journal(output) if record["event"] == "photo.done"]
    assert sorted(made) == ["new/scan.tif", "night.png", "there.png", "torn.png"]


def test_what_a_watch_made_is_what_colorize_makes(tmp_path: Path) -> None:
    """Otherwise an archive would have two kinds of outputs, and neither command could continue the other's."""
    folder, output = tmp_path / "in", tmp_path / "out"
    for name in ("a.png", "a.jpg", "sub/b.tif"):
        write_gray(folder / name)
    with Station(folder, output, form="PNG") as station:
        station.until("run.end")
    execution = Execution(jobs=2, fsync=False)
    run(Request((folder,), output=tmp_path / "other", format="PNG", execution=execution))
    assert contents(output) == contents(tmp_path / "other")
    again = run(Request((folder,), output=output, format="PNG", execution=execution))
    assert (again.already, again.done, again.matched) == (3, 0, 3)


def test_nobody_else_writes_where_a_watch_does(tmp_path: Path) -> None:
    """Between two photographs of a watch, another run could use names that the watch has planned."""
    folder, output = tmp_path / "in", tmp_path / "out"
    write_gray(folder / "a.png")
    write_gray(tmp_path / "more" / "b.png")
    with Station(folder, output) as station:
        station.until("run.end")
        with pytest.raises(OutputError, match="in use by process"):
            run(Request((tmp_path / "more",), output=output))
    assert station.report.exit_code == 0


def test_a_share_that_goes_away_comes_back(tmp_path: Path) -> None:
    """A station must not need a person after each restart of the file server."""
    folder, output = tmp_path / "in", tmp_path / "out"
    write_gray(folder / "a.png")
    with Station(folder, output, poll=0.1) as station:
        station.until("photo.done")
        folder.rename(tmp_path / "away")
        assert "waiting for it" in station.until("notice")["message"]
        write_gray(tmp_path / "away" / "b.png")
        (tmp_path / "away").rename(folder)
        assert station.until("photo.done")["input"] == "b.png"
    assert (station.report.done, station.report.failed) == (2, 0)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no Ctrl-C for a process of its own")
def test_ctrl_c_is_how_a_watch_ends(tmp_path: Path) -> None:
    """It is not a failure, neither for a person nor for a service manager; what was done is reported."""
    write_gray(tmp_path / "in" / "a.png")
    with subprocess.Popen(
        [sys.executable, "-c", DRIVER, "0", "no", "watch", "in", "-o", "out", "--rest", "0.2", "--json"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "COLORCLI_CONFIG": os.devnull},
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        events: list[dict[str, Any]] = []
        for line in process.stdout:
            events.append(json.loads(line))
            if events[-1]["event"] == "run.end":
                process.send_signal(signal.SIGINT)
        said = process.stderr.read()
    assert process.returncode == 0, said
    kinds = [event["event"] for event in events]
    assert kinds == ["watch.start", "run.start", "photo.done", "run.end", "watch.end"]
    assert events[0]["folder"] == "in" and events[0]["poll"] is None
    assert (events[-1]["done"], events[-1]["exit_code"]) == (1, 0)
    assert "Watching in; Ctrl-C ends it." in said and "1 coloured, 0 skipped, 0 failed" in said
