"""The user's surroundings: ``COLORCLI_*`` variables, and the folders for weights and caches."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs

_PACKAGE = Path(__file__).parent


def data_dir() -> Path:
    """Where imported and pulled weights live: ``$COLORCLI_DATA_DIR``, else the platform's user data folder."""
    return _folder("COLORCLI_DATA_DIR", platformdirs.user_data_path("colorcli", appauthor=False))


def cache_dir() -> Path:
    """Where files live that can be made again: ``$COLORCLI_CACHE_DIR``, else the platform's cache folder."""
    return _folder("COLORCLI_CACHE_DIR", platformdirs.user_cache_path("colorcli", appauthor=False))


def bundled_models_dir() -> Path:
    """The models that ship with the program: in the wheel, or ``models/`` of a checkout."""
    inside = _PACKAGE / "bundled"
    return inside if inside.is_dir() else _PACKAGE.parent / "models"


def user_models_dir() -> Path:
    """The models that this user has imported or pulled."""
    return data_dir() / "models"


def settings_file() -> Path | None:
    """The settings file that ``COLORCLI_CONFIG`` names, or None."""
    chosen = os.environ.get("COLORCLI_CONFIG")
    return Path(chosen).expanduser() if chosen else None


def offline() -> bool:
    """Whether ``COLORCLI_OFFLINE`` forbids the network."""
    return _is_set("COLORCLI_OFFLINE")


def debugging() -> bool:
    """Whether ``COLORCLI_DEBUG`` asks for tracebacks."""
    return _is_set("COLORCLI_DEBUG")


def _is_set(variable: str) -> bool:
    return os.environ.get(variable, "").strip().lower() not in ("", "0", "false", "no")


def _folder(variable: str, default: Path) -> Path:
    chosen = os.environ.get(variable)
    # A shell expands ~ only at the start of a word: in a config file, or after "=", it arrives as it was typed.
    return Path(chosen).expanduser() if chosen else default
