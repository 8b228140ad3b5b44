"""Recipes: those in the package, overrides, and messages about mistakes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from colorcli.errors import UsageError
from colorcli.train import recipe as recipes

TOY = str(Path(__file__).with_name("toy.toml"))


@pytest.mark.parametrize("name", recipes.SHELF.names())
def test_every_recipe_in_the_package_loads(name: str) -> None:
    recipe = recipes.load(name)
    assert recipe.name == name
    assert recipes.SHELF.describe(name).endswith("."), "train --list shows the first line, which must be a sentence"
    assert recipes.from_dict(recipe.to_dict() | {"phases": [dict(p) for p in recipe.to_dict()["phases"]]}) == recipe


# What each paper says about its training, phase by phase.
PAPERS: dict[str, list[dict[str, object]]] = {
    "bigcolor": [
        {"lr": 1e-4, "d_lr": 3e-5, "betas": (0.0, 0.999), "batch": 60, "gan": "hinge", "real_chroma": 1.2}
        | {"loss": "mse", "weights": {"native": 1.0, "perceptual": 0.2, "adversarial": 0.03}}
    ],
    "ddcolor": [
        {"lr": 1e-4, "d_lr": 1e-4, "betas": (0.9, 0.99), "weight_decay": 0.01, "batch": 16, "steps": 400_000}
        | {"loss": "l1", "gan": "bce"}
        | {"weights": {"native": 0.1, "perceptual": 5.0, "adversarial": 1.0, "colorfulness": 0.5}}
    ],
    "biggan-encoder": [{"lr": 1e-3, "epochs": 50, "loss": "mse", "weight_decay": 0.0}],
    "biggan-encoder-ls": [{"lr": 1e-3, "schedule": "step", "drop_at": 0.5, "final_lr": 0.1}],
    "zhang2016": [
        {"lr": lr, "steps": steps, "batch": 40, "betas": (0.9, 0.99), "weight_decay": 1e-3, "rebalance": 0.5}
        for lr, steps in ((3e-5, 200_000), (1e-5, 175_000), (3e-6, 75_000))
    ],
    "conv-fc-gan": [
        {"epochs": 20, "lr": 1e-3, "batch": 64, "weight_decay": 1e-5, "loss": "mse", "optimizer": "adam"},
        {"epochs": 40, "d_lr": 1e-3, "batch": 64, "d_weight_decay": 1e-5, "gan": "bce", "fakes": "recolored"},
        {"epochs": 5, "gan": "minimax", "weights": {"adversarial": 1.0}, "d_every": 1},
    ],
    "inception-gan": [
        {"epochs": 20, "lr": 1e-4, "loss": "l1", "batch": 64},
        {"epochs": 15, "lr": 2e-4, "d_lr": 2e-4, "betas": (0.5, 0.999), "batch": 64, "d_every": 5, "gan": "bce"}
        | {"loss": "l1", "weights": {"native": 100.0, "adversarial": 1.0}},
    ],
    "deep-koalarization": [{"lr": 1e-3, "loss": "mse"}],
    "pix2pix": [{"lr": 2e-4, "betas": (0.5, 0.999), "loss": "l1", "weights": {"native": 100.0, "adversarial": 1.0}}],
    "efficientnet-rebalanced": [{"lr": 1e-3, "betas": (0.9, 0.999), "batch": 32, "epochs": 10, "rebalance": 0.9}],
    "vgg16-dahl": [{"lr": 1e-3, "betas": (0.9, 0.999), "batch": 32, "epochs": 10, "loss": "mse"}],
    "convnet": [{"lr": 1e-3, "betas": (0.9, 0.999), "batch": 32, "epochs": 10, "loss": "mse"}],
}


@pytest.mark.parametrize("system", PAPERS)
def test_the_papers_recipes_say_what_the_papers_do(system: str) -> None:
    """If a number deviated, comparisons with the paper's table would be invalid."""
    phases = recipes.load("ddcolor-tiny" if system == "ddcolor" else f"{system}-paper").phases
    found = [{name: getattr(phase, name) for name in said} for phase, said in zip(phases, PAPERS[system], strict=True)]
    assert found == PAPERS[system]


def test_any_field_can_be_overridden() -> None:
    recipe = recipes.load("bigcolor-lite", ["phases.0.lr=2e-4", "seed=5", "data.crop=96"])
    assert (recipe.phases[0].lr, recipe.seed, recipe.data.crop) == (2e-4, 5, 96)


@pytest.mark.parametrize(
    "override",
    [
        *("phases.0.learning_rate=1", "nonsense", "phases.9.lr=1", "colour=1"),
        *("phases.0.lr=fast", "seed=1.5", "data.short_side=[128]", "data.films=1", "every=0", "phases.0.batch=0"),
        *(
            "precision=fp8",
            "phases.0.weights.beauty=1",
            "freeze_batch_norm=true",
            "phases=[]",
            "seed.x=1",
            "data.crop=160",
            "name.x.y=1",
        ),
        *("phases.0.lr=-1", "phases.0.d_every=0", "phases.0.samples=0", "phases.0.weights={}", "phases.0.clip=nan"),
        *("phases.0.weights.native=much", "phases.0.weights.native=-1", "ema=1.5", "seed=-1", "validation_side=0"),
        *("phases.0.patience=2", "data.held_back=2", "phases.0.drop_at=10"),
    ],
)
def test_a_mistyped_override_is_refused(override: str) -> None:
    """If it were silently ignored, a night of training would be wasted."""
    with pytest.raises(UsageError, match="cannot be used"):
        recipes.load("bigcolor-lite", [override])


def test_a_term_that_is_added_to_the_weights_leaves_the_one_that_goes_without_saying() -> None:
    """Otherwise the network would silently learn from the added term only."""
    recipe = recipes.load(TOY, ["phases.0.weights.perceptual=0.5"])
    assert recipe.phases[0].weights == {"native": 1.0, "perceptual": 0.5}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('name = "mine"', "list of phases"),
        ('name = "mine"\n[[phases]]\nname = "a"\nsteps = 1', "lacks system and preset"),
        ('name = "mine"\nsystem = "convnet"\npreset = "lite"\n[[phases]]\nsteps = 1', "a phase lacks name"),
    ],
)
def test_a_recipe_of_ones_own_is_told_what_it_lacks(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "mine.toml").write_text(text)
    with pytest.raises(UsageError, match=said):
        recipes.load(str(tmp_path / "mine.toml"))


def test_a_mistyped_field_is_named_with_what_it_may_mean() -> None:
    with pytest.raises(UsageError, match="a phase has no field 'lrr'; did you mean lr"):
        recipes.load("bigcolor-lite", ["phases.0.lrr=1"])


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("phases.0.lr=fast", 'lr of a phase must be a number, not "fast"'),
        ("phases.0.betas=[0.9]", "betas of a phase must be a list of 2 numbers"),
        ("phases.0.weights.native=much", "weights of a phase must be a table of numbers"),
        ("data.flip=1", "flip of the data must be true or false, not 1"),
        ("data=3", "the data must be a table, not 3"),
    ],
)
def test_a_value_of_another_type_is_told_what_it_must_be(override: str, said: str) -> None:
    """Who writes recipes need not know Python's types."""
    with pytest.raises(UsageError, match=re.escape(said)):
        recipes.load("bigcolor-lite", [override])


def test_a_phase_that_is_not_there_is_told_from_those_that_are() -> None:
    with pytest.raises(UsageError, match=r"no 'phases\.3\.lr': '3' is not one of 0, 1, 2"):
        recipes.load("bigcolor-lite", ["phases.3.lr=1"])


def test_an_unknown_recipe_names_those_there_are() -> None:
    with pytest.raises(UsageError, match="bigcolor-lite"):
        recipes.load("bigcolour")


def test_the_rate_warms_up_and_falls() -> None:
    phase = recipes.load("bigcolor-lite").phases[0]
    rates = [phase.rate(step) for step in range(phase.steps)]
    peak = rates.index(max(rates))
    assert peak in (phase.warmup - 1, phase.warmup)
    assert rates[peak] == pytest.approx(1.0)
    assert rates[-1] == pytest.approx(phase.final_lr, abs=0.01)
    assert rates[peak:] == sorted(rates[peak:], reverse=True)
