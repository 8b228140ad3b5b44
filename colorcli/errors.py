"""Every error that reaches a user, with the exit code that goes with it.

The exit codes are part of the public interface: shell scripts branch on them. They live on the exception
classes so that the place that knows what went wrong also decides the code; the command line only renders.
"""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """Process exit codes, stable under semantic versioning."""

    OK = 0
    UNEXPECTED = 1
    USAGE = 2
    SOME_FAILED = 3
    ALL_FAILED = 4
    NOTHING_TO_DO = 5
    MODEL = 6
    DEVICE = 7
    OUTPUT = 8
    VERIFICATION = 9
    INTERRUPTED = 130
    TERMINATED = 143


class ColorcliError(Exception):
    """A failure that is explained to the user in one sentence: what happened, to what, and what to do next."""

    exit_code: ExitCode = ExitCode.UNEXPECTED

    def __str__(self) -> str:
        """The sentence; where it ends in that of another error, with one full stop."""
        text = super().__str__()
        return text[:-1] if text.endswith("..") and not text.endswith("...") else text


class UsageError(ColorcliError):
    """The command was asked for something that makes no sense or does not exist."""

    exit_code = ExitCode.USAGE


class NothingToDoError(ColorcliError):
    """No photograph matched."""

    exit_code = ExitCode.NOTHING_TO_DO


class ModelError(ColorcliError):
    """A model or its weights are missing, damaged, or not what their card says."""

    exit_code = ExitCode.MODEL


class DeviceError(ColorcliError):
    """The device that was asked for is not there, or ran out of memory."""

    exit_code = ExitCode.DEVICE


class OutputError(ColorcliError):
    """The output folder cannot be written, is locked, or its disk is full."""

    exit_code = ExitCode.OUTPUT


class VerificationError(ColorcliError):
    """A file on disk is not the file the journal describes."""

    exit_code = ExitCode.VERIFICATION


class StoppedError(ColorcliError):
    """The work was asked to stop before it had begun."""

    exit_code = ExitCode.INTERRUPTED


class PhotoError(ColorcliError):
    """One photograph cannot be read, coloured or written; the run goes on with the next."""

    exit_code = ExitCode.SOME_FAILED
