"""Networks that training starts from."""

from __future__ import annotations

from torch import nn

from colorcli.networks.colorizer import Colorizer
from colorcli.registry.registry import build, find, fit, read_backbone, read_weights, shapes


def fill(module: nn.Module, name: str) -> None:
    """Give a module, which may be a part of the whole, the weights of the backbone ``name``.

    Raises:
        ModelError: it is not on this machine, or has no such part.
    """
    tensors, _ = read_backbone(name)
    module.load_state_dict(fit(tensors, shapes(module), name))


def network_of(model: str) -> Colorizer:
    """The network of a model given as ``colorize --model`` takes it, in float32.

    Raises:
        ModelError: there is no such model, or its weights are not what its card says.
    """
    card = find(model)
    return build(card, read_weights(card))
