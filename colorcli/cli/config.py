"""Defaults from ``colorcli.toml``: a table for each command, a key for each option.

A flag wins over the environment (``COLORCLI_<COMMAND>_<OPTION>``), which wins over the file. The file is the one
that ``COLORCLI_CONFIG`` names, else ``colorcli.toml`` in the working directory.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from colorcli.errors import UsageError


def read_defaults(known: Mapping[str, Any]) -> dict[str, Any]:
    """The file's settings as nested defaults by command and parameter name; empty if there is no file.

    Args:
        known: the parameters of each command, nested as the commands are: a set of names for a command, a mapping
            for a group.

    Raises:
        UsageError: the file cannot be read, or has a command or an option that does not exist.
    """
    named = os.environ.get("COLORCLI_CONFIG")
    path = Path(named or "colorcli.toml")
    if not named and not path.is_file():
        return {}
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"The settings in {path} cannot be read: {error}.") from error
    return _checked(table, known, path, ())


def _checked(table: Mapping[str, Any], known: Any, path: Path, parents: tuple[str, ...]) -> dict[str, Any]:
    checked: dict[str, Any] = {}
    for key, value in table.items():
        name = key.replace("-", "_") if not isinstance(known, Mapping) else key
        where = ".".join((*parents, key))
        if name not in known:
            near = ", ".join(sorted(known))
            raise UsageError(f"{path} sets '{where}', which does not exist; there are: {near}.")
        if isinstance(known, Mapping):
            if not isinstance(value, Mapping):
                raise UsageError(f"{path}: '{where}' is a command, so it should be a table [{where}].")
            checked[name] = _checked(value, known[name], path, (*parents, key))
        else:
            checked[name] = value
    return checked
