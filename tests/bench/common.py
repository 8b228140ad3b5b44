"""Shared by the benchmarks: photographs, models, measured commands, and rows of the table."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from skimage import data

REPEATS = 3


@dataclass(frozen=True)
class Row:
    """A row of the table: what was measured, its value, and its target."""

    what: str
    value: str
    target: str = ""


def machine() -> str:
    """A description of the processor and the system."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [line.partition(":")[2].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line]
        model = names[0] if names else model
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{model}, {cpus} cores, {platform.system()}, Python {platform.python_version()}"


def photographs(folder: Path, count: int, size: tuple[int, int], *, grain: float = 2.0) -> Path:
    """Gray JPEGs made from real photographs, each slightly different.

    Args:
        folder: is created.
        count: number of photographs.
        size: width and height in pixels.
        grain: standard deviation of the film grain, in 8-bit codes.
    """
    folder.mkdir(parents=True)
    sources = [data.astronaut, data.coffee, data.chelsea, data.rocket]
    for index in range(count):
        image = Image.fromarray(sources[index % len(sources)]()).convert("L").resize(size, Image.Resampling.BICUBIC)
        noise = np.random.default_rng(index).standard_normal((size[1], size[0]), np.float32)
        codes = np.asarray(image) + grain * noise
        Image.fromarray(np.clip(codes, 0, 255).astype(np.uint8)).save(folder / f"{index:04d}.jpg", quality=90)
    return folder


def untrained(system: str, preset: str, folder: Path) -> Path:
    """A model folder with random weights, the same each time: training does not change a network's speed."""
    import torch
    from safetensors.torch import save_file

    from colorcli.files import file_sha256
    from colorcli.registry.card import WEIGHTS, ModelCard, write_card
    from colorcli.registry.systems import systems

    torch.manual_seed(0)
    network_class = systems().network_class(system)
    network = network_class(**network_class.presets[preset])
    folder.mkdir(parents=True)
    save_file({name: tensor.contiguous().half() for name, tensor in network.state_dict().items()}, folder / WEIGHTS)
    card = ModelCard(
        system,
        system,
        file_sha256(folder / WEIGHTS),
        tag=preset,
        preset=preset,
        licence="CC0",
        network=dict(network_class.presets[preset]),
        size=network.size_rule,
        controls=network.controls,
    )
    write_card(card, folder)
    return folder


def cpu_seconds(work: Callable[[], object]) -> float:
    """CPU seconds of all threads, the minimum of a few runs."""
    best = float("inf")
    for _ in range(REPEATS):
        start = time.process_time()
        work()
        best = min(best, time.process_time() - start)
    return best


def wall_seconds(work: Callable[[], object], repeats: int = REPEATS) -> float:
    """Seconds, the minimum of a few runs."""
    best = float("inf")
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - start)
    return best


@dataclass
class Watched:
    """A finished command.

    Attributes:
        events: its events.
        at: when each event came, in seconds after the start.
        resident: resident memory at each event, in MiB.
        peak: highest resident memory, in MiB.
        seconds: wall time.
        cpu: CPU time, in seconds.
    """

    events: list[dict[str, Any]] = field(default_factory=list)
    at: list[float] = field(default_factory=list)
    resident: list[float] = field(default_factory=list)
    peak: float = 0.0
    seconds: float = 0.0
    cpu: float = 0.0

    def of(self, kind: str) -> Iterator[int]:
        """The indices of the events of a kind."""
        return (place for place, event in enumerate(self.events) if event["event"] == kind)

    @property
    def speed(self) -> float:
        """Photographs per second, counted from when the model is loaded."""
        start, end = next(self.of("run.start")), next(self.of("run.end"))
        return float(self.events[end]["done"]) / (self.at[end] - self.at[start])


def colorize(*arguments: str, environment: dict[str, str] | None = None) -> Watched:
    """Run ``colorcli colorize`` and measure it; the benchmark exits unless all photographs were coloured."""
    watched = Watched()
    command = [sys.executable, "-m", "colorcli", "colorize", *arguments, "--quiet", "--json"]
    start, before = time.perf_counter(), os.times()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, **(environment or {})}) as run:
        sampler = threading.Thread(target=_follow, args=(run, watched))
        sampler.start()
        assert run.stdout is not None
        for line in run.stdout:
            watched.at.append(time.perf_counter() - start)
            watched.resident.append(_resident(run.pid, "VmRSS"))
            watched.events.append(json.loads(line))
        code = run.wait()
        sampler.join()
    watched.seconds, after = time.perf_counter() - start, os.times()
    watched.cpu = after.children_user + after.children_system - before.children_user - before.children_system
    if code != 0:
        sys.exit(f"colorcli colorize ended with {code}")
    return watched


def _follow(run: subprocess.Popen[str], watched: Watched) -> None:
    while run.poll() is None:
        watched.peak = max(watched.peak, _resident(run.pid, "VmHWM"))
        time.sleep(0.02)


def _resident(pid: int, what: str) -> float:
    """Resident memory now (VmRSS) or at its highest (VmHWM), in MiB; 0 if the system does not report it."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith(what)), 0.0)
