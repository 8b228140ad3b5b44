"""The model card: ``model.toml`` beside ``weights.safetensors``."""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tomli_w

from colorcli.errors import ModelError
from colorcli.fields import fits, in_words, shown
from colorcli.files import is_sha256, write_atomically
from colorcli.networks.size import ENLARGEMENTS, OURS, RESIZES, SMOOTH, SizeRule
from colorcli.text import reason

CARD = "model.toml"
WEIGHTS = "weights.safetensors"

_SIZE: dict[str, type] = {
    "size": int, "multiple_of": int, "fixed": bool, "max_aspect": float, "stretch": bool, "resize": str, "enlarge": str
}  # fmt: skip


@dataclass(frozen=True)
class Shared:
    """Shared weights: the backbone's name and the SHA-256 of its weights file."""

    name: str
    sha256: str


@dataclass(frozen=True)
class ModelCard:
    """A model's metadata.

    Attributes:
        name: name of the model as a user types it, such as ``bigcolor``.
        system: registered name of the network.
        weights_sha256: hexadecimal SHA-256 of the model's own weights file.
        tag: which weights of that name, such as ``lite`` or ``official``; empty for a run folder without one.
        preset: the preset that ``network`` comes from, for information only.
        version: version of the weights.
        licence: one line, which reflects where the training photographs came from.
        network: keyword arguments of the network's constructor.
        size: the input sizes that the network takes.
        controls: names of its controls; see ``pipeline.controls``.
        source: paper, URL, and source files.
        training: data, command, steps, metrics.
        backbones: frozen parts whose weights are stored elsewhere, by part.
        weights_dtype: type of the stored tensors, which are converted to float32.
        folder: folder of the card; None if not yet written.
        weights_file: name of the weights file in that folder.
        reference: name for users: ``name@tag``, or the path of a run folder or file.
    """

    name: str
    system: str
    weights_sha256: str
    tag: str = ""
    preset: str = ""
    version: str = "1"
    licence: str = ""
    network: dict[str, Any] = field(default_factory=dict)
    size: SizeRule = field(default_factory=SizeRule)
    controls: tuple[str, ...] = ()
    source: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)
    backbones: dict[str, Shared] = field(default_factory=dict)
    weights_dtype: str = "float32"
    folder: Path | None = None
    weights_file: str = WEIGHTS
    reference: str = ""

    @property
    def exact_name(self) -> str:
        """``name@tag``, or the name alone if there is no tag."""
        return f"{self.name}@{self.tag}" if self.tag else self.name

    @property
    def is_onnx(self) -> bool:
        """Whether the model is an exported ONNX file, which can only be run."""
        return self.weights_file.lower().endswith(".onnx")

    @property
    def weights(self) -> Path:
        """The path of the weights.

        Raises:
            ModelError: the card has not been written anywhere.
        """
        if self.folder is None:
            raise ModelError(f"Model {self.exact_name} has no folder yet.")
        return self.folder / self.weights_file

    def to_dict(self) -> dict[str, Any]:
        """The content of ``model.toml``."""
        size: dict[str, Any] = {
            "size": self.size.size, "multiple_of": self.size.multiple_of, "fixed": self.size.fixed
        }  # fmt: skip
        size["max_aspect"] = self.size.max_aspect
        if self.size.stretch:
            size["stretch"] = True
        if self.size.resize != OURS:
            size["resize"] = self.size.resize
        if self.size.enlarge != SMOOTH:
            size["enlarge"] = self.size.enlarge
        backbones = {part: {"name": shared.name, "sha256": shared.sha256} for part, shared in self.backbones.items()}
        return {
            "name": self.name,
            "tag": self.tag,
            "system": self.system,
            "preset": self.preset,
            "version": self.version,
            "licence": self.licence,
            "controls": list(self.controls),
            "network": dict(self.network),
            "size": size,
            "source": dict(self.source),
            "training": dict(self.training),
            **({"backbones": backbones} if backbones else {}),
            "weights": {"sha256": self.weights_sha256, "dtype": self.weights_dtype},
        }


def read_card(folder: Path) -> ModelCard:
    """Read the card in ``folder``.

    Raises:
        ModelError: there is no card, or it cannot be read or used.
    """
    path = folder / CARD
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ModelError(f"There is no {CARD} in {folder}.") from error
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ModelError(f"The model card {path} cannot be read: {reason(error)}.") from error
    try:
        return _from_dict(table, folder)
    except (KeyError, TypeError, ValueError) as error:
        wrong = f"it lacks {error}" if isinstance(error, KeyError) else str(error)
        raise ModelError(f"The model card {path} cannot be used: {wrong}.") from error


def write_card(card: ModelCard, folder: Path) -> Path:
    """Write ``card`` into ``folder``, which must exist, replacing any card there; returns the path written.

    Raises:
        OSError: the folder cannot be written.
        TypeError: the card holds a value that TOML cannot express, such as None.
    """
    target = folder / CARD
    write_atomically(target, tomli_w.dumps(card.to_dict()).encode("utf-8"))
    return target


def read_hashed(path: Path) -> tuple[bytes, str]:
    """A weights file's bytes and their hexadecimal SHA-256; read once, so that the checked bytes are those used.

    Raises:
        ModelError: it cannot be read.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ModelError(f"The weights {path} cannot be read: {error.strerror or error}.") from error
    return content, hashlib.sha256(content).hexdigest()


def _from_dict(table: Mapping[str, Any], folder: Path) -> ModelCard:
    weights = _section(table, "weights")
    card = ModelCard(
        name=_text(table, "name"),
        system=_text(table, "system"),
        tag=_text(table, "tag", ""),
        preset=_text(table, "preset", ""),
        version=_text(table, "version", "1"),
        licence=_text(table, "licence", ""),
        network=_section(table, "network"),
        size=_size(_section(table, "size")),
        controls=tuple(_strings(table.get("controls", []))),
        source=_section(table, "source"),
        training=_section(table, "training"),
        backbones=_backbones(_section(table, "backbones")),
        weights_sha256=_text(weights, "sha256").lower(),
        weights_dtype=_text(weights, "dtype", "float32"),
        folder=folder,
    )
    if not card.name or set(card.name) & set("@/\\"):
        raise ValueError(f"'{card.name}' cannot be a model's name")
    if not is_sha256(card.weights_sha256):
        raise ValueError("weights.sha256 is not a SHA-256")
    return card


def _backbones(table: Mapping[str, Any]) -> dict[str, Shared]:
    shared = {}
    for part in table:
        entry = _section(table, part)
        shared[part] = Shared(_text(entry, "name"), _text(entry, "sha256").lower())
        if not is_sha256(shared[part].sha256):
            raise ValueError(f"backbones.{part}.sha256 is not a SHA-256")
    return shared


def _text(table: Mapping[str, Any], key: str, default: str | None = None) -> str:
    value = table[key] if default is None else table.get(key, default)
    if not isinstance(value, str):
        raise TypeError(f"'{key}' should be text, not {value!r}")
    return value


def _strings(value: Any) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise TypeError(f"'controls' should be a list of names, not {value!r}")
    return value


def _section(table: Mapping[str, Any], key: str) -> dict[str, Any]:
    value = table.get(key, {})
    if not isinstance(value, dict):
        raise TypeError(f"'{key}' should be a section")
    return value


def _size(table: Mapping[str, Any]) -> SizeRule:
    for key, value in table.items():
        if key not in _SIZE:
            raise ValueError(f"there is no size.{key}")
        if not fits(value, _SIZE[key]):
            raise TypeError(f"size.{key} should be {in_words(_SIZE[key])}, not {shown(value)}")
    rule = SizeRule(**{key: _SIZE[key](value) for key, value in table.items()})
    if min(rule.size, rule.multiple_of) < 1 or rule.max_aspect < 1:
        raise ValueError("sizes start at 1")
    for key, value, known in (("resize", rule.resize, RESIZES), ("enlarge", rule.enlarge, ENLARGEMENTS)):
        if value not in known:
            raise ValueError(f"there is no size.{key} '{value}'")
    return rule
