"""The environment: ``COLORCLI_*`` variables, and the folders for weights and caches."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs

VARIABLES = ("COLORCLI_DATA_DIR", "COLORCLI_CACHE_DIR", "COLORCLI_CONFIG", "COLORCLI_OFFLINE", "COLORCLI_DEBUG")
"""All that are read here. Every option of a command has one as well, such as ``COLORCLI_COLORIZE_SIGMA``."""

_NAME = "colorcli"
_PACKAGE = Path(__file__).parent


def data_dir() -> Path:
    """Folder of imported and pulled weights: ``$COLORCLI_DATA_DIR``, else the platform's user data folder."""
    return _folder("COLORCLI_DATA_DIR", platformdirs.user_data_path("colorcli", appauthor=False))


def cache_dir() -> Path:
    """Folder of files that can be made again: ``$COLORCLI_CACHE_DIR``, else the platform's cache folder."""
    return _folder("COLORCLI_CACHE_DIR", platformdirs.user_cache_path("colorcli", appauthor=False))


def bundled_models_dir() -> Path:
    """Folder of the bundled models: in the wheel, or ``models/`` of a checkout."""
    inside = _PACKAGE / "bundled"
    return inside if inside.is_dir() else _PACKAGE.parent / "models"


def user_models_dir() -> Path:
    """Folder of the models that this user has imported or pulled."""
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


def install_command(extra: str) -> str:
    """The shell command that installs an extra of this package, true to where the package came from.

    A checkout, a wheel and a repository are installed from again; the name alone is for an index.
    """
    # Imported here, since only error messages need it.
    import importlib.metadata
    import json
    import re
    from urllib.parse import urlsplit
    from urllib.request import url2pathname

    checkout = _PACKAGE.parent
    if _is_checkout(checkout):
        return _pip(f"{'.' if checkout == Path.cwd() else checkout}[{extra}]")
    distribution = importlib.metadata.distribution(_NAME)
    origin = json.loads(distribution.read_text("direct_url.json") or "{}")
    url = origin.get("url", "")
    if not url:
        return _pip(f"{_NAME}[{extra}]")
    if "vcs_info" in origin:
        version_control = origin["vcs_info"]
        return _pip(f"{_NAME}[{extra}] @ {version_control['vcs']}+{url}@{version_control['commit_id']}")
    parts = urlsplit(url)
    if parts.scheme != "file" or Path(url2pathname(parts.path)).exists():
        return _pip(f"{_NAME}[{extra}] @ {url}")
    # The source has gone; name the extra's packages instead.
    found = (re.fullmatch(r"(.*?)\s*;\s*extra == .(.+).", text) for text in distribution.requires or ())
    return _pip(*(match.group(1) for match in found if match and match.group(2) == extra))


def needs(library: str, extra: str) -> str:
    """A clause on a library that is missing, and on the extra of this package that installs it."""
    return f"needs the library {library}, which is not installed: {install_command(extra)}"


def _is_checkout(folder: Path) -> bool:
    project = folder / "pyproject.toml"
    return project.is_file() and f'name = "{_NAME}"' in project.read_text(encoding="utf-8")


def _pip(*requirements: str) -> str:
    import shlex

    # Quoted, since shells expand brackets.
    return f"pip install {' '.join(map(shlex.quote, requirements))}"


def calm_threads() -> None:
    """Let OpenMP threads sleep while they wait, unless the user chose otherwise; call it before PyTorch is loaded.

    By default they spin after each of a network's hundreds of loops. If another program uses one of the CPUs, PyTorch
    wastes its share that way and is 4 to 8 times slower than with one thread.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def _is_set(variable: str) -> bool:
    return os.environ.get(variable, "").strip().lower() not in ("", "0", "false", "no")


def _folder(variable: str, default: Path) -> Path:
    chosen = os.environ.get(variable)
    # Shells expand ~ only at the start of a word, not in config files or after "=".
    return Path(chosen).expanduser() if chosen else default
