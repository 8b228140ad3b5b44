"""``colorcli doctor``: what is installed, and what this machine can do."""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import platform
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from colorcli.cli import output

_PACKAGES = (
    "torch",
    "torchvision",
    "onnx",
    "onnxscript",
    "onnxruntime-gpu",
    "onnxruntime",
    "numpy",
    "numba",
    "pillow",
    "tifffile",
    "imagecodecs",
    "scikit-image",
    "safetensors",
    "typer",
    "rich",
)


def doctor(
    json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """Say what is installed: versions, devices, folders, models."""
    report = examine()
    if json:
        output.emit("doctor", **report)
        return
    for section, content in report.items():
        output.line(f"{section}: {_text(content)}" if not isinstance(content, dict) else f"{section}:")
        for key, value in content.items() if isinstance(content, dict) else ():
            output.line(f"  {key:<16} {_text(value)}")


def examine() -> dict[str, Any]:
    """Everything ``doctor`` reports; what is missing is None."""
    import colorcli
    from colorcli import environment

    places = {
        "data": environment.data_dir(),
        "cache": environment.cache_dir(),
        "models": environment.bundled_models_dir(),
        "user_models": environment.user_models_dir(),
    }
    return {
        "colorcli": colorcli.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "executable": sys.executable,
        "packages": {name: _version(name) for name in _PACKAGES},
        "devices": _devices(),
        "onnxruntime": _onnxruntime(),
        "folders": {name: _folder(path) for name, path in places.items()},
        "offline": environment.offline(),
        **_models(),
    }


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _devices() -> dict[str, Any]:
    devices: dict[str, Any] = {"cpu": {"name": platform.processor() or platform.machine(), "cores": os.cpu_count()}}
    try:
        import torch
    except Exception as error:
        # A broken installation, which this command is there to find, raises anything from ImportError to OSError.
        return devices | {"torch": f"cannot be imported: {error}"}
    devices["torch_threads"] = torch.get_num_threads()
    devices["cuda"] = [
        {"name": torch.cuda.get_device_name(index), "memory": torch.cuda.get_device_properties(index).total_memory}
        for index in range(torch.cuda.device_count())
    ]
    devices["mps"] = torch.backends.mps.is_available()
    try:
        importlib.import_module("torchvision")
    except Exception as error:
        devices["torchvision"] = f"cannot be imported: {error}"
    return devices


def _onnxruntime() -> dict[str, Any]:
    try:
        runtime = importlib.import_module("onnxruntime")
    except Exception as error:
        return {"error": f"cannot be imported: {error}"}
    return {"providers": list(runtime.get_available_providers())}


def _folder(path: Path) -> dict[str, Any]:
    return {"path": str(path), "exists": path.is_dir(), "writable": os.access(_existing(path), os.W_OK)}


def _existing(path: Path) -> Path:
    return path if path.exists() or path == path.parent else _existing(path.parent)


def _models() -> dict[str, Any]:
    from colorcli.errors import ColorcliError
    from colorcli.registry.registry import list_models
    from colorcli.registry.systems import systems

    try:
        return {"models": [card.exact_name for card in list_models()], "systems": systems().names()}
    except ColorcliError as error:
        return {"models": None, "systems": None, "error": str(error)}


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key}: {_text(item)}" for key, item in value.items())
    if isinstance(value, list):
        return ", ".join(_text(item) for item in value) or "none"
    if value is None:
        return "not installed"
    return {True: "yes", False: "no"}.get(value, str(value)) if isinstance(value, bool) else str(value)
