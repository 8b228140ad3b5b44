"""Finding and loading models: the weights that run are the weights that were asked for."""

from __future__ import annotations

import logging
import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from colorcli.errors import ExitCode, ModelError
from colorcli.files import file_sha256
from colorcli.networks.size import SizeRule
from colorcli.pipeline.opening import open_model
from colorcli.registry import registry
from colorcli.registry.card import CARD, WEIGHTS
from colorcli.registry.systems import BUILT_IN, GROUP, Systems, systems

from .conftest import install_plugin, make_model


def test_a_bare_name_means_the_bundled_model_until_the_user_chooses(bundle: Path, user: Path) -> None:
    """An import that silently changed what ``bigcolor`` means would change the look of a half-done collection."""
    make_model(bundle / "tiny")
    make_model(user / "models" / "tiny@official", tag="official")
    make_model(user / "models" / "tiny@a", tag="a")
    assert registry.find("tiny").exact_name == "tiny@lite"
    assert registry.find("tiny@official").folder == user / "models" / "tiny@official"
    registry.set_default("tiny@official")
    assert registry.find("tiny").exact_name == "tiny@official"
    assert [card.exact_name for card in registry.list_models()] == ["tiny@official", "tiny@lite", "tiny@a"]
    registry.set_default("tiny@lite")
    assert registry.find("tiny").exact_name == "tiny@lite"


def test_a_default_must_be_installed(bundle: Path, user: Path) -> None:
    """A default that points nowhere would break every later run."""
    make_model(bundle / "tiny")
    with pytest.raises(ModelError, match="tiny@lit'; did you mean tiny@lite"):
        registry.set_default("tiny@lit")
    assert registry.default_tags() == {}


def test_a_default_that_was_removed_is_explained(bundle: Path, user: Path) -> None:
    """Silently falling back to other weights would colour the rest of a collection differently."""
    make_model(bundle / "tiny")
    make_model(user / "models" / "tiny@official", tag="official")
    registry.set_default("tiny@official")
    (user / "models" / "tiny@official" / CARD).unlink()
    with pytest.raises(ModelError, match="colorcli models default tiny@lite"):
        registry.find("tiny")


def test_several_models_without_a_bundled_one_are_not_guessed_between(bundle: Path, user: Path) -> None:
    make_model(user / "models" / "tiny@a", tag="a")
    assert registry.find("tiny").exact_name == "tiny@a"
    make_model(user / "models" / "tiny@b", tag="b")
    with pytest.raises(ModelError, match="tiny@a or tiny@b"):
        registry.find("tiny")


def test_similar_names_are_suggested_for_an_unknown_one(bundle: Path) -> None:
    """A typo should cost a glance, not a search."""
    make_model(bundle / "tiny")
    with pytest.raises(ModelError, match="There is no model 'tinny'; did you mean tiny") as caught:
        registry.find("tinny")
    assert caught.value.exit_code == ExitCode.MODEL


def test_a_run_folder_and_a_weights_file_are_models(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Training's output is used by path; nothing has to be installed."""
    card = make_model(tmp_path / "runs" / "one")
    monkeypatch.chdir(tmp_path / "runs")
    for name in ("one", "./one", str(tmp_path / "runs" / "one"), "one/weights.safetensors"):
        found = registry.find(name)
        assert found.weights_sha256 == card.weights_sha256
        assert found.weights.is_file()
        assert registry.model_info(found).name == str(Path(name))


def test_another_weights_file_beside_the_card_is_known_by_its_own_hash(bundle: Path, tmp_path: Path) -> None:
    """Journals record the hash: with that of weights.safetensors they would name the wrong weights."""
    make_model(tmp_path / "run")
    save_file(
        {"conv.weight": torch.ones(2, 1, 1, 1), "conv.bias": torch.ones(2)}, tmp_path / "run" / "step9.safetensors"
    )
    found = registry.find(str(tmp_path / "run" / "step9.safetensors"))
    assert found.weights_sha256 != registry.find(str(tmp_path / "run")).weights_sha256
    registry.verify(found)


@pytest.mark.parametrize("name", ["missing/run", "missing.safetensors", "photo.dir/x.jpg"])
def test_a_path_without_a_model_is_refused(bundle: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "photo.dir").mkdir()
    (tmp_path / "photo.dir" / "x.jpg").write_bytes(b"x")
    with pytest.raises(ModelError, match=r"is not a model|neither a run folder nor a weights file"):
        registry.find(str(tmp_path / name))


def test_one_damaged_model_does_not_hide_the_others(bundle: Path, user: Path, caplog: pytest.LogCaptureFixture) -> None:
    """An import interrupted by a full disk must not stop the bundled model from working."""
    make_model(bundle / "tiny")
    broken = user / "models" / "tiny@broken"
    broken.mkdir(parents=True)
    (broken / CARD).write_text("name = ")
    with caplog.at_level(logging.WARNING):
        assert [card.exact_name for card in registry.list_models()] == ["tiny@lite"]
    assert str(broken) in caplog.text


def test_an_installed_model_never_shadows_a_bundled_one(
    bundle: Path, user: Path, caplog: pytest.LogCaptureFixture
) -> None:
    make_model(bundle / "tiny")
    make_model(user / "models" / "tiny@lite")
    assert registry.find("tiny@lite").folder == bundle / "tiny"
    assert "has its name" in caplog.text


def test_a_model_runs_with_exactly_its_weights(bundle: Path, tiny: str) -> None:
    """Half-precision weights run as float32; the session carries what journals record."""
    halves = {"conv.weight": torch.tensor([0.5, -2.0]).reshape(2, 1, 1, 1).half(), "conv.bias": torch.ones(2).half()}
    card = make_model(bundle / "tiny", halves, size=SizeRule(size=64, multiple_of=8))
    session = open_model("tiny", device="cpu")
    chroma = session.chroma(np.full((1, 1, 8, 8), 50, np.float32), {"z": np.full((1, 68), 3, np.float32)})
    assert chroma.dtype == np.float32
    np.testing.assert_allclose(chroma[0, :, 0, 0], [0.25 + 1 + 3, -1 + 1 + 3], rtol=1e-6)
    info = session.info
    assert (info.name, info.system, info.version, info.licence) == ("tiny@lite", "tiny", "3", "CC0")
    assert (info.weights_sha256, info.controls, info.size_rule.size) == (card.weights_sha256, ("z",), 64)


def test_weights_that_were_changed_are_refused(bundle: Path, tiny: str) -> None:
    """One flipped bit on an old disk would colour eighty thousand photographs wrongly."""
    make_model(bundle / "tiny")
    path = bundle / "tiny" / WEIGHTS
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(ModelError, match="not those that its card describes") as caught:
        open_model("tiny", device="cpu")
    assert caught.value.exit_code == ExitCode.MODEL
    with pytest.raises(ModelError, match="not those that its card describes"):
        registry.verify(registry.find("tiny"))
    path.unlink()
    with pytest.raises(ModelError, match="cannot be read"):
        open_model("tiny", device="cpu")


@pytest.mark.parametrize(
    ("tensors", "fault"),
    [
        ({"conv.weight": torch.zeros(2, 1, 1, 1)}, "conv.bias is missing"),
        (
            {"conv.weight": torch.zeros(2, 1, 1, 1), "conv.bias": torch.zeros(2), "extra": torch.zeros(1)},
            "extra is unknown",
        ),
        (
            {"conv.weight": torch.zeros(2, 1, 3, 3), "conv.bias": torch.zeros(2)},
            r"conv.weight has shape \(2, 1, 3, 3\)",
        ),
    ],
)
def test_weights_that_do_not_fit_are_refused(
    bundle: Path, tiny: str, tensors: dict[str, torch.Tensor], fault: str
) -> None:
    """Loading what fits and leaving the rest random would give plausible nonsense."""
    make_model(bundle / "tiny", tensors)
    with pytest.raises(ModelError, match=fault):
        open_model("tiny", device="cpu")


def test_a_weights_file_that_is_not_safetensors_is_refused(bundle: Path, tiny: str) -> None:
    """A pickle renamed to weights.safetensors must not be read, whatever its card's hash says."""
    card = make_model(bundle / "tiny")
    torch.save({"conv.weight": torch.zeros(1)}, bundle / "tiny" / WEIGHTS)
    sha256 = file_sha256(bundle / "tiny" / WEIGHTS)
    text = (bundle / "tiny" / CARD).read_text()
    (bundle / "tiny" / CARD).write_text(text.replace(card.weights_sha256, sha256))
    with pytest.raises(ModelError, match="not a readable safetensors file"):
        open_model("tiny", device="cpu")


def test_arguments_a_network_does_not_take_are_refused(bundle: Path, tiny: str) -> None:
    make_model(bundle / "tiny", network={"depth": 3})
    with pytest.raises(ModelError, match="does not take the arguments of its card"):
        open_model("tiny", device="cpu")


def test_a_network_without_a_picture_of_its_own_cannot_have_it_enlarged(bundle: Path, tiny: str) -> None:
    """Otherwise a card with another system's size rule would only be noticed when the first photograph fails."""
    make_model(bundle / "tiny", size=SizeRule(32, 8, enlarge="bilinear-rgb"))
    with pytest.raises(ModelError, match=r"enlarges RGB \(size.enlarge\), but its network's output is in ab"):
        open_model("tiny", device="cpu")


def test_an_unknown_system_is_explained(bundle: Path) -> None:
    """The model may belong to a plug-in that is not installed on this machine."""
    make_model(bundle / "tiny", system="bigcolour")
    with pytest.raises(ModelError, match="no system 'bigcolour'; did you mean bigcolor"):
        open_model("tiny", device="cpu")


def test_two_networks_of_one_name_are_an_error_and_change_nothing() -> None:
    """Which of two plug-ins is used must not depend on the order of sys.path."""
    table = Systems(point for point in BUILT_IN if point.name == "bigcolor")
    with pytest.raises(ModelError, match="Two networks are called 'bigcolor'"):
        table.register(EntryPoint("bigcolor", "other:Network", GROUP))
    assert table.names() == ["bigcolor"]
    assert table.network_class("bigcolor").__module__ == "colorcli.networks.bigcolor"
    table.register(next(point for point in BUILT_IN if point.name == "bigcolor"))
    assert table.names() == ["bigcolor"]


def test_a_plug_in_with_a_name_that_is_taken_is_an_error(
    tmp_path: Path, tiny: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    install_plugin(tmp_path / "more", "second-plugin", "tiny = elsewhere:Tiny", {})
    monkeypatch.syspath_prepend(str(tmp_path / "more"))
    with pytest.raises(ModelError, match="tiny-plugin") as caught:
        systems()
    assert "second-plugin" in str(caught.value)


@pytest.mark.parametrize("value", ["tiny_network:NotANetwork", "tiny_network:Missing", "no_such_module:Tiny"])
def test_a_plug_in_that_is_not_a_network_is_explained(tiny: str, value: str) -> None:
    with pytest.raises(ModelError, match="network 'x'"):
        Systems([EntryPoint("x", value, GROUP)]).network_class("x")


def test_a_torchvision_for_another_pytorch_is_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who installs PyTorch's CPU wheel alone gets a torchvision for CUDA; its own words lead nowhere."""
    (tmp_path / "unfit.py").write_text("raise RuntimeError('operator torchvision::nms does not exist')")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ModelError, match=r"nms does not exist\. PyTorch and torchvision do not match"):
        Systems([EntryPoint("x", "unfit:Network", GROUP)]).network_class("x")


def test_finding_and_listing_do_not_import_torch(bundle: Path, user: Path) -> None:
    """Otherwise shell completion and ``models list`` would take seconds."""
    make_model(user / "models" / "tiny@lite")
    code = (
        "import sys; from colorcli.registry.registry import find, list_models\n"
        "assert find('tiny@lite') in list_models(); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.slow
def test_loading_does_not_load_pytorchs_compiler() -> None:
    """It would cost a second and 140 MB, for initial values that the weights replace."""
    code = (
        "import sys; from colorcli.pipeline.opening import open_model; open_model('bigcolor', device='cpu'); "
        "sys.exit(int('torch._dynamo' in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
