"""What happens in a run, as versioned JSON objects: the lines of the journal and of ``--json``."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

VERSION = 1
"""Of the objects' layout. Fields may be added under the same version; a field that changes its meaning raises it."""

Event = dict[str, object]
Observer = Callable[[Event], None]


def event(name: str, fields: Mapping[str, object] | None = None) -> Event:
    """An event of this version, such as ``photo.done``, with the time (UTC, ISO 8601) at which it was made."""
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    return {"v": VERSION, "event": name, "time": now, **(fields or {})}


def to_line(record: Mapping[str, object]) -> str:
    """One line of JSON in ASCII, so that file names which are not UTF-8 come back as they were.

    Raises ValueError for NaN and infinity, which are not JSON.
    """
    return json.dumps(record, ensure_ascii=True, allow_nan=False, separators=(",", ":")) + "\n"
