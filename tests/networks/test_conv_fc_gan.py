"""Generator and discriminator agree with tables 1 and 2 of their report."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from colorcli.networks.conv_fc_gan import ConvFCGAN, Discriminator


@pytest.fixture(scope="module")
def lite() -> ConvFCGAN:
    torch.manual_seed(0)
    return ConvFCGAN(**ConvFCGAN.presets["lite"]).eval()


def table(network: nn.Module, example: torch.Tensor) -> list[tuple[str, tuple[int, ...], int]]:
    """Layer, shape of its output and number of its parameters, in the order in which they run."""
    rows = []

    def note(layer: nn.Module, _: object, output: torch.Tensor) -> None:
        rows.append((type(layer).__name__, tuple(output.shape[1:]), sum(p.numel() for p in layer.parameters())))

    for layer in network.modules():
        if not list(layer.children()):
            layer.register_forward_hook(note)
    network(example)
    return rows


def test_generator_is_table_1() -> None:
    with torch.device("meta"):
        network = ConvFCGAN(**ConvFCGAN.presets["paper"])
        rows = table(network, torch.rand(2, 1, 256, 256))
    assert rows == [
        ("Conv2d", (6, 128, 128), 60),
        ("Conv2d", (6, 128, 128), 330),
        ("ReLU", (6, 128, 128), 0),
        ("Conv2d", (6, 64, 64), 330),
        ("Conv2d", (3, 64, 64), 165),
        ("ReLU", (3, 64, 64), 0),
        ("Linear", (1024,), 12_583_936),
        ("Linear", (1024,), 1_049_600),
        ("Linear", (12288,), 12_595_200),
    ]
    assert sum(p.numel() for p in network.parameters()) == 26_229_621


def test_discriminator_is_table_2() -> None:
    with torch.device("meta"):
        network = Discriminator()
        rows = table(network, torch.rand(2, 3, 256, 256))
    assert rows == [
        ("Conv2d", (64, 128, 128), 3_072),
        ("BatchNorm2d", (64, 128, 128), 128),
        ("LeakyReLU", (64, 128, 128), 0),
        ("Conv2d", (128, 64, 64), 294_912),
        ("BatchNorm2d", (128, 64, 64), 256),
        ("LeakyReLU", (128, 64, 64), 0),
        ("Conv2d", (1, 64, 64), 1_152),
        ("Sigmoid", (1, 64, 64), 0),
        ("Linear", (1, 64, 1), 65),
        ("Linear", (1, 1), 65),
    ]
    assert sum(p.numel() for p in network.parameters()) == 299_650


def test_a_narrow_discriminator_has_the_same_layers() -> None:
    """The lite recipe's discriminator is cheap enough for a laptop, and still has the report's design."""
    with torch.device("meta"):
        wide, narrow = (table(Discriminator(width), torch.rand(2, 3, 256, 256)) for width in (64, 16))
    assert [row[0] for row in narrow] == [row[0] for row in wide]
    assert [row[1][-2:] for row in narrow[2:]] == [row[1][-2:] for row in wide[2:]]
    assert 12 * sum(row[2] for row in narrow) < sum(row[2] for row in wide)


def test_discriminator_gives_a_logit_for_each_image() -> None:
    """The two linear layers, which squeeze axes away, must not mix up a batch."""
    torch.manual_seed(0)
    network = Discriminator().eval()
    rgb = torch.rand(3, 3, 256, 256)
    with torch.no_grad():
        together, alone = network(rgb), network(rgb[1:2])
    assert together.shape == (3,)
    assert torch.allclose(together[1:2], alone, atol=1e-6)


def test_output_is_flat_over_blocks_of_four_pixels(lite: ConvFCGAN) -> None:
    """We upsample by repeating pixels: bilinear upsampling would make a different, softer network."""
    with torch.no_grad():
        rgb = lite(torch.rand(1, 1, 256, 256))
    assert torch.equal(rgb, rgb[..., ::4, ::4].repeat_interleave(4, -1).repeat_interleave(4, -2))


def test_rgb_is_clamped_in_use_but_not_in_training() -> None:
    """A clamped pixel has no gradient: half of a new generator's pixels would never learn."""
    torch.manual_seed(0)
    network = ConvFCGAN(**ConvFCGAN.presets["lite"])
    gray = torch.rand(2, 1, 256, 256)
    assert network(gray).min() < 0
    network.train()
    (network(gray) - 0.5).square().mean().backward()
    assert (network.linear[-1].bias.grad != 0).all()
    with torch.no_grad():
        rgb = network.eval()(gray)
    assert 0 <= rgb.min() < rgb.max() <= 1


def test_contract(lite: ConvFCGAN) -> None:
    """Exactly 256 x 256 in, whatever the photograph's shape; out comes the chroma of its RGB."""
    assert lite.size_rule.working_shape(300, 900) == (256, 256)
    lightness = torch.rand(1, 1, 256, 256) * 100
    with torch.no_grad():
        answer, chroma = lite.native(lightness), lite.chroma(lightness)
    assert answer.shape == (1, 3, 256, 256)
    assert chroma.shape == (1, 2, 256, 256)
    rgb = torch.rand(1, 3, 256, 256)
    assert torch.equal(lite.as_rgb(lite.target(rgb), lightness), rgb)
