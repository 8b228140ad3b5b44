"""``colorcli init``: a settings file to start from."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, get_origin

import tomli_w
import typer

from colorcli.cli import output
from colorcli.cli.config import FILE, WITHOUT_SETTINGS
from colorcli.cli.values import annotation
from colorcli.errors import OutputError
from colorcli.files import write_atomically

_INTRODUCTION = """\
## Settings of colorcli. Every setting is a comment with its default: remove the # and change the value, or add one
## where the default depends on what is found.
## An option on the command line wins over an environment variable (COLORCLI_COLORIZE_SIGMA=3), which wins over this
## file.
## The file in use is the one that COLORCLI_CONFIG names, else colorcli.toml in the working directory.
"""


def init(
    ctx: typer.Context,
    path: Annotated[Path, typer.Argument(help="The file to write.", dir_okay=False)] = Path(FILE),
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing file.")] = False,
) -> None:
    """Write a colorcli.toml with every option of every command as a comment."""
    if path.exists() and not overwrite:
        raise OutputError(f"{path} exists; use --overwrite to replace it, or name another file.")
    text = "\n".join((_INTRODUCTION, *_tables(ctx.find_root().command, "")))
    try:
        write_atomically(path, text.encode())
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror or error}.") from error
    how = "" if path == Path(FILE) else f"; to use it, set COLORCLI_CONFIG={path}"
    output.note(f"The settings are in {path}{how}.")


def _tables(group: Any, parent: str) -> Iterator[str]:
    """A table for each command that has options, in the order of the help page."""
    for name, command in group.commands.items():
        if name in WITHOUT_SETTINGS:
            continue
        if hasattr(command, "commands"):
            yield from _tables(command, f"{parent}{name}.")
        elif lines := [line for param in command.params for line in _setting(param)]:
            yield "\n".join((f"[{parent}{name}]", *lines, ""))


def _setting(param: Any) -> Iterator[str]:
    """Help and default of an option; empty for other parameters."""
    option = next((option for option in param.opts if option.startswith("--")), None)
    if option is None or param.is_eager:
        return
    # Help texts escape Rich markup.
    text = (param.help or "").replace(r"\[", "[")
    yield from textwrap.wrap(text, 115, initial_indent="## ", subsequent_indent="## ")
    yield f"# {option.removeprefix('--')} = {_value(param, text)}".rstrip()


def _value(param: Any, text: str) -> str:
    """The default as TOML; empty where the command chooses at run time."""
    if param.multiple or get_origin(annotation(param)) is list:
        return "[]"
    if isinstance(param.default, bool | int | float | str):
        return tomli_w.dumps({"x": param.default}).strip().removeprefix("x = ")
    stated = re.search(r"\[default: ([0-9.]+)\]", text)
    return stated.group(1) if stated else ""
