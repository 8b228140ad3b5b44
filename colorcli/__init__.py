"""colorcli colorizes folders of black-and-white photographs."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from colorcli.api import Model, load

__version__ = "0.2.0"
__all__ = ["Model", "__version__", "load"]


def __getattr__(name: str) -> Any:
    # The command line imports this package for its version alone and must not wait for torch.
    if name in ("Model", "load"):
        return getattr(importlib.import_module("colorcli.api"), name)
    raise AttributeError(f"module 'colorcli' has no attribute '{name}'")
