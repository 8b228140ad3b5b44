"""The photographs listed by a run: measuring on them must use exactly those."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from colorcli.errors import UsageError
from colorcli.registry import splits
from colorcli.registry.splits import HELD_BACK, Split

SPLIT = Split(("/photos",), {"b.png": "cd" * 32, "a.png": "ab" * 32})


def test_a_set_comes_back_as_it_was_written(tmp_path: Path) -> None:
    splits.write(tmp_path, HELD_BACK, SPLIT)
    assert splits.read(tmp_path, HELD_BACK) == SPLIT
    assert splits.named(f"{tmp_path}#held-back") == (tmp_path, HELD_BACK)


def test_a_set_that_was_edited_is_refused(tmp_path: Path) -> None:
    """Dropping the photographs on which a model is bad would improve its results on paper."""
    splits.write(tmp_path, HELD_BACK, SPLIT)
    path = tmp_path / "splits" / "held-back.json"
    table = json.loads(path.read_text())
    del table["photographs"]["b.png"]
    path.write_text(json.dumps(table))
    with pytest.raises(UsageError, match="was changed after it was written"):
        splits.read(tmp_path, HELD_BACK)


def test_a_missing_set_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="does not list its test photographs"):
        splits.read(tmp_path, "test")
    with pytest.raises(UsageError, match="training, held-back, test"):
        splits.named(f"{tmp_path}#valdation")


def test_a_folder_with_a_number_sign_is_a_folder(tmp_path: Path) -> None:
    folder = tmp_path / "roll#3"
    folder.mkdir()
    assert splits.named(str(folder)) is None


def test_photographs_that_a_model_was_chosen_on_are_known_by_their_content(tmp_path: Path) -> None:
    """A photograph under another name flatters the model just as much."""
    splits.write(tmp_path, HELD_BACK, SPLIT)
    assert splits.shared(
        [tmp_path, tmp_path / "other"], "held-back", {"renamed.png": "ab" * 32, "new.png": "ef" * 32}
    ) == {str(tmp_path): 1}
