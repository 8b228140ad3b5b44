"""What every system must provide: presets that can be built and trained, with the promised number of parameters.

``tests/export/test_systems.py`` compares each one's ONNX graph with the network.
"""

from __future__ import annotations

import pytest

from colorcli.registry import registry
from colorcli.registry.systems import BUILT_IN, systems
from colorcli.train import recipe

NAMES = [point.name for point in BUILT_IN]
# Number of parameters: all, and those that are trained; the rest are frozen backbones and generators. Each system's own
# test compares them with the paper's counts, if it states any.
PARAMETERS = {
    ("bigcolor", "paper"): (45_889_484, 41_238_052),
    ("biggan-encoder", "paper"): (80_301_221, 24_624_064),
    ("conv-fc-gan", "paper"): (26_229_621, 26_229_621),
    ("convnet", "paper"): (12_561_764, 12_561_764),
    ("deep-koalarization", "paper"): (62_417_514, 6_574_050),
    ("efficientnet", "paper"): (75_079_634, 11_292_674),
    ("inception-gan", "paper"): (102_074_839, 6_592_506),
    ("pix2pix", "paper"): (54_409_858, 54_409_858),
    ("vgg16-dahl", "paper"): (8_140_129, 504_865),
    ("zhang2016", "paper"): (32_236_011, 32_235_385),
}
# Limit for the bundled models in millions of own parameters: in float16, a million takes two megabytes.
LITE_BUDGET = dict.fromkeys((*NAMES, "ddcolor"), 4.0) | {"bigcolor": 12.5, "zhang2016": 8.0, "pix2pix": 4.1}


@pytest.mark.parametrize("system", NAMES)
def test_the_papers_preset_has_the_papers_size(system: str) -> None:
    """With a layer too many or too few, it would be a different network under the paper's name."""
    network = registry.empty_network(system, systems().network_class(system).presets["paper"])
    learning = sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)
    assert (sum(parameter.numel() for parameter in network.parameters()), learning) == PARAMETERS[system, "paper"]


@pytest.mark.parametrize("system", [*NAMES, "ddcolor"])
def test_lite_fits_its_budget(system: str) -> None:
    """It is bundled and runs on a laptop; a shared backbone is bundled only once."""
    network = registry.empty_network(system, systems().network_class(system).presets["lite"])
    own = sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)
    assert 0 < own <= LITE_BUDGET[system] * 1e6


@pytest.mark.parametrize(
    ("system", "preset"),
    [*((name, preset) for name in NAMES for preset in ("lite", "paper")), ("ddcolor", "lite"), ("ddcolor", "tiny")],
)
def test_there_is_a_recipe_for_each_preset(system: str, preset: str) -> None:
    """The documentation promises ``train SYSTEM-PRESET``."""
    made = recipe.load(f"{system}-{preset}")
    assert (made.system, made.preset) == (system, preset)


@pytest.mark.parametrize("system", NAMES)
def test_the_contract_is_declared(system: str) -> None:
    """The pipeline, the exporter and the help texts rely on these declarations."""
    kind = systems().network_class(system)
    assert kind.__doc__ and {"lite", "paper"} <= set(kind.presets)
    assert kind.native_space in {"ab", "rgb", "uv", "bins"}
    network = registry.empty_network(system, kind.presets["lite"])
    height, width = network.size_rule.working_shape(300, 400)
    assert height % network.size_rule.multiple_of == width % network.size_rule.multiple_of == 0
    assert set(network.frozen_parts) <= {name for name, _ in network.named_modules()}
