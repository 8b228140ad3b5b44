"""The manual as a page for ``man``, made from the commands' own help."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from typing import Any

import colorcli
from colorcli.environment import VARIABLES

_ENVIRONMENT = [
    "Every option has an environment variable named after its command and itself: COLORCLI_COLORIZE_SIGMA is the "
    "--sigma of colorcli colorize. The command line overrides a variable, and a variable overrides colorcli.toml.",
    f"The program itself reads {', '.join(VARIABLES[:-1])} and {VARIABLES[-1]}; colorcli docs settings explains them.",
]


def manual(context: Any) -> str:
    """A page in the macros of man(7): every command below ``context`` with its arguments, options and defaults.

    Args:
        context: of a command or a group, as Click makes it.
    """
    name = context.command_path.replace(" ", "-")
    first, rest = _summary(context.command)
    lines = [
        f'.TH {_quoted(name.upper())} 1 "" {_quoted(f"colorcli {colorcli.__version__}")} "colorcli manual"',
        ".SH NAME",
        rf"{_escaped(name)} \- {_escaped(first.rstrip('.'))}",
        ".SH SYNOPSIS",
        f".B {_escaped(context.command_path)}",
        _escaped(" ".join(context.command.collect_usage_pieces(context))),
        ".SH DESCRIPTION",
        *_paragraphs([first, *rest]),
        *_parameters(context),
    ]
    inside = list(_commands(context))
    if inside:
        lines.append(".SH COMMANDS")
    for child in inside:
        usage = f"{child.command_path} {' '.join(child.command.collect_usage_pieces(child))}"
        first, rest = _summary(child.command)
        lines += [f".SS {_quoted(usage)}", *_paragraphs([first, *rest]), *_parameters(child)]
    lines += [".SH ENVIRONMENT", *_paragraphs(_ENVIRONMENT)]
    epilog = getattr(context.command, "epilog", None)
    if epilog:
        lines += [".SH NOTES", *_paragraphs([epilog])]
    lines += [
        ".SH SEE ALSO",
        r"\fBcolorcli docs\fR lists the documentation; \fBcolorcli docs\fR \fIPAGE\fR shows a page.",
    ]
    return "\n".join(lines) + "\n"


def _commands(context: Any) -> Iterator[Any]:
    """The commands below a group that do something, in the order of the help page."""
    for name, command in getattr(context.command, "commands", {}).items():
        child = type(context)(command, info_name=name, parent=context)
        if hasattr(command, "commands"):
            yield from _commands(child)
        else:
            yield child


def _summary(command: Any) -> tuple[str, list[str]]:
    """The first sentence of what a command is for, and the paragraphs that follow."""
    text = textwrap.dedent(command.help or "").strip()
    paragraphs = [" ".join(one.split()) for one in text.split("\n\n")]
    return paragraphs[0], paragraphs[1:]


def _paragraphs(texts: list[str]) -> Iterator[str]:
    for text in texts:
        yield ".PP"
        yield _escaped(text)


def _parameters(context: Any) -> Iterator[str]:
    for param in context.command.get_params(context):
        record = param.get_help_record(context)
        if record is not None:
            names, text = record
            yield ".TP"
            yield rf"\fB{_escaped(' '.join(names.split()))}\fR"
            # Commands escape what Rich would take for markup.
            yield _escaped(" ".join(text.replace(r"\[", "[").split())) or r"\&"


def _quoted(text: str) -> str:
    return '"' + _escaped(text).replace('"', r"\(dq") + '"'


def _escaped(text: str) -> str:
    """Text that roff takes for text: no escapes, no requests, ASCII only, hyphens that can be searched for."""
    text = text.replace("\\", r"\e").replace("-", r"\-")
    text = "".join(sign if sign.isascii() else rf"\[u{ord(sign):04X}]" for sign in text)
    return rf"\&{text}" if text.startswith((".", "'")) else text
