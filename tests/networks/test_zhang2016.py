"""The classification network agrees with its paper, the layout of its released checkpoint, and the contract."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from colorcli.color import bins
from colorcli.color import tensors as colors
from colorcli.networks.colorizer import Colorizer
from colorcli.networks.zhang2016 import Zhang2016

# Group: input channels, output channels, convolutions, stride of the last one, dilation.
GROUPS = {
    1: (1, 64, 2, 2, 1),
    2: (64, 128, 2, 2, 1),
    3: (128, 256, 3, 2, 1),
    4: (256, 512, 3, 1, 1),
    5: (512, 512, 3, 1, 2),
    6: (512, 512, 3, 1, 2),
    7: (512, 512, 3, 1, 1),
}


def released_layout() -> dict[str, tuple[int, ...]]:
    """Names and shapes in ``colorization_release_v2-9b330a0b.pth``, without ``num_batches_tracked``."""
    layout: dict[str, tuple[int, ...]] = {}

    def add(name: str, *weight: int, bias: int) -> None:
        layout[f"{name}.weight"] = weight
        layout[f"{name}.bias"] = (bias,)

    for group, (before, after, count, _, _) in GROUPS.items():
        for index in range(count):
            add(f"model{group}.{2 * index}", after, after if index else before, 3, 3, bias=after)
        norm = f"model{group}.{2 * count}"
        add(norm, after, bias=after)
        layout[f"{norm}.running_mean"] = layout[f"{norm}.running_var"] = (after,)
    add("model8.0", 512, 256, 4, 4, bias=256)
    add("model8.2", 256, 256, 3, 3, bias=256)
    add("model8.4", 256, 256, 3, 3, bias=256)
    add("model8.6", 313, 256, 1, 1, bias=313)
    layout["model_out.weight"] = (2, 313, 1, 1)
    return layout


@pytest.fixture(scope="module")
def paper() -> Zhang2016:
    torch.manual_seed(0)
    return Zhang2016(**Zhang2016.presets["paper"]).eval()


@pytest.fixture(scope="module")
def lite() -> Zhang2016:
    torch.manual_seed(0)
    return Zhang2016(**Zhang2016.presets["lite"]).eval()


def test_the_released_checkpoint_loads_completely() -> None:
    """Names, shapes and dtypes agree, for files with and without batch counters."""
    with torch.device("meta"):
        network = Zhang2016(**Zhang2016.presets["paper"])
    released = {name: torch.full(shape, 0.5) for name, shape in released_layout().items()}
    network.to_empty(device="cpu").load_state_dict(released, strict=True)
    own = {name: value for name, value in network.state_dict().items() if not name.endswith("num_batches_tracked")}
    assert list(own) == list(released)
    assert all(value.dtype == torch.float32 and bool((value == 0.5).all()) for value in own.values())
    assert len(network.state_dict()) - len(own) == 7
    network.load_state_dict(network.state_dict(), strict=True)
    assert sum(parameter.numel() for parameter in network.parameters()) == 32_236_011


def test_strides_and_dilations_are_those_of_the_paper(paper: Zhang2016) -> None:
    """Shapes do not show them: with a wrong one, weights load silently and colours get half the context."""
    for group, (_, _, count, stride, dilation) in GROUPS.items():
        layers = [layer for layer in paper.get_submodule(f"model{group}") if isinstance(layer, nn.Conv2d)]
        assert [layer.stride[0] for layer in layers] == [1] * (count - 1) + [stride]
        assert {(layer.dilation[0], layer.padding[0]) for layer in layers} == {(dilation, dilation)}


def test_official_output_is_the_convolved_softmax_enlarged_four_times(paper: Zhang2016) -> None:
    """(L - 50) / 100 in; softmax, 1x1 convolution, times 110, bilinear without aligned corners out."""
    seen: list[Tensor] = []
    hook = paper.model1.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    lightness = torch.rand(1, 1, 32, 40) * 100
    with torch.no_grad():
        chroma, logits = paper.chroma(lightness), paper.native(lightness)
        decoded = torch.einsum("kc,nchw->nkhw", paper.model_out.weight[:, :, 0, 0], logits.softmax(1)) * 110
    hook.remove()
    torch.testing.assert_close(seen[0], lightness / 100 - 0.5)
    assert logits.shape == (1, 313, 8, 10)
    expected = F.interpolate(decoded, size=(32, 40), mode="bilinear", align_corners=False)
    torch.testing.assert_close(chroma, expected, atol=1e-4, rtol=1e-5)


def test_other_sides_round_up_to_multiples_of_eight(paper: Zhang2016) -> None:
    with torch.no_grad():
        assert paper.chroma(torch.rand(1, 1, 20, 25) * 100).shape == (1, 2, 24, 32)
    assert paper.size_rule.working_shape(600, 900) == (256, 256)


def test_decoding_is_chosen_by_name() -> None:
    """The released weights have their own decoding; those trained here need the paper's."""
    with pytest.raises(ValueError, match="'mode'"):
        Zhang2016("paper", decode="mode")
    with pytest.raises(ValueError, match="lite cannot decode by 'convolution'"):
        Zhang2016("lite", decode="convolution")


def test_before_training_the_convolution_is_the_mean(paper: Zhang2016) -> None:
    """Cross-entropy never trains it: random initial weights would stay random forever."""
    assert not paper.model_out.weight.requires_grad
    logits = torch.randn(1, 313, 4, 4) * 3
    torch.testing.assert_close(
        paper.to_chroma(logits, torch.zeros(1)), colors.annealed_mean(logits, 1.0), atol=1e-3, rtol=1e-4
    )


def test_target_is_the_encoded_chroma_of_a_quarter_of_the_size(paper: Zhang2016, lite: Zhang2016) -> None:
    rgb = torch.tensor([0.8, 0.4, 0.2]).view(1, 3, 1, 1).expand(-1, -1, 64, 32).contiguous()
    truth = colors.srgb_to_lab(rgb)[:, 1:]
    for network in (paper, lite):
        target = network.target(rgb)
        with torch.no_grad():
            assert target.shape == network.native(torch.full((1, 1, 64, 32), 50.0)).shape
        torch.testing.assert_close(target.sum(1), torch.ones(1, 16, 8))
        assert (colors.annealed_mean(target.log(), 1.0) - truth[:, :, ::4, ::4]).abs().max() < 3.5


def test_lite_wastes_none_of_its_parameters() -> None:
    """Parameters that are never trained would be bundled for nothing."""
    network = Zhang2016(**Zhang2016.presets["lite"]).train()
    rgb = torch.rand(2, 3, 64, 64)
    logits = network.native(colors.srgb_to_lab(rgb)[:, :1])
    F.cross_entropy(logits, network.target(rgb)).backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


def test_lite_starts_from_the_prior() -> None:
    """Its first output is the distribution of colours in the world, not random loud colours."""
    torch.manual_seed(0)
    network = Zhang2016(**Zhang2016.presets["lite"]).eval()
    with torch.no_grad():
        p = network.native(torch.rand(1, 1, 64, 64) * 100).softmax(1).mean((0, 2, 3))
    prior = torch.tensor(bins.ab_bins().prior, dtype=torch.float32)
    assert (p - prior).abs().sum() < 0.2


def test_lite_colours_do_not_depend_on_the_batch(lite: Zhang2016) -> None:
    lightness = torch.rand(3, 1, 64, 96) * 100
    with torch.no_grad():
        together, alone = lite.chroma(lightness), lite.chroma(lightness[1:2])
        assert torch.equal(together, lite.chroma(lightness))
    assert together.shape == (3, 2, 16, 24)
    torch.testing.assert_close(together[1:2], alone, atol=1e-4, rtol=1e-4)


def test_a_lower_temperature_is_more_vivid(lite: Zhang2016) -> None:
    """The decoding's only parameter must work in the right direction."""
    logits = torch.randn(1, 313, 8, 8, generator=torch.Generator().manual_seed(0)) * 3
    cool, warm = Zhang2016("lite", temperature=0.2), lite
    assert cool.to_chroma(logits, logits).norm(dim=1).mean() > warm.to_chroma(logits, logits).norm(dim=1).mean() * 1.1


@pytest.mark.slow
def test_onnx_copies_give_the_same_chroma(
    paper: Any, roughen: Callable[[Any], Any], onnx_difference: Callable[[Colorizer], float]
) -> None:
    """This holds for any batch size and sides that the size rule allows, with attention and dilation in effect."""
    torch.manual_seed(0)
    lite = roughen(Zhang2016(**Zhang2016.presets["lite"]))
    with torch.no_grad():
        lite.decoder.bins.weight.mul_(20)
    assert onnx_difference(lite) < 1e-3
    assert onnx_difference(paper) < 1e-3
