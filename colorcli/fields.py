"""Dataclasses from the tables of TOML files; what does not fit is refused in plain words."""

from __future__ import annotations

import dataclasses
import json
import typing
from collections.abc import Collection, Mapping
from typing import Any, Literal, get_args, get_origin

from colorcli.text import near

_SINGULAR = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}
_PLURAL = {int: "whole numbers", float: "numbers", str: "text"}


def arguments(kind: Any, table: Mapping[str, Any], what: str, apart: Collection[str] = ()) -> dict[str, Any]:
    """The arguments of a dataclass from a table. Lists become tuples.

    Args:
        kind: the dataclass.
        table: from a TOML file.
        what: what the table describes, for messages, such as ``a phase``.
        apart: fields that the caller fills itself.

    Raises:
        ValueError: this is no table, or a field is unknown, is missing, or has a value of another type.
    """
    if not isinstance(table, Mapping):
        raise ValueError(f"{what} must be a table, not {shown(table)}")  # noqa: TRY004
    known = {name: hint for name, hint in typing.get_type_hints(kind).items() if name not in apart}
    for name, value in table.items():
        if name not in known:
            raise ValueError(f"{what} has no field '{name}'{near(name, known)}".rstrip(".?"))
        if not fits(value, known[name]):
            raise ValueError(f"{name} of {what} must be {in_words(known[name])}, not {shown(value)}")
    needed = {field.name for field in dataclasses.fields(kind) if field.default is field.default_factory}
    missing = [name for name in known if name in needed and name not in table]
    if missing:
        raise ValueError(f"{what} lacks {' and '.join(missing)}")
    return {key: tuple(value) if isinstance(value, list) else value for key, value in table.items()}


def fits(value: Any, hint: Any) -> bool:
    """Whether a value of a TOML file is of a type; whole numbers are also floats, and lists tuples."""
    kind, parts = get_origin(hint) or hint, get_args(hint)
    if hint is Any:
        return True
    if kind is Literal:
        return value in parts
    if kind is dict:
        return isinstance(value, dict) and all(fits(each, parts[1]) for each in value.values())
    if kind in (list, tuple) and isinstance(value, list | tuple):
        wanted = parts if kind is tuple and Ellipsis not in parts else parts[:1] * len(value)
        return len(value) == len(wanted) and all(map(fits, value, wanted))
    if isinstance(value, bool):
        return kind is bool
    return isinstance(value, int | float if kind is float else kind)


def in_words(hint: Any) -> str:
    """A type of values as people say it, such as ``a list of 2 numbers``."""
    kind, parts = get_origin(hint) or hint, get_args(hint)
    if kind is Literal:
        return f"one of {', '.join(map(str, parts))}"
    if kind in (list, tuple):
        count = f"{len(parts)} " if kind is tuple and Ellipsis not in parts else ""
        return f"a list of {count}{_PLURAL[parts[0]]}"
    if kind is dict:
        return f"a table of {_PLURAL[parts[1]]}" if parts[1] in _PLURAL else "a table"
    return _SINGULAR[kind]


def shown(value: object) -> str:
    """A value as people write it in TOML or JSON."""
    return json.dumps(value, ensure_ascii=False, default=str)
