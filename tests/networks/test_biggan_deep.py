"""BigGAN-deep agrees with the layout of the released file and with independent formulas."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from colorcli.networks import bigcolor
from colorcli.networks.biggan_deep import (
    BigGANDeep,
    BigGANDeep128,
    BigGANLite64,
    Discriminator,
    describe_classes,
    sample_latents,
)

BLOCKS = ((16, 16), (16, 16), (16, 16), (16, 8), (8, 8), (8, 4), (4, 4), (4, 2), (2, 2), (2, 1))


def layout_of_the_released_file() -> dict[str, tuple[int, ...]]:
    """Names and shapes in ``pytorch_model.bin`` of biggan-deep-128 (506 tensors)."""
    layout: dict[str, tuple[int, ...]] = {"embeddings.weight": (128, 1000)}

    def spectral(name: str, shape: tuple[int, ...], bias: bool) -> None:
        if bias:
            layout[f"{name}.bias"] = shape[:1]
        layout[f"{name}.weight_orig"] = shape
        layout[f"{name}.weight_u"] = shape[:1]
        layout[f"{name}.weight_v"] = (math.prod(shape[1:]),)

    def statistics(name: str, channels: int) -> None:
        layout[f"{name}.running_means"] = layout[f"{name}.running_vars"] = (51, channels)

    spectral("generator.gen_z", (32768, 256), bias=True)
    for index, (before, after) in enumerate(BLOCKS):
        name = f"generator.layers.{index + (index >= 8)}"
        wide, middle, out = 128 * before, 32 * before, 128 * after
        shapes = ((middle, wide, 1, 1), (middle, middle, 3, 3), (middle, middle, 3, 3), (out, middle, 1, 1))
        for k, shape in enumerate(shapes):
            statistics(f"{name}.bn_{k}", shape[1])
            spectral(f"{name}.bn_{k}.scale", (shape[1], 256), bias=False)
            spectral(f"{name}.bn_{k}.offset", (shape[1], 256), bias=False)
            spectral(f"{name}.conv_{k}", shape, bias=True)
    layout["generator.layers.8.gamma"] = (1,)
    for part, sides in (("theta", (32, 256)), ("phi", (32, 256)), ("g", (128, 256)), ("o_conv", (256, 128))):
        spectral(f"generator.layers.8.snconv1x1_{part}", (*sides, 1, 1), bias=False)
    statistics("generator.bn", 128)
    layout["generator.bn.weight"] = layout["generator.bn.bias"] = (128,)
    spectral("generator.conv_to_rgb", (128, 128, 3, 3), bias=True)
    return layout


def small(rows: int = 51) -> BigGANDeep:
    """The same design at 16 px and a fraction of the width, with statistics and gains that have an effect."""
    torch.manual_seed(0)
    network = BigGANDeep(
        channel_width=8,
        layers=((False, 4, 4), (True, 4, 2), (True, 2, 1)),
        attention=2,
        latent=6,
        embedding=5,
        rows=rows,
        out_channels=8,
    )
    with torch.no_grad():
        for name, tensor in network.state_dict().items():
            if name.endswith("running_means"):
                tensor.normal_(0, 0.3)
            elif name.endswith("running_vars"):
                tensor.uniform_(0.5, 2)
            elif name.endswith(("gamma", "bn.weight")):
                tensor.fill_(0.7)
            elif name.endswith("bias"):
                tensor.normal_(0, 0.3)
    return network.eval()


def test_released_file_loads_completely() -> None:
    """With one wrong name or shape, the published generator would be useless."""
    with torch.device("meta"):
        network = BigGANDeep128()
    layout = layout_of_the_released_file()
    assert len(layout) == 506
    assert {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()} == layout
    network.load_state_dict({name: torch.zeros(()).expand(s) for name, s in layout.items()}, strict=True, assign=True)
    assert network.side == 128


def test_output_follows_the_released_program() -> None:
    """The generator, written out with plain functions: images must be those of the published weights."""
    network = small()
    state = {name: tensor.double() for name, tensor in network.state_dict().items()}
    z, classes = torch.randn(2, 6), torch.tensor([3, 800])

    def weight(name: str) -> torch.Tensor:
        w, u, v = (state[f"{name}.weight_{part}"] for part in ("orig", "u", "v"))
        return w / torch.einsum("i,ij,j->", u, w.reshape(len(u), -1), v)

    def norm(h: torch.Tensor, name: str) -> torch.Tensor:
        mean, var = state[f"{name}.running_means"][50], state[f"{name}.running_vars"][50]
        return (h - mean[:, None, None]) / (var[:, None, None] + 1e-4).sqrt()

    def conditional(h: torch.Tensor, name: str) -> torch.Tensor:
        gain, offset = y @ weight(f"{name}.scale").T, y @ weight(f"{name}.offset").T
        return norm(h, name) * (1 + gain[:, :, None, None]) + offset[:, :, None, None]

    def convolution(h: torch.Tensor, name: str) -> torch.Tensor:
        w = weight(name)
        return F.conv2d(h, w, state.get(f"{name}.bias"), padding=w.shape[-1] // 2)

    def doubled(h: torch.Tensor) -> torch.Tensor:
        return h.repeat_interleave(2, 2).repeat_interleave(2, 3)

    y = torch.cat((z.double(), state["embeddings.weight"][:, classes].T), 1)
    x = y @ weight("generator.gen_z").T + state["generator.gen_z.bias"]
    x = x.reshape(2, 4, 4, 32).permute(0, 3, 1, 2)
    for index, up, after in ((0, False, 32), (1, True, 16), (3, True, 8)):
        if index == 3:
            a = "generator.layers.2.snconv1x1_"
            theta = convolution(x, a + "theta").reshape(2, 2, 64)
            phi = F.max_pool2d(convolution(x, a + "phi"), 2).reshape(2, 2, 16)
            g = F.max_pool2d(convolution(x, a + "g"), 2).reshape(2, 8, 16)
            attention = torch.softmax(torch.einsum("nci,ncj->nij", theta, phi), -1)
            seen = torch.einsum("ncj,nij->nci", g, attention).reshape(2, 8, 8, 8)
            x = x + state["generator.layers.2.gamma"] * convolution(seen, a + "o_conv")
        name = f"generator.layers.{index}"
        h = convolution(conditional(x, f"{name}.bn_0").relu(), f"{name}.conv_0")
        h = conditional(h, f"{name}.bn_1").relu()
        h, x = (doubled(h), doubled(x)) if up else (h, x)
        h = conditional(convolution(h, f"{name}.conv_1"), f"{name}.bn_2").relu()
        h = conditional(convolution(h, f"{name}.conv_2"), f"{name}.bn_3").relu()
        x = convolution(h, f"{name}.conv_3") + x[:, :after]
    h = norm(x, "generator.bn") * state["generator.bn.weight"][:, None, None]
    h = h + state["generator.bn.bias"][:, None, None]
    expected = torch.tanh(convolution(h.relu(), "generator.conv_to_rgb"))[:, :3]
    with torch.no_grad():
        answer = network(z, classes)
    assert answer.shape == (2, 3, 16, 16)
    assert torch.allclose(answer.double(), expected, atol=1e-4)


@pytest.mark.parametrize(("truncation", "row"), [(1.0, 50), (0.4, 20), (0.5, 25), (0.02, 1)])
def test_truncation_selects_its_row_of_statistics(truncation: float, row: int) -> None:
    """With another row's statistics, truncated samples look washed out."""
    network = small()
    norm = network.generator.bn
    x = torch.randn(1, 8, 2, 2)
    mean, var = norm.running_means[row], norm.running_vars[row]
    expected = (x - mean[:, None, None]) / (var[:, None, None] + 1e-4).sqrt()
    assert torch.allclose(norm.normalized(x, truncation), expected, atol=1e-5)


def test_between_two_rows_statistics_are_interpolated_as_released() -> None:
    """The released program mixes rows 21 and 22 by halves at 0.43, and takes a quarter of the nearer one at 0.435."""
    norm = small().generator.bn
    x = torch.randn(1, 8, 2, 2)
    for truncation, share in ((0.43, 0.5), (0.435, 0.75)):
        mean = share * norm.running_means[21] + (1 - share) * norm.running_means[22]
        var = share * norm.running_vars[21] + (1 - share) * norm.running_vars[22]
        expected = (x - mean[:, None, None]) / (var[:, None, None] + 1e-4).sqrt()
        assert torch.allclose(norm.normalized(x, truncation), expected, atol=1e-5)


def test_inference_leaves_the_stored_vectors_alone() -> None:
    """A power iteration in inference would change the weights from image to image."""
    network = small()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    network(torch.randn(1, 6), torch.tensor([1]))
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())


def test_folding_changes_no_output() -> None:
    network = small()
    z, classes = torch.randn(2, 6), torch.tensor([1, 2])
    with torch.no_grad():
        before = network(z, classes)
        network.fold()
        network.fold()
        assert torch.allclose(network(z, classes), before, atol=1e-5)


def test_half_precision_does_not_reach_the_norms() -> None:
    """In bf16 a singular value is off by up to 0.4 %, and so is every weight of a frozen generator."""
    layer = small().generator.conv_to_rgb
    exact = layer.normalized()
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(layer.normalized(), exact)


def test_training_with_fewer_multiplications_computes_the_same() -> None:
    """Doubling and convolving, or convolving and averaging, in one step: weights would adapt to any difference."""
    torch.manual_seed(0)
    convolution = small().generator.layers[1].conv_1
    x = torch.randn(2, convolution.weight_orig.shape[1], 6, 10)
    block = bigcolor.Discriminator(ch=4, multipliers=(1, 2)).blocks[0].eval()
    rgb = torch.randn(2, 3, 8, 12)
    with torch.no_grad():
        # A further iteration changes the norm unless it has converged.
        for _ in range(200):
            convolution._iterate()
        plain = convolution.eval()(x, up=True)
        assert torch.allclose(convolution.train()(x, up=True), plain, atol=1e-5)
        inner = F.avg_pool2d(block.conv2(block.conv1(rgb).relu()), 2)
        assert torch.allclose(block(rgb), inner + block.conv_sc(F.avg_pool2d(rgb, 2)), atol=1e-5)


def test_a_class_may_be_given_as_one_hot() -> None:
    network = small()
    z, classes = torch.randn(2, 6), torch.tensor([7, 999])
    with torch.no_grad():
        assert torch.allclose(network(z, classes), network(z, F.one_hot(classes, 1000).float()), atol=1e-6)


def test_latents_are_a_truncated_normal_distribution() -> None:
    """The generator was never trained on a latent beyond 2; with one, its images fall apart."""
    z = sample_latents(400, 128, generator=torch.Generator().manual_seed(0))
    assert z.abs().max() <= 2
    # Standard deviation of a normal distribution cut at two: sqrt(1 - 2 * 2 * phi(2) / (2 Phi(2) - 1)).
    assert abs(z.std().item() - 0.8796) < 0.01
    assert sample_latents(4, truncation=0.5).abs().max() <= 1


def test_one_training_step_reaches_generator_and_discriminator() -> None:
    """Both must get gradients, update statistics and iterate their norms, or training from scratch stands still."""
    torch.manual_seed(0)
    generator, discriminator = BigGANLite64(), Discriminator(ch=8)
    before = generator.generator.bn.running_means.clone(), discriminator.embed.project.weight_u.clone()
    z, classes = sample_latents(2), torch.tensor([3, 7])
    fake = generator(z, classes)
    assert fake.shape == (2, 3, 64, 64)
    (-discriminator(fake, classes)).mean().backward()
    assert all(p.grad is not None for p in generator.parameters() if p.requires_grad)
    assert all(p.grad is not None for p in discriminator.parameters())
    assert not torch.equal(generator.generator.bn.running_means, before[0])
    assert not torch.equal(discriminator.embed.project.weight_u, before[1])
    assert generator.embeddings.weight.grad is None


def test_similar_classes_are_described_alike() -> None:
    """Lite networks share what they learn between classes only if the classifier's neighbours stay neighbours."""
    torch.manual_seed(0)
    families = torch.randn(10, 64).repeat_interleave(100, 0)
    classifier = families + 0.1 * torch.randn(1000, 64)
    described = describe_classes(classifier, 8)
    assert described.shape == (1000, 8)
    assert torch.allclose(described.mean(0), torch.zeros(8), atol=1e-4)
    assert torch.allclose(described.square().mean(0), torch.ones(8), atol=1e-3)
    within = (described[0] - described[1]).norm()
    assert within < 0.5 * (described[0] - described[100]).norm()


def test_generator_and_discriminator_mean_the_same_class() -> None:
    """With different descriptions, the generator's class 3 would be another class to the discriminator."""
    classifier = torch.randn(1000, 64)
    generator, discriminator = BigGANLite64(), Discriminator(ch=8)
    generator.describe_classes(classifier)
    discriminator.describe_classes(classifier)
    assert torch.equal(generator.embeddings.weight.T, discriminator.embed.descriptions)


def test_lite_fits_its_budget() -> None:
    with torch.device("meta"):
        assert sum(p.numel() for p in BigGANLite64().parameters()) < 4_000_000
