"""A user's folders, a bundle and a plug-in network, all made up and in a temporary folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from colorcli import environment
from colorcli.files import file_sha256
from colorcli.registry import backbones
from colorcli.registry.card import WEIGHTS, ModelCard, write_card
from colorcli.registry.systems import systems

TINY = '''
import torch
from colorcli.networks.colorizer import Colorizer
from colorcli.networks.size import SizeRule

class Tiny(Colorizer):
    """A plug-in: chroma is one convolution of lightness, plus the first two numbers of z."""
    controls = ("z",)
    presets = {"paper": {}}
    size_rule = SizeRule(size=32, multiple_of=8)

    def __init__(self, width: int = 2) -> None:
        super().__init__()
        self.conv = torch.nn.Conv2d(1, width, 1)

    def chroma(self, lightness, *, z=None, class_index=None):
        print("noise from a plug-in")
        out = self.conv(lightness / 100)
        return out if z is None else out + z[:, :2, None, None]

class Borrower(Colorizer):
    """A plug-in whose encoder is frozen and shared: chroma is a convolution of the backbone's features."""
    presets = {"paper": {}}
    size_rule = SizeRule(size=32, multiple_of=8)

    def __init__(self) -> None:
        super().__init__()
        self.encoder = torch.nn.Sequential(torch.nn.Conv2d(1, 3, 1), torch.nn.BatchNorm2d(3))
        self.head = torch.nn.Conv2d(3, 2, 1)
        self.freeze("encoder", "resnet50")

    def chroma(self, lightness, *, z=None, class_index=None):
        return self.head(self.encoder(lightness / 100))

class NotANetwork:
    pass
'''


@pytest.fixture
def user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The data folder of a user who has installed nothing yet."""
    data = tmp_path / "data"
    monkeypatch.setenv("COLORCLI_DATA_DIR", str(data))
    monkeypatch.delenv("COLORCLI_OFFLINE", raising=False)
    return data


@pytest.fixture
def bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, user: Path) -> Path:
    """An empty folder in place of the bundled models."""
    package = tmp_path / "package"
    (package / "bundled").mkdir(parents=True)
    monkeypatch.setattr(environment, "_PACKAGE", package)
    return package / "bundled"


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The plug-in systems ``tiny`` and ``borrower``, installed through a package's entry points."""
    site = tmp_path / "site"
    points = "tiny = tiny_network:Tiny\nborrower = tiny_network:Borrower"
    install_plugin(site, "tiny-plugin", points, {"tiny_network.py": TINY})
    monkeypatch.syspath_prepend(str(site))
    systems.cache_clear()
    yield "tiny"
    systems.cache_clear()


def install_plugin(site: Path, package: str, entry_points: str, modules: dict[str, str]) -> None:
    """Put modules and a package's metadata into ``site``."""
    metadata = site / f"{package.replace('-', '_')}-1.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1\n")
    (metadata / "entry_points.txt").write_text(f"[colorcli.networks]\n{entry_points}\n")
    for name, text in modules.items():
        (site / name).write_text(text)


def make_model(folder: Path, tensors: dict[str, torch.Tensor] | None = None, **changes: object) -> ModelCard:
    """Write a model directory with the weights of a tiny network; returns its card."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = tensors or {"conv.weight": torch.tensor([1.0, -2.0]).reshape(2, 1, 1, 1), "conv.bias": torch.zeros(2)}
    save_file(weights, folder / WEIGHTS)
    facts = {"name": "tiny", "tag": "lite", "system": "tiny", "controls": ("z",), "licence": "CC0", "version": "3"}
    card = ModelCard(**{**facts, "weights_sha256": file_sha256(folder / WEIGHTS), **changes})  # type: ignore[arg-type]
    write_card(card, folder)
    return card


def make_backbone(root: Path, name: str = "resnet50", scale: float = 1.0) -> Path:
    """Write weights under ``root/name``: a convolution and a batch norm of three channels, a head; returns the path."""
    folder = root / name
    folder.mkdir(parents=True)
    norm = torch.nn.BatchNorm2d(3)
    norm.running_mean = torch.tensor([1.0, 2.0, 3.0])
    tensors = {
        "features.0.weight": torch.full((3, 1, 1, 1), scale),
        "features.0.bias": torch.zeros(3),
        **{f"features.1.{key}": value for key, value in norm.state_dict().items()},
        "fc.weight": torch.ones(5, 3),
    }
    save_file(tensors, folder / WEIGHTS)
    sha256 = file_sha256(folder / WEIGHTS)
    backbones.write_card(backbones.Backbone(name, sha256, licence="CC0", title="toy"), folder)
    return folder / WEIGHTS
