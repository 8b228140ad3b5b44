"""Synthetic photographs for the tests of reading and writing."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from numpy.typing import NDArray

from colorcli.images.provenance import Provenance

PROVENANCE = Provenance(
    model="bigcolor@lite",
    version="1",
    weights_sha256="ab" * 32,
    software="colorcli 0.1.0",
    parameters={"sigma": 0.8, "seed": 0},
    input_name="album/père & <fils>.jpg",
    input_sha256="cd" * 32,
    when="2026-01-02T03:04:05+00:00",
)


def gray_scene(height: int = 48, width: int = 64, bits: int = 8) -> NDArray[np.unsignedinteger]:
    """A smooth image without any symmetry, so that a wrong orientation shows."""
    y, x = np.mgrid[0:height, 0:width]
    value = 0.15 + 0.5 * x / width + 0.3 * (y / height) ** 2
    value[: height // 4, : width // 4] = 0.95
    top = (1 << bits) - 1
    return (value * top).astype(np.uint8 if bits == 8 else np.uint16)


def color_scene(height: int = 48, width: int = 64, bits: int = 8) -> NDArray[np.unsignedinteger]:
    """Red, green and blue running in different directions."""
    y, x = np.mgrid[0:height, 0:width]
    rgb = np.stack([x / width, y / height, 1 - (x + y) / (height + width)], axis=-1)
    top = (1 << bits) - 1
    return (rgb * top).astype(np.uint8 if bits == 8 else np.uint16)


def strips_of(picture: NDArray[np.unsignedinteger], rows: int = 7) -> Iterator[NDArray[np.unsignedinteger]]:
    """The image in strips whose height does not divide its own."""
    for y in range(0, picture.shape[0], rows):
        yield picture[y : y + rows]


@pytest.fixture
def provenance() -> Provenance:
    return PROVENANCE
