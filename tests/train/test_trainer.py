"""The training loop with a network of a few thousand weights; all of this holds for every system."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from colorcli import environment
from colorcli.errors import ColorcliError, ModelError, UsageError
from colorcli.files import file_sha256
from colorcli.networks.backbones import EfficientNetLite0
from colorcli.networks.colorizer import Colorizer
from colorcli.networks.convnet import ConvNet
from colorcli.networks.inception_gan import InceptionGAN
from colorcli.networks.pix2pix import Discriminator
from colorcli.pipeline.opening import open_model
from colorcli.registry import splits
from colorcli.registry.backbones import Backbone, locate
from colorcli.registry.card import read_card
from colorcli.registry.importers import import_files
from colorcli.registry.registry import find
from colorcli.train import recipe as recipes
from colorcli.train.cache import FeatureCache
from colorcli.train.data import PhotoSet, _fraction
from colorcli.train.loop import DivergedError, Trainer, run_recipe
from colorcli.train.objectives.base import Setup, optimizer
from colorcli.train.objectives.standard import Standard
from colorcli.train.pretrained import network_of
from colorcli.train.processes import Processes
from colorcli.train.run import Run, _changes
from colorcli.train.validation import before_after, validate

from ..networks.layouts import SMALL_DDCOLOR

pytestmark = pytest.mark.slow

TOY = str(Path(__file__).with_name("toy.toml"))
ADVERSARIAL = [
    'phases.0.train="both"',
    'phases.0.gan="bce"',
    "phases.0.weights={native = 1.0, adversarial = 0.1}",
    'discriminator={kind = "patchgan", ndf = 4, layers = 2}',
]


def _records(folder: Path, key: str) -> list[dict[str, float]]:
    records = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [record for record in records if key in record]


def _train(photos: Path, folder: Path, *sets: str, **options: object) -> list[dict[str, float]]:
    run_recipe(recipes.load(TOY, list(sets)), [photos], folder, device="cpu", **options)  # type: ignore[arg-type]
    return _records(folder, "loss")


def test_auto_is_bf16_only_where_the_device_computes_in_it(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where bf16 is emulated, a convolution took ninety times as long, which looks like a run that hangs."""
    for fast, sets, used, warned in (
        (True, ["precision='auto'"], "bf16", False),
        (False, ["precision='auto'"], "fp32", False),
        (False, ["precision='bf16'"], "bf16", True),
        (True, ["precision='bf16'"], "bf16", False),
    ):
        monkeypatch.setattr("colorcli.train.objectives.base.computes_bf16", lambda _, fast=fast: fast)
        said: list[str] = []
        folder = tmp_path / f"{fast}{sets[0]}"
        short = [*sets, "phases.0.steps=1"]
        _train(photos, folder, *short, observe=lambda record, said=said: said.append(str(record.get("phase"))))
        assert json.loads((folder / "recipe.json").read_text())["precision"] == used
        assert any("emulates bf16" in line for line in said) == warned


def test_two_processes_learn_what_one_does(photos: Path, tmp_path: Path) -> None:
    """Each process sees half of every batch; the losses must be those of the whole batch in one process.

    Batch norm is trained, so its statistics must be those of the whole batch too.
    """
    pytest.importorskip("accelerate")
    alone = _train(photos, tmp_path / "one", 'freeze_batch_norm="none"')
    launch = ["-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes=2", "--num_machines=1"]
    launch += ["--mixed_precision=no", "--dynamo_backend=no", "--main_process_port=0", "-m", "colorcli", "train", TOY]
    launch += ["--data", str(photos), "-o", str(tmp_path / "two"), "--device=cpu", "--quiet"]
    launch += ["--set", 'freeze_batch_norm="none"']
    done = subprocess.run([sys.executable, *launch], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    together = _records(tmp_path / "two", "loss")
    assert [record["step"] for record in together] == [4, 8]
    for one, two in zip(alone, together, strict=True):
        assert two["loss"] == pytest.approx(one["loss"], rel=1e-5)
        assert two["gradient"] == pytest.approx(one["gradient"], rel=1e-3)


def test_accumulated_gradients_are_those_of_the_whole_batch(photos: Path, tmp_path: Path) -> None:
    """A small GPU must train the same network as a large one."""
    whole = _train(photos, tmp_path / "whole")
    parts = _train(photos, tmp_path / "parts", "phases.0.accumulate=4")
    assert [r["loss"] for r in parts] == pytest.approx([r["loss"] for r in whole], rel=1e-4)


def test_the_discriminator_learns_in_every_second_step(photos: Path, tmp_path: Path) -> None:
    records = _train(photos, tmp_path / "run", *ADVERSARIAL, "phases.0.d_every=2", "every=1")
    assert len(records) == 8
    assert ["d_loss" in record for record in records] == [True, False] * 4
    assert all(0 <= record["d_accuracy"] <= 1 for record in records if "d_accuracy" in record)


def test_the_best_weights_ship_and_patience_ends_a_phase(photos: Path, tmp_path: Path) -> None:
    """Otherwise a night of overfitting would be kept instead of the best weights."""
    folder = tmp_path / "run"
    sets = ["phases.0.steps=40", "phases.0.lr=0.05", "phases.0.schedule='constant'", "ema=0.0", "phases.0.clip=0.0"]
    _train(photos, folder, *sets, "every=1", 'best="-ab_error"', "phases.0.patience=3")
    checks = _records(folder, "val_ab_error")
    best = min(checks, key=lambda record: record["val_ab_error"])
    assert read_card(folder).training["steps"] == best["step"]
    assert checks[-1]["step"] == 40
    assert len(checks) == best["step"] + 3 + 2
    assert read_card(folder).training["validation"]["ab_error"] == pytest.approx(best["val_ab_error"], abs=1e-3)


def test_an_unknown_best_metric_is_refused(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there are psnr"):
        _train(photos, tmp_path / "run", 'best="beauty"')


def test_a_discriminator_that_has_won_stops_the_run(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("colorcli.train.loop._WON_STEPS", 3)
    monkeypatch.setattr("colorcli.train.loop._WON_LOSS", 10.0)
    with pytest.raises(DivergedError, match="right about everything"):
        _train(photos, tmp_path / "run", *ADVERSARIAL)


# Steps so large that every tanh of the last layer saturates: from then on, the output is one glaring colour.
KILLING = ["phases.0.lr=1.0", "phases.0.schedule='constant'", "phases.0.clip=0.0", "ema=0.0"]


def test_validation_gives_the_classes_that_training_gives(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise a network that takes the true class would be selected by its results without it."""
    table = tmp_path / "classes.csv"
    names = [entry.name for entry in PhotoSet([photos], held_back=0.2).validation]
    table.write_text("name,class\n" + "".join(f"{name},{index + 3}\n" for index, name in enumerate(names)))
    recipe = recipes.load(TOY, [f"data.labels={json.dumps(str(table))}"])
    setup = Setup(recipe, PhotoSet([photos], held_back=0.2, labels=str(table)))
    network, given = ConvNet(**ConvNet.presets["lite"]).eval(), list[int]()

    def native(lightness: torch.Tensor, *, class_index: torch.Tensor) -> torch.Tensor:
        given.extend(class_index.tolist())
        return lightness.new_zeros(len(lightness), 2, *lightness.shape[2:])

    monkeypatch.setattr(type(network), "controls", ("class_index",))
    monkeypatch.setattr(network, "native", native)
    validate(network, setup)
    assert given == list(range(3, 3 + len(names)))


def test_a_network_that_died_stops_the_run(photos: Path, tmp_path: Path) -> None:
    """Otherwise it would run through the night without learning anything."""
    with pytest.raises(DivergedError, match="gradient has been exactly zero for 20 steps"):
        _train(photos, tmp_path / "run", *KILLING, "phases.0.steps=60")


def test_a_network_that_is_worse_than_it_began_is_no_model(photos: Path, tmp_path: Path) -> None:
    """Users of the run folder expect a model that has learnt something."""
    folder = tmp_path / "run"
    with pytest.raises(DivergedError, match=r"worse at step 8 .*psnr.*No model was written.*--keep-worse"):
        _train(photos, folder, *KILLING)
    assert not (folder / "model.toml").exists()
    _train(photos, folder, *KILLING, resume=True, keep_worse=True)
    assert read_card(folder).training["steps"] == 8


def test_a_model_from_before_it_got_worse_stays_and_is_named(photos: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    _train(photos, folder)
    assert read_card(folder).training["steps"] == 8
    with pytest.raises(DivergedError, match=r"The model in .* is that of step 8"):
        _train(photos, folder, *KILLING, "phases.0.steps=20", resume=True)
    assert read_card(folder).training["steps"] == 8


def test_a_network_that_was_best_before_it_learnt_is_no_model(photos: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with pytest.raises(DivergedError, match="psnr was best before the first step"):
        _train(photos, folder, *KILLING, 'best="psnr"')
    assert not (folder / "model.toml").exists()
    _train(photos, folder, *KILLING, 'best="psnr"', resume=True, keep_worse=True)
    assert read_card(folder).training["steps"] == 8


def test_vivid_colours_are_not_worse_for_their_psnr_alone() -> None:
    """Rebalanced and adversarial training deliberately trade PSNR for colour."""
    start = {"val_psnr": 22.0, "val_ab_error": 16.0}
    worse = Standard.worse
    assert not worse(Standard, {"val_psnr": 21.0, "val_ab_error": 15.0}, start)  # type: ignore[arg-type]
    assert not worse(Standard, {"val_psnr": 21.9, "val_ab_error": 16.1}, start)  # type: ignore[arg-type]
    assert worse(Standard, {"val_psnr": 21.0, "val_ab_error": 17.0}, start)  # type: ignore[arg-type]


def test_training_selection_and_test_are_three_sets_that_are_written_down(photos: Path, tmp_path: Path) -> None:
    """Scores on photographs that a model was trained or selected on say little about others."""
    folder, told = tmp_path / "run", list[str]()
    _train(photos, folder, "data.test=0.3", observe=lambda record: told.append(record["phase"]))
    sets = {name: splits.read(folder, name).photographs for name in splits.NAMES}
    assert all(sets.values())
    assert sum(map(len, sets.values())) == len(set().union(*sets.values())) == 30
    for hashed in sets.values():
        name, digest = next((name, digest) for name, digest in hashed.items() if "/" not in name)
        assert digest == file_sha256(photos / name)
    selection = read_card(folder).training["selection"]
    assert selection.startswith("the last step") and f"{len(sets['held-back'])} photographs were held back" in selection
    assert any("fewer than 20" in text for text in told)
    _train(photos, tmp_path / "best", 'best="psnr"', "every=1")
    assert read_card(tmp_path / "best").training["selection"].startswith("best psnr in a check every 1 steps")


def test_fine_tuning_starts_from_the_model_and_says_what_changed(photos: Path, tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    _train(photos, first)
    sets = ["data.crop=64", "data.short_side=[64, 72]", "data.held_back=0.2", "validation_side=64", "every=2"]
    sets += ["phases.0.steps=4", "phases.0.batch=4", "phases.0.warmup=0", "phases.0.lr=0.01"]
    recipe = recipes.load("fine-tune", sets)
    run_recipe(recipe, [photos], second, start=[str(first)], device="cpu")
    last = _records(first, "val_psnr")[-1]["val_psnr"]
    table = {name: (before, after) for name, before, after in before_after(second)[1]}
    assert table["psnr"][0] == pytest.approx(last, abs=0.02)
    assert table["psnr"][1] != table["psnr"][0]
    assert read_card(second).system == "convnet"


def test_fine_tuning_shows_a_network_crops_that_it_takes(photos: Path, tmp_path: Path) -> None:
    """The command must work for every model, including those with a fixed size."""
    first = recipes.load("conv-fc-gan-lite", ["network.hidden=8", "phases.0.steps=1", "phases.0.batch=2"])
    first = dataclasses.replace(first, phases=first.phases[:1], discriminator={})
    run_recipe(first, [photos], tmp_path / "first", device="cpu", keep_worse=True)
    again = recipes.load("fine-tune", ["phases.0.steps=1", "phases.0.batch=2"])
    assert run_recipe(again, [photos], tmp_path / "second", start=[str(tmp_path / "first")], device="cpu")
    data = json.loads((tmp_path / "second" / "recipe.json").read_text())["data"]
    assert (data["crop"], data["short_side"]) == (256, [256, 384])


def test_training_starts_from_the_mean_of_several_models(photos: Path, tmp_path: Path) -> None:
    """The mean of two runs from a common start is often better than either, and needs no extra script."""
    _train(photos, tmp_path / "a")
    _train(photos, tmp_path / "b", "seed=5")
    means = network_of(str(tmp_path / "a"), str(tmp_path / "b")).state_dict()
    for name, tensor in means.items():
        both = [network_of(str(tmp_path / run)).state_dict()[name] for run in "ab"]
        assert torch.allclose(tensor, (both[0] + both[1]) / 2 if tensor.is_floating_point() else both[0])
    still = ["phases.0.lr=0.0", "phases.0.backbone_lr=0.0"]
    _train(photos, tmp_path / "c", *still, start=[str(tmp_path / run) for run in "ab"], seconds=0)
    _, tensors = Run(tmp_path / "c").restore() or ({}, {})
    assert all(torch.equal(tensors["network"][name], tensor) for name, tensor in means.items())


def test_different_networks_have_no_mean(photos: Path, tmp_path: Path) -> None:
    _train(photos, tmp_path / "a", seconds=0)
    _train(photos, tmp_path / "b", "network.decoder=[8, 8, 8, 8, 16]", seconds=0)
    with pytest.raises(UsageError, match="different networks"):
        network_of(str(tmp_path / "a"), str(tmp_path / "b"))


def test_what_no_weight_depends_on_may_differ_between_models_that_are_averaged(tmp_path: Path) -> None:
    """The bundled model has a curve, and the runs that it came from have none; they are still the same network."""
    card = find("bigcolor")
    assert card.folder and "curve" in card.network
    shutil.copytree(card.folder, tmp_path / "stage")
    text = (tmp_path / "stage" / "model.toml").read_text()
    (tmp_path / "stage" / "model.toml").write_text(re.sub(r"curve = \[[^]]*\]\n", "", text))
    assert "curve" not in find(str(tmp_path / "stage")).network
    means, alone = network_of("bigcolor", str(tmp_path / "stage")).state_dict(), network_of("bigcolor").state_dict()
    assert all(torch.allclose(means[name], alone[name]) for name in alone)


def test_only_the_parameters_learn_that_the_phase_names(photos: Path, tmp_path: Path) -> None:
    """Training one part must change neither the other parts nor the statistics of batch norm."""
    _train(photos, tmp_path / "a")
    name = next(name for name, _ in network_of(str(tmp_path / "a")).named_parameters())
    sets = ["phases.0.lr=0.05", f"phases.0.learns=['{name}']", "freeze_batch_norm='none'", "ema=0.0"]
    _train(photos, tmp_path / "b", *sets, start=[str(tmp_path / "a")], keep_worse=True)
    before, after = (network_of(str(tmp_path / run)).state_dict() for run in "ab")
    assert [key for key in before if not torch.equal(before[key], after[key])] == [name]
    wide = next(name for name, tensor in after.items() if tensor.ndim == 4 and tensor.shape[1] == 8)
    sets = ["phases.0.lr=0.05", f"phases.0.learns=['{wide}[5]']", "phases.0.weight_decay=0.0", "ema=0.0"]
    _train(photos, tmp_path / "d", *sets, start=[str(tmp_path / "a")], keep_worse=True)
    after = network_of(str(tmp_path / "d")).state_dict()
    assert [key for key in before if not torch.equal(before[key], after[key])] == [wide]
    assert torch.equal(before[wide][:, :5], after[wide][:, :5])
    with pytest.raises(UsageError, match="weight_decay = 0"):
        recipes.load(TOY, [f"phases.0.learns=['{wide}[5]']"])
    with pytest.raises(UsageError, match="No parameter of convnet is called 'nothing'"):
        _train(photos, tmp_path / "c", "phases.0.learns=['nothing']")


def test_a_recipe_for_another_system_does_not_fine_tune(photos: Path, tmp_path: Path) -> None:
    _train(photos, tmp_path / "first")
    with pytest.raises(UsageError, match="is a convnet"):
        run_recipe(recipes.load("pix2pix-lite"), [photos], tmp_path / "second", start=[str(tmp_path / "first")])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("system=convent", "There is no system 'convent'.*convnet"),
        ("preset=huge", "convnet has no preset 'huge'"),
    ],
)
def test_a_network_that_cannot_be_built_is_refused_before_photographs_are_read(
    tmp_path: Path, change: str, said: str
) -> None:
    """Reading a million of them takes long; here there are none, which would be told otherwise."""
    with pytest.raises(ColorcliError, match=said):
        _train(tmp_path / "absent", tmp_path / "run", change)


def test_a_network_that_is_fine_tuned_keeps_its_arguments(photos: Path, tmp_path: Path) -> None:
    """If changed arguments were ignored, the record would claim that they were used."""
    _train(photos, tmp_path / "first", seconds=0)
    with pytest.raises(UsageError, match=r"network\.encoder cannot be changed"):
        _train(photos, tmp_path / "second", "network.encoder=[8, 8, 8, 8, 16]", start=[str(tmp_path / "first")])


def test_epochs_count_photographs(photos: Path, tmp_path: Path) -> None:
    heard: list[dict[str, object]] = []
    _train(photos, tmp_path / "run", "phases.0.steps=0", "phases.0.epochs=2", observe=heard.append)
    train = json.loads((tmp_path / "run" / "environment.json").read_text())[0]["data"]["train"]
    steps = json.loads((tmp_path / "run" / "recipe.json").read_text())["phases"][0]["steps"]
    assert steps == round(2 * train / 8)
    # The display needs the number of steps for the time left.
    assert heard[0] == {"step": 0, "phase": "regression", "of": steps}


def test_rebalancing_changes_the_loss_by_the_rarity_of_colours(photos: Path, tmp_path: Path) -> None:
    plain = _train(photos, tmp_path / "plain")
    rebalanced = _train(photos, tmp_path / "rebalanced", "phases.0.rebalance=0.9")
    assert rebalanced[0]["loss"] != pytest.approx(plain[0]["loss"], rel=0.01)


@pytest.mark.parametrize("fakes", ["recolored", "earlier"])
def test_a_discriminator_can_learn_before_its_generator(photos: Path, tmp_path: Path, fakes: str) -> None:
    """Zheng et al. first train it on recoloured photographs, and suggest an earlier generator's outputs instead."""
    if fakes == "earlier":
        _train(photos, tmp_path / "earlier")
        fakes = str(tmp_path / "earlier")
    folder = tmp_path / "run"
    sets = [*ADVERSARIAL, 'phases.0.train="discriminator"', f"phases.0.fakes='{fakes}'", "every=4"]
    run_recipe(recipes.load(TOY, sets), [photos], folder, device="cpu")
    assert len(_records(folder, "d_loss")) == 2
    checks = _records(folder, "val_psnr")
    assert len({record["val_psnr"] for record in checks}) == 1
    assert all(0 <= record["val_d_accuracy"] <= 1 for record in checks)
    assert not _records(folder, "val_native"), "the generator's loss is not what this phase lowers"


def test_a_check_measures_the_loss_on_photographs_held_back(photos: Path, tmp_path: Path) -> None:
    """Papers show both curves: over-fitting is where they part."""
    records = _train(photos, tmp_path / "run", "phases.0.loss='l1'", "every=4")
    checks = _records(tmp_path / "run", "val_native")
    assert len(checks) == len(_records(tmp_path / "run", "val_psnr"))
    assert checks[-1]["val_native"] < checks[0]["val_native"]
    assert checks[-1]["val_native"] == pytest.approx(records[-1]["native"], rel=1)
    assert not _records(tmp_path / "run", "val_d_accuracy")


def test_a_discriminator_never_sees_real_and_false_ones_in_one_batch(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a mixed batch, batch norm would reveal which images are real, and mislead the generator."""
    seen: list[int] = []
    forward = Discriminator.forward

    def watched(self: Discriminator, image: torch.Tensor) -> torch.Tensor:
        if self.training:
            seen.append(len(image))
        return forward(self, image)

    monkeypatch.setattr(Discriminator, "forward", watched)
    _train(photos, tmp_path / "run", *ADVERSARIAL, "phases.0.steps=1")
    assert seen == [8, 8, 8]


def test_a_run_that_is_resumed_with_another_recipe_says_so(photos: Path, tmp_path: Path) -> None:
    """After divergence people continue with a lower rate; the record must show when it was changed."""
    folder = tmp_path / "run"
    _train(photos, folder, "every=2", seconds=0)
    _train(photos, folder, "every=2", "phases.0.lr=1e-4", resume=True)
    starts = json.loads((folder / "environment.json").read_text())
    assert [start["step"] for start in starts] == [0, 1]
    assert [start["changed"] for start in starts] == [{}, {"phases.0.lr": [5e-4, 1e-4]}]
    assert _changes({"phases": [{"lr": 1}]}, {"phases": [{"lr": 1, "new": 0}]}) == {"phases.0.new": [None, 0]}


def test_other_photographs_are_noticed_when_a_run_goes_on(photos: Path, tmp_path: Path) -> None:
    """The photographs then come in another order, so the run cannot be compared with others."""
    folder = tmp_path / "run"
    _train(photos, folder, seconds=0)
    for photo in sorted(photos.glob("*.png"))[:5]:
        photo.unlink()
    heard: list[str] = []

    def hear(record: dict[str, object]) -> None:
        heard.append(str(record["phase"]))

    _train(photos, folder, resume=True, observe=hear)
    assert any(re.match(r"continuing with photographs\.train = \d+ instead of \d+", said) for said in heard)


def test_a_checkpoint_of_another_network_is_refused(photos: Path, tmp_path: Path) -> None:
    """Users who forget an earlier --set must see an error, rather than lose trained weights to random ones."""
    folder = tmp_path / "run"
    _train(photos, folder, seconds=0)
    sets = ["network.encoder=[8, 8, 8, 8, 16]", "network.decoder=[8, 8, 8, 8, 8]"]
    with pytest.raises(UsageError, match="for another network than 'toy' makes"):
        _train(photos, folder, *sets, resume=True)
    assert Run(folder).begun


def test_what_a_run_had_written_before_its_first_checkpoint_is_written_anew(photos: Path, tmp_path: Path) -> None:
    """With two records of one step, the curve would go back in time."""
    folder = tmp_path / "run"
    with pytest.raises(ZeroDivisionError):
        _train(photos, folder, observe=lambda record: 1 // ("val_psnr" not in record))
    assert _records(folder, "val_psnr")
    _train(photos, folder)
    assert [record["step"] for record in _records(folder, "val_psnr")] == [0, 4, 8]


def test_a_run_killed_while_it_writes_its_model_writes_it_when_it_goes_on(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise the checkpoint would say that the best weights were written, while the model had older ones."""
    write = Run.write_model

    def killed(self: Run, network: Colorizer, recipe: recipes.Recipe, training: dict[str, object]) -> None:
        if training["steps"] == 8:
            raise KeyboardInterrupt
        write(self, network, recipe, training)

    with monkeypatch.context() as patch:
        patch.setattr(Run, "write_model", killed)
        with pytest.raises(KeyboardInterrupt):
            _train(photos, tmp_path / "run")
    assert read_card(tmp_path / "run").training["steps"] == 4
    _train(photos, tmp_path / "run", resume=True)
    assert read_card(tmp_path / "run").training["steps"] == 8


def test_a_phase_that_was_ending_early_when_the_run_was_killed_ends_when_it_goes_on(
    photos: Path, tmp_path: Path
) -> None:
    """An uninterrupted run would have ended the phase there."""

    def killed(record: dict[str, object]) -> None:
        if "ends early" in str(record["phase"]):
            raise KeyboardInterrupt

    folder = tmp_path / "run"
    # With a rate of 0 nothing improves.
    sets = ["phases.0.steps=40", "phases.0.lr=0.0", "every=1", 'best="-ab_error"', "phases.0.patience=2"]
    with pytest.raises(KeyboardInterrupt):
        _train(photos, folder, *sets, observe=killed)
    with pytest.raises(DivergedError, match="best before the first step"):
        _train(photos, folder, *sets, resume=True)
    assert [record["step"] for record in _records(folder, "loss")] == [1, 2]
    assert _records(folder, "val_ab_error")[-1]["step"] == 40


def test_a_phase_keeps_its_place_when_an_earlier_one_gets_another_length(photos: Path, tmp_path: Path) -> None:
    """Otherwise some of its steps would be skipped or repeated."""
    recipe = recipes.load(TOY, ["every=2", "phases.0.steps=4"])
    first, second = recipe.phases[0], dataclasses.replace(recipe.phases[0], name="second")
    folder = tmp_path / "run"
    calls = iter([False, False, False, False, True])
    two = dataclasses.replace(recipe, phases=(first, second))
    run_recipe(two, [photos], folder, device="cpu", stop=lambda: next(calls))
    longer = dataclasses.replace(two, phases=(dataclasses.replace(first, steps=40), second))
    run_recipe(longer, [photos], folder, device="cpu", resume=True)
    assert [record["step"] for record in _records(folder, "loss") if str(record["phase"]) == "second"][-1] == 8


def test_a_batch_that_does_not_divide_among_processes_is_refused(photos: Path, tmp_path: Path) -> None:
    """Otherwise photographs would be left out, or count more than others."""
    recipe = recipes.load(TOY, ["phases.0.accumulate=4"])
    three, four = Processes.alone(), Processes.alone()
    three.world_size, four.world_size = 3, 4
    for processes in (three, four):
        with pytest.raises(UsageError, match="batch of 8 in phase 'regression' cannot be divided"):
            Trainer(Setup(recipe, PhotoSet([photos], held_back=0.2)), Run(tmp_path / "run"), processes)


def test_the_rebalancing_is_drawn(photos: Path, tmp_path: Path) -> None:
    _train(photos, tmp_path / "run", "phases.0.rebalance=0.9")
    with Image.open(tmp_path / "run" / "figures" / "rebalancing.png") as figure:
        assert figure.width == 2 * figure.height


def test_features_of_a_frozen_backbone_are_computed_once(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stored features must be those that the backbone computes, or training would silently go wrong."""
    monkeypatch.setenv("COLORCLI_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("COLORCLI_CACHE_DIR", str(tmp_path / "cache"))
    torch.manual_seed(0)
    weights = tmp_path / "data" / "backbones" / "efficientnet-lite0-gray" / "weights.safetensors"
    weights.parent.mkdir(parents=True)
    save_file(EfficientNetLite0(in_channels=1).state_dict(), weights)
    sets = ['system="inception-gan"', "network={maps = false, width = 16}", "phases.0.steps=12", "phases.0.batch=6"]
    sets += ["every=6", "phases.0.lr=0.0", 'cache_features=["backbone"]']
    calls: list[int] = []
    plain = EfficientNetLite0.forward

    def counted(self: EfficientNetLite0, x: torch.Tensor) -> object:
        calls.append(len(x))
        return plain(self, x)

    monkeypatch.setattr(EfficientNetLite0, "forward", counted)
    cached = _train(photos, tmp_path / "cached", *sets)
    trained_on = json.loads((tmp_path / "cached" / "environment.json").read_text())[0]["data"]["train"]
    seen_in_training = [count for count in calls if count == 6]
    # Every photograph is computed once, and those of a batch across two epochs at most once more.
    assert 6 * len(seen_in_training) <= trained_on + 12
    again = _train(photos, tmp_path / "again", *sets)
    assert [r["loss"] for r in again] == pytest.approx([r["loss"] for r in cached], rel=1e-3)


def test_regions_are_found_before_the_first_step_and_kept(photos: Path, tmp_path: Path) -> None:
    """Clusters found anew from other photographs would give a finished network other maps than it learnt with."""
    sets = [
        'system="inception-gan"',
        "network={regions = true, width = 16}",
        "phases.0.steps=2",
        "every=2",
        "phases.0.batch=2",
    ]
    _train(photos, tmp_path / "run", *sets)
    centres = load_file(tmp_path / "run" / "weights.safetensors")["centres"].float()
    torch.testing.assert_close(centres.square().sum(1), torch.ones(21), atol=0.01, rtol=0)
    network = network_of(str(tmp_path / "run"))
    assert isinstance(network, InceptionGAN)
    torch.testing.assert_close(network.centres, centres)


def test_what_is_kept_of_one_photograph_is_never_anothers(photos: Path, tmp_path: Path) -> None:
    """If two collections both have a 0001.jpg, one would get the other's features, and training silently go wrong."""
    recipe = recipes.load(TOY, ['cache_features=["encoder"]'])
    with pytest.raises(UsageError, match="two photographs"):
        run_recipe(recipe, [photos, photos], tmp_path / "run", device="cpu")


def test_the_released_networks_layers_can_be_trained(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The released preset has no pretrained part that learns slowly, unlike the lite one."""
    monkeypatch.setenv("COLORCLI_CACHE_DIR", str(tmp_path / "cache"))
    # Checkpoints of its 32 million weights would take longer than the step.
    monkeypatch.setattr(Trainer, "_check", lambda *_, **__: None)
    sets = ["phases.0.steps=1", "phases.0.batch=1", "data.crop=32", "data.short_side=[32, 40]", "data.held_back=0.1"]
    recipe = recipes.load("zhang2016-paper", sets)
    run_recipe(dataclasses.replace(recipe, phases=recipe.phases[:1]), [photos], tmp_path / "run", device="cpu")
    assert _records(tmp_path / "run", "native")


@pytest.mark.parametrize(
    ("discriminator", "said"),
    [('{kind = "judge"}', "there are projection"), ('{kind = "patchgan", depth = 3}', "depth")],
)
def test_a_discriminator_that_cannot_be_made_is_refused(
    photos: Path, tmp_path: Path, discriminator: str, said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        _train(photos, tmp_path / "run", *ADVERSARIAL, f"discriminator={discriminator}")
    assert not (tmp_path / "run").exists()


def test_only_frozen_parts_are_cached(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not frozen"):
        _train(photos, tmp_path / "run", 'cache_features=["encoder"]')


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("phases.0.weights.distill=0.1", "objective 'standard' does not have; it has native"),
        ("phases.0.weights.adversarial=0.1", r"no \[discriminator\]"),
        ("phases.0.weights.diversity=0.1", "needs samples = 2"),
        ("phases.0.samples=2", "convnet gives one answer"),
        ("phases.0.loss='cross_entropy'", "for bins only"),
    ],
)
def test_what_a_network_cannot_do_is_refused_at_once(photos: Path, tmp_path: Path, override: str, said: str) -> None:
    """It must not be ignored, nor refused only after earlier phases, which may take a night."""
    with pytest.raises(UsageError, match=said):
        _train(photos, tmp_path / "run", override)
    assert not (tmp_path / "run").exists()


def test_features_kept_for_one_network_are_not_anothers(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two systems may give the same backbone differently prepared inputs."""
    monkeypatch.setenv("COLORCLI_CACHE_DIR", str(tmp_path))
    entries = PhotoSet([photos]).train
    network = ConvNet((8, 8, 8, 8, 8), (8, 8, 8, 8, 8))
    network.freeze("encoder", "efficientnet-lite0-gray")
    network.shared_sha256["encoder"] = "0" * 64
    for sets in ([], [], ["network.encoder=[8, 8, 8, 8, 16]"], ["precision='bf16'"]):
        FeatureCache(network, recipes.load(TOY, ['cache_features=["encoder"]', *sets]), entries)
    assert len(list((tmp_path / "features").iterdir())) == 3


def test_crops_that_the_network_cannot_take_are_refused_at_once(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="multiples of 32"):
        _train(photos, tmp_path / "run", "data.crop=72", "data.short_side=[72, 80]")


def test_validation_crops_are_brought_to_a_size_that_the_network_takes(photos: Path, tmp_path: Path) -> None:
    _train(photos, tmp_path / "run", "validation_side=72")
    assert _records(tmp_path / "run", "val_psnr")


def test_runs_side_by_side_show_the_same_photographs(photos: Path, tmp_path: Path) -> None:
    """Ablations are compared visually, and columns of different photographs would mislead."""
    for name in ("first", "second"):
        _train(photos, tmp_path / "runs" / name)
    _train(photos, tmp_path / "runs" / "other-split", "data.held_back=0.3")
    assert not (tmp_path / "runs" / "first" / "figures").exists()
    assert not (tmp_path / "runs" / "other-split" / "figures").exists()
    with Image.open(tmp_path / "runs" / "second" / "figures" / "variants.png") as figure:
        assert figure.width == 4 * 64


def test_one_held_back_photograph_is_enough(photos: Path, tmp_path: Path) -> None:
    """An hour of fine-tuning must not fail at the last figure."""
    one = tmp_path / "one"
    one.mkdir()
    held = sorted(photos.glob("*.png"))[:12]
    for path in held:
        (one / path.name).write_bytes(path.read_bytes())
    fractions = sorted(_fraction(path.name) for path in held)
    share = (fractions[0] + fractions[1]) / 2
    sets = ["network.widths=[8, 8, 8, 8, 8]", "data.crop=64", "data.short_side=[64, 72]", f"data.held_back={share}"]
    sets += [
        "objective='standard'",
        "init={}",
        "validation_side=64",
        "phases.0.steps=1",
        "phases.0.batch=2",
        "phases.0.weights={native = 1.0}",
    ]
    recipe = recipes.load("bigcolor-lite", sets)
    recipe = dataclasses.replace(recipe, phases=recipe.phases[:1], precision="fp32")
    run_recipe(recipe, [one], tmp_path / "run", device="cpu")
    assert (tmp_path / "run" / "figures" / "sigma.png").exists()


@pytest.mark.parametrize(("share", "said"), [("0.0", "to measure by"), ("1.0", "to train on")])
def test_a_split_that_leaves_nothing_is_refused_before_training(
    photos: Path, tmp_path: Path, share: str, said: str
) -> None:
    """Without held-back photographs there is nothing to select weights by, and without others nothing to train on."""
    with pytest.raises(UsageError, match=said) as refused:
        _train(photos, tmp_path / "run", f"data.held_back={share}")
    assert not (tmp_path / "run").exists()
    advice = re.search(r"--set (data\.held_back=\S+)\.$", str(refused.value))
    assert advice
    assert _train(photos, tmp_path / "run", advice[1])


def test_an_earlier_generator_that_is_missing_is_missed_at_once(photos: Path, tmp_path: Path) -> None:
    """It must not be noticed only after the first phase, which may take a night."""
    sets = [*ADVERSARIAL, "phases.0.fakes='runs/nowhere'"]
    with pytest.raises(ModelError, match=r"runs/nowhere.*--set phases\.0\.fakes=MODEL"):
        _train(photos, tmp_path / "run", *sets)
    assert not (tmp_path / "run").exists()


def test_fine_tuning_needs_a_model(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--from MODEL"):
        run_recipe(recipes.load("fine-tune"), [photos], tmp_path / "run", device="cpu")


def test_divergence_leaves_a_usable_checkpoint_or_says_there_is_none(photos: Path, tmp_path: Path) -> None:
    """A message must not refer users to a checkpoint that is missing or full of NaN."""
    hopeless = ["phases.0.lr=1e30", "phases.0.clip=0.0", "phases.0.schedule='constant'", "ema=0.0"]
    with pytest.raises(DivergedError, match="no checkpoint yet"):
        _train(photos, tmp_path / "run", *hopeless)
    _train(photos, tmp_path / "second", "every=4", "phases.0.steps=4")
    with pytest.raises(DivergedError, match="is from before"):
        _train(photos, tmp_path / "second", *hopeless, "every=1", "phases.0.steps=8", resume=True)
    _, tensors = Run(tmp_path / "second").restore() or ({}, {})
    assert all(bool(torch.isfinite(tensor).all()) for tensor in tensors["network"].values())


def test_the_discriminator_has_a_weight_decay_of_its_own(photos: Path, tmp_path: Path) -> None:
    """Zheng et al. use weight decay in both networks."""
    weights = {}
    for decay in ("0.0", "0.5"):
        folder = tmp_path / decay
        sets = [*ADVERSARIAL, 'phases.0.train="discriminator"', "phases.0.d_lr=0.1", "phases.0.warmup=0"]
        _train(photos, folder, *sets, f"phases.0.d_weight_decay={decay}", "phases.0.schedule='constant'")
        _, tensors = Run(folder).restore() or ({}, {})
        kernels = [tensor for tensor in tensors["discriminator"].values() if tensor.ndim == 4]
        weights[decay] = sum(float(kernel.square().sum()) for kernel in kernels)
    assert weights["0.5"] < 0.9 * weights["0.0"]


def test_adam_adds_the_weight_decay_to_the_gradient() -> None:
    """The papers use Adam, not AdamW: without a gradient, only Adam moves weights by its full rate."""
    moved = {}
    for kind in ("adam", "adamw"):
        weight = torch.nn.Parameter(torch.ones(1))
        phase = recipes.load(TOY, [f"phases.0.optimizer={kind}"]).phases[0]
        chosen = optimizer(phase, [([weight], 0.01)], 0.1)
        weight.grad = torch.zeros(1)
        chosen.step()
        moved[kind] = 1 - float(weight.detach())
    assert moved["adam"] == pytest.approx(0.01, rel=1e-3)
    assert moved["adamw"] == pytest.approx(0.01 * 0.1, rel=1e-3)


def test_a_generator_that_was_trained_here_serves_the_encoder(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The steps of biggan-encoder lite work: train the generator, import its run, train the encoder, colour."""
    monkeypatch.setattr(environment, "_PACKAGE", tmp_path / "package")
    monkeypatch.setenv("COLORCLI_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("COLORCLI_CACHE_DIR", str(tmp_path / "cache"))
    torch.manual_seed(0)
    teacher = EfficientNetLite0(3).eval()
    monkeypatch.setattr("colorcli.train.objectives.base.load_teacher", lambda _: teacher)
    gray = tmp_path / "data" / "backbones" / "efficientnet-lite0-gray" / "weights.safetensors"
    gray.parent.mkdir(parents=True)
    save_file(EfficientNetLite0(in_channels=1).state_dict(), gray)
    short = ["phases.0.steps=1", "phases.0.batch=2", "data.held_back=0.2", "precision=fp32"]
    encoder = recipes.load("biggan-encoder-lite", short)
    with pytest.raises(ModelError, match="colorcli train biggan-lite-64"):
        run_recipe(encoder, [photos], tmp_path / "encoder", device="cpu")
    run_recipe(recipes.load("biggan-lite-64", short), [photos], tmp_path / "generator", device="cpu")
    installed = import_files("biggan-lite-64", [tmp_path / "generator"])
    run_recipe(encoder, [photos], tmp_path / "encoder", device="cpu")
    card = read_card(tmp_path / "encoder")
    assert isinstance(installed, Backbone)
    assert card.backbones["generator"].sha256 == installed.sha256 == file_sha256(locate("biggan-lite-64"))
    chroma = open_model(str(tmp_path / "encoder"), device="cpu").chroma(np.full((1, 1, 128, 128), 50, np.float32))
    assert np.isfinite(chroma).all()


def test_the_generator_learns_as_decoder_as_gan_or_as_both(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each phase uses exactly the terms that it names; a term must not be silently left out."""
    monkeypatch.setenv("COLORCLI_CACHE_DIR", str(tmp_path / "cache"))
    torch.manual_seed(0)
    teacher = EfficientNetLite0(3).eval()
    monkeypatch.setattr("colorcli.train.objectives.base.load_teacher", lambda _: teacher)
    recipe = recipes.load("biggan-lite-64", ["data.held_back=0.2", "precision=fp32", "every=1", "discriminator.ch=8"])
    decoder = dataclasses.replace(recipe.phases[0], steps=1, batch=2, name="decoder")
    gan = dataclasses.replace(decoder, name="gan", train="both", weights={"adversarial": 1.0})
    both = dataclasses.replace(gan, name="both", weights={"adversarial": 0.1, "native": 4.0, "prior": 1.0})
    run_recipe(dataclasses.replace(recipe, phases=(decoder, gan, both)), [photos], tmp_path / "run", device="cpu")
    records = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    terms = {"d_loss", "adversarial", "native", "prior"}
    logged = {record["phase"]: terms & record.keys() for record in records if "loss" in record}
    assert logged == {"decoder": {"native", "prior"}, "gan": {"d_loss", "adversarial"}, "both": terms}
    assert all(record["val_mse_rgb"] > 0 for record in records if "val_spread" in record)


def test_ddcolor_learns_by_its_own_losses(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All four terms of the paper act in one step; without one of them, it would be another system's training."""
    teacher = EfficientNetLite0(3).eval()
    monkeypatch.setattr("colorcli.train.objectives.base.load_teacher", lambda _: teacher)
    short = [f"phases.{phase}.{what}" for phase in (0, 1) for what in ("steps=1", "batch=2")]
    data = ["data.crop=64", "data.short_side=[64, 72]", "data.held_back=0.2"]
    recipe = recipes.load("ddcolor-lite", [*short, *data, "precision=fp32", "discriminator.ndf=4"])
    recipe = dataclasses.replace(recipe, network={**SMALL_DDCOLOR, "size": 64})
    run_recipe(recipe, [photos], tmp_path / "run", device="cpu", keep_worse=True)
    terms = {"native", "perceptual", "adversarial", "colorfulness", "d_loss"}
    logged = [terms & record.keys() for record in _records(tmp_path / "run", "loss")]
    assert logged == [{"native"}, terms]


@pytest.mark.parametrize(
    ("setting", "said"), [("init.nowhere=vgg16", "is not there"), ("init.backbone=teacher", "another network")]
)
def test_weights_for_a_part_that_cannot_take_them_are_refused(
    photos: Path, tmp_path: Path, setting: str, said: str
) -> None:
    sets = ["system=zhang2016", "preset=paper", "network={}", setting.replace("backbone", "model1")]
    with pytest.raises(UsageError, match=said):
        _train(photos, tmp_path / "run", *sets)
