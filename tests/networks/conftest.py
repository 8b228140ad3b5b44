"""Fixtures shared by the tests of several networks."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn

from colorcli.networks.colorizer import Colorizer


class _Chroma(nn.Module):
    def __init__(self, network: Colorizer) -> None:
        super().__init__()
        self.network = network

    def forward(self, lightness: Tensor, control: Tensor | None = None) -> Tensor:
        if control is None:
            return self.network.chroma(lightness)
        name = "hints" if "hints" in self.network.controls else "class_index"
        return self.network.chroma(lightness, **{name: control})


@pytest.fixture
def onnx_difference() -> Callable[[Colorizer], float]:
    """The largest difference between a network's chroma and its ONNX copy's, at other sizes than those traced.

    If the network takes classes, the first photograph of a batch is given none.
    """
    pytest.importorskip("onnx")
    runtime = pytest.importorskip("onnxruntime")

    def inputs(network: Colorizer, count: int, height: int, width: int) -> dict[str, Tensor]:
        step = network.size_rule.multiple_of
        height, width = (step, step) if network.size_rule.fixed else (height * step, width * step)
        values = {"lightness": torch.rand(count, 1, height, width) * 100}
        if "class_index" in network.controls:
            values["class_index"] = torch.arange(count) - 1
        if "hints" in network.controls:
            mask = (torch.rand(count, 1, height, width) < 0.1).float()
            values["hints"] = torch.cat(((torch.rand(count, 2, height, width) * 160 - 80) * mask, mask), 1)
        return values

    def difference(network: Colorizer) -> float:
        graph = io.BytesIO()
        example = inputs(network, 2, 2, 3)
        sides = {} if network.size_rule.fixed else {2: "h", 3: "w"}
        # The older of PyTorch's two exporters, which is ten to thirty times faster; both accept the same networks.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.onnx.export(
                _Chroma(network).eval(),
                tuple(example.values()),
                cast("Any", graph),  # the older exporter writes into streams, which its types do not say
                input_names=list(example),
                output_names=["chroma"],
                dynamic_axes={
                    "lightness": {0: "n", **sides},
                    "class_index": {0: "n"},
                    "hints": {0: "n", **sides},
                    "chroma": {0: "n", **{axis: f"{name}c" for axis, name in sides.items()}},
                },
                dynamo=False,
            )
        session = runtime.InferenceSession(graph.getvalue(), providers=["CPUExecutionProvider"])
        worst = 0.0
        for count, height, width in ((1, 1, 2), (3, 2, 1)):
            given = inputs(network, count, height, width)
            with torch.no_grad():
                expected = _Chroma(network)(*given.values())
            answer = torch.from_numpy(session.run(None, {name: value.numpy() for name, value in given.items()})[0])
            assert answer.shape == expected.shape
            assert expected.std() > 0.1, "a network that returns gray cannot show a difference"
            worst = max(worst, (answer - expected).abs().max().item())
        return worst

    return difference


@pytest.fixture
def roughen() -> Callable[[nn.Module], nn.Module]:
    """Gives a new network's norms and gains values as after training, so that none is a no-op."""

    def apply(network: nn.Module) -> nn.Module:
        with torch.no_grad():
            for module in network.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.weight.uniform_(0.7, 1.3)
                    module.bias.normal_(0, 0.2)
                    module.running_mean.normal_(0, 0.2)
                    module.running_var.uniform_(0.5, 1.5)
            for name, parameter in network.named_parameters():
                if name.endswith("gain"):
                    parameter.fill_(0.7)
        return network.eval()

    return apply
