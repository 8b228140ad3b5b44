"""Image colorization using GAN and Inception-ResNet-v2 (Beyer Bruvik and Penfold), and its baseline Deep Koalarization.

A convolutional encoder reduces the size to an eighth; a 1x1 convolution fuses its map with the 1001 class scores of a
frozen Inception-ResNet-v2, repeated at each position; a decoder enlarges by nearest-neighbour upsampling. There are no
skip connections (their table 1). The 21 class maps of a frozen DeepLabV3 are concatenated with the gray input, which
adds a first convolution with 24 channels. The discriminator is ``colorcli.networks.pix2pix.Discriminator``. Without
the maps, the generator is Baldassarre et al.'s Deep Koalarization (2017).

In the ``lite`` presets, widths are three eighths of the paper's, and one frozen gray EfficientNet-Lite0 replaces both
networks: its 1000 ImageNet logits are fused instead of Inception's scores, and the 21 maps come from its 1000 class
scores at each position (its classifier applied before pooling) through a *learnt* 1x1 projection with 21,021
parameters. No fixed table could map its classes to DeepLab's, since ImageNet has over a hundred dog breeds but hardly
any people and no background.

Scores and maps are then one tensor, so removing one keeps the other. For ablations, ``regions`` takes the maps from
another source: 21 clusters of the backbone's features at stride 16, which know nothing of its classes.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from colorcli.color import tensors as colors
from colorcli.environment import needs
from colorcli.errors import ModelError
from colorcli.networks.backbones import EfficientNetLite0, imagenet_input
from colorcli.networks.colorizer import Colorizer
from colorcli.networks.size import SizeRule

SEMANTICS = 1001
MAPS = 21
_INCEPTION_SIDE = 299
_SHARPNESS = 20.0
_ROUNDS = 30


def _convolutions(in_channels: int, layers: tuple[tuple[int, int], ...]) -> nn.Sequential:
    """3x3 convolutions with ReLU, given as (channels, stride) each."""
    stack: list[nn.Module] = []
    for channels, stride in layers:
        stack += [nn.Conv2d(in_channels, channels, 3, stride, 1), nn.ReLU()]
        in_channels = channels
    return nn.Sequential(*stack)


def _decoder(channels: int, dropout: float) -> nn.Sequential:
    """From an eighth of the size to two channels in -1..1: the paper's table 1, right, for ``channels`` = 256."""

    def convolution(before: int, after: int) -> list[nn.Module]:
        return [nn.Conv2d(before, after, 3, 1, 1), nn.ReLU(), *([nn.Dropout(dropout)] if dropout else [])]

    return nn.Sequential(
        *convolution(channels, channels // 2),
        nn.Upsample(scale_factor=2.0),
        *convolution(channels // 2, channels // 4),
        *convolution(channels // 4, channels // 4),
        nn.Upsample(scale_factor=2.0),
        *convolution(channels // 4, channels // 8)[:2],
        nn.Conv2d(channels // 8, 2, 3, 1, 1),
        nn.Tanh(),
        nn.Upsample(scale_factor=2.0),
    )


class InceptionGAN(Colorizer):
    """The generator of Beyer Bruvik and Penfold in two presets; see the module's docstring.

    Args:
        preset: ``paper`` (DeepLabV3 and Inception-ResNet-v2, both frozen) or ``lite`` (one frozen EfficientNet-Lite0).
        width: channels of the fused map, 256 in the paper; all other widths follow from it.
        maps: whether the 21 class maps join the input ("COCO layer" in the paper's ablation).
        semantics: whether the 1001 class scores are fused ("Inception" in the paper's ablation).
        regions: in ``lite``, whether the maps are regions of like features instead of projected class scores; ``fit``
            finds the clusters, which are then frozen.
        dropout: probability after all but the last two convolutions of the decoder, in training (the authors tried 0.2
            and 0.5, and found 0 best).

    Raises:
        ModelError: ``paper`` with ``semantics`` needs the package timm, which is not installed.
    """

    ab_scale = 110.0
    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "paper": {"preset": "paper", "width": 256},
        "lite": {"preset": "lite", "width": 96},
    }
    size_rule: SizeRule  # type: ignore[misc]
    centres: Tensor

    def __init__(
        self,
        preset: str = "lite",
        width: int = 96,
        maps: bool = True,
        semantics: bool = True,
        dropout: float = 0.0,
        regions: bool = False,
    ) -> None:
        super().__init__()
        if regions and preset != "lite":
            raise ValueError("regions are for the preset lite: DeepLabV3 gives the maps of paper")
        self.lite, self.maps, self.semantics = preset == "lite", maps, semantics
        self.fitted = maps and regions
        self.size_rule = SizeRule(size=256, multiple_of=32 if self.lite else 8, fixed=not self.lite)
        first = 3 + MAPS if maps else 1
        quarter, half = width // 4, width // 2
        self.encoder = _convolutions(
            first,
            (
                *(((first, 1),) if maps else ()),
                (quarter, 2),
                (half, 1),
                (half, 2),
                (width, 1),
                (width, 2),
                (2 * width, 1),
                (2 * width, 1),
                (width, 1),
            ),
        )
        self.fusion = nn.Sequential(nn.Conv2d(width + (SEMANTICS if semantics else 0), width, 1), nn.ReLU())
        self.decoder = _decoder(width, dropout)
        self._initialize()
        if self.lite and (maps or semantics):
            self.backbone = EfficientNetLite0(in_channels=1)
            self.freeze("backbone", "efficientnet-lite0-gray")
            if maps and regions:
                self.register_buffer("centres", torch.zeros(MAPS, EfficientNetLite0.channels[3]))
            elif maps:
                self.projection = nn.Conv2d(1000, MAPS, 1)
        elif not self.lite:
            if maps:
                self.segmentation = _deeplab()
                self.freeze("segmentation", "deeplabv3_resnet50")
            if semantics:
                self.inception = _inception()
                self.freeze("inception", "inception_resnet_v2")

    def forward(self, x: Tensor) -> Tensor:
        """From L*/50 - 1 ``(N, 1, H, W)`` to ab/110 ``(N, 2, H, W)``, both in -1..1 like the paper's training data."""
        lightness = (x + 1) * 50
        scores, maps = self._knowledge(colors.lightness_to_gray(lightness))
        if maps is not None:
            x = torch.cat((x, x, x, maps), 1)
        fused = self.encoder(x)
        if scores is not None:
            scene = F.pad(scores, (1, 0))[:, :, None, None]
            fused = torch.cat((fused, scene.expand(-1, -1, *fused.shape[-2:])), 1)
        out: Tensor = self.decoder(self.fusion(fused))
        return out

    def native(self, lightness: Tensor, **_: Any) -> Tensor:
        """a*/110 and b*/110 ``(N, 2, H, W)``, within -1..1."""
        return self.forward(lightness / 50 - 1)

    def _knowledge(self, gray: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """Class scores ``(N, 1000)`` and class maps ``(N, 21, H, W)`` of gray 0..1; None for what is not used."""
        if not self.lite:
            return (
                self._inception_scores(gray) if self.semantics else None,
                self._deeplab_maps(gray) if self.maps else None,
            )
        if not (self.maps or self.semantics):
            return None, None
        features = self.backbone(gray)
        if not self.maps or self.fitted:
            return (
                self.backbone.logits(features) if self.semantics else None,
                self._regions(features.s16, gray) if self.maps else None,
            )
        classifier = self.backbone.classifier
        there = F.conv2d(self.backbone.head(features.s32), classifier.weight[:, :, None, None], classifier.bias)
        maps = F.interpolate(self.projection(there), size=gray.shape[-2:], mode="bilinear", align_corners=False)
        # The classifier is linear, so the mean of its scores is the score of the mean.
        return (there.mean((2, 3)) if self.semantics else None), maps

    def fit(self, lightness: Tensor) -> None:
        """Find the clusters of which the regions are made, by spherical k-means of a sample of photographs."""
        features = self.backbone(colors.lightness_to_gray(lightness)).s16
        self.centres.copy_(_clusters(F.normalize(features).permute(0, 2, 3, 1).flatten(0, 2), MAPS))

    def _regions(self, features: Tensor, gray: Tensor) -> Tensor:
        """How much each position belongs to each cluster, 0..1, at the size of ``gray``."""
        similarity = F.conv2d(F.normalize(features), self.centres[:, :, None, None])
        belongs = (_SHARPNESS * similarity).softmax(1)
        return F.interpolate(belongs, size=gray.shape[-2:], mode="bilinear", align_corners=False)

    def _inception_scores(self, gray: Tensor) -> Tensor:
        side = (_INCEPTION_SIDE, _INCEPTION_SIDE)
        small = F.interpolate(gray, size=side, mode="bilinear", align_corners=False)
        out: Tensor = self.inception((small * 2 - 1).expand(-1, 3, -1, -1))
        return out

    def _deeplab_maps(self, gray: Tensor) -> Tensor:
        maps: Tensor = self.segmentation(imagenet_input(gray))["out"]
        return maps

    def _initialize(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                assert module.bias is not None
                nn.init.zeros_(module.bias)
        # Training starts from gray: initialized like the others, the last layer would saturate tanh in random colours.
        last = self.decoder[-3]
        assert isinstance(last, nn.Conv2d)
        nn.init.normal_(last.weight, std=0.01)


class DeepKoalarization(InceptionGAN):
    """Deep Koalarization (Baldassarre et al. 2017), the paper's first baseline: no class maps."""

    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "paper": {"preset": "paper", "width": 256, "maps": False},
        "lite": {"preset": "lite", "width": 96, "maps": False},
    }


def _clusters(points: Tensor, count: int) -> Tensor:
    """The unit centres ``(count, C)`` of spherical k-means on unit vectors ``(N, C)``, the same on every run.

    It starts from the first point and, each time, the point that is farthest from all centres so far.
    """
    centres = points[:1]
    while len(centres) < count:
        nearest = (points @ centres.T).amax(1)
        centres = torch.cat((centres, points[nearest.argmin()][None]))
    for _ in range(_ROUNDS):
        members = F.one_hot((points @ centres.T).argmax(1), count).to(points.dtype)
        centres = F.normalize(members.T @ points)
    return centres


def _deeplab() -> nn.Module:
    """DeepLabV3-ResNet50 for VOC's labels under torchvision's names, without the auxiliary head used in training."""
    from torchvision.models.segmentation import deeplabv3_resnet50

    network: nn.Module = deeplabv3_resnet50(weights=None, weights_backbone=None, num_classes=MAPS)
    return network


def _inception() -> nn.Module:
    """Inception-ResNet-v2 under timm's names."""
    try:
        import timm
    except ImportError as error:
        raise ModelError(f"Inception-ResNet-v2 {needs('timm', 'train')}") from error
    network: nn.Module = timm.create_model("inception_resnet_v2", pretrained=False)
    return network
