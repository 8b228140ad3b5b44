"""Tables for papers and READMEs are correct whatever characters names contain."""

from __future__ import annotations

import csv
import io

from colorcli.evaluate import tables
from colorcli.report.records import Report, Score

REPORT: Report = {
    "version": 1,
    "title": "",
    "created": "",
    "options": {},
    "intervals": {},
    "command": [],
    "machine": {},
    "metric_networks": {},
    "paired": [],
    "extremes": {},
    "notes": [],
    "failures": [],
    "software": {"colorcli": "1.0"},
    "protocol": {"id": "p@1", "text": "text"},
    "data": {"roots": [], "images": 3, "failed": 1, "left": 0},
    "models": [{"name": "gray"}, {"name": "runs/a_b|100%", "parameters": 7_200_000, "weights_sha256": "ab"}],
    "metrics": [
        {"id": "psnr", "label": "PSNR", "unit": "dB", "better": "higher", "decimals": 2, "per_image": True, "text": ""},
        {
            "id": "c",
            "label": "ΔC, |mean|",
            "unit": "",
            "better": "lower",
            "decimals": 1,
            "per_image": False,
            "text": "",
        },
    ],
    "summary": {
        "gray": {
            "psnr": {"mean": 21.806, "median": 21.0, "low": 21.5, "high": 22.1},
            "c": {"mean": None, "median": None, "low": None, "high": None},
        },
        "runs/a_b|100%": {
            "psnr": {"mean": 22.0, "median": 22.0, "low": 21.0, "high": 23.0, "sd_over_seeds": 0.123},
            "c": {"mean": 3.0, "median": None, "low": None, "high": None},
        },
    },
    "images": [
        {"name": "a,b.png", "sha256": "00", "width": 4, "height": 5, "values": {"gray": {"psnr": 1.5}}},
    ],
}


def test_csv_has_every_number_in_full() -> None:
    table = list(csv.DictReader(io.StringIO(tables.to_csv(REPORT))))
    assert table[0]["psnr mean"] == "21.806" and table[0]["c mean"] == ""
    assert (table[1]["model"], table[1]["parameters"], table[1]["psnr sd_over_seeds"]) == (
        "runs/a_b|100%",
        "7200000",
        "0.123",
    )
    (image,) = csv.DictReader(io.StringIO(tables.images_csv(REPORT)))
    assert (image["name"], image["model"], image["psnr"]) == ("a,b.png", "gray", "1.5")


def test_markdown_has_one_cell_for_each_column() -> None:
    lines = tables.to_markdown(REPORT).splitlines()
    assert lines[0] == r"| model | PSNR, dB ↑ | ΔC, \|mean\| ↓ | parameters, M |"
    assert lines[2] == "| gray | 21.81 [21.50, 22.10] | – |  |"
    assert lines[3] == r"| runs/a_b\|100% | 22.00 ± 0.12 [21.00, 23.00] | 3.0 | 7.2 |"
    assert "p@1" in lines[-1] and "1 failed" in lines[-1]


def test_perfect_is_not_absent() -> None:
    """An infinite value must not look like a missing one."""
    infinite: Score = {"mean": None, "median": None, "low": None, "high": None, "infinite": 3}
    report: Report = {**REPORT, "summary": {**REPORT["summary"], "gray": {"psnr": infinite, "c": infinite}}}
    assert "| gray | ∞ | ∞ |  |" in tables.to_markdown(report)
    assert r"gray & $\infty$ & $\infty$ &  \\" in tables.to_latex(report)


def test_latex_is_escaped() -> None:
    """Brackets of intervals are in braces: after a line's end, LaTeX would read a bare one as that line's spacing."""
    table = tables.to_latex(REPORT)
    assert r"\begin{tabular}{lrrr}" in table
    assert r"gray & 21.81 {[}21.50, 22.10{]} & -- &  \\" in table
    assert r"runs/a\_b$|$100\% & 22.00 $\pm$ 0.12 {[}21.00, 23.00{]} & 3.0 & 7.2 \\" in table
    assert r"model & PSNR, dB $\uparrow$ & $\Delta$C, $|$mean$|$ $\downarrow$ & parameters, M \\" in table
