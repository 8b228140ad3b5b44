"""Pyramid decoder on a frozen EfficientNet (Lin and Ferreira, "Automated Image Colorization Using Deep Learning").

Starting from the backbone's top activation, each level is upsampled, the activation after the expansion in a stage's
first block is added, and a convolution follows; the last one also gets the input. The ``lite`` preset is the same
decoder on EfficientNet-Lite0, with the same number of taps at the same strides and after the same layers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn

from colorcli.color import tensors as colors
from colorcli.networks.backbones import EfficientNetLite0, imagenet_input
from colorcli.networks.colorizer import Colorizer
from colorcli.networks.size import SizeRule


class EfficientNet(Colorizer):
    """EfficientNet backbone and pyramid decoder.

    Args:
        backbone: ``efficientnet_b7`` or ``efficientnet-lite0-gray``.
        widths: channels of the decoder's last two levels; the others have as many as the taps.
        space: ``lab`` (from L*/100 to ab/128 in -1..1) or ``uv`` (from Y in 0..1 to U and V in -0.5..0.5).
    """

    size_rule = SizeRule(size=224, multiple_of=32)
    ab_scale = 128
    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "paper": {"backbone": "efficientnet_b7", "widths": (128, 64)},
        "lite": {"backbone": "efficientnet-lite0-gray", "widths": (24, 12)},
    }

    def __init__(
        self, backbone: str = "efficientnet-lite0-gray", widths: tuple[int, int] = (24, 12), space: str = "lab"
    ) -> None:
        super().__init__()
        if space not in ("lab", "uv"):
            raise ValueError(f"there is no space '{space}'; there are lab and uv")
        self.native_space = "ab" if space == "lab" else "uv"
        self.backbone: nn.Module
        if backbone == "efficientnet_b7":
            self.backbone = torchvision.models.efficientnet_b7(weights=None).features
            taps = (2560, 1344, 480, 288, 192)
        elif backbone == "efficientnet-lite0-gray":
            self.backbone = EfficientNetLite0(in_channels=1)
            taps = LITE_TAPS[::-1]
        else:
            raise ValueError(
                f"there is no backbone '{backbone}' here; there are efficientnet_b7, efficientnet-lite0-gray"
            )
        self.freeze("backbone", backbone)
        top, *rest = taps
        self.top = conv_block(top, rest[0], 1)
        outputs = (*rest[1:], widths[0])
        self.levels = nn.ModuleList(conv_block(before, after, 3) for before, after in zip(rest, outputs, strict=True))
        self.last = conv_block(widths[0] + 1, widths[1], 3)
        self.output = nn.Conv2d(widths[1], 2, 3, padding=1)

    native_space: str  # type: ignore[misc]

    def forward(self, luminance: Tensor) -> Tensor:
        """The paper's input and output: L*/100 ``(N, 1, H, W)`` to ab/128 ``(N, 2, H, W)`` in -1..1, or Y to UV."""
        *taps, x = self.taps(luminance)
        x = self.top(x)
        for level, tap in zip(self.levels, reversed(taps), strict=True):
            x = level(doubled(x) + tap)
        x = self.last(torch.cat((doubled(x), luminance), 1))
        answer = torch.tanh(self.output(x))
        return answer if self.native_space == "ab" else answer / 2

    def taps(self, luminance: Tensor) -> Iterator[Tensor]:
        """The backbone's activations at strides 2, 4, 8, 16 and 32 for the network's input ``(N, 1, H, W)``."""
        if isinstance(self.backbone, EfficientNetLite0):
            gray = luminance if self.native_space == "uv" else colors.lightness_to_gray(luminance * 100)
            return lite_taps(self.backbone, gray)
        return b7_taps(self.backbone, imagenet_input(luminance))

    def native(self, lightness: Tensor, **_: Any) -> Tensor:
        luminance = colors.lightness_to_gray(lightness) if self.native_space == "uv" else lightness / 100
        answer: Tensor = self(luminance)
        return answer

    def target(self, rgb: Tensor) -> Tensor:
        return colors.srgb_to_yuv(rgb)[:, 1:] if self.native_space == "uv" else super().target(rgb)

    def to_chroma(self, answer: Tensor, lightness: Tensor) -> Tensor:
        if self.native_space == "uv":
            return colors.uv_to_chroma(answer, lightness)
        return super().to_chroma(answer, lightness)


LITE_TAPS = (96, 144, 240, 672, 1280)


def lite_taps(backbone: EfficientNetLite0, gray: Tensor) -> Iterator[Tensor]:
    """The paper's taps on an EfficientNet-Lite0, with ``LITE_TAPS`` channels at strides 2 to 32.

    The first four are the activations after the expansion in the first block of each stage that halves the resolution;
    the fifth is the top activation. They are computed lazily: a caller who stops early does not pay for the rest.
    ``gray`` is ``(N, 1, H, W)``, gamma-coded, in 0..1.
    """
    stages = (*backbone.stages, backbone.head)
    yield from _taps(stages, backbone.stem(gray * 2 - 1), halving=(1, 2, 3, 5), block="body", expansion=3)


def b7_taps(features: nn.Module, x: Tensor) -> Iterator[Tensor]:
    """Taps with 192, 288, 480, 1344 and 2560 channels at strides 2 to 32, of torchvision's EfficientNet-B7."""
    yield from _taps(features.children(), x, halving=(2, 3, 4, 6), block="block", expansion=1)


def _taps(
    stages: Iterable[nn.Module], x: Tensor, halving: tuple[int, ...], block: str, expansion: int
) -> Iterator[Tensor]:
    """Run ``stages``; yield the map after the first ``expansion`` layers of each one that halves, and the last map."""
    for index, stage in enumerate(stages):
        if index in halving:
            # A block that halves the resolution has no shortcut, so its layers can be run one by one.
            first, *others = stage.children()
            layers = (*first.get_submodule(block).children(), *others)
            for layer in layers[:expansion]:
                x = layer(x)
            yield x
            for layer in layers[expansion:]:
                x = layer(x)
        else:
            x = stage(x)
    yield x


def conv_block(before: int, after: int, kernel: int) -> nn.Sequential:
    """A convolution that keeps the sides, batch norm and ReLU."""
    return nn.Sequential(nn.Conv2d(before, after, kernel, padding=kernel // 2), nn.BatchNorm2d(after), nn.ReLU())


def doubled(x: Tensor) -> Tensor:
    """A map ``(N, C, H, W)`` with both sides doubled by repeating pixels."""
    return F.interpolate(x, scale_factor=2.0, mode="nearest")
