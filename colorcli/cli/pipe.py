"""``colorcli colorize - -o -``: one image from stdin to stdout, through the same run as folders."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import typer

from colorcli.cli import output
from colorcli.errors import ExitCode, PhotoError, UsageError
from colorcli.files import walk
from colorcli.stores import Url

_EXCLUDED = ("json", "report", "dry_run", "picks", "files_from", "shard", "uncertainty")
_FROM_STDIN = "The image on stdin"


class _NotMadeError(PhotoError):
    """There is no image to write, for this reason."""

    def __init__(self, sentence: str, code: int) -> None:
        super().__init__(sentence)
        self.exit_code = ExitCode(code)


def is_asked(target: Path | Url | None) -> bool:
    """Whether the output is stdout."""
    return str(target) == "-"


def colorize_one(run: Callable[..., None], ctx: typer.Context, inputs: Sequence[Path | Url]) -> None:
    """Colour the one image that ``inputs`` names, ``-`` for stdin, and write it to stdout.

    Args:
        run: the command's function.
        ctx: with the given parameters.
        inputs: of the command.

    Raises:
        UsageError: there are several inputs or outputs, or an option is for folders only.
        PhotoError: nothing was made, and why.
    """
    _check(ctx.params, inputs)
    with tempfile.TemporaryDirectory(prefix="colorcli-") as name:
        folder = Path(name)
        source = _received(folder) if str(inputs[0]) == "-" else Path(inputs[0])
        made = folder / "made"
        code = _exit_code(run, ctx, {**ctx.params, "inputs": [source], "output": made, "quiet": True})
        images = list(walk(made, unreadable=lambda *_: None))  # there is no folder if nothing was made
        if not images:
            image = _FROM_STDIN if source.parent == folder else str(source)
            # In a folder a skipped image is not a failure; here stdout would stay empty.
            raise _NotMadeError(f"{image} {_reason(made)}.", code or ExitCode.SOME_FAILED)
        if len(images) > 1:
            raise UsageError("stdout takes one image: ask for one sample and one class.")
        output.emit_bytes((made / images[0]).read_bytes())


def _check(params: Mapping[str, Any], inputs: Sequence[Path | Url]) -> None:
    for name in _EXCLUDED:
        if params.get(name):
            raise UsageError(f"--{name.replace('_', '-')} cannot be used with -o -, which writes one image to stdout.")
    if params["samples"] != 1:
        raise UsageError("stdout takes one image: omit --samples.")
    if len(inputs) != 1 or (str(inputs[0]) != "-" and not (isinstance(inputs[0], Path) and inputs[0].is_file())):
        raise UsageError("-o - takes one image: a file, or - for stdin.")


def _received(folder: Path) -> Path:
    """The image on stdin as a file, named after its format."""
    from colorcli.images.formats import format_of_content, labels

    content = sys.stdin.buffer.read()
    if not content:
        raise UsageError("stdin is empty; - reads an image from it.")
    form = format_of_content(content[:32])
    if form is None:
        raise PhotoError(f"{_FROM_STDIN} is not a {labels('or')} file.")
    received = folder / f"stdin{form.suffixes[0]}"
    received.write_bytes(content)
    return received


def _exit_code(run: Callable[..., None], ctx: typer.Context, params: Mapping[str, Any]) -> int:
    try:
        run(ctx, **params)
    except typer.Exit as end:
        return int(end.exit_code)
    return int(ExitCode.OK)


def _reason(made: Path) -> str:
    """The journalled reason why there is no image."""
    from colorcli.colorize.journal import read_journal

    reasons = [str(record["reason"]) for record in read_journal(made) if "reason" in record]
    return reasons[-1] if reasons else "was not made"
