"""Remote photographs: Hugging Face data sets and WebDataset shards.

Both are downloaded once into the cache as tar shards and read like local shards. This keeps the split by names stable
and lets a run resume offline.
"""

from __future__ import annotations

import hashlib
import importlib
import io
import re
import shutil
import tarfile
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from colorcli.environment import cache_dir, needs, offline
from colorcli.errors import OutputError, UsageError
from colorcli.files import replacing
from colorcli.text import Notify

_SUFFIXES = {b"\xff\xd8\xff": "jpg", b"\x89PNG": "png", b"RIFF": "webp"}


def located(sources: Sequence[str], say: Notify = lambda _: None) -> list[Path]:
    """The folders and tar shards that DATA names, fetched first where they are elsewhere.

    Args:
        sources: folders and tar shards; ``hf://NAME/OF-SET`` or ``hf://NAME/OF-SET#SPLIT`` (by default ``train``); and
            addresses of shards as WebDataset takes them, ``https://host/train-{000..099}.tar``.
        say: called with what is being fetched.

    Raises:
        UsageError: a folder is not there, the library that reads a source is not installed, it cannot be read, or
            ``COLORCLI_OFFLINE`` forbids it.
        OutputError: the cache cannot be written.
    """
    found: list[Path] = []
    for source in sources:
        if source.startswith("hf://"):
            found.append(_kept(source, f"{_key(source)}.tar", partial(_write_set, source), say))
        elif "://" in source:
            for address in _library("webdataset.shardlists").expand_urls(source):
                name = f"{_key(address)}/{address.rpartition('/')[2]}"
                found.append(_kept(address, name, partial(_copy_shard, address), say))
        elif Path(source).exists():
            found.append(Path(source))
        else:
            raise UsageError(f"There is no folder or tar shard {source}.")
    return found


def _key(source: str) -> str:
    return hashlib.sha256(source.encode("utf-8")).hexdigest()[:16]


def _kept(source: str, name: str, fetch: Callable[[Path], None], say: Notify) -> Path:
    """The file of the cache that holds a source, after it was fetched where it is not there yet."""
    target = cache_dir() / "sources" / name
    if target.is_file():
        return target
    if offline():
        raise UsageError(f"{source} is not on this machine, and COLORCLI_OFFLINE forbids the network.")
    say(f"fetching {source}, once")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with replacing(target) as part:
            fetch(part)
    except OSError as error:
        raise OutputError(f"{source} could not be kept in {target}: {error.strerror or error}.") from error
    return target


def _library(module: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        name = module.partition(".")[0]
        raise UsageError(f"This DATA {needs(name, _EXTRAS[name])}.") from error


_EXTRAS = {"datasets": "hf", "webdataset": "webdataset"}


def _write_set(source: str, path: Path) -> None:
    """Write the photographs of a Hugging Face data set as a shard, with the classes of ImageNet where it has them."""
    datasets = _library("datasets")
    name, _, split = source.removeprefix("hf://").partition("#")
    try:
        data = datasets.load_dataset(name, split=split or "train")
    except Exception as error:
        raise UsageError(f"The data set {source} cannot be read: {error}.") from error
    column = next((key for key, kind in data.features.items() if isinstance(kind, datasets.Image)), None)
    if column is None:
        raise UsageError(f"The data set {source} has no column of pictures; it has {', '.join(data.features)}.")
    # A thousand classes are ImageNet's; others are unknown.
    labels = [key for key, kind in data.features.items() if getattr(kind, "num_classes", 0) == 1000]
    data = data.cast_column(column, datasets.Image(decode=False))
    with tarfile.open(path, "w") as archive:
        for index, row in enumerate(data):
            for suffix, content in _members(row, column, labels):
                member = tarfile.TarInfo(f"{index:08d}.{suffix}")
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))


def _members(row: Any, column: str, labels: Sequence[str]) -> Iterator[tuple[str, bytes]]:
    """The files of one photograph: its own, and its class."""
    picture = row[column]
    content: bytes = picture["bytes"] or Path(picture["path"]).read_bytes()
    yield next((suffix for head, suffix in _SUFFIXES.items() if content.startswith(head)), "tif"), content
    for label in labels[:1]:
        if row[label] >= 0:
            yield "cls", str(row[label]).encode()


def _copy_shard(address: str, path: Path) -> None:
    """Copy a shard that WebDataset's library opens: over HTTP, from a store, or out of a command (``pipe:``)."""
    # As an attribute of the package, gopen is this function, not the module.
    gopen = _library("webdataset.gopen").gopen
    try:
        with gopen(address) as stream, path.open("wb") as file:
            shutil.copyfileobj(stream, file)
    except (OSError, ValueError) as error:
        # Of curl's failures the library gives the whole command; what counts is its status.
        status = re.search(r"exit \d+", str(error))
        reason = f"the command that fetches it ended with {status[0]}" if status else error
        raise UsageError(f"The shard {address} cannot be fetched: {reason}.") from error
