"""Benchmarks.

``python -m tests.bench colorize``: what colouring costs beyond decoding, the network, encoding and hashing.
``python -m tests.bench evaluate``: what scoring costs beyond colouring.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import tifffile
from PIL import Image
from skimage import data

from colorcli.color import join
from colorcli.colorize import discover
from colorcli.colorize.engine import run
from colorcli.colorize.options import Execution, choose_parameters
from colorcli.colorize.plan import make_plan
from colorcli.images.provenance import Provenance
from colorcli.images.read import read_photo
from colorcli.images.resize import working_lightness
from colorcli.images.write import write_photo
from colorcli.registry import registry

from . import evaluate

_REPEATS = 3


def main() -> None:
    """Parse the command line and run the benchmark it names."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", choices=["colorize", "evaluate"])
    parser.add_argument("--model", default="bigcolor")
    parser.add_argument("--small", type=int, default=40, help="photographs of 500x375")
    parser.add_argument("--large", type=int, default=3, help="photographs of 24 megapixels")
    parser.add_argument("--huge", action="store_true", help="also the memory that a 100-megapixel 16-bit TIFF takes")
    options = parser.parse_args()
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}; model {options.model}")
    if options.name == "evaluate":
        evaluate.measure(options.model, options.small)
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for label, count, size in (
            ("500x375", options.small, (500, 375)),
            ("24 megapixels", options.large, (6000, 4000)),
        ):
            photos = _photographs(folder / label, count, size)
            _cost(label, photos, options.model)
            print(f"{label}: peak memory of the whole command {_peak_mebibytes(photos, options.model):.0f} MiB")
        if options.huge:
            photos = folder / "huge"
            photos.mkdir()
            ramp = np.linspace(0, 65535, 10_000).astype(np.uint16)
            tifffile.imwrite(photos / "huge.tif", np.broadcast_to(ramp, (10_000, 10_000)), compression="deflate")
            print(f"100 megapixels, 16 bits: peak memory {_peak_mebibytes(photos, options.model):.0f} MiB")


def _photographs(folder: Path, count: int, size: tuple[int, int]) -> Path:
    """Gray JPEGs made of real photographs, each a little different."""
    folder.mkdir()
    sources = [data.astronaut, data.coffee, data.chelsea, data.rocket]
    for index in range(count):
        image = Image.fromarray(sources[index % len(sources)]()).convert("L").resize(size, Image.Resampling.BICUBIC)
        codes = np.asarray(image, np.int16)
        grain = np.random.default_rng(index).integers(-3, 4, codes.shape, np.int16)
        Image.fromarray(np.clip(codes + grain, 0, 255).astype(np.uint8)).save(folder / f"{index:03d}.jpg", quality=90)
    return folder


def _cpu(work: Callable[[], object]) -> float:
    """CPU seconds of all threads, the least of a few runs."""
    best = float("inf")
    for _ in range(_REPEATS):
        start = time.process_time()
        work()
        best = min(best, time.process_time() - start)
    return best


def _cost(label: str, photos: Path, model: str) -> None:
    session = registry.load(model, device="cpu")
    join.warm_up()
    paths = sorted(photos.iterdir())
    decoded = [read_photo(path) for path in paths]
    rule = session.info.size_rule
    batch = np.stack([working_lightness(p.pixels, *rule.working_shape(p.height, p.width))[None] for p in decoded])
    z = np.zeros((len(paths), 68), np.float32)
    groups = [slice(start, start + 4) for start in range(0, len(paths), 4)]

    def network() -> None:
        for group in groups:
            session.chroma(batch[group], z=z[group])

    network()
    outputs = [list(join.join_strips(p.pixels, np.full((2, 8, 8), 20, np.float32), bits=8)) for p in decoded]
    scratch = photos.parent / "scratch.jpg"
    label_of = Provenance("bench", "1", "0" * 64, "colorcli")

    def encode() -> None:
        for photo, strips in zip(decoded, outputs, strict=True):
            write_photo(
                scratch,
                iter(strips),
                height=photo.height,
                width=photo.width,
                bits=8,
                format="JPEG",
                metadata=photo.metadata,
                provenance=label_of,
            )

    # Writing a photograph hashes what was written; the input is hashed besides.
    parts = {
        "decode": _cpu(lambda: [read_photo(path) for path in paths]),
        "network": _cpu(network),
        "encode": _cpu(encode),
        "sha256": _cpu(lambda: [hashlib.sha256(path.read_bytes()).hexdigest() for path in paths]),
    }
    walls: list[float] = []

    def everything() -> None:
        with tempfile.TemporaryDirectory() as out:
            parameters = choose_parameters(session.info)
            sources = [discover.Source(photos, Path(out) / "out")]
            plan = make_plan(discover.discover(sources), parameters, session.info.weights_sha256)
            report = run(plan, lambda: session, parameters, Execution())
            if report.done != len(paths):
                sys.exit(f"only {report.done} of {len(paths)} photographs were coloured")
            walls.append(report.seconds)

    everything()
    total = _cpu(everything)
    shown = ", ".join(f"{name} {1000 * seconds / len(paths):.1f}" for name, seconds in parts.items())
    print(f"{label}: CPU ms a photograph: {shown}; all together {1000 * total / len(paths):.1f}")
    print(f"{label}: total CPU / (decode + network + encode + SHA-256) = {total / sum(parts.values()):.2f}")
    print(f"{label}: {len(paths) / min(walls):.2f} photos/s")


def _peak_mebibytes(photos: Path, model: str) -> float:
    """The largest resident memory of ``colorcli colorize`` over a folder, as the operating system counts it."""
    script = (
        "import json, resource, subprocess, sys;"
        "code = subprocess.run(sys.argv[1:]).returncode;"
        "print(json.dumps([code, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss]))"
    )
    with tempfile.TemporaryDirectory() as out:
        command = [sys.executable, "-m", "colorcli", "colorize", str(photos), "-o", f"{out}/out", "--model", model]
        printed = subprocess.run(
            [sys.executable, "-c", script, *command, "--quiet", "--device", "cpu"], capture_output=True, check=True
        ).stdout
    code, peak = json.loads(printed.splitlines()[-1])
    if code != 0:
        sys.exit(f"colorcli colorize ended with {code}")
    return float(peak) / (1 << 20 if sys.platform == "darwin" else 1 << 10)


if __name__ == "__main__":
    main()
