"""The intended photographs are scored, whether they come as files, folders, shards or a run's subset."""

from __future__ import annotations

import tarfile
from pathlib import Path

import numpy as np
import pytest

from colorcli.errors import NothingToDoError, PhotoError, UsageError
from colorcli.evaluate.data import decode, find, find_pairs
from colorcli.evaluate.protocols import Selection
from colorcli.files import file_sha256
from colorcli.registry import splits

from .conftest import photograph, write

ALL = Selection()


def test_the_photographs_of_a_run_are_those_that_it_names(tmp_path: Path) -> None:
    """Photographs added or edited since the run were not held back, and must not be scored as if they had been."""
    for name in ("a", "b", "c", "d"):
        write(tmp_path / "photos" / f"{name}.png")
    hashes = {f"{name}.png": file_sha256(tmp_path / "photos" / f"{name}.png") for name in ("a", "b", "c")}
    run = tmp_path / "run"
    run.mkdir()
    splits.write(run, "held-back", splits.Split((str(tmp_path / "photos"),), hashes))
    (tmp_path / "photos" / "b.png").unlink()
    write(tmp_path / "photos" / "c.png", photograph("other"))
    found = find([Path(f"{run}#held-back")], Selection())
    assert [item.name for item in found.items] == ["a.png", "c.png"]
    assert found.failures == (("b.png", f"is no longer in {tmp_path / 'photos'}"),)
    assert found.items[0].read() == (tmp_path / "photos" / "a.png").read_bytes()
    with pytest.raises(PhotoError, match="has changed since the run"):
        found.items[1].read()
    with pytest.raises(UsageError, match="training, held-back, test"):
        find([Path(f"{run}#validation")], Selection())


def test_folders_shards_and_files_hold_the_same_photographs(photos: Path, tmp_path: Path) -> None:
    shard = tmp_path / "shards" / "part-000.tar"
    shard.parent.mkdir()
    with tarfile.open(shard, "w") as archive:
        archive.add(photos, "")
    (photos / "notes.txt").write_text("not a photograph")
    names = [item.name for item in find([photos], ALL).items]
    assert names == [*(f"{index}.png" for index in range(10)), "sub/x.png", "sub/y.png"]
    from_shard = find([shard.parent], ALL).items
    assert [item.name for item in from_shard] == [f"part-000/{name}" for name in names]
    for item in (from_shard[3], find([photos / "3.png"], ALL).items[0]):
        photo, sha256 = decode(item.read(), item.name)
        np.testing.assert_array_equal(photo.pixels, photograph("3.png"))
        assert sha256 == decode((photos / "3.png").read_bytes(), "3.png")[1]


def test_without_data_there_are_the_built_in_photographs() -> None:
    """The first command that a user tries must need no data."""
    items = find([], ALL).items
    assert len(items) >= 5
    assert all(decode(item.read(), item.name)[0].kind == "color" for item in items)


def test_a_random_choice_is_always_the_same_and_changes_little_with_the_folder(photos: Path) -> None:
    few = {item.name for item in find([photos], Selection(random=4)).items}
    assert few == {item.name for item in find([photos], Selection(random=4)).items}
    assert len(few) == 4
    write(photos / "another.png")
    assert len(few - {item.name for item in find([photos], Selection(random=4)).items}) <= 1


def test_a_protocols_own_photographs_are_taken_where_they_are(photos: Path) -> None:
    """ImageNet's first 5,000 are taken from a folder that holds all 50,000; other folders are taken as a whole."""
    selection = Selection("ILSVRC2012_val_*", 2)
    assert len(find([photos], selection).items) == 12
    for number in (3, 1, 2):
        write(photos / f"ILSVRC2012_val_{number:08d}.png")
    names = [item.name for item in find([photos], selection).items]
    assert names == ["ILSVRC2012_val_00000001.png", "ILSVRC2012_val_00000002.png"]


def test_pairs_are_matched_by_path_whatever_their_suffix(photos: Path, tmp_path: Path) -> None:
    made = tmp_path / "made"
    for name in ("0.jpg", "1.png", "sub/x.jpg", "stray.png"):
        write(made / name, photograph(name))
    found = find_pairs([made], photos, ALL)
    assert [item.name for item in found.items] == ["0.png", "1.png", "sub/x.png"]
    assert all(item.other is not None for item in found.items)
    reasons = dict(found.failures)
    assert "no colouring" in reasons["2.png"] and "no original" in reasons["stray.png"]
    assert len(reasons) == 10


def test_nothing_to_score_is_said(tmp_path: Path, photos: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(NothingToDoError, match=r"no photographs in .*empty"):
        find([tmp_path / "empty"], ALL)
    with pytest.raises(UsageError, match="neither a folder nor a file"):
        find([tmp_path / "absent"], ALL)
    write(tmp_path / "made" / "unheard of.png")
    with pytest.raises(NothingToDoError, match="namesake"):
        find_pairs([tmp_path / "made"], photos, ALL)
    with pytest.raises(UsageError, match=r"Two photographs are called 0\.png"):
        find([photos, photos], ALL)


def test_a_damaged_shard_costs_no_more_than_itself(photos: Path, tmp_path: Path) -> None:
    """It counts as one failure, as does a compressed shard, in which photographs cannot be located."""
    with tarfile.open(photos / "a.tar", "w") as archive, tarfile.open(photos / "zipped.tar", "w:gz") as zipped:
        archive.add(photos / "0.png", "0.png")
        zipped.add(photos / "0.png", "0.png")
    (photos / "junk.tar").write_bytes(b"nonsense" * 200)
    with tarfile.open(photos / "cut.tar", "w") as archive:
        archive.add(photos / "0.png", "0.png")
        archive.add(photos / "1.png", "1.png")
    (photos / "cut.tar").write_bytes((photos / "cut.tar").read_bytes()[: (photos / "0.png").stat().st_size + 3000])
    found = find([photos], ALL)
    names = {item.name for item in found.items}
    assert len(names) == 14 and {"a/0.png", "cut/0.png"} <= names
    assert [name for name, _ in found.failures] == ["cut.tar", "junk.tar", "zipped.tar"]
    assert all("cannot be read" in reason and "\n" not in reason for _, reason in found.failures)
    with pytest.raises(UsageError, match=r"junk\.tar cannot be read"):
        find([photos / "junk.tar"], ALL)


def test_what_macos_leaves_beside_a_photograph_is_none(photos: Path) -> None:
    (photos / "._0.png").write_bytes(b"resource fork")
    with tarfile.open(photos / "a.tar", "w") as archive:
        archive.add(photos / "._0.png", "x/._0.png")
    assert len(find([photos], ALL).items) == 12
