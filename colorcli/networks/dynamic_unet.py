"""Building blocks of fastai's dynamic U-Net as modified by DeOldify, and reused by DDColor's pixel decoder.

Names are those in both programs' checkpoints. A layer is convolution, ReLU, batch norm, in this order.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from colorcli.networks.spectral import Spectral, SpectralConv2d


def layer(
    in_channels: int, out_channels: int, kernel: int = 3, *, relu: bool = True, norm: bool = True
) -> nn.Sequential:
    """A spectrally normalized convolution, then ReLU and batch norm; it has a bias if there is no batch norm."""
    parts: list[nn.Module] = [SpectralConv2d(in_channels, out_channels, kernel, bias=not norm)]
    if relu:
        parts.append(nn.ReLU())
    if norm:
        parts.append(nn.BatchNorm2d(out_channels))
    return nn.Sequential(*parts)


class WeightConv2d(nn.Module):
    """A 1x1 convolution with weight normalization: a direction and a length for each output channel."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(out_channels))
        self.weight_g = nn.Parameter(torch.ones(out_channels, 1, 1, 1))
        self.weight_v = nn.Parameter(torch.empty(out_channels, in_channels, 1, 1))
        nn.init.orthogonal_(self.weight_v)

    def forward(self, x: Tensor) -> Tensor:
        length = self.weight_v.flatten(1).norm(dim=1)[:, None, None, None]
        return F.conv2d(x, self.weight_v * (self.weight_g / length), self.bias)


class PixelShuffle(nn.Module):
    """Enlarges a map by ``scale``: 1x1 convolution, ReLU, pixel shuffle, and an average over 2x2 pixels.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        scale: factor on both sides.
        norm: ``batch`` (spectral norm, batch norm), ``spectral`` (no batch norm) or ``weight`` (weight norm only).
    """

    def __init__(self, in_channels: int, out_channels: int, scale: int = 2, norm: str = "batch") -> None:
        super().__init__()
        wide = out_channels * scale**2
        self.scale = scale
        self.conv = (
            nn.Sequential(WeightConv2d(in_channels, wide))
            if norm == "weight"
            else layer(in_channels, wide, 1, relu=False, norm=norm == "batch")
        )

    def forward(self, x: Tensor) -> Tensor:
        x = F.pixel_shuffle(F.relu(self.conv(x)), self.scale)
        return F.avg_pool2d(F.pad(x, (1, 0, 1, 0), mode="replicate"), 2, 1)


class _Projection(Spectral):
    """A 1x1 convolution over flattened positions, without bias."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__((out_channels, in_channels, 1), bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return F.conv1d(x, self.normalized())


class SelfAttention(nn.Module):
    """Self-attention (Zhang et al., ICML 2019) with a learnt gain ``gamma``.

    In the released programs, the weights over the positions of ``query`` sum to 1 for each position of ``key``: keys
    and queries are swapped.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.zeros(1))
        self.query = _Projection(channels, channels // 8)
        self.key = _Projection(channels, channels // 8)
        self.value = _Projection(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        flat = x.flatten(2)
        # with an axis for the one head, without which it cannot be exported
        asking, asked, value = (part(flat).transpose(1, 2)[:, None] for part in (self.key, self.query, self.value))
        mixed = F.scaled_dot_product_attention(asking, asked, value, scale=1.0)[:, 0].transpose(1, 2)
        out: Tensor = self.gamma * torch.unflatten(mixed, 2, x.shape[-2:]) + x
        return out


class UpBlock(nn.Module):
    """Doubles a map and joins it with the encoder's map of that size, in one convolution (``conv``) or two.

    Args:
        in_channels: channels of the coarse map.
        up_channels: channels after doubling its size.
        skip_channels: channels of the encoder's map.
        out_channels: channels of the output.
        deep: whether there are two convolutions, named ``conv1`` and ``conv2``.
        attention: whether self-attention follows the last one.
        any_size: whether the encoder's map may differ in size from the doubled one, after odd sides.
    """

    def __init__(
        self,
        in_channels: int,
        up_channels: int,
        skip_channels: int,
        out_channels: int,
        *,
        deep: bool = False,
        attention: bool = False,
        any_size: bool = False,
    ) -> None:
        super().__init__()
        self.any_size = any_size
        self.shuf = PixelShuffle(in_channels, up_channels)
        self.bn = nn.BatchNorm2d(skip_channels)
        joined = up_channels + skip_channels
        names = ("conv1", "conv2") if deep else ("conv",)
        for name in names:
            self.add_module(name, layer(joined, out_channels))
            joined = out_channels
        if attention:
            self.get_submodule(names[-1]).append(SelfAttention(out_channels))  # type: ignore[operator]
        self._convolutions = names

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        x = self.shuf(x)
        if self.any_size:
            # no-op for equal sizes
            x = F.interpolate(x, size=skip.shape[-2:], mode="nearest")
        x = F.relu(torch.cat((x, self.bn(skip)), 1))
        for name in self._convolutions:
            x = self.get_submodule(name)(x)
        return x
