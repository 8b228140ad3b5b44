"""Picks: choices among samples, saved by a report and carried out by a run.

A pick names the chosen sample of one photograph. Model, parameters, backend and precision are those of the sample, so
that the chosen colouring is made again, byte for byte if format and quality are the same.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import get_args

import colorcli
from colorcli import fields
from colorcli.color.vividness import NEUTRAL
from colorcli.colorize.discover import Discovery, Found, matches
from colorcli.colorize.options import Pages, Parameters
from colorcli.colorize.plan import Pick
from colorcli.errors import UsageError
from colorcli.images.formats import OPTIONS
from colorcli.pipeline.coloring import MOST_STRENGTH, SIZES
from colorcli.pipeline.controls import declared_settings
from colorcli.text import printable

VERSION = 1
"""Version of the file's layout."""

_LISTED = 3


@dataclass(frozen=True)
class Chosen:
    """One choice.

    Attributes:
        input: the photograph's relative path.
        source: its absolute path when the samples were made.
        input_sha256: hexadecimal SHA-256 of the file.
        sample: index of the chosen sample.
        backend: the backend that made it, as for ``open_model``; ``auto`` if unknown.
        precision: the precision it was made with; ``auto`` if unknown.
    """

    input: str
    source: str
    input_sha256: str
    sample: int
    backend: str = "auto"
    precision: str = "auto"


@dataclass(frozen=True)
class Picks:
    """The choices in one or several files.

    Attributes:
        path: the first file, for messages.
        model: exact name of the model that made the samples.
        weights_sha256: hexadecimal SHA-256 of its weights.
        parameters: parameters of the samples.
        choices: in the files' order, at most one per photograph.
    """

    path: Path
    model: str
    weights_sha256: str
    parameters: Parameters
    choices: tuple[Chosen, ...]

    def follow(self, asked: Mapping[str, tuple[str, object]]) -> None:
        """Refuse options that contradict the samples' parameters.

        Args:
            asked: the given options and their values, by parameter name.

        Raises:
            UsageError: one differs from the samples' value.
        """
        for name, (option, value) in asked.items():
            made = {**vars(self.parameters), **self.parameters.settings}.get(name)
            if made != value:
                raise UsageError(
                    f"The samples of {self.path} were made with {option} {_shown(made)}, not {_shown(value)}; omit "
                    f"{option}, or make other samples and choose again."
                )

    def follow_backend(self, name: str, asked: str) -> None:
        """Refuse a backend or a precision that differs from a sample's.

        Args:
            name: ``backend`` or ``precision``.
            asked: the given value; ``auto`` agrees with every sample.

        Raises:
            UsageError: a sample was made with another.
        """
        made = {getattr(choice, name) for choice in self.choices} - {"auto", asked}
        if made and asked != "auto":
            raise UsageError(
                f"The samples of {self.path} were made with --{name} {', '.join(sorted(made))}, not {asked}; omit "
                f"--{name}, or make other samples and choose again."
            )

    def follow_weights(self, name: str, weights_sha256: str) -> None:
        """Refuse a model or weights that differ from the samples'. Raises UsageError."""
        if weights_sha256 != self.weights_sha256:
            raise UsageError(
                f"The samples of {self.path} were made by {self.model} with weights {self.weights_sha256[:8]}…, and "
                f"{name} has weights {weights_sha256[:8]}…; give the same model, or make new samples."
            )

    def find(
        self, found: Discovery, *, include: Sequence[str] = (), exclude: Sequence[str] = ()
    ) -> tuple[Discovery, dict[Found, Pick]]:
        """Find the chosen photographs among the inputs.

        Args:
            found: the photographs of the inputs.
            include: patterns with which they were discovered; choices that do not match are not errors.
            exclude: likewise, patterns that exclude photographs.

        Returns:
            ``found`` without unusable files that were not chosen, and the pick of each photograph.

        Raises:
            UsageError: a chosen photograph is not among the inputs, or is ambiguous.
        """
        photographs: dict[str, list[Found]] = {}
        for photograph in found.photographs:
            photographs.setdefault(photograph.relative, []).append(photograph)
        unusable = {item.relative for item in found.unusable}
        picks: dict[Found, Pick] = {}
        unknown = []
        for choice in self.choices:
            candidates = photographs.get(choice.input, [])
            if len(candidates) > 1:
                candidates = [item for item in candidates if item.source == choice.source]
            if len(candidates) == 1:
                picks[candidates[0]] = Pick(choice.sample, choice.input_sha256, choice.backend, choice.precision)
            elif choice.input not in unusable and matches(choice.input, include, exclude):
                unknown.append(choice.input)
        if unknown:
            listed = ", ".join(printable(name) for name in unknown[:_LISTED])
            more = f" and {len(unknown) - _LISTED} more" if len(unknown) > _LISTED else ""
            raise UsageError(
                f"{self.path} chooses colourings of photographs that are not among the inputs: {listed}{more}. "
                "Give the folder that the samples were made from."
            )
        wanted = {choice.input for choice in self.choices}
        return replace(found, unusable=[item for item in found.unusable if item.relative in wanted]), picks


def header(model: str, weights_sha256: str, parameters: Parameters) -> dict[str, object]:
    """The picks file without the choices themselves, its ``picks``."""
    return {
        "version": VERSION,
        "colorcli": colorcli.__version__,
        "model": model,
        "weights_sha256": weights_sha256,
        "parameters": parameters.record(),
    }


def read_picks(paths: Sequence[Path]) -> Picks:
    """Read picks; several files are merged if their samples were made alike.

    Raises:
        UsageError: a file cannot be read or is not a picks file, samples were made differently, or two choices of one
            photograph differ.
    """
    first, *others = [_read(path) for path in paths]
    choices = {(choice.input, choice.source): choice for choice in first.choices}
    for other in others:
        if replace(other, path=first.path, choices=()) != replace(first, choices=()):
            raise UsageError(f"{first.path} and {other.path} choose among samples that were made differently.")
        for choice in other.choices:
            if choices.setdefault((choice.input, choice.source), choice) != choice:
                raise UsageError(
                    f"{other.path} chooses another sample of {printable(choice.input)} than a file before."
                )
    return replace(first, choices=tuple(choices.values()))


def _read(path: Path) -> Picks:
    try:
        content = json.loads(path.read_bytes())
    except OSError as error:
        raise UsageError(f"The choices {path} cannot be read: {error.strerror or error}.") from error
    except ValueError as error:
        raise UsageError(f"{path} is not a picks file: it is not JSON.") from error
    try:
        if _count(_table(content, "it"), "version") > VERSION:
            raise UsageError(f"{path} was saved from a report of a newer colorcli; upgrade to use it.")
        choices: dict[tuple[str, str], Chosen] = {}
        for item in _tables(content["picks"]):
            # Earlier versions had backend and precision once per file, or not at all.
            made_by = {"backend": "auto", "precision": "auto", **content, **item}
            choice = Chosen(
                _text(item, "input"),
                _text(item, "source"),
                _text(item, "input_sha256"),
                _sample(item),
                _text(made_by, "backend"),
                _text(made_by, "precision"),
            )
            if choices.setdefault((choice.input, choice.source), choice) != choice:
                raise UsageError(f"{path} chooses two samples of {printable(choice.input)}.")
        parameters = parameters_of(_table(content["parameters"], "parameters"))
        model, sha256 = _text(content, "model"), _text(content, "weights_sha256")
        return Picks(path, model, sha256, parameters, tuple(choices.values()))
    except (KeyError, TypeError, ValueError) as error:
        raise UsageError(f"{path} is not a picks file: {_fault(error)}.") from error


def _fault(error: Exception) -> str:
    return f"it lacks {error}" if isinstance(error, KeyError) else str(error)


def _table(value: object, what: str) -> dict[str, object]:
    if not isinstance(value, dict):
        raise TypeError(f"{what} must be an object, not {printable(fields.shown(value))}")
    return value


def _tables(value: object) -> list[dict[str, object]]:
    if not isinstance(value, list):
        raise TypeError("its picks are not a list")
    return [_table(item, "a pick") for item in value]


def _count(item: Mapping[str, object], key: str) -> int:
    value = item[key]
    if not isinstance(value, int):
        raise TypeError(f"its {key} is not a number")
    return value


def _text(item: Mapping[str, object], key: str) -> str:
    if not isinstance(item[key], str):
        raise TypeError(f"its {key} is not text")
    return str(item[key])


def _sample(item: Mapping[str, object]) -> int:
    sample = item["sample"]
    if not isinstance(sample, int) or not 0 <= sample < 1000:
        raise ValueError("a sample is not a number from 0 to 999")
    return sample


def _number(value: object, low: float, high: float) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high


def _whole(value: object, low: float, high: float) -> bool:
    return isinstance(value, int) and _number(value, low, high)


_VALID: dict[str, Callable[[object], bool]] = {
    "size": lambda value: _whole(value, *SIZES),
    "strength": lambda value: _number(value, 0, MOST_STRENGTH),
    "vividness": lambda value: _number(value, 0, 1),
    "format": lambda value: value is None or value in OPTIONS.values(),
    "quality": lambda value: _whole(value, 1, 100),
}


def parameters_of(record: Mapping[str, object]) -> Parameters:
    """The inverse of ``Parameters.record``. Raises KeyError or ValueError if ``record`` is not one."""
    settings = {}
    for _, setting in declared_settings():
        value = record.get(setting.name)
        if value is None:
            continue
        if not setting.holds(value):
            raise ValueError(f"its {setting.name} cannot be {_shown(value)}")
        # 3 and 3.0 are the same number to JSON and to people, but not in the label of outputs
        if setting.several and isinstance(value, list):
            value = tuple(value)
        settings[setting.name] = float(value) if setting.kind is float else value  # type: ignore[arg-type]
    # Earlier versions had no vividness.
    rest = {name: record[name] for name in _VALID if name != "vividness"}
    rest["vividness"] = record.get("vividness", NEUTRAL)
    for name, value in rest.items():
        if not _VALID[name](value):
            raise ValueError(f"its {name} cannot be {_shown(value)}")
    rest |= {name: float(str(rest[name])) for name in ("strength", "vividness")}
    pages = record.get("pages", "largest")
    if pages not in get_args(Pages):
        raise ValueError(f"its pages cannot be {_shown(pages)}")
    rest |= {"negative": record.get("negative") is True, "pages": pages}
    return Parameters(settings, **rest)  # type: ignore[arg-type]


def _shown(value: object) -> str:
    return "none" if value is None else printable(str(value))
