"""Opening a model with PyTorch or, from an ONNX copy in the cache, with ONNX Runtime."""

from __future__ import annotations

import ctypes
import dataclasses
import hashlib
import importlib.util
import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import colorcli
from colorcli.environment import cache_dir
from colorcli.errors import ColorcliError, ModelError, OutputError, StoppedError, UsageError, VerificationError
from colorcli.registry import registry
from colorcli.registry.card import ModelCard
from colorcli.registry.systems import systems
from colorcli.sessions import onnx_file
from colorcli.sessions.session import Session

BACKENDS = ("auto", "pytorch", "onnx")

WORTH_EXPORTING = 100
"""Photographs from which ``auto`` makes an ONNX copy first. Making one takes as long as a lite network needs for a few
hundred photographs; it is made once, and a person with three photographs should not wait for it."""

_PACKAGE = Path(colorcli.__file__).parent
_DECIDING = ("networks/*.py", "color/tensors.py", "color/bins.py", "color/spaces.py", "export/*.py")
_EXPORTERS = ("onnx", "onnxscript")
_ERRORS: dict[int, type[ColorcliError]] = {
    error.exit_code: error for error in (UsageError, OutputError, VerificationError)
}

# Between looks at whether to stop, and until a process that was asked to end is ended.
_GLANCE, _PATIENCE = 0.1, 3.0

Notify = Callable[[str], None]


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
    stopped: Callable[[], bool] = lambda: False,
) -> Session:
    """A model ready to colour.

    Args:
        model: as for ``registry.find``, or a card it returned.
        backend: ``pytorch``, ``onnx``, or ``auto``: on a CPU an ONNX copy where there is one, or where there are many
            photographs; PyTorch otherwise. An ONNX file is always run by ONNX Runtime.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:N``, ``mps``; for ONNX Runtime also those it knows.
        precision: ``auto``, ``fp32``, ``fp16`` or ``bf16``.
        threads: CPU threads; None leaves the choice to the backend.
        photographs: how many will be coloured, about.
        compile: whether PyTorch compiles the network first, and so runs it.
        notify: is told in a sentence what takes long, or is not as one might expect.
        stopped: whether somebody has asked for an end; looked at while an ONNX copy is made.

    Raises:
        StoppedError: somebody has; there is no copy then.
        UsageError: the backend cannot do what is asked for.
        ModelError: there is no such model, its weights are damaged, or a package is missing.
        DeviceError: the device is not there, or the network cannot be compiled for it.
    """
    if backend not in BACKENDS:
        raise UsageError(f"There is no backend '{backend}'; use {', '.join(BACKENDS)}.")
    card = registry.find(model) if isinstance(model, str) else model
    if compile and backend == "onnx":
        raise UsageError("--compile is for PyTorch, and --backend onnx asks for ONNX Runtime; leave one of them away.")
    if card.is_onnx:
        if backend == "pytorch":
            raise UsageError(f"{card.reference} is an ONNX file, which PyTorch does not run; leave --backend away.")
        return _load(card, _without_trying(device), precision, threads, photographs, compile=compile)
    by_pytorch = backend == "pytorch" or compile or precision not in ("auto", "fp32")
    if by_pytorch and backend == "onnx":
        raise UsageError(
            f"--backend onnx runs models in fp32; for {precision}: "
            f"colorcli export {card.reference or card.exact_name} --precision {precision} -o model.onnx"
        )
    copy = cached_path(card)
    if not _is_installed("torch"):
        if by_pytorch or not _is_usable(copy):
            raise ModelError(
                f"PyTorch is not installed, so only ONNX files can be run: on a machine that has it, "
                f"colorcli export {card.reference or card.exact_name} -o model.onnx"
            )
    elif by_pytorch or (backend == "auto" and not _means_cpu(device)):
        if compile:
            notify("Compiling the network for this machine; this takes a minute or more, less the next time.")
        return _load(card, device, precision, threads, compile=compile)
    elif backend == "auto":
        return _automatic(card, copy, device, threads, photographs, notify, stopped)
    elif not _is_usable(copy):
        _make(card, copy, notify, stopped)
    return _from_copy(card, copy, _without_trying(device), threads, photographs)


def cached_path(card: ModelCard) -> Path:
    """Where the ONNX copy of a model is kept: under the hash of its weights and of all that else decides its answers.

    That includes this program's code for networks and their export, so that a copy never outlives a change of it.
    """
    facts = {
        "format": onnx_file.FORMAT,
        "colorcli": colorcli.__version__,
        "system": card.system,
        "network": card.network,
        "controls": card.controls,
        "size": dataclasses.asdict(card.size),
        "backbones": {part: shared.sha256 for part, shared in card.backbones.items()},
    }
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode())
    own = [path for place in _DECIDING for path in sorted(_PACKAGE.glob(place))]
    for path in (*own, *_plugin(card.system)):
        digest.update(path.read_bytes())
    return cache_dir() / "onnx" / f"{card.weights_sha256}-{digest.hexdigest()[:12]}.onnx"


def _plugin(system: str) -> list[Path]:
    """The file of a network that comes from another package."""
    module = systems().module(system)
    if module is None or module.startswith("colorcli."):
        return []
    try:
        found = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        return []
    path = Path(found.origin) if found is not None and found.origin else None
    return [path] if path is not None and path.is_file() else []


def _automatic(
    card: ModelCard,
    copy: Path,
    device: str,
    threads: int | None,
    photographs: int,
    notify: Notify,
    stopped: Callable[[], bool],
) -> Session:
    """On the CPU: the ONNX copy where there is one or where it pays to make one, else PyTorch."""
    usable = _is_usable(copy)
    if not usable and photographs < WORTH_EXPORTING:
        return _load(card, device, "auto", threads)
    try:
        if not usable:
            _make(card, copy, notify, stopped)
        return _from_copy(card, copy, "cpu", threads, photographs)
    except StoppedError:
        raise
    except ColorcliError as error:
        notify(f"PyTorch does the work, about half as fast as ONNX Runtime would: {error}")
        return _load(card, device, "auto", threads)


def _load(
    card: ModelCard,
    device: str,
    precision: str,
    threads: int | None,
    photographs: int = 1,
    *,
    compile: bool = False,
) -> Session:
    return registry.load(
        card, device=device, precision=precision, threads=threads, photographs=photographs, compile=compile
    )


def _from_copy(card: ModelCard, copy: Path, device: str, threads: int | None, photographs: int) -> Session:
    from colorcli.sessions.onnx import OnnxSession

    return OnnxSession(
        copy, registry.model_info(card), device=device, threads=threads, photographs=photographs, cache=cache_dir()
    )


def _make(card: ModelCard, copy: Path, notify: Notify, stopped: Callable[[], bool]) -> None:
    missing = [package for package in _EXPORTERS if not _is_installed(package)]
    if missing:
        raise ModelError(f"An export to ONNX needs packages that are missing: pip install {' '.join(missing)}.")
    try:
        copy.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"The cache {copy.parent} cannot be written: {error.strerror}.") from error
    notify(f"Making an ONNX copy of {card.reference or card.exact_name}, once; this takes half a minute or so.")
    _export_apart(card, copy, stopped)


def _export_apart(card: ModelCard, copy: Path, stopped: Callable[[], bool]) -> None:
    """Export in a process of its own, so that the gigabyte which PyTorch and its exporter take is given back."""
    path = os.pathsep.join(entry or str(Path.cwd()) for entry in sys.path)
    try:
        child = subprocess.Popen(
            [sys.executable, "-P", "-m", "colorcli.export", os.fspath(card.weights), os.fspath(copy)],
            env={**os.environ, "PYTHONPATH": path},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is the run's to answer
        )
    except OSError as error:
        raise ModelError(f"No ONNX copy could be made: {error}.") from error
    with child:
        said = _waited_for(child, stopped).decode(errors="replace").strip().split("\n")[-1]
    if child.returncode:
        reason = said or f"its process ended with {child.returncode}"
        raise _ERRORS.get(child.returncode, ModelError)(reason)


def _waited_for(child: subprocess.Popen[bytes], stopped: Callable[[], bool]) -> bytes:
    """What a process has said on stderr until its end, which comes early if somebody asks to stop."""
    try:
        while not stopped():
            with suppress(subprocess.TimeoutExpired):
                return child.communicate(timeout=_GLANCE)[1]
        raise StoppedError("Stopped while an ONNX copy was being made; the next run makes it.")
    finally:
        if child.poll() is None:
            child.terminate()
            try:
                child.communicate(timeout=_PATIENCE)
            except subprocess.TimeoutExpired:
                child.kill()


def _is_usable(copy: Path) -> bool:
    """Whether a copy is there and whole; a damaged one is made anew."""
    if not copy.is_file():
        return False
    try:
        onnx_file.check(copy)
    except ModelError:
        return False
    return True


def _is_installed(package: str) -> bool:
    try:
        return importlib.util.find_spec(package) is not None
    except (ImportError, ValueError):
        return False


def _without_trying(device: str) -> str:
    """``cpu`` for ``auto`` where no GPU is in sight.

    To find that out by trying, ONNX Runtime loads the libraries of CUDA, hundreds of megabytes of them. Elsewhere than
    on Linux there are GPUs that ``gpu_in_sight`` does not know.
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
    """Whether this machine may have a GPU that PyTorch can use; cheap, and wrong rather by a yes than by a no."""
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
