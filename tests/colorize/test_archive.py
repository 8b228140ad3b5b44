"""What an archive relies on: metadata is kept, and nothing is written among the originals."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageSequence

from colorcli.color.spaces import srgb_to_lightness
from colorcli.colorize.discover import discover, sources
from colorcli.colorize.options import Execution
from colorcli.colorize.state import apart_folder, state_folder
from colorcli.images.output_profile import output_profile
from colorcli.images.photo import Metadata
from colorcli.images.provenance import is_labelled
from colorcli.images.read import page_count, read_photo
from colorcli.images.write import FurtherPage, write_photo
from tests.images.conftest import PROVENANCE
from tests.images.test_content import typed
from tests.images.test_write import exif_block

from .conftest import Colour, contents, write_gray


def packet(properties: str) -> bytes:
    return (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        '<rdf:Description rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/"'
        f' xmlns:photoshop="http://ns.adobe.com/photoshop/1.0/" {properties}/></rdf:RDF></x:xmpmeta>'
    ).encode()


def test_sidecars_are_read_and_written(tmp_path: Path, colour: Colour) -> None:
    """Catalogues keep captions in files beside the photographs: coloured copies came without any."""
    write_gray(tmp_path / "in" / "a.jpg", xmp=packet('dc:source="Box 1" photoshop:City="Bergen"'))
    write_gray(tmp_path / "in" / "b.png")
    write_gray(tmp_path / "in" / "c.png")
    (tmp_path / "in" / "a.jpg.xmp").write_bytes(packet('dc:source="Box 12"'))
    (tmp_path / "in" / "b.xmp").write_bytes(packet('dc:source="Box 13"'))
    (tmp_path / "in" / "c.xmp").write_bytes(b"<rubbish")
    assert colour(tmp_path / "in", output=tmp_path / "out").done == 3
    for name, box in (("a.jpg", b"Box 12"), ("b.png", b"Box 13")):
        beside = (tmp_path / "out" / f"{name}.xmp").read_bytes()
        assert read_photo(tmp_path / "out" / name).metadata.xmp == beside
        assert box in beside and is_labelled(beside) and b"Box 1<" not in beside and b'"Box 1"' not in beside
    assert b"Bergen" in (tmp_path / "out" / "a.jpg.xmp").read_bytes()
    notes = {record["input"]: record["notes"] for record in colour.of("photo.done")}
    assert notes["c.png"] == ["its sidecar c.xmp is left out: it is damaged or too large"]
    assert not (tmp_path / "out" / "c.png.xmp").exists()


def test_outputs_get_the_times_of_their_photographs(old: Path, colour: Colour) -> None:
    os.utime(old / "a.png", (1_000_000_000, 1_000_000_000))
    colour(old, execution=Execution(jobs=1, fsync=False, keep_times=True))
    assert (old.with_name("old_colorized") / "a.png").stat().st_mtime == 1_000_000_000
    assert colour(old, execution=Execution(jobs=1, fsync=False, keep_times=True)).already == 6


def test_outputs_of_earlier_runs_are_not_inputs(old: Path, colour: Colour, tmp_path: Path) -> None:
    """A second run would treat the first one's outputs as photographs, and skip them because they are in colour."""
    assert colour(old, output=old / "coloured").done == 6
    assert colour(old, output=old / "again").done == 6
    assert colour.plan.matched == 6 and colour.plan.earlier == 6
    (tmp_path / "copied").mkdir()
    (tmp_path / "copied" / "a.png").write_bytes((old / "again" / "a.png").read_bytes())
    assert colour(tmp_path / "copied").skipped == 1
    assert colour.reasons()["a.png"].startswith("was coloured by colorcli")
    assert colour(tmp_path / "copied", execution=Execution(jobs=1, fsync=False, recolor=True)).done == 1


def test_originals_beside_a_journal_are_still_inputs(old: Path) -> None:
    """A journal that lists one output in a folder says nothing about the other photographs there."""
    (old / "sub" / ".colorcli").mkdir()
    line = '{"v":1,"event":"photo.done","output":"e.png"}\n'
    (old / "sub" / ".colorcli" / "journal.jsonl").write_text(line)
    found = discover(sources([old], (), None))
    assert found.earlier == ["sub/e.png"]
    assert [photo.relative for photo in found.photographs] == ["a.png", "b.png", "c.jpg", "d.tif", "sub/f.png"]


def test_the_state_of_a_folder_of_originals_is_kept_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLORCLI_DATA_DIR", str(tmp_path / "data"))
    assert state_folder(tmp_path) == tmp_path / ".colorcli"
    apart_folder(tmp_path).mkdir(parents=True)
    assert state_folder(tmp_path) == apart_folder(tmp_path)
    (tmp_path / ".colorcli").mkdir()
    assert state_folder(tmp_path) == tmp_path / ".colorcli"


def test_a_negative_is_inverted_and_measured_against_the_positive(tmp_path: Path, colour: Colour) -> None:
    path = write_gray(tmp_path / "in" / "a.png")
    assert colour(tmp_path / "in", negative=True).done == 1
    (record,) = colour.of("photo.done")
    assert record["max_delta_l"] <= 0.5 and record["parameters"]["negative"] is True
    positive = 255 - np.asarray(Image.open(path)).astype(int)
    made = read_photo(tmp_path / "in_colorized" / "a.png").pixels
    assert np.corrcoef(made[..., 1].ravel(), positive.ravel())[0, 1] > 0.9
    assert colour(tmp_path / "in").conflicts == 1


def test_another_colour_space_is_journalled_and_embedded(tmp_path: Path, colour: Colour) -> None:
    write_gray(tmp_path / "in" / "a.tif")
    profile = output_profile("display-p3")
    assert profile is not None and colour(tmp_path / "in", profile=profile).done == 1
    (record,) = colour.of("photo.done")
    assert record["parameters"]["profile"] == "display-p3" and record["written_max_delta_l"] < 1
    assert read_photo(tmp_path / "in_colorized" / "a.tif").metadata.icc == profile.icc
    assert colour(tmp_path / "in", profile=profile).already == 1


def test_text_stays_neutral_and_is_done(tmp_path: Path, colour: Colour) -> None:
    (tmp_path / "in").mkdir()
    Image.fromarray(typed()).save(tmp_path / "in" / "page.png")
    assert colour(tmp_path / "in").done == 1
    (record,) = colour.of("photo.done")
    assert any(note.startswith("neutral: ") for note in record["notes"]) and record["mean_chroma"] == 0


def test_what_a_lossy_file_holds_is_journalled_too(old: Path, colour: Colour) -> None:
    colour(old)
    for record in colour.of("photo.done"):
        assert record["written_share"] == 1
        if record["format"] == "JPEG":
            assert record["written_max_delta_l"] > record["max_delta_l"]
        else:
            assert record["written_max_delta_l"] == record["max_delta_l"]


def test_a_share_that_fails_for_a_moment_fails_no_photograph(
    old: Path, colour: Colour, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, faults = os.open, [errno.EIO, errno.ESTALE, errno.EAGAIN]

    def sometimes(path: Any, *args: Any, **kwargs: Any) -> int:
        if str(path).endswith("b.png") and faults:
            raise OSError(faults.pop(), "lost")
        return real(path, *args, **kwargs)

    monkeypatch.setattr("colorcli.files.time.sleep", lambda _: None)
    monkeypatch.setattr(os, "open", sometimes)
    assert colour(old, execution=Execution(jobs=1, fsync=False)).done == 6 and not faults
    assert set(contents(old.with_name("old_colorized"))) == {
        "a.png",
        "b.png",
        "c.jpg",
        "d.tif",
        "sub/e.png",
        "sub/f.png",
    }


def pages_file(path: Path) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    shapes = [(40, 60), (90, 50), (30, 30)]
    pages = [rng.integers(40, 200, shape, dtype=np.uint8) for shape in shapes]
    pages.append(rng.integers(10_000, 50_000, (44, 44), dtype=np.uint16))
    path.parent.mkdir(parents=True, exist_ok=True)
    with tifffile.TiffWriter(path) as writer:
        for number, page in enumerate(pages):
            exif = [(0x010E, "s", 0, f"page {number + 1}", True)]
            writer.write(page, photometric="minisblack", metadata=None, extratags=exif)
        writer.write(np.zeros((9, 9), np.uint8), photometric="minisblack", subfiletype=1)
    return pages


@pytest.mark.parametrize("profile", [None, "display-p3"])
def test_every_page_of_a_tiff_is_coloured_into_a_tiff_again(
    tmp_path: Path, colour: Colour, profile: str | None
) -> None:
    """Albums and registers are scanned into one file: all their pages but one were lost."""
    pages = pages_file(tmp_path / "in" / "album.tif")
    assert colour(tmp_path / "in", pages="all", profile=output_profile(profile or "srgb")).done == 1
    (record,) = colour.of("photo.done")
    assert record["pages"] == 4 and record["notes"] == ["all its 4 pages were read"]
    made = tmp_path / "in_colorized" / "album.tif"
    assert page_count(made) == 4
    for index, page in enumerate(pages):
        photo = read_photo(made, page=index)
        assert photo.pixels.dtype == page.dtype and photo.pixels.shape == (*page.shape, 3)
        assert photo.kind != "gray" and photo.metadata.exif and f"page {index + 1}".encode() in photo.metadata.exif
        top = np.iinfo(page.dtype).max
        lightness = srgb_to_lightness(photo.pixels / top) - srgb_to_lightness(page / top)
        assert np.abs(lightness).max() < 0.9
    with Image.open(made) as image:
        assert len(list(ImageSequence.Iterator(image))) == 4
    assert colour(tmp_path / "in", pages="all", profile=output_profile(profile or "srgb")).already == 1
    assert colour(tmp_path / "in").conflicts == 1


def test_the_first_or_the_largest_page(tmp_path: Path, colour: Colour) -> None:
    pages_file(tmp_path / "in" / "album.tif")
    for asked, shape, note in (
        ("first", (40, 60, 3), "first of its 4 pages"),
        ("largest", (90, 50, 3), "largest of its 4 pages, number 2,"),
    ):
        colour(tmp_path / "in", output=tmp_path / asked, pages=asked)
        assert read_photo(tmp_path / asked / "album.tif").pixels.shape == shape
        assert colour.of("photo.done")[0]["notes"] == [f"only the {note} was read"]
    assert colour(tmp_path / "in", output=tmp_path / "png", pages="all", format="PNG").failed == 1
    assert "ask for --format tiff" in colour.reasons()["album.tif"]


def test_pages_follow_a_first_one_with_an_exif_directory(tmp_path: Path) -> None:
    """The directory is appended separately, and the chain of pages must continue after it."""
    picture = np.random.default_rng(0).integers(0, 255, (20, 30, 3), dtype=np.uint8)
    more = [FurtherPage([picture[:15]], 15, 30, 8), FurtherPage([picture[:, :9]], 20, 9, 8)]
    target = tmp_path / "a.tif"
    write_photo(
        target, [picture], height=20, width=30, bits=8, format="TIFF", metadata=Metadata(exif=exif_block()),
        provenance=PROVENANCE, more=more, verify=True,
    )  # fmt: skip
    assert page_count(target) == 3
    assert b"1912:06:03" in (read_photo(target, page=0).metadata.exif or b"")
    np.testing.assert_array_equal(read_photo(target, page=2).pixels, picture[:, :9])
