"""Common behaviour of commands: stdout for data only, quiet on closed pipes, ``--debug`` anywhere."""

from __future__ import annotations

import difflib
import inspect
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from colorcli import environment
from colorcli.cli import CLOSED_PIPE, output
from colorcli.cli.config import settings_path
from colorcli.cli.panels import arrange
from colorcli.errors import DeviceError, ModelError, UsageError

PREFIX = "COLORCLI"


class Command(TyperCommand):
    """A command of ``colorcli``; pass it as ``cls`` when registering one."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # Typer would keep the source's line breaks in all paragraphs but the first.
        paragraphs = inspect.cleandoc(self.help or "").split("\n\n")
        self.help = "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)
        for param in self.params:
            # Every option has an environment variable; naming each would bury the help.
            vars(param)["show_envvar"] = False
            # Rich would drop "[default: 0.8]" as markup.
            vars(param)["help"] = (getattr(param, "help", None) or "").replace("[", r"\[")

    def get_params(self, ctx: Any) -> list[Any]:
        """The options, as help pages show them."""
        return arrange(super().get_params(ctx))

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse as usual; ``--debug`` applies to the program unless the command defines it."""
        for param in self.params:
            if ctx.auto_envvar_prefix and (variable := _variable(param, ctx.auto_envvar_prefix)):
                vars(param)["envvar"] = variable
        if not any("--debug" in param.opts for param in self.params):
            end = args.index("--") if "--" in args else len(args)
            args = [arg for arg in args[:end] if arg != "--debug"] + args[end:]
        rest = super().parse_args(ctx, args)
        for value in ctx.params.values():
            if any(isinstance(one, Path) and _was_url(one) for one in (value if isinstance(value, list) else [value])):
                raise UsageError(
                    f"colorcli {ctx.info_name} needs a path on this machine, not a URL. "
                    "Copy its content to this machine first (for S3: aws s3 sync URL FOLDER), and give the copy."
                )
        return rest

    def invoke(self, ctx: Any) -> Any:
        """Run the command with stdout kept for data."""
        if not ctx.params.get("quiet"):
            for sentence in misspelt(ctx.find_root()):
                output.note(sentence)
        try:
            with output.protected():
                return super().invoke(ctx)
        except (UsageError, ModelError, DeviceError) as error:
            if origins := sources(ctx):
                error.add_note(f"Not from the command line: {', '.join(origins.values())}.")
            raise
        except BrokenPipeError as error:
            output.silence(sys.stdout)
            raise typer.Exit(CLOSED_PIPE) from error


def sources(ctx: Any) -> dict[str, str]:
    """For parameters not set on the command line: the option, and the variable or file that set it, by name."""
    found = {}
    for param in ctx.command.params:
        source = ctx.get_parameter_source(param.name)
        origins = {"ENVIRONMENT": getattr(param, "envvar", None), "DEFAULT_MAP": settings_path()}
        origin = None if source is None else origins.get(source.name)
        if origin is not None:
            found[param.name] = f"{option_name(param)} from {origin}"
    return found


def misspelt(root: Any) -> Iterator[str]:
    """A sentence for each unknown environment variable that was probably meant for this program."""
    if not hasattr(root.command, "commands"):
        return
    known = {*environment.VARIABLES, *_variables(root.command, PREFIX)}
    commands = tuple(f"{PREFIX}_{name.upper()}_" for name in root.command.commands)
    for variable in sorted(name for name in os.environ if name.startswith(f"{PREFIX}_") and name not in known):
        # Compare without the common prefix.
        close = difflib.get_close_matches(_bare(variable), map(_bare, known), 1, cutoff=0.8)
        if close:
            yield f"The environment variable {variable} has no effect; did you mean {PREFIX}_{close[0]}?"
        elif variable.startswith(commands):
            yield f"The environment variable {variable} has no effect: the command has no such option."


def _was_url(path: Path) -> bool:
    """Whether a path was given as a URL; ``Path`` keeps only one of its slashes."""
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]+:/", path.as_posix()) is not None and not path.exists()


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
    """Environment variable of an option, named after the option, not after the function's parameter."""
    option = option_name(param)
    return f"{prefix}_{option[2:].replace('-', '_').upper()}" if option.startswith("--") else None


def option_name(param: Any) -> str:
    """The long name of an option; an argument's own name."""
    return next((option for option in param.opts if option.startswith("--")), str(param.name))


class Group(TyperGroup):
    """The program itself, whose own options have no variables: COLORCLI_VERSION may mean anything."""

    def get_params(self, ctx: Any) -> list[Any]:
        """The options, those of shell completion too, which Typer adds after the group is made."""
        return _without_variables(super().get_params(ctx))


class HelpCommand(TyperCommand):
    """A command whose options have no variables."""

    def get_params(self, ctx: Any) -> list[Any]:
        """The options."""
        return _without_variables(super().get_params(ctx))


def _without_variables(params: list[Any]) -> list[Any]:
    for param in params:
        vars(param)["allow_from_autoenv"] = False
    return arrange(params)
