"""``colorcli merge``: the output folders of shards, joined."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from colorcli.cli import output as data
from colorcli.errors import ExitCode


def merge(
    shards: Annotated[list[Path], typer.Argument(metavar="OUT", help="Output folders of colorize --shard.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder that will hold them all; may be one of them.")],
    json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Nothing on stderr but errors.")] = False,
) -> None:
    """Join the outputs, journals and reports of shards in one folder; the shards stay as they are.

    Exit code 3 if outputs are missing that a journal lists as finished: run colorize on the merged folder.
    """
    from colorcli.colorize.merge import merge as join
    from colorcli.text import printable

    live = not quiet and sys.stderr.isatty()

    def observe(done: int, total: int) -> None:
        if live and (done % 100 == 0 or done == total):
            print(f"\r{done}/{total}", end="\n" if done == total else "", file=sys.stderr, flush=True)  # noqa: T201

    merged = join(shards, output, observe)
    if json:
        data.emit(
            "merge",
            folder=str(output),
            outputs=merged.outputs,
            placed=merged.placed,
            missing=merged.missing,
            reports=[str(path) for path in merged.reports],
        )
    if not quiet:
        for notice in (*merged.notices, *(f"missing {printable(name)}" for name in merged.missing)):
            data.note(notice)
        data.note(f"{merged.outputs} outputs of {len(shards)} folders, {merged.placed} new: {output}")
        for path in merged.reports[:1]:
            data.note(f"Report: {printable(str(path))}")
    if merged.missing:
        raise typer.Exit(int(ExitCode.SOME_FAILED))
