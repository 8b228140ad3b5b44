"""Running a sweep: train and evaluate each run, skipping finished ones."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from colorcli.errors import ColorcliError, OutputError, UsageError
from colorcli.evaluate.data import find
from colorcli.evaluate.engine import EvaluationOptions
from colorcli.evaluate.report import to_json
from colorcli.evaluate.run import Request, Run
from colorcli.files import write_atomically
from colorcli.locks import locked
from colorcli.report.plots import curves
from colorcli.report.records import Report
from colorcli.sweep.plan import Sweep, Training
from colorcli.sweep.table import Results, to_markdown
from colorcli.train.loop import DivergedError, Observer, run_recipe
from colorcli.train.processes import world_size
from colorcli.train.run import read_log

_DONE, _SCORES = "done.json", "scores.json"
# What a log line says of the run rather than of the network.
_NO_MEASURES = {"step", "phase", "photos_per_second", "waiting_for_data"}


@dataclass(frozen=True)
class SweepPaths:
    """Where a sweep reads and writes.

    Attributes:
        data: folders and shards of photographs to train on.
        test: photographs to evaluate on, as ``evaluate`` takes them.
        output: folder for the runs, the table and its figures.
    """

    data: tuple[Path, ...]
    test: tuple[Path, ...]
    output: Path


def carry_out(
    sweep: Sweep,
    paths: SweepPaths,
    *,
    device: str = "auto",
    threads: int | None = None,
    seconds: Callable[[], float | None] = lambda: None,
    stop: Callable[[], bool] = lambda: False,
    command: Sequence[str] = (),
    observe: Observer = lambda _: None,
) -> Results | None:
    """Train and evaluate the remaining runs and write the table; the results, or None if it was stopped before the end.

    An interrupted run resumes from its checkpoint; a finished run is evaluated once. The table is rewritten after every
    run, so that a long sweep can be followed. A network that became worse than it was at the start is measured like the
    others.

    Args:
        sweep: the sweep to run.
        paths: its inputs and outputs.
        device: see ``sessions.pytorch.resolve_device``.
        threads: CPU threads of PyTorch.
        seconds: returns the time left in seconds, or None for no limit.
        stop: called after every step; True stops the sweep.
        command: the command line, recorded in the run and the table.
        observe: called with every log record of every run.

    Raises:
        UsageError: the folder holds another sweep's runs, the photographs to evaluate on do not exist, or several
            processes were started.
        OutputError: another process is working on the folder.
        ColorcliError: training or evaluation failed; a run that diverges is listed in the table instead.
    """
    if world_size() > 1:
        raise UsageError("A sweep trains in one process: start it without accelerate launch.")
    for protocol in {training.protocol.id: training.protocol for training in sweep.trainings}.values():
        # Here, and not after the first run.
        find(paths.test, protocol.data, protocol.labels)
    results = None
    with locked(paths.output, paths.output / ".lock", elsewhere=False):
        for number, training in enumerate(sweep.trainings, 1):
            folder = paths.output / training.name
            said = f"run {number} of {len(sweep.trainings)}: {training.name}"
            done = _done(folder, training)
            if done is None:
                observe({"step": 0, "phase": said})
                left = seconds()
                if stop() or (left is not None and left <= 0):
                    return None
                failure = ""
                try:
                    finished = run_recipe(
                        training.recipe,
                        paths.data,
                        folder,
                        resume=folder.exists(),
                        seconds=left,
                        stop=stop,
                        device=device,
                        threads=threads,
                        command=command,
                        observe=observe,
                        # What a paper's setting spoils is a result, too.
                        keep_worse=True,
                    )
                except DivergedError as error:
                    finished, failure = True, str(error)
                if not finished:
                    return None
                done = {"recipe": training.recipe.to_dict(), "failure": failure}
                _write(folder / _DONE, json.dumps(done).encode())
            scores = _scores(folder)
            if not done["failure"] and not (scores and scores["protocol"]["id"] == training.protocol.id):
                _measure(sweep, training, paths, device)
            results = _write_table(sweep, paths, command)
    return results


def _done(folder: Path, training: Training) -> dict[str, Any] | None:
    """The record of a finished run; None if the run has not finished.

    Raises:
        UsageError: the run was trained with another recipe.
    """
    try:
        done: dict[str, Any] = json.loads((folder / _DONE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if done["recipe"] != json.loads(json.dumps(training.recipe.to_dict())):
        raise UsageError(
            f"The run in {folder} was made from another recipe than the sweep's: remove it, or choose another folder "
            "with -o."
        )
    return done


def _scores(folder: Path) -> Report | None:
    """The evaluation report of a run; None if it has not been evaluated."""
    try:
        made: Report = json.loads((folder / _SCORES).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    return made


def _measure(sweep: Sweep, training: Training, paths: SweepPaths, device: str) -> None:
    from colorcli.pipeline.opening import open_model

    folder = paths.output / training.name
    request = Request(
        training.protocol,
        metrics=tuple(dict.fromkeys(name.split("@")[0] for name in sweep.metrics)),
        roots=paths.test,
        models=(str(folder),),
        open_model=lambda name, count: open_model(name, backend="pytorch", device=device, photographs=count),
    )
    made = Run(request, EvaluationOptions()).carry_out()
    if not made["images"]:
        reason = made["failures"][0]["reason"] if made["failures"] else "there are none"
        raise ColorcliError(f"None of the photographs for evaluating {folder.name} could be used: {reason}.")
    _write(folder / _SCORES, to_json(made))


def _write_table(sweep: Sweep, paths: SweepPaths, command: Sequence[str]) -> Results:
    scores: dict[tuple[str, int], Report] = {}
    failures: dict[str, str] = {}
    lines: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for training in sweep.trainings:
        folder = paths.output / training.name
        done = _done(folder, training)
        if done is None:
            continue
        if done["failure"]:
            failures[training.name] = done["failure"]
        elif made := _scores(folder):
            scores[training.variant, training.seed] = made
        if training.seed == sweep.trainings[0].seed:
            _add_measures(lines, training.variant, folder)
    results = Results(sweep, scores, failures, tuple(command))
    _write(paths.output / "results.json", json.dumps(results.record(), indent=1).encode() + b"\n")
    figures = {}
    if lines:
        figures["curves"] = curves(lines)
    beside = sorted(paths.output.glob("*/figures/variants.png"), key=lambda path: path.stat().st_mtime_ns)
    if beside:
        figures["variants"] = Image.open(beside[-1])
    for name, image in figures.items():
        image.save(paths.output / f"{name}.png")
    _write(paths.output / "table.md", to_markdown(results, tuple(figures)).encode())
    return results


def _add_measures(lines: dict[str, dict[str, list[tuple[float, float]]]], variant: str, folder: Path) -> None:
    for record in read_log(folder):
        for key, value in record.items():
            if key not in _NO_MEASURES:
                lines.setdefault(key, {}).setdefault(variant, []).append((record["step"], value))


def _write(path: Path, content: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, content)
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror or error}.") from error
