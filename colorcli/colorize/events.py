"""The events of a run as versioned JSON objects: the lines of the journal and of ``--json``."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Literal, NotRequired, TypedDict

VERSION = 1
"""Version of the objects' layout. Fields may be added without raising it; changing the meaning of one raises it."""


class _Made(TypedDict):
    v: int
    time: str


class Notice(_Made):
    """Something that a person should know; ``batch_size`` if it was lowered."""

    event: Literal["notice"]
    message: str
    batch_size: NotRequired[int]


class RunStart(_Made):
    """Start of a run: request, environment, and amount of work."""

    event: Literal["run.start"]
    colorcli: str
    python: str
    platform: str
    libraries: dict[str, str]
    host: str
    pid: int
    command: list[str]
    configuration: dict[str, Any]
    model: str
    model_version: str
    weights_sha256: str
    weights_origin: str
    parameters: dict[str, Any]
    execution: dict[str, Any]
    device: str
    precision: str
    compiled: bool
    backend: str
    threads: int
    matched: int
    already_done: int
    pending: int


class RunEnd(_Made):
    """The end of a run: counts, which add up to ``matched``, and its duration, of which ``setup_seconds`` passed before
    the first photograph."""

    event: Literal["run.end"]
    matched: int
    done: int
    already_done: int
    skipped: int
    conflicts: int
    failed: int
    unprocessed: int
    seconds: float
    setup_seconds: float
    megapixels: float
    exit_code: int


class _Output(_Made):
    """Identifies an output of a photograph, and what decides its colours."""

    input: str
    source: str
    sample: int
    output: str
    model: str
    weights_sha256: str
    parameters: dict[str, Any]


class PhotoStart(_Output):
    """An output is about to be renamed to its final name."""

    event: Literal["photo.start"]


class Beside(TypedDict):
    """A file beside an output that belongs to it: path relative to the output folder, size, hexadecimal SHA-256."""

    output: str
    size: int
    sha256: str


class PhotoDone(_Output):
    """A finished output: its input, how it was made, and its fidelity to the photograph.

    ``max_delta_l`` and ``mean_delta_l`` are of the codes as computed, the ``written_`` ones of the file, of which
    ``written_share`` was compared: a lossy coder changes lightness too. ``mark`` is the visible sign's rectangle, which
    is left out of all of this. ``worker`` is the machine of the cluster that coloured it. ``uncertainty`` is the
    score of its ground, and its map a file beside the output. ``xmp`` is the sidecar that was written along.
    """

    event: Literal["photo.done"]
    input_size: int
    input_mtime_ns: int
    input_sha256: str
    status: Literal["done"]
    output_size: int
    output_sha256: str
    format: str
    bits: int
    width: int
    height: int
    pages: NotRequired[int]
    kind: str
    notes: list[str]
    controls: dict[str, Any]
    seconds: dict[str, float]
    max_delta_l: float
    mean_delta_l: float
    written_max_delta_l: NotRequired[float]
    written_mean_delta_l: NotRequired[float]
    written_share: NotRequired[float]
    fitted_share: float
    mean_chroma: float
    mark: NotRequired[dict[str, int | str]]
    worker: NotRequired[str]
    uncertainty: NotRequired[float]
    uncertainty_ground: NotRequired[str]
    uncertainty_map: NotRequired[str]
    uncertainty_map_size: NotRequired[int]
    uncertainty_map_sha256: NotRequired[str]
    xmp: NotRequired[Beside]


class PhotoTouched(_Made):
    """An input whose modification time changed, but not its content."""

    event: Literal["photo.touched"]
    input: str
    sample: int
    output: str
    input_mtime_ns: int


class PhotoUnmade(_Made):
    """An output that was skipped or failed, and why; ``code`` identifies reasons that other code acts on.

    ``trace`` is the place in the code, for ``--debug``; it is not journalled.
    """

    event: Literal["photo.skipped", "photo.failed"]
    input: str
    source: NotRequired[str]
    sample: int
    output: str | None
    status: Literal["skipped", "failed"]
    reason: str
    code: NotRequired[str]
    input_size: NotRequired[int]
    input_mtime_ns: NotRequired[int]
    input_sha256: NotRequired[str]
    trace: NotRequired[str]
    worker: NotRequired[str]


class Written(_Made):
    """A file or folder written beside the outputs: ``bytes`` of a report, number of ``outputs`` for the others."""

    event: Literal["report.written", "manifest.written", "sidecars.written", "bag.written"]
    path: str
    bytes: NotRequired[int]
    outputs: NotRequired[int]


Event = Notice | RunStart | RunEnd | PhotoStart | PhotoDone | PhotoUnmade | Written
Observer = Callable[[Event], None]


def now() -> str:
    """The current time: UTC, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def notice(message: str) -> Notice:
    """A notice with this message."""
    return {"v": VERSION, "event": "notice", "time": now(), "message": message}


def to_line(record: Mapping[str, Any]) -> str:
    """One line of ASCII JSON, so that file names that are not UTF-8 survive.

    Raises ValueError for NaN and infinity, which JSON lacks.
    """
    return json.dumps(record, ensure_ascii=True, allow_nan=False, separators=(",", ":")) + "\n"
