"""``colorcli status`` and ``colorcli verify``: what became of an output folder's photographs."""

from __future__ import annotations

import csv as csv_module
import io
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from colorcli.cli import output
from colorcli.cli.paths import PathOrUrl, path_or_url
from colorcli.errors import VerificationError

Folder = Annotated[
    PathOrUrl, typer.Argument(parser=path_or_url, metavar="OUT", help="A folder or URL that colorize has written to.")
]
Json = Annotated[bool, typer.Option("--json", help="One JSON object a line on stdout.")]


def status(
    folder: Folder,
    csv: Annotated[bool, typer.Option("--csv", help="A table of all photographs as CSV on stdout.")] = False,
    json: Json = False,
) -> None:
    """Show what became of every photograph: done, skipped, failed or unfinished, and why."""
    from colorcli.colorize.audit import COLUMNS, read_status
    from colorcli.colorize.outbox import reading
    from colorcli.text import printable

    with output.waiting("Reading the journal"):
        there = reading(folder)  # of a store, what is read lasts as long
        found = read_status(there.root)
    counts = found.counts()
    if csv:
        output.line(_csv_row(COLUMNS))
        for state, record in found.records():
            output.line(_csv_row([state, *(record.get(column, "") for column in COLUMNS[1:])]))
        return
    if json:
        for state, record in found.records():
            fields = {key: value for key, value in record.items() if key not in ("v", "event")}
            output.emit("status.photo", state=state, **fields)
        output.emit("status", folder=str(folder), runs=found.runs, **counts)
        return
    for state, record in found.records("failed", "skipped", "unfinished"):
        if state != "unfinished":
            output.line(f"{state} {printable(str(record['input']))}: {printable(str(record['reason']))}")
        else:
            output.line(f"unfinished {printable(str(record['input']))}: run colorize again")
    output.line(", ".join(f"{count} {state}" for state, count in counts.items()))
    if found.runs:
        last = found.last_run
        runs = f"{found.runs} run{'s' if found.runs > 1 else ''}"
        left = found.last_end.get("unprocessed") if found.last_end else None
        ended = f"; it was stopped with {left} left, run it again to continue" if left else ""
        if found.last_end is None:
            ended = "; it did not finish, run it again to continue"
        output.line(
            f"{runs}; the last began {_local(last.get('time'))} with {last.get('model')}, "
            f"weights {str(last.get('weights_sha256'))[:6]}…, on {last.get('device')}{ended}"
        )


def verify(
    folder: Folder,
    inputs: Annotated[bool, typer.Option("--inputs", help="Compare the originals too.")] = False,
    json: Json = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Nothing on stderr but errors.")] = False,
) -> None:
    """Compare every finished output with the SHA-256 in the journal; exit code 9 if any differs.

    A manifest and sidecars are compared too; of a BagIt bag, all its files with its manifests.
    """
    from colorcli.colorize import delivery
    from colorcli.colorize.audit import verify as compare
    from colorcli.colorize.outbox import reading
    from colorcli.text import printable

    with output.waiting("Comparing files with the journal", quiet=quiet) as counted:
        if isinstance(folder, Path) and delivery.is_bag(folder):
            compared, mismatches = delivery.verify_bag(folder, counted)
        else:
            there = reading(folder)
            compared, mismatches = compare(there, inputs=inputs, progress=counted)
            mismatches += delivery.verify_delivered(there)
    for mismatch in mismatches:
        if json:
            output.emit("verify.mismatch", path=mismatch.path, fault=mismatch.fault, side=mismatch.side)
        else:
            output.line(f"{mismatch.fault} {mismatch.side} {printable(mismatch.path)}")
    if json:
        output.emit("verify", folder=str(folder), compared=compared, mismatches=len(mismatches))
    if mismatches:
        raise VerificationError(
            f"{folder} and its journal differ in {len(mismatches)} places; {compared} files were compared. "
            "To recreate outputs, remove them and run colorize again."
        )
    if not quiet:
        output.note(f"{compared} files match the journal.")


def _local(time: object) -> str:
    """A journalled time for people: to the minute, in their own time zone."""
    try:
        return f"{datetime.fromisoformat(str(time)).astimezone():%Y-%m-%d %H:%M}"
    except ValueError:
        return "at an unknown time"


def _csv_row(values: object) -> str:
    text = io.StringIO()
    csv_module.writer(text, lineterminator="").writerow(values)  # type: ignore[arg-type]
    return text.getvalue()
