"""Every system can be exported, and its graph accepts every image size and batch size."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from colorcli.export import graph, verification
from colorcli.networks import backbones
from colorcli.registry.systems import BUILT_IN, systems

from ..networks.layouts import SMALL_DDCOLOR

pytestmark = pytest.mark.slow

LITE = [*((point.name, "lite") for point in BUILT_IN), ("ddcolor", "lite")]
# The other networks of papers take minutes to trace, and their backbones consist of the same layers.
PAPER = [(name, "paper") for name in ("zhang2016", "pix2pix", "conv-fc-gan", "bigcolor")]
OUTSIDE = [("siggraph17", "paper"), ("ddcolor", "tiny"), ("deoldify", "artistic"), ("deoldify", "stable")]
# The graph has the same operators at any width; hundreds of megabytes of weights would only take time.
NARROWER: dict[tuple[str, str], dict[str, Any]] = {
    ("bigcolor", "paper"): {"ch": 16},
    ("pix2pix", "paper"): {"ngf": 8},
    ("conv-fc-gan", "paper"): {"hidden": 128},
    ("ddcolor", "tiny"): {**SMALL_DDCOLOR, "size": 128},
    # An odd factor: in the decoder, sizes of successive feature maps are then not exact doubles.
    ("deoldify", "artistic"): {"render_factor": 5},
    ("deoldify", "stable"): {"backbone": "resnet34", "width": 16, "render_factor": 5},
}


@pytest.mark.parametrize(("system", "preset"), LITE + PAPER + OUTSIDE)
def test_the_graph_answers_as_the_network(system: str, preset: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A system that cannot be exported cannot be used where PyTorch cannot be installed."""
    if (system, preset) != ("bigcolor", "lite"):
        # Six networks share this backbone: exporting all of its similar blocks once is enough.
        shorter = tuple((*stage[:2], 1, *stage[3:]) for stage in backbones._STAGES)
        monkeypatch.setattr(backbones, "_STAGES", shorter)
    torch.manual_seed(0)
    network_class = systems().network_class(system)
    network = network_class(**{**network_class.presets[preset], **NARROWER.get((system, preset), {})})
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            # Attention is initialised to have no effect; here its effect must be visible.
            if name.rsplit(".")[-1] in ("gain", "gamma") and parameter.numel() == 1:
                parameter.fill_(0.5)
    network.prepare()
    rule = network.size_rule
    traced = graph.trace(network, network.controls, rule)
    graph.check(traced)
    photographs = verification.bundled_photographs()[:2]
    # Small sizes suffice to show that the graph accepts sizes that were not traced.
    small = rule if rule.fixed else replace(rule, size=max(rule.size // 2, 2 * rule.multiple_of))
    expected = verification.ask(network, network.controls, small, photographs)
    assert all(case.answer.std() > 0.1 for case in expected), "gray outputs would hide differences"
    assert verification.compare(traced.SerializeToString(), expected).maximum < verification.TOLERANCES["fp32"]
