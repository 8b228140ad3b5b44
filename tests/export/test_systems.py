"""Every system can be exported, and its graph takes every size and number of photographs."""

from __future__ import annotations

import pytest
import torch

from colorcli.export import graph, verification
from colorcli.registry.systems import BUILT_IN, systems

LITE = [(point.name, "lite") for point in BUILT_IN]
# The other papers' networks take minutes to trace, and their backbones consist of the same layers.
PAPER = [(name, "paper") for name in ("zhang2016", "pix2pix", "conv-fc-gan", "bigcolor")]
# A network is traced in the same time at any width, but not run.
NARROWER = {("bigcolor", "paper"): {"ch": 16}}


@pytest.mark.parametrize(("system", "preset"), LITE + PAPER)
def test_the_graph_answers_as_the_network(system: str, preset: str) -> None:
    """A system that cannot leave PyTorch is no use where PyTorch cannot go."""
    torch.manual_seed(0)
    network_class = systems().network_class(system)
    network = network_class(**{**network_class.presets[preset], **NARROWER.get((system, preset), {})})
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            # Attention starts switched off; here its part is to be seen.
            if name.rsplit(".")[-1] in ("gain", "gamma") and parameter.numel() == 1:
                parameter.fill_(0.5)
    network.prepare()
    rule = network.size_rule
    traced = graph.trace(network, network.controls, rule)
    graph.check(traced)
    photographs = verification.bundled_photographs()[:2]
    batches = verification.ask(network, network.controls, rule, photographs)
    assert all(batch.chroma.std() > 0.1 for batch in batches), "a network that answers gray cannot show a difference"
    assert verification.compare(traced.SerializeToString(), batches).maximum < verification.TOLERANCES["fp32"]
