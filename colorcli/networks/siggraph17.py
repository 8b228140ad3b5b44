"""Real-time user-guided image colorization with learned deep priors (Zhang et al., SIGGRAPH 2017), as released.

The successor of zhang2016, with colour hints by a person as a second input. It has the earlier network's convolution
groups, shortcuts from the encoder to the decoder, and regression of ab through tanh. Names and shapes are those of the
released file, without the classification head ``model_class``, which the released program does not use.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from colorcli.networks.colorizer import Colorizer
from colorcli.networks.size import SizeRule


def _group(in_channels: int, out_channels: int, convolutions: int, *, dilation: int = 1) -> nn.Sequential:
    """3x3 convolutions with ReLU, then batch norm."""
    layers: list[nn.Module] = []
    for _ in range(convolutions):
        layers += [nn.Conv2d(in_channels, out_channels, 3, 1, dilation, dilation), nn.ReLU()]
        in_channels = out_channels
    return nn.Sequential(*layers, nn.BatchNorm2d(out_channels))


def _up(in_channels: int, out_channels: int) -> nn.Sequential:
    return nn.Sequential(nn.ConvTranspose2d(in_channels, out_channels, 4, 2, 1))


def _shortcut(in_channels: int, out_channels: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(in_channels, out_channels, 3, 1, 1))


def _halved(x: Tensor) -> Tensor:
    """Every second pixel along both sides."""
    return x[:, :, ::2, ::2]


class Siggraph17(Colorizer):
    """The released network; see the module's docstring.

    Args:
        width: channels of the first group, 64 in the released file.
    """

    presets: ClassVar[dict[str, dict[str, Any]]] = {"paper": {"width": 64}}
    size_rule = SizeRule(size=256, multiple_of=8, fixed=True)
    ab_scale = 110.0
    controls = ("hints",)

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        w = width
        self.model1 = _group(4, w, 2)
        self.model2 = _group(w, 2 * w, 2)
        self.model3 = _group(2 * w, 4 * w, 3)
        self.model4 = _group(4 * w, 8 * w, 3)
        self.model5 = _group(8 * w, 8 * w, 3, dilation=2)
        self.model6 = _group(8 * w, 8 * w, 3, dilation=2)
        self.model7 = _group(8 * w, 8 * w, 3)
        self.model8up = _up(8 * w, 4 * w)
        self.model8 = nn.Sequential(nn.ReLU(), *_group(4 * w, 4 * w, 2))
        self.model9up = _up(4 * w, 2 * w)
        self.model9 = nn.Sequential(nn.ReLU(), *_group(2 * w, 2 * w, 1))
        self.model10up = _up(2 * w, 2 * w)
        self.model10 = nn.Sequential(nn.ReLU(), nn.Conv2d(2 * w, 2 * w, 3, 1, 1), nn.LeakyReLU(0.2))
        self.model3short8 = _shortcut(4 * w, 4 * w)
        self.model2short9 = _shortcut(2 * w, 2 * w)
        self.model1short10 = _shortcut(w, 2 * w)
        self.model_out = nn.Sequential(nn.Conv2d(2 * w, 2, 1), nn.Tanh())

    def forward(self, lightness: Tensor, hint_ab: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        """As the released program.

        Args:
            lightness: ``(N, 1, H, W)``, CIE L*, sides multiples of 8.
            hint_ab: ``(N, 2, H, W)``, a* and b* where hints are given, 0 elsewhere; None for no hints.
            mask: ``(N, 1, H, W)``, 1 where hints are given, 0 elsewhere.

        Returns:
            a* and b*, ``(N, 2, H, W)``.
        """
        nothing = torch.zeros_like(lightness)
        hint_ab = nothing.expand(-1, 2, -1, -1) if hint_ab is None else hint_ab
        mask = nothing if mask is None else mask
        x1 = self.model1(torch.cat(((lightness - 50) / 100, hint_ab / self.ab_scale, mask), 1))
        x2 = self.model2(_halved(x1))
        x3 = self.model3(_halved(x2))
        x = self.model7(self.model6(self.model5(self.model4(_halved(x3)))))
        x = self.model8(self.model8up(x) + self.model3short8(x3))
        x = self.model9(self.model9up(x) + self.model2short9(x2))
        x = self.model10(self.model10up(x) + self.model1short10(x1))
        out: Tensor = self.model_out(x) * self.ab_scale
        return out

    def native(self, lightness: Tensor, *, hints: Tensor | None = None, **_: Any) -> Tensor:
        """a*/110 and b*/110 ``(N, 2, H, W)``, within -1..1.

        ``hints`` is ``(N, 3, H, W)``: a*, b* and 1 where hints are given, all 0 elsewhere.
        """
        if hints is None:
            return self.forward(lightness) / self.ab_scale
        return self.forward(lightness, hints[:, :2], hints[:, 2:]) / self.ab_scale
