"""Spectral normalization (Miyato et al., ICLR 2018) with the tensors of PyTorch's ``spectral_norm``.

``weight_orig`` is the weight being trained; ``weight_u`` and ``weight_v`` are the vectors of the last power iteration.
The norm is u W v with the vectors in the file, even if they have not converged.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Spectral(nn.Module):
    """A weight divided by its largest singular value, estimated as u W v from stored vectors.

    In training, one power iteration precedes each use and is stored; in inference the vectors do not change.

    Args:
        shape: shape of the weight, output channels first.
        bias: whether there is a bias.
        eps: smallest length by which the vectors are divided.
    """

    weight_u: Tensor
    weight_v: Tensor

    def __init__(self, shape: tuple[int, ...], bias: bool, eps: float = 1e-12) -> None:
        super().__init__()
        self.eps = eps
        self.bias = nn.Parameter(torch.zeros(shape[0])) if bias else None
        self.weight_orig = nn.Parameter(torch.empty(shape))
        self.register_buffer("weight_u", torch.empty(shape[0]))
        self.register_buffer("weight_v", torch.empty(math.prod(shape[1:])))
        self.folded = False
        # On the meta device, initialization is pointless and takes seconds.
        if not self.weight_orig.is_meta:
            self.initialize()

    @torch.no_grad()
    def initialize(self) -> None:
        """Initialize with orthogonal weights, and vectors that fit them."""
        nn.init.orthogonal_(self.weight_orig)
        self.weight_u.normal_()
        # Without iterations, u W v of a new layer would be near zero and its outputs huge.
        for _ in range(5):
            self._iterate()

    @torch.no_grad()
    def _iterate(self) -> None:
        matrix = self.weight_orig.flatten(1)
        self.weight_v.copy_(F.normalize(torch.mv(matrix.T, self.weight_u), dim=0, eps=self.eps))
        self.weight_u.copy_(F.normalize(torch.mv(matrix, self.weight_v), dim=0, eps=self.eps))

    def normalized(self) -> Tensor:
        """The weight divided by its norm, for use in the layer."""
        if self.folded:
            return self.weight_orig
        # Autocast would round the matrix product, and so the norm, to half precision.
        with torch.autocast("cpu" if self.weight_orig.is_meta else self.weight_orig.device.type, enabled=False):
            if self.training:
                self._iterate()
            # Copies, because the next forward pass overwrites the vectors before this one's gradients are computed.
            u, v = self.weight_u.clone(), self.weight_v.clone()
            sigma = torch.dot(u, torch.mv(self.weight_orig.flatten(1), v))
            weight: Tensor = self.weight_orig / sigma
        return weight

    @torch.no_grad()
    def fold(self) -> None:
        """Replace the weight by its normalized value, for inference only; idempotent."""
        self.weight_orig.copy_(self.normalized())
        self.folded = True


class SpectralConv2d(Spectral):
    """A convolution of odd kernel size that keeps the sides."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int, bias: bool = True, eps: float = 1e-12) -> None:
        super().__init__((out_channels, in_channels, kernel, kernel), bias, eps)

    def forward(self, x: Tensor) -> Tensor:
        weight = self.normalized()
        return F.conv2d(x, weight, self.bias, padding=weight.shape[-1] // 2)


def fold_all(network: nn.Module) -> None:
    """Fold every spectrally normalized layer of a network, for inference only."""
    for module in network.modules():
        if isinstance(module, Spectral):
            module.fold()
