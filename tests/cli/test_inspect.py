"""``inspect`` shows where files come from, ours and others', and text in files never controls the terminal."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from colorcli.cli import main
from colorcli.images.provenance import Provenance, provenance_packet
from colorcli.pipeline import opening
from colorcli.registry import registry

from ..colorize.conftest import write_gray
from ..fakes import CARD, FakeSession

ESCAPE = "\x1b]0;owned\x07\x1b[2J\u202e"
_SYNTHETIC = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"


def picture(path: Path, *, xmp: str = "", **texts: str) -> Path:
    info = PngImagePlugin.PngInfo()
    if xmp:
        info.add_itxt("XML:com.adobe.xmp", xmp)
    for key, text in texts.items():
        info.add_text(key, text)
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(path, pnginfo=info)
    return path


def packet(properties: str) -> str:
    return (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        '<rdf:Description rdf:about="" xmlns:xmp="http://ns.adobe.com/xap/1.0/" '
        'xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/" '
        f"{properties}/></rdf:RDF></x:xmpmeta>"
    )


@pytest.mark.parametrize("name", ["a.png", "b.jpg", "c.tif", "d.webp"])
def test_our_outputs_say_what_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    """Years later, the file and perhaps its folder are all that is left to judge it by."""
    monkeypatch.setattr(registry, "find", lambda name: CARD)
    monkeypatch.setattr(opening, "open_model", lambda *args, **kwargs: FakeSession())
    write_gray(tmp_path / "in" / name)
    assert main(["colorize", str(tmp_path / "in"), "-o", str(tmp_path / "out"), "-q", "--mark", "visible"]) == 0
    assert main(["inspect", str(tmp_path / "out" / name)]) == 0
    said = capsys.readouterr().out
    for part in ("partly made by a trained network (AI)", "fake@test", "the file is unchanged since", "visible mark"):
        assert part in said
    (tmp_path / "alone").mkdir()
    moved = (tmp_path / "out" / name).rename(tmp_path / "alone" / name)
    assert main(["inspect", "--json", str(moved)]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["coloured_by_colorcli"] is True
    assert record["journal"] is None
    assert record["statements"][0]["derived_from"] == name
    assert "compositeWithTrainedAlgorithmicMedia" in record["digital_source_types"]


def test_an_output_that_was_changed_is_called_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(registry, "find", lambda name: CARD)
    monkeypatch.setattr(opening, "open_model", lambda *args, **kwargs: FakeSession())
    write_gray(tmp_path / "in" / "a.jpg")
    main(["colorize", str(tmp_path / "in"), "-o", str(tmp_path / "out"), "-q"])
    with (tmp_path / "out" / "a.jpg").open("ab") as file:
        file.write(b"more")
    assert main(["inspect", str(tmp_path / "out" / "a.jpg")]) == 0
    assert "the file was changed since" in capsys.readouterr().out


def test_other_programs_marks_are_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    attributes = packet(f'Iptc4xmpExt:DigitalSourceType="{_SYNTHETIC}" xmp:CreatorTool="PaintBox 3"')
    path = picture(tmp_path / "a.png", xmp=attributes, parameters="a cat, Steps: 20")
    assert main(["inspect", str(path)]) == 0
    said = capsys.readouterr().out
    assert "made by a trained network (AI) (IPTC trainedAlgorithmicMedia)" in said
    assert "PaintBox 3" in said
    assert "image generators" in said
    assert "coloured by colorcli" not in said


def test_a_file_that_says_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(picture(tmp_path / "a.png"))]) == 0
    assert "claims nothing" in capsys.readouterr().out


def test_what_is_no_image_fails_and_the_others_are_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "b.png").write_bytes(b"none")
    good = picture(tmp_path / "a.png")
    assert main(["inspect", str(tmp_path / "b.png"), str(good), str(tmp_path / "nowhere")]) == 3
    out, err = capsys.readouterr()
    assert str(good) in out
    assert "is not an image in a known format" in err
    assert main(["inspect", str(tmp_path / "b.png")]) == 4


@pytest.mark.parametrize("where", ["name", "xmp", "text", "history"])
def test_hostile_text_never_reaches_the_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], where: str
) -> None:
    """Otherwise a file could set the window's title, clear the screen, or imitate the program's own messages."""
    quoted = "&#x202e;\nError: all is lost"
    if where == "name":
        path = picture(tmp_path / f"{ESCAPE}.png", parameters="x")
    elif where == "xmp":
        path = picture(tmp_path / "a.png", xmp=packet(f'xmp:CreatorTool="{quoted}"'))
    elif where == "text":
        path = picture(tmp_path / "a.png", parameters=ESCAPE, Comment=ESCAPE)
    else:
        label = provenance_packet(Provenance(ESCAPE, "1", "ab", ESCAPE, {"x": ESCAPE}, ESCAPE, "cd"))
        path = picture(tmp_path / "a.png", xmp=label.decode())
    for options in ([], ["--json"]):
        assert main(["inspect", str(path), *options]) == 0
        out, err = capsys.readouterr()
        for raw in ("\x1b", "\x07", "\u202e", "\nError"):
            assert raw not in out + err


def test_hostile_names_in_errors_and_verification(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """This holds for every command that quotes a name, a list of picks or a manifest."""
    monkeypatch.setattr(registry, "find", lambda name: CARD)
    monkeypatch.setattr(opening, "open_model", lambda *args, **kwargs: FakeSession())
    hostile = tmp_path / f"{ESCAPE}"
    write_gray(hostile / f"{ESCAPE}.png")
    (hostile / f"b{ESCAPE}.png").write_bytes(b"none")
    out = tmp_path / f"out{ESCAPE}"
    picks = tmp_path / f"{ESCAPE}.json"
    picks.write_text(json.dumps({"version": 1, "picks": [{"input": ESCAPE}]}))
    bag = tmp_path / "bag"
    asked = ["--manifest", "--sidecar", "--bag", str(bag), "--report"]
    for arguments in (
        ["colorize", str(hostile), "-o", str(out), "-v", *asked],
        ["colorize", str(hostile), "-o", str(out), "--dry-run"],
        ["colorize", str(hostile), "-o", str(tmp_path / "x"), "--picks", str(picks)],
        ["colorize", str(hostile / "nowhere")],
        ["status", str(out)],
        ["verify", str(out)],
        ["verify", str(bag)],
        ["status", str(hostile)],
    ):
        main(arguments)
    (bag / "manifest-sha256.txt").write_text(f"{'0' * 64}  data/{ESCAPE}.png\n{'0' * 64}  data/../../{ESCAPE}\n")
    main(["verify", str(bag)])
    said = "".join(capsys.readouterr())
    for raw in ("\x1b", "\x07", "\u202e"):
        assert raw not in said
    page = (out / "report.html").read_text()
    assert "\x1b" not in page and "\u202e" not in page


def test_hostile_markup_never_reaches_the_page_raw(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Browsers open a report with the rights of a local file."""
    monkeypatch.setattr(registry, "find", lambda name: CARD)
    monkeypatch.setattr(opening, "open_model", lambda *args, **kwargs: FakeSession())
    folder = tmp_path / "in<script>alert(1)<"
    for name in ("<img src=x onerror=alert(1)>.png", "'\"><script>alert(2)<.png", "<!--<script>.png"):
        write_gray(folder / name)
    (folder / "b<svg onload=alert(3)>.png").write_bytes(b"none")
    main(["colorize", str(folder), "-o", str(tmp_path / "out"), "--report", "-q"])
    page = (tmp_path / "out" / "report.html").read_text()
    for raw in ("<img src=x", "<script>alert", "<svg onload", "<!--<script"):
        assert raw not in page
