"""``colorcli samples``: photographs to try things on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from colorcli.cli import output


def samples(
    folder: Annotated[Path, typer.Argument(help="Folder to write them into; created if missing.")],
    json: Annotated[bool, typer.Option("--json", help="One JSON object a line on stdout.")] = False,
) -> None:
    """Write a handful of gray photographs: several sizes, bit depths and formats, one in a subfolder."""
    from colorcli.images.samples import write_samples

    written = write_samples(folder)
    for path in written:
        if json:
            output.emit("sample", path=str(path))
    output.note(f"{len(written)} photographs are in {folder}; colour them with: colorcli colorize {folder}")
