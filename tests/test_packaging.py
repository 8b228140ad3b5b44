"""The installed package is complete, and it is the one that tests and their processes import."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
from pathlib import Path

import colorcli
from colorcli import environment
from colorcli.cli.docs import PAGES, page_path
from colorcli.registry.registry import list_models
from colorcli.registry.systems import BUILT_IN
from colorcli.train import recipe


def test_child_processes_import_the_same_program(tmp_path: Path) -> None:
    """Otherwise tests would use two versions of colorcli: run ``pytest`` rather than ``python -m pytest``."""
    code = "import colorcli; print(colorcli.__file__)"
    child = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert Path(child.stdout.strip()).resolve() == Path(colorcli.__file__).resolve()


def test_the_package_carries_its_data() -> None:
    """A wheel without weights, recipes or pages would only work on the machine that built it."""
    bundled = {card.name for card in list_models()}
    assert {point.name for point in BUILT_IN} <= bundled
    assert (
        environment.bundled_models_dir() / "backbones" / "efficientnet-lite0-gray" / "weights.safetensors"
    ).is_file()
    assert len(recipe.SHELF.names()) > 40
    for page in PAGES:
        assert page_path(page).read_text(encoding="utf-8").startswith("# ")
    package = Path(colorcli.__file__).parent
    for name in ("py.typed", "registry/releases.toml", "report/assets/report.css", "sessions/imagenet_classes.txt"):
        assert (package / name).is_file(), name


def test_the_package_installs_nothing_else() -> None:
    """Otherwise a folder called tests would be installed into users' site-packages."""
    distribution = importlib.metadata.distribution("colorcli")
    allowed = {"colorcli", f"colorcli-{distribution.version}.dist-info"}
    for file in distribution.files or ():
        assert file.parts[0] in allowed or file.parts[0] == ".." or file.suffix == ".pth", file


def test_the_weights_stay_within_what_was_agreed() -> None:
    """Everyone downloads the repository or the wheel in full: at most 90 MiB of weights, and 25 MiB per file."""
    sizes = [path.stat().st_size / 2**20 for path in environment.bundled_models_dir().rglob("*") if path.is_file()]
    assert max(sizes) <= 25
    assert sum(sizes) <= 90
