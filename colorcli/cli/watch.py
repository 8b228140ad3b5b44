"""``colorcli watch``: colour photographs as they arrive in a folder."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from colorcli.cli import output as data
from colorcli.cli.colorize import colorize, duration, request_of
from colorcli.cli.control_options import Function, with_options
from colorcli.errors import ExitCode, StoppedError

if TYPE_CHECKING:
    from colorcli.colorize.events import Event
    from colorcli.colorize.run import Report
    from colorcli.colorize.watch import Start

# A watch has no end at which to make a report, a manifest or a bag; it takes photographs as they arrive.
_OF_ONE_RUN = frozenset(
    (
        "inputs", "output", "files_from", "limit", "shard", "report", "picks", "dry_run", "fail_fast", "verbose",
        "manifest", "sidecar", "bag",
    )
)  # fmt: skip


def _with_options_of_colorize(command: Function) -> Function:
    """Give a command that takes ``**asked`` the options of ``colorize`` that a watch can have."""

    def among(own: list[inspect.Parameter]) -> list[inspect.Parameter]:
        taken = _OF_ONE_RUN | {one.name for one in own}
        return [*own, *(one for name, one in inspect.signature(colorize).parameters.items() if name not in taken)]

    return with_options(command, among)


@_with_options_of_colorize
def watch(
    ctx: typer.Context,
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Folder to watch, with its subfolders.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the coloured photographs.")],
    rest: Annotated[
        float, typer.Option(help="Seconds for which a file's size must not change.", min=0.1, max=3600)
    ] = 2.0,
    poll: Annotated[
        float | None,
        typer.Option(
            help="Check every N seconds. [default: when the system reports changes; network shares: 5]",
            min=0.1,
            max=86400,
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON object a line on stdout.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Nothing on stderr but errors.")] = False,
    **asked: Any,
) -> None:
    """Colour a folder's photographs, and those that arrive later, until Ctrl-C: for a scan station's hot folder.

    A file is coloured once its size no longer changes. Outputs and journal are as colorize's, which can continue
    where a watch ended. Ctrl-C finishes what is in flight; the exit code then shows whether photographs failed.
    """
    from colorcli.cli.progress import WaitingLines, photo_line
    from colorcli.colorize.events import to_line
    from colorcli.colorize.watch import watch as begin
    from colorcli.stopping import Stop, aborting_at_once, stopping_on_signals
    from colorcli.text import printable

    stop = Stop()
    request = request_of(ctx, [folder], output)
    say = (lambda text: None) if quiet else data.note

    def started(start: Start) -> None:
        if json:
            data.emit("watch.start", folder=str(start.folder), output=str(start.output), poll=start.poll)
        say(f"Watching {printable(str(start.folder))}; Ctrl-C ends it.")

    def observe(record: Event) -> None:
        if json:
            data.line(to_line(record).rstrip("\n"))
        if record["event"] == "notice":
            say(record["message"])
        elif record["event"] in ("photo.done", "photo.skipped", "photo.failed"):
            say(photo_line(record))

    waiting = (lambda what, seconds: None) if quiet else WaitingLines()
    try:
        with (
            aborting_at_once(),
            stopping_on_signals(stop, lambda: say("Finishing what is in flight; Ctrl-C again aborts.")),
        ):
            report = begin(request, rest=rest, poll=poll, observe=observe, started=started, waiting=waiting, stop=stop)
    except StoppedError:  # before the model was open
        raise typer.Exit(int(ExitCode.OK)) from None
    if json:
        data.emit("watch.end", **_counts(report))
    say(_summary(report, output))
    if report.fatal is not None:
        raise report.fatal
    raise typer.Exit(int(report.exit_code))


def _counts(report: Report) -> dict[str, Any]:
    record = dict(report.record())
    kept = ("done", "already_done", "skipped", "conflicts", "failed", "unprocessed", "seconds", "exit_code")
    return {name: record[name] for name in kept}


def _summary(report: Report, output: Path) -> str:
    from colorcli.text import printable

    parts = [f"{report.done} coloured"]
    parts += [f"{report.already} done already"] if report.already else []
    parts += [f"{report.skipped} skipped", f"{report.failed} failed"]
    parts += [f"{report.unprocessed} left for the next run"] if report.unprocessed else []
    return f"{', '.join(parts)} in {duration(report.seconds)}: {printable(str(output))}"
