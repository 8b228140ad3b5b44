"""Protocols: how photographs are resized, turned gray and compared. Data files with versioned ids.

An id such as ``stretch256@1`` never changes its meaning; a change is a new version.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from colorcli.bundled import Shelf
from colorcli.color.vividness import NEUTRAL
from colorcli.errors import UsageError
from colorcli.fields import arguments
from colorcli.pipeline.controls import Settings, declared_settings, settle
from colorcli.text import reason

SHELF = Shelf("protocol", "colorcli.evaluate", "protocols", "colorcli evaluate --list")

DEFAULT = "imagenet-val5k-crop256"
DEFAULT_FOR_PAIRS = "native"

Fit = Literal["crop", "stretch", "native"]
GrayRule = Literal["lightness", "luma601", "orthochromatic", "panchromatic"]

FITS: tuple[Fit, ...] = ("crop", "stretch", "native")
GRAY_RULES: tuple[GrayRule, ...] = ("lightness", "luma601", "orthochromatic", "panchromatic")
LABELS = ("none", "folders", "pseudo")
INTERPOLATIONS = ("lanczos", "bicubic", "bilinear", "box", "nearest")


@dataclass(frozen=True)
class Selection:
    """Which of the photographs found are scored.

    Attributes:
        pattern: take only names that match it (``fnmatch``, without folders), where any does.
        first: number of photographs to take, by name; 0: all.
        random: number to take at random, reproducibly by their names; 0: all.
    """

    pattern: str = ""
    first: int = 0
    random: int = 0


@dataclass(frozen=True)
class Protocol:
    """How an evaluation measures.

    Attributes:
        id: versioned name.
        text: one-line description.
        fit: ``crop`` (short side to ``size``, centre crop), ``stretch`` (both sides to ``size``) or ``native``.
        size: in pixels; 0 for ``native``.
        interpolation: of the resizing, as Pillow names it, with its antialiasing.
        gray: how originals are turned gray, see ``gray.to_gray``.
        metrics: ids of the default metrics.
        native: whether to score the network's own output instead of the image that ``colorize`` makes.
        controls: settings that it fixes, by name, such as ``sigma``; others have their defaults.
        sigmas: for the diversity metrics.
        strength: factor on chroma, 0..2, of every model; ``vividness`` 0..1, where 0.5 changes nothing.
        labels: where classes come from: ``none`` (the network decides), ``folders`` (folder names, or KEY.cls files in
            shards), ``pseudo`` (a classifier on the colour photograph), or a CSV file with the columns ``name`` and
            ``class``.
        source: the publication that it reproduces, and its numbers.
        data: which photographs to score.
    """

    id: str
    text: str
    fit: Fit = "crop"
    size: int = 256
    interpolation: str = "lanczos"
    gray: GrayRule = "luma601"
    metrics: tuple[str, ...] = ("psnr", "ssim")
    native: bool = False
    controls: Settings = field(default_factory=dict)
    sigmas: tuple[float, ...] = (0.8, 3.0, 10.0)
    strength: float = 1.0
    vividness: float = NEUTRAL
    labels: str = "none"
    source: str = ""
    data: Selection = field(default_factory=Selection)

    def record(self) -> dict[str, Any]:
        """The protocol for the report, with the value of every setting that has an effect."""
        table = dataclasses.asdict(self)
        del table["controls"]
        unset = {setting.name: setting.unset for _, setting in declared_settings()}
        table |= {name: value for name, value in self._settings().items() if value != unset[name]}
        return {key: list(value) if isinstance(value, tuple) else value for key, value in table.items()}

    def _settings(self) -> Settings:
        """The value of every setting that a protocol can fix."""
        return {name: self.controls.get(name, default) for name, default in _fixable().items()}

    def changed(self, **changes: Any) -> Protocol:
        """The protocol with other fields, named in its id and text: ``stretch256@1+gray=lightness``.

        ``controls`` are updated, not replaced. A CSV file of labels is named with a hash of its content, without its
        folder, so that ids are the same on every machine.

        Raises:
            UsageError: the file of labels cannot be read.
        """
        fields, controls = {}, {}
        said: list[str] = []
        for name, value in changes.items():
            if name == "controls":
                before = self._settings()
                controls = {key: one for key, one in value.items() if one != before[key]}
                said += [f"{key}={_shown(one)}" for key, one in controls.items()]
            elif value != getattr(self, name):
                fields[name] = value
                said.append(f"{name}={_labels_shown(value) if name == 'labels' else _shown(value)}")
        if not said:
            return self
        text = f"{self.text}; but with {', '.join(said)}"
        fields["controls"] = {**self.controls, **controls}
        return dataclasses.replace(self, id="+".join((self.id, *said)), text=text, **fields)


def load(name: str) -> Protocol:
    """Load a protocol by id (without a version: the newest), or from a TOML file.

    Raises:
        UsageError: there is no such protocol, or the file does not describe one.
    """
    known, text = SHELF.read(name)
    # The version of a user's protocol is the hash of its content.
    return _parse(text, known or f"{Path(name).stem}@{hashlib.sha256(text.encode()).hexdigest()[:8]}", known or name)


def are_labels(text: str) -> bool:
    """Whether a text is a value of ``Protocol.labels``: one of ``LABELS``, or the name of a CSV file."""
    return text in LABELS or text.endswith(".csv")


def _parse(content: str, name: str, where: str) -> Protocol:
    try:
        table = tomllib.loads(content)
        fixed = settle(
            {
                setting.keyword: table.pop(setting.name)
                for _, setting in declared_settings()
                if setting.name in table and not setting.chance
            }
        )
        data = Selection(**arguments(Selection, table.pop("data", {}), "data"))
        settings = arguments(Protocol, {"text": "", **table}, "a protocol", apart=("id", "controls", "data"))
        protocol = Protocol(id=name, controls=fixed, data=data, **settings)
    except (ValueError, UsageError) as error:
        raise UsageError(f"The protocol {where} cannot be used: {str(error).rstrip('.')}.") from error
    if not are_labels(protocol.labels):
        raise UsageError(
            f"The protocol {where} cannot be used: labels must be one of {', '.join(LABELS)}, or FILE.csv."
        )
    if protocol.interpolation not in INTERPOLATIONS:
        known = ", ".join(INTERPOLATIONS)
        raise UsageError(f"The protocol {where} cannot be used: interpolation must be one of {known}.")
    if protocol.fit != "native" and not protocol.size >= 1:
        raise UsageError(f"The protocol {where} cannot be used: size must be ≥ 1.")
    return dataclasses.replace(protocol, size=0) if protocol.fit == "native" else protocol


def _fixable() -> Settings:
    """Defaults of the settings that a protocol can fix: all but seeds, over which it averages."""
    return {setting.name: setting.default for _, setting in declared_settings() if not setting.chance}


def _shown(value: Any) -> str:
    if isinstance(value, list | dict):  # such as hints: a protocol's id has to be short
        return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:8]
    return ",".join(map(_shown, value)) if isinstance(value, tuple) else str(value)


def _labels_shown(labels: str) -> str:
    if labels in LABELS:
        return labels
    path = Path(labels)
    try:
        return f"{path.name}@{hashlib.sha256(path.read_bytes()).hexdigest()[:8]}"
    except OSError as error:
        raise UsageError(f"The classes in {path} cannot be read: {reason(error)}.") from error
