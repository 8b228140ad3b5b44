"""What the tests of several networks share."""

from __future__ import annotations

import io
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from colorcli.networks.colorizer import Colorizer


class _Chroma(nn.Module):
    def __init__(self, network: Colorizer) -> None:
        super().__init__()
        self.network = network

    def forward(self, lightness: Tensor) -> Tensor:
        return self.network.chroma(lightness)


@pytest.fixture
def onnx_difference() -> Callable[[Colorizer], float]:
    """The largest difference between a network's chroma and that of its ONNX copy, at other sizes than it was traced."""
    pytest.importorskip("onnx")
    runtime = pytest.importorskip("onnxruntime")

    def difference(network: Colorizer) -> float:
        step = network.size_rule.multiple_of
        graph = io.BytesIO()
        # The older of PyTorch's two exporters, which is ten to thirty times faster; both accept the same networks.
        torch.onnx.export(
            _Chroma(network).eval(),
            (torch.rand(2, 1, 2 * step, 3 * step) * 100,),
            graph,
            input_names=["lightness"],
            output_names=["chroma"],
            dynamic_axes={"lightness": {0: "n", 2: "h", 3: "w"}, "chroma": {0: "n", 2: "hc", 3: "wc"}},
            dynamo=False,
        )
        session = runtime.InferenceSession(graph.getvalue(), providers=["CPUExecutionProvider"])
        worst = 0.0
        for count, height, width in ((1, step, 2 * step), (3, 2 * step, step)):
            lightness = torch.rand(count, 1, height, width) * 100
            with torch.no_grad():
                expected = network.chroma(lightness)
            answer = torch.from_numpy(session.run(None, {"lightness": lightness.numpy()})[0])
            assert answer.shape == expected.shape
            assert expected.std() > 0.1, "a network that answers gray cannot show a difference"
            worst = max(worst, (answer - expected).abs().max().item())
        return worst

    return difference


@pytest.fixture
def roughen() -> Callable[[nn.Module], nn.Module]:
    """Give a new network's norms and gains the values that training might, so that none is a no-op."""

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
