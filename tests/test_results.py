"""The numbers in the documentation are those in ``models/results``, and the verdicts follow from the numbers.

Tables of results follow a comment ``<!-- results: FILE -->``. When results are measured again, the JSON file is
changed, and this test names every cell that is then out of date.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import colorcli
from colorcli.environment import bundled_models_dir
from colorcli.evaluate.statistics import conclude

ROOT = Path(__file__).parents[1]
# The package may be installed from a wheel, which has no folder of models beside it.
PACKAGE, MODELS = Path(colorcli.__file__).parent, bundled_models_dir()
RESULTS = MODELS / "results"
DOCUMENTS = sorted({ROOT / "README.md", *PACKAGE.rglob("README.md"), *MODELS.rglob("README.md")})
IDS = {
    "PSNR": "psnr",
    "SSIM": "ssim",
    "ΔE2000": "delta-e",
    "colourfulness": "colorfulness",
    "AuC": "auc",
    "AuC rebalanced": "auc-rebalanced",
}
NUMBER = re.compile(r"[-+]?\d[\d,]*(?:\.\d+)?")
# An interval in a sentence, as in "+1.54 [1.25, 1.83] dB".
INTERVAL = re.compile(r"([-+]?\d+\.\d+)(?: dB)? \[([-+]?\d+\.\d+), ([-+]?\d+\.\d+)\]")
DECIBELS = re.compile(r"(?<![\d.])(\d+\.\d\d) dB")
MARK = re.compile(r"<!-- results: (\S+?\.json) -->")


def cells_of(row: str) -> list[str]:
    """The cells of a row of a Markdown table."""
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", row.strip().strip("|"))]


def tables() -> Iterator[tuple[Path, str, list[list[str]]]]:
    """The tables of results: the page, the results file, and the cells."""
    for path in DOCUMENTS:
        lines = path.read_text(encoding="utf-8").splitlines()
        for index, line in enumerate(lines):
            found = MARK.fullmatch(line.strip())
            if found:
                start = next(i for i in range(index, len(lines)) if lines[i].startswith("|"))
                end = next((i for i in range(start, len(lines)) if not lines[i].startswith("|")), len(lines))
                yield path, found[1], [cells_of(row) for row in lines[start:end]]


TABLES = list(tables())


def numbers(cell: str) -> list[str]:
    return [found.replace(",", "") for found in NUMBER.findall(cell)]


def column(heading: str) -> str:
    """The id of the metric that a heading names, or the heading itself."""
    plain = heading.rstrip("↑↓ ")
    name = plain.split(",")[0]
    return IDS[name] if name in IDS and plain in (name, f"{name}, dB", f"{name}, %") else plain


def as_shown(values: list[float], shown: list[str]) -> list[str]:
    """The values with decimals and signs as in the page."""
    return [
        f"{value:{'+' if text[0] == '+' else ''}.{len(text.partition('.')[2])}f}"
        for value, text in zip(values, shown, strict=False)
    ]


@pytest.mark.parametrize(
    ("path", "name", "cells"), TABLES, ids=[f"{table[0].parent.name}-{table[1]}" for table in TABLES]
)
def test_a_table_has_the_numbers_of_its_file(path: Path, name: str, cells: list[list[str]]) -> None:
    """A table that was not updated with the weights would describe weights that nobody has."""
    record = json.loads((RESULTS / name).read_text(encoding="utf-8"))
    if name == "findings.json":
        _check_findings(record["findings"], cells)
        return
    head, rows = cells[0], cells[2:]
    checked = 0
    group = ""
    for row in rows:
        label = row[0].strip("`").removesuffix("@lite")
        columns = list(zip(head, row, strict=True))[1:]
        if head[1] == "":
            group = row[0] or group
            label = f"{group}: {row[1].strip('`')}"
            columns = columns[1:]
        for heading, cell in columns:
            shown = numbers(cell)
            if not shown:
                continue
            assert label in record["rows"], f"{path}: {name} has no row '{label}'"
            expected = record["rows"][label].get(column(heading))
            assert expected is not None, f"{path}: {name} has no '{column(heading)}' of '{label}'"
            values = expected if isinstance(expected, list) else [expected]
            assert len(shown) in (1, len(values)), f"{path}: {label}, {heading}: {cell}"
            assert as_shown(values, shown) == shown, f"{path}: {label}, {heading}: {cell} is stale; {name} has {values}"
            checked += 1
    assert checked


def _check_findings(findings: list[dict[str, Any]], cells: list[list[str]]) -> None:
    said = {row[0]: row[1] for row in cells[2:]}
    assert list(said) == [f"{finding['finding']} ({finding['source']})" for finding in findings]
    for finding, cell in zip(findings, said.values(), strict=True):
        assert cell.startswith(verdict(finding)), f"{finding['finding']}: '{cell}', but the runs say {verdict(finding)}"
        plain = cell.removeprefix(verdict(finding))
        names = [measure["measure"].partition(", ")[2] for measure in finding["measures"]]
        for words in (finding.get("note", ""), finding.get("untested", ""), *names):
            assert words in cell
            plain = plain.replace(words, "")
        shown = numbers(plain)
        known = [value for measure in finding["measures"] for each in measure["differences"] for value in each]
        assert len(shown) == len(known), cell
        assert as_shown(known, shown) == shown, cell


def verdict(finding: dict[str, Any]) -> str:
    """The verdict that the training runs allow on a claim, which holds if all of its parts do."""
    if "untested" in finding:
        return "not tested"
    measures = finding["measures"]
    parts = {conclude(list(map(tuple, each["differences"])), each["expected"]).verdict for each in measures}
    if not parts:
        return "one run, no verdict"
    for least in ("one run", "2 runs"):
        if least in parts:
            return f"{least}, no verdict"
    return parts.pop() if len(parts) == 1 else "inconclusive"


def test_intervals_in_sentences_are_those_of_the_files() -> None:
    """A sentence below a table outlives the numbers that it sums up, if nothing holds it."""
    known = [each for path in RESULTS.glob("*.json") for each in _triples(json.loads(path.read_text(encoding="utf-8")))]
    # What is lost is written without its minus.
    known += [[-value, -high, -low] for value, low, high in known]
    found = 0
    for path in DOCUMENTS:
        prose = " ".join(line for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith("|"))
        for shown in map(list, INTERVAL.findall(prose)):
            assert any(as_shown(values, shown) == shown for values in known), (
                f"{path}: {shown} is in no file of results"
            )
            found += 1
    assert found


def test_decibels_in_sentences_are_those_of_the_files() -> None:
    known = [each for path in RESULTS.glob("*.json") for each in _numbers(json.loads(path.read_text(encoding="utf-8")))]
    found = 0
    for path in DOCUMENTS:
        lines = path.read_text(encoding="utf-8").splitlines()
        for shown in DECIBELS.findall(" ".join(line for line in lines if not line.startswith("|"))):
            assert any(as_shown([abs(value)], [shown]) == [shown] for value in known), (
                f"{path}: {shown} dB is in no file of results"
            )
            found += 1
    assert found


def _numbers(record: Any) -> Iterator[float]:
    """All numbers in a file of results."""
    if isinstance(record, dict | list):
        for part in record.values() if isinstance(record, dict) else record:
            yield from _numbers(part)
    elif isinstance(record, int | float):
        yield record


def _triples(record: Any) -> Iterator[list[float]]:
    """All lists of three numbers in a file of results: a value and its interval."""
    if isinstance(record, list) and len(record) == 3 and all(isinstance(each, int | float) for each in record):
        yield record
    elif isinstance(record, dict | list):
        for each in record.values() if isinstance(record, dict) else record:
            yield from _triples(each)


def test_every_file_of_results_is_shown_and_says_where_it_comes_from() -> None:
    assert {path.name for path in RESULTS.glob("*.json")} == {name for _, name, _ in TABLES}
    for path in RESULTS.glob("*.json"):
        record = json.loads(path.read_text(encoding="utf-8"))
        assert record["title"] and record["origin"]
        assert record.get("command") or record.get("rule")


def test_no_table_of_results_stands_outside_of_this_test() -> None:
    """Tables with intervals or several seeds that no test checks would become outdated unnoticed."""
    marked = sum(len(cells) for *_, cells in TABLES)
    lines = [line for path in DOCUMENTS for line in path.read_text(encoding="utf-8").splitlines()]
    rows = [line for line in lines if line.startswith("|") and re.search(r"\d \[[-+]?\d|\d; [-+]?\d", line)]
    inside = [row for *_, cells in TABLES for row in cells]
    assert marked
    assert [row for row in rows if cells_of(row) not in inside] == []
