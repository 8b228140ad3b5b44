"""What is said of a run while it goes on."""

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
    """Half of the postcards are done, and a map of a hundred megapixels is not: "6 s left", for minutes."""
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
    """Eight threads at 2.0/s each beside "3.69 photos/s" cannot both be believed; skips are no speed."""
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
    assert said.endswith("; each: decode 0.25 s, network 0.50 s, encode 0.10 s")
    assert said.count("/s") == 1


def test_sentences_wrap_between_words_on_a_terminal() -> None:
    """At 80 columns a terminal cut words in two."""
    pty, termios = pytest.importorskip("pty"), pytest.importorskip("termios")
    leader, follower = pty.openpty()
    termios.tcsetwinsize(follower, (24, 80))
    with os.fdopen(follower, "w") as terminal:
        sentence = (
            "No GPU was found, so the CPU does the work; /a/name-with-hyphens/that/stays/whole/to/be/copied.jpg " * 2
        )
        lines = output.fitted(sentence, terminal).split("\n")
    os.close(leader)
    assert " ".join(lines).split() == sentence.split()
    assert all(len(line) <= 80 for line in lines)
    assert output.fitted(sentence, io.StringIO()) == sentence


def test_what_takes_long_shows_a_moving_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal that stands still looks like a program that hangs; what is quick leaves nothing behind."""
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
    """Half a minute without a word, and somebody presses Ctrl-C."""
    with progress.display(11, quiet=False, verbose=False) as shown:
        for tenth in range(250):
            shown.wait("Making an ONNX copy of bigcolor, once", tenth / 10)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].endswith("this takes half a minute or so.")
    assert [line.rpartition(": ")[2] for line in lines[1:]] == ["10 s", "20 s"]


def test_a_model_that_loads_for_long_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seven seconds of a bar that stands at nothing look like a hang, on a network disk or a busy machine."""
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
