"""Curves with labelled axes: small multiples, one panel for each quantity."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

from PIL import Image, ImageDraw

Points = Sequence[tuple[float, float]]

COLORS = (
    (31, 119, 180),
    (214, 39, 40),
    (44, 160, 44),
    (148, 103, 189),
    (255, 127, 14),
    (23, 190, 207),
    (140, 86, 75),
    (227, 119, 194),
    (120, 120, 120),
    (170, 170, 30),
)
_WIDTH, _HEIGHT, _COLUMNS = 360, 230, 3
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 14, 26, 38
_LINE = 18
_AXIS, _GRID, _TEXT = (120, 120, 120), (228, 228, 228), (60, 60, 60)


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """About ``count`` round numbers from ``low`` to ``high``, whose step is 1, 2 or 5 times a power of ten."""
    span = high - low
    if not (math.isfinite(span) and span > 0):
        return [low]
    rough = span / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * (1 - 1e-9))
    first = math.ceil(low / step - 1e-9)
    return [index * step for index in range(first, math.floor(high / step + 1e-9) + 1)]


def curves(
    series: Mapping[str, Mapping[str, Points]], x_label: str = "step", starts: Sequence[float] = ()
) -> Image.Image:
    """Draw each quantity in its own panel, over a common horizontal axis.

    Args:
        series: for each quantity, its lines by name. If a panel has several, a line has the colour of its name in
            all panels, and a legend follows them.
        x_label: label of the horizontal axis.
        starts: positions where phases begin. Lines break there, except for quantities whose names begin with ``val``,
            which mean the same in all phases.
    """
    names = dict.fromkeys(name for lines in series.values() for name in lines)
    shades = {name: COLORS[index % len(COLORS)] for index, name in enumerate(names)}
    several = any(len(lines) > 1 for lines in series.values())
    rows = (_HEIGHT - _TOP) // _LINE
    cells = len(series) + (-(-len(names) // rows) if several else 0)
    image = Image.new("RGB", (min(_COLUMNS, cells) * _WIDTH, -(-cells // _COLUMNS) * _HEIGHT), "white")
    draw = ImageDraw.Draw(image)
    end = max((x for lines in series.values() for points in lines.values() for x, _ in points), default=1.0) or 1.0
    for index, (quantity, lines) in enumerate(sorted(series.items())):
        breaks = () if quantity.startswith("val") else starts
        colors = shades if several else dict.fromkeys(lines, COLORS[index % len(COLORS)])
        _Panel(draw, _corner(index), lines, end).draw(quantity, x_label, starts, breaks, colors)
    if several:
        for index, (name, shade) in enumerate(shades.items()):
            left, top = _corner(len(series) + index // rows)
            y = top + _TOP + _LINE * (index % rows)
            draw.line([(left + _LEFT, y), (left + _LEFT + 24, y)], fill=shade, width=2)
            draw.text((left + _LEFT + 32, y - 6), name, fill=_TEXT)
    return image


def _corner(index: int) -> tuple[int, int]:
    """The upper left corner of a panel."""
    return (index % _COLUMNS) * _WIDTH, (index // _COLUMNS) * _HEIGHT


class _Panel:
    def __init__(
        self, draw: ImageDraw.ImageDraw, corner: tuple[int, int], lines: Mapping[str, Points], end: float
    ) -> None:
        self._draw, self._lines, self._end = draw, lines, end
        self._box = corner[0] + _LEFT, corner[1] + _TOP, corner[0] + _WIDTH - _RIGHT, corner[1] + _HEIGHT - _BOTTOM
        values = [value for points in lines.values() for _, value in points if math.isfinite(value)] or [0.0]
        low, high = min(values), max(values)
        margin = (high - low) * 0.05 or abs(low) * 0.05 or 1.0
        self._low, self._high = low - margin, high + margin

    def _at(self, x: float, y: float) -> tuple[float, float]:
        left, top, right, bottom = self._box
        return (
            left + x / self._end * (right - left),
            bottom - (y - self._low) / (self._high - self._low) * (bottom - top),
        )

    def draw(
        self,
        name: str,
        x_label: str,
        starts: Sequence[float],
        breaks: Sequence[float],
        colors: Mapping[str, tuple[int, int, int]],
    ) -> None:
        left, top, right, bottom = self._box
        for value in ticks(self._low, self._high):
            y = self._at(0, value)[1]
            self._draw.line([(left, y), (right, y)], fill=_GRID)
            self._text(left - 5, y - 6, f"{value:.4g}", align="right")
        for x in ticks(0, self._end):
            place = self._at(x, self._low)[0]
            self._draw.line([(place, bottom), (place, bottom + 4)], fill=_AXIS)
            self._text(place, bottom + 6, f"{x:.6g}", align="middle")
        for start in starts:
            place = self._at(start, self._low)[0]
            self._draw.line([(place, top), (place, bottom)], fill=(190, 190, 190))
        self._draw.rectangle(self._box, outline=_AXIS)
        self._text(left, top - 18, name.replace("_", " "))
        self._text((left + right) / 2, bottom + 20, x_label, align="middle")
        for label, points in self._lines.items():
            for part in _parts(points, breaks):
                places = [self._at(x, y) for x, y in part if math.isfinite(y)]
                if len(places) == 1:
                    x, y = places[0]
                    self._draw.ellipse((x - 2, y - 2, x + 2, y + 2), fill=colors[label])
                self._draw.line(places, fill=colors[label], width=2)

    def _text(self, x: float, y: float, text: str, align: str = "left") -> None:
        shift = {"left": 0.0, "middle": 0.5, "right": 1.0}[align] * self._draw.textlength(text)
        self._draw.text((x - shift, y), text, fill=_TEXT)


def _parts(points: Points, breaks: Sequence[float]) -> Iterator[Points]:
    """Split points at the breaks."""
    edges = [-math.inf, *breaks, math.inf]
    for low, high in pairwise(edges):
        part = [point for point in points if low < point[0] <= high]
        if part:
            yield part
