"""Small drawn colour photographs, and a recipe that trains in seconds."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from colorcli.train import recipe as recipes
from colorcli.train.recipe import Recipe


def draw(index: int) -> Image.Image:
    """A landscape of two colours and some noise, different for each index."""
    rng = np.random.default_rng(index)
    picture = np.empty((80, 96, 3))
    picture[:40] = rng.integers(0, 255, 3)
    picture[40:] = rng.integers(0, 255, 3)
    picture += rng.normal(0, 8, picture.shape)
    return Image.fromarray(picture.clip(0, 255).astype(np.uint8))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder of thirty photographs, twenty loose and ten in a tar shard."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for index in range(20):
        draw(index).save(folder / f"{index:02d}.png")
    with tarfile.open(folder / "shard-000.tar", "w") as archive:
        for index in range(20, 30):
            buffer = io.BytesIO()
            draw(index).save(buffer, "PNG")
            member = tarfile.TarInfo(f"{index:02d}.png")
            member.size = buffer.tell()
            buffer.seek(0)
            archive.addfile(member, buffer)
    return folder


@pytest.fixture
def recipe() -> Recipe:
    """Four reconstruction steps and four adversarial ones on a very narrow network."""
    return recipes.load(
        "bigcolor-lite",
        [
            "phases.0.steps=4",
            "phases.1.steps=1",
            "phases.2.steps=4",
            "phases.0.batch=2",
            "phases.1.batch=2",
            "phases.2.batch=2",
            "phases.0.warmup=1",
            "phases.1.warmup=1",
            "phases.2.warmup=1",
            "data.crop=64",
            "data.short_side=[64, 80]",
            "data.held_back=0.2",
            "validation_side=64",
            "network.widths=[8, 8, 8, 8, 8]",
            "discriminator.ch=4",
            "discriminator.multipliers=[1, 2, 2]",
            'precision="fp32"',
            "every=3",
        ],
    )
