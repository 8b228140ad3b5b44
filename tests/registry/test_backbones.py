"""Backbones that several models share: stored once, and each model runs with the one it was made with."""

from __future__ import annotations

import errno
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from colorcli.errors import ExitCode, ModelError
from colorcli.files import file_sha256
from colorcli.pipeline.opening import open_model
from colorcli.registry import backbones, importers, registry
from colorcli.registry.card import CARD, WEIGHTS, ModelCard, Shared
from colorcli.registry.releases import Release, Remote
from colorcli.registry.systems import systems
from colorcli.train import recipe as recipes

from .conftest import make_backbone, make_model

HEAD = {"head.weight": torch.ones(2, 3, 1, 1), "head.bias": torch.zeros(2)}


@pytest.fixture
def backbone(user: Path) -> Path:
    """The weights of a toy ``resnet50`` in the user's folder."""
    return make_backbone(user / "backbones")


@pytest.fixture
def borrower(bundle: Path, tiny: str, backbone: Path) -> Path:
    """The folder of a model that shares the toy backbone."""
    shared = {"encoder": Shared("resnet50", file_sha256(backbone))}
    make_model(bundle / "borrower", HEAD, name="borrower", system="borrower", controls=(), backbones=shared)
    return bundle / "borrower"


def test_a_users_backbone_is_for_new_networks_and_never_under_an_existing_model(
    bundle: Path, borrower: Path, backbone: Path
) -> None:
    """A user who trains a better generator wants to build on it; bundled models were tested with the bundled one."""
    shipped = bundle / "backbones" / "resnet50"
    shipped.parent.mkdir()
    backbone.parent.rename(shipped)
    before = open_model("borrower", device="cpu").chroma(np.full((1, 1, 8, 8), 50, np.float32))
    mine = make_backbone(backbone.parents[1], scale=2)
    assert mine == backbone == backbones.locate("resnet50")
    assert backbones.locate("resnet50", file_sha256(shipped / WEIGHTS)) == shipped / WEIGHTS
    registry.verify(registry.find("borrower"))
    after = open_model("borrower", device="cpu").chroma(np.full((1, 1, 8, 8), 50, np.float32))
    np.testing.assert_array_equal(before, after)
    card = registry.find("borrower")
    adapted = registry.build(card, registry.read_weights(card))
    assert adapted.shared_sha256 == {"encoder": file_sha256(shipped / WEIGHTS)}
    new = systems().network_class("borrower")()
    assert registry.fill_frozen(new) == {"encoder": Shared("resnet50", file_sha256(mine))}


def test_a_backbone_that_is_not_here_says_how_to_get_it(bundle: Path) -> None:
    """The message is the only thing that tells a user how to get the weights."""
    with pytest.raises(ModelError, match=r"colorcli models pull vgg16'.*colorcli models import vgg16 FILE") as caught:
        backbones.locate("vgg16")
    assert caught.value.exit_code == ExitCode.MODEL
    with pytest.raises(ModelError, match="no backbone 'vgg61'; did you mean vgg16"):
        backbones.locate("vgg61")


def test_a_model_runs_with_the_backbone_it_names(borrower: Path, backbone: Path) -> None:
    """Two models that share a backbone ship it once; each must still be complete."""
    session = open_model("borrower", device="cpu")
    chroma = session.chroma(np.full((1, 1, 8, 8), 50, np.float32))
    # 0.5 less the running means 1, 2 and 3; summed by the head.
    np.testing.assert_allclose(chroma[0, :, 0, 0], [1.5 - 6, 1.5 - 6], rtol=1e-4)
    assert session.info.backbones == {"resnet50": file_sha256(backbone)}
    assert session.info.weights_sha256 == file_sha256(borrower / WEIGHTS)
    assert set(load_file(borrower / WEIGHTS)) == set(HEAD)
    registry.verify(registry.find("borrower"))


def test_another_backbone_than_the_models_own_is_refused(borrower: Path, backbone: Path) -> None:
    """The decoder was trained on these features and no others: the colours would be nonsense."""
    save_file({name: tensor + 1 for name, tensor in load_file(backbone).items()}, backbone)
    for attempt in (
        lambda: open_model("borrower", device="cpu"),
        lambda: registry.verify(registry.find("borrower")),
    ):
        with pytest.raises(ModelError, match=r"borrower@lite was made with a different resnet50 than the one on this"):
            attempt()
    with pytest.raises(ModelError, match=r"resnet50 have changed.*models pull resnet50 --overwrite"):
        backbones.verify("resnet50")
    backbone.unlink()
    with pytest.raises(ModelError, match="colorcli models pull resnet50"):
        open_model("borrower", device="cpu")


def test_a_failing_disk_gives_a_sentence(borrower: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Users who verify their weights because a disk is failing used to get "unexpected OSError"."""
    card = registry.find("borrower")

    def fail(path: Path) -> bytes:
        if "backbones" in path.parts:
            raise OSError(errno.EIO, "Input/output error")
        return path.open("rb").read()

    monkeypatch.setattr(Path, "read_bytes", fail)
    for attempt in (lambda: registry.verify(card), lambda: open_model(card), lambda: backbones.verify("resnet50")):
        with pytest.raises(ModelError, match="cannot be read: Input/output error"):
            attempt()


def test_a_card_must_name_the_networks_own_parts(borrower: Path) -> None:
    """Cards are edited by hand, or come from another version of the plug-in."""
    card = (borrower / CARD).read_text()
    for change in (("backbones.encoder", "backbones.decoder"), ('"resnet50"', '"vgg16"')):
        assert change[0] in card
        (borrower / CARD).write_text(card.replace(*change))
        with pytest.raises(ModelError, match="which the network 'borrower' does not have"):
            open_model("borrower", device="cpu")
    (borrower / CARD).write_text(card.replace('sha256 = "', 'sha256 = "x', 1))
    with pytest.raises(ModelError, match=r"backbones\.encoder\.sha256 is not a SHA-256"):
        registry.find(str(borrower))


def test_an_imported_model_shares_what_its_network_freezes(
    bundle: Path, tiny: str, backbone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The released file holds what the authors trained; backbones are referred to, not copied."""
    torch.save(HEAD, tmp_path / "head.pth")
    entry = Release("borrower", "model", "Toy", "CC0", (Remote("head.pth", "", 10**6),))
    monkeypatch.setattr(importers, "release", {"borrower": entry}.__getitem__)
    card = importers.import_files("borrower", [tmp_path / "head.pth"])
    assert isinstance(card, ModelCard)
    assert card.backbones == {"encoder": Shared("resnet50", file_sha256(backbone))}
    assert set(load_file(card.weights)) == set(HEAD)
    chroma = open_model("borrower@official", device="cpu").chroma(np.full((1, 1, 8, 8), 50, np.float32))
    np.testing.assert_allclose(chroma[0, :, 0, 0], [1.5 - 6, 1.5 - 6], rtol=1e-4)


def test_a_model_that_contains_its_backbone_still_runs(bundle: Path, tiny: str) -> None:
    """Models imported before their network's classifier became shared contain a copy of it."""
    encoder = registry.empty_network("borrower", {}).get_submodule("encoder").state_dict()
    whole = {f"encoder.{name}": torch.zeros(tensor.shape, dtype=tensor.dtype) for name, tensor in encoder.items()}
    make_model(bundle / "borrower", HEAD | whole, name="borrower", system="borrower", controls=())
    chroma = open_model("borrower", device="cpu").chroma(np.full((1, 1, 8, 8), 50, np.float32))
    assert not chroma.any()


def test_training_fills_frozen_parts_and_keeps_them_out_of_the_models_file(tiny: str, backbone: Path) -> None:
    """With a copy of each backbone, every run folder would be a quarter of a gigabyte larger."""
    network = systems().network_class("borrower")()
    shared = registry.fill_frozen(network)
    assert shared == {"encoder": Shared("resnet50", file_sha256(backbone))}
    assert network.get_submodule("encoder").state_dict()["1.running_mean"].tolist() == [1, 2, 3]
    assert set(registry.own_tensors(network, shared)) == set(HEAD)


def test_a_module_is_found_inside_the_backbone_it_was_cut_from(backbone: Path) -> None:
    """Networks use a backbone without its head, or only its first layers."""
    tensors, _ = registry.read_backbone("resnet50")
    whole = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    assert registry.fit(tensors, whole, "resnet50") == tensors
    first = registry.fit(tensors, {"0.weight": (3, 1, 1, 1), "0.bias": (3,)}, "resnet50")
    assert first == {"0.weight": tensors["features.0.weight"], "0.bias": tensors["features.0.bias"]}
    with pytest.raises(ModelError, match=r"resnet50 does not fit: 0.weight has shape \(3, 1, 1, 1\), not \(3, 3, 1"):
        registry.fit(tensors, {"0.weight": (3, 3, 1, 1)}, "resnet50")
    with pytest.raises(ModelError, match=r"stem\.weight is missing"):
        registry.fit(tensors, {"stem.weight": (3,)}, "resnet50")


def test_a_backbone_without_a_record_is_found_but_never_called_verified(user: Path, bundle: Path) -> None:
    make_backbone(user / "backbones", "mine")
    (user / "backbones" / "mine" / backbones.CARD).unlink()
    assert backbones.locate("mine").is_file()
    with pytest.raises(ModelError, match="No SHA-256 was recorded for mine"):
        backbones.verify("mine")


def test_a_run_that_made_a_backbone_is_imported_as_it_is(bundle: Path, user: Path, tmp_path: Path) -> None:
    """Hours of training: another hash than the run's own, and no model made with it would be known by it again."""
    weights = make_backbone(tmp_path / "runs", "biggan-lite-64")
    installed = importers.import_files("biggan-lite-64", [weights.parent])
    assert isinstance(installed, backbones.Backbone)
    assert installed.sha256 == file_sha256(weights) == file_sha256(user / "backbones" / "biggan-lite-64" / WEIGHTS)
    assert importers.import_files("biggan-lite-64", [weights.parent]) == installed
    backbones.verify("biggan-lite-64")
    assert importers.import_files("mine", [weights.parent]).name == "mine"
    with pytest.raises(ModelError, match=r"colours nothing by itself.*colorcli models import biggan-lite-64"):
        registry.find(str(weights.parent))
    other = make_backbone(tmp_path / "more", "biggan-lite-64", scale=2)
    with pytest.raises(ModelError, match="--overwrite"):
        importers.import_files("biggan-lite-64", [other.parent])


def test_a_run_that_cannot_be_a_backbone_is_refused(bundle: Path, user: Path, tmp_path: Path) -> None:
    """Otherwise only the nonsense of the next network would reveal the fault."""
    weights = make_backbone(tmp_path / "runs", "biggan-lite-64")
    for name, said in (
        ("vgg16", "released files"),
        ("../vgg16", "cannot be a backbone's name"),
    ):
        with pytest.raises(ModelError, match=said):
            importers.import_files(name, [weights.parent])
    make_model(tmp_path / "model")
    with pytest.raises(ModelError, match=r"use it with --model"):
        importers.import_files("mine", [tmp_path / "model"])
    with pytest.raises(ModelError, match="has not reached its first check yet"):
        importers.import_files("mine", [tmp_path])
    weights.write_bytes(b"rot")
    with pytest.raises(ModelError, match="is not what the run wrote"):
        importers.import_files("mine", [weights.parent])
    assert not (user / "backbones").exists()


@pytest.mark.parametrize("timm", [True, False])
def test_what_is_built_on_a_backbone_is_known(
    tiny: str, backbone: Path, timm: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message after an import says what the training was for; a missing package that only another network needs
    must not turn the import into an error."""
    if not timm:
        monkeypatch.setitem(sys.modules, "timm", None)
    assert importers.built_on("resnet50") == ["borrower paper"]


def test_a_backbone_that_only_training_makes_says_so(bundle: Path, user: Path) -> None:
    """It cannot be pulled: without knowing the two commands, nobody could train biggan-encoder lite."""
    with pytest.raises(
        ModelError, match=r"colorcli train biggan-lite-64 .*colorcli models import biggan-lite-64 runs/"
    ):
        backbones.locate("biggan-lite-64")
    assert set(backbones.TRAINED) <= set(recipes.SHELF.names())


def test_locating_backbones_does_not_import_torch() -> None:
    """Otherwise ``models list`` and shell completion would take seconds."""
    code = "import sys; from colorcli.registry import backbones; backbones.folders(); backbones.known()"
    subprocess.run([sys.executable, "-c", f"{code}; assert 'torch' not in sys.modules"], check=True)
