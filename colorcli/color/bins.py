"""Chroma as classes, and weights for rare colours.

Zhang et al. ("Colorful image colorization", ECCV 2016) predict chroma by classification over the 313 cells of side 10
of the ab plane that lie in the sRGB gamut. This module has the cells, the encoding of a colour as a distribution over
them, and two ways of compensating for rare colours: theirs over the cells, and that of Lin and Ferreira over a fine ab
histogram.

The same encoding for torch tensors, and the decoding, are in ``colorcli.color.tensors``.
"""

from __future__ import annotations

from functools import cache
from importlib import resources
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

HISTOGRAM = 256
"""Cells along each side of an ab histogram; cell (i, j) holds a* from i - 128 and b* from j - 128, up to 1 more."""

NEIGHBOURS = 5
"""Number of nearest bins that encode a colour (Zhang et al., section 2.1)."""

SIGMA = 5.0
"""Standard deviation of the encoding's Gaussian, in CIELAB units (Zhang et al., section 2.1)."""

_CELL = 2.0
_REACH = 130.0


class Bins(NamedTuple):
    """The 313 bins in the released order: ``centres (313, 2)``, a* and b*, and the ``prior (313,)`` over ImageNet.

    The prior is already smoothed: the released training code uses it unchanged (``caffe_traininglayers.py``).
    """

    centres: Array
    prior: Array


class Candidates(NamedTuple):
    """For each cell of a grid over the ab plane, the bins that can be among the nearest to a colour in it.

    Attributes:
        bins: int64 ``(rows * columns, K)``.
        side: side of a cell, in CIELAB units.
        origin: a* and b* of the grid's corner.
        cells: number of cells along each side.
    """

    bins: NDArray[np.int64]
    side: float
    origin: float
    cells: int


@cache
def ab_bins() -> Bins:
    """The published bins and their prior."""
    text = resources.files("colorcli.color").joinpath("ab_bins.csv").read_text(encoding="ascii")
    table = np.loadtxt(text.splitlines(), delimiter=",", skiprows=2)
    table.setflags(write=False)
    return Bins(table[:, :2], table[:, 2])


@cache
def candidates() -> Candidates:
    """Candidates that make finding the nearest bins fast: a dozen per colour instead of 313, with the same result."""
    cells = round(2 * _REACH / _CELL)
    middles = (np.arange(cells) + 0.5) * _CELL - _REACH
    grid = np.stack(np.meshgrid(middles, middles, indexing="ij"), -1).reshape(-1, 2)
    distances = np.sqrt(((grid[:, None] - ab_bins().centres) ** 2).sum(-1))
    # A bin nearest to a point of a cell is at most the cell's diagonal farther from its centre than the nearest there.
    limit = np.partition(distances, NEIGHBOURS - 1, 1)[:, NEIGHBOURS - 1] + np.sqrt(2) * _CELL
    wanted = int((distances <= limit[:, None]).sum(1).max())
    return Candidates(np.argsort(distances, 1, kind="stable")[:, :wanted], _CELL, -_REACH, cells)


def soft_encode(ab: NDArray[np.floating[Any]]) -> tuple[NDArray[np.int64], Array]:
    """Encode chroma by its five nearest bins, weighted by a Gaussian of sigma 5 (Zhang et al., section 2.1).

    Args:
        ab: CIELAB a* and b*, ``(..., 2)``, within -130..130.

    Returns:
        bins ``(..., 5)``, nearest first, and their weights ``(..., 5)``, which sum to 1.
    """
    table = candidates()
    flat = np.asarray(ab, np.float64).reshape(-1, 2)
    cell = np.floor((flat - table.origin) / table.side).clip(0, table.cells - 1).astype(np.int64)
    near = table.bins[cell[:, 0] * table.cells + cell[:, 1]]
    squares = ((flat[:, None] - ab_bins().centres[near]) ** 2).sum(-1)
    order = np.argsort(squares, 1, kind="stable")[:, :NEIGHBOURS]
    near, squares = np.take_along_axis(near, order, 1), np.take_along_axis(squares, order, 1)
    # Relative to the nearest, so that colours far from every bin do not divide zero by zero.
    weights = np.exp((squares[:, :1] - squares) / (2 * SIGMA**2))
    weights /= weights.sum(1, keepdims=True)
    shape = (*np.shape(ab)[:-1], NEIGHBOURS)
    return near.reshape(shape), weights.reshape(shape)


def prior_of(histogram: NDArray[Any], *, sigma: float = 5.0) -> Array:
    """The share ``(313,)`` of each bin in photographs, smoothed like the published prior over ImageNet.

    Zhang et al., section 2.2: every colour counts towards its nearest bin, then a Gaussian spreads the shares.

    Args:
        histogram: number of pixels by a* and b* ``(256, 256)``, see ``HISTOGRAM``.
        sigma: standard deviation of the Gaussian, in CIELAB units; 0 does not smooth.
    """
    middles = np.arange(HISTOGRAM) - HISTOGRAM / 2 + 0.5
    nearest = soft_encode(np.stack(np.meshgrid(middles, middles, indexing="ij"), -1))[0][..., 0]
    counts = np.bincount(nearest.ravel(), np.asarray(histogram, np.float64).ravel(), len(ab_bins().prior))
    if sigma:
        centres = ab_bins().centres
        kernel = np.exp(-((centres[:, None] - centres) ** 2).sum(-1) / (2 * sigma**2))
        # Each column sums to 1, so that no share is lost outside the gamut.
        counts = (kernel / kernel.sum(0)) @ counts
    return np.asarray(counts / counts.sum())


def class_weights(prior: Array | None = None, *, mix: float = 0.5) -> Array:
    """Weights of the 313 classes that compensate for rare colours (Zhang et al., section 2.2, equation 4).

    Args:
        prior: smoothed share of each bin ``(313,)``, as from ``prior_of``; by default ImageNet's.
        mix: lambda, the share of a uniform distribution mixed in, 0..1; 1 weighs all classes alike.

    Returns:
        ``w (313,)`` with w proportional to 1 / ((1 - mix) p + mix / 313) and sum p w = 1, p the prior.
    """
    p = ab_bins().prior if prior is None else np.asarray(prior, np.float64)
    return _rebalanced(p / p.sum(), mix)


def histogram_weights(
    histogram: NDArray[Any], *, mix: float = 0.9, sigma: float = 5.0, width: int = 10
) -> NDArray[np.float64]:
    """Weights over the ab plane that compensate for rare colours (Lin and Ferreira, section 4.1, equation 3).

    Args:
        histogram: number of pixels by a* and b* ``(256, 256)``, see ``HISTOGRAM``.
        mix: lambda, the share of a uniform distribution mixed in, 0..1.
        sigma: standard deviation of the smoothing Gaussian, in cells.
        width: cells along each side of the Gaussian's square window.

    Returns:
        ``v (256, 256)`` with v proportional to 1 / ((1 - mix) p + mix / 2**16) and sum p v = 1, p the smoothed share.

    Raises:
        ValueError: the histogram is empty or of another shape.
    """
    counts = np.asarray(histogram, np.float64)
    if counts.shape != (HISTOGRAM, HISTOGRAM) or not counts.sum() > 0:
        raise ValueError(f"an ab histogram has {HISTOGRAM} x {HISTOGRAM} cells, not all empty; got {counts.shape}")
    cells = np.arange(HISTOGRAM)
    # A window of ten cells has no middle one: the Gaussian is half a cell off-centre, as with SciPy's convolve2d.
    offset = cells[:, None] - cells - (width // 2 - (width - 1) / 2)
    band = np.where(np.abs(offset) <= (width - 1) / 2, np.exp(-(offset**2) / (2 * sigma**2)), 0)
    p = band @ counts @ band.T
    return _rebalanced(p / p.sum(), mix)


def _rebalanced(p: Array, mix: float) -> Array:
    weights = 1 / ((1 - mix) * p + mix / p.size)
    return np.asarray(weights / (p * weights).sum())
