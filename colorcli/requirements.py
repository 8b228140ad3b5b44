"""What colouring with ONNX files needs, and nothing for PyTorch: ``python -m colorcli.requirements``.

The list is the package's own, less what only training, exporting and running networks in PyTorch use; so it can be
installed where PyTorch is too large or not to be had.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from importlib import metadata

NOT_NEEDED = ("torch", "torchvision", "onnx", "onnxscript")


def without_torch(requirements: Iterable[str]) -> list[str]:
    """Those of a package's requirements that colouring with ONNX files needs; extras are left out."""
    return [line for line in requirements if _name(line) not in NOT_NEEDED and "extra ==" not in line]


def _name(requirement: str) -> str:
    found = re.match(r"[A-Za-z0-9._-]+", requirement)
    return found[0].lower() if found else ""


if __name__ == "__main__":
    print("\n".join(without_torch(metadata.requires("colorcli") or ())))  # noqa: T201
