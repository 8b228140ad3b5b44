"""Names and shapes of released checkpoints in a short form: ``{0-2}`` and ``{bias,weight}`` stand for several names;
and of a network that is too large for a test, a small one."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

DATA = Path(__file__).with_name("data")
# Every layer of DDColor, with few channels.
SMALL_DDCOLOR = {
    "depths": (1, 1, 2, 1),
    "widths": (8, 16, 24, 32),
    "width": 32,
    "queries": 10,
    "layers": 4,
    "inner": 32,
}


def released_layout(name: str) -> dict[str, tuple[int, ...]]:
    """Names and shapes of every tensor in the released file that ``data/<name>.layout`` describes."""
    layout: dict[str, tuple[int, ...]] = {}
    for line in (DATA / f"{name}.layout").read_text(encoding="utf-8").splitlines():
        pattern, shape = line.split("\t")
        sides = () if shape == "scalar" else tuple(int(side) for side in shape.split("x"))
        parts = re.split(r"\{([^}]*)\}", pattern)
        choices = [_alternatives(part) if index % 2 else [part] for index, part in enumerate(parts)]
        layout |= dict.fromkeys(map("".join, itertools.product(*choices)), sides)
    return layout


def _alternatives(text: str) -> list[str]:
    found = []
    for item in text.split(","):
        first, dash, last = item.partition("-")
        found += [str(number) for number in range(int(first), int(last) + 1)] if dash else [item]
    return found
