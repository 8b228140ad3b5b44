"""Checks of bundled cards, run when the package is built, and in a test.

Only the standard library is used, since packages are built before any dependency is installed.
"""

from __future__ import annotations

import hashlib
import math
import tomllib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from colorcli.files import is_sha256
from colorcli.networks.size import ENLARGEMENTS, RESIZES
from colorcli.registry.systems import BUILT_IN
from colorcli.text import reason

MODEL, BACKBONE, WEIGHTS, README = "model.toml", "backbone.toml", "weights.safetensors", "README.md"
LARGEST_FILE, LARGEST_BUNDLE = 25 * 2**20, 90 * 2**20
"""Limits in bytes for one weights file, and for everything that is bundled."""

Check = Callable[[Any], str]


def _that(kind: type | tuple[type, ...], right: Callable[[Any], bool], what: str) -> Check:
    """A check of a value's type and condition; ``what`` describes valid values."""

    def check(value: Any) -> str:
        whole = isinstance(value, kind) and not (isinstance(value, bool) and kind is not bool)
        return "" if whole and right(value) else f"should be {what}, not {value!r}"

    return check


_LINE = _that(str, lambda text: bool(text.strip()) and "\n" not in text and text == text.strip(), "a line of text")
_NAME = _that(str, lambda text: bool(text) and not set(text) & set("@/\\ \n"), "a name")
_SYSTEM = _that(str, lambda text: text in {point.name for point in BUILT_IN}, "a system of the package")
_VERSION = _that(str, lambda text: text.isdecimal() and int(text) >= 1, "a whole number in quotes")
_CONTROLS = _that(list, lambda found: all(isinstance(name, str) for name in found), "a list of names")
_TABLE = _that(dict, lambda _: True, "a table")
_COUNT = _that(int, lambda number: number >= 1, "a whole number of at least 1")
_POSITIVE = _that((int, float), lambda number: number > 0, "a number above 0")
_NUMBER = _that((int, float), math.isfinite, "a number")
_FLAG = _that(bool, lambda _: True, "true or false")
_SHA256 = _that(str, is_sha256, "a SHA-256")
_DTYPE = _that(str, lambda text: text in ("float16", "float32"), "float16 or float32")
_URL = _that(str, lambda text: text.startswith("https://"), "an https address")
_ASPECT = _that((int, float), lambda number: number >= 1, "a number of at least 1")

_TRAINING: dict[str, Check] = {
    "recipe": _NAME,
    "photographs": _COUNT,
    "steps": _COUNT,
    "data": _LINE,
    "command": _LINE,
    "samples_seen": _COUNT,
    "hours": _POSITIVE,
    "machine": _LINE,
    "selection": _LINE,
}
_MEASURES = {"psnr": _NUMBER, "psnr_over_gray": _NUMBER, "ab_error": _NUMBER, "colorfulness_ratio": _NUMBER}
# Required fields by dotted path; those in _MAY_BE are optional.
_OF_MODEL: dict[str, Check] = {
    "name": _NAME,
    "tag": _NAME,
    "system": _SYSTEM,
    "preset": _NAME,
    "version": _VERSION,
    "licence": _LINE,
    "controls": _CONTROLS,
    "network": _TABLE,
    **{f"size.{key}": check for key, check in (("size", _COUNT), ("multiple_of", _COUNT), ("fixed", _FLAG))},
    "size.max_aspect": _ASPECT,
    "source.paper": _LINE,
    **{f"training.{key}": check for key, check in _TRAINING.items()},
    **{f"training.validation.{key}": check for key, check in _MEASURES.items()},
    "weights.sha256": _SHA256,
    "weights.dtype": _DTYPE,
}
_MAY_BE: dict[str, Check] = {
    "source.url": _URL,
    "size.stretch": _FLAG,
    "size.resize": _that(str, lambda name: name in RESIZES, f"one of {', '.join(RESIZES)}"),
    "size.enlarge": _that(str, lambda name: name in ENLARGEMENTS, f"one of {', '.join(ENLARGEMENTS)}"),
}
_OF_BACKBONE: dict[str, Check] = {
    "name": _NAME,
    "kind": _that(str, lambda text: text in ("backbone", "generator"), "backbone or generator"),
    "title": _LINE,
    "licence": _LINE,
    "files": _TABLE,
    "weights.sha256": _SHA256,
    **{f"training.{key}": check for key, check in _TRAINING.items()},
}
# Tables in which any field is allowed: network arguments, other measures.
_FREE = {"network", "files", "training.validation", "backbones"}


def faults(models: Path) -> list[str]:
    """Faults in the bundled models and backbones, one sentence each.

    Args:
        models: the folder with one folder per model, and ``backbones`` with one per backbone.
    """
    folders = sorted(path for path in models.iterdir() if path.is_dir() and path.name != "backbones")
    shared = sorted(path for path in (models / "backbones").iterdir() if path.is_dir())
    found = [fault for folder in folders if (folder / WEIGHTS).exists() for fault in _of_model(folder)]
    found += [fault for folder in shared for fault in _of_card(folder, BACKBONE, _OF_BACKBONE, {})]
    size = sum(path.stat().st_size for path in models.rglob("*") if path.is_file())
    if size > LARGEST_BUNDLE:
        found.append(f"{models} holds {size / 2**20:.0f} MiB, more than {LARGEST_BUNDLE // 2**20}.")
    return found


def _of_model(folder: Path) -> Iterator[str]:
    yield from _of_card(folder, MODEL, _OF_MODEL, _MAY_BE)
    for part, entry in _read(folder / MODEL)[0].get("backbones", {}).items():
        weights = folder.parent / "backbones" / str(entry.get("name")) / WEIGHTS
        if not weights.is_file() or _sha256(weights) != entry.get("sha256"):
            yield f"{folder / MODEL}: backbones.{part} does not name the weights in {weights.parent}."


def _of_card(folder: Path, name: str, wanted: Mapping[str, Check], optional: Mapping[str, Check]) -> Iterator[str]:
    path = folder / name
    table, wrong = _read(path)
    if wrong:
        yield wrong
        return
    known = {**wanted, **optional}
    for field, value in _fields(table, known):
        if field in known:
            fault = known[field](value)
            if fault:
                yield f"{path}: {field} {fault}."
        elif not any(field == free or field.startswith(f"{free}.") for free in _FREE):
            yield f"{path}: there is no field {field}."
    present = {field for field, _ in _fields(table, known)}
    yield from (f"{path}: {field} is missing." for field in wanted if field not in present)
    if table.get("name") != folder.name:
        yield f"{path}: name is {table.get('name')!r}, but the folder is {folder.name}."
    if not (folder / README).is_file():
        yield f"{folder} has no {README}."
    weights = folder / WEIGHTS
    if not weights.is_file():
        yield f"{folder} has no {WEIGHTS}."
        return
    if weights.stat().st_size > LARGEST_FILE:
        yield f"{weights} is {weights.stat().st_size / 2**20:.0f} MiB, more than {LARGEST_FILE // 2**20}."
    if _sha256(weights) != table.get("weights", {}).get("sha256"):
        yield f"{path}: weights.sha256 is not that of {weights}."


def _read(path: Path) -> tuple[dict[str, Any], str]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8")), ""
    except (OSError, ValueError) as error:
        return {}, f"{path} cannot be read: {reason(error)}."


def _fields(table: Mapping[str, Any], known: Mapping[str, Check], path: str = "") -> Iterator[tuple[str, Any]]:
    """A card's values by dotted path; a table that is checked as a whole counts as one value."""
    for key, value in table.items():
        field = f"{path}{key}"
        if isinstance(value, dict) and field not in known:
            yield from _fields(value, known, f"{field}.")
        else:
            yield field, value


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
