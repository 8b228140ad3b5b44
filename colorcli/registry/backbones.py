"""Weights that several models or metrics share: where they are on this machine. Imports no torch.

They are stored once, as ``<name>/weights.safetensors``, under the bundled ``models/backbones`` or the user's data
folder, with the tensor names of the library that defines the network (torchvision's or timm's ``state_dict``; for
``lpips-alex`` and ``lpips-vgg`` torchvision's ``features.N.*`` and the heads ``lin0.model.1.weight`` …
``lin4.model.1.weight`` of shape ``(1, C, 1, 1)``; for ``inception-fid`` torchvision's ``inception_v3`` with 1008
classes and no auxiliary head).
"""

from __future__ import annotations

from pathlib import Path

from colorcli.errors import ModelError
from colorcli.registry.card import WEIGHTS
from colorcli.registry.folders import bundled_models_dir, data_dir
from colorcli.registry.releases import Release, releases
from colorcli.registry.systems import near


def known() -> dict[str, Release]:
    """The backbones, generators and metric networks that can be pulled or imported, by name."""
    return {name: entry for name, entry in releases().items() if entry.kind != "model"}


def folders() -> dict[str, Path]:
    """The folders of all that is on this machine, by name; what is bundled comes before what the user installed."""
    found: dict[str, Path] = {}
    for root in (bundled_models_dir() / "backbones", user_backbones_dir()):
        if root.is_dir():
            for folder in sorted(root.iterdir()):
                if (folder / WEIGHTS).is_file():
                    found.setdefault(folder.name, folder)
    return found


def user_backbones_dir() -> Path:
    """Where pulled and imported backbones live."""
    return data_dir() / "backbones"


def locate(name: str) -> Path:
    """The weights file of a backbone, generator or metric network.

    Raises:
        ModelError: it is not on this machine; the sentence says how to get it.
    """
    found = folders()
    if name in found:
        return found[name] / WEIGHTS
    if name in known():
        entry = known()[name]
        raise ModelError(
            f"The {entry.kind} {name} ({entry.bytes / 1e6:.0f} MB) is not on this machine; fetch it with "
            f"'colorcli models pull {name}', or take it from a file with 'colorcli models import {name} FILE'."
        )
    raise ModelError(f"There is no backbone '{name}'{near(name, {*found, *known()})}")
