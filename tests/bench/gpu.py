"""Benchmarks on an NVIDIA GPU: images per second, GPU utilization, and the time of each stage."""

from __future__ import annotations

import subprocess
import threading
from collections import Counter
from pathlib import Path

import numpy as np
import torch

from colorcli.errors import ColorcliError
from colorcli.pipeline.opening import open_model
from colorcli.sessions.session import OutOfMemoryError, Session

from .common import Row, colorize, photographs, wall_seconds
from .networks import against_scripts

_BATCHES = (1, 4, 16, 64)
_CODE = 68


def measure(folder: Path, model: str, count: int) -> list[Row]:
    """Network and folder, with PyTorch and with ONNX Runtime's CUDA provider, also relative to the papers' scripts."""
    if not torch.cuda.is_available():
        print("There is no NVIDIA GPU that PyTorch can use: this benchmark has not run.")
        return []
    print(torch.cuda.get_device_name())
    rows = []
    photos = photographs(folder / "gpu", count, (500, 375))
    for backend in ("pytorch", "onnx"):
        try:
            session = open_model(model, backend=backend, device="cuda")
        except ColorcliError as error:
            print(f"{backend}: {error}")
            continue
        bare = _bare_speed(session)
        print(f"{backend}, {session.precision}: images/s by batch size {bare}")
        del session
        torch.cuda.empty_cache()
        options = ("--model", model, "--backend", backend, "--device", "cuda")
        colorize(str(photos), "-o", str(folder / f"gpu_first_{backend}"), "--limit", "1", *options)
        with _Utilization() as utilization:
            done = colorize(str(photos), "-o", str(folder / f"gpu_{backend}"), *options)
        speed = count / float(done.events[-1]["seconds"])
        stages: Counter[str] = Counter()
        for place in done.of("photo.done"):
            stages.update(done.events[place]["seconds"])
        shown = ", ".join(f"{stage} {1000 * seconds / count:.1f}" for stage, seconds in stages.most_common())
        print(f"{backend}: {speed:.1f} photos/s, GPU busy {utilization.mean:.0f} % of the time; ms a photo: {shown}")
        rows += [
            Row(f"images/s of the bare network, {backend} on the GPU", f"{max(bare.values()):.0f}"),
            Row(f"photos/s of a folder, {backend} on the GPU", f"{speed:.1f}"),
            Row(f"mean GPU utilization, {backend}", f"{utilization.mean:.0f} %"),
        ]
    return rows + against_scripts(folder, model, count, count, "cuda")


def _bare_speed(session: Session) -> dict[int, float]:
    shape = session.info.size_rule.working_shape(375, 500)
    speeds = {}
    for batch in _BATCHES:
        lightness, z = np.full((batch, 1, *shape), 50, np.float32), np.zeros((batch, _CODE), np.float32)
        try:
            session.chroma(lightness, {"z": z})
            seconds = wall_seconds(lambda given=lightness, code=z: session.chroma(given, {"z": code}), 9)  # type: ignore[misc]
        except OutOfMemoryError:
            break
        speeds[batch] = round(batch / seconds, 1)
    return speeds


class _Utilization:
    """Samples the GPU's utilization from nvidia-smi, twice a second."""

    def __init__(self) -> None:
        self._values: list[float] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._sample)

    def __enter__(self) -> _Utilization:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    @property
    def mean(self) -> float:
        """Mean utilization in percent."""
        return float(np.mean(self._values)) if self._values else float("nan")

    def _sample(self) -> None:
        command = ["nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits"]
        while not self._over.wait(0.5):
            said = subprocess.run(command, capture_output=True, text=True, check=False).stdout.split()
            self._values += [float(word) for word in said[:1] if word.isdecimal()]
