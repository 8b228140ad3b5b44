"""The U-Net and the PatchGAN agree with the layout of the released files, their paper and the contract."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from colorcli.color import tensors as colors
from colorcli.networks.colorizer import Colorizer
from colorcli.networks.pix2pix import Discriminator, Pix2Pix

STATISTICS = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")


def norm(name: str, channels: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.{entry}": () if entry == STATISTICS[-1] else (channels,) for entry in STATISTICS}


def generator_layout() -> dict[str, tuple[int, ...]]:
    """Names and shapes in ``latest_net_G.pth`` of a unet_256 from one channel to two, in the file's order."""
    widths = (64, 128, 256, 512, 512, 512, 512, 512)
    prefixes = ["model.model", "model.model.1.model"]
    while len(prefixes) < len(widths):
        prefixes.append(f"{prefixes[-1]}.3.model")
    layout: dict[str, tuple[int, ...]] = {"model.model.0.weight": (64, 1, 4, 4)}
    for level in range(1, 8):
        layout[f"{prefixes[level]}.1.weight"] = (widths[level], widths[level - 1], 4, 4)
        if level < 7:
            layout |= norm(f"{prefixes[level]}.2", widths[level])
    for level in range(7, 0, -1):
        innermost = level == 7
        joined = widths[level] if innermost else 2 * widths[level]
        layout[f"{prefixes[level]}.{3 if innermost else 5}.weight"] = (joined, widths[level - 1], 4, 4)
        layout |= norm(f"{prefixes[level]}.{4 if innermost else 6}", widths[level - 1])
    return layout | {"model.model.3.weight": (128, 2, 4, 4), "model.model.3.bias": (2,)}


def discriminator_layout() -> dict[str, tuple[int, ...]]:
    """Names and shapes in ``latest_net_D.pth``."""
    layout: dict[str, tuple[int, ...]] = {"model.0.weight": (64, 3, 4, 4), "model.0.bias": (64,)}
    for index, before, after in ((2, 64, 128), (5, 128, 256), (8, 256, 512)):
        layout[f"model.{index}.weight"] = (after, before, 4, 4)
        layout |= norm(f"model.{index + 1}", after)
    return layout | {"model.11.weight": (1, 512, 4, 4), "model.11.bias": (1,)}


@pytest.fixture(scope="module")
def lite() -> Pix2Pix:
    torch.manual_seed(0)
    return Pix2Pix(**Pix2Pix.presets["lite"]).eval()


@pytest.mark.parametrize(
    ("build", "layout", "parameters"),
    [
        (lambda: Pix2Pix(**Pix2Pix.presets["paper"]), generator_layout(), 54_409_858),
        (Discriminator, discriminator_layout(), 2_765_633),
    ],
    ids=["generator", "discriminator"],
)
def test_the_released_files_load_completely(build: Any, layout: Any, parameters: Any) -> None:
    """Names, order, shapes and dtypes agree, also for files without batch counters."""
    with torch.device("meta"):
        network: nn.Module = build()
    state = network.state_dict()
    assert {name: tuple(value.shape) for name, value in state.items()} == layout
    assert list(state) == list(layout)
    whole = {name: torch.zeros(shape, device="meta") for name, shape in layout.items()}
    for released in (whole, {name: value for name, value in whole.items() if not name.endswith(STATISTICS[-1])}):
        network.load_state_dict(released, strict=True, assign=True)
    assert all(value.is_floating_point() for name, value in state.items() if not name.endswith(STATISTICS[-1]))
    assert sum(parameter.numel() for parameter in network.parameters()) == parameters


def test_the_u_net_is_the_papers_written_out(roughen: Callable[[Any], Any]) -> None:
    """Down: leaky ReLU, convolution, norm; up: ReLU, transposed convolution, norm, joined with the map going down."""
    torch.manual_seed(0)
    network = roughen(Pix2Pix(levels=5, ngf=4))
    blocks = [network.model]
    while inner := [layer for layer in blocks[-1].model if type(layer) is type(network.model)]:
        blocks += inner
    x = torch.rand(1, 1, 64, 32) * 2 - 1

    def layers(block: nn.Module, kind: type[nn.Module]) -> list[nn.Module]:
        return [layer for layer in block.model if isinstance(layer, kind)]

    with torch.no_grad():
        down = [layers(blocks[0], nn.Conv2d)[0](x)]
        for block in blocks[1:]:
            h = F.conv2d(F.leaky_relu(down[-1], 0.2), layers(block, nn.Conv2d)[0].weight, stride=2, padding=1)
            norms = layers(block, nn.BatchNorm2d)
            down.append(norms[0](h) if len(norms) == 2 else h)
        h = down.pop()
        for block in reversed(blocks[1:]):
            up = F.conv_transpose2d(F.relu(h), layers(block, nn.ConvTranspose2d)[0].weight, stride=2, padding=1)
            h = torch.cat((down.pop(), layers(block, nn.BatchNorm2d)[-1](up)), 1)
        expected = torch.tanh(layers(blocks[0], nn.ConvTranspose2d)[0](F.relu(h)))
        torch.testing.assert_close(network(x), expected)


def test_chroma_is_the_output_times_110(lite: Pix2Pix) -> None:
    """The released program's units are L/50 - 1 for the input and ab/110 for output and target."""
    lightness = torch.rand(2, 1, 128, 256) * 100
    with torch.no_grad():
        chroma = lite.chroma(lightness)
        torch.testing.assert_close(chroma, lite(lightness / 50 - 1) * 110)
        assert torch.equal(chroma, lite.chroma(lightness))
        torch.testing.assert_close(chroma[1:], lite.chroma(lightness[1:]), atol=1e-4, rtol=1e-4)
    assert chroma.shape == (2, 2, 128, 256)
    rgb = torch.rand(1, 3, 8, 8)
    torch.testing.assert_close(lite.to_chroma(lite.target(rgb), rgb), colors.srgb_to_lab(rgb)[:, 1:])


def test_sides_are_what_the_levels_need() -> None:
    """With one level too many, the smallest map would have no pixel left."""
    assert Pix2Pix(**Pix2Pix.presets["lite"]).size_rule.working_shape(600, 900) == (256, 384)
    with torch.device("meta"):
        assert Pix2Pix(**Pix2Pix.presets["paper"]).size_rule.working_shape(600, 900) == (256, 256)


def test_dropout_is_in_the_levels_of_full_width_and_only_while_training() -> None:
    """Beyer Bruvik and Penfold's variants have dropout; in use, colours must not be random."""
    with torch.device("meta"):
        network = Pix2Pix(dropout=0.5)
    assert sum(isinstance(module, nn.Dropout) for module in network.modules()) == 3
    narrow, lightness = Pix2Pix(levels=6, ngf=4, dropout=0.5), torch.rand(2, 1, 64, 64) * 100
    with torch.no_grad():
        assert not torch.equal(narrow.chroma(lightness), narrow.chroma(lightness))
        narrow.eval()
        assert torch.equal(narrow.chroma(lightness), narrow.chroma(lightness))


def test_a_patch_is_70_pixels_wide() -> None:
    """The size of the patches is the PatchGAN's defining property (section 3.2.2)."""
    torch.manual_seed(0)
    network = Discriminator(ndf=4).eval()
    image = torch.rand(1, 3, 256, 256, requires_grad=True)
    scores = network(image)
    assert scores.shape == (1, 1, 30, 30)
    scores[0, 0, 15, 15].backward()
    assert image.grad is not None
    rows = image.grad.abs().sum((0, 1, 3)).nonzero().flatten()
    assert rows.max() - rows.min() + 1 == 70


def test_onnx_copies_give_the_same_chroma(
    roughen: Callable[[Any], Any], onnx_difference: Callable[[Colorizer], float]
) -> None:
    """Tested with ``lite``, and with the paper's topology at an eighth of its width."""
    torch.manual_seed(0)
    assert onnx_difference(roughen(Pix2Pix(**Pix2Pix.presets["lite"]))) < 1e-3
    assert onnx_difference(roughen(Pix2Pix(**{**Pix2Pix.presets["paper"], "ngf": 8}))) < 1e-3
