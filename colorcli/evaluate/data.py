"""The photographs to score: folders, tar shards, pairs, or the built-in ones."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatch
from functools import partial
from pathlib import Path, PurePosixPath

from colorcli.errors import NothingToDoError, PhotoError, UsageError
from colorcli.evaluate.protocols import Selection
from colorcli.files import name_digest, walk
from colorcli.images.formats import SUFFIXES, is_photograph_name, labels
from colorcli.images.photo import Photo
from colorcli.images.read import decode_photo
from colorcli.images.samples import color_photographs
from colorcli.registry import shards, splits
from colorcli.sessions.classes import classes_of_folders, read_classes


@dataclass(frozen=True)
class File:
    """A file on the disk, or a part of one.

    Attributes:
        path: of the file; the part is ``size`` bytes from ``offset``.
        sha256: expected hash of the content; empty where unknown.
        label: ImageNet class that the shard gives; else -1.
    """

    path: Path
    offset: int = 0
    size: int = -1
    sha256: str = ""
    label: int = -1

    def read(self) -> bytes:
        """Read it.

        Raises:
            PhotoError: it cannot be read, or has changed.
        """
        try:
            with self.path.open("rb") as handle:
                handle.seek(self.offset)
                content = handle.read(self.size)
        except OSError as error:
            raise PhotoError(f"{self.path} cannot be read: {error.strerror or error}.") from error
        if self.sha256 and hashlib.sha256(content).hexdigest() != self.sha256:
            raise PhotoError(f"{self.path} has changed since the run that names it")
        return content


@dataclass(frozen=True)
class Item:
    """A photograph to score.

    Attributes:
        name: relative, in POSIX form; it keys the random code as in ``colorize``.
        read: returns the file's bytes.
        other: returns the bytes of another tool's colouring, where pairs are scored.
        label: ImageNet class; -1 where unknown.
    """

    name: str
    read: Callable[[], bytes]
    other: Callable[[], bytes] | None = None
    label: int = -1


@dataclass(frozen=True)
class Dataset:
    """The photographs to score, sorted by name, and those that cannot be: name and reason."""

    roots: tuple[str, ...]
    items: tuple[Item, ...]
    failures: tuple[tuple[str, str], ...] = field(default=())


def find(roots: Sequence[Path], selection: Selection, classes: str = "none") -> Dataset:
    """Find the photographs in folders (recursively), tar shards and single files; without roots, the built-in ones.

    ``RUN#SET`` stands for a set of photographs of a run folder: ``training``, ``held-back`` or ``test``. Classes are
    those of ``Protocol.labels``; pseudo-labels come later, from the photographs themselves.

    Raises:
        UsageError: one of ``roots`` does not exist.
        NothingToDoError: they hold no photograph.
    """
    if not roots:
        items = tuple(Item(name, partial(bytes, content)) for name, content in color_photographs().items())
        return Dataset(("built-in",), _selected(items, selection))
    failures: list[tuple[str, str]] = []
    files = [pair for root in roots for pair in _files(root, failures)]
    if not files:
        if failures:
            raise UsageError(failures[0][1])
        raise NothingToDoError(
            f"There are no photographs in {', '.join(map(str, roots))} "
            f"({labels()} are supported, and tar files of them)."
        )
    _refuse_doubles(name for name, _ in files)
    known = _classes(files, classes)
    items = tuple(Item(name, file.read, label=known.get(name, -1)) for name, file in sorted(files, key=_name))
    return Dataset(tuple(map(str, roots)), _selected(items, selection), tuple(failures))


def _name(pair: tuple[str, File]) -> str:
    return pair[0]


def _classes(files: Sequence[tuple[str, File]], source: str) -> dict[str, int]:
    """The class of each photograph that has one, by the protocol's ``labels``."""
    if source.endswith(".csv"):
        return read_classes(Path(source), (name for name, _ in files))
    if source != "folders":
        return {}
    found = {name: file.label for name, file in files if file.label >= 0}
    parents = {name: PurePosixPath(name).parent.name for name, _ in files if name not in found}
    loose = next((name for name, parent in parents.items() if not parent), None)
    if loose is not None:
        raise UsageError(f"{loose} is not in a folder named after its class, which --labels folders requires.")
    numbers = classes_of_folders(parents.values())
    return found | {name: numbers[parent] for name, parent in parents.items()}


def find_pairs(roots: Sequence[Path], truth: Path, selection: Selection) -> Dataset:
    """Match another tool's colourings with the original photographs by relative path.

    Suffixes may differ. A colouring without an original is a failure, and so is an original without a colouring.

    Raises:
        UsageError: a folder does not exist.
        NothingToDoError: nothing matches.
    """
    failures: list[tuple[str, str]] = []
    others = dict(pair for root in roots for pair in _files(root, failures))
    truths = dict(_files(truth, failures))
    by_stem: dict[str, list[str]] = {}
    for name in others:
        by_stem.setdefault(_stem(name), []).append(name)
    items, used = [], set()
    for name, file in sorted(truths.items()):
        candidates = [name] if name in others else by_stem.get(_stem(name), [])
        if len(candidates) == 1:
            items.append(Item(name, file.read, others[candidates[0]].read))
            used.add(candidates[0])
        else:
            why = f"several colourings have its name: {', '.join(candidates)}" if candidates else "has no colouring"
            failures.append((name, f"{why} in {', '.join(map(str, roots))}"))
    failures += [(name, f"has no original in {truth}") for name in sorted(set(others) - used)]
    if not items:
        raise NothingToDoError(
            f"No photograph in {truth} has a namesake in {', '.join(map(str, roots))}; colourings and originals are "
            "matched by their paths inside the two folders."
        )
    chosen = _selected(tuple(items), selection)
    return Dataset((*map(str, roots), str(truth)), chosen, tuple(failures))


def decode(content: bytes, name: str) -> tuple[Photo, str]:
    """Decode a photograph; also returns the hexadecimal SHA-256 of its file.

    Raises:
        PhotoError: it cannot be read.
    """
    return decode_photo(content, Path(name)), hashlib.sha256(content).hexdigest()


def _files(root: Path, failures: list[tuple[str, str]]) -> Iterator[tuple[str, File]]:
    """The photographs of a root. Damaged tar files in a folder are failures; one that was named is an error."""
    named = splits.named(str(root))
    if named is not None:
        yield from _of_run(*named, failures)
    elif root.is_dir():

        def unreadable(relative: str, error: OSError) -> None:
            failures.append((relative, f"The folder {root / relative} cannot be read: {error.strerror or error}."))

        for name in walk(root, regular=True, unreadable=unreadable):
            path = root / name
            if path.suffix.lower() == ".tar":
                try:
                    yield from _members(path)
                except UsageError as error:
                    failures.append((name, str(error)))
            elif is_photograph_name(path.name):
                yield name, File(path)
    elif root.suffix.lower() == ".tar" and root.is_file():
        yield from _members(root)
    elif root.is_file():
        yield root.name, File(root)
    else:
        raise UsageError(f"{root} is neither a folder nor a file.")


def _of_run(folder: Path, name: str, failures: list[tuple[str, str]]) -> Iterator[tuple[str, File]]:
    """The photographs of the set ``name`` of a run; missing ones are failures."""
    split = splits.read(folder, name)
    there = {relative: file for root in split.roots for relative, file in _files(Path(root), failures)}
    for relative, digest in split.photographs.items():
        if relative in there:
            yield relative, dataclasses.replace(there[relative], sha256=digest)
        else:
            failures.append((relative, f"is no longer in {', '.join(split.roots)}"))


def _members(shard: Path) -> Iterator[tuple[str, File]]:
    for member in shards.photographs(shard):
        yield member.name, File(shard, member.offset, member.size, label=member.label)


def _stem(name: str) -> str:
    path = PurePosixPath(name)
    return str(path.with_suffix("")) if path.suffix.lower() in SUFFIXES else name


def _refuse_doubles(names: Iterable[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise UsageError(f"Two photographs are called {name}; score their folders one at a time.")
        seen.add(name)


def _selected(items: tuple[Item, ...], selection: Selection) -> tuple[Item, ...]:
    if selection.pattern:
        matching = tuple(item for item in items if fnmatch(PurePosixPath(item.name).name, selection.pattern))
        if matching:
            items = matching[: selection.first] if selection.first else matching
    elif selection.first:
        items = items[: selection.first]
    if selection.random and len(items) > selection.random:
        by_chance = sorted(items, key=lambda item: name_digest(item.name))
        items = tuple(sorted(by_chance[: selection.random], key=lambda item: item.name))
    return items
