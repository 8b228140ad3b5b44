"""DeOldify (J. Antic, 2018-2019; no paper), as released: a U-Net on a ResNet, with RGB output.

``artistic`` is the "deep" U-Net on ResNet-34, more vivid and less even; ``stable`` is the "wide" one on ResNet-101,
which its author prefers for landscapes and portraits. Names and shapes are those of the released files.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from colorcli.color import tensors as colors
from colorcli.networks.backbones import imagenet_input, imagenet_statistics
from colorcli.networks.colorizer import RGBColorizer
from colorcli.networks.dynamic_unet import PixelShuffle, UpBlock, layer
from colorcli.networks.size import RENDER_BASE, SizeRule
from colorcli.networks.spectral import fold_all

# Channels of the ResNet's taps at strides 2, 4, 8 and 16, and of its last map.
_TAPS = {"resnet34": (64, 64, 128, 256, 512), "resnet101": (64, 256, 512, 1024, 2048)}
_TAPPED = (2, 4, 5, 6)


class _Residual(nn.Module):
    """A residual block: two convolutions with ReLU and bias, without batch norm."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layer(channels, channels, norm=False) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.layers[1](self.layers[0](x))
        return out


class DeOldify(RGBColorizer):
    """The generator in its two released designs; see the module's docstring.

    Args:
        backbone: ``resnet34`` or ``resnet101``.
        deep: two convolutions per decoder block instead of one, and widths that follow from the backbone's.
        width: channels of the decoder if it is not deep; the last block has half of them.
        render_factor: working size in units of 16 pixels: 35 is the released program's 560 pixels.
    """

    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "artistic": {"backbone": "resnet34", "deep": True, "render_factor": 35},
        "stable": {"backbone": "resnet101", "deep": False, "width": 512, "render_factor": 35},
    }
    size_rule: SizeRule  # type: ignore[misc]

    def __init__(
        self, backbone: str = "resnet34", deep: bool = True, width: int = 512, render_factor: int = 35
    ) -> None:
        super().__init__()
        if backbone not in _TAPS:
            raise ValueError(f"DeOldify is built on {' or '.join(_TAPS)}, not on '{backbone}'")
        self.size_rule = SizeRule(size=RENDER_BASE * render_factor, multiple_of=RENDER_BASE, stretch=True)
        from torchvision import models

        *skips, end = _TAPS[backbone]
        resnet = models.get_model_builder(backbone)(weights=None)
        encoder = nn.Sequential(*list(resnet.children())[:-2])
        middle = nn.Sequential(layer(end, 2 * end), layer(2 * end, end))
        blocks, before = [], end
        for index, skip in enumerate(reversed(skips)):
            last = index == len(skips) - 1
            if deep:
                up = before // 2
                joined = up + skip
                out = int((joined // 2 if last else joined) * 1.5)
            else:
                up = out = width // 2 if last else width
            blocks.append(UpBlock(before, up, skip, out, deep=deep, attention=index == 1, any_size=True))
            before = out
        self.layers = nn.ModuleList(
            [
                encoder,
                nn.BatchNorm2d(end),
                nn.ReLU(),
                middle,
                *blocks,
                PixelShuffle(before, before, norm="weight"),
                nn.Identity(),  # where the network's input is concatenated, which has no weights
                _Residual(before + 3),
                layer(before + 3, 3, 1, relu=False, norm=False),
            ]
        )

    def forward(self, x: Tensor) -> Tensor:
        """As the released generator: from ImageNet-normalized RGB ``(N, 3, S, S)`` to the same, within -3..3."""
        encoder, norm, relu, middle, *blocks, shuffle, _, residual, out = self.layers
        taps, h = [], x
        for index, part in enumerate(encoder.children()):
            h = part(h)
            if index in _TAPPED:
                taps.append(h)
        h = middle(relu(norm(h)))
        for block, skip in zip(blocks, reversed(taps), strict=True):
            h = block(h, skip)
        h = residual(torch.cat((shuffle(h), x), 1))
        answer: Tensor = out(h).sigmoid() * 6 - 3
        return answer

    def native(self, lightness: Tensor, **_: Any) -> Tensor:
        """sRGB ``(N, 3, S, S)``, nominally 0..1.

        The gray is rounded to 8 bits, which is what the released program's network sees. Its output is truncated to 8
        bits: after a difference of 1e-7 in the gray, some code values would be others.
        """
        mean, sd = imagenet_statistics(lightness)
        gray = (colors.lightness_to_gray(lightness) * 255).round() / 255
        return self.forward(imagenet_input(gray)) * sd + mean

    def prepare(self) -> None:
        """Fold spectral normalization into the weights; afterwards the network is for inference only."""
        super().prepare()
        fold_all(self)
