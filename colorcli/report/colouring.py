"""The page of a colouring run: every photograph beside its colourings, with a choice among samples."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

from colorcli.report.gallery import GALLERY, Column, GalleryItem, Measure, facts, reasons
from colorcli.report.page import check_place, escaped, is_page, write_page
from colorcli.report.thumbnails import MAX_PICTURES, Bounds, bounds_for

Thumbnails = Callable[[Sequence[int], Bounds], Iterator[Mapping[str, bytes]]]

MEASURES = (
    Measure("mean_chroma", "Mean chroma", decimals=1),
    Measure("fitted_share", "Fitted to sRGB", "%", decimals=1),
    Measure("max_delta_l", "Largest |ΔL*|", decimals=3),
    Measure("written_max_delta_l", "Largest |ΔL*| in the file", decimals=3),
)
"""The journal's measures of each colouring, as in ``GalleryItem.values``; the share is in per cent."""

UNCERTAINTY = Measure("uncertainty", "Uncertainty", decimals=2)
"""Comes first if any colouring has a map of its uncertainty; the page is then sorted by it."""


@dataclass
class Colouring:
    """Contents of the page of a colouring run.

    Attributes:
        title: plain text, such as the output folder's name.
        line: one line on the model and the time.
        summary: how the run ended, by name: counts, seconds, exit code.
        facts: model and parameters, by name.
        columns: the photograph itself, then its colourings.
        count: number of photographs with at least one colouring.
        entries: gives those of a range; each page asks for its own, since there may be a million.
        failures: name and reason of each failed photograph.
        skips: name and reason of each skipped photograph.
        unsure: whether any colouring has an uncertainty.
        picks: ``picks.json`` without the choices; None if there is nothing to choose.
        command: the command line that colours the picks.
    """

    title: str
    line: str
    summary: Mapping[str, object]
    facts: Mapping[str, object]
    columns: Sequence[Column]
    count: int
    entries: Callable[[range], Sequence[GalleryItem]]
    failures: list[tuple[str, str]] = field(default_factory=list)
    skips: list[tuple[str, str]] = field(default_factory=list)
    unsure: bool = False
    picks: Mapping[str, object] | None = None
    command: str = ""


def write_colouring(path: Path, colouring: Colouring, thumbnails: Thumbnails) -> list[Path]:
    """Write the page of a colouring run: one file, or several linked ones of up to 40 MB.

    Args:
        path: the first file, such as ``report.html``; others are ``report-2.html`` and so on beside it.
        colouring: what to show.
        thumbnails: yields WebP files by column for the entries with the given indices, in order, within the bounds.

    Returns:
        The files, in order. Later ones of an earlier, longer report are removed.

    Raises:
        OutputError: a file cannot be written, or a file that is not a report exists there.
    """
    columns, count = len(colouring.columns), colouring.count
    each = max(1, MAX_PICTURES // columns)
    parts = [range(start, min(start + each, count)) for start in range(0, max(1, count), each)]
    paths = [numbered(path, number) for number in range(1, len(parts) + 1)]
    for place in paths:
        check_place(place)
    for number, part in enumerate(parts):
        links = _links(paths, parts, number) if len(parts) > 1 else ""
        pictures = thumbnails(part, bounds_for(len(part) * columns))
        _write(paths[number], number, colouring, part, links, pictures)
    stale = len(paths) + 1
    while is_page(numbered(path, stale)):
        with suppress(OSError):
            numbered(path, stale).unlink()
        stale += 1
    return paths


def numbered(path: Path, number: int) -> Path:
    """The name of a report's ``number``-th file, from 1."""
    return path if number == 1 else path.with_stem(f"{path.stem}-{number}")


def _write(
    place: Path,
    number: int,
    colouring: Colouring,
    part: range,
    links: str,
    pictures: Iterator[Mapping[str, bytes]],
) -> None:
    choice = None
    if colouring.picks is not None:
        name = "picks.json" if number == 0 else f"picks-{number + 1}.json"
        # as text: JavaScript would turn 3.0 into 3, and round seeds beyond 2**53
        header = json.dumps(dict(colouring.picks), indent=1)
        # browsers keep one storage for all local files
        identity = hashlib.sha256(f"{place.absolute()}\0{header}".encode("utf-8", "surrogateescape")).hexdigest()
        choice = {"id": identity[:16], "filename": name, "header": header}
    unsure = colouring.unsure
    data = {
        "columns": [column.data() for column in colouring.columns],
        "measures": [asdict(measure) for measure in ((UNCERTAINTY,) if unsure else ()) + MEASURES],
        "sort": UNCERTAINTY.id if unsure else "",
        "photos": [entry.data() for entry in colouring.entries(part)],
        "choice": choice,
    }
    write_page(
        place,
        title=colouring.title if number == 0 else f"{colouring.title}, part {number + 1}",
        body=_body(colouring, number, links),
        data=data,
        pictures=pictures,
        scripts=("gallery.js",),
    )


def _body(colouring: Colouring, number: int, links: str) -> str:
    sections = [
        '<a class="skip" href="#photographs">To the photographs</a>',
        f'<header><h1>{escaped(colouring.title)}</h1><p class="quiet">{escaped(colouring.line)}</p>',
        '<p class="small quiet">The colours are a machine’s guess: plausible, not evidence of how things were.</p>',
        "</header><main>",
        links,
    ]
    if number == 0:
        sections += [
            facts(colouring.summary, "facts summary"),
            reasons("failed", colouring.failures),
            reasons("left alone", colouring.skips, opened=False),
            f"<details><summary>Model and parameters</summary>{facts(colouring.facts)}</details>",
        ]
    if colouring.picks is not None:
        sections.append(
            '<section class="choosing"><h2>Choosing</h2>'
            "<p>Choose one colouring of each photograph: use the button below it, or go through the "
            "photographs with <kbd>←</kbd> <kbd>→</kbd> and press the sample’s number, <kbd>0</kbd> … <kbd>9</kbd> "
            "(<kbd>Backspace</kbd> undoes the choice, <kbd>Enter</kbd> shows a larger view). Then save the choices and "
            "run</p>"
            f'<p class="command"><code>{escaped(colouring.command)}</code></p></section>'
        )
    return "\n".join((*sections, GALLERY, "</main>"))


def _links(paths: Sequence[Path], parts: Sequence[range], number: int) -> str:
    """Links between the files of a report."""
    links = []
    for index, (path, part) in enumerate(zip(paths, parts, strict=True)):
        target = ' aria-current="page"' if index == number else f' href="{escaped(path.name)}"'
        links.append(f"<a{target}>{part.start + 1}–{part.stop}</a>")
    return f'<nav class="pager" aria-label="Parts of the report">Photographs {" ".join(links)}</nav>'
