"""The systems that are in none of the papers: layouts of their released files, and details that layouts don't show.

Their outputs were compared with the authors' programs, with random weights in the released layouts; these are the parts
of that comparison which need no foreign code.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from colorcli.color import tensors as colors
from colorcli.networks import dynamic_unet
from colorcli.networks.colorizer import Colorizer
from colorcli.networks.ddcolor import DDColor, sine_positions
from colorcli.networks.deoldify import DeOldify
from colorcli.networks.siggraph17 import Siggraph17
from colorcli.networks.spectral import Spectral, SpectralConv2d
from colorcli.registry import registry
from colorcli.registry.systems import OUTSIDE, systems

from .layouts import SMALL_DDCOLOR, released_layout

# A released file, its network and preset, and the tensors that its program does not use.
RELEASED: list[tuple[str, type[Colorizer], str, tuple[str, ...]]] = [
    ("siggraph17", Siggraph17, "paper", ("model_class.",)),
    ("ddcolor-tiny", DDColor, "tiny", ("encoder.arch.norm.",)),
    ("ddcolor-large", DDColor, "large", ("encoder.arch.norm.",)),
    ("deoldify-artistic", DeOldify, "artistic", ()),
    ("deoldify-stable", DeOldify, "stable", ()),
]


@pytest.fixture(scope="module")
def ddcolor() -> DDColor:
    torch.manual_seed(0)
    network = DDColor(**SMALL_DDCOLOR, size=64, stretch=False)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name.endswith("gamma"):
                parameter.normal_(0.5, 0.2)
        network.refine_net[0][0].weight_orig.mul_(20)
        network.refine_net[0][0].weight_v.copy_(F.normalize(torch.randn(13), dim=0))
    return network.eval()


@pytest.fixture(scope="module")
def deoldify() -> DeOldify:
    torch.manual_seed(0)
    # PyTorch's own initialization takes half a minute, and would be overwritten.
    network = registry.empty_network("deoldify", {"deep": False, "width": 16, "render_factor": 3}).to_empty(
        device="cpu"
    )
    assert isinstance(network, DeOldify)
    with torch.no_grad():
        for name, value in network.state_dict().items():
            if value.ndim > 1:
                value.normal_(0, value[0].numel() ** -0.5)
            elif name.endswith(("weight_u", "weight_v")):
                value.normal_(0, 1)
            elif value.ndim == 1:
                value.uniform_(0.5, 1.5).mul_(0.2 if name.endswith(("bias", "running_mean")) else 1)
        for module in network.modules():
            if isinstance(module, Spectral):
                for _ in range(2):
                    module._iterate()
    return network.eval()


@pytest.mark.parametrize(("file", "network_class", "preset", "unused"), RELEASED, ids=[row[0] for row in RELEASED])
def test_released_files_load_completely(
    file: str, network_class: type[Colorizer], preset: str, unused: tuple[str, ...]
) -> None:
    """With one different name or shape, nobody could use these popular weights."""
    own = registry.shapes(registry.empty_network(file.partition("-")[0], network_class.presets[preset]))
    released = {name: shape for name, shape in released_layout(file).items() if not name.startswith(unused)}
    assert own == released


def test_they_are_registered_as_the_papers_systems_are() -> None:
    assert {point.name for point in OUTSIDE} == {"ddcolor", "deoldify", "siggraph17"}
    for point in OUTSIDE:
        assert systems().network_class(point.name).presets


def test_stored_vectors_give_the_norm_and_are_not_iterated() -> None:
    """In a released file they need not have converged: recomputing the norm would change the colours."""
    torch.manual_seed(0)
    layer = SpectralConv2d(3, 5, 3)
    with torch.no_grad():
        layer.weight_u.copy_(F.normalize(torch.rand(5), dim=0))
        layer.weight_v.copy_(F.normalize(torch.rand(27), dim=0))
    layer.eval()
    x = torch.randn(1, 3, 6, 6)
    sigma = layer.weight_u @ layer.weight_orig.flatten(1) @ layer.weight_v
    expected = F.conv2d(x, layer.weight_orig / sigma, layer.bias, padding=1)
    before = layer.weight_u.clone()
    torch.testing.assert_close(layer(x), expected)
    assert torch.equal(layer.weight_u, before)
    layer.fold()
    layer.fold()
    torch.testing.assert_close(layer(x), expected)


def test_attention_is_normalized_over_the_query() -> None:
    """The released programs' softmax runs over the query's positions; the usual one would have the same shapes."""
    torch.manual_seed(0)
    attention = dynamic_unet.SelfAttention(16).eval()
    with torch.no_grad():
        attention.gamma.fill_(0.7)
        for part in (attention.query, attention.key):
            part.weight_orig.mul_(4)
    x = torch.randn(2, 16, 4, 5)
    flat = x.flatten(2)
    query, key, value = (part(flat) for part in (attention.query, attention.key, attention.value))
    weights = torch.einsum("bci,bcj->bij", query, key).softmax(1)
    expected = 0.7 * torch.einsum("bci,bij->bcj", value, weights).view_as(x) + x
    torch.testing.assert_close(attention(x), expected, atol=1e-5, rtol=1e-5)


def test_pixel_shuffle_averages_each_pixel_with_those_above_and_left() -> None:
    shuffle = dynamic_unet.PixelShuffle(4, 2, norm="weight").eval()
    x = torch.randn(1, 4, 3, 3)
    weight = shuffle.conv[0].weight_v / shuffle.conv[0].weight_v.norm(dim=1, keepdim=True)
    large = F.pixel_shuffle(F.relu(F.conv2d(x, weight)), 2)
    padded = np.pad(large.detach().numpy(), ((0, 0), (0, 0), (1, 0), (1, 0)), mode="edge")
    expected = (padded[..., 1:, 1:] + padded[..., :-1, 1:] + padded[..., 1:, :-1] + padded[..., :-1, :-1]) / 4
    np.testing.assert_allclose(shuffle(x).detach().numpy(), expected, atol=1e-5)


def test_positions_are_detrs() -> None:
    """Rows before columns, alternating sines and cosines, counted from 1 to the length and scaled to 2 pi."""
    found = sine_positions(3, 5, 16, torch.zeros(())).view(3, 5, 16).numpy()
    for row in range(3):
        for column in range(5):
            expected = []
            for at, length in ((row + 1, 3), (column + 1, 5)):
                angle = at / (length + 1e-6) * 2 * np.pi
                for pair in range(4):
                    wavelength = 10_000 ** (2 * pair / 8)
                    expected += [np.sin(angle / wavelength), np.cos(angle / wavelength)]
            np.testing.assert_allclose(found[row, column], expected, atol=1e-6)


def test_convnexts_stages_continue_from_maps_before_their_norms(ddcolor: DDColor) -> None:
    """The norms are only for the decoder: applied to the trunk, they would change every later map."""
    arch = ddcolor.encoder.arch
    x = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        maps = arch(x)
        trunk = arch.stages[0](arch.downsample_layers[0](x))
        following = arch.stages[1](arch.downsample_layers[1](trunk))
        torch.testing.assert_close(maps[1], arch.norm1(following))
    assert [tuple(one.shape[1:]) for one in maps] == [(8, 16, 24), (16, 8, 12), (24, 4, 6), (32, 2, 3)]


def test_ddcolor_takes_gray_and_returns_lab_units(ddcolor: DDColor) -> None:
    """a* and b* have neither tanh nor scale; the gray is gamma-coded, not lightness."""
    seen: list[Tensor] = []
    hook = ddcolor.encoder.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    lightness = torch.rand(2, 1, 64, 32) * 100
    with torch.no_grad():
        chroma = ddcolor.chroma(lightness)
        direct = ddcolor(colors.lightness_to_gray(lightness).expand(-1, 3, -1, -1))
    hook.remove()
    assert chroma.shape == (2, 2, 64, 32)
    torch.testing.assert_close(chroma, direct)
    gray = colors.lightness_to_gray(lightness)
    expected = torch.cat([(gray - mean) / sd for mean, sd in ((0.485, 0.229), (0.456, 0.224), (0.406, 0.225))], 1)
    torch.testing.assert_close(seen[0], expected)


def test_deoldify_takes_any_render_factor(deoldify: DeOldify) -> None:
    """Odd factors, including the default, lead to maps that do not fit and are resized."""
    assert registry.empty_network("deoldify", DeOldify.presets["artistic"]).size_rule.working_shape(600, 900) == (
        560,
        560,
    )
    for factor in (2, 3, 5):
        side = 16 * factor
        with torch.no_grad():
            assert deoldify.chroma(torch.rand(1, 1, side, side) * 100).shape == (1, 2, side, side)


def test_deoldify_returns_rgb(deoldify: DeOldify) -> None:
    """Its output is denormalized, and out-of-range colours are clipped. 8-bit gray reaches the network exactly."""
    gray = torch.randint(0, 256, (1, 1, 48, 48)) / 255
    lightness = colors.gray_to_lightness(gray)
    with torch.no_grad():
        rgb = deoldify.native(lightness)
        mean, sd = (torch.tensor(v).view(1, 3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
        assert torch.equal(rgb, deoldify((gray.expand(-1, 3, -1, -1) - mean) / sd) * sd + mean)
        chroma = deoldify.chroma(lightness)
    torch.testing.assert_close(chroma, colors.srgb_to_lab(rgb.clamp(0, 1))[:, 1:])


def test_folding_changes_no_colour(ddcolor: DDColor, deoldify: DeOldify) -> None:
    for network in (ddcolor, deoldify):
        lightness = torch.rand(1, 1, 32, 32) * 100
        with torch.no_grad():
            before = network.chroma(lightness)
            network.prepare()
            torch.testing.assert_close(network.chroma(lightness), before, atol=1e-3, rtol=1e-4)
        assert all(module.folded for module in network.modules() if isinstance(module, Spectral))
        # PyTorch's counter, which export and evaluate use, follows gradients into views of weights and fails there.
        with torch.inference_mode(), FlopCounterMode(display=False) as counter:
            network.chroma(lightness)
        assert counter.get_total_flops() > 0


def test_hints_are_ab_and_a_mask_beside_lightness() -> None:
    """(L - 50) / 100, ab / 110, and 0 or 1: with another scale, a hint would give another colour."""
    torch.manual_seed(0)
    network = Siggraph17(width=4).eval()
    seen: list[Tensor] = []
    network.model1.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    lightness = torch.rand(1, 1, 16, 24) * 100
    hints = torch.zeros(1, 3, 16, 24)
    hints[:, :, 4:6, 8:10] = torch.tensor([55.0, -22.0, 1.0]).view(1, 3, 1, 1)
    with torch.no_grad():
        plain, hinted = network.native(lightness), network.native(lightness, hints=hints)
    torch.testing.assert_close(seen[0], torch.cat((lightness / 100 - 0.5, torch.zeros(1, 3, 16, 24)), 1))
    torch.testing.assert_close(seen[1][0, :, 4, 8], torch.tensor([lightness[0, 0, 4, 8] / 100 - 0.5, 0.5, -0.2, 1.0]))
    assert (plain - hinted).abs().max() > 0


@pytest.fixture(scope="module")
def siggraph17() -> Siggraph17:
    torch.manual_seed(0)
    network = Siggraph17(width=8)
    with torch.no_grad():
        network.model_out[0].weight.mul_(20)
    return network.eval()


@pytest.mark.slow
@pytest.mark.parametrize("system", ["ddcolor", "deoldify", "siggraph17"])
def test_onnx_copies_give_the_same_chroma(
    system: str, request: pytest.FixtureRequest, onnx_difference: Callable[[Colorizer], float]
) -> None:
    """Machines without PyTorch can use only networks that can be exported."""
    network = request.getfixturevalue(system)
    network.prepare()
    assert onnx_difference(network) < 1e-3
