"""Names of outputs: folders are mirrored, stems are kept, and no two outputs share a name on any system."""

from __future__ import annotations

import hashlib
import os
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import groupby
from operator import attrgetter
from pathlib import Path, PurePosixPath
from typing import overload

from colorcli.colorize.discover import Found
from colorcli.colorize.memory import no_collecting
from colorcli.errors import UsageError
from colorcli.images.formats import FORMATS, format_of_name, output_format, suffix_of
from colorcli.images.photo import Format

_MAX_NAME = 255


@dataclass(frozen=True)
class Collision:
    """Outputs that would have had the same name, and their names instead."""

    root: Path
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


class Names(Sequence[tuple[str, ...]]):
    """The names of the outputs of each photograph, one per sample, made when they are asked for."""

    def __init__(self, named: list[str], samples: int) -> None:
        self._named, self._samples = named, samples

    def __len__(self) -> int:
        return len(self._named)

    @overload
    def __getitem__(self, number: int) -> tuple[str, ...]: ...
    @overload
    def __getitem__(self, number: slice) -> Names: ...
    def __getitem__(self, number: int | slice) -> tuple[str, ...] | Names:
        if isinstance(number, slice):
            return Names(self._named[number], self._samples)
        name, samples = self._named[number], self._samples
        if samples == 1:
            return (_fitted(name),)
        return tuple(_fitted(_sampled(name, sample, samples)) for sample in range(samples))


@no_collecting()
def name_outputs(photographs: Sequence[Found], form: Format | None, samples: int) -> tuple[Names, list[Collision]]:
    """The outputs of every photograph, one per sample, as POSIX paths relative to its root; and the collisions.

    An output has its input's name. If a format changes the suffix and two names become the same (``a.tif`` beside
    ``a.jpg``), the changed one keeps its whole input name (``a.tif.jpg``). Names that differ only in case or Unicode
    composition, which are the same to many disks, get a number that depends only on the input's relative path.

    Args:
        photographs: sorted by root.
        form: format of the outputs; None keeps each input's own.
        samples: number of outputs of each photograph.

    Raises:
        UsageError: two inputs have the same relative path.
    """
    names: list[str] = []
    collisions: list[Collision] = []
    for root, group in groupby(photographs, key=attrgetter("root")):
        named, collided = _named(root, list(group), form)
        names += named
        collisions += collided
    return Names(names, samples), collisions


def _named(root: Path, photographs: Sequence[Found], form: Format | None) -> tuple[list[str], list[Collision]]:
    """The names of the outputs of one root before they are told apart by samples; and the collisions."""
    _refuse_twins(photographs)
    targets = [_suffixed(found.target, form, whole=False) for found in photographs]
    clashes = _clashes(targets)
    if not clashes:
        return targets, []
    named = list(targets)
    for index in clashes:
        named[index] = _suffixed(photographs[index].target, form, whole=True)
    for index in _clashes(named):
        named[index] = _numbered(named[index], photographs[index].target)
    left = _clashes(named)
    if left:
        raise UsageError(f"No names can be found for the outputs of {photographs[left[0]].shown} and another.")
    return named, _collisions(root, photographs, targets, named, clashes)


def _refuse_twins(photographs: Sequence[Found]) -> None:
    first: dict[str, Found] = {}
    for found in photographs:
        other = first.setdefault(found.target, found)
        if other is not found:
            raise UsageError(
                f"{other.shown} and {found.shown} would have the same output; colour them into different folders, "
                "or give the folder that holds both."
            )


def _suffixed(target: str, form: Format | None, *, whole: bool) -> str:
    added = _other_suffix(suffix_of(target).lower(), form)
    if not added:
        return target
    path = PurePosixPath(target)
    keeps = whole or format_of_name(target) is None
    return str(path.with_name((path.name if keeps else path.stem) + added))


@cache
def _other_suffix(suffix: str, form: Format | None) -> str:
    """The suffix that an output has instead of its input's; empty if that is kept."""
    named = format_of_name(f"x{suffix}")
    if form is None:
        form = output_format(named, f"x{suffix}") if named is not None else None
    if form is None or (form == named and suffix in FORMATS[form].suffixes):
        return ""
    return FORMATS[form].suffixes[0]


def _numbered(target: str, original: str) -> str:
    path = PurePosixPath(target)
    return str(path.with_name(f"{path.stem}.{_number(original)}{path.suffix}"))


def _number(text: str) -> str:
    return hashlib.sha256(os.fsencode(text)).hexdigest()[:8]


def _sampled(target: str, sample: int, samples: int) -> str:
    if samples == 1:
        return target
    path = PurePosixPath(target)
    return str(path.with_name(f"{path.stem}.{sample_mark(sample, samples)}{path.suffix}"))


def beside(output: str, suffix: str) -> str:
    """Name of a file beside an output; of a name that leaves no room for the suffix, cut short with a checksum."""
    path = PurePosixPath(output)
    if len(os.fsencode(path.name)) + len(suffix) <= _MAX_NAME:
        return f"{output}{suffix}"
    digest = hashlib.sha256(os.fsencode(path.name)).hexdigest()[:16]
    room = _MAX_NAME - len(digest) - len("-") - len(suffix) - 4
    kept = os.fsdecode(os.fsencode(path.name)[:room])
    return path.with_name(f"{kept}-{digest}{suffix}").as_posix()


def map_name(output: str) -> str:
    """Name of the map of an output's uncertainty."""
    return beside(output, ".uncertainty.png")


def sample_mark(sample: int, samples: int) -> str:
    """The part of a file's name that identifies its sample: ``s00``, ``s01`` and so on."""
    digits = max(2, len(str(samples - 1)))
    return f"s{sample:0{digits}d}"


def _fitted(target: str) -> str:
    """The name shortened to what file systems allow, with a number in place of the removed part."""
    name = target.rpartition("/")[2]
    if (name.isascii() and len(name) <= _MAX_NAME) or len(os.fsencode(name)) <= _MAX_NAME:
        return target
    path = PurePosixPath(target)
    end = f"~{_number(target)}{path.suffix}"
    stem = path.stem
    while len(os.fsencode(stem + end)) > _MAX_NAME:
        stem = stem[:-1]
    return str(path.with_name(stem + end))


def _key(target: str) -> str:
    if target.isascii():
        return target.lower()
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", target).casefold())


def _clashes(targets: Sequence[str]) -> list[int]:
    """Indices of targets that are also another's, or a folder of another's."""
    keys = [_key(target) for target in targets]
    holders = {target.rpartition("/")[0] for target in targets}
    folders = {
        _key(str(folder)) for holder in holders for folder in (PurePosixPath(holder), *PurePosixPath(holder).parents)
    }
    if folders.isdisjoint(different := set(keys)) and len(different) == len(keys):
        return []
    counts = Counter(keys)
    return [index for index, key in enumerate(keys) if counts[key] > 1 or key in folders]


def _collisions(
    root: Path, photographs: Sequence[Found], targets: Sequence[str], named: Sequence[str], clashes: Sequence[int]
) -> list[Collision]:
    groups: dict[str, list[int]] = {}
    for index in clashes:
        groups.setdefault(_key(targets[index]), []).append(index)
    return [
        Collision(
            root,
            tuple(photographs[index].relative for index in members),
            tuple(named[index] for index in members),
        )
        for members in groups.values()
    ]
