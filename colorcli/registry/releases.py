"""The table of released files: what can be pulled or imported, from where, and under which licence."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from colorcli.errors import ModelError
from colorcli.networks.size import OURS, SMOOTH
from colorcli.text import near

TABLE = Path(__file__).with_name("releases.toml")

GROUP = "colorcli.releases"
"""Entry-point group by which other packages declare released files: ``module:releases.toml``, a table like ours in the
module's folder."""


@dataclass(frozen=True)
class Remote:
    """A released file.

    Attributes:
        name: its file name. A name such as ``x-9b330a0b.pth`` contains the first digits of the file's SHA-256.
        url: its address, http or https; empty if none is published.
        max_bytes: a larger file is refused.
        sha256: the published hash or its first digits; empty if none is published outside the name.
        optional: whether the import works without it.
    """

    name: str
    url: str
    max_bytes: int
    sha256: str = ""
    optional: bool = False

    @property
    def sha256_prefix(self) -> str:
        """The published hash or its first digits, or the digits in the name; empty if there are none."""
        match = re.search(r"-([0-9a-f]{8,64})\.[^.]+$", self.name)
        return self.sha256 or (match.group(1) if match else "")


@dataclass(frozen=True)
class Release:
    """A model, backbone or other network released by others, in one or several files.

    Attributes:
        name: its name as a user types it; with the tag for a model that was released several times.
        kind: ``model``, ``backbone``, ``generator``, ``discriminator`` or ``metric network``.
        title: one-line description.
        licence: one line.
        files: its files, in the order in which they are read.
        paper: for a model: who published it, and where.
        preset: for a model: the preset of its system with the names and shapes of the file.
        resize: for a model: how its program resizes photographs to the working size, one of ``networks.size.RESIZES``.
        enlarge: for a model: how its program enlarges chroma, one of ``networks.size.ENLARGEMENTS``.
        wrapper: key under which the file may hold its tensors.
        ignored: other keys, whose content is left out.
        rename: for a model: prefixes of names in the file, and what the network has in their place.
        network: the network whose names and shapes the tensors must have: ``torchvision:NAME``, ``timm:NAME`` or
            ``colorcli:module:Class``; empty if the importer knows it.
        arguments: keyword arguments of that network.
        unused: names of tensors, or prefixes that end in a dot, that are accounted for but not stored.
        heads: channels of LPIPS's linear heads, read together with the network's tensors.
        config: required values in a configuration file.
        bytes: approximate size of all files.
    """

    name: str
    kind: str
    title: str
    licence: str
    files: tuple[Remote, ...]
    paper: str = ""
    preset: str = "paper"
    resize: str = OURS
    enlarge: str = SMOOTH
    wrapper: str = ""
    ignored: tuple[str, ...] = ()
    rename: dict[str, str] = field(default_factory=dict)
    network: str = ""
    arguments: dict[str, Any] = field(default_factory=dict)
    unused: tuple[str, ...] = ()
    heads: tuple[int, ...] = ()
    config: dict[str, Any] = field(default_factory=dict)
    bytes: int = 0

    @property
    def model(self) -> str:
        """The name without its tag, which is the system's."""
        return self.name.partition("@")[0]

    @property
    def tag(self) -> str:
        """The tag under which the released files are installed."""
        return self.name.partition("@")[2] or "official"

    @property
    def exact_name(self) -> str:
        """The name with the tag, under which a model is installed."""
        return f"{self.model}@{self.tag}"

    def absent(self) -> str:
        """A sentence that says it is not installed and how to get it."""
        public = all(remote.url for remote in self.files)
        fetch = f"fetch it with 'colorcli models pull {self.name}', or " if public else ""
        name = self.exact_name if self.kind == "model" else self.name
        return (
            f"The {self.kind} {name} ({self.bytes / 1e6:.0f} MB) is not on this machine; "
            f"{fetch}import it from a file with 'colorcli models import {self.name} FILE'."
        )


@cache
def releases() -> dict[str, Release]:
    """All entries of the tables, ours and those of installed plug-ins, by name and in order.

    Raises:
        ModelError: a plug-in's table cannot be read, or has the same name as another table.
    """
    found = _read(TABLE)
    for point in entry_points(group=GROUP):
        spec = find_spec(point.module)
        origin = point.dist.name if point.dist is not None else point.value
        if spec is None or spec.origin is None:
            raise ModelError(f"The released files of {origin} cannot be read: there is no module {point.module}.")
        path = Path(spec.origin).with_name(point.attr or TABLE.name)
        try:
            more = _read(path)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise ModelError(f"The table of released files {path} ({origin}) cannot be used: {error}.") from error
        if taken := sorted(found.keys() & more.keys()):
            raise ModelError(f"{origin} and another package both declare released files of {taken[0]}: uninstall one.")
        found |= more
    return found


def _read(path: Path) -> dict[str, Release]:
    table = tomllib.loads(path.read_text(encoding="utf-8"))
    return {name: _release(name, entry) for name, entry in table.items()}


def release(name: str) -> Release:
    """The entry called ``name``; without a tag, the first entry of that name.

    Raises:
        ModelError: there is no such entry.
    """
    known = releases()
    for entry in known.values():
        if name in (entry.name, entry.model) or (entry.kind == "model" and name == entry.exact_name):
            return entry
    raise ModelError(f"There are no released files of '{name}'{near(name, known)}")


def released_model(name: str) -> Release | None:
    """The released model that would be found by ``name`` or ``name@tag`` if it were installed."""
    mine = [entry for entry in releases().values() if entry.kind == "model"]
    return next((entry for entry in mine if name in (entry.exact_name, entry.model)), None)


def released_models() -> set[str]:
    """Exact names of the models that can be pulled or imported."""
    return {entry.exact_name for entry in releases().values() if entry.kind == "model"}


def drive(file_id: str) -> str:
    """The address of a file on Google Drive."""
    return f"https://drive.google.com/uc?export=download&id={file_id}"


def _release(name: str, entry: dict[str, Any]) -> Release:
    return Release(
        name=name,
        kind=entry["kind"],
        title=entry["title"],
        licence=entry["licence"],
        files=tuple(_remote(file) for file in entry["files"]),
        paper=entry.get("paper", ""),
        preset=entry.get("preset", "paper"),
        resize=entry.get("resize", OURS),
        enlarge=entry.get("enlarge", SMOOTH),
        wrapper=entry.get("wrapper", ""),
        ignored=tuple(entry.get("ignored", ())),
        network=entry.get("network", ""),
        arguments=entry.get("arguments", {}),
        rename=dict(entry.get("rename", {})),
        unused=tuple(entry.get("unused", ())),
        heads=tuple(entry.get("heads", ())),
        config=entry.get("config", {}),
        bytes=round(sum(file["megabytes"] for file in entry["files"]) * 1e6),
    )


def _remote(file: dict[str, Any]) -> Remote:
    url = drive(file["drive"]) if "drive" in file else file.get("url", "")
    name = file.get("name") or PurePosixPath(urlsplit(url).path).name
    limit = round(2e6 * file["megabytes"])
    return Remote(name, url, limit, file.get("sha256", ""), file.get("optional", False))
