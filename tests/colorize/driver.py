"""The program in a separate process, with a fake network: ``python -m tests.colorize.driver SECONDS DIE ARGS…``.

SECONDS is how long the network takes per batch; when it begins, it writes into the FIFO named by ``DRIVER_MARK``. DIE
is ``no``, or ``STAGE:N``: the process is killed with SIGKILL at the N-th time of that step in ``faults.STEPS`` (for
``written`` and ``put`` after it: in place but not yet journalled), or at ``part``: half-written.
"""

from __future__ import annotations

import itertools
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from colorcli.cli import main
from colorcli.images import write
from colorcli.pipeline import opening
from colorcli.registry import registry

from ..fakes import CARD, FakeSession
from .faults import AFTERWARDS, STEPS, at


def die() -> None:
    """Die as in a power cut, as far as a process can."""
    os.kill(os.getpid(), signal.SIGKILL)
    signal.pause()


def inject(stage: str, number: int) -> None:
    """Make the process die at a stage of the ``number``-th photograph."""
    if stage == "part":

        def cut(path: Path) -> Any:
            with path.open("r+b") as file:
                file.truncate(100)
            die()

        count = itertools.count(1)
        write._check_header = lambda part, *_: cut(part) if next(count) == number else None
        return
    place, name = {**STEPS, **AFTERWARDS}[stage]
    setattr(place, name, at(number, getattr(place, name), die, after=stage in ("written", "put")))


def run(seconds: float, deadly: str, arguments: list[str]) -> int:
    """Run the program on ``arguments``."""

    def colour(*_: Any) -> None:
        if mark := os.environ.get("DRIVER_MARK"):
            Path(mark).write_text("begun")
        time.sleep(seconds)

    session = FakeSession(colour)
    if deadly != "no":
        stage, _, number = deadly.partition(":")
        inject(stage, int(number))
    registry.find = lambda name: CARD
    opening.open_model = lambda *args, **kwargs: session
    return main(arguments)


if __name__ == "__main__":
    sys.exit(run(float(sys.argv[1]), sys.argv[2], sys.argv[3:]))
