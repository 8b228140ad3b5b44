"""Recipes: training as data. A recipe is a TOML file; every field can be overridden by name."""

from __future__ import annotations

import dataclasses
import math
import re
import tomllib
from dataclasses import dataclass, field
from typing import Any

from colorcli.bundled import Shelf
from colorcli.errors import UsageError
from colorcli.fields import arguments
from colorcli.train import plugins

SHELF = Shelf("recipe", "colorcli.train", "recipes", "colorcli train --list")

# What a phase's ``weights`` may name.
_TERMS = (
    *(
        "native",
        "delta_e",
        "edges",
        "colorfulness",
        "perceptual",
        "adversarial",
        "diversity",
        "distill",
        "prior",
    ),
)
_WEIGHTS = {"native": 1.0}
# Numbers of a phase that must not be negative.
_POSITIVE = (
    *("steps", "epochs", "lr", "backbone_lr", "d_lr", "weight_decay", "d_weight_decay", "warmup", "final_lr"),
    *("patience", "others", "clip"),
)


@dataclass(frozen=True)
class DataOptions:
    """What the network sees.

    Attributes:
        crop: side of the square crops in pixels.
        short_side: range from which the short side is drawn that a photograph is resized to first.
        fit: what is shown: a crop at ``random``, that at the ``centre``, or all, which a ``stretch`` makes square.
        flip: whether every other photograph is mirrored.
        degrade: probability that the gray input is made to look like an old print.
        rotation: largest rotation either way, in turns.
        films: whether the gray input may follow another film's sensitivity than the eye's.
        exposure: standard deviation of the logarithm of a random gamma; 0 leaves exposures alone.
        held_back: share of the photographs kept for validation: what a model is chosen on.
        test: share set aside besides, which training never looks at: ``evaluate RUN#test`` measures on them.
        drop_least_colorful: share of the least colourful photographs to leave out (García et al. 2024: 0.1).
        toned: whether to learn from photographs of one tone as well, which ``colorize`` takes for monochrome prints:
            sepia, and gray on a coloured page. It mistakes a quarter of those of garments before plain walls for
            prints.
        labels: where class labels come from: ``none``, ``folders`` (ImageNet names or synset folders, in order; or the
            files KEY.cls of a shard), a CSV file with the columns ``name`` and ``class``, or ``pseudo`` (the teacher's
            answer on the middle of the colour photograph). They are given in validation, too.
    """

    crop: int = 128
    short_side: tuple[int, int] = (128, 192)
    fit: str = "random"
    flip: bool = True
    degrade: float = 0.5
    rotation: float = 0.0
    films: bool = True
    exposure: float = 0.2
    held_back: float = 0.02
    test: float = 0.0
    drop_least_colorful: float = 0.0
    toned: bool = True
    labels: str = "none"

    def __post_init__(self) -> None:
        if not self.labels.endswith(".csv"):
            _one_of("labels of the data", self.labels, ("none", "folders", "pseudo", "FILE.csv"))
        _one_of("fit of the data", self.fit, ("random", "centre", "stretch"))
        for name in ("degrade", "held_back", "test", "drop_least_colorful"):
            _within(f"data.{name}", getattr(self, name), 0, 1)
        for name in ("rotation", "exposure"):
            _within(f"data.{name}", getattr(self, name), 0)
        _within("data.crop", self.crop, 1)
        if not self.crop <= self.short_side[0] <= self.short_side[1]:
            raise ValueError(
                f"data.crop = {self.crop} does not fit into data.short_side = {list(self.short_side)}, a range that "
                "begins with the crop or above"
            )


@dataclass(frozen=True)
class Phase:
    """One stage of training.

    Attributes:
        name: shown in logs.
        steps: number of steps of ``batch`` photographs each; or give ``epochs`` over the photographs instead.
        train: ``generator``, ``discriminator`` or ``both``.
        accumulate: the batch is worked through in this many parts, their gradients summed.
        lr: learning rate of the generator; ``backbone_lr`` of its slow parts; ``d_lr`` of the discriminator.
        optimizer: ``adamw`` shrinks the weights apart from the gradient's step (Loshchilov and Hutter 2019); ``adam``
            adds the decay to the gradient, as where a paper says "Adam with weight decay".
        betas: of either; ``weight_decay`` is the generator's, ``d_weight_decay`` the discriminator's.
        schedule: of all rates after ``warmup`` steps of linear rise: ``cosine`` falls to ``final_lr`` times their
            value, ``step`` drops to that at ``drop_at`` of the phase, ``exponential`` gets there evenly in the
            logarithm, ``constant`` stays.
        d_every: the discriminator learns in one step of so many.
        patience: the phase ends early when ``Recipe.best`` has not improved in so many checks; 0: never.
        loss: distance of the native answer from its target: ``mse``, ``l1``, ``smooth_l1``, ``cross_entropy`` (bins),
            or ``auto``: the last for bins, else the third.
        rebalance: strength lambda of that loss's colour rebalancing (zhang2016: 0.5; Lin and Ferreira: 0.9); 0: none.
        weights: of the loss terms ``native``, ``delta_e``, ``edges``, ``colorfulness``, ``perceptual``,
            ``adversarial``, ``diversity``, ``distill``, ``prior``; and of those that other packages add, see
            ``train.plugins``.
        gan: ``hinge``; ``bce``, where the generator maximizes log D (Beyer Bruvik and Penfold); or ``minimax``, where
            it minimizes log(1 - D) (Zheng et al.).
        real_chroma: chroma gain of the real photographs that the discriminator sees (García et al. 2024: 1.2).
        fakes: what a discriminator trained alone takes for false: the ``generator``'s answers, photographs
            ``recolored`` at random (Zheng et al.), or the answers of an earlier run (its folder).
        sigma: range from which each photograph's sigma is drawn, where the network takes z.
        samples: colourings of each photograph in a step; the native loss takes the best one in full and the others
            at ``others``.
        diversity: target of the diversity term, CIELAB units per unit distance of codes.
        cells: the best sample is chosen in each of so many times so many cells of a photograph: 1 chooses a whole
            colouring, more let each object have its own.
        learns: patterns of the names of the parameters that learn, such as ``G.blocks.*``; all others stay as they
            are, and the statistics of batch norm with them. ``NAME[128]`` is the inputs of a linear layer from number
            128 on (without weight decay, which shrinks the others too). Empty: all.
        clip: largest gradient norm of the generator; 0: no limit.
    """

    name: str
    steps: int = 0
    epochs: float = 0.0
    train: str = "generator"
    batch: int = 24
    accumulate: int = 1
    lr: float = 5e-4
    backbone_lr: float = 1e-4
    d_lr: float = 2e-4
    optimizer: str = "adamw"
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 1e-4
    d_weight_decay: float = 0.0
    warmup: int = 200
    schedule: str = "cosine"
    final_lr: float = 0.1
    drop_at: float = 0.5
    d_every: int = 1
    patience: int = 0
    loss: str = "auto"
    rebalance: float = 0.0
    weights: dict[str, float] = field(default_factory=_WEIGHTS.copy)
    gan: str = "hinge"
    real_chroma: float = 1.0
    fakes: str = "generator"
    sigma: tuple[float, float] = (0.0, 3.0)
    samples: int = 1
    others: float = 0.25
    diversity: float = 2.0
    cells: int = 1
    learns: tuple[str, ...] = ()
    clip: float = 1.0

    def __post_init__(self) -> None:
        for name, value, allowed in (
            ("train", self.train, ("generator", "discriminator", "both")),
            ("schedule", self.schedule, ("cosine", "step", "exponential", "constant")),
            ("loss", self.loss, ("auto", "mse", "l1", "smooth_l1", "cross_entropy")),
            ("gan", self.gan, ("hinge", "bce", "minimax")),
            ("optimizer", self.optimizer, ("adamw", "adam")),
        ):
            _one_of(f"{name} of phase '{self.name}'", value, allowed)
        for term, weight in self.weights.items():
            _one_of(f"a weight of phase '{self.name}'", term, (*_TERMS, *plugins.points("losses")))
            _within(f"weights.{term} of phase '{self.name}'", weight, 0)
        if self.train != "discriminator" and not any(self.weights.values()):
            raise ValueError(f"phase '{self.name}' needs a weight above 0, or the generator learns nothing")
        for name in ("batch", "accumulate", "d_every", "samples", "cells"):
            _within(f"{name} of phase '{self.name}'", getattr(self, name), 1)
        for name in ("rebalance", "drop_at"):
            _within(f"{name} of phase '{self.name}'", getattr(self, name), 0, 1)
        for name in _POSITIVE:
            _within(f"{name} of phase '{self.name}'", getattr(self, name), 0)
        for pattern in self.learns:
            if "[" in pattern and not re.fullmatch(r"[^[\]]+\[\d+\]", pattern):
                raise ValueError(
                    f"learns of phase '{self.name}' has '{pattern}', which is neither NAME nor NAME[NUMBER]"
                )
            if "[" in pattern and self.weight_decay:
                raise ValueError(f"phase '{self.name}' learns '{pattern}' alone, which needs weight_decay = 0")
        if self.batch % self.accumulate:
            raise ValueError(
                f"phase '{self.name}': a batch of {self.batch} does not divide into {self.accumulate} parts"
            )
        if (self.steps > 0) == (self.epochs > 0):
            raise ValueError(f"phase '{self.name}' needs either steps or epochs")

    def rate(self, step: int) -> float:
        """The factor on every learning rate at ``step`` of this phase."""
        if step < self.warmup:
            return (step + 1) / self.warmup
        progress = min(1.0, (step - self.warmup) / max(1, self.steps - self.warmup))
        if self.schedule == "constant":
            return 1.0
        if self.schedule == "step":
            return 1.0 if step < self.drop_at * self.steps else self.final_lr
        if self.schedule == "exponential":
            return float(self.final_lr**progress)
        return self.final_lr + (1 - self.final_lr) * 0.5 * (1 + math.cos(math.pi * progress))


@dataclass(frozen=True)
class Recipe:
    """Everything that determines a run except the photographs.

    Attributes:
        name: of the recipe.
        system: of the registry, or the name of a backbone for the objectives that make one.
        preset: of the system's network; ``network`` overrides its arguments.
        phases: the stages of training, in order.
        objective: what a step does: ``standard`` for any system, ``bigcolor``, ``distillation``, ``generative``, or one
            that another package adds, see ``train.plugins``.
        init: pretrained weights that submodules start from, by the submodule's name: ``teacher`` or a backbone's name.
        perceptual: whose features the perceptual term compares: the ``teacher``'s, or those of the backbone ``vgg16``
            (García et al. 2024).
        discriminator: its ``kind``, what it ``sees`` (``lab`` or ``rgb``) and its arguments, where a phase needs one.
        precision: ``fp32``, ``bf16``, ``fp16`` (CUDA), or ``auto``: bf16 where the device computes in it, else fp32.
        ema: memory of the running average of the weights, which is what ships; 0: the weights themselves ship.
        freeze_batch_norm: where batch norm uses its stored statistics while training: in ``slow`` (pretrained) parts,
            which otherwise forget half of what they know in the first steps; in ``all``; or in ``none``. What is not
            frozen takes the statistics of the whole batch, over however many processes that is spread.
        cache_features: frozen parts whose answers are kept on disk; every photograph is then always cropped alike.
        every: steps between checks (validation and checkpoint).
        best: the validation metric by which the shipped weights are chosen; empty: the last weights.
        licence: for the model's card, one line, true to where the photographs come from; empty: not stated.
        validation_side: side in pixels of the centre crops for validation.
    """

    name: str
    system: str
    preset: str
    phases: tuple[Phase, ...]
    objective: str = "standard"
    seed: int = 0
    data: DataOptions = field(default_factory=DataOptions)
    licence: str = ""
    source: dict[str, str] = field(default_factory=dict)
    network: dict[str, Any] = field(default_factory=dict)
    init: dict[str, str] = field(default_factory=dict)
    perceptual: str = "teacher"
    discriminator: dict[str, Any] = field(default_factory=dict)
    precision: str = "fp32"
    ema: float = 0.999
    freeze_batch_norm: str = "slow"
    cache_features: tuple[str, ...] = ()
    every: int = 500
    best: str = ""
    validation_side: int = 192

    def __post_init__(self) -> None:
        _one_of("precision", self.precision, ("auto", "fp32", "bf16", "fp16"))
        _one_of("freeze_batch_norm", self.freeze_batch_norm, ("slow", "all", "none"))
        _one_of("perceptual", self.perceptual, ("teacher", "vgg16"))
        for name, least in (("seed", 0), ("every", 1), ("validation_side", 1)):
            _within(name, getattr(self, name), least)
        _within("ema", self.ema, 0, 1)
        if not self.phases:
            raise ValueError("a recipe needs a phase")
        for phase in self.phases:
            if phase.patience and not self.best:
                raise ValueError(f"phase '{phase.name}' has patience, but the recipe names no metric (best)")

    def to_dict(self) -> dict[str, Any]:
        """The recipe as plain data, as saved in a run folder."""
        return dataclasses.asdict(self)


def load(recipe: str, overrides: list[str] | None = None) -> Recipe:
    """Read a recipe by name or path, with ``key.path=value`` overrides (values in TOML syntax).

    A recipe may name another one as its ``base`` and say in its table ``set`` which fields differ.

    Raises:
        UsageError: there is no such recipe, or it has an unknown or ill-typed field.
    """
    try:
        table = _table(recipe)
        for override in overrides or []:
            _override(table, override)
        return from_dict(table)
    except (tomllib.TOMLDecodeError, TypeError, KeyError, ValueError, IndexError) as error:
        raise UsageError(f"Recipe '{recipe}' cannot be used: {error}.") from error


def _table(recipe: str) -> dict[str, Any]:
    """A recipe as plain data, with that of its ``base`` below it."""
    table = tomllib.loads(SHELF.read(recipe)[1])
    if "base" not in table:
        return table
    # A variant: another recipe in which a few fields differ.
    whole = _table(table.pop("base"))
    for path, value in table.pop("set", {}).items():
        _set(whole, path, value)
    return whole | table


def from_dict(table: dict[str, Any]) -> Recipe:
    """Build a recipe from plain data; unknown fields raise ValueError."""
    table = dict(table)
    if not isinstance(table.get("phases"), list | tuple):
        raise TypeError("a recipe has a list of phases, each under the line [[phases]]")
    phases = tuple(Phase(**arguments(Phase, phase, "a phase")) for phase in table.pop("phases"))
    data = DataOptions(**arguments(DataOptions, table.pop("data", {}), "the data"))
    return Recipe(phases=phases, data=data, **arguments(Recipe, table, "a recipe", apart=("phases", "data")))


def _one_of(what: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ValueError(f"{what} must be one of {', '.join(allowed)}, not '{value}'")


def _within(what: str, value: float, low: float, high: float = math.inf) -> None:
    if not low <= value <= high:
        wanted = f"≥ {low:g}" if high == math.inf else f"from {low:g} to {high:g}"
        raise ValueError(f"{what} must be {wanted}, not {value:g}")


def _override(table: dict[str, Any], override: str) -> None:
    path, separator, text = override.partition("=")
    if not separator:
        raise ValueError(f"'{override}' is not of the form field=value")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text
    _set(table, path, value)


def _set(table: dict[str, Any], path: str, value: Any) -> None:
    *parents, last = path.split(".")
    node: Any = table
    for key in parents:
        place = _place(node, key, path)
        # Adding a term keeps the default term.
        absent = _WEIGHTS.copy() if key == "weights" else {}
        node = node.setdefault(place, absent) if isinstance(node, dict) else node[place]
    # A phase has one of the two: setting one replaces the other.
    other = {"steps": "epochs", "epochs": "steps"}.get(last)
    if other is not None and parents[:1] == ["phases"] and isinstance(node, dict):
        node.pop(other, None)
    node[_place(node, last, path)] = value


def _place(node: Any, key: str, path: str) -> str | int:
    """The key or index of a step of a path in a table or list."""
    if isinstance(node, dict):
        return key
    if not isinstance(node, list):
        raise TypeError(f"there is no field '{path}'")
    if not (key.isdecimal() and int(key) < len(node)):
        raise ValueError(f"there is no '{path}': '{key}' is not one of {', '.join(map(str, range(len(node))))}")
    return int(key)
