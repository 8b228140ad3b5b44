"""Reads released checkpoints as tensors and accounts for every one of them. No pickle is executed."""

from __future__ import annotations

import inspect
import json
from collections.abc import Collection, Iterable, Mapping
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from colorcli.environment import needs
from colorcli.errors import ModelError
from colorcli.registry import unpickle
from colorcli.registry.registry import difference, shapes
from colorcli.registry.releases import Release

if TYPE_CHECKING:
    from torch import Tensor, nn

Shape = tuple[int, ...]

# The number of batches seen: files from before PyTorch counted them lack it, and no network here uses it.
_COUNTER = "num_batches_tracked"

# Under what names training programs save a moving average of the weights, in place of them or beside them.
_AVERAGES = ("params_ema", "model_ema", "state_dict_ema", "ema_state_dict", "shadow_params")


def read_checkpoint(path: Path, ignored: Collection[str] = ()) -> Any:
    """The content of a PyTorch checkpoint or a .safetensors file: tensors, plain containers, numbers and text.

    Args:
        path: the file, in either of PyTorch's formats or as safetensors.
        ignored: keys of the outermost dictionary that are left out, whatever they hold.

    Raises:
        ModelError: the file cannot be read, is not a checkpoint, is truncated or otherwise damaged, or holds anything
            that would have to be run.
    """
    if path.exists() and not path.is_file():  # a named pipe would be waited for without end
        raise ModelError(f"'{path}' is not a checkpoint: it is not a regular file.")
    try:
        content = _read_safetensors(path) if path.suffix == ".safetensors" else unpickle.load(path)
    except unpickle.ForeignError as error:
        rather = _rather(error.beginning)
        if path.suffix.lower() == ".onnx":
            rather = f" but an ONNX file; one that colorcli exported needs no import: --model {path}"
        raise ModelError(f"'{path}' is not a checkpoint{rather}.") from error
    except unpickle.TruncatedError as error:
        raise ModelError(f"The checkpoint '{path}' is cut short: copy or fetch it again.") from error
    except OSError as error:
        raise ModelError(f"The checkpoint {path} cannot be read: {error.strerror or error}.") from error
    except Exception as error:
        # A damaged pickle can raise anything; none of it was run.
        raise ModelError(f"The checkpoint '{path}' is damaged: copy or fetch it again.") from error
    if isinstance(content, dict):
        content = {key: value for key, value in content.items() if key not in ignored}
    code = unpickle.inert_name(content)
    if code:
        raise ModelError(f"'{path}' holds code ({code}), which is never run; take the file from its authors' address.")
    return content


def read_tensors(
    path: Path,
    layout: Mapping[str, Shape],
    unused: Iterable[str] = (),
    *,
    wrapper: str = "",
    ignored: Collection[str] = (),
    rename: Mapping[str, str] | None = None,
) -> dict[str, Tensor]:
    """The tensors of a checkpoint that is a state dict, or holds one under the key ``wrapper``; see ``check_tensors``.

    Args:
        path: the file.
        layout: as for ``check_tensors``.
        unused: as for ``check_tensors``.
        wrapper: key of the state dict in the file; a file that is the state dict itself is accepted too.
        ignored: other keys that are left out, whatever they hold.
        rename: prefixes of names in the file, and what ``layout`` has in their place; the longest match counts.

    Raises:
        ModelError: the file cannot be read, or is not the checkpoint that ``layout`` describes.
    """
    content = read_checkpoint(path, ignored)
    if isinstance(content, dict) and (average := next((key for key in _AVERAGES if key in content), "")):
        raise ModelError(
            f"'{path}' holds a moving average ({average}), which the released file does not: give a file that holds "
            "the weights alone."
        )
    if wrapper and isinstance(content, dict) and wrapper in content:
        others = sorted(str(key) for key in content if key != wrapper)
        if others:
            raise ModelError(f"'{path}' holds something unknown besides {wrapper}: {', '.join(others)}.")
        content = content[wrapper]
    if rename and isinstance(content, Mapping):
        content = _renamed(content, rename, path)
    return check_tensors(content, layout, path, unused)


def _renamed(content: Mapping[Any, Any], rename: Mapping[str, str], path: Path) -> dict[str, Any]:
    renamed: dict[str, Any] = {}
    for name, value in content.items():
        old = max((start for start in rename if str(name).startswith(start)), key=len, default=None)
        new = str(name) if old is None else rename[old] + str(name).removeprefix(old)
        if new in renamed:
            raise ModelError(f"'{path}' holds {new} twice, once under another name.")
        renamed[new] = value
    return renamed


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    import safetensors.torch

    with path.open("rb") as file:
        beginning = file.read(64)
        if beginning[8:9] != b"{":
            raise unpickle.ForeignError(beginning)
        length, size = int.from_bytes(beginning[:8], "little"), path.stat().st_size
        if size < 8 + length:
            raise unpickle.TruncatedError
        file.seek(8)
        header = json.loads(file.read(length))
    if size < 8 + length + max(
        (entry["data_offsets"][1] for name, entry in header.items() if name[:2] != "__"), default=0
    ):
        raise unpickle.TruncatedError
    return safetensors.torch.load_file(path)


def _rather(beginning: bytes) -> str:
    """What a file is instead of a checkpoint, judged by its first bytes, as the end of a sentence."""
    if not beginning:
        return " but an empty file: copy or fetch it again"
    if beginning.lstrip()[:1] == b"<":
        return " but a web page: the address leads to a page about the file, not to the file"
    if beginning.startswith(b"version https://git-lfs"):
        return " but a pointer to one, left by a copy without Git LFS"
    if beginning.startswith(b"\x80"):
        return " but a bare pickle, which is a program and is never run"
    return ": it is neither a file that PyTorch saved nor safetensors"


def check_tensors(
    content: Any, layout: Mapping[str, Shape], path: Path, unused: Iterable[str] = ()
) -> dict[str, Tensor]:
    """``content`` as float32 tensors in the order of ``layout``, no more and no fewer.

    Args:
        content: a state dict as read from ``path``.
        layout: expected names and shapes. ``num_batches_tracked`` may be absent from the content and is then zero.
        path: the file's path, for messages.
        unused: names, and prefixes that end in a dot, that are left out whether the file has them or not.

    Raises:
        ModelError: a tensor is missing, unknown, misshaped, not floating-point, or not finite.
    """
    import torch

    if not isinstance(content, Mapping):
        raise ModelError(f"'{path}' is not a state dict.")
    beginnings = tuple(entry for entry in unused if entry.endswith("."))
    exact = {*unused} - {*beginnings}

    def left_out(name: str) -> bool:
        return name in exact or name.startswith(beginnings)

    found = {str(name): tensor for name, tensor in content.items() if not left_out(str(name))}
    wanted = {name: shape for name, shape in layout.items() if not left_out(name)}
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
        raise ModelError(f"'{path}' is damaged: {broken[0]} holds NaN or infinite numbers.")
    return tensors


def network_layout(entry: Release) -> dict[str, Shape]:
    """Names and shapes of the tensors of an entry's ``network``, which is built without allocating memory.

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
    # By default, some of these arguments would fetch weights.
    none = dict.fromkeys({"weights", "weights_backbone"} & inspect.signature(builder).parameters.keys())
    network: nn.Module = builder(**none, **arguments)
    return network


def _timm(name: str, arguments: dict[str, Any]) -> nn.Module:
    try:
        import timm
    except ImportError as error:
        raise ModelError(f"{name} {needs('timm', 'train')}") from error
    network: nn.Module = timm.create_model(name, pretrained=False, **arguments)
    return network


def _colorcli(name: str, arguments: dict[str, Any]) -> nn.Module:
    module, _, network_class = name.partition(":")
    network: nn.Module = getattr(import_module(f"colorcli.networks.{module}"), network_class)(**arguments)
    return network


_BUILDERS = {"torchvision": _torchvision, "timm": _timm, "colorcli": _colorcli}
