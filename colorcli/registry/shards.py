"""Photographs in tar shards in WebDataset's layout: ``KEY.jpg`` and, beside it, its class in ``KEY.cls``."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from colorcli.errors import UsageError
from colorcli.images.formats import is_photograph_name
from colorcli.sessions.classes import read_class


@dataclass(frozen=True, slots=True)
class Member:
    """A photograph in a shard: its name, the offset and size of its bytes, and its ImageNet class, or -1 for none."""

    name: str
    offset: int
    size: int
    label: int = -1


def photographs(shard: Path) -> Iterator[Member]:
    """The photographs of a shard, in order; from a damaged shard, those before the damage, and then the error.

    Raises:
        UsageError: the shard cannot be read to its end, or a ``.cls`` member holds no class.
    """
    found: list[tuple[str, Member]] = []
    classes: dict[str, int] = {}
    failure: UsageError | None = None
    try:
        # "r:" refuses compressed shards, whose members have no offset in the file
        with tarfile.open(shard, "r:") as archive:
            for member in archive:
                folder, _, file = member.name.rpartition("/")
                key = f"{folder}/{file.partition('.')[0]}"
                if member.isfile() and is_photograph_name(file):
                    found.append((key, Member(f"{shard.stem}/{member.name}", member.offset_data, member.size)))
                elif file.endswith(".cls") and (content := archive.extractfile(member)):
                    classes[key] = read_class(content.read(16), f"{member.name} of {shard}")
    except (OSError, tarfile.TarError) as error:
        failure = UsageError(f"The tar file {shard} cannot be read ({error}); it is damaged, or compressed.")
    for key, photograph in found:
        yield replace(photograph, label=classes.get(key, -1))
    if failure is not None:
        raise failure
