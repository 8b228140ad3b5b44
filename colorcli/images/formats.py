"""The formats of photographs: one record each."""

from __future__ import annotations

import os

from colorcli.files import is_debris

SUFFIXES = frozenset((".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".tif", ".tiff", ".webp"))
"""Lower-case suffixes of files that are taken for photographs. What a file is, is read from its content."""


def is_photograph_name(name: str) -> bool:
    """Whether a file of this name is taken for a photograph, by its suffix."""
    return os.path.splitext(name)[1].lower() in SUFFIXES and not is_debris(name)  # noqa: PTH122
