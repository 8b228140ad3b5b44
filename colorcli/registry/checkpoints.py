"""Reading released checkpoints as tensors, every one of them accounted for. No pickle is executed."""

from __future__ import annotations

import inspect
import warnings
import zipfile
from collections.abc import Iterable, Mapping
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from colorcli.errors import ModelError
from colorcli.registry.registry import difference, shapes
from colorcli.registry.releases import Release

if TYPE_CHECKING:
    from torch import Tensor, nn

Shape = tuple[int, ...]

# How many batches have been seen: files made before PyTorch counted them lack it, and no network here uses it.
_COUNTER = "num_batches_tracked"


def read_checkpoint(path: Path) -> Any:
    """What a PyTorch checkpoint or a .safetensors file holds, tensors and plain containers only.

    Raises:
        ModelError: the file cannot be read, or holds anything that would have to be executed.
    """
    import safetensors.torch
    import torch

    try:
        mapped = zipfile.is_zipfile(path)
        path.open("rb").close()
    except OSError as error:
        raise ModelError(f"The checkpoint {path} cannot be read: {error.strerror or error}.") from error
    try:
        if path.suffix == ".safetensors":
            return safetensors.torch.load_file(path)
        with warnings.catch_warnings(action="ignore"):
            return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except Exception as error:
        # torch raises whatever its unpickler stumbled over; none of it was executed.
        raise ModelError(
            f"'{path}' is not a checkpoint of tensors alone: it is damaged, or holds code, which is never run."
        ) from error


def read_tensors(path: Path, layout: Mapping[str, Shape], unused: Iterable[str] = ()) -> dict[str, Tensor]:
    """The tensors of a checkpoint that is a plain state dict; see ``check_tensors``.

    Raises:
        ModelError: the file cannot be read, or is not the checkpoint that ``layout`` describes.
    """
    return check_tensors(read_checkpoint(path), layout, path, unused)


def check_tensors(
    content: Any, layout: Mapping[str, Shape], path: Path, unused: Iterable[str] = ()
) -> dict[str, Tensor]:
    """``content`` as float32 tensors in the order of ``layout``, all of them and no other.

    Args:
        content: a state dict as read from ``path``.
        layout: names and shapes. ``num_batches_tracked`` may be absent from the content; it is zero then.
        path: for messages.
        unused: beginnings of names that are left out, whether the file has them or not.

    Raises:
        ModelError: a tensor is missing, unknown, misshaped, not of floating-point numbers, or not finite.
    """
    import torch

    if not isinstance(content, Mapping):
        raise ModelError(f"'{path}' is not a state dict.")
    left_out = tuple(unused)
    found = {str(name): tensor for name, tensor in content.items() if not str(name).startswith(left_out)}
    wanted = {name: shape for name, shape in layout.items() if not name.startswith(left_out)}
    for name, tensor in found.items():
        if not isinstance(tensor, torch.Tensor) or not (tensor.is_floating_point() or name.endswith(_COUNTER)):
            raise ModelError(f"'{path}' holds {name}, which is not a tensor of floating-point numbers.")
    found |= {name: torch.zeros(()) for name in wanted if name.endswith(_COUNTER) and name not in found}
    wrong = difference({name: tuple(tensor.shape) for name, tensor in found.items()}, wanted)
    if wrong:
        raise ModelError(f"'{path}' is not the released checkpoint: {wrong}.")
    tensors = {name: found[name].to(torch.int64 if name.endswith(_COUNTER) else torch.float32) for name in wanted}
    broken = [name for name, tensor in tensors.items() if not bool(torch.isfinite(tensor).all())]
    if broken:
        raise ModelError(f"'{path}' is damaged: {broken[0]} holds infinite numbers or none.")
    return tensors


def network_layout(entry: Release) -> dict[str, Shape]:
    """Names and shapes of the tensors of an entry's ``network``, without memory behind them.

    Raises:
        ModelError: the library that defines the network is not installed, or lacks it.
    """
    import torch

    library, _, name = entry.network.partition(":")
    with torch.device("meta"):
        return shapes(_BUILDERS[library](name, entry.arguments))


def _torchvision(name: str, arguments: dict[str, Any]) -> nn.Module:
    from torchvision import models

    builder = models.get_model_builder(name)
    # Left to their defaults, these would fetch weights.
    none = dict.fromkeys({"weights", "weights_backbone"} & inspect.signature(builder).parameters.keys())
    network: nn.Module = builder(**none, **arguments)
    return network


def _timm(name: str, arguments: dict[str, Any]) -> nn.Module:
    try:
        import timm
    except ImportError as error:
        raise ModelError(
            f"The network {name} is timm's, which is not installed; pip install 'colorcli[train]'."
        ) from error
    network: nn.Module = timm.create_model(name, pretrained=False, **arguments)
    return network


def _colorcli(name: str, arguments: dict[str, Any]) -> nn.Module:
    module, _, network_class = name.partition(":")
    network: nn.Module = getattr(import_module(f"colorcli.networks.{module}"), network_class)(**arguments)
    return network


_BUILDERS = {"torchvision": _torchvision, "timm": _timm, "colorcli": _colorcli}
