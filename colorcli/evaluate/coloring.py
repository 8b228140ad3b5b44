"""Having photographs coloured: which colourings an evaluation needs, and the networks' answers."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from colorcli.errors import PhotoError
from colorcli.evaluate.prepare import Prepared
from colorcli.images.tiles import Windows, blend, checked_chroma
from colorcli.sessions.session import OutOfMemoryError, Session

if TYPE_CHECKING:
    from colorcli.evaluate.prepare import Rgb8

Chroma = NDArray[np.float32]
Code = NDArray[np.float32]


class Take(NamedTuple):
    """One colouring of a photograph.

    Attributes:
        model: whose it is.
        repeat: which seed, or which sample of those for diversity.
        sigma: for diversity, the scale of the random code; None for the colourings that are compared with the original.
    """

    model: str
    repeat: int = 0
    sigma: float | None = None


@dataclass(frozen=True)
class Answer:
    """A network's answer for one photograph.

    Attributes:
        chroma: a*, b* ``(2, h, w)``.
        seconds: that the network took.
        rgb: with ``native``, the picture ``(h, w, 3)`` of a network that answers in RGB, lightness included.
        error: with ``native``, the mean squared error against its target in its own units; NaN for classes.
    """

    chroma: Chroma
    seconds: float = 0.0
    rgb: Rgb8 | None = None
    error: float = float("nan")


def color(session: Session, batch: Sequence[Prepared], codes: Sequence[Code | None]) -> list[Answer | PhotoError]:
    """A network's answers for photographs, each with its random code; what is unusable as the error that says why.

    Photographs whose windows have one shape go through the network together.
    """
    layouts = [prepared.windows[session.info.size_rule] for prepared in batch]
    by_shape: dict[tuple[int, int], list[int]] = {}
    for member, layout in enumerate(layouts):
        by_shape.setdefault(layout.shape, []).append(member)
    answers: dict[int, Answer | PhotoError] = {}
    for members in by_shape.values():
        found = _together(session, [layouts[member] for member in members], [codes[member] for member in members])
        answers.update(zip(members, found, strict=True))
    return [answers[member] for member in range(len(batch))]


def _together(session: Session, layouts: Sequence[Windows], codes: Sequence[Code | None]) -> list[Answer | PhotoError]:
    start = time.perf_counter()
    lightness = np.stack([window for layout in layouts for window in layout.lightness])[:, None]
    z = [code for layout, code in zip(layouts, codes, strict=True) for _ in layout.lightness if code is not None]
    try:
        chroma = session.chroma(lightness, z=np.stack(z) if z else None)
    except OutOfMemoryError as error:
        if len(layouts) == 1:
            return [PhotoError(f"does not fit into the memory of {session.device}: {error}")]
        pairs = zip(layouts, codes, strict=True)
        return [answer for layout, code in pairs for answer in _together(session, [layout], [code])]
    seconds = (time.perf_counter() - start) / len(layouts)
    parts = iter(checked_chroma(chroma, len(lightness)))
    return [_blended([next(parts) for _ in layout.lightness], layout, seconds) for layout in layouts]


def _blended(parts: list[Chroma | PhotoError], layout: Windows, seconds: float) -> Answer | PhotoError:
    usable = [part for part in parts if not isinstance(part, PhotoError)]
    if len(usable) < len(parts):
        return next(part for part in parts if isinstance(part, PhotoError))
    return Answer(blend(usable, layout), seconds)
