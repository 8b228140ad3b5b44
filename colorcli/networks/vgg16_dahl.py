"""Dahl's residual-encoder pyramid on a frozen VGG-16 (tinyclouds.org/colorize, 2016), as rebuilt by Lin and Ferreira
("Automated Image Colorization Using Deep Learning").

Starting at stride 8, each level is upsampled, a batch-normalized activation of VGG is added, and a convolution follows;
the last level adds the input itself, and the output is UV. The ``lite`` preset is the same pyramid on
EfficientNet-Lite0, with one level more because its finest map has half the resolution.
"""

from __future__ import annotations

from itertools import islice
from typing import Any, ClassVar

import torch
import torchvision
from torch import Tensor, nn

from colorcli.color import tensors as colors
from colorcli.networks.backbones import EfficientNetLite0, imagenet_input
from colorcli.networks.colorizer import Colorizer
from colorcli.networks.efficientnet import LITE_TAPS, conv_block, doubled, lite_taps
from colorcli.networks.size import SizeRule

# Channels of the activations after block1_conv2, block2_conv2, block3_conv3 and block4_conv3, by index in torchvision's
# ``features``.
_VGG_TAPS = {3: 64, 8: 128, 15: 256, 22: 512}


class VGG16Dahl(Colorizer):
    """Pyramid of batch-normalized taps.

    Args:
        backbone: ``vgg16`` or ``efficientnet-lite0-gray``.
        width: channels of the two levels at full resolution, and copies of the input that are added.
    """

    native_space = "uv"
    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "paper": {"backbone": "vgg16", "width": 3},
        "lite": {"backbone": "efficientnet-lite0-gray", "width": 16},
    }

    def __init__(self, backbone: str = "efficientnet-lite0-gray", width: int = 16) -> None:
        super().__init__()
        self.backbone: nn.Module
        if backbone == "vgg16":
            self.backbone = torchvision.models.vgg16(weights=None).features[: max(_VGG_TAPS) + 1]
            channels = tuple(_VGG_TAPS.values())
            self.size_rule = SizeRule(size=224, multiple_of=8)
        elif backbone == "efficientnet-lite0-gray":
            self.backbone = EfficientNetLite0(in_channels=1)
            channels = LITE_TAPS[:-1]
            self.size_rule = SizeRule(size=224, multiple_of=32)
        else:
            raise ValueError(f"there is no backbone '{backbone}' here; there are vgg16 and efficientnet-lite0-gray")
        self.freeze("backbone", backbone)
        coarsest = channels[-1]
        self.top = nn.Sequential(nn.BatchNorm2d(coarsest), *conv_block(coarsest, channels[-2], 1))
        # Each level has as many output channels as the next finer tap, and the last as many as there are input copies.
        taps, outputs = channels[-2::-1], (*channels[-3::-1], width)
        self.norms = nn.ModuleList(nn.BatchNorm2d(tap) for tap in taps)
        self.levels = nn.ModuleList(conv_block(before, after, 3) for before, after in zip(taps, outputs, strict=True))
        self.input_norm = nn.BatchNorm2d(width)
        self.last = conv_block(width, width, 3)
        self.output = nn.Conv2d(width, 2, 3, padding=1)

    size_rule: SizeRule  # type: ignore[misc]

    def forward(self, gray: Tensor) -> Tensor:
        """The paper's input and output: luma Y ``(N, 1, H, W)`` in 0..1 to UV ``(N, 2, H, W)`` in -0.5..0.5."""
        *finer, x = self.taps(gray)
        x = self.top(x)
        for norm, level, tap in zip(self.norms, self.levels, reversed(finer), strict=True):
            x = level(doubled(x) + norm(tap))
        if isinstance(self.backbone, EfficientNetLite0):
            x = doubled(x)
        repeated = gray.expand(-1, self.input_norm.num_features, -1, -1)
        x = self.last(x + self.input_norm(repeated))
        return torch.sigmoid(self.output(x)) - 0.5

    def taps(self, gray: Tensor) -> tuple[Tensor, ...]:
        """The backbone's activations, fine to coarse: strides 1 to 8 for VGG, 2 to 16 for EfficientNet-Lite0."""
        if isinstance(self.backbone, EfficientNetLite0):
            return tuple(islice(lite_taps(self.backbone, gray), 4))
        x, taps = imagenet_input(gray), []
        for index, layer in enumerate(self.backbone.children()):
            x = layer(x)
            if index in _VGG_TAPS:
                taps.append(x)
        return tuple(taps)

    def native(self, lightness: Tensor, **_: Any) -> Tensor:
        answer: Tensor = self(colors.lightness_to_gray(lightness))
        return answer

    def target(self, rgb: Tensor) -> Tensor:
        return colors.srgb_to_yuv(rgb)[:, 1:]

    def to_chroma(self, answer: Tensor, lightness: Tensor) -> Tensor:
        return colors.uv_to_chroma(answer, lightness)
