"""Speed of ONNX Runtime relative to eager PyTorch, and of folders relative to the network and the papers' scripts."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from colorcli.images.read import read_photo
from colorcli.images.resize import working_lightness
from colorcli.pipeline.opening import open_model
from colorcli.registry.systems import BUILT_IN
from colorcli.sessions.session import Session

from .baseline import Script
from .common import Row, colorize, photographs, untrained, wall_seconds

LITE = tuple(point.name for point in BUILT_IN)
PAPER = ("zhang2016", "bigcolor")
_CODE = 68
_TURNS = 12


def against_eager(folder: Path, model: str, systems: Sequence[str]) -> list[Row]:
    """Speed of the bare network, one photograph at a time at working size: each backend relative to eager PyTorch."""
    models = {f"{model} (bundled)": model}
    models |= {f"{name}@lite": str(untrained(name, "lite", folder / f"{name}-lite")) for name in systems}
    ratios = {}
    for name, place in models.items():
        script = Script(place)
        shape = script.size.working_shape(1, 1)
        batch, controls = script.network_inputs(np.full(shape, 50, np.float32))
        lightness = batch.numpy()
        codes: dict[str, Any] = {key: value.numpy() for key, value in controls.items()}

        works: dict[str, Any] = {"eager": torch.no_grad()(partial(script.network.chroma, batch, **controls))}
        for backend in ("pytorch", "onnx"):
            session = open_model(place, backend=backend, device="cpu")
            works[backend] = partial(session.chroma, lightness, **codes)
        milliseconds = dict.fromkeys(works, float("inf"))
        # Alternate, so that other load on the machine affects all of them.
        for _ in range(_TURNS):
            for key, work in works.items():
                milliseconds[key] = min(milliseconds[key], 1000 * wall_seconds(work, 1))
        shown = ", ".join(f"{key} {value:.1f} ms" for key, value in milliseconds.items())
        ratios[name] = milliseconds["eager"] / milliseconds["onnx"]
        print(f"{name} at {shape[1]}x{shape[0]}: {shown}; ONNX Runtime {ratios[name]:.2f} times as fast as eager")
    least = min(ratios, key=ratios.__getitem__)
    median = float(np.median(list(ratios.values())))
    return [
        Row(f"ONNX Runtime by eager PyTorch, {model}", f"{next(iter(ratios.values())):.2f} x", "≥ 2"),
        Row(f"the same, {len(ratios)} lite networks: median", f"{median:.2f} x", "≥ 2"),
        Row(f"the same: least ({least})", f"{ratios[least]:.2f} x", "≥ 2"),
    ]


def against_bare(folder: Path, count: int) -> list[Row]:
    """Speed of a folder relative to the bare network at its best batch size, for ``paper`` networks."""
    rows = []
    photos = photographs(folder / "paper_photos", count, (500, 375))
    for name in PAPER:
        place = str(untrained(name, "paper", folder / f"{name}-paper"))
        for backend in ("onnx", "pytorch"):
            session = open_model(place, backend=backend, device="cpu", photographs=count)
            bare = _bare_speed(session, sorted(photos.iterdir()))
            del session
            out = str(folder / f"{name}_{backend}")
            done = colorize(str(photos), "-o", out, "--model", place, "--backend", backend, "--device", "cpu")
            print(f"{name}@paper, {backend}: bare network {bare:.2f}/s, folder {done.speed:.2f} photos/s")
            rows.append(Row(f"folder by bare network, {name}@paper, {backend}", f"{done.speed / bare:.2f}", "≥ 0.90"))
    return rows


def _bare_speed(session: Session, paths: Sequence[Path]) -> float:
    """Photographs per second of the network alone, at its best batch size and number of threads."""
    photo = read_photo(paths[0])
    one = working_lightness(photo.pixels, *session.info.size_rule.working_shape(photo.height, photo.width))[None, None]
    best = 0.0
    for batch, threads in ((1, 1), (1, getattr(session, "streams", 1)), (2, 1), (4, 1)):
        lightness, z = np.repeat(one, batch, 0), np.zeros((batch, _CODE), np.float32)
        session.chroma(lightness, {"z": z})
        turns = max(1, len(paths) // (2 * batch * threads))

        def work(lightness: Any = lightness, z: Any = z, turns: int = turns) -> None:
            for _ in range(turns):
                session.chroma(lightness, {"z": z})

        workers = [threading.Thread(target=work) for _ in range(threads)]
        start = time.perf_counter()
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        best = max(best, turns * batch * threads / (time.perf_counter() - start))
    return best


def against_scripts(folder: Path, model: str, lite: int, paper: int, device: str = "cpu") -> list[Row]:
    """Speed of ``colorcli colorize`` end to end, relative to the papers' scripts."""
    rows = []
    cases = [(model, model, lite, "≥ 3" if device == "cpu" else "≥ 5")]
    for name in PAPER:
        place = folder / f"{name}-paper"
        cases.append(
            (f"{name}@paper", str(place if place.exists() else untrained(name, "paper", place)), paper, "≥ 1.2")
        )
    for number, (label, model_place, count, target) in enumerate(cases):
        photos, out = photographs(folder / f"script_{number}", count, (500, 375)), folder / f"script_out_{number}"
        script = Script(model_place, device)
        script.folder(photographs(folder / f"script_warm_{number}", 1, (500, 375)), out)
        start = time.perf_counter()
        script.folder(photos, out)
        theirs = count / (time.perf_counter() - start)
        del script
        backend = "onnx" if device == "cpu" else "pytorch"
        options = ("--model", model_place, "--backend", backend, "--device", device)
        colorize(str(photos), "-o", str(out / "first"), "--limit", "1", *options)
        done = colorize(str(photos), "-o", str(out / "ours"), *options)
        print(f"{label}: a script {theirs:.2f} photos/s, colorcli {done.speed:.2f} photos/s, both once loaded")
        rows.append(Row(f"end to end by the papers' own way, {label}", f"{done.speed / theirs:.2f} x", target))
    return rows
