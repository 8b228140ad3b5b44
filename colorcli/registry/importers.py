"""Imports released files as models and backbones. They are read as tensors; no pickle is executed.

Every tensor of a file is accounted for: a missing, unknown or misshaped one is an error.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
import tempfile
from collections.abc import Callable, Sequence
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from colorcli.environment import data_dir, user_models_dir
from colorcli.errors import ModelError, OutputError
from colorcli.files import file_sha256
from colorcli.registry import backbones, bigcolor
from colorcli.registry.backbones import Backbone
from colorcli.registry.card import CARD, WEIGHTS, ModelCard, Shared, read_card, write_card
from colorcli.registry.checkpoints import network_layout, read_tensors
from colorcli.registry.download import Fetched, Progress, fetch
from colorcli.registry.registry import difference, empty_network, find, own_tensors, shapes
from colorcli.registry.releases import Release, release, released_model, releases
from colorcli.registry.systems import systems
from colorcli.text import reason

if TYPE_CHECKING:
    from torch import Tensor

Installed = ModelCard | Backbone

DISCRIMINATOR = "discriminator.safetensors"


class Origin(StrEnum):
    """What is known about files in a released layout, in the words of cards and journals."""

    PUBLISHED = "the published file"
    UNKNOWN = "in the released layout; no hash is published"
    OTHER = "not the published file"


def import_files(name: str, files: Sequence[Path], *, tag: str = "", overwrite: bool = False) -> Installed:
    """Install released files in the user's data folder: a model under its released tag, anything else as a backbone.

    Files in the released layout whose hash is not the published one are installed under a tag of the user's choice,
    and their card says what they are.

    Args:
        name: name in the table of released files.
        files: in the order of the table, where optional ones may be omitted; or a single run folder, see
            ``import_run``.
        tag: the user's tag; empty for the released one.
        overwrite: whether to replace other weights of that name.

    Raises:
        ModelError: the name is unknown, the files are not the released ones and ``tag`` is empty, the tag is a
            released one, or other weights are installed.
        OutputError: the data folder cannot be written.
    """
    if len(files) == 1 and files[0].is_dir():
        return import_run(name, files[0], overwrite=overwrite)
    entry = release(name)
    required = [remote for remote in entry.files if not remote.optional]
    if not len(required) <= len(files) <= len(entry.files):
        names = ", ".join(f"{remote.name} (optional)" if remote.optional else remote.name for remote in entry.files)
        raise ModelError(f"{name} needs these files, in this order: {names}; given: {len(files)}.")
    _check_tag(entry, tag)
    if entry.kind != "model":
        tensors = _read_backbone(entry, files)
        origin = _origin(entry, files, tag)
        return install_backbone(entry, tensors, files, tag=tag, origin=origin, overwrite=overwrite)
    card, tensors = convert(name, files)
    origin = _origin(entry, files, tag)
    card = dataclasses.replace(card, tag=tag or card.tag, source={**card.source, "origin": origin.value})
    if origin is Origin.OTHER:
        card = dataclasses.replace(card, licence=f"that of whoever made it: {Origin.OTHER}")
    discriminator = _read_discriminator(files[1]) if entry.model == "pix2pix" and len(files) > 1 else None
    return install(card, tensors, discriminator=discriminator, overwrite=overwrite)


def _check_tag(entry: Release, tag: str) -> None:
    if tag and (tag.startswith(".") or set(tag) & set("@/\\") or tag in _released_tags(entry)):
        taken = "is the tag of released files" if tag in _released_tags(entry) else "cannot be a tag"
        raise ModelError(f"'{tag}' {taken}; choose another --tag.")


def _released_tags(entry: Release) -> set[str]:
    return {other.tag for other in releases().values() if other.model == entry.model}


def _origin(entry: Release, files: Sequence[Path], tag: str) -> Origin:
    """Whether files in the released layout are those that were published.

    Raises:
        ModelError: they are not, and the user gave no tag to distinguish them by.
    """
    known = 0
    for remote, path in zip(entry.files, files, strict=False):
        if not remote.sha256_prefix:
            continue
        found = file_sha256(path)
        if found.startswith(remote.sha256_prefix):
            known += 1
        elif tag:
            return Origin.OTHER
        else:
            raise ModelError(
                f"'{path}' has the layout of {remote.name} but is not the published file (SHA-256 {found[:12]}…, "
                f"published {remote.sha256_prefix[:12]}…): install it as {entry.model}@NAME with --tag NAME."
            )
    return Origin.PUBLISHED if known == len(files) else Origin.UNKNOWN


def import_run(name: str, run: Path, *, overwrite: bool = False) -> Backbone:
    """Install the backbone or generator that a training run has made; the run's own files are not changed.

    Args:
        name: name to install it under; networks built on it look for the name of its recipe.
        run: the run folder.
        overwrite: whether to replace other weights of that name.

    Raises:
        ModelError: the run made no backbone, or it has been damaged since; the name is taken, or cannot be a folder's.
        OutputError: the data folder cannot be written.
    """
    if name in releases() or released_model(name) is not None:
        raise ModelError(
            f"{name} is the name of released files, and {run} is a folder: give the files, or import what the run made "
            "under another name."
        )
    card = _made_by(run)
    if name.startswith(".") or set(name) & set("@/\\"):
        raise ModelError(f"'{name}' cannot be a backbone's name.")
    folder = backbones.user_backbones_dir() / name

    def describe(fresh: Path, sha256: str) -> None:
        backbones.write_card(dataclasses.replace(card, name=name, sha256=sha256, folder=None), fresh)

    _install(folder, partial(shutil.copyfile, run / WEIGHTS), describe, backbones.read_card(folder).sha256, overwrite)
    return backbones.read_card(folder)


def built_on(backbone: str) -> list[str]:
    """The presets on this machine that have this backbone as a frozen part, such as ``biggan-encoder lite``."""
    found = []
    for system in systems().names():
        for preset, arguments in systems().network_class(system).presets.items():
            try:
                network = empty_network(system, arguments)
            except ModelError:
                continue  # the package it needs is not installed
            if backbone in network.frozen_parts.values():
                found.append(f"{system} {preset}")
    return found


def pull(
    name: str,
    *,
    overwrite: bool = False,
    progress: Progress | None = None,
    stopped: Callable[[], bool] = lambda: False,
) -> tuple[Installed, list[Fetched]]:
    """Fetch released files and install them; returns what is then installed, and what was fetched.

    Nothing is fetched if they are already installed. Files are deleted after their import; after an error, or when
    ``stopped`` returns true, what has been fetched is kept, so that the next call resumes.

    Raises:
        StoppedError: ``stopped`` returned true.
        ModelError: there are no such released files, or they cannot be fetched or imported.
        OutputError: the data folder cannot be written.
    """
    entry = release(name)
    if not overwrite and (present := _present(entry)) is not None:
        return present, []
    if not all(remote.url for remote in entry.files):
        raise ModelError(f"{name} has no published address; import it from a file: colorcli models import {name} FILE")
    folder = data_dir() / "downloads" / name
    fetched = [fetch(remote, folder, progress, stopped) for remote in entry.files]
    done = import_files(name, [one.path for one in fetched], overwrite=overwrite)
    shutil.rmtree(folder, ignore_errors=True)
    return done, fetched


def convert(name: str, files: Sequence[Path], **changes: Any) -> tuple[ModelCard, dict[str, Tensor]]:
    """A released model's card, without hash and folder, and the tensors of its own file.

    Args:
        name: name in the table of released files.
        files: as for ``import_files``.
        changes: changes to the preset's arguments.

    Raises:
        ModelError: the files are not the released ones, or a shared backbone is missing.
    """
    entry = release(name)
    system = entry.model
    network = {**systems().network_class(system).presets[entry.preset], **changes}
    empty = empty_network(system, network)
    shared = {part: _shared(backbone) for part, backbone in empty.frozen_parts.items()}
    own = {part: tuple(tensor.shape) for part, tensor in own_tensors(empty, shared).items()}
    source: dict[str, Any] = {"paper": entry.paper}
    if system == "bigcolor":
        tensors, source["parameters"] = bigcolor.read(files[0], files[1] if len(files) > 1 else None, network["ch"])
        wrong = difference({part: tuple(tensor.shape) for part, tensor in tensors.items()}, own)
        if wrong:
            raise ModelError(f"The checkpoint {files[0]} does not make a complete network: {wrong}.")
    else:
        tensors = read_tensors(
            files[0], own, entry.unused, wrapper=entry.wrapper, ignored=entry.ignored, rename=entry.rename
        )
    card = ModelCard(
        name=system,
        tag=entry.tag,
        system=system,
        preset=entry.preset,
        licence=entry.licence,
        network=network,
        # released weights go with their program's way of resizing to the working size and back
        size=dataclasses.replace(empty.size_rule, resize=entry.resize, enlarge=entry.enlarge),
        controls=empty.controls,
        source={**source, "files": {path.name: file_sha256(path) for path in files}},
        backbones=shared,
        weights_sha256="",
    )
    return card, tensors


def install(
    card: ModelCard,
    tensors: dict[str, Tensor],
    *,
    discriminator: dict[str, Tensor] | None = None,
    overwrite: bool = False,
) -> ModelCard:
    """Install a model in the user's data folder, completely or not at all; returns its card with hash and folder.

    This is public for plug-ins whose files no table can describe: they read them on their own and install the result.
    Installing the same weights again changes nothing. A discriminator is kept beside the weights.

    Raises:
        ModelError: other weights of that name are installed and ``overwrite`` is false.
        OutputError: the folder cannot be written.
    """
    folder = user_models_dir() / card.exact_name

    def describe(fresh: Path, sha256: str) -> None:
        write_card(dataclasses.replace(card, weights_sha256=sha256, folder=None), fresh)
        if discriminator is not None:
            _save(discriminator, fresh / DISCRIMINATOR)

    _install(folder, partial(_save, tensors), describe, _installed_sha256(folder), overwrite)
    return dataclasses.replace(read_card(folder), reference=card.exact_name)


def install_backbone(
    entry: Release,
    tensors: dict[str, Tensor],
    files: Sequence[Path],
    *,
    tag: str = "",
    origin: Origin = Origin.UNKNOWN,
    overwrite: bool = False,
) -> Backbone:
    """Install a backbone in the user's data folder, completely or not at all; with a tag, as ``name@tag``.

    Raises:
        ModelError: other weights of that name are installed and ``overwrite`` is false.
        OutputError: the folder cannot be written.
    """
    name = f"{entry.name}@{tag}" if tag else entry.name
    folder = backbones.user_backbones_dir() / name
    made_from = {path.name: file_sha256(path) for path in files}
    licence = f"that of whoever made it: {Origin.OTHER}" if origin is Origin.OTHER else entry.licence

    def describe(fresh: Path, sha256: str) -> None:
        card = Backbone(name, sha256, entry.kind, entry.title, licence, made_from, origin=origin.value)
        backbones.write_card(card, fresh)

    _install(folder, partial(_save, tensors), describe, backbones.read_card(folder).sha256, overwrite)
    return backbones.read_card(folder)


def _install(
    folder: Path,
    save: Callable[[Path], object],
    describe: Callable[[Path, str], None],
    before: str,
    overwrite: bool,
) -> None:
    """Let ``save(path)`` write weights and ``describe(folder, sha256)`` add a card; then move the folder into place."""
    name = folder.name
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".new-") as temporary:
            fresh = Path(temporary, "fresh")
            fresh.mkdir()
            save(fresh / WEIGHTS)
            sha256 = file_sha256(fresh / WEIGHTS)
            if folder.exists() and not overwrite and before != sha256:
                raise ModelError(f"Another {name} is installed in {folder}; use --overwrite to replace it.")
            describe(fresh, sha256)
            if folder.exists():
                folder.rename(Path(temporary, "old"))
            fresh.rename(folder)
    except OSError as error:
        raise OutputError(f"{name} could not be installed in {folder}: {error.strerror or error}.") from error


def _save(tensors: dict[str, Tensor], path: Path) -> None:
    from safetensors.torch import save_file

    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path)
    # safetensors creates files that only their owner may read.
    path.chmod(0o644)


def _present(entry: Release) -> Installed | None:
    if entry.kind == "model":
        name = entry.exact_name
        return find(name) if (user_models_dir() / name / CARD).exists() else None
    return backbones.installed().get(entry.name)


def _installed_sha256(folder: Path) -> str:
    try:
        return read_card(folder).weights_sha256
    except ModelError:
        return ""


def _made_by(run: Path) -> Backbone:
    """The card of the backbone that a run has made, after checking its weights against it.

    Raises:
        ModelError: there is no card, or the weights beside it are not the card's.
    """
    if not (run / backbones.CARD).is_file():
        if (run / CARD).is_file():
            raise ModelError(f"{run} holds a model, which needs no import: use it with --model {run}.")
        raise ModelError(
            f"There is no {backbones.CARD} in {run}: its recipe makes no backbone, or the run has not reached its "
            "first check yet."
        )
    card = backbones.read_card(run)
    try:
        found = file_sha256(run / WEIGHTS)
    except OSError as error:
        raise ModelError(f"The weights {run / WEIGHTS} cannot be read: {error.strerror}.") from error
    if found != card.sha256:
        raise ModelError(
            f"{run / WEIGHTS} is not what the run wrote (SHA-256 {found[:12]}…, recorded {card.sha256[:12]}…): "
            "continue the run (--resume); its next check writes it again."
        )
    return card


def _shared(name: str) -> Shared:
    return Shared(name, file_sha256(backbones.locate(name)))


def _read_backbone(entry: Release, files: Sequence[Path]) -> dict[str, Tensor]:
    if entry.name in _READERS:
        return _READERS[entry.name](files[0])
    tensors = read_tensors(files[0], network_layout(entry), entry.unused)
    if entry.heads:
        heads = {f"lin{index}.model.1.weight": (1, width, 1, 1) for index, width in enumerate(entry.heads)}
        tensors |= read_tensors(files[1], heads)
    if entry.config and len(files) > 1:
        _check_config(files[1], entry.config)
    return tensors


_READERS: dict[str, Callable[[Path], dict[str, Tensor]]] = {
    "biggan-256-generator": bigcolor.read_biggan_generator,
    "biggan-256-discriminator": bigcolor.read_biggan_discriminator,
}


def _check_config(path: Path, expected: dict[str, Any]) -> None:
    """Check what shapes cannot show: a network with another epsilon, say, would load and give wrong images."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"The configuration {path} cannot be read: {reason(error)}.") from error
    if not isinstance(found, dict):
        raise ModelError(f"The configuration {path} cannot be used: it is not a JSON object.")
    wrong = [f"{key} is {found.get(key)}, not {value}" for key, value in expected.items() if found.get(key) != value]
    if wrong:
        raise ModelError(f"'{path}' is the configuration of another network: {wrong[0]}.")


def _read_discriminator(path: Path) -> dict[str, Tensor]:
    import torch

    from colorcli.networks.pix2pix import Discriminator

    with torch.device("meta"):
        return read_tensors(path, shapes(Discriminator()))
