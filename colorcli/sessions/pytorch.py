"""Running a network with PyTorch."""

from __future__ import annotations

import contextlib
import math
import os
import queue
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from colorcli.errors import DeviceError, UsageError
from colorcli.networks.colorizer import Colorizer
from colorcli.sessions.machine import available_cpus
from colorcli.sessions.session import NO_CONTROLS, Controls, ModelInfo, OutOfMemoryError

_PRECISIONS = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}

_OTHERWISE = "Use --device auto for the best that is there."
# While one batch is computed, another is copied to or from the GPU.
_LANES = 2


@contextlib.contextmanager
def memory_errors() -> Iterator[None]:
    """Turn PyTorch's out-of-memory errors, on any device, into OutOfMemoryError."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        torch.cuda.empty_cache()
        raise OutOfMemoryError(str(error)) from error
    except RuntimeError as error:
        if "allocate memory" in str(error):
            raise OutOfMemoryError(str(error)) from error
        raise


def resolve_device(name: str) -> torch.device:
    """Resolve ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps`` to a device of this machine.

    Raises:
        DeviceError: a device was asked for by name and is not there; ``auto`` never raises.
        UsageError: there is no such kind of device.
    """
    cuda, mps = torch.cuda.is_available(), torch.backends.mps.is_available()
    if name == "auto":
        return torch.device("cuda" if cuda else "mps" if mps else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UsageError(f"There is no device '{name}'; use auto, cpu, cuda, cuda:N or mps.") from error
    if device.type not in ("cpu", "cuda", "mps"):
        raise UsageError(f"Device '{name}' is not supported; use auto, cpu, cuda, cuda:N or mps.")
    if device.type == "cuda" and (not cuda or (device.index or 0) >= torch.cuda.device_count()):
        seen = torch.cuda.device_count()
        raise DeviceError(f"Device '{name}' is not available: PyTorch sees {seen} CUDA devices. {_OTHERWISE}")
    if device.type == "mps" and not mps:
        raise DeviceError("Device 'mps' is not available: PyTorch sees no Apple GPU. " + _OTHERWISE)
    return device


def computes_bf16(device: torch.device) -> bool:
    """Whether a device has instructions for bfloat16; a processor that must emulate them is many times slower."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return device.type == "cpu" and bool(torch.cpu._is_avx512_bf16_supported())


class PyTorchSession:
    """A network on a device. Up to ``streams`` threads run it at a time.

    Args:
        network: any ``Colorizer``; the session takes ownership and prepares it for inference.
        info: what the pipeline needs to know of the model.
        device: see ``resolve_device``.
        precision: ``auto`` (fp32 on CPU and MPS, fp16 on CUDA), ``fp32``, ``fp16`` or ``bf16``.
        threads: CPU threads of PyTorch; None: its own choice, within a container's quota.

    Attributes:
        compiled: whether the network was compiled.
        threads: CPU threads for one batch.
        streams: batches that may be coloured at a time.

    Raises:
        DeviceError: the device is not there, or its memory does not hold the network.
        UsageError: there is no such device or precision.
    """

    backend = "pytorch"

    def __init__(
        self,
        network: Colorizer,
        info: ModelInfo,
        device: str = "auto",
        precision: str = "auto",
        threads: int | None = None,
    ) -> None:
        self.info = info
        self._device = resolve_device(device)
        self.device = str(self._device)
        if precision == "auto":
            precision = "fp16" if self._device.type == "cuda" else "fp32"
        if precision not in _PRECISIONS:
            raise UsageError(f"There is no precision '{precision}'; use auto, {', '.join(_PRECISIONS)}.")
        if precision == "fp16" and self._device.type == "cpu":
            raise UsageError("Precision fp16 is slower and less exact on the CPU; use fp32 or bf16 there.")
        self.precision = precision
        # set even to PyTorch's own choice: results repeat for a number of threads, and each Python thread would
        # otherwise choose for itself
        self.threads = threads or min(torch.get_num_threads(), available_cpus())
        torch.set_num_threads(self.threads)
        network.prepare()
        try:
            with memory_errors():
                self.network = network.to(self._device).to(memory_format=torch.channels_last)
        except OutOfMemoryError as error:
            raise DeviceError(
                f"There is not enough memory on the device '{self.device}' to load {info.name} ({error}); "
                "free some, or use --device cpu."
            ) from error
        self._answer: Callable[..., Tensor] = self.network.answering(info.size_rule)
        self._lanes: queue.SimpleQueue[_Lane] = queue.SimpleQueue()
        lanes = [_Lane(self._device)]
        if self._device.type == "cuda":
            lanes = [_PinnedLane(self._device) for _ in range(_LANES)]
        for lane in lanes:
            self._lanes.put(lane)
        self.streams = len(lanes)
        self.compiled = False

    def chroma(self, lightness: NDArray[np.float32], controls: Controls = NO_CONTROLS) -> NDArray[np.float32]:
        """See ``Session.chroma``."""
        return self._run(self._answer, lightness, controls)

    def entropy(self, lightness: NDArray[np.float32], controls: Controls = NO_CONTROLS) -> NDArray[np.float32]:
        """See ``Colorizer.entropy``; arguments as for ``chroma``."""
        return self._run(self.network.entropy, lightness, controls)

    def _run(
        self, function: Callable[..., Tensor], lightness: NDArray[np.float32], controls: Controls
    ) -> NDArray[np.float32]:
        lane = self._lanes.get()
        try:
            with memory_errors(), torch.inference_mode(), self._cast(), lane.used():
                given = {name: lane.send(name, value) for name, value in controls.items()}
                answer = function(lane.send("lightness", lightness), **given)
                return lane.receive(answer.float())
        finally:
            self._lanes.put(lane)

    def _cast(self) -> AbstractContextManager[object]:
        dtype = _PRECISIONS[self.precision]
        if dtype is torch.float32:
            return contextlib.nullcontext()
        # The cache of weights in that precision is for loops: here it would only pass from thread to thread what
        # another stream may not have finished.
        return torch.autocast(self._device.type, dtype, cache_enabled=False)

    def compile(self, lightness: NDArray[np.float32], controls: Controls, cache: Path | None) -> None:
        """Compile the network with PyTorch, which takes about a minute; results agree to within rounding.

        Args:
            lightness: a batch to run at once, with its ``controls``: PyTorch compiles at the first call, and only then
                do missing tools show.
            controls: of that batch.
            cache: folder for compiled code; None: PyTorch's choice.

        Raises:
            DeviceError: it cannot be compiled for the device.
        """
        if cache is not None:
            os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(cache / "inductor"))
        self._answer = torch.compile(
            self.network.answering(self.info.size_rule), dynamic=None if self.info.size_rule.fixed else True
        )
        try:
            self.chroma(lightness, controls)
        except Exception as error:
            first = str(error).strip().split("\n")[0]
            raise DeviceError(
                f"PyTorch cannot compile {self.info.name} for the device '{self.device}' on this machine ({first}). "
                "Omit --compile, or install what it needs: a C++ compiler, and on a GPU Triton."
            ) from error
        self.compiled = True


class _Lane:
    """Moves batches to the device and back, for one thread at a time."""

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def used(self) -> AbstractContextManager[object]:
        """Context in which the device works for this lane."""
        return contextlib.nullcontext()

    def send(self, name: str, value: NDArray[Any]) -> Tensor:
        """Copy an input to the device."""
        return _placed(torch.from_numpy(value), self._device, wait=True)

    def receive(self, answer: Tensor) -> NDArray[np.float32]:
        """Copy the output, as float32, to memory that the caller owns."""
        received: NDArray[np.float32] = answer.cpu().numpy()
        return received


class _PinnedLane(_Lane):
    """A lane with its own stream and pinned memory, copied while another lane's batch runs.

    Pageable memory would be copied twice and block the device.
    """

    def __init__(self, device: torch.device) -> None:
        super().__init__(device)
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        # The weights may still be copying.
        self._stream.wait_stream(torch.cuda.current_stream(device))
        self._pinned: dict[str, Tensor] = {}

    def used(self) -> AbstractContextManager[object]:
        """See ``_Lane.used``."""
        # After a failed batch, copies from pinned memory may still be running.
        self._stream.synchronize()
        return torch.cuda.stream(self._stream)

    def send(self, name: str, value: NDArray[Any]) -> Tensor:
        """See ``_Lane.send``."""
        source = torch.from_numpy(value)
        return _placed(self._memory(name, source).copy_(source), self._device, wait=False)

    def receive(self, answer: Tensor) -> NDArray[np.float32]:
        """See ``_Lane.receive``."""
        target = self._memory("chroma", answer).copy_(answer.contiguous(), non_blocking=True)
        self._stream.synchronize()
        # Copied, since the next batch of this lane reuses the memory.
        return target.numpy().copy()

    def _memory(self, name: str, like: Tensor) -> Tensor:
        """Pinned memory of a tensor's shape and type, kept because allocating it takes milliseconds."""
        count = math.prod(like.shape)
        kept = self._pinned.get(name)
        if kept is None or len(kept) < count:
            kept = self._pinned[name] = torch.empty(count, dtype=like.dtype, pin_memory=True)
        return kept[:count].view(like.shape)


def _placed(value: Tensor, device: torch.device, *, wait: bool) -> Tensor:
    """Copy to the device, images in the memory format that is fastest for convolutions."""
    layout = torch.channels_last if value.ndim == 4 else torch.preserve_format
    return value.to(device, memory_format=layout, non_blocking=not wait)
