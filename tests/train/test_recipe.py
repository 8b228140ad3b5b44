"""Recipes as data."""

from __future__ import annotations

import pytest

from colorcli.errors import UsageError
from colorcli.train import recipe as recipes


@pytest.mark.parametrize("name", recipes.names())
def test_every_recipe_in_the_package_loads(name: str) -> None:
    recipe = recipes.load(name)
    assert recipe.name == name
    assert recipes.from_dict(recipe.to_dict() | {"phases": [dict(p) for p in recipe.to_dict()["phases"]]}) == recipe


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
    ],
)
def test_a_mistyped_override_is_refused(override: str) -> None:
    """Silently ignored, it would cost a night of training."""
    with pytest.raises(UsageError, match="cannot be used"):
        recipes.load("bigcolor-lite", [override])


def test_a_mistyped_field_is_named_with_what_it_may_mean() -> None:
    with pytest.raises(UsageError, match="a phase has no field 'lrr'; did you mean lr"):
        recipes.load("bigcolor-lite", ["phases.0.lrr=1"])


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
