"""What a model costs: parameters, multiply-adds, time and memory."""

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
    """Measure one square photograph at the working size; None where a cost is unknown.

    Multiply-adds are those of convolutions and matrix products, in the weights' own dtype. Milliseconds are the median
    of five runs in an otherwise idle process, unlike during an evaluation. Memory is the peak of the process (on CUDA,
    of the device) while the network runs, less what it held before, plus the weights.
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
    """Costs that the file records, and memory where the network runs in this process's memory."""
    peak = _Peak(session.device) if session.device == "cpu" else None
    run()
    held = None if peak is None else peak.bytes()
    return {
        "parameters": session.header.parameters,
        "multiply_adds": session.header.multiply_adds,
        "memory_mb": None if held is None else round((held + session.weights_bytes) / 1e6),
    }


class _Peak:
    """Peak memory from here on, above what is held now."""

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
        """The peak; None where it cannot be measured."""
        if self._before is None:
            return None
        if self._cuda:
            import torch

            return max(0, torch.cuda.max_memory_allocated(self._cuda) - self._before)
        return max(0, _status("VmHWM") - self._before)


def _release() -> None:
    """Return free memory to the system, or the next network would seem to need none: it would reuse the last one's."""
    gc.collect()
    # glibc only
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def _status(field: str) -> int:
    for line in _STATUS.read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise OSError(f"{_STATUS} has no {field}")
