"""Finding models by name, run folder or file, and making them ready to run. Only ``load`` imports torch."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from colorcli.errors import ModelError
from colorcli.registry.card import CARD, WEIGHTS, ModelCard, file_sha256, read_card, write_atomically
from colorcli.registry.folders import bundled_models_dir, data_dir, user_models_dir
from colorcli.registry.systems import near, systems
from colorcli.sessions.session import ModelInfo, Session

if TYPE_CHECKING:
    from torch import Tensor

    from colorcli.networks.colorizer import Colorizer

_log = logging.getLogger(__name__)


def list_models() -> list[ModelCard]:
    """The cards of all installed models, sorted by name; the default tag of each name first.

    A folder whose card cannot be read is left out with a warning, so that one damaged import does not hide the rest.
    """
    cards: dict[str, ModelCard] = {}
    for folder in _model_folders():
        try:
            card = read_card(folder)
        except ModelError as error:
            _log.warning("%s It is left out.", error)
            continue
        if card.exact_name in cards:
            _log.warning("The model in %s is left out: %s has its name.", folder, cards[card.exact_name].folder)
            continue
        cards[card.exact_name] = dataclasses.replace(card, reference=card.exact_name)
    chosen = default_tags()
    bundled = bundled_models_dir()

    def order(card: ModelCard) -> tuple[Any, ...]:
        is_default = card.tag == chosen.get(card.name)
        return card.name, not is_default, card.folder is None or card.folder.parent != bundled, card.tag

    return sorted(cards.values(), key=order)


def default_tags() -> dict[str, str]:
    """The tags that bare names stand for where the user has chosen one, by name."""
    try:
        table = json.loads(_defaults_file().read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise ModelError(
            f"The default tags in {_defaults_file()} cannot be read ({error}); delete the file."
        ) from error
    if not isinstance(table, dict) or not all(isinstance(tag, str) for tag in table.values()):
        raise ModelError(f"The default tags in {_defaults_file()} are not a table of names; delete the file.")
    return table


def default_card(name: str, cards: list[ModelCard] | None = None) -> ModelCard | None:
    """The model a bare name stands for: the user's choice, else the bundled one, else the only one; None if unknown.

    Raises:
        ModelError: the user's choice is no longer installed, or several models are and none is the default.
    """
    mine = [card for card in (list_models() if cards is None else cards) if card.name == name]
    chosen = default_tags().get(name)
    if chosen is not None and mine:
        for card in mine:
            if card.tag == chosen:
                return card
        raise ModelError(
            f"The default of {name} is {name}@{chosen}, which is not installed; "
            f"choose another with: colorcli models default {mine[0].exact_name}"
        )
    bundled = [card for card in mine if card.folder is not None and card.folder.parent == bundled_models_dir()]
    if len(bundled or mine) > 1:
        names = " or ".join(card.exact_name for card in bundled or mine)
        raise ModelError(f"There are several {name} models; name one of them: {names}.")
    return next(iter(bundled or mine), None)


def set_default(name: str) -> ModelCard:
    """Make ``name@tag`` what the bare name stands for, in the user's data folder; its card.

    Raises:
        ModelError: no such model is installed, or the choice cannot be stored.
    """
    cards = list_models()
    card = next((card for card in cards if card.exact_name == name), None)
    if card is None or not card.tag:
        raise ModelError(f"There is no model '{name}'{near(name, (card.exact_name for card in cards))}")
    table = default_tags() | {card.name: card.tag}
    target = _defaults_file()
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(target, json.dumps(table, indent=2).encode() + b"\n")
    except OSError as error:
        raise ModelError(f"The default could not be stored in {target}: {error.strerror}.") from error
    return card


def find(name: str) -> ModelCard:
    """The card of a model given as ``name``, ``name@tag``, run folder, or .safetensors file with model.toml beside it.

    Raises:
        ModelError: there is no such model; the message names near ones.
    """
    path = Path(name)
    is_path = path.suffix == ".safetensors" or len(path.parts) > 1 or path.is_absolute() or name in (".", "..")
    if not is_path:
        cards = list_models()
        for card in cards:
            if card.exact_name == name:
                return card
        default = default_card(name, cards)
        if default is not None:
            return default
        if not (path / CARD).is_file():
            known = {card.exact_name for card in cards} | {card.name for card in cards}
            raise ModelError(f"There is no model '{name}'{near(name, known)}")
    return _find_path(path)


def load(
    name: str | ModelCard, *, device: str = "auto", precision: str = "auto", threads: int | None = None
) -> Session:
    """A model ready to colour.

    Args:
        name: as for ``find``, or a card it returned.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
        precision: ``auto``, ``fp32``, ``fp16`` or ``bf16``.
        threads: CPU threads; None leaves the choice to the backend.

    Raises:
        ModelError: there is no such model, or its weights are missing, damaged or not what its card says.
        DeviceError: the device is not there.
    """
    card = find(name) if isinstance(name, str) else name
    tensors = read_weights(card)
    network = build(card, tensors)

    from colorcli.sessions.pytorch import PyTorchSession

    return PyTorchSession(network, model_info(card), device=device, precision=precision, threads=threads)


def model_info(card: ModelCard) -> ModelInfo:
    """What the pipeline needs to know of a model."""
    return ModelInfo(
        name=card.reference or card.exact_name,
        system=card.system,
        weights_sha256=card.weights_sha256,
        controls=card.controls,
        size_rule=card.size,
        licence=card.licence,
        version=card.version,
    )


def verify(card: ModelCard) -> None:
    """Check the weights file against the card, without loading it into a network.

    Raises:
        ModelError: the file is missing, unreadable, or another than the card describes.
    """
    try:
        found = file_sha256(card.weights)
    except OSError as error:
        raise _unreadable(card, error) from error
    _check_hash(card, found)


def read_weights(card: ModelCard) -> dict[str, Tensor]:
    """The tensors of a model, after the file's SHA-256 was found to be the card's; floating ones as float32.

    Raises:
        ModelError: the file is missing, damaged, or another than the card describes.
    """
    import safetensors.torch
    import torch

    try:
        content = card.weights.read_bytes()
    except OSError as error:
        raise _unreadable(card, error) from error
    # The bytes that are checked are the bytes that are used: the file is read once.
    _check_hash(card, hashlib.sha256(content).hexdigest())
    try:
        tensors = safetensors.torch.load(content)
    except Exception as error:
        raise ModelError(f"The weights {card.weights} are not a readable safetensors file: {error}.") from error
    return {
        name: tensor.to(torch.float32) if tensor.is_floating_point() else tensor for name, tensor in tensors.items()
    }


def build(card: ModelCard, tensors: dict[str, Tensor]) -> Colorizer:
    """The network that ``card`` describes, holding exactly ``tensors``.

    Raises:
        ModelError: the system is unknown, its arguments do not fit, or a tensor is missing, unknown or misshaped.
    """
    network = empty_network(card.system, card.network)
    wrong = difference({name: tuple(tensor.shape) for name, tensor in tensors.items()}, shapes(network))
    if wrong:
        raise ModelError(f"The weights of {card.exact_name} do not fit the network '{card.system}': {wrong}.")
    network.load_state_dict(tensors, strict=True, assign=True)
    if any(tensor.is_meta for tensor in (*network.parameters(), *network.buffers())):
        # Something outside the state dict was made by the constructor, so it has to run for real.
        network = _construct(card.system, card.network)
        network.load_state_dict(tensors, strict=True)
    return network


def empty_network(system: str, arguments: dict[str, Any]) -> Colorizer:
    """A system's network without memory behind its tensors: initializing what is overwritten costs seconds.

    Raises:
        ModelError: the system is unknown, or its arguments do not fit.
    """
    import torch

    with torch.device("meta"):
        return _construct(system, arguments)


def shapes(network: Colorizer) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a network's state dict."""
    return {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}


def difference(found: dict[str, tuple[int, ...]], expected: dict[str, tuple[int, ...]]) -> str:
    """What is wrong with a table of tensors, naming the first of each kind; empty if nothing is."""
    missing = [name for name in expected if name not in found]
    unknown = [name for name in found if name not in expected]
    misshaped = [name for name, shape in found.items() if expected.get(name, shape) != shape]
    faults = [
        f"{len(names)} {kind} (such as {names[0]})" if len(names) > 1 else f"{names[0]} is {kind}"
        for kind, names in (("missing", missing), ("unknown", unknown))
        if names
    ]
    if misshaped:
        first = misshaped[0]
        faults.append(f"{first} has shape {found[first]}, not {expected[first]}")
    return ", ".join(faults)


def _construct(system: str, arguments: dict[str, Any]) -> Colorizer:
    network_class = systems().network_class(system)
    try:
        return network_class(**arguments)
    except (TypeError, ValueError, KeyError) as error:
        raise ModelError(f"The network '{system}' does not take the arguments of its card: {error}.") from error


def _model_folders() -> Iterator[Path]:
    for root in (bundled_models_dir(), user_models_dir()):
        if root.is_dir():
            yield from sorted(folder for folder in root.iterdir() if (folder / CARD).is_file())


def _find_path(path: Path) -> ModelCard:
    if path.is_dir():
        return dataclasses.replace(read_card(path), reference=str(path))
    if not path.is_file():
        raise ModelError(f"There is no model '{path}': neither a run folder nor a weights file is there.")
    if path.suffix != ".safetensors":
        raise ModelError(f"'{path}' is not a model: weights are .safetensors files, or folders with a {CARD}.")
    card = dataclasses.replace(read_card(path.parent), weights_file=path.name, reference=str(path))
    if path.name == WEIGHTS:
        return card
    # The card vouches for the file it names; another file beside it is known by its own hash.
    try:
        return dataclasses.replace(card, weights_sha256=file_sha256(path))
    except OSError as error:
        raise _unreadable(card, error) from error


def _check_hash(card: ModelCard, found: str) -> None:
    if found != card.weights_sha256:
        raise ModelError(
            f"The weights of {card.reference or card.exact_name} are not those its card describes "
            f"({card.weights}: SHA-256 {found[:12]}…, expected {card.weights_sha256[:12]}…); "
            "install or import it again."
        )


def _unreadable(card: ModelCard, error: OSError) -> ModelError:
    return ModelError(f"The weights {card.weights} cannot be read: {error.strerror}.")


def _defaults_file() -> Path:
    return data_dir() / "defaults.json"
