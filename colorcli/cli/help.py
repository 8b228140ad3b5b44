"""``colorcli help``: help pages, of one command or of all."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

import typer

from colorcli.errors import UsageError
from colorcli.text import near


def help_command(
    ctx: typer.Context,
    names: Annotated[
        list[str] | None, typer.Argument(metavar="COMMAND", help="Such as colorize, or models pull.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="The pages of all commands below it.")] = False,
    man: Annotated[bool, typer.Option("--man", help="The same as a man page.")] = False,
) -> None:
    """Show the help of a command; with --all, the whole manual."""
    context: Any = ctx.find_root()
    for name in names or ():
        commands = getattr(context.command, "commands", {})
        if name not in commands:
            raise UsageError(f"There is no command '{name}'{near(name, commands)}")
        context = _inside(context, name)
    if man:
        from colorcli.cli.manual import manual

        typer.echo(manual(context), nl=False)
        return
    for page in _pages(context) if everything else (context,):
        # With Rich, Typer prints the page itself.
        if text := page.command.get_help(page):
            typer.echo(text)


def _pages(context: Any) -> Iterator[Any]:
    yield context
    for name in getattr(context.command, "commands", ()):
        yield from _pages(_inside(context, name))


def _inside(context: Any, name: str) -> Any:
    return type(context)(context.command.commands[name], info_name=name, parent=context)
