"""Data of a page's gallery: columns (versions of a photograph), measures and photographs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Literal

from colorcli.report.page import escaped

Role = Literal["input", "result", "truth"]


@dataclass(frozen=True)
class Column:
    """One version of each photograph.

    Attributes:
        id: key of values, links and images.
        label: for people.
        role: ``input`` (gray), ``result`` (a colouring) or ``truth`` (the original's colours).
        sample: index of the colouring, if samples can be chosen.
    """

    id: str
    label: str
    role: Role
    sample: int | None = None

    def data(self) -> dict[str, object]:
        """The column as JSON data for the page."""
        return {key: value for key, value in asdict(self).items() if value is not None}


@dataclass(frozen=True)
class Measure:
    """A number for each version; ``better`` says which direction is better: ``higher``, ``lower`` or ``none``."""

    id: str
    label: str
    unit: str = ""
    better: str = "none"
    decimals: int = 2


@dataclass
class GalleryItem:
    """One photograph on a page.

    Attributes:
        name: name of the photograph.
        size: size in pixels, such as ``640 × 480``.
        values: measures by column.
        links: links to the files by column, relative to the page.
        notes: remarks, each a clause.
        missing: text shown instead of an image that is not on the page.
        key: key of the choice in the browser's storage.
        samples: indices that can be chosen.
        made_by: for each sample in order, entries of ``picks.json`` that say what made it.
        identity: entries of ``picks.json`` that identify the photograph.
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
        """The photograph as JSON data for the page, without empty fields."""
        return {key: value for key, value in asdict(self).items() if value}


def rounded(value: object) -> float | None:
    """A number rounded to six digits; None if it is not a finite number."""
    if not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(f"{value:.6g}")


def facts(pairs: Mapping[str, object], style: str = "facts") -> str:
    """Name-value pairs as an HTML description list; empty values are left out."""
    stated = {name: value for name, value in pairs.items() if value not in (None, "")}
    items = "".join(f"<div><dt>{escaped(name)}</dt><dd>{escaped(value)}</dd></div>" for name, value in stated.items())
    return f'<dl class="{style}">{items}</dl>'


def reasons(title: str, pairs: list[tuple[str, str]], *, opened: bool = True) -> str:
    """A section that lists photographs with reasons; an empty string if there are none."""
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
    'viewer did not run; open the file in a web browser.</p></noscript><section id="gallery"></section>'
)
"""Where the script puts the gallery."""
