"""The run folder: recipe, environment, metrics, pictures, checkpoints, and the model itself.

A run folder is a model directory (model.toml and weights.safetensors) with the record of its making beside it::

    recipe.json  environment.json  metrics.jsonl  curves.png  samples/step-000500.png  figures/*.png  splits/*.json
    checkpoint/{state.json, *.safetensors}   model.toml  weights.safetensors
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import shutil
import tomllib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

import colorcli
from colorcli.errors import ModelError, OutputError, UsageError
from colorcli.files import file_sha256, write_atomically
from colorcli.locks import locked
from colorcli.networks.colorizer import Colorizer
from colorcli.registry import backbones, splits
from colorcli.registry.card import CARD, WEIGHTS, ModelCard, Shared, write_card
from colorcli.registry.registry import own_tensors
from colorcli.report.plots import curves
from colorcli.sessions.machine import available_cpus
from colorcli.text import Notify
from colorcli.train.data import Entry, PhotoSet
from colorcli.train.recipe import Recipe
from colorcli.train.trackers import Tracker

# Fewer are hashed before anyone wonders what takes so long.
_MANY = 2000


class Run:
    """A run folder on disk. Raises OutputError where it cannot be written."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with self._writing("run folder"):
            (folder / "samples").mkdir(parents=True, exist_ok=True)
        self.checkpoint = folder / "checkpoint"
        self.trackers: list[Tracker] = []

    @property
    def begun(self) -> bool:
        """Whether there is a checkpoint to go on from."""
        return any((folder / "state.json").exists() for folder in self._checkpoints)

    @property
    def _checkpoints(self) -> tuple[Path, Path]:
        """Where the last whole checkpoint may be: between two renames it is in the second folder."""
        return self.checkpoint, self.folder / "checkpoint.old"

    def discard(self) -> None:
        """Remove the folder of a run that never began, if it is empty."""
        with contextlib.suppress(OSError):
            (self.folder / "samples").rmdir()
            self.folder.rmdir()

    @contextlib.contextmanager
    def _writing(self, what: str) -> Iterator[None]:
        """Turn write errors into OutputErrors; earlier files stay complete."""
        try:
            yield
        except (OSError, SafetensorError) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            kept = "; the last checkpoint is whole: go on with --resume" if self.begun else ""
            raise OutputError(f"The {what} in {self.folder} could not be written ({reason}){kept}.") from error

    def describe(self, recipe: Recipe, data: dict[str, Any], command: list[str], step: int) -> dict[str, list[Any]]:
        """Write the effective recipe, and add this start of the run to the record of its starts.

        A run may be resumed with another recipe, such as a lower learning rate: the changes are recorded.

        Returns:
            The fields of the recipe that differ from those of the start before, and the numbers of photographs where
            they do: old value, new value.
        """
        before = _read_json(self.folder / "recipe.json")
        starts = _read_json(self.folder / "environment.json") or []
        now = json.loads(json.dumps(recipe.to_dict()))
        changed: dict[str, list[Any]] = _changes(before, now) if before else {}
        if starts:
            old, new = ({name: facts[name] for name in ("train", "validation")} for facts in (starts[-1]["data"], data))
            changed |= _changes(old, new, "photographs")
        start = {
            "step": step,
            "command": command,
            "changed": changed,
            "data": data,
            "python": platform.python_version(),
            "torch": torch.__version__,
            "colorcli": colorcli.__version__,
            "machine": platform.machine(),
            "threads": torch.get_num_threads(),
        }
        with self._writing("record"):
            write_json(self.folder / "recipe.json", now)
            write_json(self.folder / "environment.json", [*starts, start])
        return changed

    def write_splits(self, roots: Sequence[Path], photos: PhotoSet, say: Notify = lambda text: None) -> None:
        """Write which photographs are for training, which are held back, and which are for a test, with their hashes.

        Every photograph is read once for that; a resumed run takes the hashes that it wrote when it began.
        """
        whole = tuple(str(root.absolute()) for root in roots)
        sets = {splits.TRAINING: photos.train, splits.HELD_BACK: photos.validation, splits.TEST: photos.test}
        known = self._hashed(whole)
        count = sum(entry.name not in known for entries in sets.values() for entry in entries)
        if count >= _MANY:
            say(f"reading {count:,} photographs once, for their hashes in {self.folder / 'splits'}")

        def digest(entry: Entry) -> str:
            return known.get(entry.name) or entry.sha256()

        with self._writing("record"), ThreadPoolExecutor(available_cpus()) as pool:
            for name, entries in sets.items():
                digests = pool.map(digest, entries)
                photographs = dict(zip((entry.name for entry in entries), digests, strict=True))
                splits.write(self.folder, name, splits.Split(whole, photographs))

    def _hashed(self, roots: tuple[str, ...]) -> dict[str, str]:
        """Hashes by name that an earlier start has written for the same folders."""
        known: dict[str, str] = {}
        for name in splits.NAMES:
            with contextlib.suppress(UsageError):
                split = splits.read(self.folder, name)
                known |= split.photographs if split.roots == roots else {}
        return known

    def locked(self) -> AbstractContextManager[object]:
        """Hold the run folder's lock. Raises OutputError where another run has it."""
        return locked(self.folder, self.folder / ".lock", elsewhere=False)

    def log(self, record: dict[str, Any]) -> None:
        """Append one record to metrics.jsonl."""
        with self._writing("log"), (self.folder / "metrics.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")
        numbers = {key: value for key, value in record.items() if key != "step" and isinstance(value, int | float)}
        for tracker in self.trackers:
            tracker.log(record["step"], numbers)

    def truncate_log(self, step: int) -> None:
        """Drop the records after ``step``: a resumed run writes them again."""
        path = self.folder / "metrics.jsonl"
        if not path.exists():
            return
        records = [line for line in path.read_text(encoding="utf-8").splitlines() if _step(line) <= step]
        with self._writing("log"):
            write_atomically(path, "".join(line + "\n" for line in records).encode("utf-8"))

    def save(self, state: dict[str, Any], tensors: dict[str, dict[str, Tensor]]) -> None:
        """Replace the checkpoint. At every moment a whole one is on disk: ``checkpoint`` or ``checkpoint.old``."""
        fresh, (_, old) = self.folder / "checkpoint.new", self._checkpoints
        with self._writing("checkpoint"):
            shutil.rmtree(fresh, ignore_errors=True)
            try:
                fresh.mkdir()
                for name, table in tensors.items():
                    save_file({key: value.contiguous() for key, value in table.items()}, fresh / f"{name}.safetensors")
                    _settle(fresh / f"{name}.safetensors")
                write_json(fresh / "state.json", state)
                _settle(fresh)
            except BaseException:
                # Half a checkpoint is useless, and its space is needed on a full disk.
                shutil.rmtree(fresh, ignore_errors=True)
                raise
            shutil.rmtree(old, ignore_errors=True)
            if self.checkpoint.exists():
                self.checkpoint.rename(old)
            fresh.rename(self.checkpoint)
            _settle(self.folder)
            shutil.rmtree(old, ignore_errors=True)

    @property
    def left_out(self) -> dict[str, str]:
        """The photographs skipped so far, with the reasons."""
        found: dict[str, str] = _read_json(self.folder / "left_out.json") or {}
        return found

    def leave_out(self, reasons: dict[str, str]) -> None:
        """Write the photographs skipped so far, with the reasons."""
        with self._writing("record"):
            write_json(self.folder / "left_out.json", dict(sorted(dict(reasons).items())))

    def model_step(self) -> int | None:
        """The step of the model in the folder; None where there is none."""
        for name in (CARD, backbones.CARD):
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
                card = tomllib.loads((self.folder / name).read_text(encoding="utf-8"))
                return int(card["training"]["steps"])
        return None

    def write_model(self, network: Colorizer, recipe: Recipe, training: dict[str, Any]) -> None:
        """Make the run folder a model: float16 weights, and the card that describes them.

        Frozen parts are not among the weights; the card names the backbones that hold them.
        """
        sha256 = self._write_weights(own_tensors(network, network.frozen_parts))
        card = ModelCard(
            name=recipe.system,
            tag=recipe.preset,
            system=recipe.system,
            preset=recipe.preset,
            network=network.presets[recipe.preset] | recipe.network,
            size=network.size_rule,
            controls=network.controls,
            licence=recipe.licence,
            source=recipe.source,
            training={"recipe": recipe.name, **training},
            weights_sha256=sha256,
            weights_dtype="float16",
            backbones={
                part: Shared(name, network.shared_sha256.get(part) or file_sha256(backbones.locate(name)))
                for part, name in network.frozen_parts.items()
            },
        )
        with self._writing("model card"):
            write_card(card, self.folder)

    def write_backbone(self, network: nn.Module, recipe: Recipe, training: dict[str, Any]) -> None:
        """Make the run folder a backbone: float16 weights, and a ``backbone.toml`` that says where they come from."""
        backbones.write_card(
            backbones.Backbone(
                name=recipe.system,
                sha256=self._write_weights(network.state_dict()),
                kind="generator" if recipe.objective == "generative" else "backbone",
                title=f"trained by the recipe {recipe.name}",
                licence=recipe.licence,
                training={"recipe": recipe.name, **training},
            ),
            self.folder,
        )

    def _write_weights(self, tensors: dict[str, Tensor]) -> str:
        """Replace the weights file, in float16; its SHA-256."""
        fresh = self.folder / f".{WEIGHTS}.new"
        halved = {
            name: (value.half() if value.is_floating_point() else value).contiguous().cpu()
            for name, value in tensors.items()
        }
        with self._writing("weights"):
            try:
                save_file(halved, fresh)
                _settle(fresh)
                # safetensors makes files that only their owner may read.
                fresh.chmod(0o644)
                fresh.replace(self.folder / WEIGHTS)
            except BaseException:
                fresh.unlink(missing_ok=True)
                raise
        return file_sha256(self.folder / WEIGHTS)

    def restore(self) -> tuple[dict[str, Any], dict[str, dict[str, Tensor]]] | None:
        """The last whole checkpoint, or None.

        Raises:
            ModelError: it is damaged.
        """
        for folder in self._checkpoints:
            if (folder / "state.json").exists():
                try:
                    state = json.loads((folder / "state.json").read_text(encoding="utf-8"))
                    return state, {path.stem: load_file(path) for path in sorted(folder.glob("*.safetensors"))}
                except (OSError, ValueError, SafetensorError) as error:
                    raise ModelError(
                        f"The checkpoint in {folder} is damaged ({error}): put back a copy, or train into another "
                        "folder with -o."
                    ) from error
        return None

    def sample_grid(self, step: int, rows: list[list[NDArray[np.uint8]]]) -> None:
        """Save rows of images ``(H, W, 3)``, one row a photograph: gray, outputs, original."""
        grid = np.concatenate([np.concatenate(row, 1) for row in rows], 0)
        with self._writing("sample grid"):
            Image.fromarray(grid).save(self.folder / "samples" / f"step-{step:06d}.png")
        for tracker in self.trackers:
            tracker.picture(step, "samples", grid)

    def figure(self, name: str, image: Image.Image) -> None:
        """Save a figure as ``figures/NAME.png``."""
        with self._writing("figure"):
            (self.folder / "figures").mkdir(exist_ok=True)
            image.save(self.folder / "figures" / f"{name}.png")

    def draw_curves(self) -> None:
        """Draw every number in metrics.jsonl against the step into curves.png, with a line where a phase begins."""
        series: dict[str, list[tuple[float, float]]] = {}
        phases: dict[str, float] = {}
        last = 0.0
        for record in read_log(self.folder):
            phases.setdefault(record["phase"], last)
            last = record["step"]
            for key, value in record.items():
                if key not in ("step", "phase") and isinstance(value, int | float):
                    series.setdefault(key, []).append((record["step"], value))
        if series:
            with self._writing("curves"):
                drawn = curves(
                    {name: {name: points} for name, points in series.items()}, "step", [*phases.values()][1:]
                )
                drawn.save(self.folder / "curves.png")


def read_log(folder: Path) -> list[dict[str, Any]]:
    """The records of a run's metrics.jsonl, each with its ``step`` and ``phase``."""
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """An optimizer's state as named tensors, for safetensors files."""
    state = optimizer.state_dict()["state"]
    return {f"{index}.{key}": torch.as_tensor(value) for index, slot in state.items() for key, value in slot.items()}


def load_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Restore a state from ``optimizer_tensors``."""
    whole = optimizer.state_dict()
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        index, key = name.split(".", 1)
        state.setdefault(int(index), {})[key] = value
    optimizer.load_state_dict({"state": state, "param_groups": whole["param_groups"]})


def _step(line: str) -> int:
    try:
        return int(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        # A line torn by a power cut.
        return 2**62


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _changes(before: Any, after: Any, path: str = "") -> dict[str, list[Any]]:
    """The fields in which two recipes differ, by their dotted path: the old value and the new one."""
    found: list[dict[str, list[Any]]] = []
    if isinstance(before, dict) and isinstance(after, dict):
        # A field that an earlier version did not know, or that this recipe does not set, is None there.
        names = {**before, **after}
        found = [_changes(before.get(name), after.get(name), f"{path}.{name}".lstrip(".")) for name in names]
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        found = [_changes(*pair, f"{path}.{index}") for index, pair in enumerate(zip(before, after, strict=True))]
    elif before != after:
        found = [{path: [before, after]}]
    return {name: pair for part in found for name, pair in part.items()}


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` so that the file is never seen half-written."""
    write_atomically(path, (json.dumps(value, indent=2) + "\n").encode("utf-8"))


def _settle(path: Path) -> None:
    """Sync a file's content, or a folder's renames, to disk."""
    folder = path.is_dir()
    # Not every system lets folders be opened for this.
    with contextlib.suppress(OSError) if folder else contextlib.nullcontext():
        descriptor = os.open(path, os.O_RDONLY if folder else os.O_RDWR)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
