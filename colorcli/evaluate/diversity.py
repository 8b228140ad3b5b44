"""How much a model's colours for one photograph vary with the random code."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

_SEGMENTS = 60
_COMPACTNESS = 0.1


def segments(lightness: NDArray[np.float64]) -> NDArray[np.int64]:
    """About 60 regions of even lightness ``(H, W)``, numbered from 0.

    SLIC superpixels (Achanta et al. 2012) of L*/100, so that they follow what is in the gray photograph.
    """
    from skimage.segmentation import slic

    labels = slic(lightness / 100, n_segments=_SEGMENTS, compactness=_COMPACTNESS, channel_axis=None)
    return np.unique(labels, return_inverse=True)[1].reshape(labels.shape).astype(np.int64)


def diversity(samples: Sequence[NDArray[np.float64]], regions: NDArray[np.int64]) -> float:
    """Mean ab distance between samples inside regions, after subtracting each sample's mean ab.

    A tint over the whole image is not diversity and does not count: for a pair of samples it is the mean over
    regions, weighted by their pixels, of the distance between the regions' mean a*, b*; then the mean over pairs.

    Args:
        samples: a*, b* ``(2, H, W)`` of two or more colourings of a photograph.
        regions: ``(H, W)``, numbered from 0.
    """
    sizes = np.bincount(regions.ravel())
    means = []
    for sample in samples:
        centred = sample - sample.mean(axis=(1, 2), keepdims=True)
        sums = [np.bincount(regions.ravel(), channel.ravel(), len(sizes)) for channel in centred]
        means.append(np.stack(sums) / sizes)
    distances = [np.hypot(*(first - second)) @ sizes / sizes.sum() for first, second in combinations(means, 2)]
    return float(np.mean(distances))
