"""PyTorch sessions: the requested device, constant memory, and errors when memory runs out."""

from __future__ import annotations

import contextlib
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor

from colorcli.errors import DeviceError, ExitCode, UsageError
from colorcli.networks.colorizer import Colorizer
from colorcli.networks.size import SizeRule
from colorcli.sessions import pytorch
from colorcli.sessions.pytorch import PyTorchSession, resolve_device
from colorcli.sessions.session import ModelInfo, OutOfMemoryError

LIGHTNESS = np.full((2, 1, 32, 48), 50, np.float32)


class Watched(Colorizer):
    """A network of one layer; ``watch`` is called with its output."""

    controls = ()
    presets: ClassVar[dict[str, dict[str, object]]] = {"lite": {}}
    size_rule = SizeRule(size=32, multiple_of=16)

    def __init__(self, watch: Callable[[Tensor], object] = lambda _: None) -> None:
        super().__init__()
        self.layer = torch.nn.Conv2d(1, 2, 3, padding=1)
        self.drop = torch.nn.Dropout(0.9)
        self.watch = watch

    def chroma(self, lightness: Tensor, **_: Any) -> Tensor:
        answer: Tensor = self.drop(50 * torch.tanh(self.layer(lightness) / 50))
        self.watch(answer)
        return answer


def session(watch: Callable[[Tensor], object] = lambda _: None, **options: Any) -> PyTorchSession:
    return PyTorchSession(Watched(watch), ModelInfo("watched", "watched", "0" * 64), **{"device": "cpu", **options})


def test_asked_for_a_gpu_and_got_the_cpu_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise a run planned for a GPU would spend the night on the CPU."""
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
    """Otherwise memory would grow with every photograph, and colours differ from run to run."""
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
    """Otherwise the batch would not be halved, and photographs that fit on their own would fail."""

    def full(_: Tensor) -> None:
        raise error

    with pytest.raises(OutOfMemoryError):
        session(full).chroma(LIGHTNESS)


def test_a_device_too_small_for_the_network_is_an_error_of_the_device() -> None:
    """Otherwise the error would be called unexpected, and a script would retry a model that can never fit."""

    class Huge(Watched):
        def to(self, *_: Any, **__: Any) -> Huge:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB")

    with pytest.raises(DeviceError, match=r"not enough memory on the device 'cpu' to load watched .*--device cpu"):
        PyTorchSession(Huge(), ModelInfo("watched", "watched", "0" * 64), device="cpu")


def test_precisions_that_make_no_sense_are_refused() -> None:
    for precision in ("fp16", "fp8"):
        with pytest.raises(UsageError, match=precision):
            session(precision=precision)
    assert session(precision="bf16").chroma(LIGHTNESS).dtype == np.float32


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None and shutil.which("c++") is None, reason="there is no C++ compiler")
def test_a_compiled_network_gives_the_same_colours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Compiling must not change colours, nor be repeated, a minute each time, for every shape of photograph."""
    # PyTorch sets this variable to a default folder as soon as anything in this process reads the setting.
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "")
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR")
    torch.manual_seed(0)
    plain = session()
    torch.manual_seed(0)
    compiled = session()
    compiled.compile(np.full((1, 1, *compiled.info.size_rule.working_shape(3, 4)), 50, np.float32), {}, tmp_path)
    assert (plain.compiled, compiled.compiled) == (False, True)
    assert any(tmp_path.rglob("*.so")), "compiled code must be kept for the next run"
    for shape in ((1, 1, 160, 192), (1, 1, 256, 176)):
        lightness = np.random.default_rng(0).uniform(0, 100, shape).astype(np.float32)
        with torch.compiler.set_stance("fail_on_recompile"):
            assert np.abs(compiled.chroma(lightness) - plain.chroma(lightness)).max() < 1e-3


def test_a_machine_that_cannot_compile_says_so_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise users would see a page of PyTorch's advice at the first photograph, or all photographs would fail."""

    def compile(function: Callable[..., Tensor], **_: object) -> Callable[..., Tensor]:
        def fail(*_: object, **__: object) -> Tensor:
            raise RuntimeError("InvalidCxxCompiler: No working C++ compiler found\nSet TORCHDYNAMO_VERBOSE=1")

        return fail

    monkeypatch.setattr(torch, "compile", compile)
    with pytest.raises(DeviceError, match=r"No working C\+\+ compiler found\)\. Omit --compile") as error:
        session().compile(LIGHTNESS, {}, None)
    assert error.value.exit_code == ExitCode.DEVICE and "VERBOSE" not in str(error.value)


class _Stream:
    """Stands in for a GPU's stream and counts how often it was waited for."""

    waits = 0

    def wait_stream(self, other: object) -> None: ...

    def synchronize(self) -> None:
        self.waits += 1


def test_batches_beside_each_other_keep_their_own_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise a photograph could get the colours of one that is on the GPU at the same time or later."""
    stream, empty = _Stream(), torch.empty

    def unpinned(*shape: Any, pin_memory: bool = False, **how: Any) -> Tensor:
        return empty(*shape, **how)

    monkeypatch.setattr(torch.cuda, "Stream", lambda _: stream)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda _: None)
    monkeypatch.setattr(torch.cuda, "stream", lambda _: contextlib.nullcontext())
    monkeypatch.setattr(torch, "empty", unpinned)
    both, failing = threading.Barrier(2, timeout=60), [False]

    def watch(_: Tensor) -> None:
        if failing[0]:
            raise RuntimeError("one batch that fails")
        both.wait()

    torch.manual_seed(0)
    plain = session()
    torch.manual_seed(0)
    running = session(watch)
    running._lanes.get()
    for _ in range(2):
        running._lanes.put(pytorch._PinnedLane(torch.device("cpu")))
    answers: dict[int, np.ndarray] = {}

    def color(level: int, count: int) -> None:
        answers[level] = running.chroma(np.full((count, 1, 32, 48), level, np.float32))

    for first, second in (((10, 2), (20, 2)), ((30, 1), (40, 3)), ((50, 3), (60, 1))):
        threads = [threading.Thread(target=color, args=given) for given in (first, second)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        before, failing[0] = stream.waits, True
        with pytest.raises(RuntimeError):
            running.chroma(LIGHTNESS)
        failing[0] = False
        assert stream.waits > before, "the memory of a failed batch must not be reused before its copies are complete"
    assert sorted(answers) == [10, 20, 30, 40, 50, 60]
    for level, answer in answers.items():
        wanted = plain.chroma(np.full((len(answer), 1, 32, 48), level, np.float32))
        assert np.allclose(answer, wanted, atol=1e-3), f"L* {level}"
