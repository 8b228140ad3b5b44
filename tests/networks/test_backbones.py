"""EfficientNet-Lite0 has the published properties."""

from __future__ import annotations

import torch

from colorcli.networks.backbones import EfficientNetLite0


def test_strides_channels_and_parameters() -> None:
    """Published weights fit only a network with the published 4,652,008 parameters."""
    network = EfficientNetLite0(in_channels=3).eval()
    with torch.no_grad():
        features = network(torch.rand(1, 3, 64, 96))
    assert sum(parameter.numel() for parameter in network.parameters()) == 4_652_008
    assert [feature.shape[1] for feature in features] == [16, 24, 40, 112, 320]
    assert [64 // feature.shape[2] for feature in features] == [2, 4, 8, 16, 32]


def test_gray_network_equals_the_colour_one_on_gray_images() -> None:
    """The summed stem must not lose any of the pretrained knowledge."""
    torch.manual_seed(0)
    colour = EfficientNetLite0(in_channels=3).eval()
    gray = EfficientNetLite0(in_channels=1).eval()
    gray.load_reference(colour.state_dict())
    x = torch.rand(2, 1, 64, 64)
    with torch.no_grad():
        expected = colour.logits(colour(x.expand(-1, 3, -1, -1)))
        assert torch.allclose(gray.logits(gray(x)), expected, atol=1e-4)
