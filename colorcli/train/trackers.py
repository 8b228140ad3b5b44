"""Experiment trackers beside ``metrics.jsonl``: TensorBoard and Weights & Biases.

Neither runs unless requested: one is a large library, the other sends numbers to a server.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from colorcli.errors import OutputError, UsageError

_MODULES = {"tensorboard": "torch.utils.tensorboard", "wandb": "wandb"}


class Tracker(Protocol):
    """Receives a run's log."""

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Numbers of a step."""

    def picture(self, step: int, name: str, rgb: NDArray[np.uint8]) -> None:
        """An image ``(H, W, 3)``."""

    def close(self) -> None:
        """The run has ended, or stops."""


def trackers(names: Sequence[str], folder: Path, recipe: Mapping[str, Any], step: int) -> list[Tracker]:
    """The trackers of these names for the run in ``folder``.

    Args:
        names: any of ``tensorboard`` and ``wandb``.
        folder: the run folder; TensorBoard's files are in ``tensorboard`` in it, and so is the id of W&B's run.
        recipe: the run's recipe as plain data.
        step: to resume from; later records are shown again.

    Raises:
        UsageError: there is no such tracker, or its library is not installed.
    """
    check(names)
    return [
        _TensorBoard(folder, step) if name == "tensorboard" else _WandB(folder, recipe) for name in dict.fromkeys(names)
    ]


def check(names: Sequence[str]) -> None:
    """Refuse trackers that ``trackers`` would refuse, before there is a run."""
    for name in names:
        if name not in _MODULES:
            raise UsageError(f"There is no tracker '{name}'; there are {' and '.join(_MODULES)}.")
        _library(name)


def _library(package: str) -> Any:
    try:
        return importlib.import_module(_MODULES[package])
    except ImportError as error:
        raise UsageError(
            f"--track {package} needs a library that is not installed ({error}): pip install {package}."
        ) from error


class _TensorBoard:
    def __init__(self, folder: Path, step: int) -> None:
        writer = _library("tensorboard").SummaryWriter
        # What a killed run had shown beyond its last checkpoint comes again.
        self._writer = writer(str(folder / "tensorboard"), purge_step=step + 1 if step else None)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self._writer.add_scalar(_grouped(name), value, step)

    def picture(self, step: int, name: str, rgb: NDArray[np.uint8]) -> None:
        self._writer.add_image(name, rgb, step, dataformats="HWC")

    def close(self) -> None:
        self._writer.close()


class _WandB:
    def __init__(self, folder: Path, recipe: Mapping[str, Any]) -> None:
        self._wandb = _library("wandb")
        record = folder / "wandb.json"
        known = json.loads(record.read_text(encoding="utf-8"))["id"] if record.is_file() else None
        self._run = self._wandb.init(
            project="colorcli", name=folder.name, dir=str(folder), config=dict(recipe), id=known, resume="allow"
        )
        try:
            record.write_text(json.dumps({"id": self._run.id}), encoding="utf-8")
        except OSError as error:
            raise OutputError(f"{record} cannot be written: {error.strerror or error}.") from error

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self._run.log({_grouped(name): value for name, value in values.items()}, step=step)

    def picture(self, step: int, name: str, rgb: NDArray[np.uint8]) -> None:
        self._run.log({name: self._wandb.Image(rgb)}, step=step)

    def close(self) -> None:
        self._run.finish()


def _grouped(name: str) -> str:
    """Measures of the held-back photographs under one heading, the rest under another."""
    return f"held-back/{name.removeprefix('val_')}" if name.startswith("val_") else f"training/{name}"
