"""The Typer app: every command, registered in one place. Importing it imports nothing heavy."""

from __future__ import annotations

from typing import Annotated

import typer

import colorcli
from colorcli.cli import models
from colorcli.cli.colorize import colorize
from colorcli.cli.command import PREFIX, Command, Group, HelpCommand
from colorcli.cli.docs import docs
from colorcli.cli.doctor import doctor
from colorcli.cli.evaluate import evaluate
from colorcli.cli.export import export
from colorcli.cli.help import help_command
from colorcli.cli.init import init
from colorcli.cli.inspect import inspect
from colorcli.cli.merge import merge
from colorcli.cli.samples import samples
from colorcli.cli.status import status, verify
from colorcli.cli.train import train
from colorcli.cli.watch import watch

app = typer.Typer(
    name="colorcli",
    cls=Group,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "auto_envvar_prefix": PREFIX},
    epilog="Exit codes: 0 done, 1 unexpected, 2 usage, 3 some photos failed, 4 all failed, 5 nothing matched, 6 model, "
    "7 device or memory, 8 output, 9 verification, 130 Ctrl-C, 141 closed pipe, 143 SIGTERM.",
)


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"colorcli {colorcli.__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", callback=_print_version, is_eager=True)
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show a traceback of an error; may also follow the command.")
    ] = False,
) -> None:
    """Colorize folders of black-and-white photographs; train and compare the networks that do it."""


app.command("colorize", cls=Command)(colorize)
app.command("watch", cls=Command)(watch)
app.command("status", cls=Command)(status)
app.command("verify", cls=Command)(verify)
app.command("inspect", cls=Command)(inspect)
app.command("merge", cls=Command)(merge)
app.command("samples", cls=Command)(samples)
app.command("train", cls=Command)(train)
app.command("evaluate", cls=Command)(evaluate)
app.command("export", cls=Command)(export)
app.add_typer(models.app, name="models", help="List, install and check models.")
app.command("init", cls=Command)(init)
app.command("help", cls=HelpCommand)(help_command)
app.command("doctor", cls=Command)(doctor)
app.command("docs", cls=Command)(docs)
