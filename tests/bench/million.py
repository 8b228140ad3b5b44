"""A finished archive: the time to find out that nothing is left to do, and to write a line of the journal."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from colorcli.colorize import audit
from colorcli.colorize.journal import Journal
from colorcli.colorize.options import choose_parameters
from colorcli.pipeline.controls import controls
from colorcli.registry import registry

from .common import Row, colorize

_A_FOLDER = 1000
_APPENDS = 2000


def measure(folder: Path, model: str, count: int) -> list[Row]:
    """Planning and resuming a finished run of ``count`` photographs, in its own process; appending to its journal."""
    photos, out = folder / "photos", folder / "out"
    start = time.perf_counter()
    last = finished(photos, out, model, count)
    print(f"{count} entries were made in {time.perf_counter() - start:.0f} s")
    for _ in range(2):  # the first one also reads from the disk
        done = colorize(str(photos), "-o", str(out), "--model", model)
        end = done.events[-1]
        assert (end["already_done"], end["done"], end["matched"]) == (count, 0, count), end
        print(f"plan and resume: {done.seconds:.1f} s, CPU {done.cpu:.1f} s, peak memory {done.peak:.0f} MiB")
    size = (out / ".colorcli" / "journal.jsonl").stat().st_size
    print(f"journal: {size / 2**20:.0f} MiB")
    start = time.perf_counter()
    assert audit.read_status(out).counts()["done"] == count
    print(f"status: {time.perf_counter() - start:.1f} s")
    with_sync, without = (_append(out, last, sync=sync) for sync in (True, False))
    return [
        Row(f"plan and resume of {count:,} finished photographs, s", f"{done.seconds:.1f}", "≤ 60"),
        Row("… peak memory, MiB", f"{done.peak:.0f}", "≤ 1024"),
        Row("a line of its journal, on the disk, ms", f"{with_sync:.3f}", "≤ 1"),
        Row("… without waiting for the disk, ms", f"{without:.3f}", "≤ 1"),
    ]


def finished(photos: Path, out: Path, model: str, count: int) -> dict[str, Any]:
    """Make a folder of ``count`` names, one of their outputs, and the journal of a run; return its last record.

    The files are empty.
    """
    info = registry.model_info(registry.find(model))
    parameters = choose_parameters(info)
    made_with = {"model": info.name, "weights_sha256": info.weights_sha256, "parameters": parameters.record()}
    steered = {one.name: one.record(parameters.settings, 0) for one in controls(info.controls)}
    journal = Journal(out, fsync=False)
    record: dict[str, Any] = {}
    for index in range(count):
        relative = f"{index // _A_FOLDER:04}/scan-{index:07}.jpg"
        if index % _A_FOLDER == 0:
            for root in (photos, out):
                (root / relative).parent.mkdir(parents=True)
        for root in (out, photos):
            with open(f"{root}/{relative}", "xb") as file:  # noqa: PTH123 - a Path takes longer than the file
                given = os.fstat(file.fileno())
        start = {
            "v": 1, "event": "photo.start", "time": "2026-01-01T00:00:00.000+00:00", "input": relative,
            "source": str(photos / relative), "sample": 0, "output": relative, **made_with,
        }  # fmt: skip
        record = {
            **start, "event": "photo.done", "input_size": given.st_size, "input_mtime_ns": given.st_mtime_ns,
            "input_sha256": f"{index:064x}", "status": "done", "output_size": 0,
            "output_sha256": f"{index:064x}", "format": "JPEG", "bits": 8, "width": 500, "height": 375, "kind": "gray",
            "notes": [], "controls": steered,
            "seconds": dict.fromkeys(("hash", "decode", "resize", "network", "join", "encode"), 0.0123),
            "max_delta_l": 0.123456, "mean_delta_l": 0.012345, "fitted_share": 0.001234, "mean_chroma": 12.345678,
        }  # fmt: skip
        journal.append(start, sync=False)
        journal.append(record, sync=False)
    journal.close()
    return record


def _append(out: Path, record: dict[str, Any], *, sync: bool) -> float:
    """Mean milliseconds per line."""
    journal = Journal(out)
    start = time.perf_counter()
    for _ in range(_APPENDS):
        journal.append(record, sync=sync)
    seconds = time.perf_counter() - start
    journal.close()
    return 1000 * seconds / _APPENDS
