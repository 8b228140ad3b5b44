"""Networks that training starts from."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from colorcli.errors import UsageError
from colorcli.networks.colorizer import Colorizer
from colorcli.registry.card import ModelCard
from colorcli.registry.registry import build, find, fit, read_backbone, read_weights, shapes
from colorcli.registry.systems import systems


def fill(module: nn.Module, name: str) -> None:
    """Give a module, which may be a part of the whole, the weights of the backbone ``name``.

    Raises:
        ModelError: it is not on this machine, or has no such part.
    """
    tensors, _ = read_backbone(name)
    module.load_state_dict(fit(tensors, shapes(module), name))


def network_of(*models: str) -> Colorizer:
    """The network of a model given as ``colorize --model`` takes it, in float32.

    Of several it has the mean of their weights (Wortsman et al. 2022, Model soups), which is often better than each
    where they come from a common start. The statistics of batch norm are averaged too, which makes answers paler until
    training has counted them anew.

    Raises:
        ModelError: there is no such model, or its weights are not what its card says.
        UsageError: several that are not the same network.
    """
    cards = [find(model) for model in models]
    for model, card in zip(models, cards, strict=True):
        if _shape(card) != _shape(cards[0]):
            raise UsageError(f"'{models[0]}' and '{model}' are different networks: their weights have no mean.")
    weights = [read_weights(card) for card in cards]
    return build(cards[0], {name: _mean([tensors[name] for tensors in weights]) for name in weights[0]})


def _shape(card: ModelCard) -> tuple[str, dict[str, Any]]:
    """What the names and shapes of a model's weights depend on."""
    adjustable = systems().network_class(card.system).adjustable
    return card.system, {name: value for name, value in card.network.items() if name not in adjustable}


def _mean(tensors: list[Tensor]) -> Tensor:
    if len(tensors) == 1 or not tensors[0].is_floating_point():
        return tensors[0]
    return torch.stack([tensor.float() for tensor in tensors]).mean(0)
