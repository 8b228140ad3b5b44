"""The terms of the training objectives. All return a scalar unless said otherwise."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from colorcli.color.spaces import LUMA601


def distance(kind: str, answer: Tensor, target: Tensor, weight: Tensor | None = None, cells: int = 1) -> Tensor:
    """Distance of each native answer from its target, in each of ``cells`` x ``cells`` cells: ``(N, cells^2)``.

    Args:
        kind: ``mse``, ``l1``, ``smooth_l1`` (quadratic below 0.1), or ``cross_entropy`` of logits against
            probabilities (Zhang et al. 2016, eq. 2).
        answer: ``(N, C, h, w)``.
        target: ``(N, C, h, w)``.
        weight: ``(N, 1, h, w)`` of each pixel, or None.
    """
    if kind == "cross_entropy":
        error = -(target * answer.log_softmax(1)).sum(1, keepdim=True)
    elif kind == "mse":
        error = (answer - target).square()
    elif kind == "l1":
        error = (answer - target).abs()
    else:
        error = F.smooth_l1_loss(answer, target, beta=0.1, reduction="none")
    return F.adaptive_avg_pool2d(error if weight is None else error * weight, cells).mean(1).flatten(1)


def discriminator_gan(kind: str, real: Tensor, fake: Tensor) -> Tensor:
    """The discriminator's loss: ``hinge`` (Lim and Ye 2017; García et al. 2024) or ``bce`` (Goodfellow et al. 2014)."""
    if kind == "hinge":
        return F.relu(1 - real).mean() + F.relu(1 + fake).mean()
    return 0.5 * (F.softplus(-real).mean() + F.softplus(fake).mean())


def discriminator_accuracy(real: Tensor, fake: Tensor) -> Tensor:
    """The share, 0..1, of scores on the right side of zero."""
    return torch.cat((real > 0, fake < 0)).float().mean()


def generator_gan(kind: str, fake: Tensor) -> Tensor:
    """The generator's loss: minus its score (``hinge``), minus log D (``bce``) or log(1 - D) (``minimax``)."""
    if kind == "hinge":
        return -fake.mean()
    return -F.softplus(fake).mean() if kind == "minimax" else F.softplus(-fake).mean()


def prior_divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL divergence, in nats, of a diagonal normal distribution from the standard one, the mean over photographs.

    Kingma and Welling 2014, appendix B. Both are ``(N, length of z)``.
    """
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(1).mean()


def vivid(rgb: Tensor, gain: float) -> Tensor:
    """Scale the chromaticity of sRGB 0..1 by ``gain`` in YUV (García et al. 2024: 1.2), clipped to 0..1."""
    weights = torch.tensor(LUMA601, dtype=rgb.dtype, device=rgb.device).view(1, 3, 1, 1)
    luma = (rgb * weights).sum(1, keepdim=True)
    return (luma + gain * (rgb - luma)).clamp(0, 1)


def diversity_shortfall(outputs: tuple[Tensor, Tensor], codes: tuple[Tensor, Tensor], target: float) -> Tensor:
    """Shortfall of the difference between two colourings of a photograph, given the distance of their codes.

    Chroma is averaged over cells of 1/16 of a side, so that noise does not count as a difference. Neither does a global
    tint, which a code changes most easily: each sample's mean a*, b* is removed, and the distance of the means is added
    to the loss. ``target`` is the wanted distance in CIELAB units for codes at unit distance per dimension; the
    shortfall is relative to it.
    """

    def regions(chroma: Tensor) -> Tensor:
        return F.adaptive_avg_pool2d(chroma - chroma.mean((2, 3), keepdim=True), 16)

    apart = (regions(outputs[0]) - regions(outputs[1])).square().sum(1).add(1e-4).sqrt().mean((1, 2))
    tint = (outputs[0] - outputs[1]).mean((2, 3)).square().sum(1).add(1e-4).sqrt()
    wanted = target * (codes[0] - codes[1]).square().mean(1).sqrt().clamp_min(1e-3)
    return (F.relu(1 - apart / wanted) + tint / wanted).mean()


def distillation(logits: Tensor, teacher: Tensor) -> Tensor:
    """Cross-entropy of the student's logits ``(N, K)`` against the teacher's probabilities."""
    return -(teacher.softmax(1) * logits.log_softmax(1)).sum(1).mean()


def feature_distance(features: tuple[Tensor, ...], truth: tuple[Tensor, ...], *, relative: bool = True) -> Tensor:
    """Mean squared difference of feature maps, averaged over the maps.

    ``relative`` divides each by the truth's mean square; without it the term is that of García et al. 2024, section 3.
    """
    terms = [
        F.mse_loss(ours, theirs) / (theirs.square().mean().clamp_min(1e-6) if relative else 1.0)
        for ours, theirs in zip(features, truth, strict=True)
    ]
    return torch.stack(terms).mean()


def delta_e94(chroma: Tensor, truth: Tensor) -> Tensor:
    """Mean CIE 1994 colour difference (graphic arts) of chroma ``(N, 2, h, w)`` from the truth at equal lightness.

    In CIELAB units. It follows CIEDE2000, the metric to optimize, where that is smooth: the paler the true colour, the
    more an error weighs.
    """
    ours, theirs = (image.square().sum(1).add(1e-3).sqrt() for image in (chroma, truth))
    along = (ours - theirs).square()
    across = ((chroma - truth).square().sum(1) - along).clamp_min(0)
    squares = along / (1 + 0.045 * theirs).square() + across / (1 + 0.015 * theirs).square()
    return squares.add(1e-2).sqrt().mean()


def edge_distance(chroma: Tensor, truth: Tensor) -> Tensor:
    """Mean absolute difference of the steps between neighbouring pixels, at full and at half size, in CIELAB units.

    Blotches on even areas cost as much as edges that are missing or misplaced.
    """
    total = chroma.new_zeros(())
    for _ in range(2):
        difference = chroma - truth
        total = total + difference.diff(dim=2).abs().mean() + difference.diff(dim=3).abs().mean()
        chroma, truth = F.avg_pool2d(chroma, 2), F.avg_pool2d(truth, 2)
    return total / 4


def colorfulness_shortfall(rgb: Tensor) -> Tensor:
    """1 - C / 100, the mean over photographs (Kang et al. 2023).

    C is Hasler and Suesstrunk's colourfulness, as in ``color.metrics``, of sRGB 0..1 ``(N, 3, H, W)``. Colours outside
    sRGB count as displayed, clipped.
    """
    red, green, blue = (255 * rgb.clamp(0, 1)).unbind(1)
    opponents = torch.stack((red - green, (red + green) / 2 - blue), 1).flatten(2)
    # the root of zero, for a gray picture, has no gradient
    spread = opponents.var(2, correction=0).sum(1).add(1e-4).sqrt()
    centre = opponents.mean(2).square().sum(1).add(1e-4).sqrt()
    return 1 - (spread + 0.3 * centre).mean() / 100
