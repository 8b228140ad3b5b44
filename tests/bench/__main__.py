"""Benchmarks.

``python -m tests.bench all``: all of the following except ``data``, ``evaluate``, ``million``, ``cluster`` and ``gpu``.
``python -m tests.bench colorize``: the cost of colouring beyond decoding, the network, encoding and hashing.
``python -m tests.bench folder``: photographs per second for a folder.
``python -m tests.bench network``: the speed of ONNX Runtime relative to eager PyTorch, for every lite network.
``python -m tests.bench paper``: the speed of a folder relative to the bare network, for paper networks.
``python -m tests.bench scripts``: the speed end to end relative to the papers' own scripts (``baseline.py``).
``python -m tests.bench start``: seconds to the first photograph, and the part of them spent on imports.
``python -m tests.bench memory``: resident memory.
``python -m tests.bench data``: the speed of loading photographs relative to training, and large collections.
``python -m tests.bench evaluate``: the cost of scoring beyond colouring.
``python -m tests.bench million``: planning and resuming a finished archive, and writing a line of its journal.
``python -m tests.bench cluster``: the speed of Ray workers relative to the local engine.
``python -m tests.bench gpu``: PyTorch and ONNX Runtime on an NVIDIA GPU.

Models whose weights are not bundled get random ones. ONNX copies and compiled loops stay in colorcli's cache.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path

from . import cluster, colorize, evaluate, gpu, million, networks, training
from .common import Row, machine

_ALL = ("colorize", "folder", "network", "paper", "scripts", "start", "memory")


def main() -> None:
    """Parse the command line and run the benchmarks that it names."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", choices=["all", *_ALL, "data", "evaluate", "million", "cluster", "gpu"], nargs="+")
    parser.add_argument("--model", default="bigcolor")
    parser.add_argument("--backend", default="onnx", help="for colorize and folder: auto, pytorch or onnx")
    parser.add_argument("--small", type=int, default=40, help="photographs of 500x375")
    parser.add_argument("--large", type=int, default=6, help="photographs of 24 megapixels")
    parser.add_argument("--paper", type=int, default=8, help="photographs for paper networks")
    parser.add_argument("--many", type=int, default=1000, help="for memory: photographs in the long run")
    parser.add_argument("--systems", nargs="*", default=networks.LITE, help="lite networks")
    parser.add_argument("--recipes", nargs="*", default=training.RECIPES, help="for data: the recipes to compare")
    parser.add_argument("--entries", type=int, default=1_000_000, help="for million: finished photographs")
    parser.add_argument("--huge", action="store_true", help="for memory: also a 100-megapixel 16-bit TIFF")
    options = parser.parse_args()
    names = [name for given in options.name for name in (_ALL if given == "all" else (given,))]
    print(f"{machine()}; model {options.model}")
    model, small = options.model, options.small
    with tempfile.TemporaryDirectory() as scratch:
        benchmarks: dict[str, Callable[[Path], list[Row]]] = {
            "colorize": lambda to: colorize.cost(to, model, options.backend, small, options.large),
            "folder": lambda to: colorize.folder_speed(to, model, options.backend, 5 * small),
            "network": lambda to: networks.against_eager(to, model, options.systems),
            "paper": lambda to: networks.against_bare(to, options.paper),
            "scripts": lambda to: networks.against_scripts(to, model, small, options.paper),
            "start": lambda to: colorize.start(to, model),
            "memory": lambda to: colorize.memory(to, model, options.many, huge=options.huge),
            "data": lambda to: training.measure(to, 5 * small, options.recipes),
            "evaluate": lambda to: evaluate.measure(model, small),
            "million": lambda to: million.measure(to, model, options.entries),
            "cluster": lambda to: cluster.measure(to, model, options.backend, small),
            "gpu": lambda to: gpu.measure(to, model, 5 * small),
        }
        rows = []
        for name in names:
            folder = Path(scratch) / name
            folder.mkdir()
            rows += benchmarks[name](folder)
    if rows:
        print("\n| | measured | wanted |\n|---|---:|---:|")
        print("\n".join(f"| {row.what} | {row.value} | {row.target} |" for row in rows))


if __name__ == "__main__":
    main()
