"""Officially released checkpoints, turned into models of ours. They are read as tensors; no pickle is executed.

An importer accounts for every tensor of its files: one that is missing, unknown or misshaped is an error.
"""

from __future__ import annotations

import dataclasses
import shutil
import tempfile
import warnings
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from colorcli.errors import ModelError, OutputError
from colorcli.registry.card import CARD, WEIGHTS, ModelCard, file_sha256, read_card, write_card
from colorcli.registry.download import Fetched, Progress, Remote, drive, fetch
from colorcli.registry.folders import bundled_models_dir, data_dir, user_models_dir
from colorcli.registry.registry import difference, empty_network, find, read_weights, shapes
from colorcli.registry.systems import near

if TYPE_CHECKING:
    from torch import Tensor

Shape = tuple[int, ...]

_BUFFERS = (".stored_mean", ".stored_var", ".u0", ".sv0")
_EMA_KEYS = {"decay", "num_updates", "shadow_params", "collected_params"}


@dataclass(frozen=True)
class Importer:
    """How a system's released files become a model.

    Attributes:
        files: what ``models pull`` fetches, in the order in which ``convert`` takes them.
        convert: (files, ema file or None) to a card without hash or folder, and its tensors.
    """

    files: tuple[Remote, ...]
    convert: Callable[[Path, Path | None], tuple[ModelCard, dict[str, Tensor]]]


def importers() -> dict[str, Importer]:
    """The systems whose released files can be imported."""
    return {
        "bigcolor": Importer(
            files=(
                Remote("EG_011.ckpt", drive("1SCrcIxhm2F1SMTUUcNTEtB4fQu6y7RDK"), 2_000_000_000),
                Remote("EG_EMA_011.ckpt", drive("1A6JwWeedJa56_6lDOkkR3hqvJ_aNUghE"), 4_000_000_000),
            ),
            convert=convert_bigcolor,
        )
    }


def import_model(system: str, checkpoint: Path, ema: Path | None = None, *, overwrite: bool = False) -> ModelCard:
    """Install a released checkpoint as ``system@official`` in the user's data folder; the new card.

    Raises:
        ModelError: the system has no importer, the files are not its released ones, or other weights are installed.
        OutputError: the data folder cannot be written.
    """
    importer = _importer(system)
    card, tensors = importer.convert(checkpoint, ema)
    return install(card, tensors, overwrite=overwrite)


def pull_model(
    system: str, *, overwrite: bool = False, progress: Progress | None = None
) -> tuple[ModelCard, list[Fetched]]:
    """Fetch a system's released files and import them; the new card, and what was fetched.

    Nothing is fetched if they are installed already. The files are deleted once they are imported; what was fetched of
    them before an error is kept, to go on from.

    Raises:
        ModelError: the system has no released files, or they cannot be fetched or imported.
        OutputError: the data folder cannot be written.
    """
    importer = _importer(system)
    name = f"{system}@official"
    if not overwrite and (user_models_dir() / name / CARD).exists():
        return find(name), []
    folder = data_dir() / "downloads" / system
    fetched = [fetch(remote, folder, progress) for remote in importer.files]
    paths = [one.path for one in fetched]
    card = import_model(system, paths[0], paths[1] if len(paths) > 1 else None, overwrite=overwrite)
    shutil.rmtree(folder, ignore_errors=True)
    return card, fetched


def install(card: ModelCard, tensors: dict[str, Tensor], *, overwrite: bool = False) -> ModelCard:
    """Put a model into the user's data folder, whole or not at all; its card with hash and folder.

    Installing the same weights again changes nothing.

    Raises:
        ModelError: other weights of that name are installed and ``overwrite`` is false.
        OutputError: the folder cannot be written.
    """
    from safetensors.torch import save_file

    folder = user_models_dir() / card.exact_name
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".new-") as temporary:
            fresh = Path(temporary, "model")
            fresh.mkdir()
            save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, fresh / WEIGHTS)
            # safetensors makes files that only their owner may read.
            (fresh / WEIGHTS).chmod(0o644)
            sha256 = file_sha256(fresh / WEIGHTS)
            if folder.exists() and not overwrite and _installed_sha256(folder) != sha256:
                raise ModelError(f"Another {card.exact_name} is installed in {folder}; use --overwrite to replace it.")
            write_card(dataclasses.replace(card, weights_sha256=sha256, folder=None), fresh)
            if folder.exists():
                folder.rename(Path(temporary, "old"))
            fresh.rename(folder)
    except OSError as error:
        raise OutputError(f"The model could not be installed in {folder}: {error.strerror or error}.") from error
    return dataclasses.replace(read_card(folder), reference=card.exact_name)


def read_checkpoint(path: Path) -> Any:
    """What a PyTorch checkpoint holds, tensors and plain containers only.

    Raises:
        ModelError: the file cannot be read, or holds anything that would have to be executed.
    """
    import torch

    try:
        mapped = zipfile.is_zipfile(path)
        path.open("rb").close()
    except OSError as error:
        raise ModelError(f"The checkpoint {path} cannot be read: {error.strerror or error}.") from error
    try:
        with warnings.catch_warnings(action="ignore"):
            return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except Exception as error:
        # torch raises whatever its unpickler stumbled over; none of it was executed.
        raise ModelError(
            f"'{path}' is not a checkpoint of tensors alone: it is damaged, or holds code, which is never run."
        ) from error


def bigcolor_layout(ch: int = 96) -> dict[str, Shape]:
    """Names and shapes of every tensor in the released ``EG_011.ckpt``, in file order.

    BigGAN-256's generator at width ``ch`` with its first two blocks, which BigColor does not run, and unused
    instance-norm parameters ``in1``/``in2`` in every block.
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
    """The names that ``shadow_params`` of ``EG_EMA_011.ckpt``, a list without names, follows."""
    return [name for name in bigcolor_layout(ch) if not name.endswith(_BUFFERS)]


def convert_bigcolor(checkpoint: Path, ema: Path | None, ch: int = 96) -> tuple[ModelCard, dict[str, Tensor]]:
    """The released BigColor: EMA parameters with the other file's buffers, as the published results use them.

    Args:
        checkpoint: ``EG_011.ckpt``.
        ema: ``EG_EMA_011.ckpt``; without it, the parameters are those of the last step, not the published ones.
        ch: width, 96 for the released files.

    Returns:
        the card (without hash) and the tensors of the ``paper`` preset, float32.
    """
    from colorcli.networks.bigcolor import BigColor

    layout = bigcolor_layout(ch)
    state = _checked_tensors(read_checkpoint(checkpoint), layout, checkpoint)
    if ema is not None:
        state |= _ema_parameters(ema, layout, ch)
    network = {**BigColor.presets["paper"], "ch": ch}
    tensors = {name: tensor for name, tensor in state.items() if not _unused(name)} | gray_classifier()
    empty = empty_network("bigcolor", network)
    wrong = difference({name: tuple(tensor.shape) for name, tensor in tensors.items()}, shapes(empty))
    if wrong:
        raise ModelError(f"The checkpoint {checkpoint} does not make a whole network: {wrong}.")
    files = [path for path in (checkpoint, ema) if path is not None]
    card = ModelCard(
        name="bigcolor",
        tag="official",
        system="bigcolor",
        preset="paper",
        licence="that of the released BigColor checkpoint, trained on ImageNet photographs: see its authors' terms",
        network=network,
        size=empty.size_rule,
        controls=empty.controls,
        source={
            "paper": "Kim et al., BigColor: Colorization using a Generative Color Prior for Natural Images, ECCV 2022",
            "parameters": "exponential moving average" if ema is not None else "last step, without moving average",
            "classifier": "the gray-aware classifier of the bundled bigcolor",
            "files": {path.name: file_sha256(path) for path in files},
        },
        weights_sha256="",
    )
    return card, tensors


def gray_classifier() -> dict[str, Tensor]:
    """The tensors ``classifier.*`` of the bundled bigcolor: the released files have no classifier of their own.

    Raises:
        ModelError: the bundled weights are missing or damaged.
    """
    card = read_card(bundled_models_dir() / "bigcolor")
    return {name: tensor for name, tensor in read_weights(card).items() if name.startswith("classifier.")}


def _importer(system: str) -> Importer:
    known = importers()
    if system not in known:
        raise ModelError(f"There are no released files of '{system}' to import{near(system, known)}")
    return known[system]


def _installed_sha256(folder: Path) -> str:
    try:
        return read_card(folder).weights_sha256
    except ModelError:
        return ""


def _ema_parameters(path: Path, layout: dict[str, Shape], ch: int) -> dict[str, Tensor]:
    content = read_checkpoint(path)
    if not isinstance(content, dict) or not isinstance(content.get("shadow_params"), list):
        raise ModelError(f"'{path}' is not a moving average: it has no list shadow_params.")
    unknown = sorted(str(key) for key in content if key not in _EMA_KEYS)
    if unknown:
        raise ModelError(f"'{path}' holds something unknown: {', '.join(unknown)}.")
    shadow, names = content["shadow_params"], bigcolor_parameters(ch)
    if len(shadow) != len(names):
        raise ModelError(f"'{path}' holds {len(shadow)} averaged parameters; the released file has {len(names)}.")
    return _checked_tensors(dict(zip(names, shadow, strict=True)), {name: layout[name] for name in names}, path)


def _checked_tensors(content: Any, layout: dict[str, Shape], path: Path) -> dict[str, Tensor]:
    """``content`` as float32 tensors in the order of ``layout``, all of them and no other."""
    import torch

    if not isinstance(content, dict):
        raise ModelError(f"'{path}' is not a state dict.")
    for name, tensor in content.items():
        if not isinstance(tensor, torch.Tensor) or not tensor.is_floating_point():
            raise ModelError(f"'{path}' holds {name}, which is not a tensor of floating-point numbers.")
    wrong = difference({str(name): tuple(tensor.shape) for name, tensor in content.items()}, layout)
    if wrong:
        raise ModelError(f"'{path}' is not the released checkpoint: {wrong}.")
    tensors = {name: content[name].to(torch.float32) for name in layout}
    broken = [name for name, tensor in tensors.items() if not bool(torch.isfinite(tensor).all())]
    if broken:
        raise ModelError(f"'{path}' is damaged: {broken[0]} holds infinite numbers or none.")
    return tensors


def _unused(name: str) -> bool:
    return name.startswith(("G.linear.", "G.blocks.0.", "G.blocks.1.")) or ".in1." in name or ".in2." in name


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
