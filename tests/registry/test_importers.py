"""Released files, BigColor's at a twelfth of their width: every tensor accounted for, nothing executed."""

from __future__ import annotations

import dataclasses
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from colorcli.errors import ExitCode, ModelError
from colorcli.networks import pix2pix
from colorcli.networks.backbones import EfficientNetLite0
from colorcli.networks.bigcolor import BigColor, Discriminator
from colorcli.networks.pix2pix import Pix2Pix
from colorcli.networks.zhang2016 import Zhang2016
from colorcli.pipeline.opening import open_model
from colorcli.registry import backbones, bigcolor, importers, registry, releases
from colorcli.registry.bigcolor import bigcolor_layout, bigcolor_parameters
from colorcli.registry.card import WEIGHTS, ModelCard
from colorcli.registry.checkpoints import read_tensors
from colorcli.registry.importers import convert, install

from .conftest import make_model

CH = 8
DATA = Path(__file__).parent / "data"


def _rows(name: str) -> list[list[str]]:
    lines = (DATA / name).read_text().splitlines()
    return [line.split("\t") for line in lines if not line.startswith("#")]


def _random_state(seed: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    state = {name: 0.2 * torch.randn(shape, generator=generator) for name, shape in bigcolor_layout(CH).items()}
    return {name: tensor.abs() + 0.5 if name.endswith("stored_var") else tensor for name, tensor in state.items()}


@pytest.fixture(scope="module")
def classifier() -> dict[str, Tensor]:
    torch.manual_seed(5)
    network = EfficientNetLite0(in_channels=1)
    return {f"classifier.{name}": tensor for name, tensor in network.state_dict().items()}


@pytest.fixture
def bundled_classifier(bundle: Path, classifier: dict[str, Tensor]) -> None:
    """The bundled backbone that gives the class, which the released files have not."""
    folder = bundle / "backbones" / "efficientnet-lite0-gray"
    folder.mkdir(parents=True)
    save_file({name.removeprefix("classifier."): tensor for name, tensor in classifier.items()}, folder / WEIGHTS)


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    return _random_state(1)


@pytest.fixture(scope="module")
def averaged() -> dict[str, Tensor]:
    return _random_state(2)


@pytest.fixture
def checkpoint(tmp_path: Path, state: dict[str, Tensor]) -> Path:
    torch.save(state, tmp_path / "EG_011.ckpt")
    return tmp_path / "EG_011.ckpt"


@pytest.fixture
def ema(tmp_path: Path, averaged: dict[str, Tensor]) -> Path:
    return _save_ema(tmp_path, [averaged[name] for name in bigcolor_parameters(CH)])


def _save_ema(folder: Path, shadow: list[Tensor], **more: object) -> Path:
    content = {"decay": 0.999, "num_updates": 9, "shadow_params": shadow, "collected_params": [], **more}
    torch.save(content, folder / "EG_EMA_011.ckpt")
    return folder / "EG_EMA_011.ckpt"


def test_the_layout_is_that_of_the_released_file() -> None:
    """A name or width off by one, and the official weights could not be had."""
    rows = [
        (name, () if shape == "scalar" else tuple(map(int, shape.split("x"))))
        for name, shape in _rows("bigcolor_checkpoint.tsv")
    ]
    assert list(bigcolor_layout().items()) == rows


def test_the_moving_average_is_in_the_order_of_the_released_list() -> None:
    """The list has no names: one parameter out of order shifts all that follow."""
    assert bigcolor_parameters() == [name for (name,) in _rows("bigcolor_average.txt")]


@pytest.mark.usefixtures("bundled_classifier")
def test_averaged_parameters_meet_the_other_files_buffers(
    checkpoint: Path, ema: Path, state: dict[str, Tensor], averaged: dict[str, Tensor]
) -> None:
    """Published results use exactly this mixture; either file alone gives other colours."""
    card, tensors = convert("bigcolor", [checkpoint, ema], ch=CH)
    parameters = set(bigcolor_parameters(CH))
    for name, tensor in tensors.items():
        assert torch.equal(tensor, (averaged if name in parameters else state)[name]), name
    dropped = set(state) - set(tensors)
    assert all(name.startswith(("G.linear", "G.blocks.0", "G.blocks.1")) or ".in" in name for name in dropped)
    assert (len(tensors), len(dropped)) == (204, 84)
    assert set(card.backbones) == {"classifier"}
    assert card.source["parameters"] == "exponential moving average"
    assert set(card.source["files"]) == {"EG_011.ckpt", "EG_EMA_011.ckpt"}


@pytest.mark.usefixtures("bundled_classifier")
def test_an_imported_model_is_float32_safetensors_in_the_users_folder_and_runs(
    checkpoint: Path,
    ema: Path,
    bundle: Path,
    user: Path,
    averaged: dict[str, Tensor],
    state: dict[str, Tensor],
    classifier: dict[str, Tensor],
) -> None:
    """The whole way: files in, colours out, the network's own output that of the tensors in the files."""
    make_model(bundle / "bigcolor", {"E.x": torch.zeros(1)}, name="bigcolor", system="bigcolor")
    card = install(*convert("bigcolor", [checkpoint, ema], ch=CH))
    assert card.folder == user / "models" / "bigcolor@official"
    assert [path.name for path in card.folder.parent.iterdir()] == ["bigcolor@official"]
    stored = load_file(card.weights)
    assert {tensor.dtype for name, tensor in stored.items() if tensor.is_floating_point()} == {torch.float32}
    assert registry.find("bigcolor").exact_name == "bigcolor@lite"

    with torch.device("meta"):
        expected = BigColor(preset="paper", ch=CH).eval()
    mixture = {name: (averaged if name in bigcolor_parameters(CH) else state)[name] for name in state}
    whole = {**mixture, **classifier}
    expected.load_state_dict({name: whole[name] for name in expected.state_dict()}, assign=True)
    network = registry.build(card, registry.read_weights(card)).eval()
    gray, z, index = torch.rand(1, 1, 32, 32), torch.randn(1, 119), torch.tensor([7])
    with torch.no_grad():
        rgb = expected(gray, z, index)
        assert torch.equal(network(gray, z, index), rgb)
    assert rgb.std() > 0.01
    session = open_model("bigcolor@official", device="cpu")
    lightness = (torch.rand(1, 1, 32, 48) * 100).numpy()
    assert session.chroma(lightness).shape == (1, 2, 32, 48)


@pytest.mark.usefixtures("bundled_classifier")
def test_without_the_average_the_card_says_so(checkpoint: Path) -> None:
    """Numbers made with these weights are not the paper's; the card must not claim it."""
    card, _ = convert("bigcolor", [checkpoint], ch=CH)
    assert card.source["parameters"] == "last step, without moving average"


@pytest.mark.usefixtures("bundled_classifier")
@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"G.blocks.4.0.conv1.u0": None}, "G.blocks.4.0.conv1.u0 is missing"),
        ({"G.blocks.0.0.in2.bias": None}, "G.blocks.0.0.in2.bias is missing"),
        ({"G.blocks.6.0.conv1.weight": torch.zeros(1)}, "G.blocks.6.0.conv1.weight is unknown"),
        ({"E.res2.conv.bias": torch.zeros(5)}, r"E.res2.conv.bias has shape \(5,\), not \(16,\)"),
        ({"G.linear.weight": torch.zeros(17, 2048)}, r"G.linear.weight has shape \(17, 2048\)"),
        ({"E.res2.conv.bias": torch.full((16,), torch.nan)}, "E.res2.conv.bias holds"),
        ({"E.res2.conv.bias": torch.zeros(16, dtype=torch.int64)}, "E.res2.conv.bias, which is not"),
        ({"epoch": 11}, "epoch, which is not"),
    ],
)
def test_every_tensor_is_accounted_for(
    tmp_path: Path, state: dict[str, Tensor], change: dict[str, Tensor | None], fault: str
) -> None:
    """Another checkpoint of a like kind would load in part and colour nonsense."""
    content = {name: tensor for name, tensor in {**state, **change}.items() if tensor is not None}
    torch.save(content, tmp_path / "x.ckpt")
    with pytest.raises(ModelError, match=fault) as caught:
        convert("bigcolor", [tmp_path / "x.ckpt"], ch=CH)
    assert caught.value.exit_code == ExitCode.MODEL
    assert "x.ckpt" in str(caught.value)


@pytest.mark.usefixtures("bundled_classifier")
def test_a_moving_average_of_something_else_is_refused(
    tmp_path: Path, checkpoint: Path, averaged: dict[str, Tensor]
) -> None:
    """The unnamed list is only as good as its length and shapes."""
    shadow = [averaged[name] for name in bigcolor_parameters(CH)]
    for wrong, fault in (
        (shadow[:-1], "holds 145 averaged parameters; the released file has 146"),
        ([shadow[1], shadow[0], *shadow[2:]], "E.res1.conv.weight has shape"),
    ):
        with pytest.raises(ModelError, match=fault):
            convert("bigcolor", [checkpoint, _save_ema(tmp_path, wrong)], ch=CH)
    with pytest.raises(ModelError, match="something unknown: optimizer"):
        convert("bigcolor", [checkpoint, _save_ema(tmp_path, shadow, optimizer=1)], ch=CH)
    with pytest.raises(ModelError, match="no list shadow_params"):
        convert("bigcolor", [checkpoint, checkpoint], ch=CH)


class _Attack:
    """Unpickling this makes a folder."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, tuple[str]]:
        import os

        return os.mkdir, (str(self.target),)


@pytest.mark.parametrize("legacy", [False, True])
def test_a_pickle_that_runs_a_command_runs_nothing(tmp_path: Path, user: Path, legacy: bool) -> None:
    """A checkpoint off the net must not be able to do anything to the machine."""
    target, path = tmp_path / "owned", tmp_path / "EG_011.ckpt"
    if legacy:
        path.write_bytes(pickle.dumps({"E.res1.conv.weight": _Attack(target)}))
    else:
        torch.save({"E.res1.conv.weight": _Attack(target)}, path)
    with pytest.raises(ModelError, match="never run") as caught:
        importers.import_files("bigcolor", [path])
    assert caught.value.exit_code == ExitCode.MODEL
    assert not target.exists()
    assert not user.exists()
    # The attack is a real one: a plain unpickler falls for it.
    pickle.loads(pickle.dumps(_Attack(target)))
    assert target.exists()


def test_a_truncated_file_is_refused(tmp_path: Path, checkpoint: Path, user: Path) -> None:
    checkpoint.write_bytes(checkpoint.read_bytes()[:5000])
    with pytest.raises(ModelError, match="damaged"):
        importers.import_files("bigcolor", [checkpoint])
    with pytest.raises(ModelError, match="cannot be read"):
        importers.import_files("bigcolor", [tmp_path / "nowhere.ckpt"])


def test_other_weights_are_replaced_only_when_asked(bundle: Path, user: Path) -> None:
    """A second import must not silently change what ``@official`` means in old journals."""
    card = make_model(bundle / "tiny", tag="official")
    ones, twos = {"conv.weight": torch.ones(1)}, {"conv.weight": torch.full((1,), 2.0)}
    first = install(card, ones)
    assert install(card, ones) == first
    with pytest.raises(ModelError, match="--overwrite"):
        install(card, twos)
    assert torch.equal(load_file(user / "models" / "tiny@official" / WEIGHTS)["conv.weight"], torch.ones(1))
    assert install(card, twos, overwrite=True).weights_sha256 != first.weights_sha256
    assert [path.name for path in (user / "models").iterdir()] == ["tiny@official"]


def test_systems_without_released_files_are_named(user: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no released files of 'bigcolr'.*did you mean bigcolor"):
        importers.import_files("bigcolr", [tmp_path / "x"])
    with pytest.raises(ModelError, match="no released files"):
        importers.pull("nothing")


@pytest.fixture(scope="module")
def zhang2016() -> Zhang2016:
    torch.manual_seed(3)
    return Zhang2016(**Zhang2016.presets["paper"]).eval()


@pytest.mark.parametrize("counters", [True, False])
def test_released_weights_of_other_systems_run_as_they_are(
    tmp_path: Path, user: Path, zhang2016: Zhang2016, counters: bool
) -> None:
    """To the tensor: the importer knows no layout but the network's own, and old files lack the batch counters."""
    state = {
        name: tensor
        for name, tensor in zhang2016.state_dict().items()
        if counters or not name.endswith("num_batches_tracked")
    }
    torch.save(state, tmp_path / "net.pth")
    card = importers.import_files("zhang2016", [tmp_path / "net.pth"])
    assert isinstance(card, ModelCard)
    assert (card.exact_name, card.controls, card.backbones) == ("zhang2016@official", (), {})
    lightness = torch.rand(1, 1, 32, 32) * 100
    with torch.no_grad():
        expected = zhang2016.chroma(lightness).numpy()
    chroma = open_model("zhang2016@official", device="cpu").chroma(lightness.numpy())
    np.testing.assert_allclose(chroma, expected, rtol=1e-4, atol=1e-4)


def test_a_file_of_another_system_is_named_as_such(tmp_path: Path, user: Path, zhang2016: Zhang2016) -> None:
    """Almost the same checkpoint: siggraph17 differs from it in one layer."""
    state = dict(zhang2016.state_dict())
    state["model1.0.weight"] = torch.zeros(64, 4, 3, 3)
    torch.save(state, tmp_path / "siggraph17.pth")
    with pytest.raises(ModelError, match=r"siggraph17.pth' is not the released.*model1.0.weight has shape"):
        importers.import_files("zhang2016", [tmp_path / "siggraph17.pth"])
    assert not (user / "models").exists()


def test_pix2pix_brings_its_discriminator(tmp_path: Path, user: Path) -> None:
    """Fine-tuning goes on with both halves; either file in the other's place is refused."""
    generator, discriminator = tmp_path / "latest_net_G.pth", tmp_path / "latest_net_D.pth"
    torch.save(Pix2Pix(**Pix2Pix.presets["paper"]).state_dict(), generator)
    torch.save(pix2pix.Discriminator().state_dict(), discriminator)
    with pytest.raises(ModelError, match="not the released checkpoint"):
        importers.import_files("pix2pix", [discriminator])
    card = importers.import_files("pix2pix", [generator, discriminator])
    assert card.folder is not None
    stored = load_file(card.folder / importers.DISCRIMINATOR)
    pix2pix.Discriminator().load_state_dict(stored)
    registry.verify(registry.find("pix2pix@official"))
    with pytest.raises(ModelError, match=r"latest_net_G.pth, latest_net_D.pth \(optional\); 3 were given"):
        importers.import_files("pix2pix", [generator, discriminator, discriminator])


def test_lpips_is_the_networks_convolutions_and_the_heads(
    tmp_path: Path, user: Path, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two files make one metric network; without its heads, or with another network's, distances mean nothing."""
    features = {"features.0.weight": (4, 3, 3, 3), "features.0.bias": (4,), "classifier.0.weight": (9, 9)}
    monkeypatch.setattr(importers, "network_layout", lambda _: features)
    monkeypatch.setattr(importers, "release", lambda name: dataclasses.replace(releases.release(name), heads=(4, 8)))
    torch.save({name: torch.ones(shape) for name, shape in features.items()}, tmp_path / "alexnet.pth")
    heads = {"lin0.model.1.weight": torch.ones(1, 4, 1, 1), "lin1.model.1.weight": torch.ones(1, 8, 1, 1)}
    torch.save(heads, tmp_path / "heads.pth")
    importers.import_files("lpips-alex", [tmp_path / "alexnet.pth", tmp_path / "heads.pth"])
    stored = load_file(backbones.locate("lpips-alex"))
    assert set(stored) == {"features.0.weight", "features.0.bias", *heads}
    with pytest.raises(ModelError, match=r"alexnet-owt-7be5be79.pth, lpips-v0.1-alex.pth; 1 were given"):
        importers.import_files("lpips-alex", [tmp_path / "alexnet.pth"])
    torch.save(heads | {"lin1.model.1.weight": torch.ones(1, 9, 1, 1)}, tmp_path / "heads.pth")
    with pytest.raises(ModelError, match=r"lin1.model.1.weight has shape"):
        importers.import_files("lpips-alex", [tmp_path / "alexnet.pth", tmp_path / "heads.pth"])


def test_bigcolors_beginnings_are_read_under_our_names(tmp_path: Path) -> None:
    """The paper's training starts from BigGAN: its generator is ours, its discriminator nests blocks differently."""
    ours = Discriminator(CH)
    released = {}
    for name, tensor in ours.state_dict().items():
        parts = name.split(".")
        if parts[0] == "blocks":
            index = int(parts[1])
            parts[1] = {0: "0.0", 1: "1.0", 2: "1.1"}.get(index, f"{index - 1}.0")
        released[".".join(parts)] = tensor.reshape(1, -1) if name == "linear.weight" else tensor
    assert "blocks.1.1.gamma" in released
    torch.save(released, tmp_path / "D_256.pth")
    assert_same(bigcolor.read_biggan_discriminator(tmp_path / "D_256.pth", CH), ours.state_dict())

    layout = {name.removeprefix("G."): shape for name, shape in bigcolor_layout(CH).items() if name.startswith("G.")}
    generator = {name: torch.ones(shape) for name, shape in layout.items() if ".in1" not in name and ".in2" not in name}
    torch.save(generator, tmp_path / "G_ema_256.pth")
    tensors = bigcolor.read_biggan_generator(tmp_path / "G_ema_256.pth", CH)
    fitting = registry.fit(tensors, registry.shapes(BigColor(preset="paper", ch=CH).G), "biggan-256-generator")
    assert "blocks.5.0.conv2.weight" in fitting
    torch.save(generator | {"step": torch.ones(1)}, tmp_path / "G_ema_256.pth")
    with pytest.raises(ModelError, match="step is unknown"):
        bigcolor.read_biggan_generator(tmp_path / "G_ema_256.pth", CH)


def assert_same(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert list(found) == list(expected)
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_a_safetensors_file_is_a_checkpoint_too(tmp_path: Path) -> None:
    """What the hub gives nowadays."""
    save_file({"a": torch.ones(2, dtype=torch.float16)}, tmp_path / "x.safetensors")
    tensors = read_tensors(tmp_path / "x.safetensors", {"a": (2,)})
    assert tensors["a"].dtype == torch.float32
    (tmp_path / "x.safetensors").write_bytes(b"not one")
    with pytest.raises(ModelError, match="damaged"):
        read_tensors(tmp_path / "x.safetensors", {"a": (2,)})
