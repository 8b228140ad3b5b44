"""How every command runs: stdout kept for data, a closed pipe taken quietly, ``--debug`` anywhere."""

from __future__ import annotations

import sys
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from colorcli.cli import CLOSED_PIPE, output


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
            # Named after the option that people see, not after the function's parameter.
            if ctx.auto_envvar_prefix and any(option.startswith("--") for option in param.opts):
                option = next(option for option in param.opts if option.startswith("--"))
                vars(param)["envvar"] = f"{ctx.auto_envvar_prefix}_{option[2:].replace('-', '_').upper()}"
        if not any("--debug" in param.opts for param in self.params):
            end = args.index("--") if "--" in args else len(args)
            args = [arg for arg in args[:end] if arg != "--debug"] + args[end:]
        return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        """Run the command with stdout kept for data."""
        try:
            with output.protected():
                return super().invoke(ctx)
        except BrokenPipeError as error:
            output.silence(sys.stdout)
            raise typer.Exit(CLOSED_PIPE) from error


class Group(TyperGroup):
    """The program itself: its own options are not set by the environment, where COLORCLI_VERSION may mean anything."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for param in self.params:
            vars(param)["allow_from_autoenv"] = False
