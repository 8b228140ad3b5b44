"""ImageNet's thousand classes, by name or number."""

from __future__ import annotations

import difflib
from functools import cache
from importlib import resources

from colorcli.errors import UsageError


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
    """The index 0..999 of a class given by index or by name (case and underscores do not matter).

    Raises:
        UsageError: there is no such class; the message names near ones.
    """
    if name.lstrip("-").isdigit():
        if 0 <= int(name) < len(class_names()):
            return int(name)
        raise UsageError(f"ImageNet classes are numbered 0 to {len(class_names()) - 1}, not {name}.")
    wanted = name.replace("_", " ").casefold()
    known = [entry.casefold() for entry in class_names()]
    if wanted in known:
        return known.index(wanted)
    near = difflib.get_close_matches(wanted, known, 3)
    near += [entry for entry in known if wanted in entry and entry not in near][:3]
    hint = f"; near it: {', '.join(near)}" if near else ""
    raise UsageError(f"There is no ImageNet class '{name}'{hint}.")
