"""How every command runs: stdout kept for data, a closed pipe taken quietly, ``--debug`` anywhere."""

from __future__ import annotations

import difflib
import os
import sys
from collections.abc import Iterator
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from colorcli import environment
from colorcli.cli import CLOSED_PIPE, output
from colorcli.cli.config import settings_path
from colorcli.errors import DeviceError, ModelError, UsageError

PREFIX = "COLORCLI"


class Command(TyperCommand):
    """A command of ``colorcli``; pass it as ``cls`` when registering one."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for param in self.params:
            # Every option can be set by the environment; saying so at each of them would bury the help.
            vars(param)["show_envvar"] = False
            # Rich would take "[default: 0.8]" for markup and leave it out.
            vars(param)["help"] = (getattr(param, "help", None) or "").replace("[", r"\[")

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse as usual; a ``--debug`` that the command itself does not know is for the program as a whole."""
        for param in self.params:
            if ctx.auto_envvar_prefix and (variable := _variable(param, ctx.auto_envvar_prefix)):
                vars(param)["envvar"] = variable
        if not any("--debug" in param.opts for param in self.params):
            end = args.index("--") if "--" in args else len(args)
            args = [arg for arg in args[:end] if arg != "--debug"] + args[end:]
        return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        """Run the command with stdout kept for data."""
        if not ctx.params.get("quiet"):
            for sentence in misspelt(ctx.find_root()):
                output.note(sentence)
        try:
            with output.protected():
                return super().invoke(ctx)
        except (UsageError, ModelError, DeviceError) as error:
            if places := sources(ctx):
                error.add_note(f"Not from the command line: {', '.join(places.values())}.")
            raise
        except BrokenPipeError as error:
            output.silence(sys.stdout)
            raise typer.Exit(CLOSED_PIPE) from error


def sources(ctx: Any) -> dict[str, str]:
    """Where each parameter's value came from if not from the command line: its option and variable or file, by name."""
    found = {}
    for param in ctx.command.params:
        source = ctx.get_parameter_source(param.name)
        places = {"ENVIRONMENT": getattr(param, "envvar", None), "DEFAULT_MAP": settings_path()}
        place = None if source is None else places.get(source.name)
        if place is not None:
            found[param.name] = f"{_option(param)} from {place}"
    return found


def misspelt(root: Any) -> Iterator[str]:
    """A sentence for each environment variable that was probably meant for this program and that nothing reads."""
    if not hasattr(root.command, "commands"):
        return
    known = {*environment.VARIABLES, *_variables(root.command, PREFIX)}
    commands = tuple(f"{PREFIX}_{name.upper()}_" for name in root.command.commands)
    for variable in sorted(name for name in os.environ if name.startswith(f"{PREFIX}_") and name not in known):
        # What all names begin with says nothing about which one was meant.
        close = difflib.get_close_matches(_bare(variable), map(_bare, known), 1, cutoff=0.8)
        if close:
            yield f"The environment variable {variable} sets nothing; did you mean {PREFIX}_{close[0]}?"
        elif variable.startswith(commands):
            yield f"The environment variable {variable} sets nothing: the command has no such option."


def _bare(variable: str) -> str:
    return variable.removeprefix(f"{PREFIX}_")


def _variables(group: Any, prefix: str) -> Iterator[str]:
    for name, child in group.commands.items():
        inner = f"{prefix}_{name.upper()}"
        if hasattr(child, "commands"):
            yield from _variables(child, inner)
        else:
            yield from (variable for param in child.params if (variable := _variable(param, inner)))


def _variable(param: Any, prefix: str) -> str | None:
    """The environment variable of an option, named after the option that people see, not the function's parameter."""
    option = _option(param)
    return f"{prefix}_{option[2:].replace('-', '_').upper()}" if option.startswith("--") else None


def _option(param: Any) -> str:
    return next((option for option in param.opts if option.startswith("--")), str(param.name))


class Group(TyperGroup):
    """The program itself: its own options are not set by the environment, where COLORCLI_VERSION may mean anything."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for param in self.params:
            vars(param)["allow_from_autoenv"] = False
