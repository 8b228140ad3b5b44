"""The training loop: resuming, stopping, and the run folder, which can be used as a model."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from colorcli.networks.backbones import EfficientNetLite0
from colorcli.pipeline.opening import open_model
from colorcli.train.data import PhotoSet
from colorcli.train.loop import DivergedError, Trainer
from colorcli.train.objectives.base import Setup
from colorcli.train.recipe import Recipe
from colorcli.train.run import Run


def _trainer(recipe: Recipe, photos: Path, folder: Path) -> Trainer:
    torch.manual_seed(1)
    data = PhotoSet([photos], held_back=recipe.data.held_back)
    setup = Setup(recipe, data)
    setup.teacher = EfficientNetLite0(3).eval()
    return Trainer(setup, Run(folder))


def _records(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.slow
def test_a_broken_and_resumed_run_ends_with_the_same_weights(photos: Path, recipe: Recipe, tmp_path: Path) -> None:
    """After a power cut, training must continue as if nothing had happened."""
    unbroken = _trainer(recipe, photos, tmp_path / "unbroken")
    assert unbroken.fit()
    broken = tmp_path / "broken"
    assert not _trainer(recipe, photos, broken).fit(seconds=0)
    resumed = _trainer(recipe, photos, broken)
    assert resumed.fit()
    assert resumed.step == unbroken.step == 9
    for (name, ours), theirs in zip(
        resumed.average.state_dict().items(), unbroken.average.state_dict().values(), strict=True
    ):
        assert torch.allclose(ours.float(), theirs.float(), atol=1e-6), name


@pytest.mark.slow
def test_the_run_folder_keeps_its_record(photos: Path, recipe: Recipe, tmp_path: Path) -> None:
    _trainer(recipe, photos, tmp_path / "run").fit()
    assert (tmp_path / "run" / "curves.png").stat().st_size > 0
    assert (tmp_path / "run" / "samples" / "step-000009.png").stat().st_size > 0
    validations = [record for record in _records(tmp_path / "run") if "val_psnr" in record]
    assert [record["step"] for record in validations] == [0, 3, 4, 5, 6, 9]


@pytest.mark.slow
def test_divergence_is_a_sentence_and_leaves_the_last_checkpoint(
    photos: Path, recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = _trainer(recipe, photos, tmp_path / "run")
    trainer.fit(seconds=0)
    broken = _trainer(recipe, photos, tmp_path / "run")
    nothing = {"native": next(broken.network.parameters()).sum() * float("nan")}
    monkeypatch.setattr(broken.objective, "_native", lambda *_: nothing, raising=False)
    with pytest.raises(DivergedError, match="last checkpoint"):
        broken.fit()
    restored = Run(tmp_path / "run").restore()
    assert restored is not None
    assert all(torch.isfinite(t).all() for t in restored[1]["network"].values())


def test_a_half_written_checkpoint_does_not_hide_the_whole_one(photos: Path, recipe: Recipe, tmp_path: Path) -> None:
    """If the program is killed between two renames, there must be a checkpoint to resume from."""
    folder = tmp_path / "run"
    _trainer(recipe, photos, folder).fit(seconds=0)
    (folder / "checkpoint").rename(folder / "checkpoint.old")
    (folder / "checkpoint.new").mkdir()
    restored = Run(folder).restore()
    assert restored is not None
    assert restored[0]["step"] == 1


def test_a_run_folder_is_a_model(photos: Path, recipe: Recipe, tmp_path: Path) -> None:
    """``colorcli colorize --model RUN`` works with the run folder as it is."""
    _trainer(recipe, photos, tmp_path / "run").fit(seconds=0)
    session = open_model(str(tmp_path / "run"), device="cpu")
    chroma = session.chroma(np.full((1, 1, 64, 64), 50, np.float32))
    assert chroma.shape == (1, 2, 32, 32)
    assert session.info.controls == ("z", "class_index")
