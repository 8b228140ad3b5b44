"""Sweeps: a TOML file with a recipe, its variants, seeds, protocol, metrics and claims.

The papers' tables are bundled under the names of their protocols.

::

    name = "shrinkage"
    recipe = "biggan-encoder-lite"
    set = ["phases.0.steps=1000"]       # applied to all variants
    seeds = [0, 1, 2]
    protocol = "biggan-encoder-table2"
    metrics = ["mse-rgb"]               # default: the protocol's
    labels = "pseudo"                   # classes given during evaluation, as evaluate's --labels

    [[variants]]
    name = "none"

    [[variants]]
    name = "shrinkage 0.5"
    recipe = "biggan-encoder-gt-lite"   # overrides the sweep's recipe
    set = ["network.shrinkage=0.5"]
    labels = "none"                     # overrides the sweep's labels

    [[claims]]
    text = "shrinkage by 0.5 lowers the error (Wang, table 2)"
    metric = "mse-rgb"
    variant = "shrinkage 0.5"
    against = "none"
    expected = "lower"
"""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

from colorcli.bundled import Shelf
from colorcli.errors import UsageError
from colorcli.evaluate import metrics, protocols
from colorcli.evaluate.protocols import Protocol
from colorcli.fields import arguments, shown
from colorcli.text import reason
from colorcli.train import recipe as recipes
from colorcli.train.recipe import Recipe


@dataclass(frozen=True)
class Claim:
    """A paper's claim that compares two variants.

    Attributes:
        text: the claim and its source.
        metric: id of the metric that tests it.
        variant: name of the variant that the claim is about.
        against: name of the variant that it is compared with.
        expected: whether the metric of ``variant`` is claimed to be ``higher`` or ``lower``.
    """

    text: str
    metric: str
    variant: str
    against: str
    expected: Literal["higher", "lower"]


@dataclass(frozen=True)
class Training:
    """One run of a sweep: a variant, a seed and the evaluation protocol."""

    variant: str
    seed: int
    recipe: Recipe
    protocol: Protocol

    @property
    def name(self) -> str:
        """Name of the run folder."""
        plain = "".join(c if c.isalnum() or c in "-_." else "-" for c in self.variant)
        return f"{plain}-seed{self.seed}"


@dataclass(frozen=True)
class Sweep:
    """A parsed sweep file.

    Attributes:
        name: title of the table.
        trainings: every variant with every seed, in running order: all variants with the first seed, then
            with the next.
        variants: names of the variants, in table order.
        protocol: evaluation protocol; a training may override its labels.
        metrics: ids of the metrics.
        claims: claims to test.
    """

    name: str
    trainings: tuple[Training, ...]
    variants: tuple[str, ...]
    protocol: Protocol
    metrics: tuple[str, ...]
    claims: tuple[Claim, ...]


SHELF = Shelf("sweep", "colorcli.sweep", "tables")

_KNOWN = {"name", "recipe", "set", "seeds", "protocol", "metrics", "labels", "variants", "claims"}
_KNOWN_OF_VARIANT = {"name", "recipe", "set", "labels"}


def load(sweep: str, settings: Sequence[str] = ()) -> Sweep:
    """Read a sweep by name or path and validate it in full, before any training starts.

    Args:
        sweep: the name of a bundled sweep, or a TOML file.
        settings: ``FIELD=VALUE``, applied to the recipes of all variants, after the file's own.

    Raises:
        UsageError: there is no such sweep or it cannot be read, a field is unknown or of the wrong type, or it names a
            recipe, protocol or metric that does not exist.
    """
    _, text = SHELF.read(sweep)
    try:
        table = tomllib.loads(text)
    except ValueError as error:
        raise UsageError(f"The sweep {sweep} cannot be read: {reason(error)}.") from error
    try:
        return _parse(table, settings)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        what = f"it lacks {error}" if isinstance(error, KeyError) else str(error)
        raise UsageError(f"The sweep {sweep} cannot be used: {what}.") from error


def _parse(table: dict[str, Any], settings: Sequence[str]) -> Sweep:
    _refuse_unknown(table, _KNOWN)
    if any(setting.partition("=")[0] == "seed" for setting in settings):
        raise ValueError("set the seeds in its file, not with --set")
    protocol = protocols.load(str(table["protocol"]))
    chosen = metrics.choose(tuple(_strings(table, "metrics", "metrics")) or protocol.metrics, protocol.sigmas)
    common, seeds = _strings(table, "set"), table.get("seeds", [0, 1, 2])
    if not (isinstance(seeds, list) and seeds and all(type(seed) is int and seed >= 0 for seed in seeds)):
        raise TypeError(f"seeds must be a list of whole numbers, not {shown(seeds)}")
    listed = _tables(table, "variants")
    variants: dict[str, dict[str, Any]] = {str(variant["name"]): variant for variant in listed}
    if not variants:
        raise ValueError("it has no [[variants]]")
    if len(variants) < len(listed):
        raise ValueError("two variants have the same name")
    for variant in variants.values():
        _refuse_unknown(variant, _KNOWN_OF_VARIANT)
    shared = {"recipe": table.get("recipe"), "labels": table.get("labels", protocol.labels)}
    trainings = tuple(
        _training(shared | variant, [*common, *_strings(variant, "set"), *settings], seed, protocol)
        for seed in dict.fromkeys(seeds)
        for variant in variants.values()
    )
    folders = {training.name for training in trainings}
    if len(folders) < len(trainings):
        raise ValueError("the names of two variants differ only in characters that a folder's name cannot hold")
    claims = tuple(_claim(entry, variants, [metric.id for metric in chosen]) for entry in _tables(table, "claims"))
    return Sweep(
        str(table["name"]), trainings, tuple(variants), protocol, tuple(metric.id for metric in chosen), claims
    )


def _refuse_unknown(table: dict[str, Any], known: set[str]) -> None:
    unknown = set(table) - known
    if unknown:
        raise ValueError(f"there is no field '{min(unknown)}', only {', '.join(sorted(known))}")


def _training(variant: dict[str, Any], changes: list[str], seed: int, protocol: Protocol) -> Training:
    name, recipe, labels = str(variant["name"]), variant["recipe"], str(variant["labels"])
    if recipe is None:
        raise ValueError(f"neither the sweep nor its variant '{name}' names a recipe")
    if not protocols.are_labels(labels):
        raise ValueError(f"labels must be one of {', '.join(protocols.LABELS)}, or FILE.csv, not '{labels}'")
    try:
        chosen = recipes.load(str(recipe), [*changes, f"seed={seed}"])
    except UsageError as error:
        raise UsageError(f"The sweep's variant '{name}' cannot be trained. {error}") from error
    return Training(name, seed, chosen, protocol.changed(labels=labels))


def _claim(entry: dict[str, Any], variants: dict[str, Any], measured: list[str]) -> Claim:
    claim = Claim(**arguments(Claim, entry, "a claim"))
    for name in (claim.variant, claim.against):
        if name not in variants:
            raise ValueError(f"the claim '{claim.text}' names '{name}', which is not a variant")
    if claim.metric not in measured:
        raise ValueError(f"the claim '{claim.text}' needs {claim.metric}, which is not measured")
    return claim


def _strings(table: dict[str, Any], key: str, what: str = "FIELD=VALUE") -> list[str]:
    value = table.get(key, [])
    if not (isinstance(value, list) and all(isinstance(each, str) for each in value)):
        raise TypeError(f"{key} must be a list of {what}, not {shown(value)}")
    return cast(list[str], value)


def _tables(table: dict[str, Any], key: str) -> list[dict[str, Any]]:
    value = table.get(key, [])
    if not (isinstance(value, list) and all(isinstance(each, dict) for each in value)):
        raise TypeError(f"{key} must be tables, each under the line [[{key}]], not {shown(value)}")
    return cast(list[dict[str, Any]], value)
