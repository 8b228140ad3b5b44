"""Opening a model: by name, run folder, weights file or ONNX file; with PyTorch, or with ONNX Runtime."""

from __future__ import annotations

import ctypes
import platform
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from colorcli.environment import cache_dir
from colorcli.errors import ColorcliError, ModelError, StoppedError, UsageError
from colorcli.pipeline import onnx_copy
from colorcli.pipeline.controls import complete
from colorcli.pipeline.onnx_copy import Waiting
from colorcli.registry import registry
from colorcli.registry.card import ModelCard
from colorcli.sessions.session import NO_CONTROLS, Session
from colorcli.text import Notify

BACKENDS = ("auto", "pytorch", "onnx")

WORTH_EXPORTING = 100
"""Photographs from which ``auto`` makes an ONNX copy first. Making one takes as long as a lite network needs for a few
hundred photographs; it is made once, and a person with three photographs should not wait for it."""


def open_model(
    model: str | ModelCard,
    *,
    backend: str = "auto",
    device: str = "auto",
    precision: str = "auto",
    threads: int | None = None,
    photographs: int = 1,
    compile: bool = False,
    notify: Notify = lambda _: None,
    waiting: Waiting = lambda what, seconds: None,
    stopped: Callable[[], bool] = lambda: False,
) -> Session:
    """Open a model, ready to colour.

    Args:
        model: as for ``registry.find``, or a card it returned.
        backend: ``pytorch``, ``onnx``, or ``auto``: on a CPU an ONNX copy where there is one, or where there are many
            photographs; PyTorch otherwise. An ONNX file is always run by ONNX Runtime.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:N``, ``mps``; for ONNX Runtime also those it knows.
        precision: ``auto``, ``fp32``, ``fp16`` or ``bf16``; an ONNX file has its own.
        threads: CPU threads; None: the backend's choice.
        photographs: approximate number to be coloured.
        compile: whether PyTorch compiles the network first.
        notify: called with a sentence when something takes long or is unexpected.
        waiting: called while an ONNX copy is made.
        stopped: whether to stop; checked while an ONNX copy is made.

    Raises:
        StoppedError: ``stopped`` became true; there is no copy.
        UsageError: the backend does not support the options.
        ModelError: there is no such model, its weights are damaged, or a package is missing.
        DeviceError: the device is missing, or the network cannot be compiled for it.
    """
    if backend not in BACKENDS:
        raise UsageError(f"There is no backend '{backend}'; use {', '.join(BACKENDS)}.")
    if compile and backend == "onnx":
        raise UsageError("--compile is for PyTorch, and --backend onnx asks for ONNX Runtime; omit one of them.")
    card = registry.find(model) if isinstance(model, str) else model
    opening = _Opening(card, device, precision, threads, photographs, notify, waiting, stopped)
    if card.is_onnx:
        if backend == "pytorch" or compile:
            option = "--compile" if compile else "--backend"
            raise UsageError(f"{card.reference} is an ONNX file, which PyTorch does not run; omit {option}.")
        return opening.onnx(card.weights)
    if backend == "pytorch" or compile or precision not in ("auto", "fp32"):
        if backend == "onnx":
            raise UsageError(
                f"--backend onnx runs models in fp32; for {precision}: "
                f"colorcli export {opening.name} --precision {precision} -o model.onnx"
            )
        return opening.pytorch(compile=compile)
    return opening.copy() if backend == "onnx" else opening.automatic()


@dataclass(frozen=True)
class _Opening:
    card: ModelCard
    device: str
    precision: str
    threads: int | None
    photographs: int
    notify: Notify
    waiting: Waiting
    stopped: Callable[[], bool]

    @property
    def name(self) -> str:
        return self.card.reference or self.card.exact_name

    def automatic(self) -> Session:
        """On a CPU the ONNX copy, if it exists or is worth making; else PyTorch."""
        has_torch = onnx_copy.is_installed("torch")
        if has_torch and not _means_cpu(self.device):
            return self.pytorch()
        is_there = onnx_copy.is_usable(onnx_copy.copy_path(self.card))
        if has_torch and not is_there and self.photographs < WORTH_EXPORTING:
            return self.pytorch()
        try:
            return self.copy()
        except StoppedError:
            raise
        except ColorcliError as error:
            if not has_torch:
                raise
            self.notify(f"Using PyTorch, which is about half as fast as ONNX Runtime: {error}")
            return self.pytorch()

    def pytorch(self, *, compile: bool = False) -> Session:
        if not onnx_copy.is_installed("torch"):
            raise self._without_torch()
        network = registry.build(self.card, registry.read_weights(self.card))
        from colorcli.sessions.pytorch import PyTorchSession

        session = PyTorchSession(network, registry.model_info(self.card), self.device, self.precision, self.threads)
        if compile:
            self.notify("Compiling the network for this machine; this takes a minute or more, less the next time.")
            count = 1 if session.device == "cpu" else 2
            lightness = np.full((count, 1, *session.info.size_rule.working_shape(3, 4)), 50, np.float32)
            session.compile(lightness, complete(session.info.controls, NO_CONTROLS, lightness), cache_dir())
        return session

    def copy(self) -> Session:
        """ONNX Runtime with the cached copy, which is made if missing."""
        copy = onnx_copy.copy_path(self.card)
        if not onnx_copy.is_usable(copy):
            if not onnx_copy.is_installed("torch"):
                raise self._without_torch()
            onnx_copy.make_copy(self.card, copy, self.waiting, self.stopped)
        onnx_copy.note_use(copy)
        return self.onnx(copy)

    def onnx(self, path: Path) -> Session:
        from colorcli.sessions.onnx import OnnxSession

        return OnnxSession(
            path,
            registry.model_info(self.card),
            device=_without_trying(self.device),
            precision=self.precision,
            threads=self.threads,
            photographs=self.photographs,
            cache=cache_dir(),
        )

    def _without_torch(self) -> ModelError:
        return ModelError(
            f"PyTorch is not installed, so only ONNX files can be run: on a machine that has it, "
            f"colorcli export {self.name} -o model.onnx"
        )


def _without_trying(device: str) -> str:
    """``cpu`` instead of ``auto`` if no GPU is in sight.

    Otherwise ONNX Runtime would load hundreds of megabytes of CUDA libraries just to find no GPU. Not on Windows and
    macOS, where ``gpu_in_sight`` does not know all GPUs.
    """
    return "cpu" if device == "auto" and sys.platform == "linux" and not gpu_in_sight() else device


def _means_cpu(device: str) -> bool:
    """Whether a device is the CPU, without importing PyTorch where no GPU is in sight."""
    if device != "auto":
        return device == "cpu"
    if not gpu_in_sight():
        return True
    from colorcli.sessions.pytorch import resolve_device

    return resolve_device("auto").type == "cpu"


def gpu_in_sight() -> bool:
    """Whether PyTorch may find a GPU on this machine; cheap, and errs on the side of yes."""
    if sys.platform == "darwin":
        return platform.machine() == "arm64"
    if Path("/dev/kfd").exists():
        return True
    try:
        driver = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
        count = ctypes.c_int(0)
        return driver.cuInit(0) == 0 and driver.cuDeviceGetCount(ctypes.byref(count)) == 0 and count.value > 0
    except (OSError, AttributeError):
        return False
