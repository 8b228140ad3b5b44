"""The table of an evaluation as CSV, Markdown and LaTeX, and one line for each photograph as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator

from colorcli.report.records import CostName, Report, Score

_ABSENT = "–"
# key in the report: heading, factor, decimals
_COSTS: dict[CostName, tuple[str, float, int]] = {
    "parameters": ("parameters, M", 1e-6, 1),
    "multiply_adds": ("multiply-adds, G", 1e-9, 2),
    "milliseconds": ("network, ms", 1.0, 0),
    "memory_mb": ("memory, MB", 1.0, 0),
}
_LATEX = str.maketrans(
    {"\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
     "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "Δ": r"$\Delta$", "σ": r"$\sigma$", "·": r"$\cdot$",
     "∞": r"$\infty$", "|": r"$|$", "[": "{[}", "]": "{]}", _ABSENT: "--"}
)  # fmt: skip


def headings(report: Report) -> list[str]:
    """Column headings after the model's name: label, unit, and which way is better."""
    arrows = {"higher": " ↑", "lower": " ↓", "none": ""}
    return [
        metric["label"] + (f", {metric['unit']}" if metric["unit"] else "") + arrows[metric["better"]]
        for metric in report["metrics"]
    ]


def rows(report: Report, *, intervals: bool = True) -> Iterator[tuple[str, list[str]]]:
    """Each model's name and formatted numbers: mean, ± sd over seeds, and interval."""
    for model in report["models"]:
        summary = report["summary"][model["name"]]
        yield str(model["name"]), [_cell(summary[m["id"]], m["decimals"], intervals) for m in report["metrics"]]


def cost_headings(report: Report) -> list[str]:
    """Headings of the cost columns; none where no cost is known."""
    return [_COSTS[key][0] for key in _known_costs(report)]


def costs(report: Report) -> Iterator[list[str]]:
    """Each row's formatted costs, in the order of ``rows``; empty where unknown."""
    for model in report["models"]:
        values = ((model.get(key), *_COSTS[key][1:]) for key in _known_costs(report))
        yield ["" if value is None else f"{value * factor:.{decimals}f}" for value, factor, decimals in values]


def to_csv(report: Report) -> str:
    """All numbers and costs at full precision, one line for each model."""
    columns = ("mean", "median", "low", "high", "sd_over_seeds")
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    heads = [f"{metric['id']} {column}" for metric in report["metrics"] for column in columns]
    writer.writerow(["model", "weights_sha256", *_COSTS, *heads])
    for model in report["models"]:
        summary = report["summary"][model["name"]]
        numbers = [summary[metric["id"]].get(column) for metric in report["metrics"] for column in columns]
        writer.writerow([model["name"], model.get("weights_sha256", ""), *(model.get(key) for key in _COSTS), *numbers])
    return out.getvalue()


def to_markdown(report: Report) -> str:
    """A Markdown table with a caption on the method."""
    heads = ["model", *headings(report), *cost_headings(report)]
    lines = [heads, ["---", *["---:"] * (len(heads) - 1)], *_whole_rows(report)]
    table = "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)
    return f"{table}\n\n{caption(report)}\n"


def to_latex(report: Report) -> str:
    """A LaTeX ``tabular`` (package booktabs) with a comment on the method."""
    heads = [label.replace(" ↑", "").replace(" ↓", "") for label in headings(report)]
    arrows = {"higher": r" $\uparrow$", "lower": r" $\downarrow$", "none": ""}
    marked = [_tex(head) + arrows[metric["better"]] for head, metric in zip(heads, report["metrics"], strict=True)]
    marked += map(_tex, cost_headings(report))
    lines = [f"% {caption(report)}", rf"\begin{{tabular}}{{l{'r' * len(marked)}}}", r"\toprule"]
    lines += [" & ".join(["model", *marked]) + r" \\", r"\midrule"]
    lines += [" & ".join(map(_tex, cells)) + r" \\" for cells in _whole_rows(report)]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", ""])


def images_csv(report: Report) -> str:
    """One line for each photograph and model; cells are empty where there is no value."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    ids = [metric["id"] for metric in report["metrics"] if metric["per_image"]]
    writer.writerow(["name", "sha256", "width", "height", "model", *ids])
    for image in report["images"]:
        about = [image[key] for key in ("name", "sha256", "width", "height")]
        for model, values in image["values"].items():
            writer.writerow([*about, model, *(values[key] for key in ids)])
    return out.getvalue()


def caption(report: Report) -> str:
    """The method in one line."""
    data = report["data"]
    failed = f", {data['failed']} failed" if data["failed"] else ""
    return (
        f"{data['images']} photographs{failed}; protocol {report['protocol']['id']}: {report['protocol']['text']}; "
        f"means with 95 % bootstrap intervals over photographs; colorcli {report['software']['colorcli']}"
    )


def _known_costs(report: Report) -> list[CostName]:
    return [key for key in _COSTS if any(model.get(key) is not None for model in report["models"])]


def _whole_rows(report: Report) -> list[list[str]]:
    return [[name, *cells, *cost] for (name, cells), cost in zip(rows(report), costs(report), strict=True)]


def _cell(summary: Score, decimals: int, intervals: bool) -> str:
    if summary["mean"] is None:
        return "∞" if summary.get("infinite") else _ABSENT
    text = f"{summary['mean']:.{decimals}f}"
    if summary.get("sd_over_seeds") is not None:
        text += f" ± {summary['sd_over_seeds']:.{decimals}f}"
    if intervals and summary["low"] is not None:
        text += f" [{summary['low']:.{decimals}f}, {summary['high']:.{decimals}f}]"
    return text


def _tex(text: str) -> str:
    return text.translate(_LATEX).replace(" ± ", r" $\pm$ ")
