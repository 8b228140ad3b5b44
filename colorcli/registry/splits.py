"""Which photographs a model learnt from, was chosen on and may be tested on: manifests in its run folder.

``splits/NAME.json`` holds the folders and tar shards that they came from, and their names there with the SHA-256 of
each file's content.
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
        photographs: hexadecimal SHA-256 of each file's content by its name below a root; empty where it was not taken.
    """

    roots: tuple[str, ...]
    photographs: Mapping[str, str]

    @property
    def sha256(self) -> str:
        """What tells this set from others: the SHA-256 of its names and hashes in order."""
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
        UsageError: there is no such set, or the run has none.
    """
    if name not in NAMES:
        raise UsageError(f"A run has no photographs called '{name}'; it has {', '.join(NAMES)}.")
    path = _file(folder, name)
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
        photographs = {str(key): str(value) for key, value in table["photographs"].items()}
        split = Split(tuple(map(str, table["roots"])), photographs)
    except FileNotFoundError as error:
        raise UsageError(f"{folder} does not say which photographs are its {name}: there is no {path}.") from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(f"{path} cannot be read: {error}.") from error
    if split.sha256 != table.get("sha256"):
        raise UsageError(f"{path} was changed after it was written: train again, or put back a copy.")
    return split


def named(text: str) -> tuple[Path, str] | None:
    """The run folder and the set that ``RUN#SET`` names; None where ``text`` names something else.

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
    """How many of the photographs with these hashes are in the set ``name`` of each run, by its folder, if any are.

    Args:
        models: run folders; one that keeps no record counts as one that shares nothing.
        name: of the set.
        sha256: of the content of each photograph, by any name.
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
