"""The three commands as people and scripts use them, with a fake model."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path
from typing import Any

import pytest

from colorcli.cli import main
from colorcli.colorize.plan import Plan
from colorcli.pipeline import opening
from colorcli.registry import registry
from colorcli.registry.card import ModelCard

from ..fakes import INFO, FakeSession
from .conftest import contents, write_gray


@pytest.fixture(autouse=True)
def model(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, Any]:
    """Every model name stands for a fake; returns the options given to ``load``."""
    asked: dict[str, Any] = {}
    card = ModelCard("fake", "fake", INFO.weights_sha256, "test", size=INFO.size_rule, controls=INFO.controls)

    def load(found: ModelCard, **options: Any) -> FakeSession:
        asked.update(options)
        return FakeSession()

    monkeypatch.setattr(registry, "find", lambda name: card)
    monkeypatch.setattr(opening, "open_model", load)
    monkeypatch.chdir(tmp_path)
    return asked


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_people_read_stderr_and_stdout_stays_empty(old: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["colorize", str(old)]) == 0
    out, err = capsys.readouterr()
    assert out == ""
    assert "Using fake@test, weights ababab…, on cpu" in err
    assert "No GPU was found" not in err, "for a handful of photographs it does not matter"
    assert "6 coloured, 0 skipped, 0 failed" in err


def test_samples_are_counted_as_colourings(old: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Otherwise twice as many photographs would seem to have been coloured, and one to have failed twice."""
    (old / "c.jpg").write_bytes(b"no JPEG")
    assert main(["colorize", str(old), "--samples", "2", "--dry-run"]) == 0
    assert "12 colourings to make of 6 photographs" in capsys.readouterr().err
    assert main(["colorize", str(old), "--samples", "2"]) == 3
    err = capsys.readouterr().err
    assert "10 colourings, 0 skipped, 2 failed" in err and "colourings/s" in err and "photos/s" not in err
    assert err.count("failed c.jpg") == 1


def test_hints_that_name_no_photograph_are_refused(old: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A mistyped name, or one relative to another folder, would leave every photograph as it is without hints."""
    dot = [{"x": 0.5, "y": 0.5, "color": "#c02020"}]
    Path("hints.json").write_text(json.dumps({"old/a.png": dot}))
    assert main(["colorize", str(old), "--hints", "hints.json", "--dry-run"]) == 2
    assert "--hints names none of the photographs" in capsys.readouterr().err
    Path("hints.json").write_text(json.dumps({"a.png": dot}))
    assert main(["colorize", str(old), "--hints", "hints.json", "--dry-run"]) == 0


def test_quiet_is_quiet(old: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["colorize", str(old), "--quiet"]) == 0
    assert capsys.readouterr() == ("", "")


def test_json_events_add_up(old: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A script can follow a run, and learns what happened to every photograph."""
    (old / "c.jpg").write_bytes(b"no JPEG")
    assert main(["colorize", str(old), "--json", "--quiet"]) == 3
    events = lines(capsys.readouterr().out)
    assert all(event["v"] == 1 for event in events)
    assert events[0]["event"] == "run.start"
    assert events[0]["configuration"]["json"] is True
    kinds = [event["event"] for event in events]
    assert (kinds.count("photo.done"), kinds.count("photo.failed")) == (5, 1)
    end = events[-1]
    assert end["event"] == "run.end"
    assert (
        end["matched"] == end["done"] + end["already_done"] + end["skipped"] + end["failed"] + end["unprocessed"] == 6
    )
    assert end["exit_code"] == 3


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ([], 2, "what to colour"),
        (["nowhere"], 2, "no file or folder"),
        (["old", "--format", "gif"], 2, "jpeg, png, tiff, webp"),
        (["old", "--batch-size", "0"], 2, "--batch-size"),
        (["old", "--shard", "3/2"], 2, "--shard"),
        (["old", "--class", "unicorn"], 2, "unicorn"),
        (["old", "--strength", "3"], 2, "strength"),
        (["old", "-o", "old"], 2, "input"),
        (["old/a.png", "-o", "x.jpg", "--format", "png"], 2, "does not go with"),
        (["old", "--include", "*.gif"], 5, "No photograph matched"),
        (["empty"], 5, "No photograph matched"),
        (["old", "-o", "old/a.png"], 8, "cannot be written"),
    ],
)
def test_exit_codes(old: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, said: str) -> None:
    (old.parent / "empty").mkdir()
    assert main(["colorize", *arguments]) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert said in err
    assert "Traceback" not in err
    assert not (old.parent / "old_colorized").exists()


def test_all_failed_is_4(old: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path in old.rglob("*.*"):
        path.write_bytes(b"nothing")
    assert main(["colorize", str(old)]) == 4
    err = capsys.readouterr().err
    assert err.count("failed ") >= 6
    assert "a.png: is not a JPEG, PNG, TIFF" in err


def test_dry_run_says_all_and_changes_nothing(old: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_gray(old / "a.jpg")
    write_gray(old / "a.tif")
    before = contents(old.parent)
    assert main(["colorize", str(old), "--dry-run", "--format", "jpeg"]) == 0
    out, err = capsys.readouterr()
    assert out.count(" -> ") == 8
    assert "would share a name" in out
    assert "a.tif.jpg" in out
    assert "8 to colour" in err
    assert "of disk" in err
    assert main(["colorize", str(old), "--dry-run", "--json"]) == 0
    plan = lines(capsys.readouterr().out)
    assert plan[-1]["pending"] == 8
    assert plan[-1]["estimated_bytes"] > 0
    assert plan[-1]["estimated_seconds"] >= 0
    assert contents(old.parent) == before
    assert not (old.parent / "old_colorized").exists()


def test_lists_of_names(
    old: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """``find … -print0 | colorcli colorize - -o out``."""
    (tmp_path / "list").write_text("old/a.png\nold/b.png\n")
    assert main(["colorize", "-", "--files-from", "list", "-o", "out", "-q"]) == 0
    assert list(contents(tmp_path / "out")) == ["old/a.png", "old/b.png"]

    class Stdin:
        buffer = io.BytesIO(b"old/c.jpg\0old/d.tif\0")

    monkeypatch.setattr("sys.stdin", Stdin)
    assert main(["colorize", "-", "-o", "out2", "-q"]) == 0
    assert list(contents(tmp_path / "out2")) == ["old/c.jpg", "old/d.tif"]
    assert main(["colorize", "--files-from", "absent", "-o", "out3", "-q"]) == 2
    # cat a.png | colorcli colorize - took binary data for hundreds of file names
    monkeypatch.setattr(Stdin, "buffer", io.BytesIO((old / "a.png").read_bytes()))
    capsys.readouterr()
    assert main(["colorize", "-", "-o", "out3", "-q"]) == 2
    assert "A list of file names is expected, not a photograph's content" in capsys.readouterr().err


def test_every_option_reaches_the_run(old: Path, capsys: pytest.CaptureFixture[str], model: dict[str, Any]) -> None:
    """An option that is parsed and dropped looks like one that works, until somebody looks at the outputs."""
    arguments = (
        "--sigma 3 --seed 7 --samples 2 --class tabby --size 128 --strength 1.5 --device cpu --precision fp32 "
        "--batch-size 2 --jobs 3 --format png --quality 80 --include *.png --exclude b.* --limit 2 "
        "--compile --verify --json --quiet"
    )
    assert main(["colorize", str(old), *arguments.split()]) == 0
    events = lines(capsys.readouterr().out)
    parameters = {
        "sigma": 3.0, "seed": 7, "class_index": 281, "size": 128, "strength": 1.5, "format": "PNG", "quality": 80
    }  # fmt: skip
    assert events[0]["parameters"] == parameters
    execution = events[0]["execution"]
    assert (execution["batch_size"], execution["jobs"], execution["verify"]) == (2, 3, True)
    assert (events[0]["precision"], events[0]["compiled"]) == ("fp32", False), "what may change the last code value"
    asked = {"backend": "auto", "device": "cpu", "precision": "fp32", "photographs": 4, "compile": True}
    assert {name: model[name] for name in asked} == asked
    outputs = sorted(event["output"] for event in events if event["event"] == "photo.done")
    assert outputs == ["a.s00.png", "a.s01.png", "sub/e.s00.png", "sub/e.s01.png"]


def test_render_factor_is_the_working_size(
    old: Path, capsys: pytest.CaptureFixture[str], model: dict[str, Any]
) -> None:
    """DeOldify's users know the size by this name; given together with --size, one of the two would be ignored."""
    assert main(["colorize", str(old), "--render-factor", "6", "--limit", "1", "--json", "--quiet"]) == 0
    assert lines(capsys.readouterr().out)[0]["parameters"]["size"] == 96
    assert main(["colorize", str(old), "--render-factor", "6", "--size", "96"]) == 2
    assert "give one of them" in capsys.readouterr().err


def test_senseless_classes_are_refused(old: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A class named twice, or thousands of colourings of a photograph, must be a mistake."""
    for arguments, sentence in (
        ("--class tabby,tabby", "--class tabby,tabby names a class twice"),
        ("--class tabby,", "no ImageNet class ''"),
        ("--class 1,2 --samples 501", "1000 colourings at most"),
    ):
        assert main(["colorize", str(old), *arguments.split()]) == 2
        assert sentence in capsys.readouterr().err


def test_flag_over_environment_over_file(
    old: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("colorcli.toml").write_text("[colorize]\nsigma = 1.5\nseed = 5\nquality = 80\n")
    monkeypatch.setenv("COLORCLI_COLORIZE_SEED", "6")
    monkeypatch.setenv("COLORCLI_COLORIZE_QUALITY", "85")
    assert main(["colorize", str(old), "--json", "-q", "--quality", "90"]) == 0
    parameters = lines(capsys.readouterr().out)[0]["parameters"]
    assert (parameters["sigma"], parameters["seed"], parameters["quality"]) == (1.5, 6, 90)
    Path("colorcli.toml").write_text("[colorize]\nsgima = 1.5\n")
    assert main(["colorize", str(old)]) == 2


def test_skipped_photographs_are_listed_with_their_reasons(old: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["colorize", str(old), "-q"])
    assert main(["colorize", str(old), "--sigma", "2"]) == 3
    err = capsys.readouterr().err
    assert "skipped sub/e.png: has an output made with other parameters (sigma 0.8, now 2.0)" in err
    assert "0 coloured, 6 skipped, 0 failed" in err


def test_what_is_passed_over_is_counted(old: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Whoever misses a photograph learns where to look; a dry run told, a run did not."""
    for folder in ("@eaDir", "sub/.thumbnails"):
        write_gray(old / folder / "x.png")
    assert main(["colorize", str(old), "-o", str(old / "made")]) == 0
    assert "0 failed, 2 folders of thumbnails or trash passed over in" in capsys.readouterr().err
    assert main(["colorize", str(old), "-o", str(old / "again"), "--dry-run"]) == 0
    assert (
        "2 folders of thumbnails or trash passed over, 6 outputs of earlier runs passed over" in capsys.readouterr().err
    )


def test_with_verbose_a_skip_is_listed_once(old: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A second list of ten thousand photographs would hide what came before it."""
    main(["colorize", str(old), "-q"])
    assert main(["colorize", str(old), "--sigma", "2", "-v"]) == 3
    assert capsys.readouterr().err.count("skipped sub/e.png") == 1


def test_a_long_run_without_a_gpu_says_so(
    old: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Plan, "estimated_seconds", lambda _: 3600.0)
    main(["colorize", str(old)])
    assert "No GPU was found" in capsys.readouterr().err


def test_names_with_newlines_stay_on_one_line(old: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file called ``x\\nfailed all`` cannot forge the log."""
    (old / "x\nfailed all.png").write_bytes(b"")
    assert main(["colorize", str(old), "-v"]) == 3
    assert not any(line.startswith("failed all") for line in capsys.readouterr().err.splitlines())


def test_status_and_verify(old: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (old / "c.jpg").write_bytes(b"no JPEG")
    main(["colorize", str(old), "-q"])
    out = Path("old_colorized")
    assert main(["status", str(out)]) == 0
    text = capsys.readouterr().out
    assert "failed c.jpg: is not a JPEG" in text
    assert "5 done, 0 skipped, 1 failed, 0 unfinished" in text
    assert main(["status", str(out), "--csv"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert len(rows) == 6
    assert {row["state"] for row in rows} == {"done", "failed"}
    assert main(["status", str(out), "--json"]) == 0
    records = lines(capsys.readouterr().out)
    assert records[-1]["done"] == 5
    assert len(records) == 7
    assert main(["verify", str(out), "--inputs"]) == 0
    (out / "a.png").write_bytes(b"other")
    (out / "b.png").unlink()
    capsys.readouterr()
    assert main(["verify", str(out)]) == 9
    text, err = capsys.readouterr()
    assert text.splitlines() == ["changed output a.png", "missing output b.png"]
    assert "differ in 2 places; 5 files were compared" in err
    assert main(["verify", str(out), "--json", "-q"]) == 9
    assert lines(capsys.readouterr().out)[-1]["mismatches"] == 2
    assert main(["status", str(old)]) == 2


def test_status_says_whether_a_run_came_to_its_end(old: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A run that was stopped in the evening must not be mistaken for a finished one in the morning."""
    main(["colorize", str(old), "-q"])
    main(["status", "old_colorized"])
    said = capsys.readouterr().out
    assert "run it again" not in said
    assert re.search(r"the last began \d{4}-\d\d-\d\d \d\d:\d\d with", said), "people read minutes, not ISO 8601"
    journal = Path("old_colorized/.colorcli/journal.jsonl")
    whole = journal.read_text()
    journal.write_text(whole.replace('"unprocessed":0', '"unprocessed":4'))
    main(["status", "old_colorized"])
    assert "it was stopped with 4 left, run it again to continue" in capsys.readouterr().out
    journal.write_text("".join(whole.splitlines(keepends=True)[:-1]))
    main(["status", "old_colorized"])
    assert "did not finish, run it again to continue" in capsys.readouterr().out


def test_a_file_that_verify_rejects_can_be_made_again(old: Path) -> None:
    """Following the advice of ``verify`` works."""
    main(["colorize", str(old), "-q"])
    whole = contents(Path("old_colorized"))
    Path("old_colorized/a.png").unlink()
    assert main(["colorize", str(old), "-q"]) == 0
    assert contents(Path("old_colorized")) == whole
    assert main(["verify", "old_colorized", "-q"]) == 0
