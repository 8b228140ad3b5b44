"""Pseudo-labels: the classes that the teacher assigns to the training photographs."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from colorcli.errors import ModelError
from colorcli.networks.backbones import EfficientNetLite0
from colorcli.registry.teacher import load_teacher
from colorcli.train import recipe as recipes
from colorcli.train.data import PhotoSet, centre
from colorcli.train.labels import pseudo_labelled
from colorcli.train.objectives.base import Setup
from colorcli.train.recipe import Recipe


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLORCLI_CACHE_DIR", str(tmp_path / "cache"))


def _setup(recipe: Recipe, photos: Path, seed: int) -> Setup:
    setup = Setup(recipe, PhotoSet([photos], held_back=0))
    torch.manual_seed(seed)
    setup.__dict__["teacher"] = EfficientNetLite0(in_channels=3).eval()
    return setup


def test_each_photograph_has_the_teachers_answer(recipe: Recipe, photos: Path) -> None:
    """With another photograph's class, the generator would learn the wrong colours."""
    (photos / "10.png").write_bytes(b"not a picture")
    setup = _setup(recipe, photos, 0)
    labels = {entry.name: entry.label for entry in pseudo_labelled(setup, setup.photos.train)}
    assert len(labels) == 30
    assert labels["10.png"] == -1
    for entry in setup.photos.train[20::4]:
        image = setup.photos.read(entry, 160)
        assert image is not None
        with torch.no_grad():
            logits = setup.teacher.logits(setup.teacher(torch.from_numpy(centre(image, 160).rgb)[None]))
        assert labels[entry.name] == logits.argmax()


def test_a_teacher_is_asked_once_and_another_one_again(
    recipe: Recipe, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = _setup(recipe, photos, 0)
    labelled = pseudo_labelled(first, first.photos.train)
    other = _setup(recipe, photos, 1)
    assert pseudo_labelled(other, other.photos.train) != labelled
    monkeypatch.setattr(first.photos, "read", lambda _: pytest.fail("asked twice"))
    assert pseudo_labelled(first, first.photos.train) == labelled


def test_a_file_that_is_no_teacher_is_a_sentence(tmp_path: Path) -> None:
    """PyTorch's own message suggests loading it unsafely, which would run any code in it."""
    (tmp_path / "teacher.pth").write_text("not tensors")
    with pytest.raises(ModelError, match=r"teacher\.pth does not hold .* not a file of tensors\.$"):
        load_teacher(tmp_path / "teacher.pth")


def test_labels_of_an_unknown_kind_are_refused() -> None:
    """If they were taken for "none", the generator would be trained without classes."""
    with pytest.raises(ValueError, match="must be one of none, folders, pseudo"):
        recipes.DataOptions(labels="pseudonym")
