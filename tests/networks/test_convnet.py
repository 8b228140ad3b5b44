"""The plain baseline has its authors' parameter count, and keeps the contract."""

from __future__ import annotations

import pytest
import torch

from colorcli.color import tensors as colors
from colorcli.networks.convnet import ConvNet


@pytest.fixture(scope="module")
def lite() -> ConvNet:
    torch.manual_seed(0)
    return ConvNet(**ConvNet.presets["lite"]).eval()


def test_paper_has_the_published_number_of_parameters() -> None:
    """Lin and Ferreira's notebook counts 12,567,716; with another count, its MSE would not be their baseline."""
    with torch.device("meta"):
        network = ConvNet(**ConvNet.presets["paper"])
    learnt = sum(parameter.numel() for parameter in network.parameters())
    statistics = sum(buffer.numel() for name, buffer in network.named_buffers() if "running" in name)
    assert learnt == 12_561_764
    assert learnt + statistics == 12_567_716


def test_skips_carry_what_the_bottleneck_has_lost(lite: ConvNet) -> None:
    """Without the additive skips, colours could not follow contours finer than 32 pixels."""
    lightness = torch.rand(1, 1, 64, 64) * 100
    silenced = ConvNet(**ConvNet.presets["lite"])
    silenced.load_state_dict(lite.state_dict())
    silenced.eval()
    with torch.no_grad():
        # With a transposed convolution of zeros, only its norm's bias is left of this stage.
        silenced.decoder[0][0].weight.zero_()
        silenced.decoder[0][0].bias.zero_()
        a, b = silenced.chroma(lightness), silenced.chroma(lightness.flip(-1))
    assert not torch.allclose(a, b, atol=1e-3)


def test_a_decoder_that_does_not_mirror_the_encoder_is_refused() -> None:
    """Maps of different widths cannot be added; an error now is better than a crash in the first step."""
    with pytest.raises(ValueError, match="mirror"):
        ConvNet(encoder=(8, 16, 32, 64, 128), decoder=(32, 64, 16, 8, 4))


def test_contract(lite: ConvNet) -> None:
    """Chroma in CIELAB units at the input's size; answer and target share the paper's ab/128."""
    rgb = torch.rand(2, 3, 64, 96)
    lab = colors.srgb_to_lab(rgb)
    with torch.no_grad():
        answer = lite.native(lab[:, :1])
        chroma = lite.chroma(lab[:, :1])
        assert torch.equal(answer, lite(lab[:, :1] / 100))
        # colours must not depend on which photographs share a batch
        assert torch.allclose(lite.chroma(lab[1:, :1]), chroma[1:], atol=1e-3)
    assert answer.shape == (2, 2, 64, 96)
    assert answer.abs().max() <= 1
    assert torch.equal(chroma, answer * 128)
    assert torch.allclose(lite.to_chroma(lite.target(rgb), lab[:, :1]), lab[:, 1:], atol=1e-4)
