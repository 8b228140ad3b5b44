"""What the page's gallery is given: its columns (pictures of a photograph), measures and photographs, as plain data."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Literal

from colorcli.report.page import escaped

Role = Literal["input", "result", "truth"]


@dataclass(frozen=True)
class Column:
    """One picture of each photograph.

    Attributes:
        id: what values, links and pictures are keyed by.
        label: for people.
        role: ``input`` (gray), ``result`` (a colouring) or ``truth`` (the original's colours).
        sample: index of the colouring, where one can be chosen among several.
    """

    id: str
    label: str
    role: Role
    sample: int | None = None

    def data(self) -> dict[str, object]:
        """As the page holds it."""
        return {key: value for key, value in asdict(self).items() if value is not None}


@dataclass(frozen=True)
class Measure:
    """A number that each picture may have; ``better`` is ``higher``, ``lower`` or ``none``."""

    id: str
    label: str
    unit: str = ""
    better: str = "none"
    decimals: int = 2


@dataclass
class GalleryItem:
    """One photograph on a page.

    Attributes:
        name: of the photograph.
        size: such as ``640 × 480``.
        values: measures by column.
        links: of the files, relative to the page, by column.
        notes: what a person should know, each a clause.
        missing: in place of a picture that the page does not hold.
        key: what the browser remembers a choice by.
        samples: the colourings that can be chosen.
        made_by: what ``picks.json`` says of each of the samples besides, in their order.
        identity: how it names the photograph.
    """

    name: str
    size: str = ""
    values: dict[str, dict[str, float | None]] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    missing: str = ""
    key: str = ""
    samples: list[int] = field(default_factory=list)
    made_by: list[dict[str, str]] = field(default_factory=list)
    identity: dict[str, object] = field(default_factory=dict)

    def data(self) -> dict[str, object]:
        """As the page holds it: without what is empty."""
        return {key: value for key, value in asdict(self).items() if value}


def rounded(value: object) -> float | None:
    """A number as a page shows it, to six digits; None where it is none, or not finite."""
    if not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(f"{value:.6g}")


def facts(pairs: Mapping[str, object], style: str = "facts") -> str:
    """Names and what they stand for, as an HTML description list; what is None or empty is left out."""
    stated = {name: value for name, value in pairs.items() if value not in (None, "")}
    items = "".join(f"<div><dt>{escaped(name)}</dt><dd>{escaped(value)}</dd></div>" for name, value in stated.items())
    return f'<dl class="{style}">{items}</dl>'


def reasons(title: str, pairs: list[tuple[str, str]], *, opened: bool = True) -> str:
    """A section that lists photographs with the reason why each is missing; nothing where there are none."""
    if not pairs:
        return ""
    items = "".join(f"<li><bdi>{escaped(name)}</bdi>: {escaped(reason)}</li>" for name, reason in pairs)
    long = " long" if len(pairs) > 20 else ""
    return (
        f"<details{' open' if opened else ''}><summary><strong>{len(pairs)} {escaped(title)}</strong></summary>"
        f'<ul class="reasons{long}" tabindex="0" aria-label="{escaped(title)}">{items}</ul></details>'
    )


GALLERY = (
    '<h2 id="photographs">Photographs</h2><noscript><p>The photographs are shown by a script, which this browser or '
    'viewer has not run; open the file in a web browser.</p></noscript><section id="gallery"></section>'
)
"""Where the script puts the gallery."""
