"""Training photographs: folders and tar shards, in random order, degraded like old prints, reproducible to the byte.

The k-th example of a run depends on (seed, k) alone, so a resumed run sees the same examples as an uninterrupted one,
with any number of loader threads.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import math
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageOps
from scipy.ndimage import gaussian_filter

from colorcli.color.metrics import colorfulness
from colorcli.color.spaces import LUMA601
from colorcli.errors import NothingToDoError, PhotoError, UsageError
from colorcli.files import name_digest, walk
from colorcli.images.formats import JPEG, format_of_content, is_photograph_name
from colorcli.images.icc import to_srgb
from colorcli.images.kind import judge
from colorcli.images.photo import Pixels
from colorcli.images.read import decode_pixels
from colorcli.registry import shards
from colorcli.sessions.classes import classes_of_folders, read_classes
from colorcli.sessions.machine import available_cpus

ONE_TONE = "of one tone, as a monochrome print is"
"""Why ``toned = false`` leaves a photograph out."""

_NEAR_GRAY = 4.0
# Mean sensitivity of orthochromatic films to red, green and blue, times the concentration of the Dirichlet draw.
_ORTHOCHROMATIC = (0.6, 5.0, 5.0)


@dataclass(frozen=True, slots=True)
class Entry:
    """A photograph in a folder or in a tar shard; ``label`` is its ImageNet class, -1 where none is known."""

    name: str
    path: Path
    offset: int = 0
    size: int = -1
    label: int = -1

    def sha256(self) -> str:
        """Hexadecimal SHA-256 of the file's content; empty where it cannot be read."""
        try:
            with self.path.open("rb") as file:
                file.seek(self.offset)
                return hashlib.sha256(file.read(self.size)).hexdigest()
        except OSError:
            return ""


@dataclass(frozen=True)
class Example:
    """A photograph as the network sees it.

    Attributes:
        rgb: float32 ``(3, S, S)``, sRGB 0..1, the colour truth.
        gray: float32 ``(1, S, S)``, gamma-coded 0..1, the (degraded) network input.
        label: ImageNet class, or -1.
        name: of the photograph.
    """

    rgb: NDArray[np.float32]
    gray: NDArray[np.float32]
    label: int = -1
    name: str = ""


@dataclass(frozen=True)
class Batch:
    """Examples together: ``rgb (N, 3, H, W)``, ``gray (N, 1, H, W)``, ``labels (N,)`` and the photographs' names."""

    rgb: NDArray[np.float32]
    gray: NDArray[np.float32]
    labels: NDArray[np.int64]
    names: tuple[str, ...]

    @classmethod
    def of(cls, examples: Sequence[Example]) -> Batch:
        """Stack examples of one size."""
        return cls(
            np.stack([example.rgb for example in examples]),
            np.stack([example.gray for example in examples]),
            np.array([example.label for example in examples], np.int64),
            tuple(example.name for example in examples),
        )

    def __len__(self) -> int:
        return len(self.names)

    def part(self, index: int, count: int) -> Batch:
        """The ``index``-th of ``count`` equal parts."""
        size = len(self) // count
        chosen = slice(index * size, (index + 1) * size)
        return Batch(self.rgb[chosen], self.gray[chosen], self.labels[chosen], self.names[chosen])


class PhotoSet:
    """Colour photographs in folders and tar shards, with a stable split by a hash of each name."""

    def __init__(
        self,
        roots: Sequence[Path],
        *,
        held_back: float = 0.02,
        test: float = 0.0,
        labels: str = "none",
        toned: bool = True,
    ) -> None:
        entries = [entry for root in roots for entry in _index(root)]
        if labels == "folders":
            entries = _labelled(entries)
        elif labels.endswith(".csv"):
            classes = read_classes(Path(labels), (entry.name for entry in entries))
            entries = [dataclasses.replace(entry, label=classes.get(entry.name, -1)) for entry in entries]
        if not entries:
            raise NothingToDoError(f"No photographs or tar shards were found in {', '.join(map(str, roots))}.")
        entries.sort(key=lambda entry: entry.name)
        self.train = [entry for entry in entries if _fraction(entry.name) >= held_back + test]
        self.test = [entry for entry in entries if held_back <= _fraction(entry.name) < held_back + test]
        # Sorted by hash, so that the first few are a random sample.
        self.validation = sorted((e for e in entries if _fraction(e.name) < held_back), key=lambda e: _fraction(e.name))
        self.left_out: dict[str, str] = {}
        self._toned = toned
        self._colourful: set[Entry] = set()

    def share_that_splits(self) -> float:
        """The share to hold back, in hundredths, that leaves about a tenth of few photographs; 0 if there is none."""
        fractions = sorted(_fraction(entry.name) for entry in (*self.train, *self.validation))
        few = max(1, round(len(fractions) / 10))
        shares = [math.floor(100 * fraction + 1) / 100 for fraction in fractions[few - 1 : -1]]
        return next((share for share in shares if share <= fractions[-1]), 0.0)

    def read(self, entry: Entry, short_side: int) -> Image.Image | None:
        """Read a photograph, upright in RGB; None, and listed in ``left_out``, if it is unreadable or not in colour.

        Args:
            entry: to read.
            short_side: that is needed: a much larger JPEG is decoded at a half, a quarter or an eighth of its size,
                but not below twice this.
        """
        try:
            with entry.path.open("rb") as file:
                file.seek(entry.offset)
                content = file.read(entry.size)
            image = _decoded(content, entry, short_side)
        except (OSError, ValueError, SyntaxError, PhotoError, Image.DecompressionBombError) as error:
            self.left_out[entry.name] = f"unreadable: {error}"
            return None
        if entry not in self._colourful:
            reason = self._without_colour(image)
            if reason:
                self.left_out[entry.name] = reason
                return None
            self._colourful.add(entry)
            # The file may have been repaired since.
            self.left_out.pop(entry.name, None)
        return image

    def _without_colour(self, image: Image.Image) -> str:
        """Why a photograph has no colours to learn from; empty where it has some."""
        if colorfulness(np.asarray(image.resize((64, 64), Image.Resampling.BOX))) < _NEAR_GRAY:
            return "near-gray"
        if not self._toned and judge(np.asarray(image)).kind != "color":
            return ONE_TONE
        return ""


def _decoded(content: bytes, entry: Entry, short_side: int) -> Image.Image:
    """Decode a photograph as ``colorize`` does, upright and in sRGB; a large JPEG at reduced size."""
    if format_of_content(content[:32]) is not JPEG:
        return _in_rgb(decode_pixels(content, entry.path))
    opened = Image.open(io.BytesIO(content), formats=(JPEG.name,))
    opened.draft(None, (2 * short_side, 2 * short_side))
    image = ImageOps.exif_transpose(opened)
    profile = image.info.get("icc_profile")
    if image.mode == "CMYK":
        return _in_rgb(decode_pixels(content, entry.path))
    if profile and image.mode in ("L", "RGB"):
        return _in_rgb(to_srgb(np.array(image), profile))
    return image.convert("RGB")


def _in_rgb(pixels: Pixels) -> Image.Image:
    """Convert gray or RGB of 8 or 16 bits to an 8-bit RGB image."""
    eight = pixels if pixels.dtype == np.uint8 else np.rint(pixels / 257).astype(np.uint8)
    return Image.fromarray(eight.astype(np.uint8, copy=False)).convert("RGB")


def _index(root: Path) -> Iterator[Entry]:
    if root.is_dir():
        yield from _in_folder(root)
    elif root.suffix.lower() == ".tar" and root.is_file():
        yield from _in_shard(root)
    else:
        raise UsageError(f"{root} is neither a folder nor a tar shard.")


def _in_folder(folder: Path) -> Iterator[Entry]:
    def unreadable(relative: str, error: OSError) -> None:
        raise UsageError(f"The folder {folder / relative} cannot be read: {error.strerror or error}.") from error

    for name in walk(folder, regular=True, unreadable=unreadable):
        path = folder / name
        if path.suffix.lower() == ".tar":
            yield from _in_shard(path)
        elif is_photograph_name(path.name):
            yield Entry(name, path)


def _in_shard(shard: Path) -> Iterator[Entry]:
    for member in shards.photographs(shard):
        yield Entry(member.name, shard, member.offset, member.size, member.label)


def _labelled(entries: list[Entry]) -> list[Entry]:
    """The entries with the ImageNet classes of the folders they lie in, where their shard gives none.

    Raises:
        UsageError: a folder's name is no class, and there are not the thousand folders that ImageNet has.
    """
    unknown = [entry for entry in entries if entry.label < 0]
    folders = sorted({Path(entry.name).parent.name for entry in unknown})
    if "" in folders:
        loose = next(entry.name for entry in unknown if not Path(entry.name).parent.name)
        raise UsageError(f"{loose} is not in a folder named after its class, which data.labels = folders requires.")
    numbers = classes_of_folders(folders)
    return [
        entry if entry.label >= 0 else dataclasses.replace(entry, label=numbers[Path(entry.name).parent.name])
        for entry in entries
    ]


def _fraction(name: str) -> float:
    return int.from_bytes(name_digest(name)[:4], "big") / 2**32


@dataclass(frozen=True)
class Augment:
    """How a photograph becomes an example; the attributes are those of ``recipe.DataOptions``."""

    crop: int = 128
    short_side: tuple[int, int] = (128, 192)
    degrade: float = 0.5
    rotation: float = 0.0
    films: bool = True
    exposure: float = 0.2
    fit: str = "random"
    flip: bool = True

    def example(self, image: Image.Image, rng: np.random.Generator) -> Example:
        """One example of ``crop`` x ``crop`` pixels."""
        short = int(rng.integers(self.short_side[0], self.short_side[1] + 1))
        turns = float(rng.uniform(-self.rotation, self.rotation)) if self.rotation else 0.0
        if min(image.size) >= 2 * short:
            # Rotate after resizing where possible: rotating a large photograph would be most of the work.
            image = _resize_short(image, short)
        if turns:
            image = _rotate(image, turns)
        image = self._square(image, short, rng)
        if rng.random() < 0.5 and self.flip:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        rgb = np.asarray(image, np.float32) / 255
        if rng.random() < 0.3:
            rgb = rgb ** np.float32(np.exp(rng.normal(0, self.exposure)))
        weights = LUMA601.astype(np.float32)
        if rng.random() < 0.3 and self.films:
            # Films differ in sensitivity: orthochromatic ones hardly see red.
            sensitivity = _ORTHOCHROMATIC if rng.random() < 0.35 else 12 * weights / weights.sum()
            weights = rng.dirichlet(sensitivity).astype(np.float32)
        gray = rgb @ (weights / weights.sum())
        if rng.random() < self.degrade:
            gray = _old_print(gray, rng)
        return _example(rgb, gray)

    def _square(self, image: Image.Image, short: int, rng: np.random.Generator) -> Image.Image:
        if self.fit == "stretch":
            return image.resize((self.crop, self.crop), Image.Resampling.LANCZOS)
        image = _resize_short(image, short)
        if self.fit == "centre":
            return _middle(image, self.crop)
        left = int(rng.integers(0, image.width - self.crop + 1))
        top = int(rng.integers(0, image.height - self.crop + 1))
        return image.crop((left, top, left + self.crop, top + self.crop))


def centre(image: Image.Image, side: int, name: str = "") -> Example:
    """The undegraded centre crop of ``side`` pixels, for validation."""
    rgb = np.asarray(_middle(_resize_short(image, side), side), np.float32) / 255
    return _example(rgb, rgb @ LUMA601.astype(np.float32), name)


def _example(rgb: NDArray[Any], gray: NDArray[Any], name: str = "") -> Example:
    """An example from ``rgb (S, S, 3)`` and ``gray (S, S)``."""
    return Example(
        np.ascontiguousarray(rgb.transpose(2, 0, 1), np.float32), np.asarray(gray[None], np.float32), name=name
    )


def _middle(image: Image.Image, side: int) -> Image.Image:
    left, top = (image.width - side) // 2, (image.height - side) // 2
    return image.crop((left, top, left + side, top + side))


def _resize_short(image: Image.Image, short: int) -> Image.Image:
    scale = short / min(image.size)
    if scale == 1:
        return image
    size = (max(short, round(image.width * scale)), max(short, round(image.height * scale)))
    return image.resize(size, Image.Resampling.LANCZOS)


def _rotate(image: Image.Image, turns: float) -> Image.Image:
    """Rotate about the centre; corners are filled by mirroring the image, as in Keras."""
    cos, sin = math.cos(2 * math.pi * turns), math.sin(2 * math.pi * turns)
    # Padding for the rotated corners, plus a pixel for interpolation.
    x, y = (
        min(side, math.ceil(max(0.0, side * (abs(cos) - 1) + other * abs(sin)) / 2) + 1)
        for side, other in (image.size, image.size[::-1])
    )
    padded = Image.fromarray(np.pad(np.asarray(image), ((y, y), (x, x), (0, 0)), mode="symmetric"))
    # Maps result positions to positions in the padded image.
    middle = padded.width / 2, padded.height / 2
    left, top = x - middle[0], y - middle[1]
    matrix = (cos, -sin, cos * left - sin * top + middle[0], sin, cos, sin * left + cos * top + middle[1])
    return padded.transform(image.size, Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR)


def _old_print(gray: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """Randomly degrade gray 0..1 as lens, film, age and scanner do.

    Blur, halation, the film's curve, uneven fading, grain, scratches and dust.
    """
    side = max(gray.shape)
    if rng.random() < 0.5:
        gray = gaussian_filter(gray, rng.uniform(0.3, 1.2))
    if rng.random() < 0.25:
        # Halation: light reflected from the film base around highlights.
        glow = gaussian_filter(np.clip(gray - 0.6, 0, 1), side * rng.uniform(0.02, 0.06))
        gray = gray + np.float32(rng.uniform(0.3, 1.0)) * glow
    gray = np.clip(gray, 0, 1) ** np.float32(np.exp(rng.normal(0, 0.25)))
    black, white = np.float32(rng.uniform(0, 0.15)), np.float32(rng.uniform(0.8, 1.0))
    gray = black + gray * (white - black)
    if rng.random() < 0.35:
        # Fading compresses tones.
        tone, most = np.float32(rng.uniform(0.5, 0.95)), rng.uniform(0.2, 0.7)
        faded = _smooth_field(gray.shape, rng) * np.float32(most)
        gray = gray + (tone - gray) * faded
    if rng.random() < 0.6:
        grain = rng.normal(0, rng.uniform(0.005, 0.04), gray.shape).astype(np.float32)
        if rng.random() < 0.4:
            # Clumped grain: the same amplitude, but several pixels wide.
            grain = np.float32(2.5) * gaussian_filter(grain, 0.8)
        gray = gray + grain
    if rng.random() < 0.25:
        gray = _scratched(gray, rng)
    return np.clip(gray, 0, 1).astype(np.float32, copy=False)


def _smooth_field(shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.float32]:
    """A smooth random field in 0..1, with a scale of a third of the image or more."""
    coarse = Image.fromarray(rng.uniform(0, 1, (4, 4)).astype(np.float32))
    field: NDArray[np.float32] = np.asarray(coarse.resize((shape[1], shape[0]), Image.Resampling.BICUBIC), np.float32)
    return np.clip(field, np.float32(0), np.float32(1))


def _scratched(gray: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """Add scratches and specks, one or two pixels wide, lighter or darker than the image."""
    height, width = gray.shape
    layer = Image.new("L", (width, height))
    draw = ImageDraw.Draw(layer)
    for _ in range(rng.integers(0, 4)):
        x, lean = rng.uniform(0, width), rng.normal(0, 0.2) * height
        top, bottom = sorted(rng.uniform(0, height, 2))
        draw.line([(x, top), (x + lean * (bottom - top) / height, bottom)], fill=int(rng.integers(80, 256)), width=1)
    for _ in range(rng.integers(0, 12)):
        x, y, radius = rng.uniform(0, width), rng.uniform(0, height), rng.uniform(0.3, 1.5)
        draw.ellipse([x - radius, y - radius, x + radius, y + radius], fill=int(rng.integers(80, 256)))
    mark = np.asarray(layer, np.float32) / np.float32(255)
    return gray + (np.float32(rng.random() < 0.7) - gray) * mark


class Loader:
    """Loads batches by index, ahead in threads; batch k is always the same.

    Args:
        photos: to read from.
        augment: turns photographs into examples.
        batch: photographs in a batch, over all processes.
        seed: of order and augmentation.
        share: (index, count): this process prepares the ``index``-th of ``count`` equal parts of every batch.
        fixed: whether a photograph always gives the same example.
        entries: to train on; default: all of ``photos.train``.
        ahead: number of batches to prepare ahead.
    """

    def __init__(
        self,
        photos: PhotoSet,
        augment: Augment,
        *,
        batch: int,
        seed: int,
        share: tuple[int, int] = (0, 1),
        fixed: bool = False,
        entries: Sequence[Entry] | None = None,
        ahead: int = 4,
    ) -> None:
        self.photos, self.augment, self.seed, self.fixed = photos, augment, seed, fixed
        self.size, self.share = batch, share
        self.entries = photos.train if entries is None else entries
        self.waited = 0.0
        self._ahead = ahead
        self._pool = ThreadPoolExecutor(min(16, available_cpus()), thread_name_prefix="data")
        self._orders: dict[int, NDArray[np.int64]] = {}
        self._lock = threading.Lock()

    def stream(self, first: int, count: int) -> Iterator[Batch]:
        """Batches ``first`` to ``first + count - 1``, in order; ``waited`` sums the seconds spent waiting for them."""
        index, of = self.share
        own = range(index * self.size // of, (index + 1) * self.size // of)
        pending: list[list[Future[Example]]] = []
        following = first
        for _ in range(count):
            while len(pending) < self._ahead and following < first + count:
                pending.append([self._pool.submit(self._example, following * self.size + slot) for slot in own])
                following += 1
            clock = time.monotonic()
            batch = Batch.of([future.result() for future in pending.pop(0)])
            self.waited += time.monotonic() - clock
            yield batch

    def _example(self, k: int) -> Example:
        count = len(self.entries)
        epoch, position = divmod(k, count)
        for skip in range(count):
            entry = self.entries[self._order(epoch)[(position + skip) % count]]
            image = self.photos.read(entry, self.augment.short_side[1])
            if image is not None:
                own = int(_fraction(entry.name) * 2**32) if self.fixed else k
                rng = np.random.Generator(np.random.Philox(key=[self.seed, own]))
                return dataclasses.replace(self.augment.example(image, rng), label=entry.label, name=entry.name)
        raise NothingToDoError("No training photograph is both readable and in colour.")

    def _order(self, epoch: int) -> NDArray[np.int64]:
        with self._lock:
            if epoch not in self._orders:
                self._orders = {key: order for key, order in self._orders.items() if key >= epoch - 1}
                rng = np.random.Generator(np.random.Philox(key=[self.seed, 2**63 + epoch]))
                self._orders[epoch] = rng.permutation(len(self.entries))
            return self._orders[epoch]
