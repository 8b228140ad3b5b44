"""DDColor: photo-realistic image colorization via dual decoders (Kang et al., ICCV 2023), as released.

A ConvNeXt computes maps at strides 4 to 32; the *pixel decoder* brings them back to full size; the *colour decoder*
turns 100 learnt queries, which attend to the pixel decoder's three coarse maps in turn, into colour embeddings. The
products of the embeddings with each pixel of the full-size map are 100 maps, which a 1x1 convolution turns into ab.
Names and shapes are those of the released files, without two heads that are not used for colour.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from colorcli.color import tensors as colors
from colorcli.networks.backbones import imagenet_statistics
from colorcli.networks.colorizer import Colorizer
from colorcli.networks.dynamic_unet import PixelShuffle, UpBlock, layer
from colorcli.networks.size import SizeRule
from colorcli.networks.spectral import fold_all

_HEADS = 8
_EPS = 1e-6


class _ChannelNorm(nn.Module):
    """Layer norm over the channels of each pixel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        last = F.layer_norm(x.permute(0, 2, 3, 1), self.weight.shape, self.weight, self.bias, _EPS)
        return last.permute(0, 3, 1, 2)


class _ConvNeXtBlock(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        # ConvNeXt starts from 1e-6 when trained from scratch, so that each block begins as the identity.
        self.gamma = nn.Parameter(torch.full((channels,), 1e-6))
        self.dwconv = nn.Conv2d(channels, channels, 7, 1, 3, groups=channels)
        self.norm = nn.LayerNorm(channels, eps=_EPS)
        self.pwconv1 = nn.Linear(channels, 4 * channels)
        self.pwconv2 = nn.Linear(4 * channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm(self.dwconv(x).permute(0, 2, 3, 1))
        h = self.gamma * self.pwconv2(F.gelu(self.pwconv1(h)))
        out: Tensor = x + h.permute(0, 3, 1, 2)
        return out


class ConvNeXt(nn.Module):
    """ConvNeXt (Liu et al., CVPR 2022) without its head, with a norm for the output of each stage.

    Args:
        depths: number of blocks in each of the four stages.
        widths: channels of each stage.
    """

    def __init__(self, depths: tuple[int, ...], widths: tuple[int, ...]) -> None:
        super().__init__()
        stem = nn.Sequential(nn.Conv2d(3, widths[0], 4, 4), _ChannelNorm(widths[0]))
        self.downsample_layers = nn.ModuleList([stem])
        for before, after in pairwise(widths):
            self.downsample_layers.append(nn.Sequential(_ChannelNorm(before), nn.Conv2d(before, after, 2, 2)))
        self.stages = nn.ModuleList(
            nn.Sequential(*(_ConvNeXtBlock(width) for _ in range(depth)))
            for depth, width in zip(depths, widths, strict=True)
        )
        for index, width in enumerate(widths):
            self.add_module(f"norm{index}", _ChannelNorm(width))

    def forward(self, x: Tensor) -> list[Tensor]:
        """Normalized maps at strides 4, 8, 16 and 32; the next stage continues from the map before its norm."""
        maps = []
        for index, (down, stage) in enumerate(zip(self.downsample_layers, self.stages, strict=True)):
            x = stage(down(x))
            maps.append(self.get_submodule(f"norm{index}")(x))
        return maps


class _Attention(nn.Module):
    """Multi-head attention under PyTorch's names."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.in_proj_weight = nn.Parameter(torch.empty(3 * channels, channels))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * channels))
        self.out_proj = nn.Linear(channels, channels)
        nn.init.xavier_uniform_(self.in_proj_weight)

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """``(N, Q, C)``, ``(N, K, C)`` and ``(N, K, C)`` to ``(N, Q, C)``."""
        # Slices of the weights become constants in an exported graph; the parts of a split do not.
        width = query.shape[2]
        heads = []
        for index, x in enumerate((query, key, value)):
            rows = slice(index * width, (index + 1) * width)
            projected = F.linear(x, self.in_proj_weight[rows], self.in_proj_bias[rows])
            heads.append(torch.unflatten(projected, 2, (_HEADS, -1)).transpose(1, 2))
        mixed = F.scaled_dot_product_attention(heads[0], heads[1], heads[2])
        out: Tensor = self.out_proj(mixed.transpose(1, 2).flatten(2))
        return out


class _CrossAttention(nn.Module):
    """Queries attend to a map."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.multihead_attn = _Attention(channels)
        self.norm = nn.LayerNorm(channels)

    def forward(self, x: Tensor, embedding: Tensor, memory: Tensor, position: Tensor) -> Tensor:
        out: Tensor = self.norm(x + self.multihead_attn(x + embedding, memory + position, memory))
        return out


class _QueryAttention(nn.Module):
    """Queries attend to each other."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.self_attn = _Attention(channels)
        self.norm = nn.LayerNorm(channels)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        at = x + embedding
        out: Tensor = self.norm(x + self.self_attn(at, at, x))
        return out


class _FeedForward(nn.Module):
    def __init__(self, channels: int, inner: int) -> None:
        super().__init__()
        self.linear1 = nn.Linear(channels, inner)
        self.linear2 = nn.Linear(inner, channels)
        self.norm = nn.LayerNorm(channels)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.norm(x + self.linear2(F.relu(self.linear1(x))))
        return out


class _Perceptron(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(channels, channels) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        first, second, last = self.layers
        out: Tensor = last(F.relu(second(F.relu(first(x)))))
        return out


def sine_positions(height: int, width: int, channels: int, like: Tensor) -> Tensor:
    """DETR's position encoding (Carion et al., ECCV 2020) ``(1, height * width, channels)``: rows first, then columns.

    Rows and columns are counted from 1 and scaled to 2 pi; sines and cosines of each wavelength alternate.
    """
    half = channels // 2
    exponents = 2 * torch.arange(half // 2, dtype=torch.float32, device=like.device) / half
    wavelengths = 10_000**exponents

    def along(length: int) -> Tensor:
        at = torch.arange(1, length + 1, device=like.device).to(torch.float32)
        angles = (at / (at[-1:] + _EPS) * (2 * math.pi))[:, None] / wavelengths
        return torch.stack((angles.sin(), angles.cos()), 2).flatten(1)

    rows, columns = along(height), along(width)
    grid = torch.cat(
        (rows[:, None].expand(-1, width, -1), columns[None].expand(height, -1, -1)),
        2,
    )
    return grid.flatten(0, 1)[None].to(like.dtype)


class ColorDecoder(nn.Module):
    """Turns learnt queries into colour embeddings by attending to one map after another.

    Args:
        in_channels: channels of the maps.
        channels: channels of queries and embeddings.
        queries: number of queries.
        layers: number of layers, which attend to the maps in turn.
        inner: hidden channels of each layer's feed-forward network.
    """

    def __init__(self, in_channels: tuple[int, ...], channels: int, queries: int, layers: int, inner: int) -> None:
        super().__init__()
        self.query_feat = nn.Embedding(queries, channels)
        self.query_embed = nn.Embedding(queries, channels)
        self.level_embed = nn.Embedding(len(in_channels), channels)
        self.input_proj = nn.ModuleList(nn.Conv2d(width, channels, 1) for width in in_channels)
        self.transformer_self_attention_layers = nn.ModuleList(_QueryAttention(channels) for _ in range(layers))
        self.transformer_cross_attention_layers = nn.ModuleList(_CrossAttention(channels) for _ in range(layers))
        self.transformer_ffn_layers = nn.ModuleList(_FeedForward(channels, inner) for _ in range(layers))
        self.decoder_norm = nn.LayerNorm(channels)
        self.color_embed = _Perceptron(channels)

    def forward(self, maps: list[Tensor]) -> Tensor:
        """Embeddings ``(N, queries, channels)`` from the maps, ordered coarse to fine."""
        memories, positions = [], []
        for index, (projection, x) in enumerate(zip(self.input_proj, maps, strict=True)):
            memory = projection(x).flatten(2).transpose(1, 2) + self.level_embed.weight[index]
            memories.append(memory)
            positions.append(sine_positions(x.shape[2], x.shape[3], memory.shape[2], memory))
        embedding = self.query_embed.weight[None]
        x = self.query_feat.weight[None].expand(maps[0].shape[0], -1, -1)
        layers = zip(
            self.transformer_cross_attention_layers,
            self.transformer_self_attention_layers,
            self.transformer_ffn_layers,
            strict=True,
        )
        for index, (cross, among, forward) in enumerate(layers):
            level = index % len(maps)
            x = forward(among(cross(x, embedding, memories[level], positions[level]), embedding))
        out: Tensor = self.color_embed(self.decoder_norm(x))
        return out


class _Encoder(nn.Module):
    def __init__(self, depths: tuple[int, ...], widths: tuple[int, ...]) -> None:
        super().__init__()
        self.arch = ConvNeXt(depths, widths)

    def forward(self, x: Tensor) -> list[Tensor]:
        out: list[Tensor] = self.arch(x)
        return out


class Decoder(nn.Module):
    """Both decoders: from maps at strides 4 to 32 to one full-size map per query.

    Args:
        widths: channels of the encoder's maps.
        width: channels of the pixel decoder's coarse maps; the finest map and the embeddings have half as many.
        queries: number of queries of the colour decoder.
        layers: number of its layers.
        inner: hidden channels of its feed-forward networks.
    """

    def __init__(self, widths: tuple[int, ...], width: int, queries: int, layers: int, inner: int) -> None:
        super().__init__()
        half = width // 2
        s4, s8, s16, s32 = widths
        self.layers = nn.ModuleList(
            [UpBlock(s32, width, s16, width), UpBlock(width, width, s8, width), UpBlock(width, half, s4, half)]
        )
        self.last_shuf = PixelShuffle(half, half, scale=4, norm="spectral")
        self.color_decoder = ColorDecoder((width, width, half), half, queries, layers, inner)

    def forward(self, maps: list[Tensor]) -> Tensor:
        *skips, x = maps
        coarse = []
        for block, skip in zip(self.layers, reversed(skips), strict=True):
            x = block(x, skip)
            coarse.append(x)
        pixels = self.last_shuf(x)
        colours = self.color_decoder(coarse) @ pixels.flatten(2)
        out: Tensor = torch.unflatten(colours, 2, pixels.shape[-2:])
        return out


class DDColor(Colorizer):
    """The network in its two released sizes and a small one; see the module's docstring.

    Args:
        depths: number of blocks in each of the ConvNeXt's stages.
        widths: channels of each stage.
        width: channels of the pixel decoder.
        queries: number of queries of the colour decoder.
        layers: number of its layers.
        inner: hidden channels of its feed-forward networks.
        size: working size in pixels.
        stretch: whether photographs are stretched to a square, as the released program does.
    """

    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "large": {"depths": (3, 3, 27, 3), "widths": (192, 384, 768, 1536)},
        "tiny": {"depths": (3, 3, 9, 3), "widths": (96, 192, 384, 768)},
        "lite": {
            "depths": (1, 1, 3, 1),
            "widths": (32, 64, 128, 256),
            "width": 128,
            "queries": 48,
            "layers": 3,
            "inner": 256,
            "size": 256,
            "stretch": False,
        },
    }
    mean: Tensor
    std: Tensor
    size_rule: SizeRule  # type: ignore[misc]

    def __init__(
        self,
        depths: tuple[int, ...] = (3, 3, 9, 3),
        widths: tuple[int, ...] = (96, 192, 384, 768),
        width: int = 512,
        queries: int = 100,
        layers: int = 9,
        inner: int = 2048,
        size: int = 512,
        stretch: bool = True,
    ) -> None:
        super().__init__()
        self.size_rule = SizeRule(size=size, multiple_of=32, stretch=stretch)
        mean, sd = imagenet_statistics(torch.zeros(()))
        self.register_buffer("mean", mean)
        self.register_buffer("std", sd)
        self.encoder = _Encoder(tuple(depths), tuple(widths))
        self.decoder = Decoder(tuple(widths), width, queries, layers, inner)
        self.refine_net = nn.Sequential(layer(queries + 3, 2, 1, relu=False, norm=False))

    def forward(self, rgb: Tensor) -> Tensor:
        """As the released network: three equal gray channels 0..1 ``(N, 3, H, W)`` to a*, b* ``(N, 2, H, W)``."""
        x = (rgb - self.mean) / self.std
        out: Tensor = self.refine_net(torch.cat((self.decoder(self.encoder(x)), x), 1))
        return out

    def native(self, lightness: Tensor, **_: Any) -> Tensor:
        """a* and b* ``(N, 2, H, W)``, unbounded."""
        return self.forward(colors.lightness_to_gray(lightness).expand(-1, 3, -1, -1))

    def prepare(self) -> None:
        """Fold spectral normalization into the weights; afterwards the network is for inference only."""
        super().prepare()
        fold_all(self)
