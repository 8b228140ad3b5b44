"""What an archive hands over: checksums for other programs, bags and sidecars, even after a kill."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from colorcli.cli import main
from colorcli.colorize import delivery
from colorcli.colorize.merge import merge
from colorcli.colorize.places import Folder
from colorcli.colorize.run import Request, run
from colorcli.files import file_sha256
from colorcli.pipeline import opening
from colorcli.registry import registry

from ..fakes import CARD, FakeSession
from .conftest import Colour, contents, write_gray
from .test_archive import packet
from .test_resume import complete, start

HOSTILE = ("new\nline.png", "back\\slash.png", "\x1b[31mred.png", "100% sure.png", " space.png", "é☃.png", "*star.png")


@pytest.fixture(autouse=True)
def model(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(registry, "find", lambda name: CARD)
    monkeypatch.setattr(opening, "open_model", lambda *args, **kwargs: FakeSession())
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    """Photographs whose names are special to shells, terminals and formats."""
    for name in HOSTILE:
        write_gray(tmp_path / "in" / "sub" / name)
    write_gray(tmp_path / "in" / ("x" * 251 + ".png"))
    return tmp_path / "in"


def check_sums(root: Path) -> subprocess.CompletedProcess[bytes]:
    program = shutil.which("sha256sum")
    if program is None:
        pytest.skip("sha256sum is not installed")
    return subprocess.run([program, "-c", "--strict", delivery.MANIFEST], cwd=root, capture_output=True)


def check_bag(bag: Path) -> None:
    """Validate with the Library of Congress's own library."""
    bagit = pytest.importorskip("bagit")
    bagit.Bag(str(bag)).validate()


def test_sha256sum_accepts_the_manifest_and_finds_a_change(hostile: Path) -> None:
    """The recipient of a folder can check it without colorcli."""
    assert main(["colorize", "in", "-o", "out", "--manifest", "--sidecar", "-q"]) == 0
    checked = check_sums(Path("out"))
    assert checked.returncode == 0, checked.stderr
    listed = (Path("out") / delivery.MANIFEST).read_bytes().splitlines()
    assert len(listed) == 2 * len(contents(hostile))
    assert main(["verify", "out", "-q"]) == 0
    victim = Path("out/sub") / HOSTILE[0]
    victim.write_bytes(victim.read_bytes()[:-1] + b"!")
    assert check_sums(Path("out")).returncode == 1


def test_names_that_are_not_utf_8_are_listed(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.png")
    write_gray(tmp_path / "in" / name)
    assert main(["colorize", "in", "-o", "out", "--manifest", "--sidecar", "-q"]) == 0
    assert check_sums(Path("out")).returncode == 0
    assert main(["verify", "out", "-q"]) == 0


def test_a_name_that_a_bag_cannot_hold_is_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_gray(tmp_path / "in" / os.fsdecode(b"caf\xe9.png"))
    assert main(["colorize", "in", "-o", "out", "--bag", "bag", "-q"]) == 8
    assert "is not UTF-8" in capsys.readouterr().err
    assert not (tmp_path / "bag/bagit.txt").exists()


@pytest.mark.parametrize("sidecar", [[], ["--sidecar"]])
def test_the_bag_is_valid(hostile: Path, sidecar: list[str]) -> None:
    """An archive's ingest would refuse an invalid bag."""
    assert main(["colorize", "in", "-o", "out", "--bag", "bag", "-q", *sidecar]) == 0
    check_bag(Path("bag"))
    assert main(["verify", "bag", "-q"]) == 0
    packed = {name: content for name, content in contents(Path("bag/data")).items() if not name.endswith(".json")}
    made = {name: content for name, content in contents(Path("out")).items() if not name.endswith(".json")}
    assert packed == made
    victim = Path("bag/data/sub") / HOSTILE[1]
    victim.write_bytes(victim.read_bytes()[:-1] + b"!")
    (Path("bag/data") / "extra").write_bytes(b"")
    assert main(["verify", "bag", "-q"]) == 9


@pytest.mark.parametrize("name", ["100%0A.png", "100%25.png", "next\x85line.png", "line\u2028separator.png"])
def test_names_that_the_librarys_reader_splits_are_valid_by_the_standard(tmp_path: Path, name: str) -> None:
    """``bagit`` 1.9 does not decode %25 and ends lines at U+0085; by RFC 8493, and for ``verify``, the bag is valid."""
    write_gray(tmp_path / "in" / name)
    assert main(["colorize", "in", "-o", "out", "--bag", "bag", "-q"]) == 0
    assert main(["verify", "bag", "-q"]) == 0
    (tmp_path / "bag/data" / name).unlink()
    assert main(["verify", "bag", "-q"]) == 9


def test_a_bag_grows_with_its_folder_and_holds_nothing_else(hostile: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["colorize", "in", "-o", "out", "--bag", "bag", "-q", "--limit", "2"]) == 0
    check_bag(Path("bag"))
    assert main(["colorize", "in", "-o", "out", "--bag", "bag", "-q"]) == 0
    check_bag(Path("bag"))
    assert len(contents(Path("bag/data"))) == len(contents(hostile))
    (Path("bag/data") / "mine.txt").write_text("a person's")
    assert main(["colorize", "in", "-o", "out", "--bag", "bag", "-q"]) == 8
    assert "mine.txt" in capsys.readouterr().err
    assert (Path("bag/data") / "mine.txt").read_text() == "a person's"


@pytest.mark.parametrize(
    ("bag", "code", "said"), [("out/bag", 2, "inside"), ("out", 2, "inside"), ("full", 8, "holds other files")]
)
def test_what_cannot_be_a_bag_is_refused_before_the_first_photograph(
    hostile: Path, capsys: pytest.CaptureFixture[str], bag: str, code: int, said: str
) -> None:
    Path("full").mkdir()
    Path("full/mine.txt").write_text("a person's")
    assert main(["colorize", "in", "-o", "out", "--bag", bag, "-q"]) == code
    assert said in capsys.readouterr().err
    assert not Path("out").exists()


def test_no_manifest_lands_among_originals(hostile: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The output of a single photograph is written beside it."""
    assert main(["colorize", "in/sub/é☃.png", "--manifest", "-q"]) == 2
    assert "-o OUT" in capsys.readouterr().err
    assert not list(hostile.rglob(delivery.MANIFEST))


def test_an_output_that_was_changed_is_not_packed(hostile: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A bag that certifies a damaged file is worse than no bag."""
    assert main(["colorize", "in", "-o", "out", "-q"]) == 0
    victim = Path("out/sub") / HOSTILE[0]
    content = victim.read_bytes()
    victim.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert main(["colorize", "in", "-o", "out", "--bag", "bag", "-q"]) == 9
    said = capsys.readouterr().err
    assert "new\\nline.png has changed since it was made" in said
    assert not Path("bag/bagit.txt").exists()


def test_a_sidecar_says_what_was_made_from_what(tmp_path: Path) -> None:
    """It does so in the terms that preservation systems use."""
    write_gray(tmp_path / "in" / "a.png")
    assert main(["colorize", "in", "-o", "out", "--sidecar", "--sigma", "2", "-q"]) == 0
    said = json.loads(Path("out/a.png.json").read_text())
    original, output = said["objects"]
    assert original["fixity"]["messageDigest"] == file_sha256(tmp_path / "in/a.png")
    assert output["fixity"]["messageDigest"] == file_sha256(tmp_path / "out/a.png")
    assert output["relationship"]["relatedObjectIdentifier"] == original["objectIdentifier"] == "a.png"
    kinds = [event["eventType"] for event in said["events"]]
    assert kinds == ["message digest calculation", "creation", "message digest calculation"]
    creation = said["events"][1]["eventOutcomeDetail"]
    assert creation["parameters"]["sigma"] == 2
    assert creation["digitalSourceType"].endswith("compositeWithTrainedAlgorithmicMedia")
    assert [agent["agentIdentifier"] for agent in said["agents"]] == ["colorcli", "fake@test"]
    assert said["agents"][0]["agentVersion"]


def test_xmp_beside_outputs_is_handed_over_with_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The captions of a whole archive lie in it, and nothing would tell that they were lost or changed on the way."""
    for name in ("a.png", "b.png"):
        write_gray(tmp_path / "in" / name)
    (tmp_path / "in" / "a.xmp").write_bytes(packet('dc:source="Box 12"'))
    assert main(["colorize", "in", "-o", "out", "--manifest", "--sidecar", "--bag", "bag", "-q"]) == 0
    assert b"Box 12" in Path("out/a.png.xmp").read_bytes()
    assert check_sums(Path("out")).returncode == 0
    assert b"  a.png.xmp\n" in (Path("out") / delivery.MANIFEST).read_bytes()
    check_bag(Path("bag"))
    assert Path("bag/data/a.png.xmp").read_bytes() == Path("out/a.png.xmp").read_bytes()
    said = json.loads(Path("out/a.png.json").read_text())["objects"]
    assert [one["objectIdentifier"] for one in said] == ["a.png", "a.png", "a.png.xmp"]
    merge([Path("out")], Path("all"))
    assert contents(Path("all"))["a.png.xmp"] == Path("out/a.png.xmp").read_bytes()
    assert main(["verify", "all", "-q"]) == 0
    Path("out/a.png.xmp").unlink()
    merged = merge([Path("out")], Path("again"))
    assert len(merged.notices) == 1 and "a.png.xmp is left out" in merged.notices[0]
    capsys.readouterr()
    assert main(["verify", "out", "-q", "--json"]) == 9
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()][:-1]
    assert [(item["side"], item["fault"], item["path"]) for item in found] == [("sidecar", "missing", "a.png.xmp")]
    for _ in range(2):
        assert main(["colorize", "in", "-o", "out", "--manifest", "--sidecar", "-q"]) == 0
        assert main(["verify", "out", "-q"]) == 0, "it is made again, and then everything is there"


def test_verify_finds_an_altered_manifest_and_sidecar(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("a.png", "b.png"):
        write_gray(tmp_path / "in" / name)
    assert main(["colorize", "in", "-o", "out", "--sidecar", "--manifest", "-q"]) == 0
    sidecar, manifest = Path("out/a.png.json"), Path("out") / delivery.MANIFEST
    sidecar.write_text(sidecar.read_text().replace('"size"', '"Size"'))
    Path("out/b.png.json").unlink()
    manifest.write_bytes(manifest.read_bytes().replace(b"a.png", b"c.png"))
    assert main(["verify", "out", "-q", "--json"]) == 9
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()][:-1]
    assert {(item["side"], item["fault"], item["path"]) for item in found} == {
        ("sidecar", "changed", "a.png.json"),
        ("sidecar", "missing", "b.png.json"),
        ("manifest", "changed", delivery.MANIFEST),
    }


def test_json_says_what_was_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_gray(tmp_path / "in" / "a.png")
    assert main(["colorize", "in", "-o", "out", "--sidecar", "--manifest", "--bag", "bag", "-q", "--json"]) == 0
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    written = {event["event"]: (event["path"], event["outputs"]) for event in events if "outputs" in event}
    assert written == {
        "sidecars.written": (str(tmp_path / "out"), 1),
        "manifest.written": (str(tmp_path / "out" / delivery.MANIFEST), 1),
        "bag.written": ("bag", 1),
    }


def test_from_python(tmp_path: Path) -> None:
    write_gray(tmp_path / "in" / "a.png")
    seen: list[Any] = []
    request = Request((tmp_path / "in",), output=tmp_path / "out", manifest=True, sidecars=True, bag=tmp_path / "bag")
    assert run(request, observe=seen.append).done == 1
    assert [event["event"] for event in seen[-3:]] == ["sidecars.written", "manifest.written", "bag.written"]
    check_bag(tmp_path / "bag")


def test_failed_photographs_are_in_no_manifest(tmp_path: Path) -> None:
    write_gray(tmp_path / "in" / "a.png")
    (tmp_path / "in" / "b.png").write_bytes(b"none")
    assert main(["colorize", "in", "-o", "out", "--manifest", "--bag", "bag", "-q"]) == 3
    assert [line.split()[1] for line in (Path("out") / delivery.MANIFEST).read_text().splitlines()] == ["a.png"]
    check_bag(Path("bag"))


@pytest.mark.slow
def test_a_killed_run_ends_with_the_whole_manifest_and_bag(tmp_path: Path) -> None:
    """It is killed between photographs and while the bag is packed, and then continued."""
    for name in ("a.png", "b.jpg", "c.tif", "d.webp"):
        write_gray(tmp_path / "in" / name)
    asked = ("--manifest", "--sidecar", "--bag", str(tmp_path / "bag"))
    for deadly in ("written:2", "packed:3"):
        process = start(tmp_path / "in", 0.0, deadly, *asked)
        process.communicate(timeout=300)
        assert process.returncode == -signal.SIGKILL
        assert not (tmp_path / "bag" / "bagit.txt").exists(), "an incomplete folder is not a bag"
    complete(tmp_path / "in", *asked)
    root = tmp_path / "in_colorized"
    assert check_sums(root).returncode == 0
    assert len((root / delivery.MANIFEST).read_text().splitlines()) == 8
    check_bag(tmp_path / "bag")
    assert not list((tmp_path / "bag").rglob("*.part"))
    assert main(["verify", str(root), "-q"]) == 0


def test_a_large_folder_takes_little_time(tmp_path: Path) -> None:
    """A manifest of ten thousand lines must not take long."""
    lines = [
        {"event": "photo.done", "output": f"{i:05}.png", "output_sha256": "ab" * 32, "time": "2026", "input": "x"}
        for i in range(10_000)
    ]
    state = tmp_path / "out" / ".colorcli"
    state.mkdir(parents=True)
    (state / "journal.jsonl").write_text("".join(json.dumps({"v": 1, **line}) + "\n" for line in lines))
    began = time.process_time()
    assert delivery.write_manifest(Folder(tmp_path / "out")).outputs == 10_000
    assert time.process_time() - began < 5


def test_the_visible_mark_is_drawn_on_request_and_journalled(old: Path, colour: Colour, tmp_path: Path) -> None:
    """The promise about lightness holds outside the sign, whose place is journalled."""
    rgba = np.dstack([np.full((48, 64, 3), 120, np.uint8), np.zeros((48, 64), np.uint8)])
    Image.fromarray(rgba).save(old / "clear.png")
    colour(old, output=tmp_path / "plain")
    plain = {str(r["output"]): r for r in colour.of("photo.done")}
    assert not any("mark" in record for record in plain.values())
    colour(old, output=tmp_path / "marked", mark="visible")
    marked = {str(r["output"]): r for r in colour.of("photo.done")}
    assert set(marked) == set(plain)
    for name, record in marked.items():
        assert record["max_delta_l"] == plain[name]["max_delta_l"]
        x, y, width, height = (record["mark"][key] for key in ("x", "y", "width", "height"))
        with Image.open(tmp_path / "plain" / name) as first, Image.open(tmp_path / "marked" / name) as second:
            before, after = np.asarray(first).astype(int), np.asarray(second).astype(int)
        inside = np.zeros(before.shape[:2], bool)
        inside[y : y + height, x : x + width] = True
        assert np.abs(after - before)[inside].max() > 100
        if name.endswith((".png", ".tif")):
            assert np.array_equal(after[~inside], before[~inside])
        if after.shape[2] == 4:
            assert (after[inside][:, 3] == 255).all(), "a transparent sign could not be seen"


def test_a_mark_is_another_output(old: Path, colour: Colour) -> None:
    """Without this, an archive that is only half marked would be noticed too late."""
    colour(old)
    report = colour(old, mark="visible")
    assert (report.done, report.conflicts) == (0, report.matched)
    assert colour(old, mark="visible", overwrite=True).done == report.matched
    assert colour(old, mark="visible").already == report.matched
