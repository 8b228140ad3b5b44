"""Curves: plotted values must be readable."""

from __future__ import annotations

import numpy as np
import pytest

from colorcli.report.plots import COLORS, curves, ticks


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 2400, [0, 500, 1000, 1500, 2000]),
        (19.3, 22.1, [20, 21, 22]),
        (-0.3, 0.3, [-0.2, 0, 0.2]),
        (0.0101, 0.0139, [0.011, 0.012, 0.013]),
    ],
)
def test_ticks_are_round_numbers(low: float, high: float, expected: list[float]) -> None:
    assert ticks(low, high) == pytest.approx(expected)


def test_a_single_value_without_a_range_is_drawn() -> None:
    assert ticks(3, 3) == [3]
    assert curves({"loss": {"loss": [(0, 1.0)]}}).size[0] > 0


def test_each_line_has_its_colour_and_nan_leaves_a_gap() -> None:
    lines = {"one": [(0, 0.0), (10, 1.0)], "two": [(0, 1.0), (5, float("nan")), (10, 0.0)]}
    picture = np.asarray(curves({"psnr": lines}))
    for color in COLORS[:2]:
        assert (picture == color).all(-1).sum() > 100
    assert not (picture == COLORS[2]).all(-1).any()


def test_a_line_has_the_same_colour_in_every_panel() -> None:
    """A quantity that only some variants have must not show them in the others' colours."""
    rising = [(0.0, 0.0), (10.0, 1.0)]
    picture = np.asarray(curves({"a": {"one": rising, "two": rising[::-1]}, "b": {"two": rising}}))
    panel, legend = picture[:, 360:720], picture[:, 720:]
    assert (panel == COLORS[1]).all(-1).any()
    assert not (panel == COLORS[0]).all(-1).any()
    assert all((legend == color).all(-1).any() for color in COLORS[:2])


def test_the_legend_of_many_variants_is_whole() -> None:
    count = 25
    picture = np.asarray(curves({"a": {f"variant {index}": [(0.0, 1.0)] for index in range(count)}}))
    lines = sum((picture == color).all(-1) for color in COLORS)
    samples = sum(int((lines[y, x : x + 24] == 1).all()) for y in range(len(lines)) for x in (58, 418, 778))
    assert samples == 2 * count + 2  # a sample is two pixels high, and the panel's frame has one of the colours


def test_a_line_breaks_where_a_phase_begins_unless_it_measures_the_same_thing() -> None:
    points = [(1.0, 0.0), (2.0, 1.0), (3.0, 0.0), (4.0, 1.0)]
    ink = {
        name: int((np.asarray(curves({name: {name: points}}, starts=[2.0])) == COLORS[0]).all(-1).sum())
        for name in ("loss", "val_psnr")
    }
    assert ink["loss"] < ink["val_psnr"]
