"""An outside network, as its author adds it: one module, one entry point, one recipe; all four commands take it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from colorcli.cli import main
from colorcli.registry.systems import systems

NETWORK = '''
import torch
from colorcli.color import tensors as colors
from colorcli.networks.colorizer import Colorizer
from colorcli.networks.size import SizeRule

class Eleventh(Colorizer):
    """Chroma from a few convolutions of lightness."""

    presets = {"lite": {"width": 8}}
    size_rule = SizeRule(size=32, multiple_of=2)

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.layers = torch.nn.Sequential(
            torch.nn.Conv2d(1, width, 3, 2, 1), torch.nn.ReLU(), torch.nn.Conv2d(width, 2, 1)
        )

    def native(self, lightness, *, z=None, class_index=None):
        return self.layers(lightness / 100)

    def target(self, rgb):
        return colors.srgb_to_lab(rgb)[:, 1:] / 100

    def to_chroma(self, answer, lightness):
        return answer * 100
'''
RECIPE = """
name = "eleventh-lite"
system = "eleventh"
preset = "lite"
every = 4

[data]
crop = 32
short_side = [32, 40]
held_back = 0.2

[[phases]]
name = "regression"
steps = 4
batch = 4
loss = "mse"
"""


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with the installed package, and its author's recipe and photographs."""
    site = tmp_path / "site"
    about = site / "eleventh-1.0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: eleventh\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[colorcli.networks]\neleventh = eleventh_network:Eleventh\n")
    (site / "eleventh_network.py").write_text(NETWORK)
    (tmp_path / "eleventh.toml").write_text(RECIPE)
    (tmp_path / "photos").mkdir()
    for number, rng in enumerate(np.random.default_rng(0).spawn(10)):
        blocks = Image.fromarray(rng.integers(0, 256, (5, 6, 3), dtype=np.uint8))
        blocks.resize((48, 40), Image.Resampling.BILINEAR).save(tmp_path / "photos" / f"{number}.png")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.setenv("COLORCLI_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("COLORCLI_CACHE_DIR", str(tmp_path / "cache"))
    systems.cache_clear()
    yield tmp_path
    systems.cache_clear()


def test_a_plugin_network_is_trained_scored_exported_and_colours(plugin: Path) -> None:
    """Whoever writes an eleventh system writes a network and a recipe, and no line of this program."""
    assert main(["train", "eleventh.toml", "--data", "photos", "-o", "run", "--device", "cpu", "--quiet"]) == 0
    assert main(["colorize", "photos", "-o", "coloured", "--model", "run", "--recolor", "--quiet"]) == 0
    outputs = sorted((plugin / "coloured").glob("*.png"))
    assert len(outputs) == 10
    assert any(np.ptp(np.asarray(Image.open(path)).astype(int), axis=2).max() > 0 for path in outputs)

    assert main(["evaluate", "photos", "--models", "run", "--metrics", "psnr", "-o", "report", "--quiet"]) == 0
    report = json.loads((plugin / "report" / "report.json").read_text())
    assert {model["name"] for model in report["models"]} >= {"gray", "run"}
    assert report["summary"]["run"]["psnr"]["mean"] > 5

    assert main(["export", "run", "-o", "eleventh.onnx"]) == 0
    assert main(["colorize", "photos", "-o", "onnx", "--model", "eleventh.onnx", "--recolor", "--quiet"]) == 0
    for path in outputs:
        ours, theirs = (np.asarray(Image.open(place)).astype(int) for place in (path, plugin / "onnx" / path.name))
        assert np.abs(ours - theirs).max() <= 1
