"""Finds models by name, run folder or file, and builds their networks. Torch is imported only to build or read them."""

from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from colorcli.environment import bundled_models_dir, data_dir, user_models_dir
from colorcli.errors import ModelError
from colorcli.files import write_atomically
from colorcli.registry import backbones
from colorcli.registry.card import CARD, WEIGHTS, ModelCard, Shared, read_card, read_hashed
from colorcli.registry.releases import released_model, released_models
from colorcli.registry.systems import systems
from colorcli.sessions import onnx_file
from colorcli.sessions.session import ModelInfo
from colorcli.text import near

if TYPE_CHECKING:
    from torch import Tensor, nn

    from colorcli.networks.colorizer import Colorizer

ONNX = ".onnx"

_log = logging.getLogger(__name__)


def list_models() -> list[ModelCard]:
    """The cards of all installed models, sorted by name; the default tag of each name first.

    Folders whose cards cannot be read are left out with a warning, so that one damaged import does not hide the rest.
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
    """The tags that the user has chosen as defaults, by model name.

    Raises:
        ModelError: the file that records them cannot be read.
    """
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
    """The model that a bare name stands for: the user's choice, else the bundled one, else the only one, else None.

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
    """Make ``name@tag`` the user's default for its bare name, and return its card.

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
    """The card of a model.

    Args:
        name: ``name``, ``name@tag``, a run folder, a .safetensors file with model.toml beside it, or an exported ONNX
            file.

    Raises:
        ModelError: there is no such model; the message suggests similar names.
    """
    path = Path(name)
    is_file = path.suffix.lower() in (".safetensors", ONNX)
    is_path = is_file or len(path.parts) > 1 or path.is_absolute() or name in (".", "..")
    if not is_path:
        cards = list_models()
        for card in cards:
            if card.exact_name == name:
                return card
        default = default_card(name, cards)
        if default is not None:
            return default
        if not (path / CARD).is_file():
            entry = released_model(name)
            if entry is not None:
                raise ModelError(entry.absent())
            known = {card.exact_name for card in cards} | {card.name for card in cards} | released_models()
            raise ModelError(f"There is no model '{name}'{near(name, known, 'colorcli models list')}")
    return _find_path(path)


def model_info(card: ModelCard) -> ModelInfo:
    """What the pipeline needs to know about a model."""
    return ModelInfo(
        name=card.reference or card.exact_name,
        system=card.system,
        weights_sha256=card.weights_sha256,
        controls=card.controls,
        size_rule=card.size,
        licence=card.licence,
        version=card.version,
        backbones={shared.name: shared.sha256 for shared in card.backbones.values()},
        origin=str(card.source.get("origin", "")),
    )


def verify(card: ModelCard) -> None:
    """Check a model's weights file and its shared backbones against the card, without building a network.

    Raises:
        ModelError: a file is missing, unreadable, or not the one that the card describes.
    """
    if card.is_onnx:
        onnx_file.check(card.weights)
        return
    _check_hash(card, read_hashed(card.weights)[1])
    for shared in card.backbones.values():
        path = backbones.locate(shared.name, shared.sha256)
        _check_backbone(card, shared, path, read_hashed(path)[1])


def read_weights(card: ModelCard) -> dict[str, Tensor]:
    """The tensors in a model's own file, checked against the card's SHA-256; floating-point ones as float32.

    Raises:
        ModelError: the file is missing, damaged, not the one that the card describes, or an ONNX file.
    """
    if card.is_onnx:
        raise ModelError(
            f"{card.reference} is an ONNX file, which can only be run; give the model that it was exported from."
        )
    content, sha256 = read_hashed(card.weights)
    _check_hash(card, sha256)
    return _tensors(content, card.weights)


def read_backbone(name: str, sha256: str = "") -> tuple[dict[str, Tensor], str]:
    """The tensors of a backbone, generator or metric network, floating-point ones as float32, and its file's SHA-256.

    ``backbones.locate`` decides between two of the same name.

    Raises:
        ModelError: it is not on this machine, or damaged.
    """
    path = backbones.locate(name, sha256)
    content, found = read_hashed(path)
    return _tensors(content, path), found


def fit(tensors: dict[str, Tensor], wanted: dict[str, tuple[int, ...]], what: str) -> dict[str, Tensor]:
    """The tensors of a backbone that one of its modules needs, under the module's names.

    The module may be the whole network, a submodule (VGG's ``features``), or a truncated form of either.

    Args:
        tensors: the backbone's tensors, under the names of the library that defines it.
        wanted: names and shapes of the module's state dict.
        what: the backbone's name, for messages.

    Raises:
        ModelError: the backbone has no such module.
    """
    first = next(iter(wanted), "")
    faults = []
    for prefix in sorted((name[: -len(first)] for name in tensors if f".{name}".endswith(f".{first}")), key=len):
        chosen = {name: tensors[prefix + name] for name in wanted if prefix + name in tensors}
        fault = difference({name: tuple(tensor.shape) for name, tensor in chosen.items()}, wanted)
        if not fault:
            return chosen
        faults.append(fault)
    raise ModelError(f"The backbone {what} does not fit: {faults[0] if faults else f'{first} is missing'}.")


def fill_frozen(network: Colorizer) -> dict[str, Shared]:
    """Load the weights of backbones into a network's frozen parts; returns the entries for the network's card.

    Raises:
        ModelError: a backbone is not on this machine, or has no such module.
    """
    shared = {}
    for part, name in network.frozen_parts.items():
        module = network.get_submodule(part)
        tensors, sha256 = read_backbone(name)
        module.load_state_dict(fit(tensors, shapes(module), name))
        shared[part] = Shared(name, sha256)
        network.shared_sha256[part] = sha256
    return shared


def own_tensors(network: nn.Module, shared: Iterable[str]) -> dict[str, Tensor]:
    """The tensors in a model's own file: all except those of the ``shared`` parts."""
    prefixes = tuple(f"{part}." for part in shared)
    return {name: tensor for name, tensor in network.state_dict().items() if not name.startswith(prefixes)}


def build(card: ModelCard, tensors: dict[str, Tensor]) -> Colorizer:
    """The network that ``card`` describes, with exactly ``tensors`` and those of the shared backbones it names.

    The tensors of a frozen part that the card does not name are in ``tensors``.

    Raises:
        ModelError: the system is unknown, its arguments do not fit, a tensor is missing, unknown or misshaped, or a
            backbone is missing or not the one that the card describes.
    """
    network = empty_network(card.system, card.network)
    if card.size.in_rgb and network.native_space != "rgb":
        raise ModelError(
            f"The card of {card.exact_name} enlarges RGB (size.enlarge), but its network's output is in "
            f"{network.native_space}."
        )
    own = shapes(network)
    whole = dict(tensors)
    for part, shared in card.backbones.items():
        if network.frozen_parts.get(part) != shared.name:
            raise ModelError(
                f"The card of {card.exact_name} names {shared.name} as its part '{part}', "
                f"which the network '{card.system}' does not have."
            )
        backbone, sha256 = read_backbone(shared.name, shared.sha256)
        _check_backbone(card, shared, backbones.locate(shared.name, shared.sha256), sha256)
        wanted = shapes(network.get_submodule(part))
        whole |= {f"{part}.{name}": tensor for name, tensor in fit(backbone, wanted, shared.name).items()}
        own = {name: shape for name, shape in own.items() if not name.startswith(f"{part}.")}
    wrong = difference({name: tuple(tensor.shape) for name, tensor in tensors.items()}, own)
    if wrong:
        raise ModelError(f"The weights of {card.exact_name} do not fit the network '{card.system}': {wrong}.")
    network.load_state_dict(whole, strict=True, assign=True)
    if any(tensor.is_meta for tensor in (*network.parameters(), *network.buffers())):
        # The constructor makes a tensor that is not in the state dict, so it must run with real memory.
        network = _construct(card.system, card.network)
        network.load_state_dict(whole, strict=True)
    network.shared_sha256 = {part: shared.sha256 for part, shared in card.backbones.items()}
    return network


def empty_network(system: str, arguments: dict[str, Any]) -> Colorizer:
    """A system's network on the meta device: allocating and initializing what is overwritten would cost seconds.

    Raises:
        ModelError: the system is unknown, or its arguments do not fit.
    """
    import torch
    from torch.overrides import TorchFunctionMode

    class WithoutInitialization(TorchFunctionMode):
        """Skips initialization: random values on the meta device load PyTorch's compiler, for a second and 100 MB."""

        def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            if getattr(function, "__module__", None) == "torch.nn.init":
                return args[0] if args else kwargs["tensor"]
            return function(*args, **(kwargs or {}))

    with torch.device("meta"), WithoutInitialization():
        return _construct(system, arguments)


def shapes(network: nn.Module) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a network's state dict."""
    return {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}


def difference(found: Mapping[str, tuple[int, ...]], expected: Mapping[str, tuple[int, ...]]) -> str:
    """How a table of tensors differs from the expected one, with an example of each kind; empty if it does not."""
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
        if (path / backbones.CARD).is_file() and not (path / CARD).is_file():
            name = backbones.read_card(path).name
            raise ModelError(
                f"{path} holds {name}, which other networks are built on and which colours nothing by itself; install "
                f"it for them with 'colorcli models import {name} {path}'."
            )
        return dataclasses.replace(read_card(path), reference=str(path))
    if not path.is_file():
        raise ModelError(f"There is no model '{path}': neither a run folder nor a weights file is there.")
    if path.suffix.lower() == ONNX:
        return _onnx_card(path)
    if path.suffix != ".safetensors":
        raise ModelError(
            f"'{path}' is not a model: weights are .safetensors files, folders with a {CARD}, or exported .onnx files."
        )
    card = dataclasses.replace(read_card(path.parent), weights_file=path.name, reference=str(path))
    if path.name == WEIGHTS:
        return card
    # The card gives the hash of the file it names; another file beside it is identified by its own.
    return dataclasses.replace(card, weights_sha256=read_hashed(path)[1])


def _onnx_card(path: Path) -> ModelCard:
    """The card of an exported model, from its metadata."""
    header = onnx_file.read_header(path)
    name, _, tag = header.name.partition("@")
    return ModelCard(
        name=name,
        tag=tag,
        system=header.system,
        preset=header.preset,
        version=header.version,
        licence=header.licence,
        controls=header.controls,
        size=header.size_rule,
        source={**header.source, "exported_by": header.software, "exported_weights_sha256": header.weights_sha256},
        backbones={part: Shared(shared["name"], shared["sha256"]) for part, shared in header.backbones.items()},
        weights_sha256=header.identity,
        weights_dtype=header.precision,
        folder=path.parent,
        weights_file=path.name,
        reference=str(path),
    )


def _check_hash(card: ModelCard, found: str) -> None:
    if found != card.weights_sha256:
        raise ModelError(
            f"The weights of {card.reference or card.exact_name} are not those that its card describes "
            f"({card.weights}: SHA-256 {found[:12]}…, expected {card.weights_sha256[:12]}…); "
            "install or import it again."
        )


def _check_backbone(card: ModelCard, shared: Shared, path: Path, found: str) -> None:
    if found != shared.sha256:
        raise ModelError(
            f"{card.reference or card.exact_name} was made with a different {shared.name} than the one on this machine "
            f"({path}: SHA-256 {found[:12]}…, expected {shared.sha256[:12]}…); install that one."
        )


def _tensors(content: bytes, path: Path) -> dict[str, Tensor]:
    import safetensors.torch
    import torch

    try:
        tensors = safetensors.torch.load(content)
    except Exception as error:
        raise ModelError(f"The weights {path} are not a readable safetensors file: {error}.") from error
    return {
        name: tensor.to(torch.float32) if tensor.is_floating_point() else tensor for name, tensor in tensors.items()
    }


def _defaults_file() -> Path:
    return data_dir() / "defaults.json"
