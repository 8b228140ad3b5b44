"""How sure a colouring is, as a small map and a score, on one of three grounds.

``models``: how far the answers of other models lie from one another and from the colouring's own. ``samples``: how far
the model's own answers to several random codes lie apart. ``bins``: the entropy of the colours that a network which
classifies holds possible. How well each ranks errors is measured; see the page on colouring.

Agreement among flips and sizes of one model is not offered: measured, it did not rank errors.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from colorcli.color.enlarge import chroma_of
from colorcli.errors import ModelError, PhotoError, UsageError
from colorcli.images.tiles import Windows, blend
from colorcli.pipeline.coloring import Chroma, infer_whole, prepare
from colorcli.pipeline.controls import SIGMA, Settings, batched, controls, draw, settings_of
from colorcli.registry import registry
from colorcli.registry.card import ModelCard
from colorcli.registry.systems import systems
from colorcli.sessions.session import Session

if TYPE_CHECKING:
    from colorcli.images.photo import Pixels

Kind = Literal["models", "samples", "bins"]
OTHERS = ("bigcolor", "zhang2016", "efficientnet")
"""The models that ``models`` compares with, except the one that colours."""

# Longer side of the map: networks' colours have no finer detail.
_MOST_SIDE = 512
_SAMPLES, _SIGMA = 4, 3.0
# Codes of the map for one CIELAB unit of distance, and for all of the entropy.
_PER_UNIT, _PER_SHARE = 10.0, 255.0

Opening = Callable[[ModelCard, str], Session]
"""Opens a model with a backend, ``auto`` for the request's."""


@dataclass(frozen=True)
class Seen:
    """A colouring that is to be judged.

    Attributes:
        pixels: the photograph ``(H, W)`` or ``(H, W, 3)``.
        windows: what the network saw of it.
        answer: the network's, for the whole photograph, before anything follows hints.
        settings: of this colouring, each with one value.
        relative: the photograph's path relative to the input.
        sample: index of the colouring.
    """

    pixels: Pixels
    windows: Windows
    answer: Chroma
    settings: Settings
    relative: str
    sample: int


@dataclass(frozen=True)
class Uncertainty:
    """The uncertainty of one colouring.

    Attributes:
        score: mean of the map in its own units: CIELAB units of distance, or the share of the largest entropy.
        codes: the map, uint8 ``(h, w)``, in the photograph's shape: ten codes a unit of distance, or 255 for all of it.
    """

    score: float
    codes: NDArray[np.uint8]


@dataclass(frozen=True)
class Ground:
    """An open ground: ``of`` measures colourings, ``label`` says how, for journals."""

    label: str
    per_unit: float
    measure: Callable[[Seen, tuple[int, int]], NDArray[np.float32]]

    def of(self, seen: Seen) -> Uncertainty:
        """Judge a colouring. May be called from several threads.

        Raises:
            PhotoError: a model's answer is unusable.
        """
        found = self.measure(seen, _map_shape(seen.pixels))
        return Uncertainty(float(found.mean()), np.rint(np.clip(found * self.per_unit, 0, 255)).astype(np.uint8))


@dataclass(frozen=True)
class Asked:
    """A checked ground that is not open yet.

    Attributes:
        kind: of the ground.
        cards: of the models that are asked: the others, or for ``bins`` the model itself.
    """

    kind: Kind
    cards: tuple[ModelCard, ...] = ()

    @property
    def label(self) -> str:
        """The ground with the models' weights: equal labels mean equal maps of one colouring."""
        if self.kind == "samples":
            return f"samples: {_SAMPLES} at sigma {_SIGMA:g}"
        return f"{self.kind}: " + ", ".join(f"{card.exact_name} {card.weights_sha256[:8]}" for card in self.cards)

    def open(self, session: Session, opening: Opening) -> Ground:
        """Open the models that the ground asks, for colourings of ``session``. Raises as ``open_model`` does."""
        if self.kind == "samples":
            return Ground(self.label, _PER_UNIT, lambda seen, shape: _of_samples(session, seen, shape))
        others = [opening(card, "pytorch" if self.kind == "bins" else "auto") for card in self.cards]
        if self.kind == "bins":
            return Ground(self.label, _PER_SHARE, lambda seen, shape: _of_bins(others[0], seen, shape))
        return Ground(self.label, _PER_UNIT, lambda seen, shape: _of_models(others, seen, shape))


def ask(text: str, card: ModelCard) -> Asked:
    """Check a ground for the colourings of a model.

    Args:
        text: ``models``, ``samples``, ``bins``, or names of models with commas between them.
        card: of the model that colours.

    Raises:
        UsageError: the model does not offer the ground, or there is no such ground.
        ModelError: there is no such model.
    """
    name = card.reference or card.exact_name
    if text == "samples":
        if not any(one.random for one in controls(card.controls)):
            raise UsageError(f"{name} gives every sample the same colours; give --uncertainty models.")
        return Asked("samples")
    if text == "bins":
        if card.is_onnx or systems().network_class(card.system).native_space != "bins":
            raise UsageError(f"{name} does not predict bins; give --uncertainty models, or --model zhang2016.")
        return Asked("bins", (card,))
    names = OTHERS if text == "models" else tuple(part.strip() for part in text.split(",") if part.strip())
    try:
        others = tuple(registry.find(part) for part in names)
    except ModelError as error:
        takes = f"--uncertainty takes {', '.join(get_args(Kind))} or names of models"
        if close := difflib.get_close_matches(text, get_args(Kind), 1):
            raise UsageError(f"{takes}, not '{text}'; did you mean {close[0]}?") from error
        error.add_note(f"{takes}.")
        raise
    others = tuple(other for other in others if other.weights_sha256 != card.weights_sha256)
    if not others:
        raise UsageError(f"--uncertainty compares {name} with other models; name at least one.")
    return Asked("models", others)


def _of_models(others: Sequence[Session], seen: Seen, shape: tuple[int, int]) -> NDArray[np.float32]:
    answers = [seen.answer]
    for other in others:
        layout = prepare(seen.pixels, other.info.size_rule)
        settings = settings_of(other.info.controls, {})
        answers.append(_answer(other, layout, settings, seen.relative, 0))
    return _spread(answers, shape)


def _of_samples(session: Session, seen: Seen, shape: tuple[int, int]) -> NDArray[np.float32]:
    settings = {**seen.settings, SIGMA.name: _SIGMA} if SIGMA.name in seen.settings else seen.settings
    numbers = range(seen.sample + 1, seen.sample + 1 + _SAMPLES)
    return _spread([_answer(session, seen.windows, settings, seen.relative, number) for number in numbers], shape)


def _of_bins(session: Session, seen: Seen, shape: tuple[int, int]) -> NDArray[np.float32]:
    from colorcli.sessions.pytorch import PyTorchSession

    assert isinstance(session, PyTorchSession)  # opened so
    layout = seen.windows
    drawn = draw(session.info.controls, seen.settings, seen.relative, seen.sample, layout)
    parts = session.entropy(np.stack(layout.lightness)[:, None], batched(drawn))
    share: NDArray[np.float32] = _sized(blend(list(parts), layout), shape)[0]
    return share


def _answer(session: Session, layout: Windows, settings: Settings, relative: str, sample: int) -> Chroma:
    drawn = draw(session.info.controls, settings, relative, sample, layout)
    (answer,) = infer_whole(session, [layout], [drawn])
    if isinstance(answer, PhotoError):
        raise PhotoError(f"has no measure of uncertainty: {session.info.name}: {answer}")
    return answer


def _spread(answers: Sequence[Chroma], shape: tuple[int, int]) -> NDArray[np.float32]:
    """The root mean square distance of answers from their mean, in CIELAB units ``(h, w)``."""
    chroma = np.stack([_sized(chroma_of(answer), shape) for answer in answers])
    squared: NDArray[Any] = ((chroma - chroma.mean(axis=0)) ** 2).sum(axis=1).mean(axis=0)
    distance: NDArray[np.float32] = np.sqrt(squared).astype(np.float32)
    return distance


def _sized(planes: NDArray[np.float32], shape: tuple[int, int]) -> NDArray[np.float32]:
    height, width = shape
    large = [np.asarray(Image.fromarray(plane).resize((width, height), Image.Resampling.BILINEAR)) for plane in planes]
    return np.asarray(large, np.float32)


def _map_shape(pixels: Pixels) -> tuple[int, int]:
    height, width = pixels.shape[:2]
    scale = min(1.0, _MOST_SIDE / max(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))
