"""Disk cache of frozen backbones' outputs, so that each photograph passes through them once."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from colorcli.environment import cache_dir
from colorcli.errors import OutputError, UsageError
from colorcli.files import file_sha256
from colorcli.registry import backbones
from colorcli.train.data import Entry
from colorcli.train.recipe import Recipe
from colorcli.train.statistics import fingerprint


class FeatureCache:
    """Caches the frozen parts of a network that the recipe names.

    A frozen part's output for a batch is a tensor or a (named) tuple of tensors whose first axis is the batch. It is
    stored in float16, a file for each photograph, under the cache folder; what it depends on (the photographs, the
    recipe's data and the backbone) is part of the folder's name.
    """

    def __init__(self, network: nn.Module, recipe: Recipe, entries: Sequence[Entry]) -> None:
        frozen = getattr(network, "frozen_parts", {})
        self._names: Sequence[str] | None = None
        self._kinds: dict[Path, type] = {}
        self._asked = True
        twice = [name for name, count in Counter(entry.name for entry in entries).items() if count > 1]
        if twice:
            raise UsageError(
                f"{len(twice)} names (such as {twice[0]}) are those of two photographs each, whose cached outputs "
                "would be confused: rename them, or train without cache_features."
            )
        photographs = fingerprint(entries)
        for part in recipe.cache_features:
            if part not in frozen:
                raise UsageError(f"'{part}' of {recipe.system} is not frozen, so its outputs cannot be cached.")
            # Whatever the outputs depend on is part of the folder's name, the system too: it prepares the part's input.
            weights = getattr(network, "shared_sha256", {}).get(part) or file_sha256(backbones.locate(frozen[part]))
            seen = [
                recipe.system,
                recipe.preset,
                recipe.network,
                part,
                recipe.precision,
                recipe.seed,
                vars(recipe.data),
            ]
            key = json.dumps([weights, photographs, *seen], default=list)
            folder = cache_dir() / "features" / hashlib.sha256(key.encode()).hexdigest()[:32]
            with _explained(folder):
                folder.mkdir(parents=True, exist_ok=True)
            self._wrap(network.get_submodule(part), folder)

    def expect(self, names: Sequence[str]) -> None:
        """Announce the photographs of the next batch.

        Raises:
            UsageError: the previous batch bypassed the cache: the network does not call the part as a whole.
        """
        if not self._asked:
            raise UsageError("This network uses layers inside its frozen part, so the part's outputs cannot be cached.")
        self._names, self._asked = names, False

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Context for photographs outside the training set, which are not cached."""
        names, self._names = self._names, None
        try:
            yield
        finally:
            self._names = names

    def _wrap(self, module: nn.Module, folder: Path) -> None:
        plain = module.forward

        def forward(x: Tensor) -> Any:
            if self._names is None:
                return plain(x)
            self._asked = True
            files = [
                folder / f"{hashlib.sha256(name.encode('utf-8', 'surrogateescape')).hexdigest()[:32]}.safetensors"
                for name in self._names
            ]
            if folder not in self._kinds or not all(file.exists() for file in files):
                answer = plain(x)
                if not isinstance(answer, Tensor | tuple):
                    raise UsageError("This frozen part does not return tensors, so its outputs cannot be cached.")
                self._kinds[folder] = type(answer)
                with _explained(folder):
                    _store(answer, files)
                return answer
            parts = [load_file(file) for file in files]
            tensors = [torch.stack([part[key] for part in parts]).to(x.device, x.dtype) for key in sorted(parts[0])]
            kind = self._kinds[folder]
            if issubclass(kind, Tensor):
                return tensors[0]
            return kind(*tensors) if hasattr(kind, "_fields") else tuple(tensors)

        module.forward = forward


@contextlib.contextmanager
def _explained(folder: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, SafetensorError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise OutputError(
            f"The outputs of frozen parts cannot be cached in {folder} ({reason}): make room, set "
            "COLORCLI_CACHE_DIR to another folder, or train without cache_features."
        ) from error


def _store(answer: Any, files: Sequence[Path]) -> None:
    tensors = [answer] if isinstance(answer, Tensor) else list(answer)
    for index, file in enumerate(files):
        # Several runs and processes may store the same photograph at once.
        fresh = file.with_suffix(f".{os.getpid()}.new")
        save_file({f"{k:02d}": t[index].half().contiguous().cpu() for k, t in enumerate(tensors)}, fresh)
        fresh.replace(file)
