"""Networks that training starts from."""

from __future__ import annotations

from safetensors.torch import load_file
from torch import nn

from colorcli.errors import ModelError
from colorcli.networks.colorizer import Colorizer
from colorcli.registry import backbones
from colorcli.registry.registry import build, difference, find, read_weights


def fill(module: nn.Module, name: str) -> None:
    """Give a module the weights of the backbone ``name``.

    Raises:
        ModelError: it is not on this machine, or holds other tensors than the module has.
    """
    path = backbones.locate(name)
    tensors = load_file(path)
    own = {key: tuple(value.shape) for key, value in module.state_dict().items()}
    wrong = difference({key: tuple(value.shape) for key, value in tensors.items()}, own)
    if wrong:
        raise ModelError(f"The weights of {name} ({path}) do not fit the network: {wrong}.")
    module.load_state_dict(tensors)


def network_of(model: str) -> Colorizer:
    """The network of a model given as ``colorize --model`` takes it, in float32.

    Raises:
        ModelError: there is no such model, or its weights are not what its card says.
    """
    card = find(model)
    return build(card, read_weights(card))
