"""The terms of the training objectives. All return a scalar unless said otherwise."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from colorcli.train.data import LUMA601


def chroma_error(chroma: Tensor, truth: Tensor) -> Tensor:
    """Smooth L1 distance of chroma ``(N, 2, h, w)`` in units of 110, for each photograph: ``(N,)``."""
    return F.smooth_l1_loss(chroma / 110, truth / 110, beta=0.1, reduction="none").mean((1, 2, 3))


def discriminator_hinge(real: Tensor, fake: Tensor) -> Tensor:
    """Hinge loss of the discriminator (Lim and Ye 2017; 004, section 3)."""
    return F.relu(1 - real).mean() + F.relu(1 + fake).mean()


def vivid(rgb: Tensor, gain: float) -> Tensor:
    """Scale the chromaticity of sRGB 0..1 by ``gain`` in YUV (004: 1.2), clipped to 0..1."""
    weights = torch.tensor(LUMA601, dtype=rgb.dtype, device=rgb.device).view(1, 3, 1, 1)
    luma = (rgb * weights).sum(1, keepdim=True)
    return (luma + gain * (rgb - luma)).clamp(0, 1)


def diversity_shortfall(outputs: tuple[Tensor, Tensor], codes: tuple[Tensor, Tensor], target: float) -> Tensor:
    """How far two colourings of a photograph are from differing enough, given how far their codes are apart.

    Each sample's mean a*, b* is removed first, so that a global tint does not count, and chroma is averaged over
    cells of 1/16 of a side, so that noise does not count. ``target`` is the wanted distance in CIELAB units for
    codes at unit distance a dimension; the shortfall is relative to it.
    """

    def regions(chroma: Tensor) -> Tensor:
        return F.adaptive_avg_pool2d(chroma - chroma.mean((2, 3), keepdim=True), 16)

    apart = (regions(outputs[0]) - regions(outputs[1])).square().sum(1).add(1e-4).sqrt().mean((1, 2))
    wanted = target * (codes[0] - codes[1]).square().mean(1).sqrt()
    return F.relu(1 - apart / wanted).mean()


def distillation(logits: Tensor, teacher: Tensor) -> Tensor:
    """Cross-entropy of the student's logits ``(N, K)`` against the teacher's probabilities."""
    return -(teacher.softmax(1) * logits.log_softmax(1)).sum(1).mean()


def feature_distance(features: tuple[Tensor, ...], truth: tuple[Tensor, ...]) -> Tensor:
    """Mean squared difference of feature maps, each relative to the truth's mean square, averaged over the maps."""
    terms = [
        F.mse_loss(ours, theirs) / theirs.square().mean().clamp_min(1e-6)
        for ours, theirs in zip(features, truth, strict=True)
    ]
    return torch.stack(terms).mean()
