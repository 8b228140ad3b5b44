"""Photographs from Hugging Face and from URLs are downloaded once and read like any others."""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from colorcli.environment import install_command
from colorcli.errors import UsageError
from colorcli.train.data import PhotoSet
from colorcli.train.sources import located

from .conftest import draw


def _png(index: int) -> bytes:
    content = io.BytesIO()
    draw(index).save(content, "PNG")
    return content.getvalue()


class FakeSet:
    """Stands in for a data set of three photographs with classes."""

    def __init__(self, image: type) -> None:
        self.features = {"label": SimpleNamespace(num_classes=1000), "image": image()}

    def cast_column(self, column: str, kind: Any) -> FakeSet:
        assert column == "image" and kind.decode is False
        return self

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for index in range(3):
            yield {"image": {"bytes": _png(index), "path": None}, "label": 7 + index}


@pytest.fixture(autouse=True)
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Stand-ins for both libraries; the list of what was requested from them."""
    monkeypatch.setenv("COLORCLI_CACHE_DIR", str(tmp_path / "cache"))
    found: list[str] = []

    class Image:
        def __init__(self, decode: bool = True) -> None:
            self.decode = decode

    def load_dataset(name: str, split: str) -> FakeSet:
        found.append(f"{name}#{split}")
        return FakeSet(Image)

    hub = ModuleType("datasets")
    hub.Image, hub.load_dataset = Image, load_dataset  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "datasets", hub)

    def gopen(address: str) -> Any:
        found.append(address)
        return (tmp_path / "photos" / "shard-000.tar").open("rb")

    # As in the library, the attribute gopen of the package is the function, and hides the module.
    for module, names in {
        "webdataset": {"gopen": gopen},
        "webdataset.gopen": {"gopen": gopen},
        "webdataset.shardlists": {"expand_urls": lambda url: [url.replace("{0..1}", str(index)) for index in range(2)]},
    }.items():
        stand_in = ModuleType(module)
        vars(stand_in).update(names)
        monkeypatch.setitem(sys.modules, module, stand_in)
    return found


def test_a_data_set_of_hugging_face_is_a_shard_with_its_classes(asked: list[str]) -> None:
    for _ in range(2):
        data = PhotoSet(located(["hf://some/set#validation"]), held_back=0, labels="folders")
    assert asked == ["some/set#validation"]
    assert [entry.label for entry in data.train] == [7, 8, 9]
    image = data.read(data.train[1], 64)
    assert image is not None and image.tobytes() == draw(1).tobytes()


def test_shards_at_an_address_are_fetched_once(photos: Path, asked: list[str]) -> None:
    for _ in range(2):
        found = located([str(photos), "https://host/part-{0..1}.tar"])
    assert asked == ["https://host/part-0.tar", "https://host/part-1.tar"]
    assert [path.name for path in found] == ["photos", "part-0.tar", "part-1.tar"]
    names = {entry.name for entry in PhotoSet(found, held_back=0).train}
    assert {"part-0/20.png", "part-1/20.png", "00.png"} <= names


def test_the_library_itself_fetches_shards(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stand-ins prove nothing about where the library keeps its functions."""
    for module in ("webdataset", "webdataset.gopen", "webdataset.shardlists"):
        monkeypatch.delitem(sys.modules, module)
    pytest.importorskip("webdataset")
    (shard,) = located([(photos / "shard-000.tar").as_uri()])
    assert shard.read_bytes() == (photos / "shard-000.tar").read_bytes()
    with pytest.raises(UsageError, match=r"cannot be fetched: the command that fetches it ended with exit 7\.$"):
        located(["http://localhost:9/nothing.tar"])


def test_what_cannot_be_fetched_is_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: list[str]
) -> None:
    with pytest.raises(UsageError, match="no folder or tar shard"):
        located([str(tmp_path / "nothing")])
    monkeypatch.setenv("COLORCLI_OFFLINE", "1")
    with pytest.raises(UsageError, match="COLORCLI_OFFLINE forbids"):
        located(["hf://some/set"])
    monkeypatch.delenv("COLORCLI_OFFLINE")
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(UsageError, match=rf"the library datasets, .*{re.escape(install_command('hf'))}"):
        located(["hf://some/set"])
    assert asked == []
    assert not list((tmp_path / "cache").rglob("*.tar*"))
