"""Training photographs: folders and tar shards, read at random, degraded like old prints, repeatable to the byte.

What the k-th sample of a run looks like depends on (seed, k) alone, so a resumed run sees what an unbroken one
would have seen, whatever the number of loader threads.
"""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from colorcli.color.metrics import colorfulness
from colorcli.errors import NothingToDoError, UsageError

_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff")
_NEAR_GRAY = 4.0
LUMA601 = (0.2989, 0.5870, 0.1140)


@dataclass(frozen=True)
class _Entry:
    name: str
    path: Path
    offset: int = 0
    size: int = -1


@dataclass(frozen=True)
class Batch:
    """Training samples.

    Attributes:
        rgb: float32 ``(N, 3, H, W)``, sRGB 0..1, the colour truth.
        gray: float32 ``(N, 1, H, W)``, gamma-coded 0..1, the (degraded) network input.
    """

    rgb: NDArray[np.float32]
    gray: NDArray[np.float32]


class PhotoSet:
    """Colour photographs in folders and tar shards, split by a hash of each name so that the split is stable."""

    def __init__(self, roots: Sequence[Path], *, held_back: float = 0.02) -> None:
        entries = [entry for root in roots for entry in _index(root)]
        if not entries:
            raise NothingToDoError(f"No photographs or tar shards were found in {', '.join(map(str, roots))}.")
        entries.sort(key=lambda entry: entry.name)
        self.train = [entry for entry in entries if _fraction(entry.name) >= held_back]
        # In the order of their hashes, so that the first few are a fair sample.
        self.validation = sorted((e for e in entries if _fraction(e.name) < held_back), key=lambda e: _fraction(e.name))
        self.left_out: dict[str, str] = {}

    def read(self, entry: _Entry) -> Image.Image | None:
        """The photograph in RGB, or None (and counted in ``left_out``) where it is unreadable or near-gray."""
        try:
            with entry.path.open("rb") as file:
                file.seek(entry.offset)
                image = Image.open(io.BytesIO(file.read(entry.size))).convert("RGB")
        except (OSError, ValueError, Image.DecompressionBombError) as error:
            self.left_out[entry.name] = f"unreadable: {error}"
            return None
        thumbnail = np.asarray(image.resize((64, 64), Image.Resampling.BOX))
        if colorfulness(thumbnail) < _NEAR_GRAY:
            self.left_out[entry.name] = "near-gray"
            return None
        return image


def _index(root: Path) -> Iterator[_Entry]:
    if root.is_dir():
        for path in sorted(root.rglob("*")):
            if path.suffix.lower() == ".tar":
                yield from _index(path)
            elif path.suffix.lower() in _SUFFIXES and path.is_file():
                yield _Entry(path.relative_to(root).as_posix(), path)
    elif root.suffix.lower() == ".tar" and root.is_file():
        with tarfile.open(root) as archive:
            for member in archive:
                if member.isfile() and member.name.lower().endswith(_SUFFIXES):
                    yield _Entry(f"{root.stem}/{member.name}", root, member.offset_data, member.size)
    else:
        raise UsageError(f"{root} is neither a folder nor a tar shard.")


def _fraction(name: str) -> float:
    return int.from_bytes(hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest()[:4], "big") / 2**32


@dataclass(frozen=True)
class Augment:
    """How a photograph becomes a sample.

    Attributes:
        crop: side of the square crop in pixels.
        short_side: the photograph is first resized so that its short side lies in this range.
        degrade: probability that the gray input is made to look like an old print.
    """

    crop: int = 128
    short_side: tuple[int, int] = (128, 192)
    degrade: float = 0.5

    def sample(self, image: Image.Image, rng: np.random.Generator) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """One (rgb ``(3, S, S)``, gray ``(1, S, S)``) pair, 0..1."""
        short = int(rng.integers(self.short_side[0], self.short_side[1] + 1))
        image = _resize_short(image, short)
        left = int(rng.integers(0, image.width - self.crop + 1))
        top = int(rng.integers(0, image.height - self.crop + 1))
        image = image.crop((left, top, left + self.crop, top + self.crop))
        if rng.random() < 0.5:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        rgb = np.asarray(image, np.float32) / 255
        if rng.random() < 0.3:
            rgb = rgb ** np.float32(np.exp(rng.normal(0, 0.2)))
        weights = np.asarray(LUMA601, np.float32)
        if rng.random() < 0.3:
            # Films see colours differently: orthochromatic ones hardly see red.
            weights = rng.dirichlet(4 * weights / weights.sum() * 3).astype(np.float32)
        gray = rgb @ (weights / weights.sum())
        if rng.random() < self.degrade:
            gray = _old_print(gray, rng)
        return np.ascontiguousarray(rgb.transpose(2, 0, 1)), gray[None].astype(np.float32)

    def centre(self, image: Image.Image, side: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """The undegraded centre crop of ``side`` pixels, for validation."""
        image = _resize_short(image, side)
        left, top = (image.width - side) // 2, (image.height - side) // 2
        rgb = np.asarray(image.crop((left, top, left + side, top + side)), np.float32) / 255
        gray = rgb @ np.asarray(LUMA601, np.float32)
        return np.ascontiguousarray(rgb.transpose(2, 0, 1)), np.asarray(gray[None], np.float32)


def _resize_short(image: Image.Image, short: int) -> Image.Image:
    scale = short / min(image.size)
    size = (max(short, round(image.width * scale)), max(short, round(image.height * scale)))
    return image.resize(size, Image.Resampling.LANCZOS)


def _old_print(gray: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """Blur, fading and grain, each by chance."""
    if rng.random() < 0.5:
        blurred = Image.fromarray((gray * 255).astype(np.uint8)).filter(
            ImageFilter.GaussianBlur(float(rng.uniform(0.3, 1.2)))
        )
        gray = np.asarray(blurred, np.float32) / np.float32(255)
    gray = np.clip(gray, 0, 1) ** np.float32(np.exp(rng.normal(0, 0.25)))
    black, white = np.float32(rng.uniform(0, 0.15)), np.float32(rng.uniform(0.8, 1.0))
    gray = black + gray * (white - black)
    if rng.random() < 0.6:
        gray = gray + rng.normal(0, rng.uniform(0.005, 0.04), gray.shape).astype(np.float32)
    return np.clip(gray, 0, 1)


class Loader:
    """Batches by index, prepared ahead by threads; ``batch(k)`` is the same whenever and wherever it is asked for."""

    def __init__(self, photos: PhotoSet, augment: Augment, *, batch: int, seed: int, ahead: int = 4) -> None:
        self.photos, self.augment, self.size, self.seed = photos, augment, batch, seed
        self._ahead = ahead
        self._pool = ThreadPoolExecutor(max(1, min(4, (os.cpu_count() or 1))), thread_name_prefix="data")
        self._orders: dict[int, NDArray[np.int64]] = {}
        self._lock = threading.Lock()

    def stream(self, first: int, count: int) -> Iterator[Batch]:
        """Batches ``first`` to ``first + count - 1``, in order."""
        pending: list[list[Future[tuple[NDArray[np.float32], NDArray[np.float32]]]]] = []
        following = first
        for _ in range(count):
            while len(pending) < self._ahead and following < first + count:
                pending.append(
                    [self._pool.submit(self._sample, following * self.size + slot) for slot in range(self.size)]
                )
                following += 1
            samples = [future.result() for future in pending.pop(0)]
            yield Batch(np.stack([s[0] for s in samples]), np.stack([s[1] for s in samples]))

    def _sample(self, k: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        count = len(self.photos.train)
        epoch, position = divmod(k, count)
        rng = np.random.Generator(np.random.Philox(key=[self.seed, k]))
        for skip in range(count):
            image = self.photos.read(self.photos.train[self._order(epoch)[(position + skip) % count]])
            if image is not None:
                return self.augment.sample(image, rng)
        raise NothingToDoError("None of the training photographs is both readable and in colour.")

    def _order(self, epoch: int) -> NDArray[np.int64]:
        with self._lock:
            if epoch not in self._orders:
                self._orders = {key: order for key, order in self._orders.items() if key >= epoch - 1}
                rng = np.random.Generator(np.random.Philox(key=[self.seed, 2**63 + epoch]))
                self._orders[epoch] = rng.permutation(len(self.photos.train))
            return self._orders[epoch]
