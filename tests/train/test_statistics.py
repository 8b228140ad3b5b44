"""Statistics of the training set."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from colorcli.train.data import PhotoSet
from colorcli.train.statistics import colorful, statistics


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLORCLI_CACHE_DIR", str(tmp_path / "cache"))


def test_the_least_colourful_are_left_out(photos: Path) -> None:
    """García et al. train without the least colourful 10 % of photographs."""
    data = PhotoSet([photos], held_back=0)
    scores = dict(zip(data.train, statistics(data, data.train).colorfulness, strict=True))
    kept = colorful(data, data.train, 0.2)
    assert len(kept) == 24
    assert max(scores[entry] for entry in data.train if entry not in kept) <= min(scores[entry] for entry in kept)


def test_what_was_counted_is_kept(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = PhotoSet([photos], held_back=0)
    first = statistics(data, data.train)
    assert first.histogram.sum() == 30 * 64 * 64
    monkeypatch.setattr(data, "read", lambda _: pytest.fail("counted twice"))
    again = statistics(data, data.train)
    assert np.array_equal(again.histogram, first.histogram)


def test_other_photographs_are_counted_anew(photos: Path) -> None:
    data = PhotoSet([photos], held_back=0)
    assert statistics(data, data.train).histogram.sum() != statistics(data, data.train[:10]).histogram.sum()


def test_photographs_that_were_edited_are_counted_anew(photos: Path) -> None:
    """An edited uncompressed file has the same size, and the weights would be those of its former colours."""
    for index in range(3):
        Image.new("RGB", (64, 64), (200, 40, 40)).save(photos / f"9{index}.tif")
    data = PhotoSet([photos], held_back=0)
    before = statistics(data, data.train).histogram
    Image.new("RGB", (64, 64), (40, 40, 200)).save(photos / "90.tif")
    assert (statistics(data, data.train).histogram != before).any()
