"""ImageNet's thousand classes, by name or number."""

from __future__ import annotations

import csv
import difflib
from collections.abc import Iterable
from functools import cache
from importlib import resources
from pathlib import Path

from colorcli.errors import UsageError
from colorcli.text import reason


@cache
def class_names() -> tuple[str, ...]:
    """The short English names of the 1000 classes of ImageNet-1K, in order."""
    text = resources.files("colorcli.sessions").joinpath("imagenet_classes.txt").read_text(encoding="utf-8")
    return tuple(text.splitlines())


def find_classes(names: str) -> int | tuple[int, ...]:
    """The index of the class that is named, or of each of several, with commas between them.

    Raises:
        UsageError: there is no such class, or one is named twice.
    """
    found = tuple(find_class(name.strip()) for name in names.split(","))
    if len(set(found)) < len(found):
        raise UsageError(f"--class {names} names a class twice.")
    return found if len(found) > 1 else found[0]


def find_class(name: str) -> int:
    """The index 0..999 of a class given by index or by name.

    Underscores do not matter, nor does case where it is not all that tells two classes apart (the Cardigan is a dog).

    Raises:
        UsageError: there is no such class; the message names near ones.
    """
    if name.lstrip("-").isdigit():
        if 0 <= int(name) < len(class_names()):
            return int(name)
        raise UsageError(f"ImageNet classes are numbered 0 to {len(class_names()) - 1}, not {name}.")
    if name.replace("_", " ") in class_names():
        return class_names().index(name.replace("_", " "))
    wanted = name.replace("_", " ").casefold()
    known = [entry.casefold() for entry in class_names()]
    if wanted in known:
        return known.index(wanted)
    near = difflib.get_close_matches(wanted, known, 3)
    near += [entry for entry in known if wanted in entry and entry not in near][:3]
    hint = f"; near it: {', '.join(near)}" if near else ""
    raise UsageError(f"There is no ImageNet class '{name}'{hint}.")


def classes_of_folders(folders: Iterable[str]) -> dict[str, int]:
    """The class of each folder: by its name, or where there are a thousand (ImageNet's synsets) by their order.

    Raises:
        UsageError: a folder's name is no class, and there are not a thousand.
    """
    names = sorted(set(folders))
    if len(names) == len(class_names()):
        return {name: index for index, name in enumerate(names)}
    return {name: find_class(name) for name in names}


def read_classes(path: Path, photographs: Iterable[str]) -> dict[str, int]:
    """The classes of photographs in a CSV file with the columns ``name`` and ``class``, by the photographs' names.

    A class is given by number or by name. Photographs may be missing, and others may be there.

    Raises:
        UsageError: the file cannot be read, lacks a column, names a class that does not exist, or none of
            ``photographs``.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"The classes in {path} cannot be read: {reason(error)}.") from error
    if rows and not {"name", "class"} <= set(rows[0]):
        raise UsageError(f"{path} has no columns 'name' and 'class'; its first line is their heading.")
    known = {row["name"]: find_class(row["class"] or "") for row in rows}
    names = list(photographs)
    if names and known.keys().isdisjoint(names):
        raise UsageError(f"{path} has the class of none of the photographs; one of them is called '{names[0]}'.")
    return known


def read_class(content: bytes, where: str) -> int:
    """The class in a file ``KEY.cls`` of a shard.

    Raises:
        UsageError: it holds no number of a class.
    """
    try:
        number = int(content)
    except ValueError as error:
        raise UsageError(f"{where} does not hold the number of a class: {content[:16]!r}.") from error
    if not 0 <= number < len(class_names()):
        raise UsageError(f"Class {number} in {where} does not exist in ImageNet; classes are 0 to 999.")
    return number
