"""PyTorch as a session: the device that was asked for, memory that does not grow, and running out of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor

from colorcli.errors import DeviceError, UsageError
from colorcli.networks.colorizer import Colorizer
from colorcli.networks.size import SizeRule
from colorcli.sessions.pytorch import PyTorchSession, resolve_device
from colorcli.sessions.session import ModelInfo, OutOfMemoryError

LIGHTNESS = np.full((2, 1, 32, 48), 50, np.float32)


class Watched(Colorizer):
    """One layer, and a look at what comes out of it."""

    controls = ()
    presets: ClassVar[dict[str, dict[str, object]]] = {"lite": {}}
    size_rule = SizeRule(size=32, multiple_of=16)

    def __init__(self, watch: Callable[[Tensor], object] = lambda _: None) -> None:
        super().__init__()
        self.layer = torch.nn.Conv2d(1, 2, 3, padding=1)
        self.drop = torch.nn.Dropout(0.9)
        self.watch = watch

    def chroma(self, lightness: Tensor, *, z: Tensor | None = None, class_index: Tensor | None = None) -> Tensor:
        answer: Tensor = self.drop(self.layer(lightness))
        self.watch(answer)
        return answer


def session(watch: Callable[[Tensor], object] = lambda _: None, **options: str) -> PyTorchSession:
    return PyTorchSession(Watched(watch), ModelInfo("watched", "watched", "0" * 64), **{"device": "cpu", **options})


def test_asked_for_a_gpu_and_got_the_cpu_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """A night that was planned for a GPU, spent on the CPU."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    for name in ("cuda", "cuda:1", "mps"):
        with pytest.raises(DeviceError, match="--device auto"):
            session(device=name)
    assert session(device="auto").device == "cpu"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert str(resolve_device("auto")) == "cuda"
    with pytest.raises(DeviceError, match="cuda:1"):
        resolve_device("cuda:1")
    for name in ("gpu", "vulkan"):
        with pytest.raises(UsageError, match="auto, cpu, cuda"):
            resolve_device(name)


def test_no_gradients_are_kept_and_nothing_is_dropped() -> None:
    """Memory that grows with every photograph, and colours that differ from run to run."""
    seen: list[bool] = []
    running = session(lambda answer: seen.append(answer.requires_grad))
    first, second = running.chroma(LIGHTNESS), running.chroma(LIGHTNESS)
    assert seen == [False, False]
    assert np.array_equal(first, second)
    assert first.shape == (2, 2, 32, 48) and first.dtype == np.float32


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("DefaultCPUAllocator: can't allocate memory")]
)
def test_too_little_memory_is_known_for_what_it_is(error: RuntimeError) -> None:
    """Otherwise the batch is not halved, and photographs fail that would have fitted by themselves."""

    def full(_: Tensor) -> None:
        raise error

    with pytest.raises(OutOfMemoryError):
        session(full).chroma(LIGHTNESS)


def test_precisions_that_make_no_sense_are_refused() -> None:
    for precision in ("fp16", "fp8"):
        with pytest.raises(UsageError, match=precision):
            session(precision=precision)
    assert session(precision="bf16").chroma(LIGHTNESS).dtype == np.float32
