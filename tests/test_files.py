"""Writing and finding files, which all commands do in the same way."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from PIL import Image

from colorcli.evaluate.data import find
from colorcli.evaluate.protocols import Selection
from colorcli.export.verification import read_folder
from colorcli.files import walk, write_atomically
from colorcli.train.data import PhotoSet


def test_a_write_that_fails_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a full disk, the old file must be kept."""
    target = tmp_path / ("x" * 255)
    write_atomically(target, b"old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_atomically(target, b"new")
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"old"]


def test_every_command_finds_the_same_photographs(tmp_path: Path) -> None:
    """If commands found different photographs, their results could not be compared."""
    old = tmp_path / "old"
    for name in ("a.png", "b.png", "c.jpg", "d.tif", "sub/e.png", "sub/f.png"):
        (old / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (48, 32), 99).save(old / name)
    os.mkfifo(old / "pipe.jpg")
    (old / "dangling.png").symlink_to("nowhere")
    (old / "loop").symlink_to(old)
    (old / "._a.png").write_bytes(b"resource fork")
    (old / ".colorcli").mkdir()
    (old / ".colorcli" / "kept.png").write_bytes((old / "a.png").read_bytes())
    (old / ".colorcli-0123456789abcdef.part").write_bytes(b"unfinished")
    (old / "e.JFIF").write_bytes((old / "c.jpg").read_bytes())
    expected = ["a.png", "b.png", "c.jpg", "d.tif", "e.JFIF", "sub/e.png", "sub/f.png"]
    assert [item.name for item in find([old], Selection()).items] == expected
    assert sorted(entry.name for entry in PhotoSet([old], held_back=0).train) == expected
    assert len(list(read_folder(old))) == len(expected)


def test_a_walk_says_what_it_could_not_enter(tmp_path: Path) -> None:
    """A folder must never be left out silently."""
    told: list[str] = []
    assert list(walk(tmp_path / "gone", unreadable=lambda name, error: told.append(f"{name}: {error.strerror}"))) == []
    assert told == [".: No such file or directory"]
