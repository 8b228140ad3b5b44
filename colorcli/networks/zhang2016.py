"""Colorful image colorization (Zhang, Isola and Efros, ECCV 2016): classification over 313 ab bins at quarter size.

The ``paper`` preset has the names and shapes of the released PyTorch checkpoint ("eccv16"). The ``lite`` preset keeps
the design - strided convolution groups, dilated ones for context, a 313-way softmax at quarter size decoded by the
annealed mean - and departs from the paper in three ways: an EfficientNet-Lite0 replaces the strided groups; finer
feature maps are added on the way back to quarter size; and the scene's likely ImageNet classes and one self-attention
are added to the context, so that no object is only half coloured.

Logits become chroma in one of two ways, chosen by the argument ``decode``:

- ``annealed-mean``: the mean of the distribution sharpened by a temperature (section 2.3; 0.38 in the paper);
- ``convolution``: the released port's 1x1 convolution 313 -> 2 on the softmax, whose weights are in the checkpoint.
  Cross-entropy does not train it, so it is initialized to the mean at temperature 1.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from colorcli.color import bins
from colorcli.color import tensors as colors
from colorcli.networks.backbones import EfficientNetLite0, Features
from colorcli.networks.colorizer import Colorizer
from colorcli.networks.size import SizeRule

BINS = 313
AB_SCALE = 110.0
DECODINGS = ("annealed-mean", "convolution")


def _group(
    in_channels: int, out_channels: int, convolutions: int, *, stride: int = 1, dilation: int = 1
) -> nn.Sequential:
    """3x3 convolutions with ReLU, the last one strided, then batch norm."""
    layers: list[nn.Module] = []
    for index in range(convolutions):
        step = stride if index == convolutions - 1 else 1
        layers.append(nn.Conv2d(in_channels, out_channels, 3, step, dilation, dilation))
        layers.append(nn.ReLU())
        in_channels = out_channels
    return nn.Sequential(*layers, nn.BatchNorm2d(out_channels))


class Attention(nn.Module):
    """Multi-head self-attention over all positions, added with a learnt gain that starts at 0."""

    def __init__(self, channels: int, heads: int = 4) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.BatchNorm2d(channels)
        self.query_key_value = nn.Conv2d(channels, 3 * channels, 1, bias=False)
        self.out = nn.Conv2d(channels, channels, 1, bias=False)
        self.gain = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        tokens = torch.unflatten(self.query_key_value(self.norm(x)).flatten(2), 1, (3, self.heads, -1))
        query, key, value = tokens.transpose(3, 4).unbind(1)
        mixed = F.scaled_dot_product_attention(query, key, value).transpose(2, 3).flatten(1, 2)
        out: Tensor = x + self.gain * self.out(torch.unflatten(mixed, 2, x.shape[-2:]))
        return out


class _Residual(nn.Module):
    """A residual block: two 3x3 convolutions, the second one dilated."""

    def __init__(self, channels: int, dilation: int = 1) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, channels, 3, 1, 1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, 1, dilation, dilation, bias=False),
            nn.BatchNorm2d(channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.body(x))


class _Up(nn.Module):
    """Doubles the resolution, adds the backbone's map of that resolution, and applies a residual block."""

    def __init__(self, in_channels: int, lateral: int, out_channels: int) -> None:
        super().__init__()
        self.coarse = nn.Conv2d(in_channels, out_channels, 1, bias=False)
        self.fine = nn.Conv2d(lateral, out_channels, 1, bias=False)
        self.norm = nn.BatchNorm2d(out_channels)
        self.block = _Residual(out_channels)

    def forward(self, x: Tensor, lateral: Tensor) -> Tensor:
        # A 1x1 convolution commutes with upsampling, and is four times cheaper before it.
        x = F.interpolate(self.coarse(x), scale_factor=2.0, mode="bilinear", align_corners=False)
        out: Tensor = self.block(F.relu(self.norm(x + self.fine(lateral))))
        return out


class Decoder(nn.Module):
    """From the backbone's features and class logits to 313 logits at stride 4.

    Args:
        channels: channels of the backbone's maps at strides 2 to 32.
        widths: channels at strides 16, 8 and 4.
        code: length of the class code.
    """

    def __init__(self, channels: tuple[int, ...], widths: tuple[int, ...], code: int = 64) -> None:
        super().__init__()
        _, quarter, eighth, sixteenth, coarsest = channels
        wide, middle, narrow = widths
        self.code = nn.Linear(1000, code, bias=False)
        self.scene = nn.Linear(code, wide)
        self.coarsest = nn.Conv2d(coarsest, wide, 1, bias=False)
        self.sixteenth = nn.Conv2d(sixteenth, wide, 1, bias=False)
        self.norm = nn.BatchNorm2d(wide)
        self.context = nn.Sequential(_Residual(wide, dilation=2), Attention(wide), _Residual(wide, dilation=2))
        self.eighth = _Up(wide, eighth, middle)
        self.quarter = _Up(middle, quarter, narrow)
        self.bins = nn.Conv2d(narrow, BINS, 1)
        with torch.no_grad():
            # Training starts from the prior, so that it need not first learn which colours are common.
            self.bins.weight.mul_(0.1)
            assert self.bins.bias is not None
            self.bins.bias.copy_(torch.tensor(bins.ab_bins().prior).log())

    def forward(self, features: Features, logits: Tensor) -> Tensor:
        scene = self.scene(self.code(logits.softmax(1)))[:, :, None, None]
        coarse = F.interpolate(
            self.coarsest(features.s32) + scene, scale_factor=2.0, mode="bilinear", align_corners=False
        )
        x = self.context(F.relu(self.norm(coarse + self.sixteenth(features.s16))))
        out: Tensor = self.bins(self.quarter(self.eighth(x, features.s8), features.s4))
        return out


class Zhang2016(Colorizer):
    """The classification network in two presets; see the module's docstring.

    Args:
        preset: ``paper`` (the released checkpoint's layers) or ``lite``.
        decode: ``annealed-mean`` or ``convolution`` (``paper`` only).
        temperature: temperature of the annealed mean; lower is more vivid and less smooth.
        widths: lite only: channels at strides 16, 8 and 4.

    Raises:
        ValueError: there is no such decoding.
    """

    native_space = "bins"
    slow_parts: ClassVar[tuple[str, ...]] = ("backbone",)
    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "paper": {"preset": "paper", "decode": "convolution"},
        "lite": {"preset": "lite", "decode": "annealed-mean", "temperature": 0.38, "widths": (192, 128, 80)},
    }
    size_rule: SizeRule  # type: ignore[misc]

    def __init__(
        self,
        preset: str = "lite",
        decode: str = "annealed-mean",
        temperature: float = 0.38,
        widths: tuple[int, ...] = (192, 128, 80),
    ) -> None:
        super().__init__()
        self.lite = preset == "lite"
        self.decode, self.temperature = decode, temperature
        if decode not in DECODINGS or (self.lite and decode != "annealed-mean"):
            known = DECODINGS[:1] if self.lite else DECODINGS
            raise ValueError(f"zhang2016 {preset} cannot decode by '{decode}'; it can by {' or '.join(known)}")
        if self.lite:
            self.size_rule = SizeRule(size=256, multiple_of=32)
            self.backbone = EfficientNetLite0(in_channels=1)
            self.decoder = Decoder(self.backbone.channels, tuple(widths))
            return
        self.size_rule = SizeRule(size=256, multiple_of=8, fixed=True)
        self.slow_parts = ()  # type: ignore[misc]
        self.model1 = _group(1, 64, 2, stride=2)
        self.model2 = _group(64, 128, 2, stride=2)
        self.model3 = _group(128, 256, 3, stride=2)
        self.model4 = _group(256, 512, 3)
        self.model5 = _group(512, 512, 3, dilation=2)
        self.model6 = _group(512, 512, 3, dilation=2)
        self.model7 = _group(512, 512, 3)
        self.model8 = nn.Sequential(
            nn.ConvTranspose2d(512, 256, 4, 2, 1),
            nn.ReLU(),
            nn.Conv2d(256, 256, 3, 1, 1),
            nn.ReLU(),
            nn.Conv2d(256, 256, 3, 1, 1),
            nn.ReLU(),
            nn.Conv2d(256, BINS, 1),
        )
        self.model_out = nn.Conv2d(BINS, 2, 1, bias=False).requires_grad_(False)
        with torch.no_grad():
            centres = torch.tensor(bins.ab_bins().centres) / AB_SCALE
            self.model_out.weight.copy_(centres.T[:, :, None, None])

    def forward(self, lightness: Tensor) -> Tensor:
        """As the released program: from L* ``(N, 1, H, W)`` 0..100 to a*, b* ``(N, 2, H, W)``, upsampled bilinearly."""
        answer = self.native(lightness)
        return F.interpolate(self.to_chroma(answer, lightness), scale_factor=4.0, mode="bilinear", align_corners=False)

    def native(self, lightness: Tensor, **_: Any) -> Tensor:
        """Logits ``(N, 313, H/4, W/4)`` over the ab bins."""
        if self.lite:
            features = self.backbone(colors.lightness_to_gray(lightness))
            out: Tensor = self.decoder(features, self.backbone.logits(features))
            return out
        x = (lightness - 50) / 100
        for group in (self.model1, self.model2, self.model3, self.model4, self.model5, self.model6, self.model7):
            x = group(x)
        logits: Tensor = self.model8(x)
        return logits

    def target(self, rgb: Tensor) -> Tensor:
        """A photograph's soft-encoded chroma ``(N, 313, H/4, W/4)``, averaged over blocks of 4x4 pixels."""
        return colors.encode_bins(F.avg_pool2d(colors.srgb_to_lab(rgb)[:, 1:], 4))

    def to_chroma(self, answer: Tensor, lightness: Tensor) -> Tensor:
        if self.decode == "annealed-mean":
            return colors.annealed_mean(answer, self.temperature)
        out: Tensor = self.model_out(answer.softmax(1)) * AB_SCALE
        return out

    def chroma(self, lightness: Tensor, **controls: Any) -> Tensor:
        # The released program enlarges to its working size first, then to the photograph's.
        return super().chroma(lightness) if self.lite else self.forward(lightness)
