"""Convolutional and fully connected generator with its discriminator (Zheng et al., "Generative Adversarial Network
based Image Colorization", 2022).

Layers and parameter counts are those of the report's tables 1 and 2; the discriminator's kernel sizes follow from its
counts. The ``lite`` preset differs only in the width of the linear layers.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from colorcli.color import tensors as colors
from colorcli.networks.colorizer import RGBColorizer
from colorcli.networks.size import SizeRule

SIDE = 256


class ConvFCGAN(RGBColorizer):
    """The generator: four convolutions to 3 x 64 x 64, three linear layers, upsampling by four.

    Args:
        hidden: width of the linear layers.
    """

    size_rule = SizeRule(size=SIDE, multiple_of=SIDE, fixed=True)
    presets: ClassVar[dict[str, dict[str, Any]]] = {"paper": {"hidden": 1024}, "lite": {"hidden": 128}}

    def __init__(self, hidden: int = 128) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 6, 3, 2, 1),
            nn.Conv2d(6, 6, 3, 1, 1),
            nn.ReLU(),
            nn.Conv2d(6, 6, 3, 2, 1),
            nn.Conv2d(6, 3, 3, 1, 1),
            nn.ReLU(),
        )
        pixels = 3 * (SIDE // 4) ** 2
        self.linear = nn.Sequential(nn.Linear(pixels, hidden), nn.Linear(hidden, hidden), nn.Linear(hidden, pixels))

    def forward(self, gray: Tensor) -> Tensor:
        """The report's input and output: gray ``(N, 1, 256, 256)`` to RGB ``(N, 3, 256, 256)``, both in 0..1.

        RGB is not clamped in training, since clamped values have no gradient.
        """
        small = self.linear(self.features(gray).flatten(1)).unflatten(1, (3, SIDE // 4, SIDE // 4))
        rgb = F.interpolate(small, scale_factor=4.0, mode="nearest")
        return rgb if self.training else rgb.clamp(0, 1)

    def native(self, lightness: Tensor, **_: Any) -> Tensor:
        answer: Tensor = self(colors.lightness_to_gray(lightness))
        return answer


class Discriminator(nn.Module):
    """The report's discriminator, for RGB at 256 x 256.

    Args:
        width: channels of the first convolution, half of the second's; 64 in the report. Cost is quadratic in width,
            and at 64 many times the generator's.
    """

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, width, 4, 2, 1, bias=False),
            nn.BatchNorm2d(width),
            nn.LeakyReLU(0.2),
            nn.Conv2d(width, 2 * width, 6, 2, 2, bias=False),
            nn.BatchNorm2d(2 * width),
            nn.LeakyReLU(0.2),
            nn.Conv2d(2 * width, 1, 3, 1, 1, bias=False),
            nn.Sigmoid(),
        )
        self.columns = nn.Linear(SIDE // 4, 1)
        self.rows = nn.Linear(SIDE // 4, 1)

    def forward(self, rgb: Tensor) -> Tensor:
        """Logit ``(N,)`` that RGB ``(N, 3, 256, 256)`` is a real photograph."""
        score = self.columns(self.features(rgb)).squeeze(-1)
        out: Tensor = self.rows(score).flatten()
        return out
