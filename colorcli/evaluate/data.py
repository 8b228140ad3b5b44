"""The photographs to score: folders, tar shards, pairs, or the built-in ones."""

from __future__ import annotations

import hashlib
import tarfile
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


@dataclass(frozen=True)
class File:
    """A file on the disk, or a part of one."""

    path: Path
    offset: int = 0
    size: int = -1

    def read(self) -> bytes:
        """Its content.

        Raises:
            PhotoError: it cannot be read.
        """
        try:
            with self.path.open("rb") as handle:
                handle.seek(self.offset)
                return handle.read(self.size)
        except OSError as error:
            raise PhotoError(f"{self.path} cannot be read: {error.strerror or error}.") from error


@dataclass(frozen=True)
class Item:
    """A photograph to score.

    Attributes:
        name: relative, in POSIX form; it keys the random code as in ``colorize``.
        read: gives the file's bytes.
        other: gives the bytes of another tool's colouring of it, where pairs are scored.
    """

    name: str
    read: Callable[[], bytes]
    other: Callable[[], bytes] | None = None


@dataclass(frozen=True)
class Found:
    """What there is to score, in the order of names, and what is left out of it: name and reason."""

    roots: tuple[str, ...]
    items: tuple[Item, ...]
    failures: tuple[tuple[str, str], ...] = field(default=())


def find(roots: Sequence[Path], selection: Selection) -> Found:
    """The photographs in folders (with all that is in them), tar shards and single files; without any, the built-in.

    Raises:
        UsageError: one of ``roots`` is not there.
        NothingToDoError: they hold no photograph.
    """
    if not roots:
        items = tuple(Item(name, partial(bytes, content)) for name, content in color_photographs().items())
        return Found(("built-in",), _selected(items, selection))
    failures: list[tuple[str, str]] = []
    files = [pair for root in roots for pair in _files(root, failures)]
    if not files:
        if failures:
            raise UsageError(failures[0][1])
        raise NothingToDoError(
            f"There are no photographs in {', '.join(map(str, roots))} ({labels()} are known, and tar files of them)."
        )
    _refuse_doubles(name for name, _ in files)
    items = tuple(Item(name, file.read) for name, file in sorted(files, key=lambda pair: pair[0]))
    return Found(tuple(map(str, roots)), _selected(items, selection), tuple(failures))


def find_pairs(roots: Sequence[Path], truth: Path, selection: Selection) -> Found:
    """Another tool's colourings and the photographs they should look like, matched by relative path.

    A colouring may have another suffix than its truth; one without truth is a failure, a truth without colouring too.

    Raises:
        UsageError: a folder is not there.
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
    return Found((*map(str, roots), str(truth)), chosen, tuple(failures))


def decode(content: bytes, name: str) -> tuple[Photo, str]:
    """A photograph, and the hexadecimal SHA-256 of its file.

    Raises:
        PhotoError: it cannot be read.
    """
    return decode_photo(content, Path(name)), hashlib.sha256(content).hexdigest()


def _files(root: Path, failures: list[tuple[str, str]]) -> Iterator[tuple[str, File]]:
    """The photographs of a root; damaged tar files in a folder join the failures, one that was named is an error."""
    if root.is_dir():

        def unreadable(relative: str, error: OSError) -> None:
            failures.append((relative, f"The folder {root / relative} cannot be read: {error.strerror or error}."))

        for path, name in walk(root, regular=True, unreadable=unreadable):
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


def _members(shard: Path) -> Iterator[tuple[str, File]]:
    try:
        # "r:" takes no compressed ones: their members have no place in the file
        with tarfile.open(shard, "r:") as archive:
            for member in archive:
                if member.isfile() and is_photograph_name(PurePosixPath(member.name).name):
                    yield f"{shard.stem}/{member.name}", File(shard, member.offset_data, member.size)
    except (OSError, tarfile.TarError) as error:
        raise UsageError(f"The tar file {shard} cannot be read ({error}); it is damaged, or compressed.") from error


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
