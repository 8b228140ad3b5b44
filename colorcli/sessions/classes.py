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


def find_class(name: str) -> int:
    """The index 0..999 of a class given by index or by name (case and underscores do not matter).

    Raises:
        UsageError: there is no such class, or two classes share the name; the message names the choices.
    """
    if name.lstrip("-").isdigit():
        if 0 <= int(name) < len(class_names()):
            return int(name)
        raise UsageError(f"ImageNet classes are numbered 0 to {len(class_names()) - 1}, not {name}.")
    wanted = name.replace("_", " ").casefold()
    found = [index for index, known in enumerate(class_names()) if known.casefold() == wanted]
    if len(found) == 1:
        return found[0]
    if found:
        raise UsageError(f"Two ImageNet classes are called '{name}': use {' or '.join(map(str, found))}.")
    near = difflib.get_close_matches(wanted, [known.casefold() for known in class_names()], 3)
    near += [known for known in class_names() if wanted in known.casefold() and known.casefold() not in near][:3]
    hint = f"; near it: {', '.join(near)}" if near else ""
    raise UsageError(f"There is no ImageNet class '{name}'{hint}.")
