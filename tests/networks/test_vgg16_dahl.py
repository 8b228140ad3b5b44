"""Dahl's pyramid has the authors' counts, and UV follows its definition."""

from __future__ import annotations

import pytest
import torch

from colorcli.color import tensors as colors
from colorcli.networks.vgg16_dahl import VGG16Dahl


@pytest.fixture(scope="module")
def lite() -> VGG16Dahl:
    torch.manual_seed(0)
    return VGG16Dahl(**VGG16Dahl.presets["lite"]).eval()


def test_paper_has_the_published_numbers_of_parameters() -> None:
    """Lin and Ferreira's notebook counts 8,142,963 in all, statistics included; 504,865 are trained."""
    with torch.device("meta"):
        network = VGG16Dahl(**VGG16Dahl.presets["paper"])
    statistics = sum(buffer.numel() for name, buffer in network.named_buffers() if "running" in name)
    assert sum(p.numel() for p in network.parameters()) + statistics == 8_142_963
    assert sum(p.numel() for p in network.parameters() if p.requires_grad) == 504_865
    assert network.frozen_parts == {"backbone": "vgg16"}


def test_paper_pyramid_has_the_papers_layers() -> None:
    with torch.device("meta"):
        network = VGG16Dahl(**VGG16Dahl.presets["paper"])
        taps = network.taps(torch.rand(1, 1, 224, 224))
    convolutions = (network.top[1], *(level[0] for level in network.levels), network.last[0], network.output)
    assert [tuple(layer.weight.shape) for layer in convolutions] == [
        (256, 512, 1, 1),
        (128, 256, 3, 3),
        (64, 128, 3, 3),
        (3, 64, 3, 3),
        (3, 3, 3, 3),
        (2, 3, 3, 3),
    ]
    assert [tuple(tap.shape[1:]) for tap in taps] == [(64, 224, 224), (128, 112, 112), (256, 56, 56), (512, 28, 28)]


def test_paper_taps_follow_their_relu() -> None:
    """Taps come *after* ReLU: before it, half of the values that batch norm gets would be negative."""
    torch.manual_seed(0)
    network = VGG16Dahl(**VGG16Dahl.presets["paper"]).eval()
    with torch.no_grad():
        taps = network.taps(torch.rand(1, 1, 16, 16))
        assert network(torch.rand(1, 1, 16, 24)).shape == (1, 2, 16, 24)
    assert all(tap.min() == 0 < tap.max() for tap in taps)


def test_uv_fills_half_a_unit_each_way_and_inverts() -> None:
    """The sigmoid's output spans -0.5..0.5: pure blue and pure red must lie at its ends, gray at zero."""
    corners = torch.tensor([[0.0, 0, 1], [1, 1, 0], [1, 0, 0], [0, 1, 1], [0.3, 0.3, 0.3]]).T[None, :, :, None]
    yuv = colors.srgb_to_yuv(corners)
    assert torch.allclose(yuv[0, 1, :2, 0], torch.tensor([0.5, -0.5]), atol=1e-6)
    assert torch.allclose(yuv[0, 2, 2:4, 0], torch.tensor([0.5, -0.5]), atol=1e-6)
    assert yuv[0, 1:, 4].abs().max() < 1e-6
    assert torch.allclose(yuv[0, 0, :, 0], torch.tensor([0.114, 0.886, 0.299, 0.701, 0.3]), atol=1e-6)
    assert torch.allclose(colors.yuv_to_srgb(yuv), corners, atol=1e-6)


def test_true_uv_on_true_luma_is_the_photographs_chroma(lite: VGG16Dahl) -> None:
    """For nearly neutral colours, whose luma follows from lightness, the target must decode to the photograph's ab."""
    rgb = torch.rand(1, 1, 32, 32) * 0.6 + 0.2 + torch.randn(1, 3, 32, 32) * 0.004
    lab = colors.srgb_to_lab(rgb)
    assert torch.allclose(lite.to_chroma(lite.target(rgb), lab[:, :1]), lab[:, 1:], atol=0.1)


def test_contract(lite: VGG16Dahl) -> None:
    lightness = torch.rand(2, 1, 64, 96) * 100
    with torch.no_grad():
        answer, chroma = lite.native(lightness), lite.chroma(lightness)
        # colours must not depend on which photographs share a batch
        assert torch.allclose(lite.chroma(lightness[1:]), chroma[1:], atol=1e-3)
    assert answer.shape == chroma.shape == (2, 2, 64, 96)
    assert answer.abs().max() <= 0.5
    assert lite.frozen_parts == {"backbone": "efficientnet-lite0-gray"}


def test_an_unknown_backbone_is_refused() -> None:
    with pytest.raises(ValueError, match="no backbone 'resnet50'"):
        VGG16Dahl(backbone="resnet50")
