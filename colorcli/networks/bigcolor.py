"""BigColor: colorization with a generative color prior (Kim et al., ECCV 2022; analysed in IPOL 2024.542).

An encoder E, conditioned on a class code c, turns the gray photograph into a feature map f; the upper half of a BigGAN
generator G turns f into colour, with each block conditioned on [c; z_k]. The ``paper`` preset has the names and shapes
of the released checkpoint. The ``lite`` preset keeps E -> f -> G, the class embedding, the four conditioned upsampling
blocks and the attention, and departs from the paper in four ways: f comes from an EfficientNet-Lite0 that also predicts
the class; its finer feature maps are added to the generator's blocks; the generator ends at half resolution with
chroma, not RGB (lightness is the photograph's own); and a curve compensates for the paleness of regression where
several colours are possible.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from colorcli.color import tensors as colors
from colorcli.networks.backbones import EfficientNetLite0, Features
from colorcli.networks.colorizer import Colorizer
from colorcli.networks.size import SizeRule

CLASS_DIM = 128
Z_DIM = 68
Z_CHUNK = 17
# BigGAN's truncation: the lite network was trained with standard deviations up to 3, and far outside its answers fade.
_Z_LIMIT = 3.5


class _SpectralNorm(nn.Module):
    """Weight divided by its largest singular value, estimated by one power iteration from the stored ``u0``.

    The iterate is stored in training but not in inference (as in BigGAN), so that ``fold`` can divide once. ``sv0``
    holds the last estimate, as in the released files.
    """

    eps = 1e-6
    weight: nn.Parameter
    u0: Tensor
    sv0: Tensor

    def _init_spectral(self, enabled: bool) -> None:
        self.enabled = enabled
        if enabled:
            self.register_buffer("u0", torch.randn(1, self.weight.shape[0]))
            self.register_buffer("sv0", torch.ones(1))

    def normalized(self) -> Tensor:
        if not self.enabled:
            return self.weight
        matrix = self.weight.flatten(1)
        with torch.no_grad():
            v = F.normalize(self.u0 @ matrix, eps=self.eps)
            u = F.normalize(v @ matrix.T, eps=self.eps)
            if self.training:
                self.u0.copy_(u)
        sigma = (v @ matrix.T @ u.T).squeeze()
        if self.training:
            self.sv0.fill_(sigma.detach())
        normalized: Tensor = self.weight / sigma
        return normalized

    def fold(self) -> None:
        """Replace the weight by its normalized value, for inference only."""
        with torch.no_grad():
            self.weight.copy_(self.normalized())
        self.enabled = False


class _Conv(_SpectralNorm):
    def __init__(self, in_channels: int, out_channels: int, kernel: int, bias: bool = True, spectral: bool = True):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels, kernel, kernel))
        nn.init.orthogonal_(self.weight)
        self.bias = nn.Parameter(torch.zeros(out_channels)) if bias else None
        self._init_spectral(spectral)

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.normalized(), self.bias, padding=self.weight.shape[-1] // 2)


class _Linear(_SpectralNorm):
    def __init__(self, in_features: int, out_features: int, spectral: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(out_features, in_features))
        nn.init.orthogonal_(self.weight)
        if not spectral:
            # Without normalization, the condition would drown the features after an orthogonal initialization.
            with torch.no_grad():
                self.weight.mul_(0.3)
        self._init_spectral(spectral)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.normalized())


class ConditionalBatchNorm(nn.Module):
    """Batch norm whose gain (1 + W_g y) and bias (W_b y) are linear in the condition y."""

    def __init__(self, channels: int, condition: int, spectral: bool, momentum: float = 0.1) -> None:
        super().__init__()
        self.momentum = momentum
        self.gain = _Linear(condition, channels, spectral)
        self.bias = _Linear(condition, channels, spectral)
        self.register_buffer("stored_mean", torch.zeros(channels))
        self.register_buffer("stored_var", torch.ones(channels))

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        x = F.batch_norm(x, self.stored_mean, self.stored_var, training=self.training, momentum=self.momentum, eps=1e-5)
        out: Tensor = x * (1 + self.gain(condition))[:, :, None, None] + self.bias(condition)[:, :, None, None]
        return out

    stored_mean: Tensor
    stored_var: Tensor


class _OutputNorm(nn.Module):
    """Plain batch norm under BigGAN's names."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.register_buffer("stored_mean", torch.zeros(channels))
        self.register_buffer("stored_var", torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        return F.batch_norm(x, self.stored_mean, self.stored_var, self.gain, self.bias, self.training, 0.1, 1e-5)

    stored_mean: Tensor
    stored_var: Tensor


class EncoderBlock(nn.Module):
    """Residual block of the encoder, conditioned on the class code; with ``pool`` it halves the resolution."""

    def __init__(self, in_channels: int, out_channels: int, pool: bool = True, dropout: float = 0.2) -> None:
        super().__init__()
        self.pool = pool
        self.conv = _Conv(in_channels, out_channels, 1, spectral=False)
        self.conv_1 = _Conv(in_channels, out_channels, 3, spectral=False)
        self.conv_2 = _Conv(out_channels, out_channels, 3, spectral=False)
        self.normalize_1 = ConditionalBatchNorm(in_channels, CLASS_DIM, spectral=False)
        self.normalize_2 = ConditionalBatchNorm(out_channels, CLASS_DIM, spectral=False)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, code: Tensor) -> Tensor:
        h = F.relu(self.normalize_1(x, code))
        if self.pool:
            h, x = F.avg_pool2d(h, 2), F.avg_pool2d(x, 2)
        h = self.conv_2(F.relu(self.normalize_2(self.conv_1(h), code)))
        out: Tensor = self.dropout(h + self.conv(x))
        return out


class Encoder(nn.Module):
    """The paper's E: five residual blocks, from gray 0..1 ``(N, 1, H, W)`` to f ``(N, 8 ch, H/16, W/16)``."""

    def __init__(self, ch: int) -> None:
        super().__init__()
        widths = (1, ch, 2 * ch, 4 * ch, 8 * ch, 8 * ch)
        for index in range(5):
            block = EncoderBlock(widths[index], widths[index + 1], pool=index > 0, dropout=0.0 if index == 4 else 0.2)
            self.add_module(f"res{index + 1}", block)

    def forward(self, gray: Tensor, code: Tensor) -> Tensor:
        for block in self.children():
            gray = block(gray, code)
        return gray


class BackboneEncoder(nn.Module):
    """The lite encoder: a class-conditional residual block on the backbone's coarsest features."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.block = EncoderBlock(in_channels, out_channels, pool=False, dropout=0.0)

    def forward(self, features: Features, code: Tensor) -> Tensor:
        out: Tensor = self.block(features.s32, code)
        return out


class GeneratorBlock(nn.Module):
    """BigGAN's upsampling block, conditioned on [c; z_k]."""

    def __init__(self, in_channels: int, out_channels: int, spectral: bool) -> None:
        super().__init__()
        condition = CLASS_DIM + Z_CHUNK
        self.conv1 = _Conv(in_channels, out_channels, 3, spectral=spectral)
        self.conv2 = _Conv(out_channels, out_channels, 3, spectral=spectral)
        self.conv_sc = _Conv(in_channels, out_channels, 1, spectral=spectral)
        self.bn1 = ConditionalBatchNorm(in_channels, condition, spectral)
        self.bn2 = ConditionalBatchNorm(out_channels, condition, spectral)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        h = F.interpolate(F.relu(self.bn1(x, condition)), scale_factor=2.0, mode="nearest")
        h = self.conv2(F.relu(self.bn2(self.conv1(h), condition)))
        # A 1x1 convolution commutes with nearest-neighbour upsampling, and is four times cheaper before it.
        out: Tensor = h + F.interpolate(self.conv_sc(x), scale_factor=2.0, mode="nearest")
        return out


class SelfAttention(nn.Module):
    """BigGAN's self-attention, with keys and values max-pooled by two and a learnt gain ``gamma``."""

    def __init__(self, channels: int, spectral: bool) -> None:
        super().__init__()
        self.theta = _Conv(channels, channels // 8, 1, bias=False, spectral=spectral)
        self.phi = _Conv(channels, channels // 8, 1, bias=False, spectral=spectral)
        self.g = _Conv(channels, channels // 2, 1, bias=False, spectral=spectral)
        self.o = _Conv(channels // 2, channels, 1, bias=False, spectral=spectral)
        self.gamma = nn.Parameter(torch.tensor(0.0))

    def forward(self, x: Tensor, _: Tensor | None = None) -> Tensor:
        query = self.theta(x).flatten(2)
        key = F.max_pool2d(self.phi(x), 2).flatten(2)
        value = F.max_pool2d(self.g(x), 2).flatten(2)
        attention = (query.transpose(1, 2) @ key).softmax(-1)
        out = (value @ attention.transpose(1, 2)).unflatten(2, x.shape[-2:])
        mixed: Tensor = self.gamma * self.o(out) + x
        return mixed


class Generator(nn.Module):
    """The upper half of BigGAN-256's generator, from f to an image in -1..1 (RGB) or chroma (lite).

    Args:
        widths: channels of f and after each of the four upsampling blocks.
        attention: index of the block that self-attention follows.
        first: index of the first block in the released checkpoint's numbering.
        out_channels: 3 for RGB, 2 for chroma.
        spectral: whether weights are spectrally normalized.
        laterals: lite only: channels of the feature maps added after each block.
    """

    def __init__(
        self,
        widths: tuple[int, ...],
        attention: int,
        first: int,
        out_channels: int,
        spectral: bool,
        laterals: tuple[int, ...] = (),
    ) -> None:
        super().__init__()
        self.shared = nn.Embedding(1000, CLASS_DIM)
        self.blocks = nn.ModuleDict()
        for index, (before, after) in enumerate(pairwise(widths)):
            stages: list[nn.Module] = [GeneratorBlock(before, after, spectral)]
            if index == attention:
                stages.append(SelfAttention(after, spectral))
            self.blocks[str(first + index)] = nn.ModuleList(stages)
        self.laterals = nn.ModuleList(
            nn.Conv2d(channels, width, 1) for channels, width in zip(laterals, widths[1:], strict=False)
        )
        last = widths[-1]
        self.output_layer = nn.Sequential(_OutputNorm(last), nn.ReLU(), _Conv(last, out_channels, 3, spectral=spectral))

    def forward(self, f: Tensor, code: Tensor, z: Tensor, features: tuple[Tensor, ...] = ()) -> Tensor:
        """f ``(N, C, h, w)``, class code ``(N, 128)``, z ``(N, 68)`` to ``(N, out_channels, 16 h, 16 w)`` in -1..1."""
        for index, (stages, chunk) in enumerate(zip(self.blocks.values(), torch.split(z, Z_CHUNK, 1), strict=True)):
            condition = torch.cat((code, chunk), 1)
            for stage in stages:  # type: ignore[attr-defined]
                f = stage(f, condition)
            if self.laterals:
                f = f + self.laterals[index](features[index])
        return torch.tanh(self.output_layer(f))


class BigColor(Colorizer):
    """BigColor in two presets; see the module's docstring.

    Args:
        preset: ``paper`` (encoder and generator of the released checkpoint) or ``lite``.
        ch: the paper's channel multiplier, 96 for the released weights.
        widths: lite only: channels of f and of the generator's four blocks.
        curve: lite only: (gain, power) of the output curve, by which chroma c becomes gain c (c / 20)^power, in CIELAB
            units. A power above 0 makes colours vivid where the generator is certain and leaves the rest pale. Training
            uses the output before the curve.
    """

    adjustable = ("curve",)
    controls = ("z", "class_index")
    slow_parts = ("classifier",)
    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "paper": {"preset": "paper", "ch": 96},
        "lite": {"preset": "lite", "widths": (256, 176, 112, 64, 32)},
    }

    def __init__(
        self,
        preset: str = "lite",
        ch: int = 96,
        widths: tuple[int, ...] = (256, 176, 112, 64, 32),
        curve: tuple[float, float] = (1.0, 0.0),
    ) -> None:
        super().__init__()
        self.lite = preset == "lite"
        self.curve = curve
        self.native_space = "ab" if self.lite else "rgb"
        self.size_rule = SizeRule(size=256, multiple_of=32 if self.lite else 16)
        self.classifier = EfficientNetLite0(in_channels=1)
        self.E: Encoder | BackboneEncoder
        if self.lite:
            self.E = BackboneEncoder(320, widths[0])
            self.G = Generator(
                tuple(widths),
                attention=1,
                first=2,
                out_channels=2,
                spectral=False,
                laterals=self.classifier.channels[3::-1],
            )
            with torch.no_grad():
                # Training starts from gray, which is a better guess than random saturated colours.
                self.G.output_layer[-1].get_parameter("weight").mul_(0.05)
        else:
            # The released files have no classifier: the authors' one needs a colour photograph.
            self.freeze("classifier", "efficientnet-lite0-gray")
            self.E = Encoder(ch)
            self.G = Generator(
                (8 * ch, 8 * ch, 4 * ch, 2 * ch, ch), attention=1, first=2, out_channels=3, spectral=True
            )

    size_rule: SizeRule  # type: ignore[misc]
    native_space: str  # type: ignore[misc]

    def forward(self, gray: Tensor, z: Tensor | None = None, class_index: Tensor | None = None) -> Tensor:
        """The network's own output: RGB ``(N, 3, H, W)`` in -1..1.

        Args:
            gray: ``(N, 1, H, W)`` gamma-coded gray in 0..1, sides multiples of 16 (lite: 32).
            z: ``(N, 68)``, or the released programs' ``(N, 119)``, of which the last 68 are used; None means zeros.
                Lite: truncated at -3.5 and 3.5.
            class_index: ``(N,)`` ImageNet classes; -1 or None leaves the choice to the classifier.
        """
        if self.lite:
            lightness = colors.gray_to_lightness(gray)
            rgb = colors.with_chroma(lightness, self.chroma(lightness, z=z, class_index=class_index))
            return rgb.clamp(0, 1) * 2 - 1
        code = self.G.shared(self._class(class_index, self._logits(gray, class_index)))
        out: Tensor = self.G(self.E(gray, code), code, self._z(z, gray))
        return out

    def native(
        self, lightness: Tensor, *, z: Tensor | None = None, class_index: Tensor | None = None, **_: Any
    ) -> Tensor:
        """Paper: RGB in -1..1, as ``forward``. Lite: chroma divided by 110, at half the size, after the curve."""
        gray = colors.lightness_to_gray(lightness)
        if not self.lite:
            return self.forward(gray, z, class_index)
        features = self.classifier(gray)
        code = self.G.shared(self._class(class_index, self.classifier.logits(features)))
        return self._curved(self.generate(features, code, self._z(z, gray).clamp(-_Z_LIMIT, _Z_LIMIT)))

    def target(self, rgb: Tensor) -> Tensor:
        return colors.srgb_to_lab(rgb)[:, 1:] / 110 if self.lite else rgb * 2 - 1

    def to_chroma(self, answer: Tensor, lightness: Tensor) -> Tensor:
        return 110 * answer if self.lite else colors.srgb_to_lab((answer + 1) / 2)[:, 1:]

    def as_rgb(self, answer: Tensor, lightness: Tensor) -> Tensor:
        return super().as_rgb(answer, lightness) if self.lite else (answer + 1) / 2

    def generate(self, features: Features, code: Tensor, z: Tensor) -> Tensor:
        """Lite only: chroma divided by 110 ``(N, 2, H/2, W/2)``, before the curve, from features, class code and z."""
        f = self.E(features, code)
        answer: Tensor = self.G(f, code, z, (features.s16, features.s8, features.s4, features.s2))
        return answer

    def _curved(self, answer: Tensor) -> Tensor:
        gain, power = self.curve
        if not power:
            return answer if gain == 1 else gain * answer
        # The added constant keeps the power's slope finite at gray.
        squared = (110 / 20 * answer).square().sum(1, keepdim=True) + 1e-4
        return gain * answer * squared.pow(power / 2)

    def prepare(self) -> None:
        """Fold spectral normalization into the weights; afterwards the network is for inference only."""
        super().prepare()
        for module in self.modules():
            if isinstance(module, _SpectralNorm) and module.enabled:
                module.fold()

    def _logits(self, gray: Tensor, class_index: Tensor | None) -> Tensor | None:
        if class_index is not None and not torch.onnx.is_in_onnx_export() and bool((class_index >= 0).all()):
            return None
        small = F.interpolate(gray, size=(224, 224), mode="bilinear", align_corners=False, antialias=False)
        features = self.classifier(small)
        logits: Tensor = self.classifier.logits(features)
        return logits

    @staticmethod
    def _class(class_index: Tensor | None, logits: Tensor | None) -> Tensor:
        if logits is None:
            assert class_index is not None
            return class_index
        own = logits.argmax(1)
        return own if class_index is None else torch.where(class_index >= 0, class_index, own)

    @staticmethod
    def _z(z: Tensor | None, like: Tensor) -> Tensor:
        if z is None:
            return like.new_zeros(like.shape[0], Z_DIM)
        return z[:, -Z_DIM:]


class Discriminator(nn.Module):
    """BigGAN's discriminator: residual blocks with average pooling, attention, class projection, spectral norm.

    Args:
        ch: channel multiplier, 96 in the paper.
        multipliers: width of each block as a multiple of ``ch``; all but the last block halve the resolution.
        attention: index of the block that self-attention follows.
    """

    def __init__(
        self, ch: int = 96, multipliers: tuple[int, ...] = (1, 2, 4, 8, 8, 16, 16), attention: int = 1
    ) -> None:
        super().__init__()
        widths = (3, *(ch * m for m in multipliers))
        blocks: list[nn.Module] = []
        for index, (before, after) in enumerate(pairwise(widths)):
            blocks.append(_DiscriminatorBlock(before, after, down=index < len(multipliers) - 1, first=index == 0))
            if index == attention:
                blocks.append(SelfAttention(after, spectral=True))
        self.blocks = nn.ModuleList(blocks)
        self.linear = _Conv(widths[-1], 1, 1)
        self.embed = _Embedding(1000, widths[-1])

    def forward(self, rgb: Tensor, class_index: Tensor) -> Tensor:
        """Score ``(N,)`` of RGB ``(N, 3, H, W)`` in -1..1 as a photograph of ``class_index`` ``(N,)``."""
        for block in self.blocks:
            rgb = block(rgb)
        h = F.relu(rgb).sum((2, 3))
        score = self.linear(h[:, :, None, None]).flatten()
        out: Tensor = score + (self.embed(class_index) * h).sum(1)
        return out


class _DiscriminatorBlock(nn.Module):
    def __init__(self, in_channels: int, out_channels: int, down: bool, first: bool) -> None:
        super().__init__()
        self.down, self.first = down, first
        self.conv1 = _Conv(in_channels, out_channels, 3)
        self.conv2 = _Conv(out_channels, out_channels, 3)
        self.conv_sc = _Conv(in_channels, out_channels, 1) if down or in_channels != out_channels else None

    def forward(self, x: Tensor) -> Tensor:
        h = F.relu(self.conv1(x if self.first else F.relu(x)))
        if self.down:
            h, x = self._pooled(h), F.avg_pool2d(x, 2)
        else:
            h = self.conv2(h)
        out: Tensor = h + (x if self.conv_sc is None else self.conv_sc(x))
        return out

    def _pooled(self, x: Tensor) -> Tensor:
        """``conv2`` and average pooling by two as one 4 x 4 convolution of stride 2.

        The result is the same with less than half of the multiplications, and without a full-size map in between.
        """
        kernel = F.pad(self.conv2.normalized(), (1, 1, 1, 1))
        rows = kernel[:, :, 1:] + kernel[:, :, :-1]
        return F.conv2d(x, (rows[..., 1:] + rows[..., :-1]) / 4, self.conv2.bias, stride=2, padding=1)


class _Embedding(_SpectralNorm):
    def __init__(self, classes: int, features: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(classes, features))
        nn.init.orthogonal_(self.weight)
        self._init_spectral(True)

    def forward(self, index: Tensor) -> Tensor:
        return F.embedding(index, self.normalized())
