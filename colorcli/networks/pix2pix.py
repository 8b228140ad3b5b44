"""Image-to-image translation with conditional adversarial networks (Isola et al., CVPR 2017), for colorization.

A U-Net generator from L to ab and a 70x70 PatchGAN discriminator on [L, ab]. With eight levels and 64 channels
(``paper``, "unet_256"), names and shapes are those of the released program's ``latest_net_G.pth`` and
``latest_net_D.pth``. Beyer Bruvik and Penfold use it as their second baseline, and its discriminator with their own
generator. The ``lite`` preset is narrower and has one level fewer, so that sides need only be multiples of 128.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from colorcli.networks.colorizer import Colorizer
from colorcli.networks.size import SizeRule


class _UNetBlock(nn.Module):
    """One level of the U-Net around the next: down, ``inner``, up; all but the outermost concatenate their input.

    Args:
        outer_channels: channels of this level's output.
        inner_channels: channels after the convolution that goes down.
        inner: the next level; None for the innermost.
        in_channels: channels of the input, given only for the outermost level.
        dropout: probability of dropout after going up.
    """

    def __init__(
        self,
        outer_channels: int,
        inner_channels: int,
        inner: nn.Module | None,
        *,
        in_channels: int | None = None,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.outermost = in_channels is not None
        down = nn.Conv2d(in_channels or outer_channels, inner_channels, 4, 2, 1, bias=False)
        joined = inner_channels if inner is None else 2 * inner_channels
        up = nn.ConvTranspose2d(joined, outer_channels, 4, 2, 1, bias=self.outermost)
        layers: list[nn.Module] = [down] if self.outermost else [nn.LeakyReLU(0.2), down]
        if inner is not None:
            layers += [inner] if self.outermost else [nn.BatchNorm2d(inner_channels), inner]
        layers += [nn.ReLU(), up, nn.Tanh() if self.outermost else nn.BatchNorm2d(outer_channels)]
        if dropout:
            layers.append(nn.Dropout(dropout))
        self.model = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.model(x)
        return out if self.outermost else torch.cat((x, out), 1)


class Pix2Pix(Colorizer):
    """The U-Net generator in two presets; see the module's docstring.

    Args:
        levels: how often the resolution is halved; sides are multiples of 2**levels.
        ngf: channels of the outermost level, doubled at each of the next three.
        dropout: probability of dropout, in training, in the levels of full width except the innermost (0.5 in released
            programs; Beyer Bruvik and Penfold found 0 best).
        fixed: whether photographs are stretched to a square, as the released programs do.
    """

    ab_scale = 110.0
    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "paper": {"levels": 8, "ngf": 64, "fixed": True},
        "lite": {"levels": 7, "ngf": 20},
    }
    size_rule: SizeRule  # type: ignore[misc]

    def __init__(self, levels: int = 8, ngf: int = 64, dropout: float = 0.0, fixed: bool = False) -> None:
        super().__init__()
        self.size_rule = SizeRule(size=256, multiple_of=2**levels, fixed=fixed)
        block = _UNetBlock(8 * ngf, 8 * ngf, None)
        for _ in range(levels - 5):
            block = _UNetBlock(8 * ngf, 8 * ngf, block, dropout=dropout)
        for width in (4 * ngf, 2 * ngf, ngf):
            block = _UNetBlock(width, 2 * width, block)
        self.model = _UNetBlock(2, ngf, block, in_channels=1)
        _initialize(self)

    def forward(self, x: Tensor) -> Tensor:
        """As the released program: from L*/50 - 1 ``(N, 1, H, W)`` to ab/110 ``(N, 2, H, W)``."""
        out: Tensor = self.model(x)
        return out

    def native(self, lightness: Tensor, **_: Any) -> Tensor:
        """a*/110 and b*/110 ``(N, 2, H, W)``, within -1..1."""
        return self.forward(lightness / 50 - 1)


class Discriminator(nn.Module):
    """PatchGAN (Isola et al., section 3.2.2): judges overlapping patches, 70 x 70 pixels with three layers.

    Args:
        in_channels: 3 for [L, ab].
        ndf: channels of the first layer.
        layers: number of strided convolutions.
    """

    def __init__(self, in_channels: int = 3, ndf: int = 64, layers: int = 3) -> None:
        super().__init__()
        stack: list[nn.Module] = [nn.Conv2d(in_channels, ndf, 4, 2, 1), nn.LeakyReLU(0.2)]
        width = ndf
        for index in range(1, layers + 1):
            wider = ndf * min(2**index, 8)
            stride = 2 if index < layers else 1
            stack += [
                nn.Conv2d(width, wider, 4, stride, 1, bias=False),
                nn.BatchNorm2d(wider),
                nn.LeakyReLU(0.2),
            ]
            width = wider
        stack.append(nn.Conv2d(width, 1, 4, 1, 1))
        self.model = nn.Sequential(*stack)
        _initialize(self)

    def forward(self, image: Tensor) -> Tensor:
        """Logits ``(N, 1, h, w)`` that patches of ``(N, C, H, W)`` are real: 30 x 30 patches for 256 x 256 pixels."""
        out: Tensor = self.model(image)
        return out


def _initialize(network: nn.Module) -> None:
    """Normal weights of standard deviation 0.02 (Isola et al., section 6.2)."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(module.weight, 0, 0.02)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight, 1, 0.02)
