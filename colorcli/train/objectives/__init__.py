"""The ways of training, by the name that recipes call them."""

from __future__ import annotations

from importlib import import_module

from colorcli.errors import UsageError
from colorcli.train.objectives.base import Objective, Setup

_OBJECTIVES = {
    "standard": "colorcli.train.objectives.standard:Standard",
    "bigcolor": "colorcli.train.objectives.bigcolor:BigColorLite",
    "distillation": "colorcli.train.objectives.distillation:Distillation",
    "generative": "colorcli.train.objectives.generative:Generative",
}


def objective(setup: Setup) -> Objective:
    """The objective that a recipe names.

    Raises:
        UsageError: there is no such objective.
    """
    name = setup.recipe.objective
    if name not in _OBJECTIVES:
        raise UsageError(f"There is no objective '{name}'; there are {', '.join(_OBJECTIVES)}.")
    module, kind = _OBJECTIVES[name].split(":")
    made: Objective = getattr(import_module(module), kind)(setup)
    return made
