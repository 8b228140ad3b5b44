"""The cost of colouring: CPU time beyond the unavoidable, photographs per second, memory, and time to start."""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import tifffile

from colorcli.color import join
from colorcli.colorize import discover
from colorcli.colorize.executors import Work
from colorcli.colorize.executors.local import LocalExecutor
from colorcli.colorize.options import Execution, choose_parameters
from colorcli.colorize.plan import make_plan
from colorcli.colorize.run import carry_out
from colorcli.images.provenance import Provenance
from colorcli.images.read import read_photo
from colorcli.images.resize import working_lightness
from colorcli.images.write import write_photo
from colorcli.pipeline.controls import complete
from colorcli.pipeline.opening import open_model
from colorcli.stopping import Stop

from .common import Row, colorize, cpu_seconds, photographs

SMALL, LARGE = ("500x375", (500, 375), 2.0), ("24 megapixels", (6000, 4000), 10.0)
"""Names, sizes and grain; the grain makes files as large as those of scans, 8 MB at 24 megapixels."""


def cost(folder: Path, model: str, backend: str, small: int, large: int) -> list[Row]:
    """Total CPU time divided by that of decoding, the network, encoding and hashing."""
    rows = []
    for (label, size, grain), count, target in ((SMALL, small, 1.15), (LARGE, large, 1.6)):
        photos = photographs(folder / label, count, size, grain=grain)
        ratio = _cost(label, photos, model, backend)
        rows.append(Row(f"total CPU / (decode + network + encode + SHA-256), {label}", f"{ratio:.2f}", f"≤ {target}"))
    return rows


def _cost(label: str, photos: Path, model: str, backend: str) -> float:
    paths = sorted(photos.iterdir())
    session = open_model(model, backend=backend, device="cpu", photographs=len(paths))
    join.warm_up()
    decoded = [read_photo(path) for path in paths]
    rule = session.info.size_rule
    lightness = [working_lightness(p.pixels, *rule.working_shape(p.height, p.width))[None, None] for p in decoded]
    controls = complete(session.info.controls, {}, lightness[0])
    # Encode the real outputs, each as one array, as in a run: plain colours would be faster, and strips slower.
    chroma = [session.chroma(given, controls)[0] for given in lightness]
    outputs = [join.join(photo.pixels, own) for photo, own in zip(decoded, chroma, strict=True)]
    scratch = photos.parent / "scratch.jpg"
    label_of = Provenance("bench", "1", "0" * 64, "colorcli")

    def encode() -> None:
        for photo, picture in zip(decoded, outputs, strict=True):
            write_photo(
                scratch,
                iter((picture,)),
                height=photo.height,
                width=photo.width,
                bits=8,
                format="JPEG",
                metadata=photo.metadata,
                canvas=picture,
                provenance=label_of,
            )

    # Writing a photograph includes hashing the output; this is for the input.
    parts = {
        "decode": cpu_seconds(lambda: [read_photo(path) for path in paths]),
        "network": cpu_seconds(lambda: [session.chroma(given, controls) for given in lightness]),
        "encode": cpu_seconds(encode),
        "sha256": cpu_seconds(lambda: [hashlib.sha256(path.read_bytes()).hexdigest() for path in paths]),
    }
    walls: list[float] = []

    def everything() -> None:
        with tempfile.TemporaryDirectory() as out:
            parameters = choose_parameters(session.info)
            sources = [discover.Source(photos, Path(out) / "out")]
            plan = make_plan(discover.discover(sources), parameters, session.info.weights_sha256)
            work = Work(lambda: session, parameters, Execution(), Stop())
            report = carry_out(plan, LocalExecutor(work), session.info, work)
            if report.done != len(paths):
                sys.exit(f"only {report.done} of {len(paths)} photographs were coloured")
            walls.append(report.seconds)

    everything()
    total = cpu_seconds(everything)
    shown = ", ".join(f"{name} {1000 * seconds / len(paths):.1f}" for name, seconds in parts.items())
    print(f"{label}: CPU ms a photograph: {shown}; all together {1000 * total / len(paths):.1f}")
    print(f"{label}: total CPU / (decode + network + encode + SHA-256) = {total / sum(parts.values()):.2f}")
    print(f"{label}: {len(paths) / min(walls):.2f} photos/s")
    return total / sum(parts.values())


def folder_speed(folder: Path, model: str, backend: str, count: int) -> list[Row]:
    """Photographs per second of ``colorcli colorize`` for a folder, from the beginning of the run."""
    photos = photographs(folder / "speed", count, SMALL[1])
    _copy_first(model, backend, photos, folder)
    done = colorize(str(photos), "-o", str(folder / "speed_out"), "--model", model, "--backend", backend)
    speed = count / float(done.events[-1]["seconds"])
    print(f"{count} photographs of 500x375: {speed:.1f} photos/s, peak memory {done.peak:.0f} MiB")
    return [Row("photos/s end to end, folder of 500x375 JPEGs", f"{speed:.1f}", "≥ 15")]


def _copy_first(model: str, backend: str, photos: Path, folder: Path) -> None:
    """Make the ONNX copy and compile the loops, which is done once per machine."""
    colorize(str(photos), "-o", str(folder / "first"), "--limit", "1", "--model", model, "--backend", backend)


def start(folder: Path, model: str) -> list[Row]:
    """Seconds from the command to the first finished photograph, and which imports take how much of them."""
    photos = photographs(folder / "start", 1, SMALL[1])
    rows = []
    for backend in ("onnx", "pytorch"):
        seconds = []
        for turn in range(4):
            out = folder / f"start_{backend}_{turn}"
            done = colorize(str(photos), "-o", str(out), "--model", model, "--backend", backend, "--device", "cpu")
            seconds.append(done.at[next(done.of("photo.done"))])
        # The first run may include compiling and exporting.
        least = min(seconds[1:])
        print(f"start to first photograph, {backend}: {least:.2f} s (the first time ever: {seconds[0]:.1f} s)")
        rows.append(Row(f"seconds from start to the first photograph, {backend}", f"{least:.1f}", "≤ 4"))
        print(f"imports of it, {backend}:\n{_imports(photos, folder / f'imports_{backend}', model, backend)}")
    return rows


def _imports(photos: Path, out: Path, model: str, backend: str, most: int = 12) -> str:
    """The packages that take longest to import, in milliseconds including their own imports."""
    command = [sys.executable, "-X", "importtime", "-m", "colorcli", "colorize", str(photos), "-o", str(out)]
    command += ["--model", model, "--backend", backend, "--device", "cpu", "--quiet"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    found = re.findall(r"import time:\s+\d+ \|\s+(\d+) \|\s+([\w.]+)", said)
    slow = sorted(((int(time) / 1000, name) for time, name in found if "." not in name), reverse=True)[:most]
    return "\n".join(f"  {milliseconds:7.0f} ms  {name}" for milliseconds, name in slow)


def memory(folder: Path, model: str, count: int, *, huge: bool) -> list[Row]:
    """Resident memory of ``colorcli colorize``: for many photographs, and for one of 100 megapixels."""
    photos = photographs(folder / "many", count, (256, 192))
    _copy_first(model, "onnx", photos, folder)
    done = colorize(str(photos), "-o", str(folder / "many_out"), "--model", model, "--backend", "onnx")
    resident = [done.resident[place] for place in done.of("photo.done")]
    marks = {place: resident[place - 1] for place in (count // 10, count // 2, count)}
    print(f"MiB resident after so many photographs: { {place: round(value) for place, value in marks.items()} }")
    growth = resident[-1] - resident[count // 10 - 1]
    rows = [
        Row(f"resident memory gained from photograph {count // 10} to {count}, MiB", f"{growth:.0f}", "flat"),
        Row("peak memory, folder of small photographs, ONNX, MiB", f"{done.peak:.0f}", "≤ 700"),
    ]
    large = photographs(folder / "scans", 6, LARGE[1], grain=LARGE[2])
    done = colorize(str(large), "-o", str(folder / "scans_out"), "--model", model, "--backend", "onnx")
    rows.append(Row("peak memory, folder of 24-megapixel JPEGs, ONNX, MiB", f"{done.peak:.0f}", "≤ 700"))
    if huge:
        one = folder / "huge"
        one.mkdir()
        ramp = np.linspace(0, 65535, 10_000).astype(np.uint16)
        tifffile.imwrite(one / "huge.tif", np.broadcast_to(ramp, (10_000, 10_000)), compression="deflate")
        for backend in ("onnx", "pytorch"):
            out = str(folder / f"huge_{backend}")
            done = colorize(str(one), "-o", out, "--model", model, "--backend", backend, "--device", "cpu")
            what = f"peak memory, 100-megapixel 16-bit TIFF, {backend}, MiB"
            rows.append(Row(what, f"{done.peak:.0f}", "≤ 1536"))
    return rows
