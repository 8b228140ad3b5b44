"""Colours one file after another in a separate process: ``python -m tests.colorize.mutant_worker FOLDER``.

Each line of stdin is the name of a file in FOLDER; the answer is a line of JSON: how the run ended, its totals, whether
the original is unchanged, what temporary files are left, and the peak memory of the process.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from pathlib import Path
from typing import Any

from colorcli.cli.output import protected, stdout
from colorcli.color import join
from colorcli.colorize.options import Execution

from .conftest import Colour, contents

EXECUTION = Execution(jobs=1, fsync=False, recolor=True, largest=100_000_000)


def peak_bytes() -> int:
    """Peak memory of this process; 0 if unknown."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return 0
    return next((1024 * int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")), 0)


def answer(colour: Colour, path: Path, out: Path) -> dict[str, Any]:
    """Colour one file."""
    before = hashlib.sha256(path.read_bytes()).hexdigest()
    shutil.rmtree(out, ignore_errors=True)
    report = colour(path, output=out, execution=EXECUTION)
    left = [name for name in contents(out) if name.endswith(".part")] if out.exists() else []
    ends = [r for r in colour.events if r["event"] in ("photo.done", "photo.skipped", "photo.failed")]
    return {
        "matched": report.matched,
        "ends": [r["event"] for r in ends],
        "reasons": [str(r.get("reason", "")) for r in ends],
        "totals": report.done + report.skipped + report.failed + report.already + report.unprocessed,
        "unprocessed": report.unprocessed,
        "same": hashlib.sha256(path.read_bytes()).hexdigest() == before,
        "left": left,
        "peak": peak_bytes(),
    }


def serve(folder: Path) -> None:
    """Answer until stdin ends."""
    join.warm_up()
    colour = Colour()
    with protected():
        print(json.dumps({"ready": peak_bytes()}), file=stdout(), flush=True)
        for line in sys.stdin:
            result = answer(colour, folder / line.strip(), folder / "out")
            print(json.dumps(result), file=stdout(), flush=True)


if __name__ == "__main__":
    serve(Path(sys.argv[1]))
