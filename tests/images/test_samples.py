"""The quick start's samples."""

from __future__ import annotations

import socket
from pathlib import Path

import numpy as np
import pytest

from colorcli.errors import OutputError
from colorcli.images.formats import SUFFIXES
from colorcli.images.read import read_photo
from colorcli.images.samples import write_samples


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("samples")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket, "socket", None)  # a download would fail
        write_samples(folder)
    return folder


def test_samples_are_gray_photographs_of_all_sorts(folder: Path) -> None:
    """The README's first command must show every format and depth at work, without a network connection."""
    paths = [path for path in folder.rglob("*") if path.is_file()]
    photos = [read_photo(path) for path in paths]
    assert len(photos) == 8
    assert {photo.format for photo in photos} == {"JPEG", "PNG", "TIFF", "WEBP"}
    assert {photo.bits for photo in photos} == {8, 16}
    assert {photo.kind for photo in photos} == {"gray"}
    assert len({photo.width for photo in photos}) >= 5
    assert any(path.parent != folder for path in paths)
    assert all(path.suffix in SUFFIXES for path in paths)
    assert all(np.ptp(photo.pixels) > 100 for photo in photos)


def test_what_exists_is_left_alone(folder: Path) -> None:
    path = folder / "astronaut.jpg"
    path.write_bytes(b"mine")
    assert path in write_samples(folder)
    assert path.read_bytes() == b"mine"


def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="is a file, not a folder"):
        write_samples(tmp_path / "file")
