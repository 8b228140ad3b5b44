"""The generators of the Inception GAN and of Deep Koalarization: table 1, ablations, contract."""

from __future__ import annotations

import sys

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from colorcli.color import tensors as colors
from colorcli.errors import ModelError
from colorcli.networks.inception_gan import DeepKoalarization, InceptionGAN, _clusters

# Channels and stride of each 3x3 convolution in table 1 of Beyer Bruvik and Penfold; the encoder's first is their own.
ENCODER = ((24, 1), (64, 2), (128, 1), (128, 2), (256, 1), (256, 2), (512, 1), (512, 1), (256, 1))
DECODER = (128, 64, 64, 32, 2)


def convolutions(module: nn.Module) -> list[nn.Conv2d]:
    return [layer for layer in module.modules() if isinstance(layer, nn.Conv2d)]


def parameters_of(in_channels: int, encoder: tuple[tuple[int, int], ...]) -> int:
    """Parameters of table 1, with biases, for an input of ``in_channels``."""
    total, before = 0, in_channels
    for after, _ in encoder:
        total, before = total + (9 * before + 1) * after, after
    total += (256 + 1001 + 1) * 256
    before = 256
    for after in DECODER:
        total, before = total + (9 * before + 1) * after, after
    return total


def own(network: InceptionGAN) -> dict[str, nn.Parameter]:
    frozen = tuple(f"{part}." for part in network.frozen_parts)
    return {name: value for name, value in network.named_parameters() if not frozen or not name.startswith(frozen)}


@pytest.fixture(scope="module")
def paper() -> InceptionGAN:
    pytest.importorskip("timm")
    torch.manual_seed(0)
    with torch.device("meta"):
        return InceptionGAN(**InceptionGAN.presets["paper"]).eval()


@pytest.fixture(scope="module", params=[InceptionGAN, DeepKoalarization])
def lite(request: pytest.FixtureRequest) -> InceptionGAN:
    torch.manual_seed(0)
    network: InceptionGAN = request.param(**request.param.presets["lite"]).eval()
    return network


def test_layers_and_parameters_of_the_paper(paper: InceptionGAN) -> None:
    assert [(layer.out_channels, layer.stride[0]) for layer in convolutions(paper.encoder)] == list(ENCODER)
    assert [layer.in_channels for layer in convolutions(paper.fusion)] == [1257]
    assert [layer.out_channels for layer in convolutions(paper.decoder)] == list(DECODER)
    assert sum(isinstance(layer, nn.Upsample) for layer in paper.decoder) == 3
    assert sum(value.numel() for value in own(paper).values()) == parameters_of(24, ENCODER) == 6_592_506


def test_deep_koalarization_has_one_input_and_no_first_convolution() -> None:
    pytest.importorskip("timm")
    with torch.device("meta"):
        network = DeepKoalarization(**DeepKoalarization.presets["paper"])
    assert [(layer.out_channels, layer.stride[0]) for layer in convolutions(network.encoder)] == list(ENCODER[1:])
    assert sum(value.numel() for value in own(network).values()) == parameters_of(1, ENCODER[1:]) == 6_574_050
    assert network.frozen_parts == {"inception": "inception_resnet_v2"}


def test_frozen_parts_of_the_paper_fit_the_published_weights(paper: InceptionGAN) -> None:
    """They have torchvision's and timm's names and numbers of parameters."""
    assert paper.frozen_parts == {"segmentation": "deeplabv3_resnet50", "inception": "inception_resnet_v2"}
    assert {"backbone.conv1.weight", "classifier.4.bias"} <= set(paper.segmentation.state_dict())
    assert "classif.weight" in paper.inception.state_dict()
    assert not any(parameter.requires_grad for parameter in paper.inception.parameters())
    assert sum(parameter.numel() for parameter in paper.inception.parameters()) == 55_843_464
    # Torchvision's number for its file, less the auxiliary head: a 3x3 convolution, a norm and a 1x1 convolution.
    head = 9 * 1024 * 256 + 2 * 256 + (256 + 1) * 21
    assert sum(parameter.numel() for parameter in paper.segmentation.parameters()) == 42_004_074 - head


class _Recorder(nn.Module):
    """Stands in for a backbone: remembers its input and returns a fixed tensor."""

    def __init__(self, answer: Tensor | dict[str, Tensor]) -> None:
        super().__init__()
        self.answer, self.seen = answer, torch.empty(0)

    def forward(self, x: Tensor) -> Tensor | dict[str, Tensor]:
        self.seen = x
        return self.answer


@pytest.fixture
def wired() -> InceptionGAN:
    """The paper's wiring at a sixteenth of its width, with stand-ins for both backbones."""
    torch.manual_seed(0)
    network = InceptionGAN("paper", width=16, maps=False, semantics=False)
    other = InceptionGAN("lite", width=16)
    network.encoder, network.fusion, network.decoder = other.encoder, other.fusion, other.decoder
    network.maps = network.semantics = True
    network.segmentation = _Recorder({"out": torch.randn(1, 21, 64, 64)})
    network.inception = _Recorder(torch.randn(1, 1000))
    return network.eval()


def test_backbones_get_gray_in_the_form_they_were_trained_on(wired: InceptionGAN) -> None:
    """Inception needs 299 x 299 in -1..1, DeepLab ImageNet's normalization; otherwise their outputs mean nothing."""
    lightness = torch.rand(1, 1, 64, 64) * 100
    gray = colors.lightness_to_gray(lightness)
    with torch.no_grad():
        wired.chroma(lightness)
    inception, segmentation = wired.inception.seen, wired.segmentation.seen
    assert inception.shape == (1, 3, 299, 299)
    assert -1 <= inception.min() < -0.5
    assert 0.5 < inception.max() <= 1
    mean, sd = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    torch.testing.assert_close(segmentation * sd.view(3, 1, 1) + mean.view(3, 1, 1), gray.expand(-1, 3, -1, -1))


def test_the_input_is_gray_three_times_and_the_maps(wired: InceptionGAN) -> None:
    seen: list[Tensor] = []
    wired.encoder.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    lightness = torch.rand(1, 1, 64, 64) * 100
    with torch.no_grad():
        wired.chroma(lightness)
    torch.testing.assert_close(seen[0][:, :3], (lightness / 50 - 1).expand(-1, 3, -1, -1))
    torch.testing.assert_close(seen[0][:, 3:], wired.segmentation.answer["out"])


def test_scores_lie_behind_the_features_after_an_empty_background_class(wired: InceptionGAN) -> None:
    """A port with 1000 classes is padded at index 0: shifted by one, every class would mean its neighbour."""
    seen: list[Tensor] = []
    wired.fusion.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        wired.chroma(torch.rand(1, 1, 64, 64) * 100)
    assert seen[0].shape == (1, 16 + 1001, 8, 8)
    assert not seen[0][:, 16].any()
    torch.testing.assert_close(seen[0][:, 17:], wired.inception.answer[:, :, None, None].expand(-1, -1, 8, 8))


@pytest.mark.parametrize(("maps", "semantics"), [(False, True), (True, False), (False, False)])
def test_ablations_leave_out_exactly_their_part(maps: bool, semantics: bool) -> None:
    """The paper's "without first COCO layer" and "without Inception" must otherwise be the same network."""
    torch.manual_seed(0)
    network = InceptionGAN(**InceptionGAN.presets["lite"], maps=maps, semantics=semantics)
    assert [c.in_channels for c in convolutions(network.encoder)[:2]] == ([24, 24] if maps else [1, 24])
    assert convolutions(network.fusion)[0].in_channels == 96 + (1001 if semantics else 0)
    assert bool(network.frozen_parts) == (maps or semantics)
    with torch.no_grad():
        assert network.chroma(torch.rand(1, 1, 64, 32) * 100).shape == (1, 2, 64, 32)


def test_regions_share_nothing_with_the_scores() -> None:
    """An ablation that leaves out the class scores must not keep them in the maps, nor the maps in the scores."""
    torch.manual_seed(0)
    network, lightness = InceptionGAN(width=16, regions=True).eval(), torch.rand(4, 1, 64, 96) * 100
    with torch.no_grad():
        network.fit(lightness)
        scores, maps = network._knowledge(colors.lightness_to_gray(lightness))
        network.backbone.classifier.weight.normal_()
        others, same = network._knowledge(colors.lightness_to_gray(lightness))
        assert not torch.allclose(scores, others)
        assert torch.equal(maps, same)
        network.centres.normal_()
        assert torch.equal(network._knowledge(colors.lightness_to_gray(lightness))[0], others)
    torch.testing.assert_close(maps.sum(1), torch.ones(4, 64, 96))
    assert "projection.weight" not in dict(network.named_parameters())


def test_regions_are_the_clusters_of_the_features() -> None:
    """Three directions, far apart, with some noise: each is found, wherever the points of it stand."""
    torch.manual_seed(0)
    directions = F.normalize(torch.eye(3, 8) + 0.1)
    points = F.normalize(directions[torch.arange(90) % 3] + 0.02 * torch.randn(90, 8))
    found = (directions @ _clusters(points, 3).T).amax(1)
    assert found.min() > 0.999


def test_regions_are_for_the_lite_preset_alone() -> None:
    with pytest.raises(ValueError, match="DeepLabV3"):
        InceptionGAN("paper", width=16, regions=True)


def test_dropout_is_off_in_use() -> None:
    """Beyer Bruvik and Penfold's variants have dropout; in use, colours must not be random."""
    network, lightness = InceptionGAN(width=16, dropout=0.5), torch.rand(2, 1, 32, 32) * 100
    assert sum(isinstance(module, nn.Dropout) for module in network.decoder) == 3
    with torch.no_grad():
        assert not torch.equal(network.chroma(lightness), network.chroma(lightness))
        network.eval()
        assert torch.equal(network.chroma(lightness), network.chroma(lightness))


def test_without_timm_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ModelError, match=r"timm, which is not installed: .*pip install"):
        InceptionGAN("paper", width=16, maps=False)


def test_lite_learns_all_but_the_shared_backbone(lite: InceptionGAN) -> None:
    """All its own parameters are used; the backbone is not changed."""
    assert lite.frozen_parts == {"backbone": "efficientnet-lite0-gray"}
    mine = own(lite)
    lite.train()
    before = {name: value.clone() for name, value in lite.backbone.state_dict().items()}
    lite.native(torch.rand(2, 1, 32, 32) * 100).square().mean().backward()
    lite.eval()
    assert all(value.grad is not None for value in mine.values())
    assert all(torch.equal(value, before[name]) for name, value in lite.backbone.state_dict().items())
    assert all(value.grad is None for value in lite.backbone.parameters())


def test_lite_fuses_the_backbones_own_logits(lite: InceptionGAN) -> None:
    """Averaging the scores of all positions must equal the backbone's classifier."""
    gray = torch.rand(2, 1, 64, 96)
    with torch.no_grad():
        scores, maps = lite._knowledge(gray)
        torch.testing.assert_close(scores, lite.backbone.logits(lite.backbone(gray)), atol=1e-4, rtol=1e-4)
    assert (maps is not None) == lite.maps
    assert maps is None or maps.shape == (2, 21, 64, 96)


def test_lite_meets_the_contract(lite: InceptionGAN) -> None:
    """Chroma in CIELAB units at the input's size, the same alone and in a batch; targets in the native units."""
    lightness = torch.rand(2, 1, 64, 96) * 100
    with torch.no_grad():
        chroma = lite.chroma(lightness)
        torch.testing.assert_close(chroma, lite(lightness / 50 - 1) * 110)
        torch.testing.assert_close(chroma[1:], lite.chroma(lightness[1:]), atol=1e-3, rtol=1e-3)
    assert chroma.shape == (2, 2, 64, 96)
    rgb = torch.rand(1, 3, 8, 8)
    torch.testing.assert_close(lite.to_chroma(lite.target(rgb), rgb), colors.srgb_to_lab(rgb)[:, 1:])
