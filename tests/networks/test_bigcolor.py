"""BigColor agrees with its paper, its released checkpoint's layout, and independent formulas."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from colorcli.color import tensors as colors
from colorcli.networks.bigcolor import BigColor, Discriminator, Generator, _Conv


@pytest.fixture(scope="module")
def lite() -> BigColor:
    torch.manual_seed(0)
    return BigColor(**BigColor.presets["lite"]).eval()


@pytest.fixture(scope="module")
def paper() -> BigColor:
    """The paper's topology at a twelfth of its width."""
    torch.manual_seed(0)
    network = BigColor(preset="paper", ch=8).eval()
    for name, buffer in network.named_buffers():
        if name.endswith("stored_var"):
            buffer.uniform_(0.5, 2)
        elif name.endswith("stored_mean"):
            buffer.normal_()
    with torch.no_grad():
        network.G.blocks["3"][1].gamma.fill_(0.7)
    return network


def test_paper_widths_are_those_of_the_released_checkpoint() -> None:
    """With one wrong width, no official file would load."""
    with torch.device("meta"):
        state = BigColor(**BigColor.presets["paper"]).state_dict()
    assert state["E.res5.conv_2.weight"].shape == (768, 768, 3, 3)
    assert state["E.res1.normalize_1.gain.weight"].shape == (1, 128)
    assert state["G.blocks.2.0.conv1.weight"].shape == (768, 768, 3, 3)
    assert state["G.blocks.3.1.theta.weight"].shape == (48, 384, 1, 1)
    assert state["G.blocks.5.0.bn1.gain.weight"].shape == (192, 145)
    assert state["G.output_layer.2.weight"].shape == (3, 96, 3, 3)
    assert state["G.shared.weight"].shape == (1000, 128)


def test_paper_feature_map_has_a_sixteenth_of_the_sides(paper: BigColor) -> None:
    """f is 16 x 16 x 8 ch for 256 x 256 (García et al. 2024): the generator's four blocks need exactly that."""
    code = torch.zeros(1, 128)
    with torch.no_grad():
        f = paper.E(torch.rand(1, 1, 256, 256), code)
    assert f.shape == (1, 64, 16, 16)


def test_paper_output_is_rgb_of_the_input_size(paper: BigColor) -> None:
    with torch.no_grad():
        rgb = paper(torch.rand(2, 1, 64, 96), torch.randn(2, 68), torch.tensor([3, 5]))
    assert rgb.shape == (2, 3, 64, 96)
    assert rgb.abs().max() <= 1


def test_official_codes_of_119_numbers_use_their_last_68(paper: BigColor) -> None:
    """The released programs draw 119 numbers; another slice would give other colours."""
    gray, z, classes = torch.rand(1, 1, 32, 32), torch.randn(1, 119), torch.tensor([1])
    with torch.no_grad():
        assert torch.equal(paper(gray, z, classes), paper(gray, z[:, 51:], classes))
        assert not torch.allclose(paper(gray, z, classes), paper(gray, z[:, :68], classes))


def test_spectral_norm_is_one_power_iteration_from_the_stored_vector() -> None:
    """Official outputs depend on sigma estimated from u0, not on the exact singular value."""
    torch.manual_seed(0)
    layer = _Conv(3, 5, 3).eval()
    before = layer.u0.clone()
    matrix = layer.weight.detach().reshape(5, -1)
    v = F.normalize(layer.u0 @ matrix, eps=1e-6)
    u = F.normalize(v @ matrix.T, eps=1e-6)
    sigma = (v @ matrix.T @ u.T).item()
    assert torch.allclose(layer.normalized(), layer.weight / sigma)
    assert torch.equal(layer.u0, before)


def test_folding_the_normalization_changes_no_output(paper: BigColor) -> None:
    """Sessions fold once at load; a mistake would change every official colour."""
    gray, z, classes = torch.rand(1, 1, 32, 32), torch.randn(1, 68), torch.tensor([1])
    copy = BigColor(preset="paper", ch=8)
    copy.load_state_dict(paper.state_dict())
    copy.prepare()
    with torch.no_grad():
        assert torch.allclose(copy(gray, z, classes), paper(gray, z, classes), atol=1e-5)


def test_generator_block_follows_biggan(paper: BigColor) -> None:
    """ccBN, ReLU, up, conv, ccBN, ReLU, conv, plus up and 1x1, written out with plain functions."""
    block = paper.G.blocks["2"][0]
    x, y = torch.randn(1, 64, 4, 4), torch.randn(1, 145)

    def norm(h: torch.Tensor, layer: torch.nn.Module) -> torch.Tensor:
        h = (h - layer.stored_mean[:, None, None]) / (layer.stored_var[:, None, None] + 1e-5).sqrt()
        gain, bias = y @ layer.gain.normalized().T, y @ layer.bias.normalized().T
        return h * (1 + gain[0])[:, None, None] + bias[0][:, None, None]

    def conv(h: torch.Tensor, layer: torch.nn.Module, padding: int) -> torch.Tensor:
        return F.conv2d(h, layer.normalized(), layer.bias, padding=padding)

    with torch.no_grad():
        h = norm(x, block.bn1).relu().repeat_interleave(2, 2).repeat_interleave(2, 3)
        h = norm(conv(h, block.conv1, 1), block.bn2).relu()
        shortcut = conv(x.repeat_interleave(2, 2).repeat_interleave(2, 3), block.conv_sc, 0)
        assert torch.allclose(block(x, y), conv(h, block.conv2, 1) + shortcut, atol=1e-4)


def test_contract_of_both_presets(lite: BigColor, paper: BigColor) -> None:
    """Lightness in, chroma in CIELAB units out, at sides that the network's size rule allows."""
    for network in (lite, paper):
        step = network.size_rule.multiple_of
        lightness = torch.rand(2, 1, 2 * step, 3 * step) * 100
        with torch.no_grad():
            chroma = network.chroma(lightness, z=torch.randn(2, 68))
        assert chroma.shape[:2] == (2, 2)
        assert chroma.shape[3] * 2 == chroma.shape[2] * 3
        assert torch.isfinite(chroma).all()


def test_lite_rgb_has_the_photographs_own_lightness(lite: BigColor) -> None:
    gray = torch.rand(1, 1, 64, 64) * 0.5 + 0.25
    with torch.no_grad():
        rgb = (lite(gray) + 1) / 2
    inside = ((rgb > 0) & (rgb < 1)).all(1, keepdim=True)
    difference = (colors.srgb_to_lab(rgb)[:, :1] - colors.gray_to_lightness(gray)).abs()
    assert inside.float().mean() > 0.9
    assert difference[inside].max() < 0.01


def test_a_given_class_overrides_the_classifier_photo_by_photo(lite: BigColor) -> None:
    """--class must reach the network, and -1 must leave the choice to the classifier."""
    lightness = torch.rand(2, 1, 64, 64) * 100
    with torch.no_grad():
        features = lite.classifier(colors.lightness_to_gray(lightness))
        own = lite.classifier.logits(features).argmax(1)
        free = lite.chroma(lightness)
        fixed = lite.chroma(lightness, class_index=torch.stack((own[0], (own[1] + 1) % 1000)))
        mixed = lite.chroma(lightness, class_index=torch.tensor([-1, int(own[1] + 1) % 1000]))
    assert torch.allclose(free[0], fixed[0])
    assert torch.allclose(fixed, mixed)
    assert not torch.allclose(free[1], fixed[1])


def test_the_same_photo_alone_or_in_a_batch(lite: BigColor) -> None:
    """Colours must not depend on which photographs happen to share a batch."""
    lightness, z = torch.rand(3, 1, 64, 64) * 100, torch.randn(3, 68)
    with torch.no_grad():
        together = lite.chroma(lightness, z=z)
        alone = lite.chroma(lightness[1:2], z=z[1:2])
    assert torch.allclose(together[1:2], alone, atol=1e-3)


def test_discriminator_of_the_paper_halves_six_times() -> None:
    """BigGAN-256: widths 96 (1, 2, 4, 8, 8, 16, 16), attention at 64 px, class projection."""
    with torch.device("meta"):
        network = Discriminator()
    blocks = [block for block in network.blocks if hasattr(block, "down")]
    assert [block.conv1.weight.shape[0] for block in blocks] == [96, 192, 384, 768, 768, 1536, 1536]
    assert [block.down for block in blocks] == [True] * 6 + [False]
    assert type(network.blocks[2]).__name__ == "SelfAttention"
    assert network.embed.weight.shape == (1000, 1536)


def test_discriminator_scores_depend_on_the_class() -> None:
    torch.manual_seed(0)
    network = Discriminator(ch=4, multipliers=(1, 2, 2)).eval()
    image = torch.rand(2, 3, 32, 32) * 2 - 1
    with torch.no_grad():
        one, other = network(image, torch.tensor([0, 0])), network(image, torch.tensor([0, 9]))
    assert one.shape == (2,)
    assert torch.allclose(one[0], other[0])
    assert not torch.allclose(one[1], other[1])


def test_generator_ignores_no_chunk_of_z() -> None:
    """Each of the four chunks of 17 steers its own block."""
    torch.manual_seed(0)
    generator = Generator((8, 8, 8, 8, 8), attention=1, first=2, out_channels=2, spectral=False).eval()
    f, code = torch.randn(1, 8, 2, 2), torch.zeros(1, 128)
    with torch.no_grad():
        base = generator(f, code, torch.zeros(1, 68))
        for chunk in range(4):
            z = torch.zeros(1, 68)
            z[:, 17 * chunk : 17 * (chunk + 1)] = 1
            assert not torch.allclose(base, generator(f, code, z))


def test_lite_truncates_codes_far_from_those_it_was_trained_with(lite: BigColor) -> None:
    """At sigma 10, untruncated codes fade most colours to gray."""
    lightness = torch.rand(2, 1, 64, 64) * 100
    z = torch.randn(2, 68)
    with torch.no_grad():
        far, truncated, near = (lite.chroma(lightness, z=each) for each in (10 * z, (10 * z).clamp(-3.5, 3.5), z))
    assert torch.equal(far, truncated)
    assert not torch.equal(far, near)


def test_the_curve_makes_only_strong_colours_more_vivid(lite: BigColor) -> None:
    """It must keep hues, and not amplify the faint colours of which the generator is uncertain."""
    lightness = 60 + 20 * torch.randn(1, 1, 64, 64)
    with torch.no_grad():
        plain = 40 * lite.chroma(lightness) / lite.chroma(lightness).square().sum(1).sqrt().max()
        lite.curve = (1.2, 0.4)
        curved = 110 * lite._curved(plain / 110)
    lite.curve = (1.0, 0.0)
    before, after = plain.square().sum(1).sqrt(), curved.square().sum(1).sqrt()
    assert torch.allclose(curved / after[:, None], plain / before[:, None], atol=1e-4)
    assert torch.allclose(after, 1.2 * before * (before / 20) ** 0.4, rtol=0.02, atol=0.05)
    assert lite._curved(plain) is plain
