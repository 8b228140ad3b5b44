"""What a model costs, beside what it is worth: parameters, multiply-adds, time, memory."""

from __future__ import annotations

import ctypes
import gc
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from colorcli.pipeline.controls import complete
from colorcli.report.records import Cost
from colorcli.sessions.onnx import OnnxSession
from colorcli.sessions.session import NO_CONTROLS, Session

_CLEAR = Path("/proc/self/clear_refs")
_STATUS = Path("/proc/self/status")
_TIMED = 5


def measure(session: Session) -> Cost:
    """Parameters, multiply-adds, milliseconds and memory of one photograph of 1:1 at the working size; None: unknown.

    Multiply-adds are those of convolutions and matrix products, in the weights' own dtype. Milliseconds are the median
    of five runs with nothing beside them, unlike during an evaluation. Memory is what the process (on CUDA the device)
    holds at most while the network runs, above what it held before, and the weights.
    """
    rule = session.info.size_rule
    lightness = np.full((1, 1, *rule.working_shape(1, 1)), 50, np.float32)
    controls = complete(session.info.controls, NO_CONTROLS, lightness)

    def run() -> None:
        session.chroma(lightness, controls)

    network = getattr(session, "network", None)
    if isinstance(session, OnnxSession):
        found: Cost = _measure_onnx(session, run)
    elif network is not None:
        found = _measure_pytorch(session, network, run)
    else:
        found = {"parameters": None, "multiply_adds": None, "memory_mb": None}
    found["milliseconds"] = round(1000 * statistics.median(_seconds(run) for _ in range(_TIMED)), 2)
    return found


def _seconds(run: Callable[[], None]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def _measure_pytorch(session: Session, network: Any, run: Callable[[], None]) -> Cost:
    from torch.utils.flop_counter import FlopCounterMode

    parameters = sum(parameter.numel() for parameter in network.parameters())
    weights = sum(p.numel() * p.element_size() for p in (*network.parameters(), *network.buffers()))
    counter = FlopCounterMode(display=False)
    with counter:
        run()
    peak = _Peak(session.device)
    run()
    held = peak.bytes()
    return {
        "parameters": parameters,
        "multiply_adds": counter.get_total_flops() // 2,
        "memory_mb": None if held is None else round((held + weights) / 1e6),
    }


def _measure_onnx(session: OnnxSession, run: Callable[[], None]) -> Cost:
    """What a file says of the network it was made from, and memory where it is this process's own."""
    peak = _Peak(session.device) if session.device == "cpu" else None
    run()
    held = None if peak is None else peak.bytes()
    return {
        "parameters": session.header.parameters,
        "multiply_adds": session.header.multiply_adds,
        "memory_mb": None if held is None else round((held + session.weights_bytes) / 1e6),
    }


class _Peak:
    """The most memory held from here on, above what is held now."""

    def __init__(self, device: str) -> None:
        self._cuda = device if device.startswith("cuda") else ""
        self._before: int | None = None
        if self._cuda:
            import torch

            torch.cuda.reset_peak_memory_stats(self._cuda)
            self._before = torch.cuda.memory_allocated(self._cuda)
        elif sys.platform == "linux" and device == "cpu":
            _release()
            try:
                # 5 resets the peak (proc(5)); the kernel may have been built without it.
                _CLEAR.write_text("5")
                self._before = _status("VmRSS")
            except OSError:
                self._before = None

    def bytes(self) -> int | None:
        """None where it cannot be known."""
        if self._before is None:
            return None
        if self._cuda:
            import torch

            return max(0, torch.cuda.max_memory_allocated(self._cuda) - self._before)
        return max(0, _status("VmHWM") - self._before)


def _release() -> None:
    """Give back to the system what is free: in what one network has left, the next would seem to need nothing."""
    gc.collect()
    # glibc's own; other libraries have none
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def _status(field: str) -> int:
    for line in _STATUS.read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise OSError(f"{_STATUS} has no {field}")
