"""What a person sees of training."""

from __future__ import annotations

from pathlib import Path

import pytest
from rich.console import Console

from colorcli.cli.training import _Lines, _Table
from colorcli.train import recipe as recipes

LOSSES = {"step": 4, "phase": "adversarial", "loss": 1.25, "photos_per_second": 30.0}
MEASURES = {"step": 4, "phase": "adversarial", "val_psnr": 21.5}


def test_the_live_view_says_what_its_columns_are(tmp_path: Path) -> None:
    """Losses of training beside measures of other photographs: unnamed, one is taken for the other."""
    console = Console(width=100, force_terminal=True, color_system=None, record=True)
    (tmp_path / "samples").mkdir()
    (tmp_path / "samples" / "step-000004.png").touch()
    view = _Table(recipes.load("pix2pix-lite", ["phases.0.steps=8"]), tmp_path, console)
    view.show({"step": 0, "phase": "going on with phases.0.lr = 0.1 instead of 0.2"})
    assert "step 0: going on with phases.0.lr" in console.export_text(clear=True)
    view.show(LOSSES)
    view.show(MEASURES)
    console.print(view._render())
    lines = [line.rstrip() for line in console.export_text().splitlines()]
    assert "step 4 of 8, adversarial" in lines[0]
    assert lines[2].split() == ["training", "held", "back"]
    assert lines[3].split() == ["loss", "1.25", "psnr", "21.5"]
    assert "step-000004.png" in lines[-1]


def test_plain_lines_tell_training_from_held_back_photographs(capsys: pytest.CaptureFixture[str]) -> None:
    lines = _Lines(recipes.load("pix2pix-lite", ["phases.0.steps=8"]))
    lines.show({"step": 0, "phase": "counting the colours of 60 photographs, once"})
    lines.show(LOSSES)
    lines.show(MEASURES)
    assert capsys.readouterr().err.splitlines() == [
        "step 0 of 8, counting the colours of 60 photographs, once",
        "step 4 of 8, adversarial; loss 1.25, photos_per_second 30",
        "step 4 of 8, adversarial (held back); psnr 21.5",
    ]
