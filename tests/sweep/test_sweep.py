"""A sweep that is interrupted and resumed gives the same table as an uninterrupted one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from colorcli.cli.app import app
from colorcli.errors import OutputError, UsageError
from colorcli.locks import locked
from colorcli.sweep import plan, run
from colorcli.sweep.run import SweepPaths, _add_measures, carry_out
from colorcli.sweep.table import Results, to_markdown

TOY = Path(__file__).parents[1] / "train" / "toy.toml"
SWEEP = f"""
name = "rates"
recipe = {json.dumps(str(TOY))}
set = ["phases.0.steps=3", "phases.0.batch=2", "every=1", "phases.0.schedule='constant'"]
seeds = [0]
protocol = "stretch256"
metrics = ["psnr"]

[[variants]]
name = "slow"
set = ["phases.0.lr=1e-5"]

[[variants]]
name = "so fast that it gets worse"
set = ["phases.0.lr=1.0", "phases.0.clip=0.0", "ema=0.0"]

[[variants]]
name = "so fast that it diverges"
set = ["phases.0.lr=1e30", "phases.0.clip=0.0", "ema=0.0"]

[[variants]]
name = "fast"
set = ["phases.0.lr=3e-3"]

[[claims]]
text = "a higher rate learns more in three steps"
metric = "psnr"
variant = "fast"
against = "slow"
expected = "higher"
"""


class Killed(BaseException):
    """Stands in for a kill signal: nothing in the program catches it."""


@pytest.fixture
def paths(tmp_path: Path) -> SweepPaths:
    """Twenty-four training photographs and twelve for tests, each in shades of one colour."""
    rng = np.random.default_rng(0)
    for index in range(36):
        folder = tmp_path / ("train" if index < 24 else "test")
        folder.mkdir(exist_ok=True)
        shades = rng.uniform(0.3, 1, (72, 72, 1)) * rng.integers(60, 255, 3)
        Image.fromarray(shades.astype(np.uint8)).save(folder / f"{index:02d}.png")
    return SweepPaths((tmp_path / "train",), (tmp_path / "test",), tmp_path / "out")


def _load(tmp_path: Path, text: str = SWEEP) -> plan.Sweep:
    file = tmp_path / "sweep.toml"
    file.write_text(text)
    return plan.load(str(file))


@pytest.mark.slow
def test_a_sweep_killed_twice_gives_the_table_of_one_that_was_not(paths: SweepPaths, tmp_path: Path) -> None:
    """The results of several nights must not depend on when the power failed."""
    sweep = _load(tmp_path)
    assert carry_out(sweep, paths, device="cpu")
    whole = {name: (paths.output / name).read_bytes() for name in ("table.md", "results.json")}
    table = whole["table.md"].decode()
    assert table.count("| slow |") == table.count("| so fast that it diverges | – |") == 1
    record = json.loads(whole["results.json"])
    spoiled = (paths.output / "so-fast-that-it-gets-worse-seed0" / "metrics.jsonl").read_text().splitlines()
    before, after = (json.loads(line)["val_psnr"] for line in (spoiled[0], spoiled[-1]))
    assert after < before, "the variant is meant to spoil the network"
    assert 0 < record["variants"]["so fast that it gets worse"]["psnr"][0] < record["variants"]["fast"]["psnr"][0]
    assert record["variants"]["so fast that it diverges"]["psnr"] == [None]
    assert list(record["failures"]) == ["so-fast-that-it-diverges-seed0"]
    claim = record["claims"][0]
    assert claim["verdict"] == "one run" and "one run, no verdict" in table
    assert all(low <= mean <= high for mean, low, high in claim["differences"].values())
    assert (paths.output / "curves.png").is_file()

    again = SweepPaths(paths.data, paths.test, tmp_path / "again")
    steps = 0

    def kill_at(limit: int) -> Any:
        def observe(record: dict[str, Any]) -> None:
            nonlocal steps
            steps += "loss" in record
            if steps == limit:
                steps += 1
                raise Killed

        return observe

    for limit in (2, 9):
        with pytest.raises(Killed):
            carry_out(sweep, again, device="cpu", observe=kill_at(limit))
    assert carry_out(sweep, again, device="cpu")
    assert {name: (again.output / name).read_bytes() for name in whole} == whole

    untouched = (again.output / "fast-seed0" / "weights.safetensors").stat().st_mtime_ns
    assert carry_out(sweep, again, device="cpu")
    assert (again.output / "fast-seed0" / "weights.safetensors").stat().st_mtime_ns == untouched
    other = _load(tmp_path, SWEEP.replace("lr=3e-3", "lr=4e-3"))
    with pytest.raises(UsageError, match=r"fast-seed0 was made from another recipe"):
        carry_out(other, again, device="cpu")


def test_a_sweep_stops_when_it_is_told_and_says_that_it_is_not_done(paths: SweepPaths, tmp_path: Path) -> None:
    assert not carry_out(_load(tmp_path), paths, device="cpu", seconds=lambda: 0.0)
    assert not (paths.output / "table.md").exists()


def test_what_would_fail_after_a_night_is_refused_before_it(
    paths: SweepPaths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep = _load(tmp_path)
    for test in ("nowhere", "out/slow-seed0#held-back"):
        with pytest.raises(UsageError, match=test):
            carry_out(sweep, SweepPaths(paths.data, (tmp_path / test,), paths.output), device="cpu")
    paths.output.mkdir()
    with locked(paths.output, paths.output / ".lock"), pytest.raises(OutputError, match="in use"):
        carry_out(sweep, paths, device="cpu")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UsageError, match="one process"):
        carry_out(sweep, paths, device="cpu")
    assert not list(paths.output.glob("*-seed*"))


def test_a_script_hears_of_runs_that_diverged(
    paths: SweepPaths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = Results(_load(tmp_path), {}, {"fast-seed0": "a weight is not a finite number"}, ())
    monkeypatch.setattr(run, "carry_out", lambda *_, **__: results)
    command = ["train", "--sweep", str(tmp_path / "sweep.toml"), "--data", str(tmp_path), "--test", str(tmp_path)]
    result = CliRunner().invoke(app, [*command, "-o", str(paths.output)])
    assert result.exit_code == 3
    assert "fast-seed0" in result.stderr


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (('metric = "psnr"', 'metric = "lpips"'), "which is not measured"),
        (('against = "slow"', 'against = "sluggish"'), "which is not a variant"),
        (('name = "fast"', 'name = "slow"'), "two variants have the same name"),
        (('"higher"', '"better"'), "must be one of higher, lower"),
        (("seeds = [0]", "seeds = 3"), "seeds must be a list"),
        (("seeds = [0]", "seeds = [true]"), r"not \[true\]"),
        (("[[claims]]", "[claims]"), "each under the line"),
        (('expected = "higher"', 'expect = "higher"'), "a claim has no field 'expect'"),
        (("lr=3e-3", "rate=3e-3"), "variant 'fast' .* no field 'rate'"),
        (("seeds =", "sedes ="), "no field 'sedes'"),
        (('name = "fast"', 'name = "fast"\nlabel = "pseudo"'), "no field 'label'"),
        (('name = "fast"', 'name = "fast"\nlabels = "true"'), "labels must be one of none"),
        (('protocol = "stretch256"', 'protocol = "stretch"'), "no protocol 'stretch'"),
    ],
)
def test_a_sweep_that_cannot_be_carried_out_is_refused_before_the_first_night(
    tmp_path: Path, change: tuple[str, str], said: str
) -> None:
    assert change[0] in SWEEP
    with pytest.raises(UsageError, match=said):
        _load(tmp_path, SWEEP.replace(*change))


def test_variants_may_have_recipes_and_labels_of_their_own(tmp_path: Path) -> None:
    """The papers' variants differ in more than fields, and some are given the true class when they are tested."""
    own = 'name = "fast"\nrecipe = "convnet-lite"\nlabels = "folders"'
    sweep = _load(tmp_path, SWEEP.replace('name = "fast"', own).replace('recipe = "', 'labels = "none"\nrecipe = "', 1))
    slow, *_, fast = sweep.trainings
    assert (slow.recipe.name, fast.recipe.name) == ("toy", "convnet-lite")
    assert (slow.protocol.labels, fast.protocol.labels) == ("none", "folders")
    assert fast.protocol.id == "stretch256@1+labels=folders"


def test_settings_of_the_command_come_last(tmp_path: Path) -> None:
    """A paper's sweep with fewer steps is the same sweep, and its table says so by the command."""
    (tmp_path / "sweep.toml").write_text(SWEEP)
    sweep = plan.load(str(tmp_path / "sweep.toml"), ["phases.0.steps=1", "phases.0.lr=0.5"])
    assert {(run.recipe.phases[0].steps, run.recipe.phases[0].lr, run.recipe.seed) for run in sweep.trainings} == {
        (1, 0.5, 0)
    }
    with pytest.raises(UsageError, match="the seeds"):
        plan.load(str(tmp_path / "sweep.toml"), ["seed=7"])


def test_without_class_scores_nothing_knows_of_classes() -> None:
    """Otherwise the row would leave out the scores but keep them in the maps."""
    for training in plan.load("inception-gan-table2").trainings:
        assert training.recipe.network["regions"] or not training.recipe.network.get("maps", True)


@pytest.mark.parametrize("name", plan.SHELF.names())
def test_the_papers_tables_are_sweeps_of_the_package(name: str) -> None:
    """Each is one job over some nights: at least 1,000 steps and three seeds of every variant."""
    sweep = plan.load(name)
    assert plan.SHELF.describe(name).endswith(".")
    assert sweep.protocol.id.startswith(f"{name}@")
    assert {training.seed for training in sweep.trainings} == {0, 1, 2}
    assert min(sum(phase.steps for phase in training.recipe.phases) for training in sweep.trainings) >= 1000


@pytest.mark.slow
def test_what_was_measured_by_another_protocol_is_measured_again(paths: SweepPaths, tmp_path: Path) -> None:
    """Numbers of two protocols, or with and without the true class, must not stand in one table as if of one kind."""
    text = SWEEP[: SWEEP.index("[[variants]]")] + '[[variants]]\nname = "one"\n'
    assert carry_out(_load(tmp_path, text), paths, device="cpu")
    assert carry_out(_load(tmp_path, text.replace("stretch256", "imagenet-val5k-crop256")), paths, device="cpu")
    scores = json.loads((paths.output / "one-seed0" / "scores.json").read_text())
    assert scores["protocol"]["id"] == "imagenet-val5k-crop256@1"


def test_the_table_says_what_three_seeds_and_their_photographs_show(tmp_path: Path) -> None:
    """People quote the verdicts below a table."""
    sweep = _load(tmp_path, SWEEP.replace("seeds = [0]", "seeds = [0, 1, 2]"))

    def report(psnr: float) -> Any:
        images = [{"name": f"{i}.png", "values": {"run": {"psnr": psnr + i % 3}}} for i in range(12)]
        return {
            "models": [{"name": "gray"}, {"name": "run"}, {"name": "original"}],
            "summary": {"gray": {"psnr": {"mean": 20.0}}, "run": {"psnr": {"mean": psnr + 1}}},
            "images": images,
            "data": {"images": 12},
            "notes": ["run learnt from 5 of these 12 photographs."],
        }

    means = {"slow": (20.0, 20.1, 20.2), "fast": (21.0, 21.2, 21.15)}
    scores = {(name, seed): report(value) for name, values in means.items() for seed, value in enumerate(values)}
    table = to_markdown(Results(sweep, scores, {}, ("colorcli", "train", "--sweep", "sweep.toml")))
    assert "| gray | 20.00 |" in table
    assert "| fast | 22.00; 22.20; 22.15 |" in table
    line = next(line for line in table.splitlines() if line.startswith("| a higher rate"))
    assert line.endswith("| reproduced |") and "+1.000 [+1.000, +1.000]; +1.100" in line
    assert "again by `colorcli train --sweep sweep.toml`" in table
    assert table.count("learnt from 5 of these 12 photographs") == 1
    backwards = _load(tmp_path, SWEEP.replace("seeds = [0]", "seeds = [0, 1, 2]").replace('"higher"', '"lower"'))
    assert "| not reproduced |" in to_markdown(Results(backwards, scores, {}, ()))
    two = {key: value for key, value in scores.items() if key[1] < 2}
    assert "| 2 runs, no verdict |" in to_markdown(Results(sweep, two, {}, ()))


def test_curves_show_losses_and_the_discriminator_beside_the_measures(tmp_path: Path) -> None:
    """Papers show the discriminator's accuracy and the generator's loss over the steps (Zheng et al., figures 4, 5)."""
    log = tmp_path / "metrics.jsonl"
    records = [
        {"step": 0, "phase": "adversarial", "val_psnr": 20.0},
        {"step": 50, "phase": "adversarial", "adversarial": 0.7, "d_accuracy": 0.9, "photos_per_second": 9.0},
    ]
    log.write_text("".join(json.dumps(record) + "\n" for record in records))
    lines: dict[str, dict[str, list[tuple[float, float]]]] = {}
    _add_measures(lines, "variant", tmp_path)
    assert lines == {
        name: {"variant": [(x, y)]}
        for name, x, y in [("val_psnr", 0, 20.0), ("adversarial", 50, 0.7), ("d_accuracy", 50, 0.9)]
    }
