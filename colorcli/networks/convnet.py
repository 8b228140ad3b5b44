"""The plain convolutional baseline of Lin and Ferreira, "Automated Image Colorization Using Deep Learning".

Five strided convolutions are followed by five transposed ones. Each of the first four decoder maps is added to the
encoder's map of the same size; the last is concatenated with the input. Layer widths are those of the authors'
notebook, halved in the ``lite`` preset.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from colorcli.networks.colorizer import Colorizer
from colorcli.networks.size import SizeRule


class ConvNet(Colorizer):
    """Encoder-decoder with additive skips.

    Args:
        encoder: channels after each of the five strided convolutions.
        decoder: channels after each of the five transposed convolutions; the first four are the encoder's, reversed.
    """

    size_rule = SizeRule(size=224, multiple_of=32)
    ab_scale = 128
    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "paper": {"encoder": (64, 128, 256, 512, 1024), "decoder": (512, 256, 128, 64, 32)},
        "lite": {"encoder": (32, 64, 128, 256, 512), "decoder": (256, 128, 64, 32, 16)},
    }

    def __init__(
        self,
        encoder: tuple[int, ...] = (32, 64, 128, 256, 512),
        decoder: tuple[int, ...] = (256, 128, 64, 32, 16),
    ) -> None:
        super().__init__()
        if list(decoder[:-1]) != list(encoder[-2::-1]):
            raise ValueError(f"decoder {decoder} does not mirror encoder {encoder}, so that maps cannot be added")
        self.encoder = nn.ModuleList(_halving(before, after) for before, after in pairwise((1, *encoder)))
        self.decoder = nn.ModuleList(_doubling(before, after) for before, after in pairwise((encoder[-1], *decoder)))
        self.output = nn.Conv2d(decoder[-1] + 1, 2, 1)

    def forward(self, lightness: Tensor) -> Tensor:
        """The paper's input and output: L*/100 ``(N, 1, H, W)`` to ab/128 ``(N, 2, H, W)`` in -1..1."""
        x, skips = lightness, []
        for stage in self.encoder:
            x = stage(x)
            skips.append(x)
        for stage, skip in zip(self.decoder, [*skips[-2::-1], None], strict=True):
            x = stage(x)
            if skip is not None:
                x = x + skip
        return torch.tanh(self.output(torch.cat((x, lightness), 1)))

    def native(self, lightness: Tensor, **_: Any) -> Tensor:
        answer: Tensor = self(lightness / 100)
        return answer


def _halving(before: int, after: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(before, after, 3, 2, 1), nn.BatchNorm2d(after), nn.ReLU())


def _doubling(before: int, after: int) -> nn.Sequential:
    return nn.Sequential(nn.ConvTranspose2d(before, after, 3, 2, 1, output_padding=1), nn.BatchNorm2d(after), nn.ReLU())
