"""A model's measured cost must not depend on what ran before it."""

from __future__ import annotations

import platform
from typing import Any

import numpy as np
import pytest

from colorcli.evaluate import cost

from ..fakes import FlatSession

torch = pytest.importorskip("torch")

_MEGABYTES = 64
_PIECE = 100_000
"""In bytes; blocks above 128 KiB would be returned to the system at once."""


class Hungry(FlatSession):
    """A session that holds 64 MB while it runs, in blocks that the allocator keeps for later use."""

    def __init__(self) -> None:
        super().__init__()
        self.network = torch.nn.Conv2d(1, 2, 3)
        self.kept: list[Any] = []

    def chroma(self, *given: Any) -> Any:
        held = [np.ones(_PIECE, np.uint8) for _ in range(_MEGABYTES * 1_000_000 // _PIECE)]
        # While the last block is in use, the allocator does not return those below it to the system.
        self.kept.append(held[-1])
        return super().chroma(*given)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="memory is only measured with glibc")
def test_the_second_model_needs_as_much_memory_as_the_first() -> None:
    """Otherwise the last model of a table would seem to need the least memory."""
    sessions = [Hungry(), Hungry(), Hungry()]
    found = [cost.measure(session)["memory_mb"] for session in sessions]
    if found[0] is None:
        pytest.skip("the memory of a process is unknown on this system")
    assert all(_MEGABYTES - 8 < megabytes < _MEGABYTES + 24 for megabytes in found), found


def test_what_is_counted() -> None:
    """Weights and biases count once each; the time is that of one run."""
    session = Hungry()
    found = cost.measure(session)
    assert found["parameters"] == 2 * 9 + 2
    assert found["milliseconds"] > 0
