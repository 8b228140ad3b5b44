"""Long photographs get no seams, and no window that the network cannot take."""

from __future__ import annotations

import numpy as np
import pytest

from colorcli.errors import PhotoError
from colorcli.images.tiles import blend, windows
from colorcli.networks.size import SizeRule


@pytest.mark.parametrize("shape", [(40, 900), (900, 40), (33, 4000), (100, 401)])
@pytest.mark.parametrize("rule", [SizeRule(64, 16), SizeRule(64, 16, fixed=True), SizeRule(64, 16, max_aspect=1.5)])
def test_windows_cover_the_photograph_and_blend_without_seams(shape: tuple[int, int], rule: SizeRule) -> None:
    """What changes smoothly along the photograph changes smoothly in the result."""
    height, width = shape
    along = np.linspace(30, 220, max(shape))
    gray = (np.tile(along, (height, 1)) if width > height else np.tile(along[:, None], (1, width))).astype(np.uint8)
    layout = windows(gray, rule, rule.size)
    assert len(layout.lightness) > 1
    for window in layout.lightness:
        assert window.shape == layout.shape
        assert all(side % 16 == 0 for side in window.shape)
        assert max(window.shape) / min(window.shape) <= rule.max_aspect
        assert not rule.fixed or window.shape == (64, 64)
    assert layout.starts[0] == 0
    assert layout.starts[-1] + layout.shape[layout.axis] == layout.length
    parts = [np.stack([window, -window])[:, ::2, ::2] for window in layout.lightness]
    result = blend(parts, layout)
    assert result.dtype == np.float32
    profile = result[0].mean(axis=1 - layout.axis)
    assert len(profile) == layout.length
    assert np.abs(np.diff(profile)).max() < 1.5
    expected = np.linspace(profile[0], profile[-1], layout.length)
    assert np.abs(profile - expected).max() < 6


def test_windows_that_disagree_are_cross_faded() -> None:
    """Two neighbouring windows of different hue meet without a line."""
    layout = windows(np.full((64, 640), 128, np.uint8), SizeRule(64, 16), 64)
    parts = [np.full((2, 32, 64), 40.0 * (index % 2), np.float32) for index in range(len(layout.starts))]
    assert np.abs(np.diff(blend(parts, layout)[0], axis=1)).max() < 2


def test_ordinary_photographs_are_whole() -> None:
    layout = windows(np.zeros((300, 400), np.uint8), SizeRule(64, 16), 64)
    assert (layout.shape, layout.starts) == ((64, 96), (0,))
    assert windows(np.zeros((1, 1), np.uint8), SizeRule(64, 16), 64).shape == (64, 64)


def test_a_hair_is_refused() -> None:
    """A strip of 30,000 x 1 pixels would become eight million pixels at working size."""
    with pytest.raises(PhotoError, match="30000 times as long"):
        windows(np.zeros((1, 30000), np.uint8), SizeRule(64, 16), 64)
