"""The table of released files agrees with the libraries that define the networks."""

from __future__ import annotations

from math import prod

import pytest
import torch
from torchvision import models

from colorcli.networks.biggan_deep import BigGANLite64
from colorcli.registry import registry
from colorcli.registry.checkpoints import network_layout
from colorcli.registry.releases import Release, releases
from colorcli.registry.systems import BUILT_IN, systems

LIBRARIES = [entry for entry in releases().values() if entry.network]


@pytest.mark.parametrize("entry", LIBRARIES, ids=lambda entry: entry.name)
@pytest.mark.filterwarnings("ignore")
def test_the_layout_of_a_backbone_is_that_of_its_file(entry: Release) -> None:
    """With a wrong variant of the network or size in the table, the file would be refused after its download."""
    if entry.network.startswith("timm:"):
        pytest.importorskip("timm")
    layout = network_layout(entry)
    megabytes = sum(4 * prod(shape) for shape in layout.values()) / 1e6
    # Torchvision's DeepLab file also has an auxiliary head.
    auxiliary = 9.4 if "aux_classifier." in entry.unused else 0
    assert megabytes + auxiliary == pytest.approx(entry.files[0].max_bytes / 2e6, rel=0.01, abs=0.7)


@pytest.mark.parametrize("system", [point.name for point in BUILT_IN])
@pytest.mark.parametrize("preset", ["paper", "lite"])
@pytest.mark.filterwarnings("ignore")
def test_frozen_parts_fit_the_available_backbones(system: str, preset: str) -> None:
    """A network that expects other names, or another backbone, could never be loaded or trained."""
    if preset == "paper" and system in ("inception-gan", "deep-koalarization"):
        pytest.importorskip("timm", reason="part of the extra 'train'")
    network = registry.empty_network(system, systems().network_class(system).presets[preset])
    for part, name in network.frozen_parts.items():
        if name in releases():
            entry = releases()[name]
            kept = {k: shape for k, shape in network_layout(entry).items() if not k.startswith(entry.unused)}
            tensors = {key: torch.empty(shape, device="meta") for key, shape in kept.items()}
        elif name == "biggan-lite-64":
            tensors = BigGANLite64().state_dict()
        else:
            tensors, _ = registry.read_backbone(name)
        registry.fit(tensors, registry.shapes(network.get_submodule(part)), name)


def test_torchvisions_addresses_are_torchvisions() -> None:
    """With one wrong digit, a backbone could not be fetched."""
    theirs = {weights.url for name in models.list_models() for weights in models.get_model_weights(name)}
    ours = {remote.url for entry in releases().values() for remote in entry.files if "pytorch.org" in remote.url}
    assert len(ours) >= 6
    assert ours <= theirs


def test_every_published_hash_is_in_the_table() -> None:
    """Only these files have no published hash; all others are checked against theirs."""
    unpublished = {
        remote.name
        for entry in releases().values()
        for remote in entry.files
        if remote.url and not remote.sha256_prefix
    }
    assert unpublished == {
        "EG_011.ckpt",
        "EG_EMA_011.ckpt",
        "biggan-deep-128-pytorch_model.bin",
        "biggan-deep-128-config.json",
        "G_ema_256.pth",
        "D_256.pth",
        "ddcolor_modelscope.pth",
        "ddcolor_artistic.pth",
        "ddcolor_paper.pth",
        "ddcolor_paper_tiny.pth",
        "ColorizeArtistic_gen.pth",
        "ColorizeStable_gen.pth",
    }
