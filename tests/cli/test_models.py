"""``colorcli models`` as used by people and by scripts."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torchvision import models

from colorcli.files import file_sha256
from colorcli.registry import backbones
from colorcli.registry.card import ModelCard, write_card

from .conftest import Run


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """The folder of a model installed in the user's data folder."""
    folder = tmp_path / "data" / "models" / "tiny@official"
    folder.mkdir(parents=True)
    save_file({"x": torch.ones(3)}, folder / "weights.safetensors")
    card = ModelCard(
        name="tiny",
        tag="official",
        system="bigcolor",
        weights_sha256=file_sha256(folder / "weights.safetensors"),
        licence="CC0",
        controls=("z",),
    )
    write_card(card, folder)
    return folder


def test_list_says_what_a_bare_name_means(run: Run, installed: Path) -> None:
    """People see which model is the default, and scripts can read it."""
    lines = run("models", "list").stdout.splitlines()
    assert any(line.split()[:2] == ["tiny@official", "yes"] for line in lines)
    records = [json.loads(line) for line in run("models", "list", "--json").stdout.splitlines()]
    tiny = next(record for record in records if record["name"] == "tiny")
    assert (tiny["v"], tiny["event"], tiny["default"], tiny["tag"]) == (1, "model", True, "official")
    assert tiny["weights"]["sha256"] == file_sha256(installed / "weights.safetensors")


def test_the_list_fits_a_terminal_of_100_columns(run: Run) -> None:
    """A table that wraps is unreadable; only this one lists the options that each model takes."""
    result = run("models", "list")
    assert max(len(line.rstrip()) for line in result.stdout.splitlines()) <= 100
    assert "--sigma, --seed, --class" in next(line for line in result.stdout.splitlines() if "bigcolor@lite" in line)


def test_weights_that_are_not_here_say_how_they_are_got(run: Run) -> None:
    """``@official`` is the name in all tables; suggesting "zhang2016" instead would lead to other weights."""
    shown = run("models", "show", "zhang2016@official")
    assert (shown.returncode, "colorcli models pull zhang2016" in shown.stdout) == (0, True)
    missing = run("colorize", ".", "--model", "zhang2016@official")
    assert missing.returncode == 6
    assert "zhang2016@official (129 MB) is not on this machine" in missing.stderr
    assert "'colorcli models pull zhang2016'" in missing.stderr


def test_show_prints_the_card(run: Run, installed: Path) -> None:
    shown = tomllib.loads(run("models", "show", "tiny").stdout)
    assert (shown["licence"], shown["options"]) == ("CC0", ["--sigma", "--seed"]), "users cannot type z"
    record = json.loads(run("models", "show", str(installed), "--json").stdout)
    assert (record["licence"], record["reference"]) == ("CC0", str(installed))
    missing = run("models", "show", "tinny")
    assert (missing.returncode, missing.stdout) == (6, "")
    assert "did you mean tiny" in missing.stderr


def test_verify_finds_changed_weights(run: Run, installed: Path) -> None:
    """Archives run this once a year, because files decay on disks."""
    assert run("models", "verify", "tiny").returncode == 0
    with (installed / "weights.safetensors").open("ab") as file:
        file.write(b"x")
    result = run("models", "verify", "tiny", "--json")
    assert result.returncode == 6
    record = json.loads(result.stdout)
    assert (record["name"], record["ok"]) == ("tiny@official", False)
    assert "SHA-256" in record["reason"]


@pytest.fixture
def backbone(tmp_path: Path) -> Path:
    """The folder of a backbone installed in the user's data folder."""
    folder = tmp_path / "data" / "backbones" / "resnet50"
    folder.mkdir(parents=True)
    save_file({"x": torch.ones(3)}, folder / "weights.safetensors")
    sha256 = file_sha256(folder / "weights.safetensors")
    backbones.write_card(backbones.Backbone("resnet50", sha256, licence="BSD-3-Clause"), folder)
    return folder


def test_list_all_says_what_can_be_pulled_how_large_it_is_and_under_which_licence(run: Run, backbone: Path) -> None:
    """Users must know this before they download half a gigabyte; the plain list only shows models."""
    assert "resnet50" not in run("models", "list").stdout
    lines = run("models", "list", "--all").stdout.splitlines()
    assert any(line.split()[:4] == ["vgg16", "backbone", "553", "BSD-3-Clause"] for line in lines)
    assert any(line.split()[:4] == ["resnet50", "backbone", "103", "yes"] for line in lines)
    records = [json.loads(line) for line in run("models", "list", "--all", "--json").stdout.splitlines()]
    found = {record["name"]: record for record in records if record["event"] == "release"}
    assert (found["resnet50"]["installed"], found["vgg16"]["installed"]) == (True, False)
    assert found["vgg16"]["files"][0]["sha256"] == "397923af"
    assert {"model", "backbone", "generator", "discriminator", "metric network"} == {
        record["kind"] for record in found.values()
    }


def test_show_and_verify_know_backbones(run: Run, backbone: Path) -> None:
    assert "BSD-3-Clause" in run("models", "show", "resnet50").stdout
    assert "not on this machine" in run("models", "show", "inception-fid").stdout
    record = json.loads(run("models", "show", "vgg16", "--json").stdout)
    assert (record["event"], record["kind"], record["installed"]) == ("release", "backbone", False)
    assert "did you mean resnet50" in run("models", "show", "resnet5").stderr
    assert run("models", "verify", "resnet50").stdout == "resnet50: ok\n"
    (backbone / "weights.safetensors").write_bytes(b"rot")
    result = run("models", "verify", "--json")
    assert result.returncode == 6
    failed = [json.loads(line)["name"] for line in result.stdout.splitlines() if not json.loads(line)["ok"]]
    assert failed == ["resnet50"]


def test_a_backbone_is_imported_from_a_named_file(run: Run, tmp_path: Path) -> None:
    """Machines without a network get their weights on a USB stick."""
    torch.save(models.efficientnet_b0(weights=None).state_dict(), tmp_path / "b0.pth")
    refused = run("models", "import", "efficientnet_b0", "b0.pth")
    assert (refused.returncode, refused.stdout) == (6, "")
    assert "--tag NAME" in refused.stderr
    result = run("models", "import", "efficientnet_b0", "b0.pth", "--tag", "ours", "--json")
    assert result.returncode == 0, result.stderr
    assert "efficientnet_b0@ours is not the published file." in result.stderr
    record = json.loads(result.stdout)
    weights = tmp_path / "data" / "backbones" / "efficientnet_b0@ours" / "weights.safetensors"
    assert (record["event"], record["weights"]["sha256"]) == ("backbone.installed", file_sha256(weights))
    weights.parent.rename(weights.parent.with_name("efficientnet_b0"))
    again = run("models", "pull", "efficientnet_b0", COLORCLI_OFFLINE="1")
    assert (again.returncode, again.stdout) == (0, "")
    assert "Nothing was fetched" in again.stderr


def test_a_machine_without_a_network_is_told_the_whole_way(run: Run) -> None:
    """Users see the addresses to download elsewhere, the files' hashes, and the command that imports them."""
    result = run("models", "pull", "bigcolor", "--print-url", COLORCLI_OFFLINE="1")
    assert result.returncode == 0, result.stderr
    assert [line.partition("&id=")[0] for line in result.stdout.splitlines()] == [
        "https://drive.google.com/uc?export=download"
    ] * 2
    assert "colorcli models import bigcolor EG_011.ckpt --ema EG_EMA_011.ckpt" in result.stderr
    record = json.loads(run("models", "pull", "siggraph17", "--print-url", "--json").stdout)
    assert (record["event"], record["sha256"][:8]) == ("release.file", "df00044c")
    shown = run("models", "show", "ddcolor").stdout
    assert "ddcolor@modelscope" in shown
    assert "ICCV 2023" in shown


def test_default_is_stored_for_the_user(run: Run, installed: Path) -> None:
    result = run("models", "default", "tiny@official")
    assert (result.returncode, result.stderr) == (0, "tiny now means tiny@official.\n")
    assert json.loads((installed.parents[1] / "defaults.json").read_text()) == {"tiny": "official"}
    assert run("models", "default", "tiny@lite").returncode == 6


def test_importing_something_else_is_refused(run: Run, tmp_path: Path) -> None:
    """A photograph, a missing file and another program's checkpoint are refused in a sentence; nothing is installed."""
    torch.save({"conv.weight": torch.zeros(1)}, tmp_path / "other.ckpt")
    (tmp_path / "photo.jpg").write_bytes(b"\xff\xd8\xff")
    for name, code in (("other.ckpt", 6), ("photo.jpg", 6), ("nowhere.ckpt", 2)):
        result = run("models", "import", "bigcolor", name)
        assert (result.returncode, result.stdout) == (code, "")
        assert name in result.stderr
        assert "Traceback" not in result.stderr
    assert not (tmp_path / "data" / "models").exists()


def test_pulling_offline_is_one_sentence(run: Run) -> None:
    result = run("models", "pull", "bigcolor", COLORCLI_OFFLINE="1")
    assert (result.returncode, result.stdout) == (6, "")
    assert result.stderr.count("\n") == 1
    assert "COLORCLI_OFFLINE" in result.stderr


def test_model_names_complete_without_torch(run: Run, installed: Path, tmp_path: Path) -> None:
    """Completion must be immediate, and importing torch takes seconds."""
    answer = run(
        "models",
        COMP_WORDS="colorcli models show ti",
        COMP_CWORD="3",
        _COLORCLI_COMPLETE="complete_bash",
    )
    assert answer.stdout.split() == ["tiny", "tiny@official"]
    answer = run(
        "models",
        COMP_WORDS="colorcli evaluate --metrics psnr,ss",
        COMP_CWORD="3",
        _COLORCLI_COMPLETE="complete_bash",
    )
    assert answer.stdout.split() == ["psnr,ssim"]
    code = "import sys, colorcli.cli.completion as c; c.complete_model(''); sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_doctor_reports_what_is_here(run: Run, installed: Path) -> None:
    """Maintainers ask everyone who reports a fault for this output."""
    report = json.loads(run("doctor", "--json").stdout)
    assert report["packages"]["torch"] == torch.__version__.split("+")[0]
    assert "tiny@official" in report["models"]
    assert report["systems"] == ["bigcolor"] or "bigcolor" in report["systems"]
    assert report["folders"]["data"] == {"path": str(installed.parents[1]), "exists": True, "writable": True}
    assert report["devices"]["torch_threads"] >= 1
    assert "providers" in report["onnxruntime"] or "error" in report["onnxruntime"]
    assert "torch" in run("doctor").stdout


def test_samples_are_listed_and_a_full_place_is_an_output_error(run: Run, tmp_path: Path) -> None:
    result = run("samples", "old photos", "--json")
    paths = [json.loads(line)["path"] for line in result.stdout.splitlines()]
    assert len(paths) >= 5
    assert all((tmp_path / path).is_file() for path in paths)
    (tmp_path / "a file").write_text("x")
    assert run("samples", "a file").returncode == 8
