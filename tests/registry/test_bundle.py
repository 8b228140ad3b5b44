"""The bundled cards are valid, and the build fails on one that is not."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import colorcli
from colorcli.environment import bundled_models_dir
from colorcli.registry import bundle
from colorcli.registry.card import read_card
from colorcli.registry.registry import build, read_weights

ROOT = Path(__file__).parents[2]


def test_the_bundled_cards_are_complete() -> None:
    """A model without a licence cannot be used by anybody who needs to know it."""
    assert bundle.faults(bundled_models_dir()) == []


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """One bundled model with its backbone."""
    for name in ("deep-koalarization", "backbones/efficientnet-lite0-gray"):
        shutil.copytree(bundled_models_dir() / name, tmp_path / name)
    assert bundle.faults(tmp_path) == []
    return tmp_path


def test_every_empty_or_missing_field_is_found(models: Path) -> None:
    """A model was once released with an empty licence."""
    card = models / "deep-koalarization" / "model.toml"
    whole = card.read_text(encoding="utf-8")
    lines = [
        line for line in whole.splitlines() if " = " in line and not line.startswith(("width", "maps", "backbone"))
    ]
    assert len(lines) > 20
    for line in lines:
        name = line.split(" = ")[0]
        card.write_text(whole.replace(line, f'{name} = ""'), encoding="utf-8")
        if line != 'preset = "lite"' or whole.count(line) == 1:
            assert any(name in fault for fault in bundle.faults(models)), line
        card.write_text(whole.replace(f"{line}\n", ""), encoding="utf-8")
        if not line.startswith("url"):
            assert any(name in fault or "max_aspect" in fault for fault in bundle.faults(models)), line


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (('name = "deep', 'name = "sleep'), "the folder is deep-koalarization"),
        (("[source]", 'author = "me"\n\n[source]'), "there is no field size.author"),
        (('system = "deep-koalarization"', 'system = "unknown"'), "a system of the package"),
        (("steps = 2400", "steps = true"), "training.steps should be a whole number"),
        (('sha256 = "5703', 'sha256 = "6703'), "is not that of"),
        (('sha256 = "046c', 'sha256 = "146c'), "backbones.backbone does not name the weights"),
    ],
)
def test_wrong_fields_are_found(models: Path, change: tuple[str, str], said: str) -> None:
    card = models / "deep-koalarization" / "model.toml"
    before = card.read_text(encoding="utf-8")
    assert change[0] in before
    card.write_text(before.replace(*change), encoding="utf-8")
    assert any(said in fault for fault in bundle.faults(models))


def test_the_package_is_not_built_with_an_incomplete_card(tmp_path: Path) -> None:
    """The build hook itself works with only the standard library and hatchling installed."""
    pytest.importorskip("hatchling", reason="builds need hatchling")
    shutil.copytree(Path(colorcli.__file__).parent, tmp_path / "colorcli", ignore=shutil.ignore_patterns("bundled"))
    shutil.copy(ROOT / ".github" / "build_hook.py", tmp_path)
    for name in ("deep-koalarization", "backbones/efficientnet-lite0-gray"):
        shutil.copytree(bundled_models_dir() / name, tmp_path / "models" / name)
    card = tmp_path / "models" / "deep-koalarization" / "model.toml"
    code = (
        "import sys; sys.modules.update(dict.fromkeys(['numpy', 'torch', 'tomli_w', 'filelock'])); import build_hook; "
        f"build_hook.ValidateCards({str(tmp_path)!r}, {{}}, None, None, '', '').initialize('standard', {{}})"
    )

    def run() -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)

    assert run().returncode == 0, run().stderr
    whole = card.read_text(encoding="utf-8")
    licence = next(line for line in whole.splitlines() if line.startswith("licence"))
    card.write_text(whole.replace(licence, 'licence = ""'), encoding="utf-8")
    assert "licence should be a line of text, not ''" in run().stderr


@pytest.mark.parametrize("folder", sorted(path.parent for path in bundled_models_dir().glob("*/model.toml")))
def test_a_card_agrees_with_its_network(folder: Path) -> None:
    """Controls and sizes are declared in both, and ``colorize`` trusts the card."""
    card = read_card(folder)
    network = build(card, read_weights(card))
    assert card.controls == network.controls
    assert card.size == network.size_rule
