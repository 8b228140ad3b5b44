"""The metrics that are networks: LPIPS and FID.

Their weights are not part of the package: ``colorcli models pull`` fetches them, see ``registry.backbones``. They are
read from safetensors files, which hold exactly the tensors that the network has.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
import safetensors.torch
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from torchvision.models.inception import (
    BasicConv2d,
    Inception3,
    InceptionA,
    InceptionAux,
    InceptionB,
    InceptionC,
    InceptionD,
    InceptionE,
)

from colorcli.errors import ModelError
from colorcli.files import file_sha256
from colorcli.registry import backbones
from colorcli.registry.registry import difference
from colorcli.sessions.pytorch import memory_errors

Rgb8 = NDArray[np.uint8]
Features = NDArray[np.float64]
Network = TypeVar("Network", bound=nn.Module)

_MEAN, _DEVIATION = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
_INCEPTION_SIDE = 299
# AlexNet's poolings leave nothing of a side below 31 pixels
_LPIPS_SIDE = 32
# Distance that a metric network must give unrelated images; below it, every score would print as 0.00.
_LEAST_SPREAD, _LEAST_DISTANCE = 1e-3, 1e-4


class LPIPS(nn.Module):
    """Learned perceptual image patch similarity, version 0.1.

    Zhang, Isola, Efros, Shechtman and Wang, "The unreasonable effectiveness of deep features as a perceptual metric"
    (2018), equation 1: features of five layers, normalized over channels, squared differences weighted by a learned
    linear head, averaged over positions and summed over layers.

    Args:
        net: ``alex`` or ``vgg``.
    """

    def __init__(self, net: str) -> None:
        super().__init__()
        layers, channels = _alex() if net == "alex" else _vgg()
        self.features = nn.Sequential(*layers)
        self.taps = [index for index, layer in enumerate(layers) if isinstance(layer, _Tap)]
        self.heads = [_Head(count) for count in channels]
        for index, head in enumerate(self.heads):
            # named as in the released file
            self.add_module(f"lin{index}", head)
        self.register_buffer("mean", torch.tensor(_MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("deviation", torch.tensor(_DEVIATION).view(1, 3, 1, 1), persistent=False)

    mean: Tensor
    deviation: Tensor

    def embed(self, rgb: Tensor) -> list[Tensor]:
        """Normalized features of the five layers, of sRGB ``(N, 3, H, W)`` in -1..1."""
        x = (rgb - self.mean) / self.deviation
        found = []
        for layer in self.features:
            x = layer(x)
            if isinstance(layer, _Tap):
                found.append(x / (x.square().sum(1, keepdim=True).sqrt() + 1e-10))
        return found

    def forward(self, first: Sequence[Tensor], second: Sequence[Tensor]) -> Tensor:
        """Pairwise distances ``(N,)`` of embedded images; either side may be a single image."""
        layers = zip(self.heads, first, second, strict=True)
        return torch.stack([head((a - b).square()).mean((1, 2, 3)) for head, a, b in layers]).sum(0)


class _Tap(nn.ReLU):
    """The ReLU of a layer whose features are compared."""


class _Head(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        # the released heads begin with a dropout, so the convolution is number 1
        self.model = nn.Sequential(nn.Identity(), nn.Conv2d(channels, 1, 1, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.model(x)
        return out


def _alex() -> tuple[list[nn.Module], list[int]]:
    """The convolutions of torchvision's AlexNet, and the channels of the features compared."""
    layers: list[nn.Module] = [
        nn.Conv2d(3, 64, 11, 4, 2), _Tap(), nn.MaxPool2d(3, 2),
        nn.Conv2d(64, 192, 5, 1, 2), _Tap(), nn.MaxPool2d(3, 2),
        nn.Conv2d(192, 384, 3, 1, 1), _Tap(),
        nn.Conv2d(384, 256, 3, 1, 1), _Tap(),
        nn.Conv2d(256, 256, 3, 1, 1), _Tap(),
    ]  # fmt: skip
    return layers, [64, 192, 384, 256, 256]


def _vgg() -> tuple[list[nn.Module], list[int]]:
    """The convolutions of torchvision's VGG-16, and the channels of the features compared."""
    layers: list[nn.Module] = []
    widths, before = [64, 128, 256, 512, 512], 3
    for width, count in zip(widths, (2, 2, 3, 3, 3), strict=True):
        layers += [nn.MaxPool2d(2, 2)] if layers else []
        for index in range(count):
            layers += [nn.Conv2d(before, width, 3, 1, 1), _Tap() if index == count - 1 else nn.ReLU()]
            before = width
    return layers, widths


class InceptionFeatures(nn.Module):
    """The 2048 features of FID: TensorFlow's Inception-v3 of 2015-12-05, with the poolings of that graph.

    Heusel et al., "GANs trained by a two time-scale update rule converge to a local Nash equilibrium" (2017), section
    3. It is torchvision's Inception-v3 with 1008 classes, but its average poolings do not count the padding, and its
    last block pools by maximum.
    """

    def __init__(self) -> None:
        super().__init__()
        blocks = [BasicConv2d, _BlockA, InceptionB, _BlockC, InceptionD, _BlockE, InceptionAux]
        self.network = Inception3(1008, aux_logits=False, init_weights=False, inception_blocks=blocks)
        self.network.Mixed_7c.maximum = True

    def forward(self, rgb: Tensor) -> Tensor:
        """Features ``(N, 2048)`` of sRGB codes ``(N, 3, H, W)``, 0..255."""
        x = (_resized_as_tensorflow(rgb, _INCEPTION_SIDE) - 128) / 128
        for name, layer in self.network.named_children():
            if name == "avgpool":
                break
            x = layer(x)
        return x.mean((2, 3))


def _average(x: Tensor) -> Tensor:
    return F.avg_pool2d(x, 3, 1, 1, count_include_pad=False)


class _BlockA(InceptionA):  # type: ignore[misc]
    def _forward(self, x: Tensor) -> list[Tensor]:
        return [*super()._forward(x)[:-1], self.branch_pool(_average(x))]


class _BlockC(InceptionC):  # type: ignore[misc]
    def _forward(self, x: Tensor) -> list[Tensor]:
        return [*super()._forward(x)[:-1], self.branch_pool(_average(x))]


class _BlockE(InceptionE):  # type: ignore[misc]
    maximum = False

    def _forward(self, x: Tensor) -> list[Tensor]:
        pooled = F.max_pool2d(x, 3, 1, 1) if self.maximum else _average(x)
        return [*super()._forward(x)[:-1], self.branch_pool(pooled)]


def _resized_as_tensorflow(x: Tensor, side: int) -> Tensor:
    """Bilinear resizing as TensorFlow 1 did it: the first pixels' centres coincide, and there is no antialiasing."""
    for axis in (2, 3):
        place = torch.arange(side, dtype=torch.float32, device=x.device) * (x.shape[axis] / side)
        before = place.long().clamp_max(x.shape[axis] - 1)
        after = (before + 1).clamp_max(x.shape[axis] - 1)
        share = (place - before).view(-1, 1) if axis == 2 else place - before
        low, high = x.index_select(axis, before), x.index_select(axis, after)
        x = low + (high - low) * share
    return x


def frechet_distance(first: Features, second: Features) -> float:
    """|m1 - m2|^2 + trace(S1 + S2 - 2 (S1 S2)^(1/2)) of two sets of features ``(N, D)``, covariances over N - 1.

    Heusel et al. (2017), equation 6. The trace of the root is the sum of the roots of the eigenvalues of S1 S2, which
    are those of the symmetric R S2 R, R the root of S1, and so real and found reliably.
    """
    difference_of_means = first.mean(0) - second.mean(0)
    covariance_1, covariance_2 = np.cov(first, rowvar=False), np.cov(second, rowvar=False)
    values, vectors = np.linalg.eigh(covariance_1)
    root = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    roots = np.sqrt(np.maximum(np.linalg.eigvalsh(root @ covariance_2 @ root), 0))
    return float(
        difference_of_means @ difference_of_means + np.trace(covariance_1) + np.trace(covariance_2) - 2 * roots.sum()
    )


class Perceptual:
    """The metric networks that an evaluation needs, on a device.

    Attributes:
        hashes: hexadecimal SHA-256 of each network's weights file, by name.

    Args:
        names: any of ``lpips-alex``, ``lpips-vgg`` and ``inception-fid``.
        given: files to use instead of the pulled ones.
        device: as PyTorch names it.

    Raises:
        ModelError: weights are missing (the message says how to get them), do not fit, or give a network that cannot
            tell images apart.
    """

    def __init__(self, names: Sequence[str], given: Mapping[str, Path], device: str = "cpu") -> None:
        self._device = device
        self._lpips: dict[str, LPIPS] = {}
        self._inception: InceptionFeatures | None = None
        self.hashes: dict[str, str] = {}
        for name in names:
            path = _weights_file(name, given)
            self.hashes[name] = file_sha256(path)
            if name == "inception-fid":
                self._inception = InceptionFeatures()
                _fill(self._inception.network, path, name)
                self._inception.eval().requires_grad_(False).to(device)
            else:
                network = LPIPS(name.removeprefix("lpips-"))
                self._lpips[name] = _fill(network, path, name).eval().requires_grad_(False).to(device)
            if not self._tells_apart(name):
                raise ModelError(
                    f"The weights {path} of the metric network {name} fit, but it cannot tell pictures apart: they are "
                    f"not those of the trained network. Fetch them with: colorcli models pull {name} --overwrite"
                )

    def _tells_apart(self, name: str) -> bool:
        """Whether a network separates unrelated images; one without real weights does not."""
        probes = _probes()
        if name == "inception-fid":
            spread = self.inception(probes).std(0).mean()
            return bool(spread > _LEAST_SPREAD)
        return min(self.lpips(name, probes[1:], probes[0])) > _LEAST_DISTANCE

    @torch.inference_mode()
    @memory_errors()
    def lpips(self, name: str, pictures: Sequence[Rgb8], original: Rgb8) -> list[float]:
        """Distance of each image ``(H, W, 3)`` from the original; NaN below 32 pixels.

        Raises:
            OutOfMemoryError: the device has too little memory for it.
        """
        if min(original.shape[:2]) < _LPIPS_SIDE:
            return [math.nan] * len(pictures)
        network = self._lpips[name]
        features = network.embed(self._batch([original, *pictures]) / 127.5 - 1)
        distances: list[float] = network([f[1:] for f in features], [f[:1] for f in features]).tolist()
        return distances

    @torch.inference_mode()
    @memory_errors()
    def mean_pairwise_lpips(self, name: str, pictures: Sequence[Rgb8]) -> float:
        """Mean distance over all pairs of two or more images ``(H, W, 3)``; see ``lpips``."""
        if min(pictures[0].shape[:2]) < _LPIPS_SIDE:
            return math.nan
        network = self._lpips[name]
        features = network.embed(self._batch(pictures) / 127.5 - 1)
        ahead = [
            network([f[index + 1 :] for f in features], [f[index : index + 1] for f in features])
            for index in range(len(pictures) - 1)
        ]
        return float(torch.cat(ahead).mean())

    @torch.inference_mode()
    @memory_errors()
    def inception(self, pictures: Sequence[Rgb8]) -> Features:
        """FID features ``(N, 2048)`` of images of one size ``(H, W, 3)``."""
        if self._inception is None:
            raise ModelError("The metric network inception-fid is not loaded.")
        return np.asarray(self._inception(self._batch(pictures)).double().cpu())

    def _batch(self, pictures: Sequence[Rgb8]) -> Tensor:
        stacked = np.ascontiguousarray(np.stack(pictures).transpose(0, 3, 1, 2))
        return torch.from_numpy(stacked).to(self._device).float()


def _probes() -> list[Rgb8]:
    """Four test images ``(96, 96, 3)``: noise, stripes, a gradient, and one colour."""
    side = 96
    ramp = np.linspace(0, 255, side)
    gradient = np.stack([np.tile(ramp, (side, 1)), np.tile(ramp[:, None], (1, side)), np.full((side, side), 96)], -1)
    stripes = np.repeat((np.arange(side) // 8 % 2 * 200.0 + 20)[None, :, None], side, 0) * np.array([1, 0.5, 0.2])
    noise = np.random.Generator(np.random.Philox(key=0)).integers(0, 256, (side, side, 3))
    return [np.asarray(picture, np.uint8) for picture in (noise, stripes, gradient, np.full_like(gradient, 200))]


def _weights_file(name: str, given: Mapping[str, Path]) -> Path:
    if name not in given:
        return backbones.locate(name)
    path = given[name]
    if not path.is_file():
        raise ModelError(f"The weights {path} of the metric network {name} are not there.")
    if path.suffix != ".safetensors":
        raise ModelError(
            f"The weights {path} of the metric network {name} are not a safetensors file; "
            f"convert them with: colorcli models import {name} {path}"
        )
    return path


def _fill(network: Network, path: Path, name: str) -> Network:
    try:
        tensors = safetensors.torch.load_file(path)
    except Exception as error:
        raise ModelError(f"The weights {path} are not a readable safetensors file: {error}.") from error
    # Step counters, which some conversions omit; inference ignores them.
    expected = {key: value for key, value in network.state_dict().items() if not key.endswith("num_batches_tracked")}
    found = {key: value for key, value in tensors.items() if not key.endswith("num_batches_tracked")}
    wrong = difference(
        {key: tuple(value.shape) for key, value in found.items()},
        {key: tuple(value.shape) for key, value in expected.items()},
    )
    if wrong:
        raise ModelError(f"The weights {path} do not fit the metric network {name}: {wrong}.")
    network.load_state_dict({key: value.float() for key, value in found.items()}, strict=False)
    return network
