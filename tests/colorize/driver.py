"""The program in a process of its own, with a fake network: ``python -m tests.colorize.driver SECONDS DIE ARGS…``.

SECONDS is how long the network takes for a batch; as it begins, the file that ``DRIVER_MARK`` names appears. DIE is
``no``, or ``STAGE:N``: kill the process with SIGKILL at that stage of the N-th photograph (``network``, ``written``:
renamed but not yet journalled, ``part``: half-written).
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
from colorcli.colorize import photograph
from colorcli.images import write
from colorcli.pipeline import opening
from colorcli.registry import registry

from ..fakes import CARD, FakeSession


def die() -> None:
    """As in a power cut, as far as a process can tell."""
    os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(60)


def inject(stage: str, number: int, session: FakeSession) -> None:
    """Make the process die at a stage of the ``number``-th photograph."""
    count = itertools.count(1)
    place, name = {"written": (photograph, "write_photo"), "part": (write, "probe"), "network": (session, "fault")}[
        stage
    ]
    original = getattr(place, name)

    def deadly(*args: Any, **kwargs: Any) -> Any:
        last = next(count) == number
        if last and stage == "part":
            with Path(args[0]).open("r+b") as file:
                file.truncate(100)
        if last and stage != "written":
            die()
        result = original(*args, **kwargs)
        if last:
            die()
        return result

    setattr(place, name, deadly)


def run(seconds: float, deadly: str, arguments: list[str]) -> int:
    """Run the program on ``arguments``."""

    def colour(*_: Any) -> None:
        if mark := os.environ.get("DRIVER_MARK"):
            Path(mark).write_text("begun")
        time.sleep(seconds)

    session = FakeSession(colour)
    if deadly != "no":
        stage, _, number = deadly.partition(":")
        inject(stage, int(number), session)
    registry.find = lambda name: CARD
    opening.open_model = lambda *args, **kwargs: session
    return main(arguments)


if __name__ == "__main__":
    sys.exit(run(float(sys.argv[1]), sys.argv[2], sys.argv[3:]))
