"""Colouring by reference: the palette and the class are those of the example."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from colorcli.errors import UsageError
from colorcli.images.tiles import Windows
from colorcli.pipeline import controls, reference
from colorcli.sessions.session import ModelInfo

LAYOUT = Windows((np.full((32, 32), 50, np.float32),), (0,), 32, 1)


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A picture of orange and brown blocks."""
    path = tmp_path_factory.mktemp("example") / "autumn.png"
    blocks = np.random.default_rng(1).integers(0, 90, (6, 8, 1)) + np.array([120, 70, 10])
    Image.fromarray(blocks.astype(np.uint8)).resize((96, 72), Image.Resampling.NEAREST).save(path)
    return path


def test_chroma_gets_the_examples_palette_and_keeps_its_order(example: Path) -> None:
    """A photograph that the network made blue gets the colours of an autumn picture."""
    value = reference.read(example)
    a, b, aa, ab, bb = value["palette"]
    chroma = np.random.default_rng(0).multivariate_normal([-5, -30], [[90, 20], [20, 60]], (24, 24)).astype(np.float32)
    chroma = np.ascontiguousarray(chroma.transpose(2, 0, 1))
    moved = reference.transfer(chroma, value)
    points = moved.reshape(2, -1)
    assert points.mean(axis=1) == pytest.approx([a, b], abs=0.1)
    assert np.cov(points)[[0, 0, 1], [0, 1, 1]] == pytest.approx([aa, ab, bb], rel=0.05, abs=0.5)
    assert np.corrcoef(chroma[1].ravel(), moved[1].ravel())[0, 1] > 0.5


def test_a_nearly_gray_answer_is_not_blown_up(example: Path) -> None:
    """Otherwise noise in a field of snow would become coloured speckles."""
    noise = np.random.default_rng(0).normal(0, 0.05, (2, 24, 24)).astype(np.float32)
    moved = reference.transfer(noise, reference.read(example))
    assert np.ptp(moved.reshape(2, -1), axis=1).max() < 4 * np.ptp(noise.reshape(2, -1), axis=1).max() + 0.1


def test_a_reference_gives_its_class_unless_one_is_asked_for(example: Path) -> None:
    """BigColor's third script colours with the class of an example."""
    info = ModelInfo("x@y", "x", "0" * 64, ("class_index",))
    settings = controls.choose(info, {"reference": example})
    index = settings["reference"]["class_index"]
    drawn = controls.draw(info.controls, settings, "a.jpg", 0, LAYOUT)
    assert drawn[0]["class_index"] == index >= 0
    asked = controls.choose(info, {"reference": example, "class_name": "tabby"})
    assert controls.draw(info.controls, asked, "a.jpg", 0, LAYOUT)[0]["class_index"] == 281
    plain = controls.choose(info, {})
    assert controls.draw(info.controls, plain, "a.jpg", 0, LAYOUT)[0]["class_index"] == -1


def test_what_is_recorded_is_the_example_without_its_file(example: Path) -> None:
    """Otherwise picks could not be carried out on a machine without the example's file."""
    value = reference.read(example)
    again = json.loads(json.dumps(value))
    assert reference.valid(again) and reference.read(again) == value
    for wrong in ({}, {**value, "class_index": 1000}, {**value, "palette": [0, 0, 1, 5, 1]}, "autumn.png", None):
        assert not reference.valid(wrong)


def test_an_example_without_colour_is_refused(tmp_path: Path) -> None:
    """Its palette is one gray point, so everything would become gray."""
    Image.new("RGB", (40, 40), (90, 90, 90)).save(tmp_path / "gray.png")
    with pytest.raises(UsageError, match="has no colour; give a colour photograph"):
        reference.read(tmp_path / "gray.png")
    with pytest.raises(UsageError, match="reference cannot be used: "):
        reference.read(tmp_path / "none.png")
