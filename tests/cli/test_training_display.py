"""What users see while a model is trained."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from colorcli.cli import main
from colorcli.cli.training_display import _Lines, _Table
from colorcli.errors import ExitCode
from colorcli.train import recipe as recipes
from colorcli.train.loop import Trainer

# One phase of eight steps.
TOY = str(Path(__file__).parents[1] / "train" / "toy.toml")
LOSSES = {"step": 4, "phase": "adversarial", "loss": 1.25, "photos_per_second": 30.0}
MEASURES = {"step": 4, "phase": "adversarial", "val_psnr": 21.5}


def test_the_live_view_says_what_its_columns_are(tmp_path: Path) -> None:
    """Without headings, training losses and measures on held-back photographs would be confused."""
    console = Console(width=100, force_terminal=True, color_system=None, record=True)
    (tmp_path / "samples").mkdir()
    (tmp_path / "samples" / "step-000004.png").touch()
    view = _Table(recipes.load(TOY), tmp_path, console)
    view.show({"step": 0, "phase": "continuing with phases.0.lr = 0.1 instead of 0.2"})
    assert "step 0: continuing with phases.0.lr" in console.export_text(clear=True)
    view.show(LOSSES)
    view.show(MEASURES)
    console.print(view._render())
    lines = [line.rstrip() for line in console.export_text().splitlines()]
    assert "step 4 of 8, adversarial" in lines[0]
    assert lines[2].split() == ["training", "held", "back"]
    assert lines[3].split() == ["loss", "1.25", "psnr", "21.5"]
    assert "step-000004.png" in lines[-1]


def test_plain_lines_tell_training_from_held_back_photographs(capsys: pytest.CaptureFixture[str]) -> None:
    lines = _Lines(recipes.load(TOY))
    lines.show({"step": 0, "phase": "counting the colours of 60 photographs, once"})
    lines.show(LOSSES)
    lines.show(MEASURES)
    assert capsys.readouterr().err.splitlines() == [
        "step 0 of 8, counting the colours of 60 photographs, once",
        "step 4 of 8, adversarial; loss 1.25, photos_per_second 30",
        "step 4 of 8, adversarial (held back); psnr 21.5",
    ]


def test_the_time_left_is_known_of_recipes_in_epochs(capsys: pytest.CaptureFixture[str]) -> None:
    lines = _Lines(recipes.load("convnet-paper"))
    lines.show({"step": 0, "phase": "regression", "of": 8})
    lines.show(LOSSES)
    assert [line.split(";")[0] for line in capsys.readouterr().err.splitlines()] == [
        "step 0 of 8, regression",
        "step 4 of 8, adversarial",
    ]


def test_the_next_run_of_a_sweep_begins_without_the_last_ones_losses(capsys: pytest.CaptureFixture[str]) -> None:
    lines = _Lines(recipes.load(TOY))
    lines.show(LOSSES)
    lines.show({"step": 0, "phase": "run 2 of 6: fast-seed0"})
    lines.show({"step": 0, "phase": "regression", "of": 8})
    assert capsys.readouterr().err.splitlines()[1:] == [
        "step 0 of 8, run 2 of 6: fast-seed0",
        "step 0 of 8, regression",
    ]


def test_ctrl_c_ends_a_run_with_a_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopping the training must not lose what was learnt since the last checkpoint."""
    for index in range(6):
        noise = np.random.default_rng(index).integers(0, 256, (4, 4, 3), dtype=np.uint8)
        Image.fromarray(noise).resize((72, 64)).save(tmp_path / f"{index}.png")
    step = Trainer._train_step

    def pressed(self: Trainer, *arguments: object) -> object:
        signal.raise_signal(signal.SIGINT)
        return step(self, *arguments)  # type: ignore[arg-type]

    line = ["train", TOY, "--data", str(tmp_path), "-o", str(tmp_path / "run"), "--device=cpu", "-q"]
    line += ["--set", "data.held_back=0.5", "--set", "phases.0.steps=2", "--set", "phases.0.batch=2"]
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_train_step", pressed)
        assert main(line) == ExitCode.INTERRUPTED
    assert main([*line, "--resume"]) == ExitCode.OK
    logged = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(record)["step"] for record in logged if "val_psnr" in record] == [0, 1, 2]
