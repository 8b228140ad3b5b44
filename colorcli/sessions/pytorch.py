"""Running a network with PyTorch."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from colorcli.errors import DeviceError, UsageError
from colorcli.networks.colorizer import Colorizer
from colorcli.sessions.machine import available_cpus
from colorcli.sessions.session import ModelInfo, OutOfMemoryError

_PRECISIONS = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}

_OTHERWISE = "Use --device auto for the best that is there."


@contextlib.contextmanager
def memory_errors() -> Iterator[None]:
    """Raises OutOfMemoryError where PyTorch finds no memory, on a GPU or not."""
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
    """The device that ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps`` stands for on this machine.

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
        raise DeviceError(f"Device '{name}' is not there: PyTorch sees {seen} CUDA devices. {_OTHERWISE}")
    if device.type == "mps" and not mps:
        raise DeviceError("Device 'mps' is not there: PyTorch sees no Apple GPU. " + _OTHERWISE)
    return device


class PyTorchSession:
    """A network on a device. Not thread-safe: one thread runs it.

    Args:
        network: any ``Colorizer``; it is prepared for inference and owned by the session from here on.
        info: what the pipeline needs to know of the model.
        device: see ``resolve_device``.
        precision: ``auto`` (fp32 on CPU and MPS, fp16 on CUDA), ``fp32``, ``fp16`` or ``bf16``.
        threads: CPU threads of PyTorch; None leaves its choice, within what a container grants.
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
        # said aloud even where it is PyTorch's own choice: results repeat for a number of threads, and a thread that
        # has not been told chooses for itself
        self.threads = threads or min(torch.get_num_threads(), available_cpus())
        torch.set_num_threads(self.threads)
        network.prepare()
        self.network = network.to(self._device).to(memory_format=torch.channels_last)

    def chroma(
        self,
        lightness: NDArray[np.float32],
        *,
        z: NDArray[np.float32] | None = None,
        class_index: NDArray[np.int64] | None = None,
    ) -> NDArray[np.float32]:
        """See ``Session.chroma``."""
        controls = {
            name: torch.from_numpy(value).to(self._device)
            for name, value in (("z", z), ("class_index", class_index))
            if value is not None and name in self.info.controls
        }
        dtype = _PRECISIONS[self.precision]
        cast = torch.autocast(self._device.type, dtype) if dtype is not torch.float32 else contextlib.nullcontext()
        with memory_errors(), torch.inference_mode(), cast:
            batch = torch.from_numpy(lightness).to(self._device, memory_format=torch.channels_last)
            chroma: NDArray[np.float32] = self.network.chroma(batch, **controls).float().cpu().numpy()
            return chroma
