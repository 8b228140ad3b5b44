"""Two small networks that are exported in a moment, registered as an installed package's."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from colorcli.files import file_sha256
from colorcli.registry.card import WEIGHTS, ModelCard, read_card, write_card
from colorcli.registry.systems import systems

NETWORK = '''
import torch
from colorcli.networks.colorizer import Colorizer, RGBColorizer
from colorcli.networks.size import SizeRule

class Small(Colorizer):
    """Chroma from two convolutions, z and a class; without a class, one is derived from the lightness."""
    controls = ("z", "class_index")
    presets = {"lite": {}}
    size_rule = SizeRule(size=64, multiple_of=16)

    def __init__(self, scale: float = 1.0) -> None:
        super().__init__()
        self.scale = scale
        self.down = torch.nn.Conv2d(1, 16, 3, 2, 1)
        self.up = torch.nn.Conv2d(16, 2, 3, 1, 1)

    def chroma(self, lightness, *, z=None, class_index=None):
        own = torch.stack([lightness.mean((1, 2, 3)), lightness.amax((1, 2, 3)) / 2], 1).argmax(1)
        chosen = own if class_index is None else torch.where(class_index >= 0, class_index, own)
        out = 30 * self.up(torch.relu(self.down(lightness / 100))) * self.scale
        out = out + (chosen.float() % 7)[:, None, None, None]
        return out if z is None else out + z[:, :2, None, None]

class Picture(RGBColorizer):
    """RGB from one convolution, outside 0..1 in places."""
    presets = {"lite": {}}
    size_rule = SizeRule(size=64, multiple_of=16, enlarge="bilinear-8-rgb")

    def __init__(self) -> None:
        super().__init__()
        self.conv = torch.nn.Conv2d(1, 3, 3, 1, 1)

    def native(self, lightness, **_):
        return 0.5 + 2 * self.conv(lightness / 100)
'''


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModelCard]:
    """The card of a model of the plug-in system ``small``; data and cache folders are empty."""
    yield from _installed("small", tmp_path, monkeypatch)


@pytest.fixture
def picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModelCard]:
    """The same for ``picture``, whose RGB is enlarged."""
    yield from _installed("picture", tmp_path, monkeypatch)


def _installed(system: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModelCard]:
    site = tmp_path / "site"
    (site / "small-1.dist-info").mkdir(parents=True)
    (site / "small-1.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: small\nVersion: 1\n")
    (site / "small-1.dist-info" / "entry_points.txt").write_text(
        "[colorcli.networks]\nsmall = small_network:Small\npicture = small_network:Picture\n"
    )
    (site / "small_network.py").write_text(NETWORK)
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.delitem(sys.modules, "small_network", raising=False)
    monkeypatch.setenv("COLORCLI_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("COLORCLI_CACHE_DIR", str(tmp_path / "cache"))
    systems.cache_clear()
    torch.manual_seed(0)
    network = systems().network_class(system)()
    folder = tmp_path / "run"
    folder.mkdir()
    save_file(network.state_dict(), folder / WEIGHTS)
    card = ModelCard(
        system,
        system,
        file_sha256(folder / WEIGHTS),
        tag="lite",
        licence="CC0",
        size=network.size_rule,
        controls=network.controls,
    )
    write_card(card, folder)
    yield replace(read_card(folder), reference=str(folder))
    systems.cache_clear()
