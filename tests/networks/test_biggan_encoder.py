"""The encoder into BigGAN's latents: its layers, classes, latents and contract."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import scipy.stats
import torch
from torch import nn

from colorcli.networks.biggan_encoder import BigGANEncoder, distance_from_prior
from colorcli.networks.colorizer import Colorizer


@pytest.fixture(scope="module")
def lite() -> BigGANEncoder:
    torch.manual_seed(0)
    return BigGANEncoder(**BigGANEncoder.presets["lite"]).eval()


def classes_of(network: BigGANEncoder, gray: torch.Tensor) -> torch.Tensor:
    return network.backbone.logits(network.backbone(gray)).argmax(1)


def test_paper_encoder_has_the_papers_layers() -> None:
    """2048 pooled, 512, batch norm, ReLU, 128, batch norm; classifier and generator frozen."""
    with torch.device("meta"):
        network = BigGANEncoder(**BigGANEncoder.presets["paper"])
    layers = (*network.hidden, *network.to_latents)
    assert [type(layer) for layer in layers] == [nn.Linear, nn.BatchNorm1d, nn.ReLU, nn.Linear, nn.BatchNorm1d]
    assert network.hidden[0].weight.shape == (512, 2048)
    assert network.to_latents[0].weight.shape == (128, 512)
    assert network.frozen_parts == {"classifier": "efficientnet_b0", "generator": "biggan-deep-128"}
    learning = {name.split(".")[0] for name, p in network.named_parameters() if p.requires_grad}
    assert learning == {"backbone", "hidden", "to_latents"}
    # torchvision's ResNet-50 without its classifier, and the two layers with their norms.
    assert sum(p.numel() for p in network.backbone.parameters()) == 25_557_032 - 2_049_000
    assert sum(p.numel() for layer in layers for p in layer.parameters()) == 2049 * 512 + 1024 + 513 * 128 + 256


def test_paper_turns_gray_into_an_image_of_128_pixels() -> None:
    """The parts fit together, which is checked without running fifty million parameters."""
    with torch.device("meta"):
        network = BigGANEncoder(**BigGANEncoder.presets["paper"]).eval()
        assert network(torch.rand(2, 1, 128, 128)).shape == (2, 3, 128, 128)
        assert network.latent(torch.rand(2, 1, 128, 128)).shape == (2, 1, 128)


def test_a_given_class_overrides_the_classifier_photo_by_photo(lite: BigGANEncoder) -> None:
    """Variants 3 to 6 are given the true class; -1 must leave it to the classifier."""
    gray = torch.rand(2, 1, 128, 128)
    with torch.no_grad():
        own = classes_of(lite, gray)
        other = (own + 500) % 1000
        free = lite(gray)
        assert torch.equal(lite(gray, own), free)
        mixed = lite(gray, torch.tensor([-1, int(other[1])]))
    assert torch.equal(mixed[0], free[0])
    assert not torch.allclose(mixed[1], free[1], atol=1e-3)


def test_shrinkage_scales_the_latents(lite: BigGANEncoder) -> None:
    """Variants 5 and 6: without the factor, latents leave the range that the generator was trained on."""
    shrunk = BigGANEncoder(**BigGANEncoder.presets["lite"] | {"shrinkage": 0.1})
    shrunk.load_state_dict(lite.state_dict())
    gray = torch.rand(2, 1, 128, 128)
    with torch.no_grad():
        assert torch.allclose(shrunk.eval().latent(gray), 0.1 * lite.latent(gray), atol=1e-6)


def test_several_latents_are_blended_by_channel(lite: BigGANEncoder) -> None:
    """Equal latents with the initial equal weights must give the single latent's image; other weights must not."""
    torch.manual_seed(0)
    several = BigGANEncoder(**BigGANEncoder.presets["lite"] | {"latents": 3})
    state = lite.state_dict()
    for name in [name for name in state if name.startswith("to_latents.") and state[name].ndim]:
        state[name] = torch.cat([state[name]] * 3)
    missing = several.load_state_dict(state, strict=False)
    assert missing.missing_keys == ["to_weights.weight", "to_weights.bias"]
    gray = torch.rand(2, 1, 128, 128)
    several.eval()
    with torch.no_grad():
        assert several.latent(gray).shape == (2, 3, 128)
        assert torch.allclose(several(gray), lite(gray), atol=1e-4)
        several.to_weights.bias[:10] = 0
        assert not torch.allclose(several(gray), lite(gray), atol=1e-4)


def test_gradients_pass_through_the_frozen_generator_to_the_encoder() -> None:
    """The encoder learns through the generator, which must not be changed by training."""
    torch.manual_seed(0)
    network = BigGANEncoder(**BigGANEncoder.presets["lite"] | {"latents": 2}).train()
    before = {name: tensor.clone() for name, tensor in network.generator.state_dict().items()}
    # The weights start at zero, so that only their bias would get a gradient in a first step.
    nn.init.normal_(network.to_weights.weight, 0, 0.01)
    network.native(torch.rand(3, 1, 128, 128) * 100).square().mean().backward()
    assert all(torch.equal(before[name], tensor) for name, tensor in network.generator.state_dict().items())
    assert all(p.grad is None for part in (network.generator, network.backbone) for p in part.parameters())
    for part in (network.hidden, network.to_latents, network.to_weights):
        assert all(p.grad is not None and p.grad.isfinite().all() for p in part.parameters())
    assert network.to_latents[1].weight.grad.abs().sum() > 0


def test_contract(lite: BigGANEncoder) -> None:
    """Exactly 128 x 128 in; RGB in 0..1 as in the paper's loss; the chroma of that RGB."""
    assert lite.size_rule.working_shape(300, 900) == (128, 128)
    lightness = torch.rand(2, 1, 128, 128) * 100
    with torch.no_grad():
        answer, chroma = lite.native(lightness), lite.chroma(lightness)
        assert torch.equal(chroma, lite.chroma(lightness))
    assert answer.shape == (2, 3, 64, 64)
    assert 0 <= answer.min() < answer.max() <= 1
    assert chroma.shape == (2, 2, 64, 64)
    rgb = torch.rand(2, 3, 64, 64)
    assert torch.equal(lite.as_rgb(lite.target(rgb), lightness), rgb)


def test_preparing_changes_no_colour(lite: BigGANEncoder) -> None:
    """Sessions fold the generator's norms once at load."""
    copy = BigGANEncoder(**BigGANEncoder.presets["lite"])
    copy.load_state_dict(lite.state_dict())
    copy.prepare()
    lightness = torch.rand(1, 1, 128, 128) * 100
    with torch.no_grad():
        assert torch.allclose(copy.chroma(lightness), lite.chroma(lightness), atol=1e-2)


def test_unknown_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="no preset 'large'"):
        BigGANEncoder(preset="large")
    with pytest.raises(ValueError, match="a layer of the generator from 1 to"):
        BigGANEncoder(latents=2, blend_at=40)


@pytest.mark.slow
def test_onnx_gives_the_same_chroma(onnx_difference: Callable[[Colorizer], float]) -> None:
    """Tested with several latents, which need the most operators, and folded, as in sessions and exports."""
    torch.manual_seed(0)
    network = BigGANEncoder(**BigGANEncoder.presets["lite"] | {"latents": 2})
    network.prepare()
    assert onnx_difference(network) < 1e-3


def test_the_distance_from_the_prior_is_wassersteins() -> None:
    """The claim that shrinkage brings latents closer to what the generator expects needs a correct number."""
    rng = np.random.default_rng(0)
    values = np.stack([rng.normal(0, 0.3, 128), rng.normal(0.5, 1, 128), rng.uniform(-2, 2, 128)])
    prior = scipy.stats.truncnorm(-2, 2)
    dense = prior.ppf((np.arange(100_000) + 0.5) / 100_000)
    expected = [scipy.stats.wasserstein_distance(row, dense) for row in values]
    found = distance_from_prior(torch.from_numpy(values)).tolist()
    assert found == pytest.approx(expected, abs=2e-3)
    own = distance_from_prior(torch.from_numpy(prior.rvs((200, 128), random_state=rng))).mean()
    assert own == pytest.approx(0.09, abs=0.01)
    exact = torch.from_numpy(prior.ppf((np.arange(128) + 0.5) / 128))[None]
    assert distance_from_prior(exact) < 0.01
