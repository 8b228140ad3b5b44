"""What an option's value must be, in plain words: Typer's own change with its version.

Types are read as Typer 0.26 and later hold them; with earlier ones nothing is known here, and Typer's words stand.
"""

from __future__ import annotations

from typing import Any, Literal, get_origin

from colorcli import fields
from colorcli.fields import in_words, shown


def annotation(param: Any) -> Any:
    """The type of a parameter's value; None if it is not known."""
    return getattr(getattr(param, "type_descriptor", None), "annotation", None)


def expected(param: Any) -> str:
    """What a value must be, such as ``a number from 0 to 100``; empty if it is not known."""
    kind = _in_toml(annotation(param))
    if kind is None:
        return ""
    return in_words(kind) + (_range(param.type_descriptor.parameter_info) if kind in (int, float) else "")


def fits(param: Any, value: object) -> bool:
    """Whether a value from a TOML file has a parameter's type, whatever its range."""
    kind = annotation(param)
    # A class or a batch size is text that may be a number.
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return kind is None or fields.fits(value, _in_toml(kind)) or (kind is str and number)


def refused(error: Exception) -> str:
    """What is wrong with the value that Typer refused, after the option's name; empty if its own words stand."""
    problems = getattr(error.__cause__, "errors", None)
    wanted = expected(getattr(error, "param", None))
    if not callable(problems) or wanted in ("", "text", "a list of text"):
        return ""
    return f"must be {wanted}, not {shown(problems()[0]['input'])}"


def _in_toml(kind: Any) -> Any:
    """The type that a parameter's value has in TOML, which has text for paths and URLs."""
    if get_origin(kind) is list:
        return list[str]
    return kind if kind in (None, bool, int, float) or get_origin(kind) is Literal else str


def _range(info: Any) -> str:
    if info.max is not None:
        return f" from {info.min:g} to {info.max:g}"
    return "" if info.min is None else f" of at least {info.min:g}"
