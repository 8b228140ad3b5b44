"""``colorcli docs``: the documentation, offline."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from colorcli import environment
from colorcli.cli import output
from colorcli.errors import UsageError
from colorcli.text import near

_PACKAGE = Path(__file__).parents[1]
# Page: file in a checkout, and description. The wheel has pages from outside the package in ``pages``.
PAGES = {
    "readme": ("README.md", "what colorcli does, and how to start"),
    "colorize": ("colorcli/colorize/README.md", "every way to colour, reports and picks, status and verify"),
    "formats": ("colorcli/images/README.md", "what is read, kept and written; damage, pages, profiles"),
    "scale": (
        "colorcli/colorize/executors/README.md",
        "shards, Slurm, clusters, object stores, and what a million costs",
    ),
    "settings": ("colorcli/cli/README.md", "configuration file, environment, exit codes, JSON"),
    "scripts": ("colorcli/cli/SCRIPTS.md", "nightly runs, cron, jq, Slurm, hot folders, the man page"),
    "models": ("models/README.md", "the models and how they measure"),
    "train": ("colorcli/train/README.md", "recipes, data, fine-tuning"),
    "evaluate": ("colorcli/evaluate/README.md", "protocols, metrics, reports"),
    "export": ("colorcli/export/README.md", "ONNX files, and colouring without PyTorch"),
    "performance": ("tests/bench/README.md", "speed and memory as measured"),
    "contributing": (".github/CONTRIBUTING.md", "set up, tests, adding a system, a metric, a format"),
    "security": (".github/SECURITY.md", "protection against hostile files, and how it is tested"),
    "changelog": ("CHANGELOG.md", "what changed"),
}


def docs(
    page: Annotated[
        str | None, typer.Argument(help="Page to show. [default: list the pages]", autocompletion=lambda: list(PAGES))
    ] = None,
) -> None:
    """Show the documentation offline: the same pages as on the web."""
    if page is None:
        for name, (_, about) in PAGES.items():
            output.line(f"{name:<13} {about}")
        output.note("Show one with: colorcli docs PAGE")
        return
    if page not in PAGES:
        raise UsageError(f"There is no page '{page}'{near(page, PAGES)}")
    text = page_path(page).read_text(encoding="utf-8")
    if not output.stdout().isatty():
        output.line(text.rstrip("\n"))
        return
    from rich.console import Console
    from rich.markdown import Markdown

    Console(file=output.stdout(), width=min(Console().width, 100)).print(Markdown(text))


def page_path(page: str) -> Path:
    """Path of a page of ``PAGES``, installed or in a checkout."""
    path = Path(PAGES[page][0])
    if path.parts[0] == "colorcli":
        return _PACKAGE.joinpath(*path.parts[1:])
    if path.parts[0] == "models":
        return environment.bundled_models_dir().joinpath(*path.parts[1:])
    installed = _PACKAGE / "pages" / f"{page}.md"
    return installed if installed.exists() else _PACKAGE.parent / path
