"""Trackers show what a run logs, and each record once."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from colorcli.errors import UsageError
from colorcli.train import recipe as recipes
from colorcli.train.loop import run_recipe
from colorcli.train.trackers import trackers

TOY = str(Path(__file__).with_name("toy.toml"))


class FakeRun(SimpleNamespace):
    """Stands in for a run of W&B and keeps what is logged."""

    def log(self, values: dict[str, Any], step: int) -> None:
        self.logged.append((step, values))

    def finish(self) -> None:
        self.finished = True


@pytest.fixture
def wandb(monkeypatch: pytest.MonkeyPatch) -> list[FakeRun]:
    """A stand-in for the library; the list of its runs."""
    runs: list[FakeRun] = []

    def init(**options: Any) -> FakeRun:
        runs.append(FakeRun(id=options["id"] or "run-1", options=options, logged=[], finished=False))
        return runs[-1]

    module = ModuleType("wandb")
    module.init, module.Image = init, lambda rgb: rgb.shape  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "wandb", module)
    return runs


def test_a_run_is_shown_as_it_is_logged_and_goes_on_as_the_same_run(
    photos: Path, tmp_path: Path, wandb: list[FakeRun]
) -> None:
    """If a resumed run began a second curve, the two could not be compared."""
    folder = tmp_path / "run"
    calls = iter([False, True])
    run_recipe(
        recipes.load(TOY, ["every=1"]), [photos], folder, device="cpu", track=["wandb"], stop=lambda: next(calls)
    )
    run_recipe(recipes.load(TOY, ["every=1"]), [photos], folder, device="cpu", track=["wandb"], resume=True)
    assert [run.options["id"] for run in wandb] == [None, "run-1"]
    assert all(run.finished for run in wandb)
    shown = {(step, key): value for run in wandb for step, values in run.logged for key, value in values.items()}
    for line in (folder / "metrics.jsonl").read_text().splitlines():
        record = json.loads(line)
        for key, value in record.items():
            if key.startswith("val_"):
                assert shown[record["step"], f"held-back/{key[4:]}"] == value
            elif key == "loss":
                assert shown[record["step"], "training/loss"] == value
    assert any(key == "samples" for _, key in shown)


def test_a_tracker_that_is_not_there_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(UsageError, match="pip install wandb"):
        trackers(["wandb"], tmp_path, {}, 0)
    with pytest.raises(UsageError, match="there are tensorboard and wandb"):
        trackers(["tensorbored"], tmp_path, {}, 0)


def test_a_tracker_that_is_not_there_is_noticed_before_there_is_a_run(photos: Path, tmp_path: Path) -> None:
    """Naming the classes of a million photographs takes hours, after which the misspelling would show."""
    with pytest.raises(UsageError, match="tensorbored"):
        run_recipe(recipes.load(TOY), [photos], tmp_path / "run", device="cpu", track=["tensorbored"])
    assert not (tmp_path / "run").exists()


def test_tensorboard_reads_what_was_written(tmp_path: Path) -> None:
    """Numbers and images are written, and steps that a killed run logged after its checkpoint appear only once."""
    pytest.importorskip("tensorboard", reason="part of the extra 'track'")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    (first,) = trackers(["tensorboard"], tmp_path, {}, 0)
    for step in (1, 2, 3):
        first.log(step, {"loss": float(step), "val_psnr": 20.0 + step})
    first.picture(3, "samples", np.zeros((8, 8, 3), np.uint8))
    first.close()
    (second,) = trackers(["tensorboard"], tmp_path, {}, 2)
    second.log(3, {"loss": 30.0})
    second.close()
    read = EventAccumulator(str(tmp_path / "tensorboard"))
    read.Reload()
    assert [(event.step, event.value) for event in read.Scalars("training/loss")] == [(1, 1.0), (2, 2.0), (3, 30.0)]
    assert [event.step for event in read.Scalars("held-back/psnr")] == [1, 2]
