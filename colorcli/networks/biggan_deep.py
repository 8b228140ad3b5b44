"""BigGAN-deep's generator (Brock, Donahue and Simonyan, ICLR 2019), and a discriminator for training a small one.

``BigGANDeep128`` has the names, shapes and outputs of the released PyTorch conversion. ``BigGANLite64`` is the same
design at 64 px, small enough to be trained on a few thousand photographs. Its classes are described by a few numbers
each, since a thousand embeddings learnt from a dozen photographs each would only memorize them.
"""

from __future__ import annotations

import itertools
import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from colorcli.networks import bigcolor
from colorcli.networks.spectral import Spectral, fold_all

CLASSES = 1000
_EPS = 1e-4


class _Conv(Spectral):
    def __init__(self, in_channels: int, out_channels: int, kernel: int, bias: bool = True) -> None:
        super().__init__((out_channels, in_channels, kernel, kernel), bias, _EPS)

    def forward(self, x: Tensor, up: bool = False) -> Tensor:
        """Convolve ``x``; with ``up``, after doubling its sides by repeating pixels (3 x 3 kernels only)."""
        weight = self.normalized()
        if not up:
            return F.conv2d(x, weight, self.bias, padding=weight.shape[-1] // 2)
        if not self.training:
            return F.conv2d(F.interpolate(x, scale_factor=2.0, mode="nearest"), weight, self.bias, padding=1)
        # The same result with less than half of the multiplications: each pixel affects 4 x 4 of the larger map.
        kernel = F.pad(weight.flip(2, 3).transpose(0, 1), (1, 1, 1, 1))
        rows = kernel[:, :, 1:] + kernel[:, :, :-1]
        return F.conv_transpose2d(x, rows[..., 1:] + rows[..., :-1], self.bias, stride=2, padding=1)


class _Linear(Spectral):
    def __init__(self, in_features: int, out_features: int, bias: bool = False) -> None:
        super().__init__((out_features, in_features), bias, _EPS)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.normalized(), self.bias)


class _BatchNorm(nn.Module):
    """Batch norm with one row of statistics for each truncation between 0 and 1; training updates the last row."""

    running_means: Tensor
    running_vars: Tensor
    momentum = 0.1

    def __init__(self, channels: int, rows: int) -> None:
        super().__init__()
        self.register_buffer("running_means", torch.zeros(rows, channels))
        self.register_buffer("running_vars", torch.ones(rows, channels))

    def normalized(
        self, x: Tensor, truncation: float, weight: Tensor | None = None, bias: Tensor | None = None
    ) -> Tensor:
        if self.training:
            mean, var = self.running_means[-1], self.running_vars[-1]
            return F.batch_norm(x, mean, var, weight, bias, training=True, momentum=self.momentum, eps=_EPS)
        mean, var = self._row(self.running_means, truncation), self._row(self.running_vars, truncation)
        return F.batch_norm(x, mean, var, weight, bias, eps=_EPS)

    @staticmethod
    def _row(table: Tensor, truncation: float) -> Tensor:
        if len(table) == 1:
            return table[0]
        share, row = math.modf(truncation / (1 / (len(table) - 1)))
        if share == 0:
            return table[int(row)]
        # The nearer row gets the smaller weight: the released program does so, and its outputs depend on it.
        return torch.lerp(table[int(row) + 1], table[int(row)], share)


class _ConditionalNorm(_BatchNorm):
    """Gain 1 + W_s y and offset W_o y are linear in the condition y."""

    def __init__(self, channels: int, rows: int, condition: int) -> None:
        super().__init__(channels, rows)
        self.scale = _Linear(condition, channels)
        self.offset = _Linear(condition, channels)

    def forward(self, x: Tensor, condition: Tensor, truncation: float) -> Tensor:
        gain, offset = 1 + self.scale(condition), self.offset(condition)
        return torch.addcmul(offset[:, :, None, None], self.normalized(x, truncation), gain[:, :, None, None])


class _OutputNorm(_BatchNorm):
    def __init__(self, channels: int, rows: int) -> None:
        super().__init__(channels, rows)
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor, truncation: float) -> Tensor:
        return self.normalized(x, truncation, self.weight, self.bias)


class _Block(nn.Module):
    """Bottleneck block: 1x1, 3x3, 3x3, 1x1; the shortcut keeps the first channels, and is upsampled if ``up``."""

    def __init__(self, in_channels: int, out_channels: int, up: bool, rows: int, condition: int) -> None:
        super().__init__()
        self.up, self.out_channels = up, out_channels
        middle = in_channels // 4
        self.bn_0 = _ConditionalNorm(in_channels, rows, condition)
        self.conv_0 = _Conv(in_channels, middle, 1)
        self.bn_1 = _ConditionalNorm(middle, rows, condition)
        self.conv_1 = _Conv(middle, middle, 3)
        self.bn_2 = _ConditionalNorm(middle, rows, condition)
        self.conv_2 = _Conv(middle, middle, 3)
        self.bn_3 = _ConditionalNorm(middle, rows, condition)
        self.conv_3 = _Conv(middle, out_channels, 1)

    def forward(self, x: Tensor, condition: Tensor, truncation: float) -> Tensor:
        h = self.conv_0(F.relu(self.bn_0(x, condition, truncation), inplace=True))
        h = self.conv_1(F.relu(self.bn_1(h, condition, truncation), inplace=True), self.up)
        h = self.conv_2(F.relu(self.bn_2(h, condition, truncation), inplace=True))
        h = self.conv_3(F.relu(self.bn_3(h, condition, truncation), inplace=True))
        out: Tensor = h + self._resized(_first(x, self.out_channels))
        return out

    def _resized(self, x: Tensor) -> Tensor:
        return F.interpolate(x, scale_factor=2.0, mode="nearest") if self.up else x


def _first(x: Tensor, channels: int) -> Tensor:
    """The first channels of a feature map."""
    if x.shape[1] == channels:
        return x
    if torch.jit.is_tracing():  # type: ignore[attr-defined, no-untyped-call]
        return x[:, :channels]
    # Negative padding, because the gradient of a slice has another memory layout, which is slow.
    return F.pad(x, (0, 0, 0, 0, 0, channels - x.shape[1]))


class _Attention(nn.Module):
    """Self-attention with keys and values max-pooled by two, and a learnt gain ``gamma``."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.out_channels = channels
        self.gamma = nn.Parameter(torch.zeros(1))
        self.snconv1x1_theta = _Conv(channels, channels // 8, 1, bias=False)
        self.snconv1x1_phi = _Conv(channels, channels // 8, 1, bias=False)
        self.snconv1x1_g = _Conv(channels, channels // 2, 1, bias=False)
        self.snconv1x1_o_conv = _Conv(channels // 2, channels, 1, bias=False)

    def forward(self, x: Tensor, condition: Tensor, truncation: float) -> Tensor:
        query = _rows(self.snconv1x1_theta(x))
        key = _rows(F.max_pool2d(self.snconv1x1_phi(x), 2))
        value = _rows(F.max_pool2d(self.snconv1x1_g(x), 2))
        seen = (query @ key.transpose(1, 2)).softmax(-1) @ value
        picture: Tensor = seen.transpose(1, 2).unflatten(2, x.shape[-2:])  # type: ignore[no-untyped-call]
        out: Tensor = x + self.gamma * self.snconv1x1_o_conv(picture)
        return out


def _rows(x: Tensor) -> Tensor:
    """A feature map ``(N, C, H, W)`` as ``(N, H W, C)``, without copying in ``channels_last``."""
    return x.permute(0, 2, 3, 1).flatten(1, 2)


class _Layers(nn.Module):
    def __init__(
        self,
        channel_width: int,
        layers: tuple[tuple[bool, int, int], ...],
        attention: int,
        condition: int,
        rows: int,
        out_channels: int,
    ) -> None:
        super().__init__()
        self.gen_z = _Linear(condition, 16 * layers[0][1] * channel_width, bias=True)
        stages: list[nn.Module] = [
            _Block(before * channel_width, after * channel_width, up, rows, condition) for up, before, after in layers
        ]
        stages.insert(attention, _Attention(layers[attention][1] * channel_width))
        self.layers = nn.ModuleList(stages)
        last = layers[-1][2] * channel_width
        self.bn = _OutputNorm(last, rows)
        self.conv_to_rgb = _Conv(last, out_channels, 3)


class BigGANDeep(nn.Module):
    """Class-conditional generator of square images.

    Args:
        channel_width: unit of the layers' widths.
        layers: (whether it doubles the resolution, width before, width after) for each block, starting at 4 x 4 px.
        attention: index of self-attention among the layers.
        latent: length of the latent z.
        embedding: length of a class embedding.
        rows: number of truncations for which batch norm has statistics; 1 serves all.
        out_channels: channels of the last convolution, of which the first three are RGB.
    """

    def __init__(
        self,
        channel_width: int,
        layers: tuple[tuple[bool, int, int], ...],
        attention: int,
        latent: int,
        embedding: int,
        rows: int,
        out_channels: int,
    ) -> None:
        super().__init__()
        self.latent = latent
        self.side = 4 * 2 ** sum(up for up, _, _ in layers)
        self.embeddings = nn.Linear(CLASSES, embedding, bias=False)
        self.generator = _Layers(channel_width, layers, attention, latent + embedding, rows, out_channels)

    def forward(self, z: Tensor, classes: Tensor, truncation: float = 1.0) -> Tensor:
        """Generate images.

        Args:
            z: latents ``(N, latent)`` from ``sample_latents``.
            classes: ImageNet classes, int64 ``(N,)``, or class weights ``(N, 1000)``, such as one-hot vectors.
            truncation: the truncation with which z was drawn, in (0, 1]; it selects batch norm's statistics.

        Returns:
            RGB ``(N, 3, side, side)`` in -1..1.
        """
        condition = self.condition(z, classes)
        x = self.first(condition)
        return self.image(self.run(x, condition, 0, None, truncation), truncation)

    def condition(self, z: Tensor, classes: Tensor) -> Tensor:
        """The condition of every layer, ``(N, latent + embedding)``; arguments as for ``forward``."""
        embedded = self.embeddings(classes) if classes.is_floating_point() else self.embeddings.weight.T[classes]
        return torch.cat((z, embedded), 1)

    def first(self, condition: Tensor) -> Tensor:
        """The feature map ``(N, C, 4, 4)`` that the layers start from."""
        # Rows, columns, channels: the order in the original program.
        out: Tensor = self.generator.gen_z(condition).unflatten(1, (4, 4, -1)).permute(0, 3, 1, 2)
        return out

    def run(self, x: Tensor, condition: Tensor, start: int, stop: int | None, truncation: float = 1.0) -> Tensor:
        """Pass feature maps through layers ``start`` to ``stop`` (exclusive)."""
        for layer in self.generator.layers[start:stop]:
            x = layer(x, condition, truncation)
        return x

    def image(self, x: Tensor, truncation: float = 1.0) -> Tensor:
        """RGB in -1..1 from the last layer's feature maps."""
        h = self.generator.conv_to_rgb(F.relu(self.generator.bn(x, truncation), inplace=True))
        return torch.tanh(h[:, :3])

    def fold(self) -> None:
        """Fold spectral normalization into the weights; afterwards the generator is for inference only."""
        self.eval()
        fold_all(self)


class BigGANDeep128(BigGANDeep):
    """The released generator for 128 x 128 px, with 128 latents and an embedding of length 128 per ImageNet class."""

    def __init__(self) -> None:
        super().__init__(
            channel_width=128,
            layers=(
                (False, 16, 16),
                (True, 16, 16),
                (False, 16, 16),
                (True, 16, 8),
                (False, 8, 8),
                (True, 8, 4),
                (False, 4, 4),
                (True, 4, 2),
                (False, 2, 2),
                (True, 2, 1),
            ),
            attention=8,
            latent=128,
            embedding=128,
            rows=51,
            out_channels=128,
        )


class BigGANLite64(BigGANDeep):
    """A small generator for 64 x 64 px; its class embeddings are given, not learnt (see ``describe_classes``)."""

    EMBEDDING = 32

    def __init__(self) -> None:
        super().__init__(
            channel_width=48,
            layers=(
                (False, 8, 8),
                (True, 8, 8),
                (False, 8, 8),
                (True, 8, 4),
                (False, 4, 4),
                (True, 4, 2),
                (False, 2, 2),
                (True, 2, 1),
            ),
            attention=6,
            latent=128,
            embedding=self.EMBEDDING,
            rows=1,
            out_channels=3,
        )
        self.embeddings.requires_grad_(False)

    def describe_classes(self, classifier: Tensor) -> None:
        """Set the class embeddings from a classifier's last layer; see the function of the same name."""
        with torch.no_grad():
            self.embeddings.weight.copy_(describe_classes(classifier, self.EMBEDDING).T)


def describe_classes(classifier: Tensor, length: int) -> Tensor:
    """Describe classes by the directions in which a classifier separates them.

    Similar classes get similar descriptions, so that what is learnt about one helps with its neighbours.

    Args:
        classifier: weights of the classifier's last layer ``(classes, features)``.
        length: length of a description.

    Returns:
        Principal components ``(classes, length)``, each with mean 0 and variance 1 over the classes.
    """
    centred = (classifier - classifier.mean(0)).double()
    components, _, _ = torch.linalg.svd(centred, full_matrices=False)
    chosen = components[:, :length]
    # A component's sign is arbitrary; fixing it makes descriptions the same on every machine.
    largest = chosen.gather(0, chosen.abs().argmax(0, keepdim=True))
    described: Tensor = chosen * largest.sign() * math.sqrt(len(classifier))
    return described.to(classifier.dtype)


def sample_latents(
    count: int, length: int = 128, truncation: float = 1.0, generator: torch.Generator | None = None
) -> Tensor:
    """Latents ``(count, length)`` from a standard normal distribution cut off at -2 and 2, times ``truncation``."""
    # The inverse of the distribution function between its values at -2 and 2.
    edge = math.erf(2 / math.sqrt(2))
    uniform = torch.rand(count, length, generator=generator, dtype=torch.float64) * 2 - 1
    return (torch.erfinv(uniform * edge) * math.sqrt(2) * truncation).float()


class Discriminator(bigcolor.Discriminator):
    """BigGAN's discriminator for ``BigGANLite64``: it projects onto descriptions of classes, not onto embeddings.

    Args:
        ch: channel multiplier.
        multipliers: width of each block as a multiple of ``ch``; all but the last block halve the resolution.
        attention: index of the block that self-attention follows.
    """

    def __init__(self, ch: int = 32, multipliers: tuple[int, ...] = (1, 2, 4, 8, 8), attention: int = 1) -> None:
        super().__init__(ch, multipliers, attention)
        self.embed = _DescribedClasses(ch * multipliers[-1])  # type: ignore[assignment]

    def describe_classes(self, classifier: Tensor) -> None:
        """Set the class descriptions from a classifier's last layer; see the function of the same name."""
        self.embed.descriptions.copy_(describe_classes(classifier, BigGANLite64.EMBEDDING))  # type: ignore[operator]


class Posterior(nn.Module):
    """The latents that may have produced a photograph: q(z | x) of a variational autoencoder (Kingma and Welling 2014).

    It has five convolutions of stride 2 and a linear layer, and is used only in training.

    Args:
        latent: length of z.
        ch: channels of the first convolution.
    """

    def __init__(self, latent: int = 128, ch: int = 32) -> None:
        super().__init__()
        widths = [3, ch, 2 * ch, 4 * ch, 8 * ch, 8 * ch]
        layers: list[nn.Module] = []
        for before, after in itertools.pairwise(widths):
            layers += [nn.Conv2d(before, after, 4, 2, 1), nn.GroupNorm(8, after), nn.LeakyReLU(0.2)]
        self.layers = nn.Sequential(*layers, nn.Flatten(), nn.Linear(widths[-1] * 4, 2 * latent))

    def forward(self, rgb: Tensor) -> tuple[Tensor, Tensor]:
        """From RGB ``(N, 3, 64, 64)`` in -1..1 to mean and log variance of z, each ``(N, latent)``."""
        mean, log_variance = self.layers(rgb).float().chunk(2, 1)
        return mean, log_variance.clamp(-8, 4)


class _DescribedClasses(nn.Module):
    descriptions: Tensor

    def __init__(self, features: int) -> None:
        super().__init__()
        self.register_buffer("descriptions", torch.randn(CLASSES, BigGANLite64.EMBEDDING))
        self.project = _Linear(BigGANLite64.EMBEDDING, features)

    def forward(self, class_index: Tensor) -> Tensor:
        out: Tensor = self.project(self.descriptions[class_index])
        return out
