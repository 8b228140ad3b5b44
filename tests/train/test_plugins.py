"""An objective and a loss term from another package."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from colorcli.errors import UsageError
from colorcli.train import plugins
from colorcli.train import recipe as recipes
from colorcli.train.loop import run_recipe

TOY = str(Path(__file__).with_name("toy.toml"))
CODE = """
from colorcli.train.objectives.standard import Standard

CALLS = []

def redness(made, truth):
    CALLS.append(tuple(made.shape))
    return (made[:, 0] - truth[:, 0]).abs().mean()

class Halved(Standard):
    def _native(self, phase, answers, rgb, small):
        return {name: value / 2 for name, value in super()._native(phase, answers, rgb, small).items()}
"""


@pytest.fixture
def outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An installed package that provides both."""
    about = tmp_path / "site" / "outside-1.0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: outside\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(
        "[colorcli.objectives]\nhalved = outside_training:Halved\n"
        "[colorcli.losses]\nredness = outside_training:redness\nbroken = outside_training:nothing\n"
    )
    (about.parent / "outside_training.py").write_text(CODE)
    monkeypatch.syspath_prepend(str(about.parent))
    plugins.points.cache_clear()
    yield
    plugins.points.cache_clear()


def _losses(photos: Path, folder: Path, *sets: str) -> list[dict[str, float]]:
    run_recipe(recipes.load(TOY, list(sets)), [photos], folder, device="cpu")
    records = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [record for record in records if "loss" in record]


@pytest.mark.slow
@pytest.mark.usefixtures("outside")
def test_an_outside_objective_and_an_outside_term_are_trained_by(photos: Path, tmp_path: Path) -> None:
    """Researchers can add a loss without changing this program."""
    plain = _losses(photos, tmp_path / "plain")
    halved = _losses(photos, tmp_path / "halved", 'objective="halved"')
    assert halved[0]["native"] < 0.75 * plain[0]["native"]
    added = _losses(photos, tmp_path / "added", "phases.0.weights.redness=2.0")
    for record in added:
        assert record["loss"] == pytest.approx(record["native"] + 2 * record["redness"], rel=1e-3)


@pytest.mark.usefixtures("outside")
def test_what_cannot_be_imported_or_taken_is_named(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"'broken' of colorcli\.losses .* cannot be imported"):
        _losses(photos, tmp_path / "run", "phases.0.weights.broken=1.0")
    with pytest.raises(UsageError, match=r"There is no 'quartered' in colorcli\.objectives; there are: .*halved"):
        _losses(photos, tmp_path / "run", 'objective="quartered"')
