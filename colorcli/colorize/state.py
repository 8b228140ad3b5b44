"""Where the state of an output folder is kept: journal, lock and thumbnails."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from colorcli.environment import data_dir
from colorcli.files import STATE_FOLDER


def state_folder(root: Path) -> Path:
    """Where an output folder keeps what it knows of its runs: below itself, or apart where it holds originals.

    A single photograph's output lies beside it, and nothing else is to land there: the state of such a folder is in the
    user's data folder (``apart_folder``), unless an earlier version has left it in the place itself.
    """
    inside = root / STATE_FOLDER
    apart = apart_folder(root)
    return apart if apart.is_dir() and not inside.is_dir() else inside


def apart_folder(root: Path) -> Path:
    """The state folder, in the user's data folder, of an output folder that holds originals."""
    name = hashlib.sha256(os.fsencode(os.path.abspath(root))).hexdigest()[:16]  # noqa: PTH100 - links stay links
    return data_dir() / "beside" / name
