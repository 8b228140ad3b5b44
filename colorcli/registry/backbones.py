"""Weights that several models or metrics share. Imports no torch.

They are stored once, as ``<name>/weights.safetensors``, under the bundled ``models/backbones`` or the user's data
folder, with the tensor names of the library that defines the network (torchvision's or timm's ``state_dict``; for
``lpips-alex`` and ``lpips-vgg`` torchvision's ``features.N.*`` and the heads ``lin0.model.1.weight`` …
``lin4.model.1.weight`` of shape ``(1, C, 1, 1)``; for ``inception-fid`` torchvision's ``inception_v3`` with 1008
classes and no auxiliary head).
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tomli_w

from colorcli.environment import bundled_models_dir, data_dir
from colorcli.errors import ModelError
from colorcli.files import write_atomically
from colorcli.registry.card import WEIGHTS, read_hashed
from colorcli.registry.releases import Release, releases
from colorcli.text import near

CARD = "backbone.toml"

# Trained with colorcli, by recipes of the same names.
TRAINED = {"efficientnet-lite0-gray": "backbone", "biggan-lite-64": "generator"}


@dataclass(frozen=True)
class Backbone:
    """The content of ``backbone.toml`` beside the weights.

    Attributes:
        name: its name in models and commands.
        sha256: hexadecimal SHA-256 of the weights file when it was made; empty without ``backbone.toml``.
        kind: ``backbone``, ``generator``, ``discriminator`` or ``metric network``.
        title: one-line description.
        licence: one line.
        files: SHA-256 of its source files, by name.
        training: if trained with colorcli: recipe, photographs, steps and so on.
        folder: the folder that holds it.
        origin: if imported, whether it is the published file; empty if unchecked.
    """

    name: str
    sha256: str = ""
    kind: str = "backbone"
    title: str = ""
    licence: str = ""
    files: dict[str, str] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)
    folder: Path | None = None
    origin: str = ""

    def to_dict(self) -> dict[str, Any]:
        """The content of ``backbone.toml``."""
        return {
            "name": self.name,
            "kind": self.kind,
            "title": self.title,
            "licence": self.licence,
            "weights": {"sha256": self.sha256},
            "files": dict(self.files),
            "training": dict(self.training),
            **({"origin": self.origin} if self.origin else {}),
        }


def known() -> dict[str, Release]:
    """The backbones, generators and metric networks that can be pulled or imported, by name."""
    return {name: entry for name, entry in releases().items() if entry.kind != "model"}


def folders() -> dict[str, Path]:
    """Folders of all installed backbones, by name; the user's take precedence over bundled ones."""
    found: dict[str, Path] = {}
    for root in _roots():
        if root.is_dir():
            for folder in sorted(root.iterdir()):
                if (folder / WEIGHTS).is_file():
                    found.setdefault(folder.name, folder)
    return found


def _roots() -> tuple[Path, Path]:
    return user_backbones_dir(), bundled_models_dir() / "backbones"


def user_backbones_dir() -> Path:
    """Folder of pulled and imported backbones."""
    return data_dir() / "backbones"


def locate(name: str, sha256: str = "") -> Path:
    """Find the weights file of a backbone, generator or metric network.

    Args:
        name: the backbone's name.
        sha256: chooses between a bundled backbone and one of the same name that the user has installed. New networks
            are built on the user's; a model runs with the one that its card names.

    Raises:
        ModelError: it is not on this machine; the message says how to get it.
    """
    for root in _roots():
        if sha256 and (root / name / WEIGHTS).is_file() and read_card(root / name).sha256 == sha256:
            return root / name / WEIGHTS
    found = folders()
    if name in found:
        return found[name] / WEIGHTS
    if name in known():
        raise ModelError(known()[name].absent())
    if name in TRAINED:
        raise ModelError(
            f"The {TRAINED[name]} {name} is not on this machine; train it with 'colorcli train {name} --data DATA', "
            f"then install it with 'colorcli models import {name} runs/{name}'."
        )
    raise ModelError(f"There is no backbone '{name}'{near(name, {*found, *known()})}")


def installed() -> dict[str, Backbone]:
    """All installed backbones, by name.

    Raises:
        ModelError: a ``backbone.toml`` cannot be read.
    """
    return {name: read_card(folder) for name, folder in folders().items()}


def read_card(folder: Path) -> Backbone:
    """Read ``backbone.toml`` in ``folder``.

    Raises:
        ModelError: there is a ``backbone.toml`` that cannot be read.
    """
    path = folder / CARD
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
        return Backbone(
            name=str(table["name"]),
            sha256=str(table["weights"]["sha256"]),
            kind=str(table["kind"]),
            title=str(table["title"]),
            licence=str(table["licence"]),
            files={str(name): str(sha256) for name, sha256 in table.get("files", {}).items()},
            training=dict(table.get("training", {})),
            folder=folder,
            origin=str(table.get("origin", "")),
        )
    except FileNotFoundError:
        return Backbone(folder.name, folder=folder)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"{path} cannot be read ({error}); install {folder.name} again.") from error


def write_card(backbone: Backbone, folder: Path) -> None:
    """Write ``backbone.toml`` into ``folder``.

    Raises:
        OSError: the folder cannot be written.
    """
    write_atomically(folder / CARD, tomli_w.dumps(backbone.to_dict()).encode("utf-8"))


def verify(name: str) -> None:
    """Check the weights of a backbone against the SHA-256 recorded when they were made.

    Raises:
        ModelError: it is not on this machine, cannot be read or was changed, or no SHA-256 was recorded.
    """
    path = locate(name)
    recorded, (_, found) = read_card(path.parent).sha256, read_hashed(path)
    if not recorded:
        raise ModelError(f"No SHA-256 was recorded for {name}: there is no {CARD} beside {path} (SHA-256 {found}).")
    if found != recorded:
        raise ModelError(
            f"The weights of {name} have changed ({path}: SHA-256 {found[:12]}…, recorded {recorded[:12]}…); "
            f"install them again with 'colorcli models pull {name} --overwrite'."
        )
