"""Statistics of the training photographs, computed once and cached."""

from __future__ import annotations

import hashlib
import math
import os
import zipfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from colorcli.color.metrics import colorfulness
from colorcli.color.spaces import srgb_to_lab
from colorcli.environment import cache_dir
from colorcli.sessions.machine import available_cpus
from colorcli.text import Notify
from colorcli.train.data import Entry, PhotoSet

_SIDE = 64
_BINS = 256
# Decoded side by side; no more, as there may be a million.
_AHEAD = 256

# Statistics known to this process, by kind and key.
_KNOWN: dict[tuple[str, str], dict[str, NDArray[Any]]] = {}


@dataclass(frozen=True)
class Statistics:
    """Statistics of photographs.

    Attributes:
        colorfulness: float ``(N,)``, Hasler and Suesstrunk's, of each; NaN where a photograph is left out.
        histogram: int64 ``(256, 256)``, how many pixels (of 64 x 64 thumbnails) have their a* and b*, rounded down,
            at row a* + 128 and column b* + 128.
    """

    colorfulness: NDArray[np.float64]
    histogram: NDArray[np.int64]


def statistics(photos: PhotoSet, entries: Sequence[Entry], say: Notify = lambda _: None) -> Statistics:
    """Compute the statistics, or load them from the cache; ``say`` is called before long work."""

    def count() -> dict[str, NDArray[Any]]:
        say(f"counting the colours of {len(entries)} photographs, once")
        found = _count(photos, entries)
        return {"colorfulness": found.colorfulness, "histogram": found.histogram}

    return Statistics(**once("statistics", fingerprint(entries), count))


def fingerprint(entries: Sequence[Entry]) -> str:
    """A hash of the photographs' names, file sizes and modification times."""
    digest = hashlib.sha256()
    files: dict[Path, os.stat_result] = {}
    for entry in entries:
        # A shard holds thousands.
        file = files[entry.path] if entry.path in files else files.setdefault(entry.path, entry.path.stat())
        facts = f"{entry.name}\0{entry.offset}\0{entry.size}\0{file.st_size}\0{file.st_mtime_ns}\n"
        digest.update(facts.encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def once(kind: str, key: str, count: Callable[[], dict[str, NDArray[Any]]]) -> dict[str, NDArray[Any]]:
    """The tables that ``count`` returns, or has returned before for this key: they are cached, by ``kind``.

    If several processes train together, the main one counts and broadcasts the tables; all of them must call this the
    first time that one needs a key.
    """
    if (kind, key) not in _KNOWN:
        _KNOWN[kind, key] = _counted_by_the_first(lambda: _cached(kind, key, count))
    return _KNOWN[kind, key]


def _counted_by_the_first(find: Callable[[], dict[str, NDArray[Any]]]) -> dict[str, NDArray[Any]]:
    from torch import distributed

    if not (distributed.is_available() and distributed.is_initialized()):
        return find()
    found: list[Any] = [find() if distributed.get_rank() == 0 else None]
    distributed.broadcast_object_list(found, src=0)
    tables: dict[str, NDArray[Any]] = found[0]
    return tables


def _cached(kind: str, key: str, count: Callable[[], dict[str, NDArray[Any]]]) -> dict[str, NDArray[Any]]:
    kept = cache_dir() / kind / f"{key[:32]}.npz"
    try:
        with np.load(kept, allow_pickle=False) as stored:
            return dict(stored)
    except (OSError, ValueError, zipfile.BadZipFile):
        found = count()
    # Several runs may get here at once.
    fresh = kept.with_name(f".{os.getpid()}-{kept.name}")
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        with fresh.open("wb") as file:
            np.savez_compressed(file, **found)  # type: ignore[arg-type]
        fresh.replace(kept)
    except OSError:
        # An unwritable cache only costs a minute next time.
        fresh.unlink(missing_ok=True)
    return found


def colorful(photos: PhotoSet, entries: Sequence[Entry], drop: float, say: Notify = lambda _: None) -> list[Entry]:
    """The entries without the share ``drop`` of least colourfulness (García et al. 2024, section 4: 0.1)."""
    scores = statistics(photos, entries, say).colorfulness
    known = scores[np.isfinite(scores)]
    limit = np.quantile(known, drop) if len(known) else 0.0
    return [entry for entry, score in zip(entries, scores, strict=True) if not score < limit]


def _count(photos: PhotoSet, entries: Sequence[Entry]) -> Statistics:
    histogram = np.zeros((_BINS, _BINS), np.int64)
    scores = []
    with ThreadPoolExecutor(available_cpus()) as pool:
        for start in range(0, len(entries), _AHEAD):
            for score, cells in pool.map(lambda entry: _colours(photos, entry), entries[start : start + _AHEAD]):
                scores.append(score)
                np.add.at(histogram.reshape(-1), cells, 1)
    return Statistics(np.array(scores), histogram)


def _colours(photos: PhotoSet, entry: Entry) -> tuple[float, NDArray[np.int64]]:
    """The colourfulness of a photograph (NaN if it is left out), and the histogram's cells that its pixels are in."""
    image = photos.read(entry, _SIDE)
    if image is None:
        return math.nan, np.zeros(0, np.int64)
    thumbnail = np.asarray(image.resize((_SIDE, _SIDE), Image.Resampling.BOX))
    cells = np.floor(srgb_to_lab(thumbnail / 255.0)[..., 1:]).astype(np.int64).reshape(-1, 2) + _BINS // 2
    return colorfulness(thumbnail), np.ravel_multi_index(tuple(cells.clip(0, _BINS - 1).T), (_BINS, _BINS))
