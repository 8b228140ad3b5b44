"""Protocols: how photographs are brought to a size, turned gray and compared. Data files with versioned ids.

An id such as ``stretch256@1`` means the same for ever: a change of meaning is a new version.
"""

from __future__ import annotations

import dataclasses
import hashlib
import tomllib
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from colorcli.color.vividness import NEUTRAL
from colorcli.errors import UsageError
from colorcli.text import near

DEFAULT = "imagenet-val5k-crop256"
DEFAULT_FOR_PAIRS = "native"

Fit = Literal["crop", "stretch", "native"]
GrayRule = Literal["lightness", "luma601", "orthochromatic", "panchromatic"]

FITS: tuple[Fit, ...] = ("crop", "stretch", "native")
GRAY_RULES: tuple[GrayRule, ...] = ("lightness", "luma601", "orthochromatic", "panchromatic")
LABELS = ("none", "folders", "pseudo")
INTERPOLATIONS = ("lanczos", "bicubic", "bilinear", "box", "nearest")


@dataclass(frozen=True)
class Selection:
    """Which of the photographs found are scored.

    Attributes:
        pattern: where a name matches it (``fnmatch``, without folders), only those that do are taken.
        first: only so many of them, by name; 0 means all.
        random: so many, chosen by chance that depends on nothing but their names; 0 means all.
    """

    pattern: str = ""
    first: int = 0
    random: int = 0


@dataclass(frozen=True)
class Protocol:
    """How numbers are taken.

    Attributes:
        id: versioned name.
        text: one line for people.
        fit: ``crop`` (short side to ``size``, centre crop), ``stretch`` (both sides to ``size``) or ``native``.
        size: in pixels; 0 for ``native``.
        interpolation: of the resizing, as Pillow names it, with its antialiasing.
        gray: how originals are turned gray, see ``gray.to_gray``.
        metrics: ids of what is measured unless something else is asked for.
        native: whether the network's own answer is scored in place of the picture that ``colorize`` makes.
        sigma: scale of the random code, for models that take one.
        sigmas: for the diversity metrics.
        strength: factor on chroma, 0..2, of every model; ``vividness`` 0..1, where 0.5 changes nothing.
        labels: the classes that networks which take one are given: ``none`` (they decide themselves), ``folders`` (the
            folders' names, or a shard's files KEY.cls), ``pseudo`` (a classifier's answer on the colour photograph), or
            a CSV file with the columns ``name`` and ``class``.
        source: whose numbers it takes, and what they were.
        data: which photographs.
    """

    id: str
    text: str
    fit: Fit = "crop"
    size: int = 256
    interpolation: str = "lanczos"
    gray: GrayRule = "luma601"
    metrics: tuple[str, ...] = ("psnr", "ssim")
    native: bool = False
    sigma: float = 0.8
    sigmas: tuple[float, ...] = (0.8, 3.0, 10.0)
    strength: float = 1.0
    vividness: float = NEUTRAL
    labels: str = "none"
    source: str = ""
    data: Selection = field(default_factory=Selection)

    def record(self) -> dict[str, Any]:
        """The protocol as a report holds it."""
        table = dataclasses.asdict(self)
        return {key: list(value) if isinstance(value, tuple) else value for key, value in table.items()}

    def changed(self, **changes: Any) -> Protocol:
        """The protocol with other settings, which its id and text then name: ``stretch256@1+gray=lightness``."""
        different = {name: value for name, value in changes.items() if value != getattr(self, name)}
        if not different:
            return self
        settings = [f"{name}={_shown(value)}" for name, value in different.items()]
        text = f"{self.text}; but with {', '.join(settings)}"
        return dataclasses.replace(self, id="+".join((self.id, *settings)), text=text, **different)


def names() -> list[str]:
    """The ids of the protocols that are part of the package."""
    return sorted(entry.name.removesuffix(".toml") for entry in _folder().iterdir() if entry.name.endswith(".toml"))


def load(name: str) -> Protocol:
    """A protocol by id (without its version: the newest), or from a TOML file.

    Raises:
        UsageError: there is no such protocol, or the file does not describe one.
    """
    if name.endswith(".toml"):
        path = Path(name)
        try:
            content = path.read_bytes()
        except OSError as error:
            raise UsageError(f"The protocol {path} cannot be read: {error.strerror or error}.") from error
        # Whoever writes a protocol need not count versions: its content does.
        return _parse(content, f"{path.stem}@{hashlib.sha256(content).hexdigest()[:8]}", str(path))
    versions = [known for known in names() if name in (known, known.split("@")[0])]
    if not versions:
        raise UsageError(f"There is no protocol '{name}'{near(name, names())}")
    newest = max(versions, key=lambda known: int(known.split("@")[1]))
    return _parse((_folder() / f"{newest}.toml").read_bytes(), newest, newest)


def _folder() -> Any:
    return resources.files("colorcli.evaluate").joinpath("protocols")


def _parse(content: bytes, name: str, where: str) -> Protocol:
    try:
        table = tomllib.loads(content.decode("utf-8"))
        settings: dict[str, Any] = {"text": "", **table, "data": Selection(**table.get("data", {}))}
        settings.update({key: tuple(table[key]) for key in ("metrics", "sigmas") if key in table})
        protocol = Protocol(id=name, **settings)
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, TypeError) as error:
        raise UsageError(f"The protocol {where} cannot be used: {error}.") from error
    if not (protocol.labels in LABELS or protocol.labels.endswith(".csv")):
        raise UsageError(f"The protocol {where} cannot be used: labels is one of {', '.join(LABELS)}, or FILE.csv.")
    choices = {"fit": FITS, "gray": GRAY_RULES, "interpolation": INTERPOLATIONS}
    for key, known in choices.items():
        if getattr(protocol, key) not in known:
            raise UsageError(f"The protocol {where} cannot be used: {key} is one of {', '.join(known)}.")
    if protocol.fit != "native" and not protocol.size >= 1:
        raise UsageError(f"The protocol {where} cannot be used: size starts at 1.")
    return dataclasses.replace(protocol, size=0) if protocol.fit == "native" else protocol


def _shown(value: Any) -> str:
    return ",".join(map(_shown, value)) if isinstance(value, tuple) else str(value)
