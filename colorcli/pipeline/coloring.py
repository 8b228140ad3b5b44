"""Colouring one photograph: lightness in, coloured pixels and their fidelity out.

``prepare``, ``infer`` and ``Join`` are the stages, for callers that batch photographs in threads; ``color`` runs all
three. Nothing here knows folders, journals or threads. Unusable results are errors: NaN, a wrong shape, an image
without colour, or one whose lightness is not the photograph's.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from colorcli.color.enlarge import changed, chroma_of
from colorcli.color.join import Codes, Fidelity, join_strips
from colorcli.color.vividness import NEUTRAL, vivid
from colorcli.errors import ColorcliError, PhotoError, UsageError
from colorcli.images.content import LEAST_ROOM, Content, content_of
from colorcli.images.kind import own_color
from colorcli.images.tiles import Windows, blend, windows
from colorcli.networks.size import SMOOTH, SizeRule
from colorcli.pipeline.controls import Settings, batched, draw, follow, own
from colorcli.sessions.session import Controls, ModelInfo, OutOfMemoryError, Session

if TYPE_CHECKING:
    from colorcli.images.photo import Pixels

Chroma = NDArray[np.float32]
"""A network's answer for one photograph: a*, b* ``(2, h, w)`` in CIELAB units; or, if its size rule enlarges RGB,
sRGB 0..1 ``(3, h, w)``."""

SIZES = (32, 4096)
MOST_STRENGTH = 2.0

# a* and b* below this leave 8-bit pixels gray; a mean below a tenth of it is invisible
_LEAST_CHROMA = 0.5
_LEAST_MEAN_CHROMA = 0.05
# below the inverse of this strength, areas that keep their own colour become paler too
_MOST_KEPT = 100.0
# Somewhat more than rounding to code values can cause; a larger difference is a fault.
_MOST_DELTA_L: dict[int, float] = {8: 0.75, 16: 0.05}


@dataclass(frozen=True)
class Colored:
    """A coloured photograph.

    Attributes:
        pixels: sRGB-encoded ``(H, W, 3)``, uint8 or uint16.
        fidelity: to the photograph's lightness and to the network's chroma.
    """

    pixels: Codes
    fidelity: Fidelity


def check(info: ModelInfo, *, size: int | None, strength: float, vividness: float = NEUTRAL) -> None:
    """Refuse a working size that a model does not take, or an amount of colour out of range. Raises UsageError."""
    check_amount(strength, vividness)
    if size is None:
        return
    if info.size_rule.fixed and size != info.size_rule.size:
        raise UsageError(f"{info.name} works at {info.size_rule.size} pixels only; omit --size.")
    if not SIZES[0] <= size <= SIZES[1]:
        raise UsageError(f"size must be from {SIZES[0]} to {SIZES[1]}, not {size}.")


def check_amount(strength: float, vividness: float) -> None:
    """Refuse a factor on chroma or a vividness out of range. Raises UsageError."""
    if not 0 <= strength <= MOST_STRENGTH:
        raise UsageError(f"strength must be from 0 to {MOST_STRENGTH:g}, not {strength:g}.")
    if not 0 <= vividness <= 1:
        raise UsageError(f"vividness must be from 0 to 1, not {vividness:g}.")


def prepare(pixels: Pixels, rule: SizeRule, size: int | None = None) -> Windows:
    """A photograph's lightness at the working size (default: the rule's), in several windows if it is very long.

    Raises:
        PhotoError: it is more than 200 times as long as wide.
    """
    return windows(pixels, rule, size or rule.size)


def infer(
    session: Session, lightness: Sequence[NDArray[np.float32]], controls: Sequence[Controls]
) -> list[Chroma | PhotoError]:
    """Run a network once on windows ``(h, w)`` of one shape, each with its controls.

    An unusable answer becomes the error that says why.

    Raises:
        OutOfMemoryError: the batch does not fit the device.
    """
    answer = np.asarray(session.chroma(np.stack(lightness)[:, None], batched(controls)))
    count = len(lightness)
    planes = session.info.size_rule.planes
    if answer.ndim != 4 or answer.shape[:2] != (count, planes) or 0 in answer.shape or answer.dtype.kind != "f":
        error = PhotoError(f"the network's answer has the wrong shape: {answer.shape}, not ({count}, {planes}, h, w)")
        return [error] * count
    return [_finite(part) for part in answer.astype(np.float32, copy=False)]


def _finite(part: Chroma) -> Chroma | PhotoError:
    if not np.isfinite(part).all():
        return PhotoError("the network's answer holds values that are not numbers (NaN or infinity)")
    return part.copy()


def infer_whole(
    session: Session, layouts: Sequence[Windows], controls: Sequence[Sequence[Controls]]
) -> list[Chroma | PhotoError]:
    """The chroma of whole photographs; windows of one shape are batched.

    A batch that does not fit the device is run one by one; a window that does not fit alone is an error.
    """
    by_shape: dict[tuple[int, int], list[int]] = {}
    for member, layout in enumerate(layouts):
        by_shape.setdefault(layout.shape, []).append(member)
    answers: dict[int, Chroma | PhotoError] = {}
    for members in by_shape.values():
        found = _together(session, [layouts[member] for member in members], [controls[member] for member in members])
        answers.update(zip(members, found, strict=True))
    return [answers[member] for member in range(len(layouts))]


def _together(
    session: Session, layouts: Sequence[Windows], controls: Sequence[Sequence[Controls]]
) -> list[Chroma | PhotoError]:
    lightness = [window for layout in layouts for window in layout.lightness]
    try:
        parts = iter(infer(session, lightness, [one for each in controls for one in each]))
    except OutOfMemoryError as error:
        if len(layouts) > 1:
            pairs = zip(layouts, controls, strict=True)
            return [answer for layout, own in pairs for answer in _together(session, [layout], [own])]
        return [too_large(session, layouts[0].shape, error)]
    return [_blended([next(parts) for _ in layout.lightness], layout) for layout in layouts]


def _blended(parts: Sequence[Chroma | PhotoError], layout: Windows) -> Chroma | PhotoError:
    usable = [part for part in parts if not isinstance(part, PhotoError)]
    if len(usable) < len(parts):
        return next(part for part in parts if isinstance(part, PhotoError))
    return blend(usable, layout)


def too_large(session: Session, shape: tuple[int, int], cause: Exception) -> PhotoError:
    """The error for a window ``(height, width)`` that does not fit the device alone."""
    error = PhotoError(
        f"out of memory: {session.device} has too little for it even alone, at its working size of "
        f"{shape[1]} x {shape[0]}; try a smaller --size or --device cpu"
    )
    error.__cause__ = cause
    return error


class Join:
    """Joins a photograph's own lightness with a network's chroma.

    Args:
        pixels: the photograph ``(H, W)`` or ``(H, W, 3)``, uint8 or uint16, sRGB-encoded.
        chroma: of the whole photograph, at any size.
        bits: of the output.
        strength: factor on the chroma.
        vividness: 0..1, see ``color.vividness``; 0.5 leaves the chroma as it is.
        measured: whether the image is only measured; one without colour is then no error.
        enlarge: how to enlarge the chroma to the photograph's size, by the network's size rule.
        content: of the photograph, if known already.
        other: where the photograph keeps a colour of its own, as in ``images.photo``.
        insist: whether to colour even what would stay neutral, such as a page of text.

    Attributes:
        fidelity: available after the last strip.
        neutral: why the image stays black and white, as a sentence; empty if it is coloured.

    Raises:
        PhotoError: the photograph could hold colour, and the network gave none.
    """

    def __init__(
        self,
        pixels: Pixels,
        chroma: Chroma,
        *,
        bits: Literal[8, 16] = 8,
        strength: float = 1.0,
        vividness: float = NEUTRAL,
        measured: bool = False,
        enlarge: str = SMOOTH,
        content: Content | None = None,
        other: NDArray[np.uint8] | None = None,
        insist: bool = False,
    ) -> None:
        self._enlarge = enlarge
        if vividness != NEUTRAL:
            chroma = changed(chroma, lambda own: vivid(own, vividness))
        self.fidelity = Fidelity()
        self.neutral = ""
        self._least_chroma, self._dark = 0.0, False
        if not measured and strength > 0:
            found = content or content_of(pixels)
            has_room = found.room > LEAST_ROOM
            if found.neutral and not (insist and has_room):
                self.neutral = found.neutral
                # without room for colour, the little chroma that fits is harmless
                chroma = np.zeros_like(chroma[:, :1, :1]) if has_room else chroma
            elif float(np.abs(chroma_of(chroma)).max()) < _LEAST_CHROMA:
                raise PhotoError("got no colour from the network; a gray picture is not written as a result")
            else:
                # only tones between black and white can hold colour: few, on a page that is nearly all paper
                self._least_chroma = _LEAST_MEAN_CHROMA * strength * found.room
                self._dark = found.dark
        if other is not None and pixels.ndim == 3:
            # a kept colour belongs to the photograph's lightness, not to the network's
            self._enlarge = SMOOTH if len(chroma) == 3 else enlarge
            chroma = _with_own_color(chroma, pixels, other, strength)
        self._pixels, self._chroma, self._bits, self._strength = pixels, chroma, bits, strength

    def strips(self, out: Codes | None = None) -> Iterator[Codes]:
        """The image in strips ``(rows, W, 3)`` from the top; views of ``out`` where given.

        Raises:
            PhotoError: before the last strip, if the whole is unusable.
        """
        held: Codes | None = None
        for strip in join_strips(
            self._pixels,
            self._chroma,
            bits=self._bits,
            strength=self._strength,
            fidelity=self.fidelity,
            out=out,
            enlarge=self._enlarge,
        ):
            if held is not None:
                yield held
            held = strip
        if not self.fidelity.max_delta_l <= _MOST_DELTA_L[self._bits]:
            raise PhotoError(f"lost its lightness, which changed by up to {self.fidelity.max_delta_l:.2f} L*")
        if self.fidelity.mean_chroma < self._least_chroma:
            if not self._dark:
                raise PhotoError("came out without any colour; a gray picture is not written as a result")
            self.neutral = "neutral: near-black, where sRGB has next to no colour"
        if held is not None:
            yield held

    def picture(self) -> Codes:
        """The whole image ``(H, W, 3)``. Raises PhotoError as ``strips`` does."""
        out: Codes = np.empty((*self._pixels.shape[:2], 3), np.uint8 if self._bits == 8 else np.uint16)
        for _ in self.strips(out):
            pass
        return out


def color(
    session: Session,
    pixels: Pixels,
    settings: Settings,
    *,
    relative: str = "",
    sample: int = 0,
    size: int | None = None,
    strength: float = 1.0,
    vividness: float = NEUTRAL,
    other: NDArray[np.uint8] | None = None,
) -> Colored:
    """Colour one photograph, at its own depth.

    Args:
        session: the model.
        pixels: ``(H, W)`` or ``(H, W, 3)``, uint8 or uint16, sRGB-encoded.
        settings: of the controls that the model takes, each with one value; see ``controls.choose``.
        relative: the photograph's path relative to the input, in POSIX form; the random code depends on it.
        sample: index of the colouring, from 0.
        size: working size in pixels; None takes the model's own.
        strength: factor on the chroma, 0..2.
        vividness: 0..1; 0.5 leaves the chroma as the network gave it.
        other: where the photograph has a colour of its own that it keeps, as its ``other`` says.

    Raises:
        PhotoError: the network cannot take it, or its answer is unusable.
        UsageError: the size, the strength or the vividness is out of range.
    """
    check(session.info, size=size, strength=strength, vividness=vividness)
    layout = prepare(pixels, session.info.size_rule, size)
    settings = own(settings, relative)
    controls = draw(session.info.controls, settings, relative, sample, layout)
    try:
        (chroma,) = infer_whole(session, [layout], [controls])
    except ColorcliError:
        raise
    except Exception as error:
        raise PhotoError(f"unexpected {type(error).__name__}: {error}") from error
    if isinstance(chroma, PhotoError):
        raise chroma
    chroma = follow(session.info.controls, settings, chroma, layout.whole())
    bits: Literal[8, 16] = 16 if pixels.dtype.itemsize == 2 else 8
    enlarge = session.info.size_rule.enlarge
    made = Join(pixels, chroma, bits=bits, strength=strength, vividness=vividness, enlarge=enlarge, other=other)
    return Colored(made.picture(), made.fidelity)


def _with_own_color(chroma: Chroma, pixels: Pixels, other: NDArray[np.uint8], strength: float) -> Chroma:
    """The chroma in which marked areas keep their own colour at any strength, enlarged to resolve their edges."""
    own, weights = own_color(pixels, other)
    height, width = weights.shape
    large = [np.asarray(Image.fromarray(part).resize((width, height), Image.Resampling.BICUBIC)) for part in chroma]
    made = chroma_of(np.stack(large))
    kept = own / max(strength, 1 / _MOST_KEPT)
    return np.asarray(made * (1 - weights) + kept * weights, np.float32)
