"""The colourings that an evaluation needs, and the networks' answers."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from colorcli.errors import PhotoError
from colorcli.evaluate.prepare import ProtocolImage
from colorcli.networks.size import SMOOTH
from colorcli.pipeline.coloring import Chroma, infer_whole
from colorcli.pipeline.controls import Settings, follow
from colorcli.sessions.session import Controls, Session

if TYPE_CHECKING:
    from colorcli.evaluate.prepare import Rgb8


class Take(NamedTuple):
    """One colouring of a photograph.

    Attributes:
        model: name of the model.
        repeat: index of the seed, or of the sample where diversity is measured.
        sigma: for diversity, the scale of the random code; None for the colourings that are compared with the original.
        rank: for diversity over classes, index into the likeliest classes; -1 for other colourings.
    """

    model: str
    repeat: int = 0
    sigma: float | None = None
    rank: int = -1

    @property
    def spread(self) -> str:
        """The diversity that it is for; empty where it is compared with the original."""
        if self.rank >= 0:
            return "classes"
        return "" if self.sigma is None else f"{self.sigma:g}"


@dataclass(frozen=True)
class Answer:
    """A network's answer for one photograph.

    Attributes:
        chroma: a*, b* ``(2, h, w)``, or sRGB 0..1 ``(3, h, w)`` where ``enlarge`` is in RGB.
        seconds: that the network took.
        rgb: with ``native``, the image ``(h, w, 3)`` of a network that answers in RGB, lightness included.
        enlarge: how the chroma is enlarged to the photograph's size, by the network's size rule.
        error: with ``native``, the mean squared error against its target in its own units; NaN for classes.
    """

    chroma: Chroma
    seconds: float = 0.0
    rgb: Rgb8 | None = None
    error: float = float("nan")
    enlarge: str = SMOOTH


def color(
    session: Session,
    batch: Sequence[ProtocolImage],
    controls: Sequence[Sequence[Controls]],
    settings: Sequence[Settings],
) -> list[Answer | PhotoError]:
    """Run a network on photographs, each with its controls; an unusable answer becomes the error that says why.

    The chroma follows what the ``settings`` of each photograph ask for and the network does not read.
    """
    rule = session.info.size_rule
    layouts = [prepared.windows[rule] for prepared in batch]
    start = time.perf_counter()
    found = infer_whole(session, layouts, controls)
    seconds = (time.perf_counter() - start) / max(1, len(batch))
    names = session.info.controls
    return [
        answer
        if isinstance(answer, PhotoError)
        else Answer(follow(names, chosen, answer, layout.whole()), seconds, enlarge=rule.enlarge)
        for answer, chosen, layout in zip(found, settings, layouts, strict=True)
    ]
