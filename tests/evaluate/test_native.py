"""With ``--native``, the network's own output is scored, including its lightness."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from colorcli.color import tensors as colors
from colorcli.errors import UsageError
from colorcli.evaluate import cost
from colorcli.evaluate.data import decode
from colorcli.evaluate.engine import EvaluationOptions
from colorcli.evaluate.prepare import fit, to_rgb8
from colorcli.evaluate.protocols import Protocol
from colorcli.evaluate.run import Request, Run
from colorcli.networks.colorizer import Colorizer
from colorcli.networks.size import SizeRule
from colorcli.report.records import Report
from colorcli.sessions.pytorch import PyTorchSession
from colorcli.sessions.session import ModelInfo

NATIVE = Protocol("native-test@1", "", "stretch", 32, "bilinear", "lightness", ("mse-rgb", "mse-lab", "native-mse"))


class Flat(Colorizer):
    """A network whose output is constant: RGB in -1..1, or a*, b* divided by 110 at half the size."""

    size_rule: ClassVar[SizeRule] = SizeRule(32, 16, fixed=True)

    def __init__(self, space: str) -> None:
        super().__init__()
        self.native_space = space
        self.convolution = nn.Conv2d(1, 3, 3, padding=1)

    native_space: str  # type: ignore[misc]

    def native(self, lightness: Tensor, **_: Any) -> Tensor:
        self.convolution(lightness)
        if self.native_space == "rgb":
            return torch.full((len(lightness), 3, *lightness.shape[2:]), 0.5)
        return torch.full((len(lightness), 2, 16, 16), 0.1)

    def target(self, rgb: Tensor) -> Tensor:
        return rgb * 2 - 1 if self.native_space == "rgb" else colors.srgb_to_lab(rgb)[:, 1:] / 110

    def to_chroma(self, answer: Tensor, lightness: Tensor) -> Tensor:
        return colors.srgb_to_lab((answer + 1) / 2)[:, 1:] if self.native_space == "rgb" else answer * 110

    def as_rgb(self, answer: Tensor, lightness: Tensor) -> Tensor:
        return (answer + 1) / 2


def session(space: str) -> PyTorchSession:
    info = ModelInfo(space, "flat", "ab" * 32, (), Flat.size_rule)
    return PyTorchSession(Flat(space), info, device="cpu", threads=1)


def evaluate(photos: Path, *names: str) -> Report:
    return Run(
        Request(NATIVE.changed(native=True), roots=(photos,), models=names), EvaluationOptions(jobs=1)
    ).carry_out()


def test_an_rgb_networks_own_picture_is_scored(photos: Path, models: dict[str, Any]) -> None:
    """Its lightness is part of its output; joining with the photograph's lightness would hide its errors."""
    models["rgb"] = session("rgb")
    report = evaluate(photos / "1.png", "rgb")
    (image,) = report["images"]
    assert report["protocol"]["id"] == "native-test@1+native=True"
    original = fit(to_rgb8(decode((photos / "1.png").read_bytes(), "")[0].pixels), NATIVE).astype(float)
    values = image["values"]["rgb"]
    assert values["mse-rgb"] == pytest.approx(np.mean((original - 191) ** 2) / 255**2)
    assert values["native-mse"] == pytest.approx(np.mean((0.5 - (original / 127.5 - 1)) ** 2), rel=1e-4)


def test_a_chroma_networks_error_is_in_its_own_units(photos: Path, models: dict[str, Any]) -> None:
    """The error is measured at the output's size, so that it can be compared with a paper's loss."""
    models["ab"], models["bins"] = session("ab"), session("bins")
    (image,) = evaluate(photos / "1.png", "ab", "bins")["images"]
    own, joined = (image["values"]["ab"][name] for name in ("native-mse", "mse-lab"))
    assert own * 110**2 == pytest.approx(joined * 128**2, rel=0.2)
    assert image["values"]["bins"]["native-mse"] is None
    assert image["values"]["bins"]["mse-lab"] is not None


def test_only_networks_of_this_package_can_be_asked(photos: Path, models: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="only gives chroma"):
        evaluate(photos, "fake")


def test_what_a_model_costs() -> None:
    """The network is a 3x3 convolution of one channel to three at 32 x 32 pixels."""
    measured = cost.measure(session("ab"))
    assert measured["parameters"] == 3 * 9 + 3
    assert measured["multiply_adds"] == 32 * 32 * 9 * 3
