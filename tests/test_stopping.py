"""Signals that request a stop."""

from __future__ import annotations

import os
import signal
import sys

import pytest

from colorcli.stopping import Stop, stopping_on_signals


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGUSR1")
def test_slurms_warning_stops_with_a_checkpoint_and_never_aborts() -> None:
    """Slurm sends the signal to every step of a job, possibly twice; an abort would lose the checkpoint."""
    stop, announced = Stop(), list[bool]()
    with stopping_on_signals(stop, lambda: announced.append(True)):
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGUSR1)
    assert stop() and stop.signal_number == signal.SIGUSR1
    assert announced == [True]
