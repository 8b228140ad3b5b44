"""The pyramid decoder has its authors' counts, and its taps are the backbones' own activations."""

from __future__ import annotations

import pytest
import torch
import torchvision

from colorcli.color import tensors as colors
from colorcli.networks.efficientnet import LITE_TAPS, EfficientNet, b7_taps, lite_taps


@pytest.fixture(scope="module")
def lite() -> EfficientNet:
    torch.manual_seed(0)
    return EfficientNet(**EfficientNet.presets["lite"]).eval()


def test_paper_has_the_published_numbers_of_parameters() -> None:
    """Lin and Ferreira's notebook counts 75,395,346 in all, statistics included; 11,292,674 are trained."""
    with torch.device("meta"):
        network = EfficientNet(**EfficientNet.presets["paper"])
    statistics = sum(buffer.numel() for name, buffer in network.named_buffers() if "running" in name)
    assert sum(p.numel() for p in network.parameters()) + statistics == 75_395_346
    assert sum(p.numel() for p in network.parameters() if p.requires_grad) == 11_292_674
    assert network.frozen_parts == {"backbone": "efficientnet_b7"}


def test_paper_decoder_has_the_papers_layers() -> None:
    with torch.device("meta"):
        network = EfficientNet(**EfficientNet.presets["paper"])
    convolutions = (network.top[0], *(level[0] for level in network.levels), network.last[0], network.output)
    assert [tuple(layer.weight.shape) for layer in convolutions] == [
        (1344, 2560, 1, 1),
        (480, 1344, 3, 3),
        (288, 480, 3, 3),
        (192, 288, 3, 3),
        (128, 192, 3, 3),
        (64, 129, 3, 3),
        (2, 64, 3, 3),
    ]


def test_paper_taps_are_the_papers() -> None:
    """112, 56, 28 and 14 squared after the expansions, 7 squared at the top; other layers have other features."""
    with torch.device("meta"):
        features = torchvision.models.efficientnet_b7(weights=None).features.eval()
        taps = list(b7_taps(features, torch.rand(1, 3, 224, 224)))
    assert [tuple(tap.shape[1:]) for tap in taps] == [
        (192, 112, 112),
        (288, 56, 56),
        (480, 28, 28),
        (1344, 14, 14),
        (2560, 7, 7),
    ]


def test_tapping_does_not_change_what_the_backbone_computes(lite: EfficientNet) -> None:
    """The taps run the blocks' layers one by one, which must compute the same as the blocks do."""
    gray = torch.rand(1, 1, 64, 96)
    with torch.no_grad():
        features = lite.backbone(gray)
        taps = list(lite_taps(lite.backbone, gray))
        assert torch.allclose(taps[1], lite.backbone.stages[2][0].body[:3](features.s4), atol=1e-5)
        assert torch.allclose(taps[4], lite.backbone.head(features.s32), atol=1e-5)
    assert tuple(tap.shape[1] for tap in taps) == LITE_TAPS
    assert [tap.shape[-1] for tap in taps] == [48, 24, 12, 6, 3]


def test_tapping_does_not_change_torchvisions_network() -> None:
    """The same, with a small relative of EfficientNet-B7 (same blocks, a fortieth of the cost)."""
    torch.manual_seed(0)
    features = torchvision.models.efficientnet_b0(weights=None).features.eval()
    x = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.allclose(list(b7_taps(features, x))[-1], features(x), atol=1e-5)


def test_backbone_stays_frozen_while_the_decoder_trains(lite: EfficientNet) -> None:
    """Several models share its weights: batch norm must not drift, and no gradient may reach it."""
    network = EfficientNet(**EfficientNet.presets["lite"]).train()
    before = {name: tensor.clone() for name, tensor in network.backbone.state_dict().items()}
    network.native(torch.rand(2, 1, 64, 64) * 100).square().mean().backward()
    assert all(torch.equal(before[name], tensor) for name, tensor in network.backbone.state_dict().items())
    assert all(parameter.grad is None for parameter in network.backbone.parameters())
    assert all(p.grad is not None for name, p in network.named_parameters() if not name.startswith("backbone."))


@pytest.mark.parametrize(("space", "native_space", "limit"), [("lab", "ab", 1.0), ("uv", "uv", 0.5)])
def test_contract_in_both_spaces(space: str, native_space: str, limit: float) -> None:
    """Lin and Ferreira compare YUV with Lab: each has its own native units, and both give chroma in CIELAB's."""
    torch.manual_seed(0)
    network = EfficientNet(**EfficientNet.presets["lite"] | {"space": space}).eval()
    rgb = torch.rand(2, 3, 64, 96) * 0.2 + 0.4
    lightness = colors.srgb_to_lab(rgb)[:, :1]
    with torch.no_grad():
        answer, chroma = network.native(lightness), network.chroma(lightness)
        # colours must not depend on which photographs share a batch
        assert torch.allclose(network.chroma(lightness[1:]), chroma[1:], atol=1e-3)
    assert network.native_space == native_space
    assert answer.shape == chroma.shape == (2, 2, 64, 96)
    assert answer.abs().max() <= limit
    assert network.target(rgb).abs().max() <= limit
    assert torch.isfinite(chroma).all()


@pytest.mark.parametrize(("space", "seen"), [("lab", 0.5), ("uv", 0.4663)])
def test_the_input_is_the_luminance_of_the_space(space: str, seen: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lin and Ferreira compare YUV with Lab: with L* in place of Y, something else would be compared."""
    network = EfficientNet(**EfficientNet.presets["lite"] | {"space": space}).eval()
    inputs: list[torch.Tensor] = []
    monkeypatch.setattr(network, "forward", inputs.append)
    network.native(torch.full((1, 1, 32, 32), 50.0))
    assert inputs[0].mean().item() == pytest.approx(seen, abs=1e-3)


def test_an_unknown_space_or_backbone_is_refused() -> None:
    with pytest.raises(ValueError, match="no space 'hsv'"):
        EfficientNet(space="hsv")
    with pytest.raises(ValueError, match="no backbone 'vgg16'"):
        EfficientNet(backbone="vgg16")
