"""The page of an evaluation: the table with its intervals, plots, and the photographs side by side."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from colorcli.errors import PhotoError
from colorcli.report.gallery import GALLERY, Column, GalleryItem, Measure, Role, facts, reasons, rounded
from colorcli.report.page import escaped, write_page
from colorcli.report.records import CostName, ImageRecord, MetricRecord, ModelRecord, PairedRecord, Report
from colorcli.report.thumbnails import MAX_PICTURES, bounds_for, thumbnail

Pictures = Callable[[str, str], NDArray[np.uint8]]

_ROLES: dict[str, Role] = {"gray": "input", "original": "truth"}
# key in the report, heading, factor, decimals, unit in the heading
_COSTS: tuple[tuple[CostName, str, float, int, str], ...] = (
    ("parameters", "Parameters", 1e-6, 1, "millions"),
    ("multiply_adds", "Multiply-adds", 1e-9, 2, "10⁹"),
    ("milliseconds", "Network", 1.0, 0, "ms"),
    ("memory_mb", "Memory", 1.0, 0, "MB"),
)


def write_evaluation(path: Path, report: Report, pictures: Pictures) -> None:
    """Write an evaluation as one HTML file that works offline; an earlier report there is replaced.

    Every photograph is in the tables, plots and the gallery. The file stays below 40 MB: if not all images fit, it
    holds those of the best and worst photographs by every metric, and an even selection of the others.

    Args:
        path: the file, such as ``report.html``.
        report: the content of ``report.json``.
        pictures: returns an image by photograph and model (or ``gray`` or ``original``): uint8 ``(H, W, 3)`` or
            ``(H, W)``, sRGB-encoded. Called once for each pair, in the report's order; on PhotoError the image is
            left out.

    Raises:
        OutputError: the file cannot be written, or a file that is not a report exists there.
    """
    columns = _columns(report["models"])
    images = report["images"]
    shown = _shown(report, max(1, MAX_PICTURES // max(1, len(columns))))
    bounds = bounds_for(len(shown) * len(columns))

    def packed() -> Iterator[dict[str, bytes]]:
        for index, image in enumerate(images):
            found = {}
            for column in columns if index in shown else ():
                try:
                    found[column.id] = thumbnail(pictures(image["name"], column.id), bounds)
                except PhotoError:
                    continue
            yield found

    measures = [asdict(measure) for measure in _measures(report["metrics"])]
    data = {
        "columns": [column.data() for column in columns],
        "measures": measures,
        "shown": measures[0]["id"] if measures else None,
        "photos": [_entry(image).data() for image in images],
    }
    write_page(
        path,
        title=report["title"],
        body=_body(report, columns, len(shown)),
        data=data,
        pictures=packed(),
        scripts=("gallery.js", "plots.js"),
    )


def _columns(models: Sequence[ModelRecord]) -> list[Column]:
    """Gray first and the original last, the models between them in the report's order."""
    names = [model["name"] for model in models]
    ordered = sorted(names, key=lambda name: {"gray": 0, "original": 2}.get(name, 1))
    return [Column(name, name, _ROLES.get(name, "result")) for name in ordered]


def _measures(metrics: Sequence[MetricRecord]) -> list[Measure]:
    return [Measure(m["id"], m["label"], m["unit"], m["better"], m["decimals"]) for m in metrics if m["per_image"]]


def _entry(image: ImageRecord) -> GalleryItem:
    values = {
        model: {metric: rounded(value) for metric, value in found.items()} for model, found in image["values"].items()
    }
    size = f"{image['width']} × {image['height']}"
    return GalleryItem(image["name"], size, values, missing="not among the images on this page")


def _shown(report: Report, most: int) -> set[int]:
    """Indices of the photographs whose images the page holds."""
    images = report["images"]
    if len(images) <= most:
        return set(range(len(images)))
    rankings = [ranking for model in report["models"] for ranking in _rankings(report, model["name"])]
    chosen: set[int] = set()
    for rank in range(len(images)):
        for ranking in rankings:
            chosen.update(ranking[rank : rank + 1] + ranking[len(ranking) - 1 - rank : len(ranking) - rank])
            if len(chosen) >= most // 2:
                break
        if len(chosen) >= most // 2 or not rankings:
            break
    others = [index for index in range(len(images)) if index not in chosen]
    wanted = np.linspace(0, len(others) - 1, most - len(chosen)).round().astype(int)
    return chosen | {others[int(place)] for place in wanted}


def _rankings(report: Report, model: str) -> Iterator[list[int]]:
    """Indices of the photographs sorted by each metric."""
    if model in _ROLES:
        return
    for metric in report["metrics"]:
        values = [rounded(image["values"].get(model, {}).get(metric["id"])) for image in report["images"]]
        ranked = sorted((value, index) for index, value in enumerate(values) if value is not None)
        if ranked:
            yield [index for _, index in ranked]


def _body(report: Report, columns: Sequence[Column], shown: int) -> str:
    protocol, images = report["protocol"], len(report["images"])
    failed = [(failure["name"], failure["reason"]) for failure in report["failures"]]
    when = report["created"].replace("T", " ")[:16]
    line = f"{images} photographs · protocol {protocol['id']} · {when}"
    note = ""
    if shown < images:
        note = (
            f'<p class="small quiet">This page shows {shown} of the {images} photographs: the best and the worst by '
            "each metric, and an even selection of the others.</p>"
        )
    return "\n".join(
        (
            '<a class="skip" href="#photographs">To the photographs</a>',
            f"<header><h1>{escaped(report['title'])}</h1>",
            f'<p class="quiet">{escaped(line)}</p><p>{escaped(protocol["text"])}</p></header>',
            f"<main><h2>Results</h2>{_table(report, columns)}",
            _differences(report),
            '<h2>Plots</h2><div class="plots" id="plots"></div>' if images else "",
            GALLERY.replace("</h2>", f"</h2>{note}", 1),
            reasons("photographs could not be scored", failed),
            _method(report),
            "</main>",
        )
    )


def _table(report: Report, columns: Sequence[Column]) -> str:
    models = {model["name"]: model for model in report["models"]}
    metrics = [m for m in report["metrics"] if any(m["id"] in s for s in report["summary"].values())]
    costs = [cost for cost in _COSTS if any(model.get(cost[0]) is not None for model in models.values())]
    arrows = {"higher": "higher is better", "lower": "lower is better"}
    heads = ['<th scope="col">Model</th>']
    for metric in metrics:
        unit = f", {escaped(metric['unit'])}" if metric["unit"] else ""
        hint = f"<br><small>{arrows[metric['better']]}</small>" if metric["better"] in arrows else ""
        heads.append(f'<th scope="col"><span>{escaped(metric["label"])}{unit}{hint}</span></th>')
    heads += [f'<th scope="col"><span>{name}<br><small>{unit}</small></span></th>' for _, name, _, _, unit in costs]
    rows = []
    for column in columns:
        cells = [_score(report, column.id, metric) for metric in metrics]
        for key, _, factor, decimals, _ in costs:
            value = rounded(models[column.id].get(key))
            cells.append(_cell(None if value is None else value * factor, decimals))
        kind = ' class="baseline"' if column.role != "result" else ""
        rows.append(f'<tr{kind}><th scope="row"><bdi>{escaped(column.label)}</bdi></th>{"".join(cells)}</tr>')
    legend = (
        "Means over the photographs; below each, its 95 % interval (bootstrap). <i>gray</i> is the photograph without "
        "colour: a model that is not better than gray gains nothing."
    )
    if any(row["verdict"] in ("better", "worse") for row in _against_gray(report)):
        legend += (
            ' <span class="better">▲</span> better or <span class="worse">▼</span> worse than gray, by a paired '
            "difference whose interval excludes zero."
        )
    if costs:
        legend += (
            " Parameters, multiply-adds, time and memory are for one square photograph at the model’s working size."
        )
    notes = "".join(f'<p class="small"><strong>Note:</strong> {escaped(note)}</p>' for note in report["notes"])
    return (
        f'<div class="wide" tabindex="0" role="region" aria-label="Results"><table data-sortable><thead><tr>'
        f"{''.join(heads)}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>{notes}"
        f'<p class="small quiet">{legend}</p>'
    )


def _cell(value: float | None, decimals: int) -> str:
    if value is None:
        return '<td data-value="">–</td>'
    return f'<td data-value="{value:.9g}">{_number(value, decimals)}</td>'


def _number(value: float, decimals: int, *, sign: bool = False) -> str:
    return f"{value:{'+' if sign else ''}.{decimals}f}".replace("-", "−")


def _score(report: Report, model: str, metric: MetricRecord) -> str:
    """A table cell: mean, interval, spread over seeds, and the verdict against gray."""
    found = report["summary"][model][metric["id"]]
    mean, low, high = (rounded(value) for value in (found["mean"], found["low"], found["high"]))
    decimals = metric["decimals"]
    if mean is None:
        return f'<td data-value="">{"∞" if found.get("infinite") else "–"}</td>'
    verdict = next(
        (row["verdict"] for row in _against_gray(report) if row["a"] == model and row["metric"] == metric["id"]), ""
    )
    marks = {"better": ("better", "▲"), "worse": ("worse", "▼")}
    sign = ""
    if verdict in marks:
        word, arrow = marks[verdict]
        sign = f' <span class="{word}" role="img" aria-label="{word} than gray" title="{word} than gray">{arrow}</span>'
    interval = ""
    if low is not None and high is not None:
        interval = f"<small>{_number(low, decimals)} … {_number(high, decimals)}</small>"
    seeds = rounded(found.get("sd_over_seeds"))
    spread = "" if seeds is None else f"<small>± {_number(seeds, decimals + 1)} over seeds</small>"
    return f'<td data-value="{mean:.9g}">{_number(mean, decimals)}{sign}{interval}{spread}</td>'


def _against_gray(report: Report) -> list[PairedRecord]:
    """Paired differences of models from gray, whichever of the two comes first in the report."""
    turned = {"better": "worse", "worse": "better"}
    found: list[PairedRecord] = []
    for row in report["paired"]:
        if row["b"] == "gray":
            found.append(row)
        elif row["a"] == "gray":
            found.append({**row, "a": row["b"], "b": "gray", "verdict": turned.get(row["verdict"], row["verdict"])})
    return found


def _differences(report: Report) -> str:
    if not report["paired"]:
        return ""
    metrics = {metric["id"]: metric for metric in report["metrics"]}
    rows = []
    for row in report["paired"]:
        metric = metrics[row["metric"]]
        decimals = metric["decimals"] + 1
        kind = {"better": ' class="words better"', "worse": ' class="words worse"'}.get(
            row["verdict"], ' class="words"'
        )
        value = _number(row["difference"], decimals, sign=True)
        interval = f"{_number(row['low'], decimals)} … {_number(row['high'], decimals)}"
        models = f'{escaped(row["a"])} <span class="quiet">against</span> {escaped(row["b"])}'
        rows.append(
            f'<tr><th scope="row"><bdi>{models}</bdi></th>'
            f'<td class="words">{escaped(metric["label"])}</td><td{kind}>{escaped(row["verdict"])}</td>'
            f'<td data-value="{row["difference"]:.9g}">{value}</td><td>{interval}</td></tr>'
        )
    heads = (
        '<th scope="col">Models</th><th scope="col" class="words">Metric</th><th scope="col" class="words">Verdict</th>'
        '<th scope="col">Difference</th><th scope="col">95 % interval</th>'
    )
    opened = " open" if len(rows) <= 12 else ""
    return (
        f"<details{opened}><summary><strong>Paired differences between models</strong></summary>"
        '<div class="wide" tabindex="0" role="region" aria-label="Paired differences">'
        '<table class="pairs" data-sortable>'
        f"<thead><tr>{heads}</tr></thead><tbody>{''.join(rows)}</tbody></table></div></details>"
    )


def _method(report: Report) -> str:
    """How to reproduce the numbers."""
    protocol = {
        f"protocol: {key}": _plain(value) for key, value in report["protocol"].items() if key not in ("id", "text")
    }
    pairs = {
        "protocol": report["protocol"]["id"],
        **protocol,
        "command": " ".join(report["command"]),
        "photographs": _plain(report["data"]),
        "chance": _plain(report["options"]),
        "intervals": _plain(report["intervals"]),
        "software": _plain(report["software"]),
        "machine": _plain(report["machine"]),
        **{f"weights of {m['name']}": m["weights_sha256"] for m in report["models"] if m.get("weights_sha256")},
        **{f"weights of {name}": sha256 for name, sha256 in report["metric_networks"].items()},
    }
    return (
        "<h2>How this was measured</h2><details><summary>Protocol, command, software, machine, weights</summary>"
        f"{facts(pairs)}</details>"
    )


def _plain(value: object) -> str:
    """JSON-like values in plain text."""
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_plain(item)}" for key, item in value.items())
    if isinstance(value, str):
        return value
    if isinstance(value, list | tuple):
        return ", ".join(_plain(item) for item in value)
    return json.dumps(value)
