"""The command line: ``main`` is the console script. Errors are rendered here, once, and become exit codes."""

from __future__ import annotations

import errno
import os
import signal
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any

from colorcli import environment
from colorcli.environment import calm_threads
from colorcli.errors import ColorcliError, ExitCode
from colorcli.text import printable_lines

# What a shell reports for a program that wrote into a closed pipe (128 + SIGPIPE).
CLOSED_PIPE = 141


def main(args: Sequence[str] | None = None) -> int:
    """Run the program on ``args`` (without its name; default ``sys.argv[1:]``) and return its exit code."""
    arguments = list(sys.argv[1:] if args is None else args)
    _open_missing_streams()
    calm_threads()
    try:
        with _unwinding_on_terminate(), _libraries_silenced(arguments):
            code = _run(arguments)
        sys.stdout.flush()
    except KeyboardInterrupt:
        code = ExitCode.INTERRUPTED
    except BrokenPipeError:
        from colorcli.cli.output import silence

        silence(sys.stdout)
        code = CLOSED_PIPE
    except SystemExit as error:
        # Rich and Typer handle a closed pipe themselves, with the exit code of any other failure.
        if not isinstance(error.__context__, BrokenPipeError):
            raise
        code = CLOSED_PIPE
    except Exception as error:
        code = _render(error, debug=_wants_debug(arguments))
    return int(code)


def _open_missing_streams() -> None:
    """Open closed standard streams (``>&-``) on the null device: the next opened file would be taken for stdout."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            try:
                os.fstat(number)
            except OSError:
                os.dup2(os.open(os.devnull, os.O_RDWR), number)
            setattr(sys, name, open(os.devnull, "w" if number else "r", encoding="utf-8"))  # noqa: PTH123, SIM115


def _run(arguments: list[str]) -> int:
    import typer.main

    from colorcli.cli.app import app
    from colorcli.cli.config import read_defaults

    command = typer.main.get_command(app)
    defaults = read_defaults(_parameters(command))
    result = command.main(arguments, prog_name="colorcli", standalone_mode=False, default_map=defaults)
    return result if isinstance(result, int) else ExitCode.OK


def _parameters(command: Any) -> Mapping[str, Any]:
    """The parameters of every command by their options' names, nested as the commands are."""
    from colorcli.cli.config import WITHOUT_SETTINGS

    if hasattr(command, "commands"):
        return {name: _parameters(child) for name, child in command.commands.items() if name not in WITHOUT_SETTINGS}
    return {option.lstrip("-"): param for param in command.params for option in param.opts}


@contextmanager
def _libraries_silenced(arguments: list[str]) -> Iterator[None]:
    """Keep libraries' warnings and log lines off stderr, unless requested, for example by ``--debug``."""
    if sys.warnoptions or _wants_debug(arguments):
        yield
        return
    import logging
    import warnings

    ours, root = logging.StreamHandler(), logging.NullHandler()  # without any, Python prints warnings on stderr
    handlers = ((logging.getLogger("colorcli"), ours), (logging.getLogger(), root))
    for logger, handler in handlers:
        logger.addHandler(handler)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, handler in handlers:
            logger.removeHandler(handler)


def _render(error: Exception, *, debug: bool) -> int:
    if debug:
        import traceback

        traceback.print_exception(error)
    if isinstance(error, ColorcliError):
        _say(str(error))
        for note in getattr(error, "__notes__", ()):
            print(printable_lines(note), file=sys.stderr)  # noqa: T201
        return error.exit_code
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        _say(f"{error.filename or 'The output'} cannot be written: the disk is full.")
        return ExitCode.OUTPUT
    if isinstance(error, MemoryError):
        _say(f"There is not enough memory: {error}" if str(error) else "There is not enough memory.")
        return ExitCode.DEVICE
    if type(error).__name__ == "Abort":
        return ExitCode.INTERRUPTED
    # Typer's own exceptions, whose classes live in other places in other versions of Typer.
    message, code = getattr(error, "format_message", None), getattr(error, "exit_code", ExitCode.USAGE)
    if callable(message):
        return _render_usage(error, str(message()), int(code))
    first = str(error).strip().split("\n")[0]
    _say(f"Unexpected {type(error).__name__}: {first}" + ("" if debug else " (run again with --debug to see where)"))
    return ExitCode.UNEXPECTED


def _render_usage(error: Exception, message: str, code: int) -> int:
    if type(error).__name__ == "NoArgsIsHelpError":
        # The message is the help, which Rich has already printed.
        return code
    context, parameter = getattr(error, "ctx", None), getattr(error, "param", None)
    if context is not None and parameter is not None:
        from colorcli.cli.command import option_name, sources
        from colorcli.cli.values import refused

        source = sources(context).get(parameter.name)
        if fault := refused(error):
            message = f"{source or option_name(parameter)} {fault}."
        elif source:
            message = f"{message.rstrip('.')} ({source})."
    _say(message)
    if context is not None:
        print(f"See: {context.command_path} --help", file=sys.stderr)  # noqa: T201
    return code


def _say(sentence: str) -> None:
    # errors quote file names and contents, which may hold terminal escape sequences
    print(f"Error: {printable_lines(sentence)}", file=sys.stderr)  # noqa: T201


def _wants_debug(arguments: list[str]) -> bool:
    end = arguments.index("--") if "--" in arguments else len(arguments)
    return "--debug" in arguments[:end] or environment.debugging()


@contextmanager
def _unwinding_on_terminate() -> Iterator[None]:
    """Make SIGTERM unwind the stack, so that temporary files are removed and locks released."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = signal.signal(signal.SIGTERM, _terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous or signal.SIG_DFL)


def _terminate(_signal: int, _frame: FrameType | None) -> None:
    raise SystemExit(int(ExitCode.TERMINATED))
