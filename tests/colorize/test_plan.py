"""Finding photographs, naming outputs, and planning before the first photograph."""

from __future__ import annotations

import os
import shutil
import struct
import zlib
from collections import namedtuple
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from colorcli.colorize.discover import Found, Source, discover, sources
from colorcli.colorize.naming import name_outputs
from colorcli.colorize.options import Execution
from colorcli.colorize.plan import Selection, check_room, estimate_output, parse_shard
from colorcli.errors import OutputError, UsageError

from .conftest import Colour, contents, write_gray

Usage = namedtuple("Usage", "total used free")


def names(*inputs: Path, **kwargs: object) -> list[str]:
    found = discover(sources(inputs, (), None), **kwargs)  # type: ignore[arg-type]
    return [photo.relative for photo in found.photographs]


def found(target: str, inode: int = 0) -> Found:
    return Found(Source(Path("/in"), Path("/out")), target, 1, 1, (1, inode))


def test_hostile_places_are_survived(old: Path, colour: Colour) -> None:
    """One odd entry in an archive of eighty thousand must not end, hang or distort the run."""
    (old / "x.tif").mkdir()
    write_gray(old / "x.tif" / "inside.png")
    os.mkfifo(old / "fifo.jpg")
    (old / "loop").symlink_to(old)
    (old / "sub" / "up").symlink_to("..")
    (old / "dangling.png").symlink_to("nowhere")
    (old / "itself.png").symlink_to("itself.png")
    (old / "._a.png").write_bytes(b"resource fork")
    (old / "notes.txt").write_text("ignored")
    write_gray(old / "new\nline.png")
    write_gray(old / "ü 写真.png")
    write_gray(old / ("x" * 251 + ".png"))
    raw = os.fsdecode(os.fsencode(old) + b"/\xff\xfe.png")
    write_gray(Path(raw))
    report = colour(old)
    assert report.done == 11
    assert (report.skipped, report.failed) == (1, 2)
    assert "pipe" in colour.reasons()["fifo.jpg"]
    assert "No such file" in colour.reasons()["dangling.png"]
    assert "symbolic links" in colour.reasons()["itself.png"]
    assert colour.plan.ignored == 2
    outputs = set(contents(old.with_name("old_colorized")))
    assert {"new\nline.png", "ü 写真.png", "x.tif/inside.png", "x" * 251 + ".png", "\udcff\udcfe.png"} <= outputs
    again = colour(old)
    assert (again.already, again.done) == (11, 0), "the journal restores every name"


def test_system_folders_are_left_out(old: Path, colour: Colour) -> None:
    """A NAS adds thumbnails to every folder, and the trash holds what somebody has thrown away."""
    for name in (
        "@eaDir/a.jpg/THUMB.jpg",
        "sub/@eaDir/x.jpg",
        "#recycle/x.jpg",
        ".Trash-1000/files/x.jpg",
        "__MACOSX/a.jpg",
    ):
        write_gray(old / name)
    assert names(old) == ["a.png", "b.png", "c.jpg", "d.tif", "sub/e.png", "sub/f.png"]
    assert colour(old).done == 6 and colour.plan.left_out == 5


def test_a_pattern_without_a_slash_matches_at_any_depth(old: Path) -> None:
    """``--exclude drafts`` silently did nothing."""
    write_gray(old / "sub" / "drafts" / "deep" / "g.png")
    assert names(old, exclude=["drafts"]) == names(old, exclude=["drafts/"]) == [
        "a.png", "b.png", "c.jpg", "d.tif", "sub/e.png", "sub/f.png"
    ]  # fmt: skip
    assert names(old, include=["drafts"]) == ["sub/drafts/deep/g.png"]
    assert names(old, exclude=["sub/drafts/*", "*.png"]) == ["c.jpg", "d.tif"]


def test_a_changed_time_alone_changes_nothing(old: Path, colour: Colour) -> None:
    """A restored backup has new times: a whole finished archive counted as changed."""
    assert colour(old).done == 6
    os.utime(old / "a.png", ns=(1, 1))
    write_gray(old / "b.png", value=99)
    os.utime(old / "b.png", ns=(2, 2))
    report = colour(old)
    assert (report.already, report.skipped, report.done) == (5, 1, 0)
    assert [found.relative for found, _ in colour.plan.touched] == ["a.png"]
    again = colour(old)
    assert again.already == 5 and colour.plan.touched == [], "the new time is recorded"


def test_an_absurd_header_fails_alone(old: Path, colour: Colour) -> None:
    """33 bytes stopped a whole run, since its outputs would have needed 8,762,203 TB."""
    head = b"IHDR" + struct.pack(">II5B", (1 << 31) - 1, (1 << 31) - 1, 8, 0, 0, 0, 0)
    bomb = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + head + struct.pack(">I", zlib.crc32(head))
    (old / "bomb.png").write_bytes(bomb)
    report = colour(old)
    assert (report.done, report.failed) == (6, 1)
    assert check_room(colour.plan) is None


def test_the_plan_knows_what_is_too_large(old: Path, colour: Colour) -> None:
    """--dry-run said that a photograph would be coloured, and the run then failed it."""
    write_gray(old / "large.png", 400, 300)
    report = colour(old, execution=Execution(jobs=2, fsync=False, largest=100_000))
    assert [verdict.code for verdict in colour.plan.verdicts] == ["too_large"]
    assert (report.done, report.failed) == (6, 1)
    assert "raise it with --max-megapixels" in colour.reasons()["large.png"]


def test_what_is_left_of_a_damaged_photograph_is_coloured_if_asked(old: Path, colour: Colour) -> None:
    whole = write_gray(old / "z.jpg", 256, 256).read_bytes()
    (old / "z.jpg").write_bytes(whole[: len(whole) // 2] + b"\xff\xd9")
    assert colour(old).failed == 1 and "--salvage" in colour.reasons()["z.jpg"]
    assert colour(old, execution=Execution(jobs=2, fsync=False, salvage=True)).done == 1
    (record,) = colour.of("photo.done")
    assert "of the picture is missing" in str(record["notes"])


def test_a_folder_goes_by_its_own_name(old: Path) -> None:
    """A link beside a folder must neither rename its photographs nor list them twice."""
    (old / "best").symlink_to("sub")
    (old / "elsewhere").symlink_to(write_gray(old.parent / "other" / "g.png").parent)
    assert names(old) == ["a.png", "b.png", "c.jpg", "d.tif", "elsewhere/g.png", "sub/e.png", "sub/f.png"]


def test_a_folder_that_cannot_be_read_is_reported(old: Path, colour: Colour, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder is never left out silently."""
    scandir = os.scandir

    def refusing(path: str | os.PathLike[str]) -> object:
        if Path(path).name == "sub":
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    report = colour(old)
    assert (report.done, report.failed) == (4, 1)
    assert "Permission denied" in colour.reasons()["sub"]


def test_output_inside_input_is_not_coloured_again(old: Path, colour: Colour) -> None:
    assert colour(old, output=old / "out").done == 6
    report = colour(old, output=old / "out")
    assert (report.matched, report.already) == (6, 6)


def test_the_input_is_never_the_output(old: Path, colour: Colour) -> None:
    """This would be the one mistake that cannot be undone."""
    before = contents(old)
    for inputs, output in (((old,), old), ((old / "a.png",), old), ((old / "a.png",), old / "a.png")):
        with pytest.raises(UsageError):
            colour(*inputs, output=output, overwrite=True)
    (old.parent / "out").mkdir()
    (old.parent / "out" / "a.png").hardlink_to(old / "a.png")
    (old.parent / "out" / "sub").symlink_to(old / "sub")
    with pytest.raises(UsageError, match="would replace the input"):
        colour(old, output=old.parent / "out", overwrite=True)
    assert contents(old) == before


def test_unreachable_places_give_a_sentence(old: Path, colour: Colour) -> None:
    """A name that the system refuses to look up is a usage or output error, not an unexpected one."""
    refused = old / ("x" * 300)
    for inputs in ((refused,), (refused / "a.png",), (old, refused)):
        with pytest.raises(UsageError, match=r"cannot be read|no file or folder"):
            colour(*inputs)
    for inputs in ((old,), (old / "a.png",)):
        with pytest.raises(OutputError, match="cannot be written"):
            colour(*inputs, output=refused)


def test_single_files(old: Path, colour: Colour, tmp_path: Path) -> None:
    assert colour(old / "a.png").done == 1
    assert (old / "a_colorized.png").is_file()
    assert colour(old / "b.png", output=tmp_path / "x" / "named.png").done == 1
    assert list(contents(tmp_path / "x")) == ["named.png"]
    assert colour(old / "b.png", output=tmp_path / "folder").done == 1
    assert list(contents(tmp_path / "folder")) == ["b.png"]
    assert contents(tmp_path / "folder")["b.png"] == contents(tmp_path / "x")["named.png"]


def test_several_inputs(tmp_path: Path, colour: Colour) -> None:
    """Outputs go beside each input, or into one folder under the inputs' names."""
    for folder in ("one", "two"):
        write_gray(tmp_path / folder / "a.png")
    colour(tmp_path / "one", tmp_path / "two")
    assert (tmp_path / "one_colorized" / "a.png").is_file()
    assert (tmp_path / "two_colorized" / "a.png").is_file()
    colour(tmp_path / "one", tmp_path / "two", output=tmp_path / "out")
    assert list(contents(tmp_path / "out")) == ["one/a.png", "two/a.png"]
    assert (tmp_path / "out/one/a.png").read_bytes() == (tmp_path / "one_colorized/a.png").read_bytes()
    with pytest.raises(UsageError, match="same output"):
        colour(tmp_path / "one" / "a.png", tmp_path / "two" / "a.png", output=tmp_path / "x")
    assert colour(tmp_path / "one", tmp_path / "one", output=tmp_path / "twice").done == 1
    with pytest.raises(UsageError, match="no file or folder"):
        colour(tmp_path / "three")


def test_listed_names_are_mirrored_as_given(
    old: Path, colour: Colour, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    report = colour(
        listed=["old/a.png", "./old/sub/e.png", str(old / "b.png"), "old/gone.png"], output=tmp_path / "out"
    )
    assert (report.done, report.failed) == (3, 1)
    assert set(contents(tmp_path / "out")) == {"old/a.png", "old/sub/e.png", str(old / "b.png").lstrip("/")}
    with pytest.raises(UsageError, match="-o OUT"):
        colour(listed=["old/a.png"])


def test_include_and_exclude(old: Path) -> None:
    assert names(old, include=["*.png"]) == ["a.png", "b.png", "sub/e.png", "sub/f.png"]
    assert names(old, include=["sub/*"], exclude=["e.*"]) == ["sub/f.png"]


def test_a_change_of_format_that_makes_names_collide(tmp_path: Path, colour: Colour) -> None:
    """``a.tif`` and ``a.jpg`` would both become ``a.jpg``, and the second would silently replace the first."""
    write_gray(tmp_path / "in" / "a.tif")
    write_gray(tmp_path / "in" / "a.jpg")
    write_gray(tmp_path / "in" / "a.png")
    report = colour(tmp_path / "in", format="JPEG")
    assert report.done == 3
    assert list(contents(tmp_path / "in_colorized")) == ["a.jpg", "a.png.jpg", "a.tif.jpg"]
    assert len(colour.plan.collisions) == 1
    part = colour(tmp_path / "in", format="JPEG", selection=Selection(limit=2))
    assert (part.already, part.skipped) == (2, 0), "names do not depend on what is selected"


@pytest.mark.parametrize(("first", "second"), [("A.png", "a.png"), ("é.png", "e\u0301.png"), ("B/x.png", "b/X.png")])
def test_names_that_are_the_same_on_other_systems(tmp_path: Path, colour: Colour, first: str, second: str) -> None:
    """When copied to a Mac or to Windows, neither must replace the other."""
    write_gray(tmp_path / "in" / first)
    write_gray(tmp_path / "in" / second)
    assert colour(tmp_path / "in").done == 2
    folded = {name.casefold() for name in contents(tmp_path / "in_colorized")}
    assert len(folded) == 2
    assert colour.plan.collisions


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.text("abAB.é\u0301_/", min_size=1, max_size=6).map(lambda s: s.strip("/.") or "a"), unique=True, max_size=12
    ),
    st.sampled_from(["JPEG", "TIFF", None]),
    st.integers(1, 3),
)
def test_no_two_outputs_ever_share_a_name(stems: list[str], form: object, samples: int) -> None:
    clean = {"/".join(p for p in stem.split("/") if p.strip(".")) or "a" for stem in stems}
    photographs = [
        found(stem + suffix, index) for index, stem in enumerate(sorted(clean)) for suffix in (".tif", ".jpg", ".JPG")
    ]
    outputs, _ = name_outputs(photographs, form, samples)  # type: ignore[arg-type]
    flat = [name.casefold() for group in outputs for name in group]
    assert len(set(flat)) == len(flat) == len(photographs) * samples


def test_long_names_stay_within_what_disks_hold() -> None:
    outputs, _ = name_outputs([found("写" * 83 + "x.tif"), found("写" * 83 + "y.tif", 1)], "JPEG", 2)
    flat = [name for group in outputs for name in group]
    assert max(len(os.fsencode(name)) for name in flat) <= 255
    assert len(set(flat)) == 4


def test_shards_part_the_whole_and_agree_on_names(tmp_path: Path, colour: Colour) -> None:
    """Machines that each take a part must together colour everything once."""
    for index in range(20):
        write_gray(tmp_path / "in" / f"{index}.png", 8, 8)
    colour(tmp_path / "in", output=tmp_path / "whole")
    merged: dict[str, bytes] = {}
    for index in (1, 2, 3):
        colour(tmp_path / "in", output=tmp_path / f"{index}", selection=Selection(shard=(index, 3)))
        part = contents(tmp_path / f"{index}")
        assert 0 < len(part) < 20
        assert not set(part) & set(merged)
        merged |= part
    assert merged == contents(tmp_path / "whole")


@pytest.mark.parametrize("text", ["0/4", "5/4", "1", "a/b", "1/0", "-1/4", "1/4/2"])
def test_a_wrong_shard_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        parse_shard(text)


def test_outputs_of_other_parameters_are_kept_without_overwrite(old: Path, colour: Colour) -> None:
    """A stale result must not pass for a new one, and a wanted result must not be lost."""
    colour(old, sigma=1.0)
    before = contents(old.with_name("old_colorized"))
    report = colour(old, sigma=2.0)
    assert (report.done, report.skipped, report.conflicts, int(report.exit_code)) == (0, 6, 6, 3)
    assert "sigma 1.0, now 2.0" in colour.reasons()["a.png"]
    assert contents(old.with_name("old_colorized")) == before
    report = colour(old, sigma=2.0, overwrite=True)
    assert (report.done, int(report.exit_code)) == (6, 0)
    after = contents(old.with_name("old_colorized"))
    assert all(after[name] != before[name] for name in before)
    assert colour(old, sigma=2.0, overwrite=True).already == 6, "what is as wanted is not made twice"


def test_done_by_the_journal_not_because_a_file_exists(old: Path, colour: Colour) -> None:
    root = old.with_name("old_colorized")
    write_gray(root / "a.png")
    hand_made = (root / "a.png").read_bytes()
    report = colour(old)
    assert (report.done, report.conflicts, int(report.exit_code)) == (5, 1, 3)
    assert (root / "a.png").read_bytes() == hand_made
    (root / "b.png").write_bytes((root / "b.png").read_bytes() + b"edited")
    (root / "c.jpg").unlink()
    write_gray(old / "d.tif", 20, 20)
    report = colour(old)
    assert (report.done, report.conflicts, report.already) == (1, 3, 2)
    assert "changed since it was made" in colour.reasons()["b.png"]
    assert "changed since its output" in colour.reasons()["d.tif"]


def test_more_samples_leave_the_first_ones_alone(old: Path, colour: Colour) -> None:
    colour(old, samples=2)
    report = colour(old, samples=3)
    assert (report.already, report.done) == (12, 6)


def test_the_disk_is_checked_before_the_first_photograph(
    old: Path, colour: Colour, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that cannot be completed must not be started for the night."""
    colour(old, output=old.with_name("x"), execution=Execution(fsync=False))
    plan = colour.plan
    assert check_room(plan) is None
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10**9, 10**9, plan.estimated_bytes))
    warning = check_room(plan)
    assert warning is not None
    assert "may become full" in warning
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10**9, 10**9, 1000))
    with pytest.raises(OutputError, match=r"room for 1\.0 kB"):
        check_room(plan)


def test_estimates_are_of_the_right_size(old: Path, colour: Colour) -> None:
    """They are within a factor of four even for noise, the worst case."""
    write_gray(old / "large.tif", 800, 600)
    write_gray(old / "large.jpg", 800, 600, quality=90)
    colour(old, include=["large.*"])
    root = old.with_name("old_colorized")
    for name, form in (("large.tif", "TIFF"), ("large.jpg", "JPEG")):
        ratio = (root / name).stat().st_size / estimate_output(800, 600, 8, form)
        assert 0.25 < ratio < 4
