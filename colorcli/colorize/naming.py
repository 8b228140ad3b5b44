"""Names of outputs: folders are mirrored, stems are kept, and no two outputs share a name on any system."""

from __future__ import annotations

import hashlib
import os
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

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


@no_collecting()
def name_outputs(
    photographs: Sequence[Found], form: Format | None, samples: int
) -> tuple[list[tuple[str, ...]], list[Collision]]:
    """The outputs of every photograph, one per sample, as POSIX paths relative to its root; and the collisions.

    An output has its input's name. If a format changes the suffix and two names become the same (``a.tif`` beside
    ``a.jpg``), the changed one keeps its whole input name (``a.tif.jpg``). Names that differ only in case or Unicode
    composition, which are the same to many disks, get a number that depends only on the input's relative path.

    Raises:
        UsageError: two inputs have the same relative path.
    """
    _refuse_twins(photographs)
    targets = [_suffixed(found.target, form, whole=False) for found in photographs]
    clashes = _clashes(photographs, targets)
    named = list(targets)
    if clashes:
        for index in clashes:
            named[index] = _suffixed(photographs[index].target, form, whole=True)
        for index in _clashes(photographs, named):
            named[index] = _numbered(named[index], photographs[index].target)
        left = _clashes(photographs, named)
        if left:
            raise UsageError(f"No names can be found for the outputs of {photographs[left[0]].shown} and another.")
    outputs = [tuple(_fitted(_sampled(name, sample, samples)) for sample in range(samples)) for name in named]
    return outputs, _collisions(photographs, targets, named, clashes)


def _refuse_twins(photographs: Sequence[Found]) -> None:
    first: dict[tuple[Path, str], Found] = {}
    for found in photographs:
        other = first.setdefault((found.root, found.target), found)
        if other is not found:
            raise UsageError(
                f"{other.shown} and {found.shown} would have the same output; colour them into different folders, "
                "or give the folder that holds both."
            )


def _suffixed(target: str, form: Format | None, *, whole: bool) -> str:
    named = format_of_name(target)
    if form is None:
        form = output_format(named, target) if named is not None else None
    if form is None or (form == named and suffix_of(target).lower() in FORMATS[form].suffixes):
        return target
    path = PurePosixPath(target)
    keeps = whole or named is None
    return str(path.with_name((path.name if keeps else path.stem) + FORMATS[form].suffixes[0]))


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
    if len(os.fsencode(target.rpartition("/")[2])) <= _MAX_NAME:
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


def _clashes(photographs: Sequence[Found], targets: Sequence[str]) -> list[int]:
    """Indices of photographs whose target is also another's, or a folder of another's."""
    keys = [(found.root, _key(target)) for found, target in zip(photographs, targets, strict=True)]
    counts = Counter(keys)
    holders = {(found.root, target.rpartition("/")[0]) for found, target in zip(photographs, targets, strict=True)}
    folders = {
        (root, _key(str(folder)))
        for root, holder in holders
        for folder in (PurePosixPath(holder), *PurePosixPath(holder).parents)
    }
    return [index for index, key in enumerate(keys) if counts[key] > 1 or key in folders]


def _collisions(
    photographs: Sequence[Found], targets: Sequence[str], named: Sequence[str], clashes: Sequence[int]
) -> list[Collision]:
    groups: dict[tuple[Path, str], list[int]] = {}
    for index in clashes:
        groups.setdefault((photographs[index].root, _key(targets[index])), []).append(index)
    return [
        Collision(
            root,
            tuple(photographs[index].relative for index in members),
            tuple(named[index] for index in members),
        )
        for (root, _), members in groups.items()
    ]
