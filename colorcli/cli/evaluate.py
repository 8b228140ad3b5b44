"""``colorcli evaluate``: measure colorizers."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from colorcli.cli import output as data
from colorcli.cli.backend_options import Backend, Compile, Device, Precision
from colorcli.cli.completion import complete_metrics, complete_model, complete_protocol
from colorcli.cli.control_options import with_controls
from colorcli.errors import ExitCode, UsageError
from colorcli.pipeline.controls import SEED, SIGMA, Settings, settle

if TYPE_CHECKING:
    from colorcli.evaluate.protocols import Protocol
    from colorcli.report.records import Report
    from colorcli.sessions.session import Session

_FEW = 3
_MOST_INTERVALS = 6


@with_controls
def evaluate(
    inputs: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="DATA", help="Folders, tar shards, files, RUN#held-back. [default: built-in photographs]"
        ),
    ] = None,
    models: Annotated[
        str | None,
        typer.Option(
            metavar="NAME,…", help="Names, run folders, files. [default: bigcolor]", autocompletion=complete_model
        ),
    ] = None,
    metrics: Annotated[
        str | None,
        typer.Option(
            metavar="ID,…", help="Metrics, see --list. [default: the protocol's]", autocompletion=complete_metrics
        ),
    ] = None,
    protocol: Annotated[
        str | None,
        typer.Option(
            help="Id or TOML file, see --list. [default: imagenet-val5k-crop256]", autocompletion=complete_protocol
        ),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="REPORT", help="Folder for tables and report.html.")
    ] = None,
    truth: Annotated[
        Path | None, typer.Option(help="Folder of originals: DATA is another tool's colourings of them.")
    ] = None,
    gray: Annotated[
        str | None, typer.Option(help="lightness, luma601, orthochromatic, panchromatic. [default: the protocol's]")
    ] = None,
    labels: Annotated[
        str | None,
        typer.Option(help="Classes for models that take one: folders, pseudo, or a CSV file (name,class)."),
    ] = None,
    classes: Annotated[
        str | None, typer.Option(metavar="topN", help="Diversity over a photograph's N likeliest classes, as top5.")
    ] = None,
    native: Annotated[
        bool, typer.Option("--native", help="Score the network's own output, before it is joined with the lightness.")
    ] = False,
    seeds: Annotated[int, typer.Option(help="Number of seeds to score; their spread is shown.", min=1)] = 1,
    strength: Annotated[float | None, typer.Option(help="Multiply chroma by this. [default: 1]", min=0, max=2)] = None,
    vividness: Annotated[
        float | None, typer.Option(help="Paler (0) to more vivid (1) colours. [default: 0.5]", min=0, max=1)
    ] = None,
    sigmas: Annotated[str | None, typer.Option(metavar="X,…", help="Sigmas for diversity. [default: 0.8,3,10]")] = None,
    samples: Annotated[int, typer.Option(help="Colourings of each photograph for diversity.", min=2)] = 10,
    metric_weights: Annotated[
        list[str] | None, typer.Option(metavar="NAME=FILE", help="Weights of a metric network; repeatable.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Allow FID below 2,048 photographs (flagged).")] = False,
    save_ab: Annotated[
        Path | None,
        typer.Option(help="Folder for the network's own a*, b* of each photograph, as .npz files."),
    ] = None,
    backend: Backend = "auto",
    device: Device = "auto",
    precision: Precision = "auto",
    compile_network: Compile = False,
    jobs: Annotated[
        int | None, typer.Option("--jobs", "-j", help="Threads that read and score. [default: one per CPU]", min=1)
    ] = None,
    list_all: Annotated[bool, typer.Option("--list", help="List the protocols and metrics and exit.")] = False,
    json: Annotated[bool, typer.Option("--json", help="One JSON object a line on stdout.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Nothing on stderr but errors.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="A line for every photograph.")] = False,
    **asked: Any,
) -> None:
    """Measure colorizers: turn photographs gray, colour them, and compare with what they were.

    The row gray, beside every model, is for photographs left gray.
    """
    from colorcli.evaluate import protocols

    if list_all:
        _list(json=json)
        return
    if truth is not None and not inputs:
        raise UsageError("--truth compares colourings with originals: give the colourings as DATA.")
    chosen = protocols.load(protocol or (protocols.DEFAULT if truth is None else protocols.DEFAULT_FOR_PAIRS))
    settings = settle(asked)
    seed = settings.pop(SEED.name, SEED.default)
    chosen = _changed(chosen, gray, native, settings, sigmas, labels)
    chosen = _with_amount(chosen, strength, vividness)

    from colorcli.cli.progress import WaitingLines, display
    from colorcli.evaluate.engine import EvaluationOptions
    from colorcli.evaluate.run import Request, Run
    from colorcli.pipeline.opening import open_model
    from colorcli.stopping import Stop, ended_by, stopping_on_signals

    stop, waiting = Stop(), WaitingLines()

    def open_one(name: str, photographs: int) -> Session:
        return open_model(
            name,
            # Only PyTorch gives a network's own output.
            backend="pytorch" if chosen.native and backend == "auto" else backend,
            device=device,
            precision=precision,
            photographs=photographs,
            compile=compile_network,
            notify=(lambda _: None) if quiet else data.note,
            waiting=(lambda what, seconds: None) if quiet else waiting,
            stopped=stop,
        )

    names = _split(models) if models is not None else ("bigcolor",) if truth is None else ()
    request = Request(
        chosen,
        metrics=_split(metrics or ""),
        roots=tuple(inputs or ()),
        truth=truth,
        models=names,
        weights=_weights(metric_weights or []),
        force=force,
        output=output,
        command=("colorcli", *sys.argv[1:]),
        open_model=open_one,
    )
    with stopping_on_signals(stop, lambda: data.note("Finishing what is in flight; Ctrl-C again aborts.")):
        options = EvaluationOptions(seed, seeds, samples, _ranks(classes), jobs or EvaluationOptions.jobs, save_ab)
        with data.waiting("Looking for photographs and opening models", quiet=quiet):
            run = Run(request, options)
        with display(len(run.dataset.items) + len(run.dataset.failures), quiet=quiet, verbose=verbose) as shown:
            report = run.carry_out(shown.show, stop)
    if json:
        _emit(report, output)
    elif report["images"]:
        _print(report)
    if not quiet:
        _summarize(report, output)
    if stop():
        raise typer.Exit(int(ended_by(stop.signal_number)))
    if report["failures"]:
        raise typer.Exit(int(ExitCode.SOME_FAILED if report["images"] else ExitCode.ALL_FAILED))


def _split(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _changed(
    protocol: Protocol, gray: str | None, native: bool, settings: Settings, sigmas: str | None, labels: str | None
) -> Protocol:
    from colorcli.evaluate.protocols import GRAY_RULES, LABELS, are_labels

    changes: dict[str, Any] = {}
    if labels is not None:
        if not are_labels(labels):
            raise UsageError(f"--labels must be {', '.join(LABELS)} or a CSV file, not '{labels}'.")
        changes["labels"] = labels
    if gray is not None:
        if gray not in GRAY_RULES:
            raise UsageError(f"--gray must be {', '.join(GRAY_RULES)}, not '{gray}'.")
        changes["gray"] = gray
    if native:
        changes["native"] = True
    changes["controls"] = settings
    if sigmas is not None:
        try:
            changes["sigmas"] = tuple(float(part) for part in _split(sigmas))
        except ValueError as error:
            raise UsageError(f"--sigmas must be numbers, such as 0.8,3,10, not '{sigmas}'.") from error
        if any(not (SIGMA.holds(value) and value) for value in changes["sigmas"]):
            raise UsageError(f"--sigmas must be in (0, {SIGMA.high}], not {sigmas}.")
    return protocol.changed(**changes)


def _with_amount(protocol: Protocol, strength: float | None, vividness: float | None) -> Protocol:
    """The protocol with the requested amount of colour, which becomes part of its id."""
    asked = {"strength": strength, "vividness": vividness}
    changes = {name: value for name, value in asked.items() if value is not None}
    if changes and protocol.native:
        raise UsageError(f"--{next(iter(changes))} has no effect with --native; omit one of them.")
    return protocol.changed(**changes)


def _ranks(classes: str | None) -> int:
    """The N of topN."""
    if classes is None:
        return 0
    number = classes.removeprefix("top")
    if not (number.isdecimal() and 2 <= int(number) <= 1000):
        raise UsageError(f"--classes must be top2 to top1000, not '{classes}'.")
    return int(number)


def _weights(given: list[str]) -> dict[str, Path]:
    known = ("lpips-alex", "lpips-vgg", "inception-fid")
    found = {}
    for text in given:
        name, _, path = text.partition("=")
        if name not in known or not path:
            raise UsageError(f"--metric-weights must be NAME=FILE with one of {', '.join(known)}, not '{text}'.")
        found[name] = Path(path)
    return found


def _list(*, json: bool) -> None:
    from colorcli.evaluate import protocols
    from colorcli.evaluate.metrics import METRICS

    known = [protocols.load(name) for name in protocols.SHELF.names()]
    if json:
        for protocol in known:
            data.emit("protocol", **protocol.record())
        for metric in METRICS.values():
            data.emit("metric", **metric.record())
        return
    data.listing([(protocol.id, protocol.text) for protocol in known], "Protocols (--protocol)")
    data.line("")
    data.listing([(metric.id, str(metric.record()["text"])) for metric in METRICS.values()], "Metrics (--metrics)")


def _emit(report: Report, output: Path | None) -> None:
    for model in report["models"]:
        data.emit("evaluate.model", **model, summary=report["summary"][model["name"]])
    for pair in report["paired"]:
        data.emit("evaluate.paired", **pair)
    for failure in report["failures"]:
        data.emit("evaluate.failed", **failure)
    data.emit(
        "evaluate",
        protocol=report["protocol"]["id"],
        images=report["data"]["images"],
        failed=report["data"]["failed"],
        report=None if output is None else str(output),
    )


def _print(report: Report) -> None:
    from rich.table import Table

    from colorcli.evaluate.tables import cost_headings, costs, headings, rows

    table = Table("Model", box=None, pad_edge=False)
    for heading in (*headings(report), *cost_headings(report)):
        table.add_column(heading, justify="right")
    for (name, cells), cost in zip(rows(report, intervals=_has_room(report)), costs(report), strict=True):
        table.add_row(name, *cells, *cost)
    data.console().print(table)
    labels = {metric["id"]: metric for metric in report["metrics"]}
    for pair in report["paired"]:
        metric = labels[pair["metric"]]
        middle, low, high = (f"{pair[key]:+.{metric['decimals']}f}" for key in ("difference", "low", "high"))
        data.line(f"{pair['a']} against {pair['b']}, {metric['label']}: {middle} [{low}, {high}]: {pair['verdict']}")


def _has_room(report: Report) -> bool:
    """Whether a terminal is wide enough for the intervals too."""
    return len(report["metrics"]) <= _MOST_INTERVALS


def _summarize(report: Report, output: Path | None) -> None:
    from colorcli.evaluate.tables import caption
    from colorcli.text import printable

    data.note(caption(report))
    if output is None and not _has_room(report):
        data.note(f"With more than {_MOST_INTERVALS} metrics, intervals are not shown here; -o REPORT writes them.")
    for text in report["notes"]:
        data.note(text)
    for metric, models in list(report["extremes"].items())[:1]:
        for model, names in models.items():
            if model != "gray":
                worst = ", ".join(printable(name) for name in names["worst"][:_FEW])
                best = ", ".join(printable(name) for name in names["best"][:_FEW])
                data.note(f"{model} by {metric}: worst {worst}; best {best}")
    for failure in report["failures"]:
        data.note(f"failed {printable(failure['name'])}: {printable(failure['reason'])}")
    if output is not None and report["images"]:
        data.note(f"The report is in {output}; open {output / 'report.html'}")
