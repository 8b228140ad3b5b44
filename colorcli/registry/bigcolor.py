"""Readers for the released files of BigColor, and of BigGAN-256, from which its training starts."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from colorcli.errors import ModelError
from colorcli.registry.checkpoints import Shape, check_tensors, read_checkpoint, read_tensors
from colorcli.registry.registry import shapes

if TYPE_CHECKING:
    from torch import Tensor

_BUFFERS = (".stored_mean", ".stored_var", ".u0", ".sv0")
_EMA_KEYS = {"decay", "num_updates", "shadow_params", "collected_params"}


def read(checkpoint: Path, ema: Path | None, ch: int = 96) -> tuple[dict[str, Tensor], str]:
    """The released BigColor: EMA parameters with the other file's buffers, as in the published results.

    Args:
        checkpoint: ``EG_011.ckpt``.
        ema: ``EG_EMA_011.ckpt``; without it, the parameters are those of the last step, not the published ones.
        ch: width, 96 for the released files.

    Returns:
        The tensors that the ``paper`` preset uses, float32, and a note on which parameters they are.

    Raises:
        ModelError: the files are not the released ones.
    """
    layout = bigcolor_layout(ch)
    content = read_checkpoint(checkpoint)
    if isinstance(content, dict) and "shadow_params" in content:
        raise ModelError(
            f"'{checkpoint}' is the moving average, whose tensors have no names: give EG_011.ckpt, and this with --ema."
        )
    state = check_tensors(content, layout, checkpoint)
    parameters = "last step, without moving average"
    if ema is not None:
        state |= _ema_parameters(ema, layout, ch)
        parameters = "exponential moving average"
    return {name: tensor for name, tensor in state.items() if not _unused(name)}, parameters


def bigcolor_layout(ch: int = 96) -> dict[str, Shape]:
    """Names and shapes of every tensor in the released ``EG_011.ckpt``, in file order.

    It holds BigGAN-256's generator at width ``ch`` with its first two blocks, which BigColor does not run, and unused
    instance-norm parameters ``in1`` and ``in2`` in every block.
    """
    layout: dict[str, Shape] = {}
    for index, (before, after) in enumerate(pairwise((1, ch, 2 * ch, 4 * ch, 8 * ch, 8 * ch)), start=1):
        layout |= _encoder_block(f"E.res{index}", before, after)
    layout["G.shared.weight"] = (1000, 128)
    layout |= _spectral("G.linear", (256 * ch, 17), bias=True)
    for index, (before, after) in enumerate(pairwise(ch * width for width in (16, 16, 8, 8, 4, 2, 1))):
        layout |= _generator_block(f"G.blocks.{index}.0", before, after)
        if index == 3:
            layout |= _attention(f"G.blocks.{index}.1", after)
    last = "G.output_layer.0"
    layout |= {f"{last}.{name}": (ch,) for name in ("gain", "bias", "stored_mean", "stored_var")}
    return layout | _spectral("G.output_layer.2", (3, ch, 3, 3), bias=True)


def bigcolor_parameters(ch: int = 96) -> list[str]:
    """Names for ``shadow_params`` in ``EG_EMA_011.ckpt``, a list without names, in its order."""
    return [name for name in bigcolor_layout(ch) if not name.endswith(_BUFFERS)]


def read_biggan_generator(path: Path, ch: int = 96) -> dict[str, Tensor]:
    """The tensors of ``G_ema_256.pth``: all blocks of BigColor's generator, before fine-tuning.

    Raises:
        ModelError: the file is not the released one.
    """
    generator = {name: shape for name, shape in bigcolor_layout(ch).items() if name.startswith("G.")}
    return read_tensors(path, {name.removeprefix("G."): shape for name, shape in generator.items() if not _added(name)})


def read_biggan_discriminator(path: Path, ch: int = 96) -> dict[str, Tensor]:
    """The tensors of ``D_256.pth``, renamed for ``networks.bigcolor.Discriminator``.

    Raises:
        ModelError: the file is not the released one.
    """
    import torch

    from colorcli.networks.bigcolor import Discriminator

    with torch.device("meta"):
        ours = shapes(Discriminator(ch))
    layout = {_released_name(name): shape for name, shape in ours.items()}
    # The released layer is linear; ours is a 1x1 convolution.
    layout["linear.weight"] = layout["linear.weight"][:2]
    tensors = read_tensors(path, layout)
    return {name: tensors[_released_name(name)].reshape(shape) for name, shape in ours.items()}


def _released_name(name: str) -> str:
    """The released file nests blocks: the attention after ``blocks.1.0`` is ``blocks.1.1``; ours is ``blocks.2``."""
    first, _, rest = name.partition(".")
    if first != "blocks":
        return name
    position, _, rest = rest.partition(".")
    index = int(position)
    block = "1.1" if index == 2 else f"{index - (index > 2)}.0"
    return f"blocks.{block}.{rest}"


def _ema_parameters(path: Path, layout: dict[str, Shape], ch: int) -> dict[str, Tensor]:
    content = read_checkpoint(path)
    if isinstance(content, dict) and layout.keys() <= content.keys():
        raise ModelError(f"'{path}' is the checkpoint, not its moving average: give EG_EMA_011.ckpt with --ema.")
    if not isinstance(content, dict) or not isinstance(content.get("shadow_params"), list):
        raise ModelError(f"'{path}' is not a moving average: it has no list called shadow_params.")
    unknown = sorted(str(key) for key in content if key not in _EMA_KEYS)
    if unknown:
        raise ModelError(f"'{path}' holds something unknown: {', '.join(unknown)}.")
    shadow, names = content["shadow_params"], bigcolor_parameters(ch)
    if len(shadow) != len(names):
        raise ModelError(f"'{path}' holds {len(shadow)} averaged parameters; the released file has {len(names)}.")
    return check_tensors(dict(zip(names, shadow, strict=True)), {name: layout[name] for name in names}, path)


def _unused(name: str) -> bool:
    return name.startswith(("G.linear.", "G.blocks.0.", "G.blocks.1.")) or _added(name)


def _added(name: str) -> bool:
    """Whether the tensor is BigColor's addition to BigGAN."""
    return ".in1." in name or ".in2." in name


def _encoder_block(prefix: str, before: int, after: int) -> dict[str, Shape]:
    block: dict[str, Shape] = {}
    for name, shape in (
        ("conv", (after, before, 1, 1)),
        ("conv_1", (after, before, 3, 3)),
        ("conv_2", (after, after, 3, 3)),
    ):
        block |= {f"{prefix}.{name}.weight": shape, f"{prefix}.{name}.bias": (after,)}
    for name, channels in (("normalize_1", before), ("normalize_2", after)):
        block |= {f"{prefix}.{name}.stored_mean": (channels,), f"{prefix}.{name}.stored_var": (channels,)}
        block |= {f"{prefix}.{name}.{part}.weight": (channels, 128) for part in ("gain", "bias")}
    return block


def _generator_block(prefix: str, before: int, after: int) -> dict[str, Shape]:
    block: dict[str, Shape] = {}
    for name, shape in (
        ("conv1", (after, before, 3, 3)),
        ("conv2", (after, after, 3, 3)),
        ("conv_sc", (after, before, 1, 1)),
    ):
        block |= _spectral(f"{prefix}.{name}", shape, bias=True)
    for name, channels in (("bn1", before), ("bn2", after)):
        block |= {f"{prefix}.{name}.stored_mean": (channels,), f"{prefix}.{name}.stored_var": (channels,)}
        for part in ("gain", "bias"):
            block |= _spectral(f"{prefix}.{name}.{part}", (channels, 145), bias=False)
    for name, channels in (("in1", before), ("in2", after)):
        block |= {f"{prefix}.{name}.weight": (channels,), f"{prefix}.{name}.bias": (channels,)}
    return block


def _attention(prefix: str, channels: int) -> dict[str, Shape]:
    block: dict[str, Shape] = {f"{prefix}.gamma": ()}
    for name, after, before in (
        ("theta", channels // 8, channels),
        ("phi", channels // 8, channels),
        ("g", channels // 2, channels),
        ("o", channels, channels // 2),
    ):
        block |= _spectral(f"{prefix}.{name}", (after, before, 1, 1), bias=False)
    return block


def _spectral(prefix: str, shape: Shape, bias: bool) -> dict[str, Shape]:
    biases: dict[str, Shape] = {f"{prefix}.bias": (shape[0],)} if bias else {}
    return {f"{prefix}.weight": shape, **biases, f"{prefix}.u0": (1, shape[0]), f"{prefix}.sv0": (1,)}
