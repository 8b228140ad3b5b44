"""Recipes: training as data. A recipe is a TOML file; every field can be overridden by name."""

from __future__ import annotations

import dataclasses
import math
import tomllib
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

from colorcli.errors import UsageError


@dataclass(frozen=True)
class DataOptions:
    """See ``colorcli.train.data.Augment``; ``held_back`` is the share of photographs kept for validation."""

    crop: int = 128
    short_side: tuple[int, int] = (128, 192)
    degrade: float = 0.5
    held_back: float = 0.02


@dataclass(frozen=True)
class Phase:
    """One stage of training.

    Attributes:
        name: shown in logs.
        train: ``generator``, ``discriminator`` or ``both``.
        steps: number of steps; ``batch`` photographs each.
        lr: learning rate of the generator; ``backbone_lr`` of its pretrained part; ``d_lr`` of the discriminator.
        betas: Adam's; ``weight_decay`` is decoupled.
        warmup: steps of linear warm-up; afterwards the rate falls by a cosine to ``final_lr`` times its value.
        sigma: range from which each photograph's sigma is drawn.
        samples: colourings of each photograph in a step; the reconstruction loss takes the best one in full and
            the others at ``others``.
        weights: of the loss terms ``chroma``, ``perceptual``, ``adversarial``, ``diversity``, ``distill``.
        real_chroma: chroma gain of the real photographs that the discriminator sees.
        diversity: target of the diversity term, CIELAB units per unit distance of codes.
        clip: largest gradient norm.
    """

    name: str
    steps: int
    train: str = "generator"
    batch: int = 24
    lr: float = 5e-4
    backbone_lr: float = 1e-4
    d_lr: float = 2e-4
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 1e-4
    warmup: int = 200
    final_lr: float = 0.1
    sigma: tuple[float, float] = (0.0, 3.0)
    samples: int = 1
    others: float = 0.25
    weights: dict[str, float] = field(default_factory=dict)
    real_chroma: float = 1.2
    diversity: float = 2.0
    clip: float = 1.0

    def rate(self, step: int) -> float:
        """The factor on every learning rate at ``step`` of this phase."""
        if step < self.warmup:
            return (step + 1) / self.warmup
        progress = (step - self.warmup) / max(1, self.steps - self.warmup)
        return self.final_lr + (1 - self.final_lr) * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))


@dataclass(frozen=True)
class Recipe:
    """Everything that determines a run except the photographs."""

    name: str
    system: str
    preset: str
    phases: tuple[Phase, ...]
    seed: int = 0
    data: DataOptions = field(default_factory=DataOptions)
    licence: str = ""
    source: dict[str, str] = field(default_factory=dict)
    network: dict[str, Any] = field(default_factory=dict)
    discriminator: dict[str, Any] = field(default_factory=dict)
    precision: str = "fp32"
    ema: float = 0.999
    every: int = 500

    def to_dict(self) -> dict[str, Any]:
        """The recipe as plain data, as saved in a run folder."""
        return dataclasses.asdict(self)


def names() -> list[str]:
    """The recipes in the package."""
    return sorted(
        path.name.removesuffix(".toml")
        for path in resources.files("colorcli.train").joinpath("recipes").iterdir()
        if path.name.endswith(".toml")
    )


def load(recipe: str, overrides: list[str] | None = None) -> Recipe:
    """Read a recipe by name or path, with ``key.path=value`` overrides (values in TOML syntax).

    Raises:
        UsageError: there is no such recipe, or it has an unknown or ill-typed field.
    """
    bundled = resources.files("colorcli.train").joinpath("recipes", f"{recipe}.toml")
    if bundled.is_file():
        text = bundled.read_text(encoding="utf-8")
    elif Path(recipe).is_file():
        text = Path(recipe).read_text(encoding="utf-8")
    else:
        raise UsageError(f"There is no recipe '{recipe}'; there are: {', '.join(names())}.")
    try:
        table = tomllib.loads(text)
        for override in overrides or []:
            _set(table, override)
        return from_dict(table)
    except (tomllib.TOMLDecodeError, TypeError, KeyError, ValueError, IndexError) as error:
        raise UsageError(f"Recipe '{recipe}' cannot be used: {error}.") from error


def from_dict(table: dict[str, Any]) -> Recipe:
    """Build a recipe from plain data; unknown fields raise TypeError."""
    table = dict(table)
    phases = tuple(Phase(**_tuples(phase)) for phase in table.pop("phases"))
    data = DataOptions(**_tuples(table.pop("data", {})))
    return Recipe(phases=phases, data=data, **table)


def _tuples(table: dict[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in table.items()}


def _set(table: dict[str, Any], override: str) -> None:
    path, separator, text = override.partition("=")
    if not separator:
        raise ValueError(f"'{override}' is not of the form field=value")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text
    *parents, last = path.split(".")
    node: Any = table
    for key in parents:
        node = node[int(key)] if isinstance(node, list) else node.setdefault(key, {})
    node[int(last) if isinstance(node, list) else last] = value
