"""An encoder into the latent space of a frozen BigGAN (Wang, "Using Pre-trained Generators for Image Colorization").

The encoder turns the gray photograph into a latent z; its class comes from a classifier or is given; the generator
makes an image from both. Only the encoder is trained. The image's structure is the generator's, not the photograph's:
that is the paper's finding, and since only chroma is used, it shows as colours that follow no contours.

The paper's six variants differ in ``shrinkage``, in the schedule of the learning rate and in whether the class is
given. ``latents`` implements what it suggests for the future, several latents per photograph: their feature maps are
blended inside the generator by channel weights, as in multi-code GAN inversion (Gu, Shen and Zhou, CVPR 2020).
"""

from __future__ import annotations

import math
from typing import Any, ClassVar, cast

import torch
import torchvision
from torch import Tensor, nn

from colorcli.color import tensors as colors
from colorcli.networks.backbones import EfficientNetLite0, imagenet_input
from colorcli.networks.biggan_deep import BigGANDeep, BigGANDeep128, BigGANLite64
from colorcli.networks.colorizer import RGBColorizer
from colorcli.networks.size import SizeRule

HIDDEN = 512
# Number of quantiles of the distribution that each latent value is compared with.
_PARTS = 16


class BigGANEncoder(RGBColorizer):
    """Encoder, classifier and frozen generator.

    Args:
        preset: ``paper`` (ResNet-50, EfficientNet-B0, BigGAN-deep-128) or ``lite`` (one frozen EfficientNet-Lite0 as
            both feature extractor and classifier, and a BigGAN of 64 px).
        shrinkage: factor on the latents (1, 0.5 and 0.1 in the paper).
        latents: number of latents for one photograph.
        blend_at: index of the generator's layer before which the feature maps of several latents are blended.
    """

    controls = ("class_index",)
    size_rule = SizeRule(size=128, multiple_of=128, fixed=True)
    slow_parts = ("backbone",)
    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "paper": {"preset": "paper", "shrinkage": 1.0, "latents": 1},
        "lite": {"preset": "lite", "shrinkage": 1.0, "latents": 1},
    }

    def __init__(self, preset: str = "lite", shrinkage: float = 1.0, latents: int = 1, blend_at: int = 4) -> None:
        super().__init__()
        if preset not in self.presets:
            raise ValueError(f"there is no preset '{preset}'; there are {', '.join(self.presets)}")
        self.lite = preset == "lite"
        self.shrinkage, self.latents, self.blend_at = shrinkage, latents, blend_at
        self.backbone: nn.Module
        self.generator: BigGANDeep
        if self.lite:
            self.backbone = EfficientNetLite0(in_channels=1)
            self.freeze("backbone", "efficientnet-lite0-gray")
            self.generator = BigGANLite64()
            self.freeze("generator", "biggan-lite-64")
            pooled = 1280
        else:
            self.backbone = torchvision.models.resnet50(weights=None)
            self.backbone.fc = nn.Identity()
            self.classifier = torchvision.models.efficientnet_b0(weights=None)
            self.freeze("classifier", "efficientnet_b0")
            self.generator = BigGANDeep128()
            self.freeze("generator", "biggan-deep-128")
            pooled = 2048
        length = latents * self.generator.latent
        self.hidden = nn.Sequential(nn.Linear(pooled, HIDDEN), nn.BatchNorm1d(HIDDEN), nn.ReLU())
        self.to_latents = nn.Sequential(nn.Linear(HIDDEN, length), nn.BatchNorm1d(length))
        if latents > 1:
            if not 0 < blend_at < len(self.generator.generator.layers):
                last = len(self.generator.generator.layers) - 1
                raise ValueError(f"blend_at must be a layer of the generator from 1 to {last}, not {blend_at}")
            self.channels = self._channels_at(blend_at)
            self.to_weights = nn.Linear(HIDDEN, latents * self.channels)
            # Training starts from the mean of the feature maps.
            nn.init.zeros_(self.to_weights.weight)
            nn.init.constant_(self.to_weights.bias, 1 / latents)

    def forward(self, gray: Tensor, class_index: Tensor | None = None) -> Tensor:
        """The paper's input and output: gray ``(N, 1, 128, 128)`` to RGB ``(N, 3, side, side)``, both in 0..1.

        Args:
            gray: gamma-coded gray, of which the paper's three input channels are copies.
            class_index: int64 ``(N,)``, ImageNet classes; -1 or None leaves the choice to the classifier.
        """
        hidden, logits = self._encode(gray)
        own = logits.argmax(1)
        classes = own if class_index is None else torch.where(class_index >= 0, class_index, own)
        return (self._generate(self._latent(hidden), classes, hidden) + 1) / 2

    def latent(self, gray: Tensor) -> Tensor:
        """The generator's latents ``(N, latents, 128)`` for gray ``(N, 1, 128, 128)`` in 0..1."""
        return self._latent(self._encode(gray)[0])

    def native(self, lightness: Tensor, *, class_index: Tensor | None = None, **_: Any) -> Tensor:
        answer: Tensor = self(colors.lightness_to_gray(lightness), class_index)
        return answer

    def prepare(self) -> None:
        """Fold spectral normalization into the generator's weights; afterwards the network is for inference only."""
        super().prepare()
        self.generator.fold()

    def _encode(self, gray: Tensor) -> tuple[Tensor, Tensor]:
        """The encoder's hidden layer ``(N, 512)`` and the classifier's logits ``(N, 1000)``."""
        if isinstance(self.backbone, EfficientNetLite0):
            pooled = self.backbone.head(self.backbone(gray).s32).mean((2, 3))
            logits = self.backbone.classifier(pooled)
        else:
            x = imagenet_input(gray)
            pooled, logits = self.backbone(x), self.classifier(x)
        return self.hidden(pooled), logits

    def _latent(self, hidden: Tensor) -> Tensor:
        z: Tensor = self.to_latents(hidden).unflatten(1, (self.latents, -1)) * self.shrinkage
        return z

    def _generate(self, z: Tensor, classes: Tensor, hidden: Tensor) -> Tensor:
        """RGB in -1..1 from latents ``(N, latents, 128)``."""
        generator = self.generator
        if self.latents == 1:
            image: Tensor = generator(z[:, 0], classes)
            return image
        weights = self.to_weights(hidden).unflatten(1, (self.latents, self.channels))[..., None, None]
        maps = []
        for code in z.unbind(1):
            condition = generator.condition(code, classes)
            maps.append(generator.run(generator.first(condition), condition, 0, self.blend_at))
        blended = (torch.stack(maps, 1) * weights).sum(1)
        # The remaining layers are conditioned too: on the latents' mean, since none alone represents the blend.
        condition = generator.condition(z.mean(1), classes)
        return generator.image(generator.run(blended, condition, self.blend_at, None))

    def _channels_at(self, layer: int) -> int:
        return cast(int, self.generator.generator.layers[layer - 1].out_channels)


def distance_from_prior(latents: Tensor) -> Tensor:
    """Distance of an encoder's latents from BigGAN's prior, the standard normal truncated at -2 and 2.

    This is the 1-Wasserstein distance of each photograph's values from that distribution, in units of the latents
    (Wang's figure 4 shows the histograms). It is not 0 even for values drawn from the prior: about 0.09 for 128 values.

    Args:
        latents: float ``(N, latents, 128)`` or ``(N, 128)``.

    Returns:
        float ``(N,)``.
    """
    values = latents.flatten(1).float().sort(1).values
    count = values.shape[1]
    # The distance between both quantile functions, averaged over equal shares of probability.
    places = (torch.arange(count * _PARTS, device=values.device) + 0.5) / (count * _PARTS)
    quantiles = math.sqrt(2) * torch.erfinv((2 * places - 1) * math.erf(math.sqrt(2)))
    return (values.repeat_interleave(_PARTS, 1) - quantiles).abs().mean(1)
