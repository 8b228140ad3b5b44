"""Metrics that are networks: with the same weights, values are those of the reference libraries."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from scipy.linalg import sqrtm
from torch import nn
from torchvision.models import inception_v3

from colorcli.errors import ModelError
from colorcli.evaluate.perceptual import (
    LPIPS,
    InceptionFeatures,
    Perceptual,
    _resized_as_tensorflow,
    frechet_distance,
)

from .conftest import photograph

PICTURES = [np.ascontiguousarray(np.rot90(photograph("a.png", 96, 96), k)) for k in range(3)]


def reference_lpips(net: str) -> Any:
    """The reference implementation: random convolutions, the released linear heads."""
    lpips = pytest.importorskip("lpips", reason="part of the extra 'test'")
    torch.manual_seed(0)
    return lpips.LPIPS(net=net, pnet_rand=True, verbose=False)


def weights_of(reference: Any) -> dict[str, torch.Tensor]:
    """The reference's tensors under torchvision's names: it keeps the positions in ``features``."""
    tensors = {}
    for name, tensor in reference.state_dict().items():
        if name.startswith("net.slice"):
            _, _, position, kind = name.split(".")
            tensors[f"features.{position}.{kind}"] = tensor
        elif name.startswith("lin") and not name.startswith("lins"):
            tensors[name] = tensor
    return tensors


@pytest.fixture
def stored(tmp_path: Path) -> Callable[[dict[str, torch.Tensor]], Path]:
    def store(tensors: dict[str, torch.Tensor]) -> Path:
        path = tmp_path / "weights.safetensors"
        safetensors.torch.save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path)
        return path

    return store


@pytest.mark.slow
@pytest.mark.parametrize("net", ["alex", "vgg"])
def test_lpips_is_the_reference_libraries(net: str, stored: Callable[[dict[str, torch.Tensor]], Path]) -> None:
    reference, name = reference_lpips(net), f"lpips-{net}"
    networks = Perceptual([name], {name: stored(weights_of(reference))})
    tensors = [torch.from_numpy(picture.transpose(2, 0, 1).copy()).float()[None] / 127.5 - 1 for picture in PICTURES]
    with torch.inference_mode():
        expected = [float(reference(tensor, tensors[0])) for tensor in tensors[1:]]
        between = float(reference(tensors[1], tensors[2]))
    assert networks.lpips(name, PICTURES[1:], PICTURES[0]) == pytest.approx(expected, rel=1e-4)
    assert networks.lpips(name, PICTURES[:1], PICTURES[0]) == [0]
    small = [picture[:31] for picture in PICTURES]
    assert np.isnan([*networks.lpips(name, small[1:], small[0]), networks.mean_pairwise_lpips(name, small)]).all()
    assert [*networks.hashes] == [name] and len(networks.hashes[name]) == 64
    pairwise = networks.mean_pairwise_lpips(name, PICTURES)
    assert pairwise == pytest.approx((sum(expected) + between) / 3, rel=1e-4)


@pytest.mark.parametrize(("net", "parameters"), [("alex", 2_469_696 + 1152), ("vgg", 14_714_688 + 1472)])
def test_lpips_has_the_parameters_of_the_paper(net: str, parameters: int) -> None:
    assert sum(parameter.numel() for parameter in LPIPS(net).parameters()) == parameters


def test_features_of_fid_are_the_reference_libraries() -> None:
    """The original FID's graph differs from torchvision's in its pooling, which changes the values."""
    blocks = pytest.importorskip("pytorch_fid.inception", reason="part of the extra 'test'")
    torch.manual_seed(0)
    reference: Any = inception_v3(weights=None, num_classes=1008, aux_logits=False, init_weights=False)
    for name, block in {
        "Mixed_5b": blocks.FIDInceptionA(192, pool_features=32),
        "Mixed_5c": blocks.FIDInceptionA(256, pool_features=64),
        "Mixed_5d": blocks.FIDInceptionA(288, pool_features=64),
        "Mixed_6b": blocks.FIDInceptionC(768, channels_7x7=128),
        "Mixed_6c": blocks.FIDInceptionC(768, channels_7x7=160),
        "Mixed_6d": blocks.FIDInceptionC(768, channels_7x7=160),
        "Mixed_6e": blocks.FIDInceptionC(768, channels_7x7=192),
        "Mixed_7b": blocks.FIDInceptionE_1(1280),
        "Mixed_7c": blocks.FIDInceptionE_2(2048),
    }.items():
        setattr(reference, name, block)
    ours = InceptionFeatures().eval()
    ours.network.load_state_dict(reference.state_dict())
    reference.fc = nn.Identity()
    codes = torch.randint(0, 256, (1, 3, 299, 299)).float()
    with torch.inference_mode():
        torch.testing.assert_close(ours(codes), reference.eval()((codes - 128) / 128), rtol=1e-4, atol=1e-6)


def test_pictures_are_resized_as_by_the_first_tensorflow() -> None:
    """Samples are taken at multiples of 2/3 from the first pixel's centre, not its edge; the last pixel is repeated."""
    row = torch.tensor([0.0, 30.0, 60.0, 90.0])
    resized = _resized_as_tensorflow(row.expand(1, 1, 4, 4), 6)[0, 0, 3]
    torch.testing.assert_close(resized, torch.tensor([0.0, 20, 40, 60, 80, 90]))


def test_frechet_distance_is_the_formula() -> None:
    """It agrees with the reference implementation's matrix square root, where that is real."""
    rng = np.random.default_rng(0)
    first, second = rng.normal(0, 1, (300, 24)), rng.normal(0.3, 1.5, (280, 24)) @ rng.normal(0, 0.4, (24, 24))
    covariances = [np.cov(features, rowvar=False) for features in (first, second)]
    root = sqrtm(covariances[0] @ covariances[1]).real
    gap = first.mean(0) - second.mean(0)
    expected = gap @ gap + np.trace(covariances[0] + covariances[1] - 2 * root)
    assert frechet_distance(first, second) == pytest.approx(expected, rel=1e-6)
    assert frechet_distance(first, first) == pytest.approx(0, abs=1e-6)
    few = rng.normal(0, 1, (10, 24))
    assert frechet_distance(few, few) == pytest.approx(0, abs=1e-6)


def test_other_weights_are_refused(stored: Callable[[dict[str, torch.Tensor]], Path], tmp_path: Path) -> None:
    """Values from partly loaded weights would look like any others."""
    tensors = dict(LPIPS("alex").state_dict())
    del tensors["lin3.model.1.weight"]
    with pytest.raises(ModelError, match=r"lin3\.model\.1\.weight is missing"):
        Perceptual(["lpips-alex"], {"lpips-alex": stored(tensors)})
    with pytest.raises(ModelError, match="do not fit"):
        Perceptual(["lpips-vgg"], {"lpips-vgg": stored(dict(LPIPS("alex").state_dict()))})
    pickle = tmp_path / "weights.pth"
    pickle.write_bytes(b"anything")
    with pytest.raises(ModelError, match="models import lpips-alex"):
        Perceptual(["lpips-alex"], {"lpips-alex": pickle})


@pytest.mark.parametrize("name", ["inception-fid", "lpips-alex"])
def test_a_network_that_cannot_tell_pictures_apart_is_refused(
    name: str, stored: Callable[[dict[str, torch.Tensor]], Path]
) -> None:
    """A network without weights gives an FID and an LPIPS of 0, which look like perfect scores."""
    network = InceptionFeatures().network if name == "inception-fid" else LPIPS("alex")
    empty = {key: torch.zeros_like(value) for key, value in network.state_dict().items()}
    with pytest.raises(ModelError, match="cannot tell pictures apart"):
        Perceptual([name], {name: stored(empty)})


@pytest.mark.slow
def test_a_network_that_tells_pictures_apart_is_taken(stored: Callable[[dict[str, torch.Tensor]], Path]) -> None:
    torch.manual_seed(0)
    network = InceptionFeatures().network
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    path = stored(dict(network.state_dict()))
    assert Perceptual(["inception-fid"], {"inception-fid": path}).inception(PICTURES).shape == (3, 2048)
