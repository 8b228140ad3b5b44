"""Defaults from ``colorcli.toml``: a table for each command, a key for each option.

A flag wins over the environment (``COLORCLI_<COMMAND>_<OPTION>``), which wins over the file. The file is the one
that ``COLORCLI_CONFIG`` names, else ``colorcli.toml`` in the working directory.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from colorcli.cli.values import expected, fits
from colorcli.environment import settings_file
from colorcli.errors import UsageError
from colorcli.fields import shown
from colorcli.text import near, reason

FILE = "colorcli.toml"
WITHOUT_SETTINGS = frozenset({"help"})
"""Commands without a table: one named help would be taken for the program's option --help."""


def settings_path() -> Path | None:
    """The settings file that is in force, or None."""
    chosen, usual = settings_file(), Path(FILE)
    return chosen or (usual if usual.is_file() else None)


def read_defaults(known: Mapping[str, Any]) -> dict[str, Any]:
    """The file's settings as nested defaults by command and parameter name; empty if there is no file.

    Args:
        known: nested as the commands are; for each command, the parameter behind each option's name.

    Raises:
        UsageError: the file cannot be read, has a command or an option that does not exist, or a value of another type
            than the option's.
    """
    path = settings_path()
    if path is None:
        return {}
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"The settings in {path} cannot be read: {reason(error)}.") from error
    return _checked(table, known, path, "")


def _checked(table: Mapping[str, Any], known: Mapping[str, Any], path: Path, parent: str) -> dict[str, Any]:
    checked: dict[str, Any] = {}
    for key, value in table.items():
        if key not in known:
            names = (name for name in known if len(name) > 1)
            raise UsageError(f"{path} sets '{parent}{key}', which does not exist{near(key, names)}")
        param = known[key]
        if not isinstance(param, Mapping):
            if not fits(param, value):
                raise UsageError(f"{path}: '{parent}{key}' must be {expected(param)}, not {shown(value)}.")
            checked[param.name] = value
        elif isinstance(value, Mapping):
            checked[key] = _checked(value, param, path, f"{parent}{key}.")
        else:
            raise UsageError(f"{path}: '{parent}{key}' is a command, so it should be a table [{parent}{key}].")
    return checked
