"""Small photographs in colour, and stand-ins for models."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from skimage import data

from colorcli.pipeline import opening

from ..fakes import FlatSession


def photograph(name: str, width: int = 90, height: int = 72) -> NDArray[np.uint8]:
    """A crop of a real photograph in colour, chosen by the name; uint8 ``(height, width, 3)``."""
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    whole = (data.astronaut, data.coffee, data.chelsea)[int(rng.integers(3))]()
    top, left = (int(rng.integers(whole.shape[axis] - 2 * size)) for axis, size in ((0, height), (1, width)))
    return np.ascontiguousarray(whole[top : top + 2 * height : 2, left : left + 2 * width : 2])


def write(path: Path, pixels: NDArray[np.uint8] | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(photograph(path.name) if pixels is None else pixels).save(path)
    return path


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder of twelve photographs in colour, two of them in a subfolder."""
    for index in range(10):
        write(tmp_path / "photos" / f"{index}.png")
    for name in ("x.png", "y.png"):
        write(tmp_path / "photos" / "sub" / name)
    return tmp_path / "photos"


@pytest.fixture
def models(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The models that can be opened, by name; tests add their own."""
    known: dict[str, Any] = {"fake": FlatSession(), "other": FlatSession("other@test", a=-20)}

    def load(name: str, **_: Any) -> Any:
        return known[name]

    monkeypatch.setattr(opening, "open_model", load)
    return known
