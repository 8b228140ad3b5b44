"""What steers a network, beside the photograph itself.

A ``Control`` is one input of a network, made from one or several ``Setting``s, which are what a person chooses. Options
of the command line, arguments of ``colorcli.load(...).colorize``, fields of journals, labels and picks, inputs of ONNX
graphs and lines of reports are all made from the declarations here. A network names the controls that it reads; a new
control is one more declaration. A control can say itself how the chroma of a network that does not read it follows;
every model then takes it.

Importing this module imports nothing heavy: help pages need it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from colorcli.errors import ModelError, UsageError
from colorcli.pipeline import hints, reference
from colorcli.sessions.classes import class_names, find_classes

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from colorcli.images.tiles import Windows
    from colorcli.sessions.session import Controls, ModelInfo

GROUP = "colorcli.controls"
"""Entry-point group by which other packages declare controls; the values are of the form ``module:CONTROL``."""

Z_DIM = 68

Settings = Mapping[str, Any]
"""Values of settings, by name."""

Follow: TypeAlias = "Callable[[NDArray[np.float32], NDArray[np.float32], Settings], NDArray[np.float32]]"
"""Takes a photograph's chroma, its lightness and settings; returns the changed chroma; see ``Control``."""


@dataclass(frozen=True)
class Setting:
    """What a person chooses to steer a network.

    Attributes:
        name: in journals, labels and picks.
        option: on the command line; ``argument`` in Python.
        argument: of ``Model.colorize``, and of the command's function.
        kind: type of the value on the command line.
        default: value if none is given.
        unset: value without effect; None where every value has one.
        low: least value; ``high`` the largest.
        help: for ``--help``, which appends the default.
        parse: turns what a person gave into the recorded value. Raises UsageError.
        several: whether a tuple of values is allowed; every photograph is then coloured with each.
        still: value at which all samples are the same; None where there is none.
        chance: whether it is a seed: its values are equally good, and evaluations average over several.
        title: in reports.
        show: formats the value.
        valid: whether a recorded value is valid, where it is no number.
        own: the part of a recorded value that one photograph, by its relative path, is coloured with, or None for none;
            None itself where all photographs have the whole value.
    """

    name: str
    option: str
    kind: type
    default: Any
    help: str
    argument: str = ""
    unset: Any = None
    low: float | None = None
    high: float | None = None
    parse: Callable[[Any], Any] = lambda value: value
    several: bool = False
    still: Any = None
    chance: bool = False
    title: str = ""
    show: Callable[[Any], str] = str
    valid: Callable[[Any], bool] | None = None
    own: Callable[[Any, str], Any] | None = None

    @property
    def keyword(self) -> str:
        """The name of the argument in Python."""
        return self.argument or self.name

    @property
    def word(self) -> str:
        """The option without its dashes, for messages."""
        return self.option.removeprefix("--")

    def taken(self, given: Any) -> Any:
        """Parse and check what a person gave. Raises UsageError."""
        value = self.parse(given)
        if not self.holds(value):
            raise UsageError(f"{self.word} must be {self.range()}, not {given}.")
        return float(value) if self.kind is float else value

    def holds(self, value: object) -> bool:
        """Whether a value, for example from a file, is valid."""
        if self.valid is not None:
            return self.valid(value)
        if self.several and isinstance(value, list | tuple):
            return len(value) > 1 and len(set(value)) == len(value) and all(self._holds_one(one) for one in value)
        return self._holds_one(value) or (self.unset is not None and value == self.unset)

    def range(self) -> str:
        """The valid range in words."""
        number = "a number" if self.kind is float else "a whole number"
        if self.low is None or self.high is None:
            return number
        return f"{number} from {self.low:g} to {self.high:g}"

    def _holds_one(self, value: object) -> bool:
        if isinstance(value, bool) or not isinstance(value, int | float if self.kind is float else int):
            return False
        return (self.low is None or value >= self.low) and (self.high is None or value <= self.high)


@dataclass(frozen=True)
class ControlContext:
    """What a control's value may depend on, besides settings.

    Attributes:
        relative: POSIX path of the photograph relative to the input.
        sample: index of the colouring, from 0.
        layout: the photograph at its working size, in windows; None without a photograph.
        window: index of the window.
    """

    relative: str
    sample: int = 0
    layout: Windows | None = None
    window: int = 0


@dataclass(frozen=True)
class Control:
    """An input of networks beside the lightness.

    Attributes:
        name: of the network's argument and of the graph's input, in cards and in journals.
        title: in sentences: "takes no <title>".
        shape: of one photograph's value: numbers, and ``height`` and ``width`` for the sides of its lightness.
        dtype: NumPy name of the type.
        neutral: number that fills a value without effect.
        settings: that it is made from.
        make: makes the value, of ``shape`` and ``dtype``, from settings.
        random: whether the value differs between samples.
        examples: settings for tracing and verifying graphs, in turn; others have their defaults.
        follow: for networks that do not read it: from the chroma ``(2, h, w)`` of a whole photograph, its lightness
            ``(H, W)`` and the settings to the chroma that follows them. None where such networks cannot follow.
    """

    name: str
    title: str
    shape: tuple[int | str, ...]
    dtype: str
    neutral: float
    settings: tuple[Setting, ...]
    make: Callable[[Settings, ControlContext], NDArray[Any]]
    random: bool = False
    examples: tuple[Settings, ...] = field(default=({},))
    follow: Follow | None = None

    def neutral_values(self, lightness: NDArray[np.float32]) -> NDArray[Any]:
        """Values without effect ``(N, *shape)``, for lightness ``(N, 1, H, W)``."""
        import numpy as np

        sides = dict(zip(("height", "width"), lightness.shape[2:], strict=True))
        shape = (sides[side] if isinstance(side, str) else side for side in self.shape)
        return np.full((len(lightness), *shape), self.neutral, self.dtype)

    def example(self, number: int, layout: Windows | None = None) -> NDArray[Any]:
        """An example value, different for each ``number``."""
        chosen = {setting.name: setting.default for setting in self.settings}
        context = ControlContext("verification", number, layout)
        return self.make(chosen | dict(self.examples[number % len(self.examples)]), context)

    def record(self, settings: Settings, sample: int) -> Any:
        """One colouring's value for the journal."""
        values = {setting.name: settings.get(setting.name) for setting in self.settings}
        if self.random:
            values["sample"] = sample
        return values[self.name] if set(values) == {self.name} else values


def random_code(seed: int, name: str, sample: int, sigma: float) -> NDArray[np.float32]:
    """The random code z of one colouring: ``sigma`` times 68 standard normal numbers, float32 ``(68,)``.

    The numbers come from Philox keyed by the first 128 bits of SHA-256 of (seed, name, sample), so they do not depend
    on the order of photographs, the batch, the number of workers or the shard.

    Args:
        seed: any integer.
        name: the photograph's path relative to the input, in POSIX form.
        sample: index of the colouring, from 0.
        sigma: scale of the distribution, >= 0.
    """
    import numpy as np

    digest = hashlib.sha256(f"{seed}\0{name}\0{sample}".encode("utf-8", "surrogateescape")).digest()
    generator = np.random.Generator(np.random.Philox(key=int.from_bytes(digest[:16], "little")))
    return (sigma * generator.standard_normal(Z_DIM)).astype(np.float32)


def _code(settings: Settings, context: ControlContext) -> NDArray[np.float32]:
    return random_code(settings["seed"], context.relative, context.sample, settings["sigma"])


def _class(settings: Settings, context: ControlContext) -> NDArray[np.int64]:
    import numpy as np

    given = settings["class_index"]
    if given == CLASS.unset and settings.get("reference") is not None:
        given = settings["reference"]["class_index"]
    return np.array(given, np.int64)


def _palette(settings: Settings) -> NDArray[np.float32]:
    import numpy as np

    given = settings.get("reference")
    return np.array(given["palette"] if given is not None else [0] * 5, np.float32)


def _hints(settings: Settings, context: ControlContext) -> NDArray[np.float32]:
    if context.layout is None:
        raise ValueError("hints need a photograph's layout")
    return hints.as_map(settings.get("hints"), context.layout, context.window)


def _class_shown(index: int) -> str:
    return "the network’s own choice" if index == -1 else f"{class_names()[index]} ({index})"


SIGMA = Setting(
    "sigma", "--sigma", float, 0.8, "How far colours stray from the expected.", low=0, high=100, still=0, title="σ"
)
SEED = Setting("seed", "--seed", int, 0, "Random seed.", chance=True, title="Seed")
CLASS = Setting(
    "class_index",
    "--class",
    int,
    -1,
    "ImageNet class by name or index, in place of the classifier's; several (a,b) give a colouring each.",
    argument="class_name",
    unset=-1,
    low=0,
    high=999,
    parse=lambda given: find_classes(str(given)),
    several=True,
    title="Class",
    show=_class_shown,
)

HINTED = Setting(
    "hints",
    "--hints",
    Path,
    None,
    "Colours at points: a JSON file, a PNG with dots, or a folder of them.",
    parse=hints.read,
    title="Hints",
    show=hints.shown,
    valid=hints.valid,
    own=hints.own,
)

REFERENCE = Setting(
    "reference",
    "--reference",
    Path,
    None,
    "A colour photograph whose class and palette to take.",
    parse=reference.read,
    title="Reference",
    show=reference.shown,
    valid=reference.valid,
)

Z = Control("z", "random code", (Z_DIM,), "float32", 0, (SIGMA, SEED), _code, random=True)
"""The random code, float32 ``(68,)``, scaled by sigma."""

CLASS_INDEX = Control(
    "class_index", "class", (), "int64", -1, (CLASS,), _class, examples=({}, {"class_index": 207}, {})
)
"""ImageNet class 0..999, or -1 where the network's own classifier decides."""

HINTS = Control(
    "hints",
    "hints",
    (3, "height", "width"),
    "float32",
    0,
    (HINTED,),
    _hints,
    examples=({"hints": [[0.5, 0.5, "#c83c28", 0.1]]}, {}, {"hints": [[0.1, 0.9, "#2850c8", 0.02]]}),
    follow=lambda chroma, lightness, settings: hints.spread(chroma, lightness, settings["hints"]),
)
"""Colours given at points, float32 ``(3, height, width)``: a*, b*, and 1 where they are given; 0 elsewhere."""

PALETTE = Control(
    "palette",
    "palette",
    (5,),
    "float32",
    0,
    (REFERENCE,),
    lambda settings, context: _palette(settings),
    follow=lambda chroma, lightness, settings: reference.transfer(chroma, settings["reference"]),
)
"""Mean a*, mean b*, and variance of a*, covariance, and variance of b*, float32 ``(5,)``, of an example."""

# In the order in which they change chroma: hints come last.
_DECLARED = {control.name: control for control in (Z, CLASS_INDEX, PALETTE, HINTS)}


def control(name: str) -> Control:
    """Look up a control by name. Raises ModelError if it is not declared."""
    if name not in _DECLARED:
        for point in entry_points(group=GROUP, name=name):
            _DECLARED[name] = point.load()
    if name not in _DECLARED:
        raise ModelError(f"There is no control '{name}'; the package that its network comes from should declare it.")
    return _DECLARED[name]


def controls(names: Iterable[str]) -> tuple[Control, ...]:
    """Look up the controls that a card or a session's ``info`` names. Raises ModelError."""
    return tuple(control(name) for name in names)


def declared_settings() -> Iterator[tuple[Control, Setting]]:
    """All settings, each with its control."""
    _look_up_plugins()
    return ((one, setting) for one in _DECLARED.values() for setting in one.settings)


@cache
def _look_up_plugins() -> None:
    """Cached: searching the installed packages takes milliseconds, and every journal record needs the result."""
    for point in entry_points(group=GROUP):
        control(point.name)


def option_names(names: Iterable[str]) -> list[str]:
    """Options for these controls."""
    return [setting.option for one in controls(names) for setting in one.settings]


def options(names: Iterable[str]) -> str:
    """Options for these controls, in words."""
    return ", ".join(option_names(names)) or "none"


def choose(info: ModelInfo, asked: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a model's controls: what was asked for, else the default.

    Args:
        info: of the model.
        asked: what a person gave, by ``Setting.keyword``; None where nothing.

    Raises:
        UsageError: a value is out of range, there is no such setting, or the model lacks the control.
    """
    given = settle(asked)
    for one, setting in declared_settings():
        if setting.name in given and one.name not in info.controls and one.follow is None:
            refuse(info, one, setting.option)
    return settings_of(info.controls, given)


def settle(asked: Mapping[str, Any]) -> dict[str, Any]:
    """Parse what was asked for into settings by name, for any model.

    Args:
        asked: as ``choose`` takes it.

    Raises:
        UsageError: a value is out of range, or there is no such setting.
    """
    left = {name: value for name, value in asked.items() if value is not None}
    settled = {
        setting.name: setting.taken(left.pop(setting.keyword))
        for _, setting in declared_settings()
        if setting.keyword in left
    }
    if left:
        known = ", ".join(setting.keyword for _, setting in declared_settings())
        raise UsageError(f"There is no control '{next(iter(left))}'; there are: {known}.")
    return settled


def settings_of(names: Iterable[str], given: Settings) -> dict[str, Any]:
    """The settings of these controls: those ``given``, else the default. Settings of other controls are dropped.

    Settings that have no value, and are not given, are left out: labels and journals then stay what they were before
    the setting was declared.

    Args:
        names: the controls that a model takes.
        given: values by the settings' name.
    """
    chosen = {
        setting.name: given.get(setting.name, setting.default)
        for one, setting in declared_settings()
        if one.name in names or one.follow is not None
    }
    return {name: value for name, value in chosen.items() if value is not None}


def own(settings: Settings, relative: str) -> dict[str, Any]:
    """The settings of one photograph, by its path relative to the input: its own part of those made for several."""
    kept = dict(settings)
    for _, setting in declared_settings():
        if setting.own is not None and kept.get(setting.name) is not None:
            kept[setting.name] = setting.own(kept[setting.name], relative)
            if kept[setting.name] is None:
                del kept[setting.name]
    return kept


def vary(settings: Settings) -> bool:
    """Whether photographs have their own parts of the settings."""
    return any(setting.own is not None and settings.get(setting.name) is not None for _, setting in declared_settings())


def steering(names: Iterable[str], settings: Settings) -> tuple[Control, ...]:
    """The controls that a network reads, and those that these settings apply to its chroma."""
    return (*controls(names), *_followed(names, settings))


def follow(
    names: Iterable[str], settings: Settings, answer: NDArray[np.float32], lightness: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Apply the controls that a network does not read to its answer for a photograph.

    Args:
        names: the controls that the network reads.
        settings: of the photograph, see ``own``; each with one value.
        answer: of the whole photograph: a*, b* ``(2, h, w)``, or sRGB 0..1 ``(3, h, w)``.
        lightness: CIE L* of the whole photograph, ``(H, W)``.
    """
    from colorcli.color.enlarge import changed

    for one in _followed(names, settings):
        if one.follow is not None:
            answer = changed(answer, partial(_follow, one.follow, lightness, settings))
    return answer


def _follow(
    change: Follow, lightness: NDArray[np.float32], settings: Settings, chroma: NDArray[np.float32]
) -> NDArray[np.float32]:
    return change(chroma, lightness, settings)


def _followed(names: Iterable[str], settings: Settings) -> tuple[Control, ...]:
    read = set(names)
    found = {
        one.name: one
        for one, setting in declared_settings()
        if one.follow is not None and one.name not in read and settings.get(setting.name) is not None
    }
    return tuple(found.values())


def refuse(info: ModelInfo, one: Control, option: str) -> None:
    """Raise the UsageError for a control that the model does not take."""
    taken = ", ".join(option_names(info.controls))
    do = f"it takes {taken}" if taken else "omit it"
    raise UsageError(f"{info.name} takes no {one.title}, so {option} has no effect on it; {do}.")


def variant(settings: Settings, output: int) -> tuple[dict[str, Any], int]:
    """Settings with single values, and the sample index, of a photograph's output ``output``.

    Settings with several values change fastest, the random code slowest.
    """
    single = dict(settings)
    for name, value in settings.items():
        if isinstance(value, tuple):
            output, which = divmod(output, len(value))
            single[name] = value[which]
    return single, output


def variants(settings: Settings) -> int:
    """Number of colourings of each photograph, from settings with several values."""
    count = 1
    for value in settings.values():
        count *= len(value) if isinstance(value, tuple) else 1
    return count


def draw(names: Iterable[str], settings: Settings, relative: str, sample: int, layout: Windows) -> list[Controls]:
    """The controls of each of a photograph's windows, without the batch axis.

    Args:
        names: the controls that the network takes.
        settings: each with one value.
        relative: the photograph's path relative to the input, in POSIX form.
        sample: index of the colouring, from 0.
        layout: the photograph's windows.
    """
    taken = controls(names)
    return [
        {one.name: one.make(settings, ControlContext(relative, sample, layout, window)) for one in taken}
        for window in range(len(layout.starts))
    ]


def batched(values: Sequence[Controls]) -> Controls:
    """Stack the controls of several windows into a batch."""
    import numpy as np

    return {name: np.stack([one[name] for one in values]) for name in (values[0] if values else ())}


def complete(names: Iterable[str], given: Controls, lightness: NDArray[np.float32]) -> Controls:
    """Fill in neutral values for missing controls ``names``, for lightness ``(N, 1, H, W)``."""
    return {
        one.name: given[one.name] if one.name in given else one.neutral_values(lightness) for one in controls(names)
    }


def examples(names: Iterable[str], numbers: Sequence[int], layout: Windows | None = None) -> Controls:
    """A batch of example values, one for each number."""
    import numpy as np

    return {one.name: np.stack([one.example(number, layout) for number in numbers]) for one in controls(names)}
