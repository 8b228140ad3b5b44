"""A network in another package, added as CONTRIBUTING describes, works with all commands."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from colorcli.cli import main
from colorcli.cli.docs import page_path
from colorcli.registry.releases import releases
from colorcli.registry.systems import systems

PAGE = page_path("contributing").read_text(encoding="utf-8")
SECTION = PAGE.split("## A system of your own, from start to end")[1]


def _block(language: str, number: int = 0) -> str:
    return re.findall(rf"^```{language}\n(.*?)^```", SECTION, re.MULTILINE | re.DOTALL)[number]


def _commands() -> list[list[str]]:
    lines = [shlex.split(line) for line in _block("sh").splitlines()]
    return [words[1:] for words in lines if words[0] == "colorcli"]


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with the installed package, and its author's recipe and photographs."""
    site = tmp_path / "site"
    about = site / "eleventh-1.0.dist-info"
    about.mkdir(parents=True)
    groups = tomllib.loads(_block("toml"))["project"]["entry-points"]
    points = [f"[{group}]\n{name} = {value}\n" for group, table in groups.items() for name, value in table.items()]
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: eleventh\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("".join(points))
    (site / "eleventh_releases.toml").write_text(_block("toml", 2))
    (site / "eleventh_network.py").write_text(_block("python"))
    (tmp_path / "eleventh").mkdir()
    (tmp_path / "eleventh" / "eleventh.toml").write_text(_block("toml", 1))
    (tmp_path / "photos").mkdir()
    (tmp_path / "old").mkdir()
    for number, rng in enumerate(np.random.default_rng(0).spawn(10)):
        blocks = Image.fromarray(rng.integers(0, 256, (5, 6, 3), dtype=np.uint8))
        photograph = blocks.resize((48, 40), Image.Resampling.BILINEAR)
        photograph.save(tmp_path / "photos" / f"{number}.png")
        photograph.convert("L").save(tmp_path / "old" / f"{number}.png")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.setenv("COLORCLI_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("COLORCLI_CACHE_DIR", str(tmp_path / "cache"))
    # Another test may have imported a module of that name from another folder.
    sys.modules.pop("eleventh_network", None)
    systems.cache_clear()
    releases.cache_clear()
    yield tmp_path
    systems.cache_clear()
    releases.cache_clear()


@pytest.mark.slow
def test_a_plugin_network_is_trained_scored_exported_and_colours(plugin: Path) -> None:
    """Authors of an eleventh system can follow that page without changing this program."""
    commands = _commands()
    assert [words[0] for words in commands] == ["train", "colorize", "evaluate", "export", "colorize"]
    for words in commands:
        assert main(words) == 0, words
    outputs = sorted((plugin / "coloured").glob("*.png"))
    assert len(outputs) == 10
    assert any(np.ptp(np.asarray(Image.open(path)).astype(int), axis=2).max() > 0 for path in outputs)
    report = json.loads((plugin / "report" / "report.json").read_text())
    assert {model["name"] for model in report["models"]} >= {"gray", "run"}
    assert report["summary"]["run"]["psnr"]["mean"] > 5
    for path in outputs:
        ours, theirs = (np.asarray(Image.open(place)).astype(int) for place in (path, plugin / "onnx" / path.name))
        assert np.abs(ours - theirs).max() <= 1


@pytest.mark.slow
def test_a_plugins_checkpoint_has_a_road(plugin: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Weights under another program's names are listed, imported, verified, used to colour, and exported."""
    assert main(["models", "list", "--all", "--json"]) == 0
    listed = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [one["licence"] for one in listed if one["name"] == "eleventh"] == ["CC0"]
    state = {
        "module.first.weight": torch.randn(8, 1, 3, 3), "module.first.bias": torch.randn(8),
        "module.last.weight": torch.randn(2, 8, 1, 1), "module.last.bias": torch.randn(2), "head.bias": torch.ones(3),
    }  # fmt: skip
    torch.save({"net": state}, "eleventh.pth")
    assert main(["models", "import", "eleventh", "eleventh.pth", "--json"]) == 0
    card = json.loads(capsys.readouterr().out)
    assert (card["reference"], card["preset"], card["source"]["paper"]) == (
        "eleventh@official", "lite", "Nobody, Colours, 2026"
    )  # fmt: skip
    assert main(["models", "verify", "eleventh@official"]) == 0
    assert main(["colorize", "old", "-o", "coloured", "--model", "eleventh", "--quiet"]) == 0
    assert len(list((plugin / "coloured").glob("*.png"))) == 10
    assert main(["export", "eleventh", "-o", "eleventh.onnx"]) == 0

    Path("hints.json").write_text('[{"x": 0.5, "y": 0.5, "color": "#c03020", "radius": 0.1}]')
    asked = ["--hints", "hints.json", "--reference", "photos/1.png", "--uncertainty", "efficientnet"]
    assert main(["colorize", "old/0.png", "-o", "steered", "--model", "eleventh", *asked, "--quiet"]) == 0
    red, green, blue = np.asarray(Image.open("steered/0.png"))[20, 24].astype(int)
    assert red > 20 + max(green, blue)
    record = json.loads(Path("steered/.colorcli/journal.jsonl").read_text().splitlines()[-2])
    assert record["controls"].keys() == {"hints", "palette"}
    assert record["uncertainty"] > 0 and record["uncertainty_ground"].startswith("models: efficientnet@lite ")

    torch.save({"net": state | {"layers.0.bias": torch.ones(8)}}, "twice.pth")
    assert main(["models", "import", "eleventh", "twice.pth", "--tag", "x"]) == 6
    assert "layers.0.bias twice" in capsys.readouterr().err
    (plugin / "site" / "eleventh_releases.toml").write_text(_block("toml", 2).replace("[eleventh]", "[bigcolor]"))
    releases.cache_clear()
    assert main(["models", "show", "bigcolor"]) == 6
    assert "eleventh and another package both declare released files of bigcolor" in capsys.readouterr().err


WARM = """
import numpy as np
import torch
from colorcli.networks.colorizer import Colorizer
from colorcli.networks.size import SizeRule
from colorcli.pipeline.controls import Control, Setting

WARMTH = Setting("warmth", "--warmth", float, 0.0, "How much warmer.", unset=0.0, low=-50, high=50, title="Warmth")
CONTROL = Control(
    "warmth", "warmth", (1,), "float32", 0, (WARMTH,), lambda settings, place: np.float32([settings["warmth"]])
)

class Warm(Colorizer):
    controls = ("warmth",)
    presets = {"lite": {}}
    size_rule = SizeRule(size=64, multiple_of=16)

    def __init__(self) -> None:
        super().__init__()
        self.bias = torch.nn.Parameter(torch.full((2,), 8.0))

    def native(self, lightness, *, warmth=None, **_):
        out = self.bias[None, :, None, None] + 0 * lightness
        return out if warmth is None else out + warmth[:, :1, None, None]
"""

USE = """
import json, sys
from pathlib import Path
import numpy as np, torch
from PIL import Image
from safetensors.torch import save_file
import colorcli
from colorcli.cli import main
from colorcli.files import file_sha256
from colorcli.registry.card import WEIGHTS, ModelCard, write_card
from colorcli.registry.systems import systems
network, run = systems().network_class("warm")(), Path("run")
run.mkdir()
save_file(network.state_dict(), run / WEIGHTS)
size, names = network.size_rule, network.controls
write_card(ModelCard("warm", "warm", file_sha256(run / WEIGHTS), "lite", licence="CC0", size=size, controls=names), run)
Path("old").mkdir()
Image.fromarray(np.random.default_rng(0).integers(60, 180, (40, 48), np.uint8)).save("old/a.png")
codes = [
    main(["colorize", "old", "-o", "plain", "--model", "run", "-q"]),
    main(["colorize", "old", "-o", "warm", "--model", "run", "--warmth", "30", "-q"]),
    main(["colorize", "old", "-o", "warm", "--model", "run", "--warmth", "30", "-q"]),
    main(["colorize", "old", "-o", "warm", "--model", "run", "--warmth", "31", "-q"]),
    main(["export", "run", "-o", "warm.onnx"]),
    main(["colorize", "old", "-o", "onnx", "--model", "warm.onnx", "--warmth", "30", "-q"]),
    main(["colorize", "old", "-o", "much", "--model", "run", "--warmth", "99", "-q"]),
    main(["colorize", "old", "-o", "no", "--model", "efficientnet", "--warmth", "30", "-q"]),
]
pixels = colorcli.load("run").colorize("old/a.png", warmth=30)
read = lambda name: np.asarray(Image.open(f"{name}/a.png")).astype(int)
lines = [json.loads(line) for line in Path("warm/.colorcli/journal.jsonl").read_text().splitlines()]
said = {
    "codes": codes,
    "warmer": float((read("warm") - read("plain"))[..., 0].mean()),
    "python": int(np.abs(read("warm") - pixels).max()),
    "onnx": int(np.abs(read("warm") - read("onnx")).max()),
    "journal": [line["controls"] for line in lines if line["event"] == "photo.done"],
}
Path("said.json").write_text(json.dumps(said))
"""


@pytest.mark.slow
def test_a_plugins_own_control_is_an_option_like_every_other(tmp_path: Path) -> None:
    """Otherwise plug-ins could only have the controls of the built-in networks."""
    about = tmp_path / "site" / "warm-1.0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: warm\nVersion: 1.0\n")
    points = "[colorcli.networks]\nwarm = warm_network:Warm\n[colorcli.controls]\nwarmth = warm_network:CONTROL\n"
    (about / "entry_points.txt").write_text(points)
    (tmp_path / "site" / "warm_network.py").write_text(WARM)
    folders = {f"COLORCLI_{name}_DIR": str(tmp_path / name.lower()) for name in ("DATA", "CACHE")}
    path = os.pathsep.join([str(tmp_path / "site"), *sys.path])
    subprocess.run(
        [sys.executable, "-c", USE], check=True, cwd=tmp_path, env={**os.environ, **folders, "PYTHONPATH": path}
    )
    said = json.loads((tmp_path / "said.json").read_text())
    # The last three: another value than the output's, a value out of range, and a model without this control.
    assert said["codes"] == [0, 0, 0, 3, 0, 0, 2, 2]
    assert said["warmer"] > 20 and said["python"] == 0 and said["onnx"] <= 1
    assert said["journal"] == [{"warmth": 30.0}]
