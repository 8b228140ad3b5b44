"""What an option's value must be, in plain words: Typer's own change with its version.

Types are read as Typer 0.26 and later hold them; with earlier ones nothing is known here, and Typer's words stand.
"""

from __future__ import annotations

import json
from typing import Any, Literal, get_args, get_origin


def annotation(param: Any) -> Any:
    """The type of a parameter's value; None if it is not known."""
    return getattr(getattr(param, "type_descriptor", None), "annotation", None)


def expected(param: Any) -> str:
    """What a value must be, such as ``a number from 0 to 100``; empty if it is not known."""
    kind = annotation(param)
    if kind in (int, float):
        return _number(kind, param.type_descriptor.parameter_info)
    if get_origin(kind) is Literal:
        return f"one of {', '.join(map(str, get_args(kind)))}"
    if get_origin(kind) is list:
        return "a list of text"
    return {None: "", bool: "true or false"}.get(kind, "text")


def fits(param: Any, value: object) -> bool:
    """Whether a value from a TOML file has a parameter's type, whatever its range."""
    kind = annotation(param)
    if kind is None:
        return True
    if get_origin(kind) is list:
        return isinstance(value, list) and all(isinstance(one, str) for one in value)
    if kind is bool or isinstance(value, bool):
        return kind is bool and isinstance(value, bool)
    if kind in (int, float):
        return isinstance(value, int) or (kind is float and isinstance(value, float))
    # A class or a batch size is text that may be a number.
    return isinstance(value, str) or (kind is str and isinstance(value, int | float))


def shown(value: object) -> str:
    """A value as people write it in TOML."""
    return json.dumps(value, ensure_ascii=False, default=str)


def refused(error: Exception) -> str:
    """What is wrong with the value that Typer refused, after the option's name; empty if its own words stand."""
    problems = getattr(error.__cause__, "errors", None)
    wanted = expected(getattr(error, "param", None))
    if not callable(problems) or wanted in ("", "text", "a list of text"):
        return ""
    return f"must be {wanted}, not {shown(problems()[0]['input'])}"


def _number(kind: type, info: Any) -> str:
    number = "a whole number" if kind is int else "a number"
    if info.max is not None:
        return f"{number} from {info.min:g} to {info.max:g}"
    return number if info.min is None else f"{number} of at least {info.min:g}"
