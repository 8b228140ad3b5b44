"""Photographs in colour that take no room, and models that take no time."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from skimage import data

from colorcli.networks.size import SizeRule
from colorcli.pipeline import opening
from colorcli.sessions.session import NO_CONTROLS, Controls, ModelInfo

Answer = NDArray[np.float32]
INFO = ModelInfo("fake@test", "fake", "ab" * 32, (), SizeRule(64, 16), "none", "1")


class FakeSession:
    """Answers with one chroma everywhere, plus a little of z; ``fault`` may raise or replace the answer."""

    device, precision, backend, streams, threads, compiled = "cpu", "fp32", "fake", 1, 1, False

    def __init__(
        self,
        name: str = "fake@test",
        a: float = 10,
        b: float = 20,
        *,
        controls: tuple[str, ...] = (),
        fault: Callable[[Answer], Any] | None = None,
    ) -> None:
        self.info = replace(INFO, name=name, controls=controls)
        self._a, self._b, self._fault = a, b, fault

    def chroma(self, lightness: Answer, controls: Controls = NO_CONTROLS) -> Answer:
        z = controls.get("z")
        count, _, height, width = lightness.shape
        chroma = np.empty((count, 2, height // 2, width // 2), np.float32)
        chroma[:, 0], chroma[:, 1] = self._a, self._b
        if z is not None:
            chroma[:, 0, : height // 4] += 4 * z[:, :1, None]
        answer = self._fault(lightness) if self._fault else None
        return chroma if answer is None else answer


def photograph(name: str, width: int = 90, height: int = 72) -> NDArray[np.uint8]:
    """A piece of a real photograph in colour; which one depends on the name."""
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
    """The models that are found, by name."""
    known: dict[str, Any] = {"fake": FakeSession(), "other": FakeSession("other@test", a=-20)}

    def load(name: str, **_: Any) -> Any:
        return known[name]

    monkeypatch.setattr(opening, "open_model", load)
    return known
