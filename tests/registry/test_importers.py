"""Importing released files (BigColor's at a twelfth of the width): every tensor is accounted for, nothing executed."""

from __future__ import annotations

import dataclasses
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torchvision import models

from colorcli.color import tensors as colors
from colorcli.errors import ExitCode, ModelError
from colorcli.files import file_sha256
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
    """The bundled backbone that predicts the class, which the released files lack."""
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
    """With one wrong name or width, the official weights could not be imported."""
    rows = [
        (name, () if shape == "scalar" else tuple(map(int, shape.split("x"))))
        for name, shape in _rows("bigcolor_checkpoint.tsv")
    ]
    assert list(bigcolor_layout().items()) == rows


def test_the_moving_average_is_in_the_order_of_the_released_list() -> None:
    """The list has no names: one parameter out of order shifts all that follow."""
    assert bigcolor_parameters() == [name for (name,) in _rows("bigcolor_average.txt")]


@pytest.mark.usefixtures("bundled_classifier")
def test_averaged_parameters_are_combined_with_the_other_files_buffers(
    checkpoint: Path, ema: Path, state: dict[str, Tensor], averaged: dict[str, Tensor]
) -> None:
    """Published results use exactly this combination; either file alone gives other colours."""
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
    """From files to colours: the network's output is that of the tensors in the files."""
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
    # BigColor's program enlarges RGB, so the session returns RGB.
    assert session.info.size_rule.enlarge == "bilinear-rgb"
    with torch.no_grad():
        answer = (expected(colors.lightness_to_gray(torch.from_numpy(lightness))) + 1) / 2
    np.testing.assert_allclose(session.chroma(lightness), answer.numpy(), atol=1e-3)


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
    """A similar but different checkpoint would load in part, and the colours would be nonsense."""
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
    """The list has no names, so its length and shapes are all that can be checked."""
    shadow = [averaged[name] for name in bigcolor_parameters(CH)]
    for wrong, fault in (
        (shadow[:-1], "holds 145 averaged parameters; the released file has 146"),
        ([shadow[1], shadow[0], *shadow[2:]], "E.res1.conv.weight has shape"),
    ):
        with pytest.raises(ModelError, match=fault):
            convert("bigcolor", [checkpoint, _save_ema(tmp_path, wrong)], ch=CH)
    with pytest.raises(ModelError, match="something unknown: optimizer"):
        convert("bigcolor", [checkpoint, _save_ema(tmp_path, shadow, optimizer=1)], ch=CH)
    with pytest.raises(ModelError, match="is the checkpoint, not its moving average"):
        convert("bigcolor", [checkpoint, checkpoint], ch=CH)
    average = _save_ema(tmp_path, shadow)
    with pytest.raises(ModelError, match=r"is the moving average.* give EG_011.ckpt"):
        convert("bigcolor", [average], ch=CH)
    torch.save({"a": 1}, tmp_path / "else.ckpt")
    with pytest.raises(ModelError, match="no list called shadow_params"):
        convert("bigcolor", [checkpoint, tmp_path / "else.ckpt"], ch=CH)


class _Attack:
    """Unpickling this makes a folder."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, tuple[str]]:
        import os

        return os.mkdir, (str(self.target),)


@pytest.mark.parametrize("legacy", [False, True])
def test_a_pickle_that_runs_a_command_runs_nothing(tmp_path: Path, user: Path, legacy: bool) -> None:
    """A downloaded checkpoint must not be able to do anything to the machine."""
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
    # The attack is real: it works on a plain unpickler.
    pickle.loads(pickle.dumps(_Attack(target)))
    assert target.exists()


def test_a_truncated_file_is_refused(tmp_path: Path, checkpoint: Path, user: Path) -> None:
    checkpoint.write_bytes(checkpoint.read_bytes()[:5000])
    with pytest.raises(ModelError, match="cut short"):
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
    """The importer knows no layout but the network's own; old files lack the batch counters."""
    state = {
        name: tensor
        for name, tensor in zhang2016.state_dict().items()
        if counters or not name.endswith("num_batches_tracked")
    }
    torch.save(state, tmp_path / "net.pth")
    card = importers.import_files("zhang2016", [tmp_path / "net.pth"], tag="mine")
    assert isinstance(card, ModelCard)
    assert (card.exact_name, card.controls, card.backbones) == ("zhang2016@mine", (), {})
    assert (card.size.resize, card.size.enlarge) == ("bicubic-8", "bilinear"), "as in the released program"
    lightness = torch.rand(1, 1, 32, 32) * 100
    with torch.no_grad():
        expected = zhang2016.chroma(lightness).numpy()
    chroma = open_model("zhang2016@mine", device="cpu").chroma(lightness.numpy())
    np.testing.assert_allclose(chroma, expected, rtol=1e-4, atol=1e-4)


def test_a_file_of_another_system_is_named_as_such(tmp_path: Path, user: Path, zhang2016: Zhang2016) -> None:
    """siggraph17's checkpoint is almost the same: it differs in one layer."""
    state = dict(zhang2016.state_dict())
    state["model1.0.weight"] = torch.zeros(64, 4, 3, 3)
    torch.save(state, tmp_path / "siggraph17.pth")
    with pytest.raises(ModelError, match=r"siggraph17.pth' is not the released.*model1.0.weight has shape"):
        importers.import_files("zhang2016", [tmp_path / "siggraph17.pth"])
    assert not (user / "models").exists()


@pytest.mark.slow
def test_pix2pix_brings_its_discriminator(tmp_path: Path, user: Path) -> None:
    """Fine-tuning needs both networks; files given in the wrong order are refused."""
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
    with pytest.raises(ModelError, match=r"latest_net_G.pth, latest_net_D.pth \(optional\); given: 3"):
        importers.import_files("pix2pix", [generator, discriminator, discriminator])


def _without_hashes(name: str, **changes: Any) -> releases.Release:
    """A released entry without hashes, since the files are made up here."""
    entry = releases.release(name)
    files = tuple(
        dataclasses.replace(remote, sha256="", name=remote.name.replace("-7be5be79", "")) for remote in entry.files
    )
    return dataclasses.replace(entry, files=files, **changes)


def test_lpips_is_the_networks_convolutions_and_the_heads(
    tmp_path: Path, user: Path, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two files make one metric network; without its heads, or with another network's, distances are meaningless."""
    features = {"features.0.weight": (4, 3, 3, 3), "features.0.bias": (4,), "classifier.0.weight": (9, 9)}
    monkeypatch.setattr(importers, "network_layout", lambda _: features)
    monkeypatch.setattr(importers, "release", lambda name: _without_hashes(name, heads=(4, 8)))
    torch.save({name: torch.ones(shape) for name, shape in features.items()}, tmp_path / "alexnet.pth")
    heads = {"lin0.model.1.weight": torch.ones(1, 4, 1, 1), "lin1.model.1.weight": torch.ones(1, 8, 1, 1)}
    torch.save(heads, tmp_path / "heads.pth")
    importers.import_files("lpips-alex", [tmp_path / "alexnet.pth", tmp_path / "heads.pth"])
    stored = load_file(backbones.locate("lpips-alex"))
    assert set(stored) == {"features.0.weight", "features.0.bias", *heads}
    with pytest.raises(ModelError, match=r"alexnet-owt.pth, lpips-v0.1-alex.pth; given: 1"):
        importers.import_files("lpips-alex", [tmp_path / "alexnet.pth"])
    torch.save(heads | {"lin1.model.1.weight": torch.ones(1, 9, 1, 1)}, tmp_path / "heads.pth")
    with pytest.raises(ModelError, match=r"lin1.model.1.weight has shape"):
        importers.import_files("lpips-alex", [tmp_path / "alexnet.pth", tmp_path / "heads.pth"])


def test_bigcolors_initial_weights_are_read_under_our_names(tmp_path: Path) -> None:
    """The paper starts from BigGAN: the generator has our names, the discriminator nests its blocks differently."""
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
    """This is what the Hugging Face hub serves nowadays."""
    save_file({"a": torch.ones(2, dtype=torch.float16)}, tmp_path / "x.safetensors")
    tensors = read_tensors(tmp_path / "x.safetensors", {"a": (2,)})
    assert tensors["a"].dtype == torch.float32
    content = (tmp_path / "x.safetensors").read_bytes()
    for wrong, fault in ((content[:-1], "cut short"), (content[:20], "cut short"), (b"<!DOCTYPE html>", "a web page")):
        (tmp_path / "x.safetensors").write_bytes(wrong)
        with pytest.raises(ModelError, match=fault):
            read_tensors(tmp_path / "x.safetensors", {"a": (2,)})


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny: str) -> Path:
    """The released file of the plug-in ``tiny``, whose hash is published."""
    path = tmp_path / "net.pth"
    torch.save({"conv.weight": torch.ones(2, 1, 1, 1), "conv.bias": torch.zeros(2)}, path)
    remote = releases.Remote("net.pth", "https://example.invalid/net.pth", 10**6, file_sha256(path))
    _release(monkeypatch, releases.Release("tiny", "model", "Tiny", "CC0", (remote,), paper="Nobody 2001"))
    return path


def _release(monkeypatch: pytest.MonkeyPatch, *entries: releases.Release) -> None:
    monkeypatch.setattr(releases, "releases", lambda: {entry.name: entry for entry in entries})
    monkeypatch.setattr(importers, "releases", releases.releases)


def test_the_published_file_is_known_by_its_hash(user: Path, bundle: Path, published: Path) -> None:
    """``tiny@official`` in a journal means the authors' weights: nothing else of the same shape may have that name."""
    card = importers.import_files("tiny", [published])
    assert isinstance(card, ModelCard)
    assert (card.exact_name, card.licence, card.source["origin"]) == ("tiny@official", "CC0", "the published file")

    other = published.with_name("theirs.pth")
    torch.save({"conv.weight": torch.zeros(2, 1, 1, 1), "conv.bias": torch.zeros(2)}, other)
    with pytest.raises(ModelError, match=r"theirs.pth' has the layout of net.pth but is not the published.*--tag NAME"):
        importers.import_files("tiny", [other], overwrite=True)
    mine = importers.import_files("tiny", [other], tag="mine")
    assert isinstance(mine, ModelCard)
    assert (mine.exact_name, mine.source["origin"]) == ("tiny@mine", "not the published file")
    assert "CC0" not in mine.licence
    assert registry.model_info(registry.find("tiny@mine")).origin == "not the published file"
    for tag in ("official", "a/b", ".x", "a@b"):
        with pytest.raises(ModelError, match="choose another --tag"):
            importers.import_files("tiny", [other], tag=tag)


def test_the_card_says_if_no_hash_is_published(
    user: Path, bundle: Path, published: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    remote = releases.Remote("net.pth", "https://example.invalid/net.pth", 10**6)
    _release(monkeypatch, releases.Release("tiny", "model", "Tiny", "CC0", (remote,), paper="Nobody 2001"))
    card = importers.import_files("tiny", [published])
    assert isinstance(card, ModelCard)
    assert (card.exact_name, card.licence) == ("tiny@official", "CC0")
    assert card.source["origin"] == "in the released layout; no hash is published"
    assert card.source["files"] == {"net.pth": file_sha256(published)}


def test_backbones_that_are_not_the_published_ones_get_another_name(tmp_path: Path, user: Path) -> None:
    """A model built on ``efficientnet_b0`` must find under that name what the papers used."""
    path = tmp_path / "b0.pth"
    torch.save(models.efficientnet_b0(weights=None).state_dict(), path)
    with pytest.raises(ModelError, match=r"is not the published file.*efficientnet_b0@NAME"):
        importers.import_files("efficientnet_b0", [path])
    card = importers.import_files("efficientnet_b0", [path], tag="ours")
    assert isinstance(card, backbones.Backbone)
    assert (card.name, card.origin) == ("efficientnet_b0@ours", "not the published file")
    assert set(backbones.installed()) >= {"efficientnet_b0@ours"}
    assert "efficientnet_b0" not in {path.name for path in (user / "backbones").iterdir()}


def test_a_model_with_several_releases_is_named_with_its_tag() -> None:
    """``ddcolor`` is the default of its authors' program; the others need their full name."""
    assert releases.release("ddcolor").exact_name == "ddcolor@modelscope"
    assert releases.release("ddcolor@tiny").preset == "tiny"
    assert releases.release("zhang2016@official").exact_name == "zhang2016@official"
    assert releases.release("deoldify@stable").files[0].name == "ColorizeStable_gen.pth"
    with pytest.raises(ModelError, match="no released files of 'ddcolor@huge'"):
        releases.release("ddcolor@huge")


def test_a_folder_is_not_a_released_file(tmp_path: Path) -> None:
    """It was said to hold no backbone.toml, of which nobody who imports DDColor has heard."""
    with pytest.raises(ModelError, match=r"ddcolor is the name of released files, and .* is a folder"):
        importers.import_files("ddcolor", [tmp_path])


@pytest.mark.parametrize("wrapped", [True, False])
@pytest.mark.parametrize("head", [True, False])
def test_ddcolors_files_come_in_several_forms(tmp_path: Path, wrapped: bool, head: bool) -> None:
    """Saved by BasicSR or plain, with or without a classification head, which is unused; nothing else is accepted."""
    entry = releases.release("ddcolor@tiny")
    layout = {"mean": (1, 3, 1, 1), "encoder.arch.norm0.bias": (4,)}
    state = {name: torch.ones(shape) for name, shape in layout.items()}
    state["encoder.arch.norm.bias"] = torch.ones(4)
    if head:
        state |= {"encoder.arch.head_cls.weight": torch.ones(4, 4), "encoder.arch.head_cls.bias": torch.ones(4)}
    path = tmp_path / "x.pth"
    torch.save({"params": state} if wrapped else state, path)
    arguments: dict[str, Any] = {"wrapper": entry.wrapper, "ignored": entry.ignored}
    assert set(read_tensors(path, layout, entry.unused, **arguments)) == set(layout)
    state["encoder.arch.head_cls.scale"] = torch.ones(1)
    torch.save({"params": state} if wrapped else state, path)
    with pytest.raises(ModelError, match=r"encoder.arch.head_cls.scale is unknown"):
        read_tensors(path, layout, entry.unused, **arguments)
