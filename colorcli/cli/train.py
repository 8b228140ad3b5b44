"""``colorcli train``: run a recipe."""

from __future__ import annotations

import sys
from collections import Counter
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from colorcli.cli.completion import complete_recipe
from colorcli.cli.output import console, listing, note
from colorcli.errors import ExitCode, UsageError
from colorcli.stopping import Stop, ended_by, stopping_on_signals

if TYPE_CHECKING:
    from colorcli.sweep.plan import Sweep


def train(
    recipe: Annotated[
        str | None,
        typer.Argument(help="A recipe's name (see --list) or a TOML file.", autocompletion=complete_recipe),
    ] = None,
    data: Annotated[
        list[str] | None,
        typer.Option(
            "--data",
            metavar="DATA",
            help="Folder of colour photographs or tar shards, hf://SET, or URL of shards; repeatable.",
        ),
    ] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Run folder; default runs/RECIPE.")] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="FIELD=VALUE", help="Override a field of the recipe.")
    ] = None,
    start: Annotated[
        list[str] | None,
        typer.Option(
            "--from",
            metavar="MODEL",
            help="Fine-tune a model (name, run folder or weights file); several: the mean of their weights.",
        ),
    ] = None,
    teacher: Annotated[
        Path | None,
        typer.Option(
            help="EfficientNet-Lite0 weights (.pth); default: those of the extra colorcli[train].", exists=True
        ),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue from the run folder's checkpoint.")] = False,
    minutes: Annotated[
        float | None, typer.Option(min=0, help="Stop after about this many minutes, with a checkpoint to resume from.")
    ] = None,
    keep_worse: Annotated[
        bool, typer.Option("--keep-worse", help="Write the model even if it is worse than at the start.")
    ] = False,
    track: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Show the run in tensorboard or wandb too; repeatable."),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda[:N] or mps.")] = "auto",
    threads: Annotated[int | None, typer.Option(help="CPU threads.", min=1)] = None,
    sweep: Annotated[
        str | None,
        typer.Option(
            metavar="SWEEP",
            help="Make or continue a table of variants and seeds (a paper's by name, or a TOML file; see the "
            "docs); needs --test.",
        ),
    ] = None,
    test: Annotated[
        list[Path] | None,
        typer.Option(help="With --sweep: photographs to evaluate the runs on, or RUN#SET; repeatable."),
    ] = None,
    list_recipes: Annotated[bool, typer.Option("--list", help="List the recipes and exit.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress on stderr.")] = False,
) -> None:
    """Train a network from a recipe; the run folder can be used as a model."""
    from colorcli.train import recipe as recipes

    if list_recipes:
        _list()
        return
    if sweep is not None:
        if recipe or start or teacher or resume or keep_worse or track:
            raise UsageError(
                "A sweep names its own recipes: omit RECIPE, --from, --teacher, --resume, --keep-worse and --track."
            )
        from colorcli.sweep import plan

        if not (data and test):
            raise UsageError("--sweep needs --data to train on and --test to evaluate on.")
        _sweep(
            plan.load(sweep, settings or ()),
            _located(data, quiet),
            test,
            output or Path("sweeps") / Path(sweep).stem,
            minutes=minutes,
            device=device,
            threads=threads,
            quiet=quiet,
        )
        return
    if test:
        raise UsageError("--test is for --sweep; to evaluate a model, use 'colorcli evaluate'.")
    if recipe is None:
        raise UsageError("Name a recipe (colorcli train --list shows them) and the photographs to train on: --data.")
    chosen = recipes.load(recipe, settings)
    if not data:
        raise UsageError(f"Name the photographs to train {recipe} on: --data FOLDER.")
    photographs = _located(data, quiet)

    from colorcli.cli.training_display import training_display
    from colorcli.train.loop import run_recipe
    from colorcli.train.processes import is_main

    # Only the main process reports.
    quiet = quiet or not is_main()
    stop = Stop()
    folder = output or Path("runs") / chosen.name
    with training_display(chosen, folder, quiet=quiet) as display, _stopping(stop, quiet=quiet):
        finished = run_recipe(
            chosen,
            photographs,
            folder,
            teacher=teacher,
            start=start or (),
            resume=resume,
            seconds=None if minutes is None else minutes * 60,
            stop=stop,
            device=device,
            threads=threads,
            keep_worse=keep_worse,
            track=track or (),
            command=["colorcli", *sys.argv[1:]],
            observe=display.show,
        )
    if not quiet:
        if start and finished:
            _compare(folder)
        _tell_what_was_left_out(folder)
        note(_made(chosen.system, folder) if finished else "Stopped before the end; continue with --resume.")
    if stop() and not finished:
        raise typer.Exit(ended_by(stop.signal_number))


def _stopping(stop: Stop, *, quiet: bool) -> AbstractContextManager[None]:
    said = "Stopping after this step, with a checkpoint; Ctrl-C again aborts."
    return stopping_on_signals(stop, lambda: None if quiet else note(said))


def _located(data: list[str], quiet: bool) -> list[Path]:
    """DATA as folders and tar shards on this machine."""
    from colorcli.train.sources import located

    return located(data, (lambda _: None) if quiet else note)


def _sweep(
    sweep: Sweep,
    data: list[Path],
    test: list[Path],
    output: Path,
    *,
    minutes: float | None,
    device: str,
    threads: int | None,
    quiet: bool,
) -> None:
    import time

    from colorcli.cli.training_display import training_display
    from colorcli.sweep.run import SweepPaths, carry_out

    paths = SweepPaths(tuple(data), tuple(test), output)
    stop, until = Stop(), None if minutes is None else time.monotonic() + minutes * 60
    recipe = sweep.trainings[0].recipe
    with training_display(recipe, paths.output, quiet=quiet) as display, _stopping(stop, quiet=quiet):
        results = carry_out(
            sweep,
            paths,
            device=device,
            threads=threads,
            seconds=lambda: None if until is None else until - time.monotonic(),
            stop=stop,
            command=["colorcli", *sys.argv[1:]],
            observe=display.show,
        )
    if not quiet:
        table = paths.output / "table.md"
        note(f"The table is {table}." if results else "Stopped before the end; the same command continues.")
    if results and results.failures:
        note(f"Diverged, so not in the table: {', '.join(results.failures)}. To train one again, remove its folder.")
        raise typer.Exit(ExitCode.SOME_FAILED)
    if stop() and not results:
        raise typer.Exit(ended_by(stop.signal_number))


def _tell_what_was_left_out(folder: Path) -> None:
    from colorcli.train.data import ONE_TONE
    from colorcli.train.run import Run

    # The text after the colon is specific to one photograph.
    reasons = Counter(reason.partition(":")[0] for reason in Run(folder).left_out.values())
    if reasons:
        counts = ", ".join(f"{count} {reason}" for reason, count in reasons.items())
        note(f"Skipped so far: {counts} ({folder / 'left_out.json'}).")
        if ONE_TONE in reasons:
            note("If those of one tone are in colour, train on them too with --set data.toned=true.")


def _made(system: str, folder: Path) -> str:
    """Contents of a finished run folder, and the next steps."""
    from colorcli.registry import backbones

    if not (folder / backbones.CARD).is_file():
        return f"The model is in {folder}."
    return (
        f"{system}, a part of other networks, is in {folder}; install it for them with "
        f"'colorcli models import {system} {folder}'."
    )


def _list() -> None:
    """List the recipes with descriptions."""
    from colorcli.train import recipe as recipes

    listing((name, recipes.SHELF.describe(name)) for name in recipes.SHELF.names())


def _compare(folder: Path) -> None:
    """Show what fine-tuning changed on the held-back photographs."""
    from rich.table import Table

    from colorcli.train.validation import before_after

    count, measures = before_after(folder)
    table = Table(f"{count} held back", "before", "after")
    for name, before, after in measures:
        table.add_row(name.replace("_", " "), f"{before:.3f}", f"{after:.3f}")
    console(stderr=True).print(table)
