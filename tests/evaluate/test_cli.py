"""``colorcli evaluate`` from the command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from colorcli.cli import main
from colorcli.errors import ExitCode
from colorcli.evaluate.prepare import to_gray

from .conftest import photograph, write

Cli = Callable[..., tuple[int, str, str]]


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    """Run the program in ``tmp_path``; it returns exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLORCLI_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments: str) -> tuple[int, str, str]:
        code = main(["evaluate", *arguments])
        return code, *capsys.readouterr()

    return run


def test_as_typed_on_a_fresh_machine(cli: Cli) -> None:
    """Without arguments, the default model and gray are scored on the built-in photographs."""
    code, out, err = cli("--metrics", "psnr,ssim")
    assert code == 0, err
    rows = {line.split()[0]: line for line in reversed(out.splitlines())}
    assert {"Model", "gray", "bigcolor@lite", "original"} <= set(rows)
    assert "PSNR" in rows["Model"] and "SSIM" in rows["Model"] and "7.8" in rows["bigcolor@lite"].split()
    assert "imagenet-val5k-crop256@1" in err


def test_what_is_scored_is_what_colorize_writes(cli: Cli, tmp_path: Path) -> None:
    """Otherwise the scores would be those of other images than users get."""
    photo = photograph("4.png")
    write(tmp_path / "colour" / "a.png", photo)
    write(tmp_path / "gray" / "a.png", to_gray(photo, "lightness"))
    assert main(["colorize", "gray", "-o", "made", "-q"]) == 0
    code, out, err = cli("made", "--truth", "colour", "--models", "bigcolor", "--metrics", "psnr,delta-e", "--json")
    assert code == 0, err
    summaries = {event["name"]: event["summary"] for event in map(json.loads, out.splitlines()) if "summary" in event}
    assert summaries["made"] == summaries["bigcolor@lite"] != summaries["gray"]


def test_events(cli: Cli, photos: Path, models: dict[str, Any]) -> None:
    code, out, _ = cli("photos", "--models", "fake, other", "--json", "--metrics", "psnr", "-o", "report")
    events = [json.loads(line) for line in out.splitlines()]
    assert code == 0
    assert [event["name"] for event in events if event["event"] == "evaluate.model"] == [
        "gray", "fake@test", "other@test", "original"
    ]  # fmt: skip
    assert {event["verdict"] for event in events if event["event"] == "evaluate.paired"}
    assert events[-1]["event"] == "evaluate" and events[-1]["images"] == 12 and events[-1]["report"] == "report"
    assert (Path("report") / "report.html").is_file()


def test_exit_codes(cli: Cli, photos: Path, models: dict[str, Any], tmp_path: Path) -> None:
    """Scripts branch on the codes; people read the sentence."""
    (tmp_path / "empty").mkdir()
    gray = write(tmp_path / "gray" / "a.png", photograph("a.png")[..., 0])
    write(photos / "cut.png").write_bytes(b"\x89PNG\r\n\x1a\n cut")
    fake = ("--models", "fake", "--metrics", "psnr")
    expected = {
        ("empty", *fake): (ExitCode.NOTHING_TO_DO, "no photographs in empty"),
        ("absent", *fake): (ExitCode.USAGE, "neither a folder nor a file"),
        (str(gray.parent), *fake): (ExitCode.ALL_FAILED, "no colour to compare with"),
        ("photos", *fake): (ExitCode.SOME_FAILED, "failed cut.png"),
        ("photos", "--models", "fake", "--metrics", "beauty"): (ExitCode.USAGE, "no metric 'beauty'"),
        ("photos", "--models", "fake", "--metrics", "fid"): (ExitCode.USAGE, "--force"),
        ("photos", "--models", "fake", "--metrics", "lpips-alex"): (ExitCode.MODEL, "models pull lpips-alex"),
        ("photos", "--models", "fake", "--metrics", "fid", "--force"): (ExitCode.MODEL, "models pull inception-fid"),
        ("photos", "--protocol", "nobody"): (ExitCode.USAGE, "There is no protocol 'nobody'"),
        ("photos", "--gray", "red"): (ExitCode.USAGE, "--gray must be lightness"),
        ("photos", "--sigmas", "x"): (ExitCode.USAGE, "--sigmas must be numbers"),
        ("photos", *fake, "--sigma", "3"): (ExitCode.USAGE, "--sigma is for models that can take a random code"),
        ("photos", *fake, "--class", "unicorn"): (ExitCode.USAGE, "no ImageNet class 'unicorn'"),
        ("photos", "--metric-weights", "alex=x"): (ExitCode.USAGE, "NAME=FILE"),
        ("--truth", "photos"): (ExitCode.USAGE, "give the colourings as DATA"),
        ("photos", *fake, "-o", str(gray)): (ExitCode.OUTPUT, "cannot be made"),
    }
    for arguments, (wanted, sentence) in expected.items():
        code, _, err = cli(*arguments)
        assert (code, sentence in err) == (wanted, True), (arguments, code, err)


def test_what_there_is_to_choose_from(cli: Cli) -> None:
    code, out, _ = cli("--list")
    assert code == 0
    assert {"stretch256@1", "native@1", "psnr", "auc-rebalanced", "fid"} <= {
        line.split()[0] for line in out.splitlines() if line
    }
