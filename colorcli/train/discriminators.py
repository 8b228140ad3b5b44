"""The discriminators that a recipe can name."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from torch import nn

from colorcli.errors import UsageError

# The kind, and where its network is: beside the generator of the paper that brought it.
_KINDS = {
    "projection": "colorcli.networks.bigcolor:Discriminator",
    "patchgan": "colorcli.networks.pix2pix:Discriminator",
    "conv-fc": "colorcli.networks.conv_fc_gan:Discriminator",
}


def discriminator(kind: str = "projection", **arguments: Any) -> nn.Module:
    """A new discriminator.

    Raises:
        UsageError: there is no such kind, or it does not take these arguments.
    """
    if kind not in _KINDS:
        raise UsageError(f"There is no discriminator '{kind}'; there are {', '.join(_KINDS)}.")
    module, name = _KINDS[kind].split(":")
    try:
        network: nn.Module = getattr(import_module(module), name)(**arguments)
    except (TypeError, ValueError) as error:
        raise UsageError(f"The discriminator '{kind}' does not take its arguments: {error}.") from error
    return network
