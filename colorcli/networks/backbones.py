"""Feature extractors that several systems share."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Features(NamedTuple):
    """Feature maps at strides 2, 4, 8, 16 and 32, each ``(N, C, H / stride, W / stride)``."""

    s2: Tensor
    s4: Tensor
    s8: Tensor
    s16: Tensor
    s32: Tensor


_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_SD = (0.229, 0.224, 0.225)


def imagenet_input(gray: Tensor) -> Tensor:
    """Gray ``(N, 1, H, W)`` in 0..1 as three channels ``(N, 3, H, W)``, normalized for torchvision's backbones."""
    mean, sd = imagenet_statistics(gray)
    return (gray - mean) / sd


def imagenet_statistics(like: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation ``(1, 3, 1, 1)`` of sRGB 0..1 by which torchvision's backbones normalize."""
    return like.new_tensor(_IMAGENET_MEAN).view(1, 3, 1, 1), like.new_tensor(_IMAGENET_SD).view(1, 3, 1, 1)


def _bn(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.01)


class _SameConv(nn.Conv2d):
    """TensorFlow's "same" padding: for stride 2 on even sides the extra pixel goes to the bottom and right."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__(in_channels, out_channels, kernel, stride, 0, groups=groups, bias=False)
        before, after = (kernel - stride) // 2, (kernel - stride + 1) // 2
        self._pad = (before, after, before, after)

    def forward(self, x: Tensor) -> Tensor:
        x = F.pad(x, self._pad) if any(self._pad) else x
        if self.groups > 1 and self.training and x.device.type == "cpu":
            # On CPUs, the gradient of a depthwise convolution takes five times as long in bfloat16 as in float32.
            with torch.autocast("cpu", enabled=False):
                return super().forward(x.float())
        return super().forward(x)


class _InvertedResidual(nn.Module):
    def __init__(self, in_channels: int, out_channels: int, kernel: int, stride: int, expand: int) -> None:
        super().__init__()
        wide = in_channels * expand
        expansion = [_SameConv(in_channels, wide, 1), _bn(wide), nn.ReLU6()] if expand > 1 else []
        self.body = nn.Sequential(
            *expansion,
            _SameConv(wide, wide, kernel, stride, groups=wide),
            _bn(wide),
            nn.ReLU6(),
            _SameConv(wide, out_channels, 1),
            _bn(out_channels),
        )
        self.residual = stride == 1 and in_channels == out_channels

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.body(x)
        return x + out if self.residual else out


# (expansion, channels, repeats, stride, kernel) of each stage: EfficientNet-B0 without squeeze-and-excitation.
_STAGES = (
    (1, 16, 1, 1, 3),
    (6, 24, 2, 2, 3),
    (6, 40, 2, 2, 5),
    (6, 80, 3, 2, 3),
    (6, 112, 3, 1, 5),
    (6, 192, 4, 2, 5),
    (6, 320, 1, 1, 3),
)


class EfficientNetLite0(nn.Module):
    """EfficientNet-Lite0 (Tan and Le 2019; the "lite" variant without squeeze-and-excitation, with ReLU6).

    Args:
        in_channels: 3 for colour photographs, 1 for gray ones.
    """

    channels = (16, 24, 40, 112, 320)

    def __init__(self, in_channels: int = 3) -> None:
        super().__init__()
        self.stem = nn.Sequential(_SameConv(in_channels, 32, 3, 2), _bn(32), nn.ReLU6())
        self.stages = nn.ModuleList()
        width = 32
        for expand, channels, repeats, stride, kernel in _STAGES:
            blocks = []
            for index in range(repeats):
                blocks.append(_InvertedResidual(width, channels, kernel, stride if index == 0 else 1, expand))
                width = channels
            self.stages.append(nn.Sequential(*blocks))
        self.head = nn.Sequential(_SameConv(320, 1280, 1), _bn(1280), nn.ReLU6())
        self.classifier = nn.Linear(1280, 1000)

    def forward(self, x: Tensor) -> Features:
        """Features of an image ``(N, in_channels, H, W)`` in 0..1 whose sides are multiples of 32."""
        x = self.stem(x * 2 - 1)
        outputs = []
        for stage in self.stages:
            x = stage(x)
            outputs.append(x)
        return Features(outputs[0], outputs[1], outputs[2], outputs[4], outputs[6])

    def logits(self, features: Features) -> Tensor:
        """ImageNet logits ``(N, 1000)`` from the features."""
        out: Tensor = self.classifier(self.head(features.s32).mean((2, 3)))
        return out

    def load_reference(self, state: dict[str, Tensor]) -> None:
        """Load the weights of a published three-channel EfficientNet-Lite0, whose tensors come in the same order.

        With one input channel, the stem's weights are summed over red, green and blue, so that a gray image gives
        exactly the three-channel network's output.

        Raises:
            ValueError: the tensors are not an EfficientNet-Lite0's.
        """
        theirs = [tensor for name, tensor in state.items() if not name.endswith("num_batches_tracked")]
        own = {name: tensor for name, tensor in self.state_dict().items() if not name.endswith("num_batches_tracked")}
        if len(theirs) != len(own):
            raise ValueError(f"expected {len(own)} tensors of an EfficientNet-Lite0, got {len(theirs)}")
        with torch.no_grad():
            for (name, target), source in zip(own.items(), theirs, strict=True):
                value = source
                if name == "stem.0.weight" and target.shape[1] == 1:
                    value = source.sum(1, keepdim=True)
                if value.shape != target.shape:
                    raise ValueError(f"{name}: expected {tuple(target.shape)}, got {tuple(value.shape)}")
                target.copy_(value)


class VGG16Features(nn.Module):
    """The first layers of torchvision's VGG-16, as in BigColor's perceptual loss (García et al. 2024, section 3).

    State dict names are torchvision's; only the first 21 layers are kept.
    """

    TAPS = (1, 2, 13, 20)

    def __init__(self) -> None:
        super().__init__()
        import torchvision

        self.features = torchvision.models.vgg16(weights=None).features[: max(self.TAPS) + 1]
        for layer in self.features:
            if isinstance(layer, nn.ReLU):
                # An in-place activation would change the features taken before it.
                layer.inplace = False

    def forward(self, rgb: Tensor) -> list[Tensor]:
        """Feature maps of sRGB ``(N, 3, H, W)`` in 0..1, at torchvision's layers 1, 2, 13 and 20."""
        mean, sd = imagenet_statistics(rgb)
        x = (rgb - mean) / sd
        taps = []
        for index, layer in enumerate(self.features):
            x = layer(x)
            if index in self.TAPS:
                taps.append(x)
        return taps
