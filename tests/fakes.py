"""Sessions without a network, whose output is known and takes no time, and which can fail on purpose."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from colorcli.networks.size import SizeRule
from colorcli.registry.card import ModelCard
from colorcli.sessions.session import NO_CONTROLS, Controls, ModelInfo

Answer = NDArray[np.float32]
INFO = ModelInfo("fake@test", "fake", "ab" * 32, ("z", "class_index"), SizeRule(64, 16), "none", "1")
CARD = ModelCard("fake", "fake", INFO.weights_sha256, "test", size=INFO.size_rule, controls=INFO.controls)


class FakeSession:
    """A session whose chroma depends on lightness, position, z and class.

    Attributes:
        fault: called with lightness and chroma; it may raise, change the chroma, or return another output.
        batches: shapes of the batches so far.
        asked: their lightness and controls.
    """

    def __init__(self, fault: Callable[[Answer, Answer], Any] | None = None, info: ModelInfo = INFO) -> None:
        self.info = info
        self.fault = fault
        self.device, self.precision, self.backend = "cpu", "fp32", "fake"
        self.streams, self.threads, self.compiled = 1, 1, False
        self.batches: list[tuple[int, ...]] = []
        self.asked: list[dict[str, Any]] = []

    def chroma(self, lightness: Answer, controls: Controls = NO_CONTROLS) -> Answer:
        self.batches.append(lightness.shape)
        self.asked.append({"lightness": lightness, **controls})
        chroma = self.paint(lightness, controls)
        answer = self.fault(lightness, chroma) if self.fault else None
        return chroma if answer is None else answer

    def paint(self, lightness: Answer, controls: Controls) -> Answer:
        """The chroma of a network, at half the size."""
        z, class_index = controls.get("z"), controls.get("class_index")
        count, _, height, width = lightness.shape
        code = np.zeros((count, 68), np.float32) if z is None else z
        chroma = np.empty((count, 2, height // 2, width // 2), np.float32)
        chroma[:, 0] = 30 + 8 * code[:, :1, None] + np.linspace(-10, 10, width // 2)
        chroma[:, 1] = 20 + 8 * code[:, 1:2, None] + lightness[:, 0, ::2, ::2] / 10
        if class_index is not None:
            chroma[:, 0] += np.maximum(class_index, 0)[:, None, None] / 50
        return chroma


class FlatSession(FakeSession):
    """A session whose chroma is constant, plus a little of z in the upper half."""

    def __init__(
        self,
        name: str = "fake@test",
        a: float = 10,
        b: float = 20,
        *,
        controls: tuple[str, ...] = (),
        fault: Callable[[Answer], Any] | None = None,
    ) -> None:
        super().__init__(None if fault is None else lambda lightness, _: fault(lightness))
        self.info = replace(INFO, name=name, controls=controls)
        self._a, self._b = a, b

    def paint(self, lightness: Answer, controls: Controls) -> Answer:
        z = controls.get("z")
        count, _, height, width = lightness.shape
        chroma = np.empty((count, 2, height // 2, width // 2), np.float32)
        chroma[:, 0], chroma[:, 1] = self._a, self._b
        if z is not None:
            chroma[:, 0, : height // 4] += 4 * z[:, :1, None]
        return chroma
