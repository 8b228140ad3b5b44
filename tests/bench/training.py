"""Whether photographs are loaded as fast as training needs them, and the cost of listing large collections."""

from __future__ import annotations

import tarfile
import time
import tracemalloc
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from skimage import data

from colorcli.train import recipe as recipes
from colorcli.train.data import Loader, PhotoSet
from colorcli.train.loop import Trainer, augmentation
from colorcli.train.objectives.base import Setup
from colorcli.train.run import Run
from colorcli.train.statistics import statistics

from .common import Row

# Recipes that need no installed teacher.
RECIPES = ("convnet-lite", "vgg16-dahl-lite", "efficientnet-lite", "conv-fc-gan-lite")
_TURNS = 3
_NAMES = 50_000


def measure(folder: Path, count: int, names: Sequence[str]) -> list[Row]:
    """Photographs per second from the loader alone, relative to those that a recipe's steps need.

    In wall time, which counts with a GPU, and in CPU time, since without a GPU decoding and training share the CPU.
    """
    jpegs = _photographs(folder / "jpegs", count)
    sources = {"folder": PhotoSet([jpegs]), "shards": PhotoSet([_shards(jpegs, folder / "shards")])}
    rows = []
    for name in names:
        step, size = _step(name, sources["folder"], folder / name)
        works = {"step": (step, size)}
        works |= {kind: (_loading(name, photos, size), 2 * size) for kind, photos in sources.items()}
        least = {kind: np.full(2, np.inf) for kind in works}
        # Alternate, so that other load on the machine affects all of them.
        for _ in range(_TURNS):
            for kind, (work, photographs) in works.items():
                least[kind] = np.minimum(least[kind], np.array(_seconds(work)) / photographs)
        shown = ", ".join(f"{kind} {1 / wall:.0f}/s ({1000 * cpu:.1f} ms)" for kind, (wall, cpu) in least.items())
        print(f"{name}, photographs a second (CPU time of each): {shown}")
        for kind in sources:
            wall, cpu = least["step"] / least[kind]
            what = f"loader by steps, {name}, {kind}: photos/s (CPU time)"
            rows.append(Row(what, f"{wall:.1f} x ({cpu:.1f} x)", "≥ 1"))
    return [*rows, *_large(folder), *_scan(sources["folder"])]


def _step(name: str, photos: PhotoSet, folder: Path) -> tuple[Callable[[], object], int]:
    """A training step of a recipe's first phase on one batch, and the size of the batch."""
    recipe = recipes.load(name)
    trainer = Trainer(Setup(recipe, photos), Run(folder))
    phase = recipe.phases[0]
    batch = next(trainer._loader(phase).stream(0, 1))
    return lambda: trainer._train_step(phase, 0, batch), phase.batch


def _loading(name: str, photos: PhotoSet, size: int) -> Callable[[], object]:
    """A function that loads the recipe's next two batches."""
    loader = Loader(photos, augmentation(recipes.load(name).data), batch=size, seed=0)
    turns = iter(range(1000))
    return lambda: [len(batch) for batch in loader.stream(2 * next(turns), 2)]


def _seconds(work: Callable[[], object]) -> tuple[float, float]:
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


def _large(folder: Path) -> list[Row]:
    """Listing and splitting a collection of empty files."""
    root = folder / "large"
    for index in range(_NAMES):
        if index % 1000 == 0:
            (root / f"{index // 1000:03d}").mkdir(parents=True)
        (root / f"{index // 1000:03d}" / f"photograph-{index:06d}.jpg").touch()
    PhotoSet([root])
    cpu = _seconds(lambda: PhotoSet([root]))[1]
    tracemalloc.start()
    photos = PhotoSet([root])
    memory = tracemalloc.get_traced_memory()[0] / 2**20
    tracemalloc.stop()
    assert len(photos.train) + len(photos.validation) == _NAMES
    return [
        Row(f"{_NAMES:,} photographs listed and split: CPU time, memory", f"{cpu:.2f} s, {memory:.0f} MiB", "≤ 5 s")
    ]


def _scan(photos: PhotoSet) -> list[Row]:
    """Counting colours (for rebalancing and the colourfulness filter): the first time, and from the cache."""
    entries = photos.train
    first, again = (_seconds(lambda: statistics(photos, entries))[1] for _ in range(2))
    what = "counting colours: CPU time a photograph, first and from the cache"
    return [Row(what, f"{1000 * first / len(entries):.2f} ms, {1000 * again / len(entries):.2f} ms")]


def _photographs(folder: Path, count: int) -> Path:
    """Colour JPEGs of the size of ImageNet's, made from real photographs, each slightly different."""
    folder.mkdir(parents=True)
    sources = [data.astronaut, data.coffee, data.chelsea, data.rocket]
    for index in range(count):
        image = np.asarray(Image.fromarray(sources[index % len(sources)]()).resize((500, 375)))
        grain = 2 * np.random.default_rng(index).standard_normal(image.shape, np.float32)
        Image.fromarray(np.clip(image + grain, 0, 255).astype(np.uint8)).save(folder / f"{index:04d}.jpg", quality=90)
    return folder


def _shards(folder: Path, shards: Path) -> Path:
    """The same photographs in two tar shards."""
    shards.mkdir()
    for index in range(2):
        with tarfile.open(shards / f"shard-{index:03d}.tar", "w") as archive:
            for path in sorted(folder.iterdir())[index::2]:
                archive.add(path, path.name)
    return shards
