"""Manifests in a run folder of the photographs that a model was trained on, chosen on and may be tested on.

``splits/NAME.json`` lists the folders and tar shards they came from, and each photograph's name there with the SHA-256
of its content.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from colorcli.errors import UsageError
from colorcli.files import write_atomically

TRAINING, HELD_BACK, TEST = "training", "held-back", "test"
NAMES = (TRAINING, HELD_BACK, TEST)


@dataclass(frozen=True)
class Split:
    """A set of photographs.

    Attributes:
        roots: folders and tar shards, absolute.
        photographs: hexadecimal SHA-256 of each file's content by its name below a root; empty if it was not computed.
    """

    roots: tuple[str, ...]
    photographs: Mapping[str, str]

    @property
    def sha256(self) -> str:
        """Identifies this set: the SHA-256 of its sorted names and hashes."""
        lines = "".join(f"{name}\0{digest}\n" for name, digest in sorted(self.photographs.items()))
        return hashlib.sha256(lines.encode("utf-8", "surrogateescape")).hexdigest()


def write(folder: Path, name: str, split: Split) -> None:
    """Write the set ``name`` of a run.

    Raises:
        OSError: the folder cannot be written.
    """
    target = _file(folder, name)
    target.parent.mkdir(exist_ok=True)
    table = {"sha256": split.sha256, "roots": list(split.roots), "photographs": dict(sorted(split.photographs.items()))}
    write_atomically(target, (json.dumps(table, indent=0) + "\n").encode("utf-8"))


def read(folder: Path, name: str) -> Split:
    """The set ``name`` of the run in ``folder``.

    Raises:
        UsageError: there is no such set, the run has none, or its file cannot be read or was changed.
    """
    if name not in NAMES:
        raise UsageError(f"A run has no photographs called '{name}'; it has {', '.join(NAMES)}.")
    path = _file(folder, name)
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
        photographs = {str(key): str(value) for key, value in table["photographs"].items()}
        split = Split(tuple(map(str, table["roots"])), photographs)
    except FileNotFoundError as error:
        raise UsageError(f"{folder} does not list its {name} photographs: there is no {path}.") from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(f"{path} cannot be read: {error}.") from error
    if split.sha256 != table.get("sha256"):
        raise UsageError(f"{path} was changed after it was written: restore a copy, or train again.")
    return split


def named(text: str) -> tuple[Path, str] | None:
    """The run folder and the set in ``RUN#SET``; None if ``text`` has another form.

    Raises:
        UsageError: the run has no such set.
    """
    folder, separator, name = text.rpartition("#")
    if not separator or Path(text).exists() or not Path(folder).is_dir():
        return None
    if name not in NAMES:
        raise UsageError(f"{folder} has no photographs called '{name}'; a run has {', '.join(NAMES)}.")
    return Path(folder), name


def shared(models: Sequence[Path], name: str, sha256: Mapping[str, str]) -> dict[str, int]:
    """How many of the given photographs are in each run's set ``name``, by run folder; runs with none are omitted.

    Args:
        models: run folders; one without a record counts as sharing none.
        name: name of the set.
        sha256: hash of each photograph's content, by any name.
    """
    found: dict[str, int] = {}
    for folder in models:
        if _file(folder, name).is_file():
            known = set(read(folder, name).photographs.values()) - {""}
            count = sum(digest in known for digest in sha256.values())
            if count:
                found[str(folder)] = count
    return found


def _file(folder: Path, name: str) -> Path:
    return folder / "splits" / f"{name}.json"
