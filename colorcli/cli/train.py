"""``colorcli train``: run a recipe."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from colorcli.cli.output import line


def train(
    recipe: Annotated[str | None, typer.Argument(help="A recipe's name (see --list) or a TOML file.")] = None,
    data: Annotated[
        list[Path] | None,
        typer.Option("--data", help="Folder of colour photographs or tar shards; may be repeated.", exists=True),
    ] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Run folder; default runs/RECIPE.")] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="FIELD=VALUE", help="Override a field of the recipe.")
    ] = None,
    teacher: Annotated[
        Path | None,
        typer.Option(
            help="EfficientNet-Lite0 weights (.pth); default: those of the extra colorcli[train].", exists=True
        ),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the run folder's checkpoint.")] = False,
    minutes: Annotated[float | None, typer.Option(help="Stop after about this long, ready to be resumed.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda[:N] or mps.")] = "auto",
    threads: Annotated[int | None, typer.Option(help="CPU threads.", min=1)] = None,
    list_recipes: Annotated[bool, typer.Option("--list", help="List the recipes and exit.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress on stderr.")] = False,
) -> None:
    """Train a network by a recipe; the run folder can be used as a model."""
    from colorcli.train import recipe as recipes

    if list_recipes:
        for name in recipes.names():
            line(name)
        return
    if recipe is None or not data:
        raise typer.BadParameter("RECIPE and --data are needed (or --list).")
    chosen = recipes.load(recipe, settings)

    from colorcli.train.loop import run_recipe

    def report(record: dict[str, Any]) -> None:
        if not quiet:
            print(json.dumps(record), file=sys.stderr, flush=True)  # noqa: T201

    finished = run_recipe(
        chosen,
        data,
        output or Path("runs") / chosen.name,
        teacher=teacher,
        resume=resume,
        seconds=minutes * 60 if minutes else None,
        device=device,
        threads=threads,
        command=["colorcli", *sys.argv[1:]],
        report=report,
    )
    if not finished and not quiet:
        print("Stopped before the end; go on with --resume.", file=sys.stderr)  # noqa: T201
