"""Messages during a run."""

from __future__ import annotations

import io
import os
import sys
import time

import pytest

from colorcli.cli import output, progress


@pytest.mark.parametrize(("map_seconds", "left"), [(40.0, "00:45 left"), (None, "00:06 left")])
def test_the_time_left_is_that_of_the_work_left(
    map_seconds: float | None, left: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Otherwise "6 s left" would stand for minutes while a map of a hundred megapixels is coloured after postcards."""
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    cards = [f"/old/{number}.jpg" for number in range(10)]
    work = [] if map_seconds is None else [*((card, 1.0) for card in cards), ("/old/map.tif", map_seconds)]
    with progress.display(11, quiet=False, verbose=False, work=work) as shown:
        for card in cards:
            now[0] += 1
            shown.show({"event": "photo.done", "input": card, "source": card})
    (said,) = capsys.readouterr().err.splitlines()
    assert said.startswith("5/11, 1.00 photos/s, ") and left in said


def test_rates_agree(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Rates per thread beside the overall rate would seem to contradict it; skipped photographs are not counted."""
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    with progress.display(20, quiet=False, verbose=False) as shown:
        for number in range(10):
            shown.show({"event": "photo.skipped", "input": f"{number}.jpg"})
        now[0] = 10
        seconds = {"decode": 0.25, "network": 0.5, "encode": 0.1}
        shown.show({"event": "photo.done", "input": "a.jpg", "seconds": seconds})
    (said,) = capsys.readouterr().err.splitlines()
    assert said.startswith("11/20, 0.10 photos/s, ")
    assert said.endswith("; each: decode 0.25, network 0.50, encode 0.10 s")
    assert said.count("/s") == 1


def test_several_colourings_of_a_photograph_are_no_photographs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With --samples 4, the run would seem four times as fast as it is."""
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    with progress.display(4, quiet=False, verbose=False, unit="colourings") as shown:
        now[0] = 10
        shown.show({"event": "photo.done", "input": "a.jpg"})
    assert capsys.readouterr().err.startswith("1/4, 0.10 colourings/s, ")


@pytest.mark.parametrize(("machines", "shown_as"), [(0, "failed"), (2, "m0: 3, m1: 3"), (6, "6 machines")])
def test_a_cluster_s_machines_are_shown(
    machines: int, shown_as: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One that does nothing is paid for all night; sixty names would fill the terminal."""
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    with progress.display(6, quiet=False, verbose=False) as shown:
        now[0] = 10
        for number in range(6):
            worker = {"worker": f"m{number % machines}"} if machines else {}
            shown.show({"event": "photo.done", "input": f"{number}.jpg", **worker})
            now[0] += 30
    assert capsys.readouterr().err.splitlines()[-1].endswith(shown_as)


def test_sentences_wrap_between_words_on_a_terminal() -> None:
    """Otherwise a terminal of 80 columns breaks lines within words."""
    pty, termios = pytest.importorskip("pty"), pytest.importorskip("termios")
    leader, follower = pty.openpty()
    termios.tcsetwinsize(follower, (24, 80))
    with os.fdopen(follower, "w") as terminal:
        sentence = "No GPU was found, so the CPU is used; /a/name-with-hyphens/that/stays/whole/to/be/copied.jpg " * 2
        lines = output.fitted(sentence, terminal).split("\n")
    os.close(leader)
    assert " ".join(lines).split() == sentence.split()
    assert all(len(line) <= 80 for line in lines)
    assert output.fitted(sentence, io.StringIO()) == sentence


def test_what_takes_long_shows_a_moving_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without movement the program seems to hang; a quick step leaves no line behind."""
    pty = pytest.importorskip("pty")
    leader, follower = pty.openpty()
    monkeypatch.setenv("TERM", "xterm")
    with os.fdopen(follower, "w") as terminal:
        monkeypatch.setattr(sys, "stderr", terminal)
        with output.waiting("Reading quickly"):
            pass
        monkeypatch.setattr(output, "PATIENCE", 0.0)
        seen = b""
        with output.waiting("Reading [big] weights"):
            while b"0:00:0" not in seen:
                seen += os.read(leader, 4096)
    os.close(leader)
    assert b"Reading [big] weights" in seen
    assert b"quickly" not in seen


def test_what_is_waited_for_moves(capsys: pytest.CaptureFixture[str]) -> None:
    """After half a minute without any output, users press Ctrl-C."""
    with progress.display(11, quiet=False, verbose=False) as shown:
        for tenth in range(250):
            shown.wait("Making an ONNX copy of bigcolor, once", tenth / 10)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "Making an ONNX copy of bigcolor, once …"
    assert [line.rpartition(": ")[2] for line in lines[1:]] == ["10 s", "20 s"]


def test_a_model_that_loads_for_long_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a network disk or a busy machine, a bar that stays empty for seconds looks like a hang."""
    pty = pytest.importorskip("pty")
    leader, follower = pty.openpty()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(progress, "PATIENCE", 0.0)
    with os.fdopen(follower, "w") as terminal:
        monkeypatch.setattr(sys, "stderr", terminal)
        seen = b""
        with progress.display(3, quiet=False, verbose=False) as shown:
            while b"Getting ready: 0 s" not in seen:
                seen += os.read(leader, 4096)
            shown.show({"event": "run.start"})
            seen = b""
            shown.say("Begun.")
            while b"Begun." not in seen:
                seen += os.read(leader, 4096)
            seen = seen.partition(b"Begun.")[2]
            shown.say("Still there.")
            while b"Still there." not in seen:
                seen += os.read(leader, 4096)
    os.close(leader)
    assert b"Getting ready" not in seen
