"""One image from stdin to stdout."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from colorcli.cli import main
from colorcli.images.read import decode_photo
from tests.colorize.conftest import write_gray

pytestmark = pytest.mark.usefixtures("faked")


def pipe(monkeypatch: pytest.MonkeyPatch, content: bytes, *arguments: str) -> int:
    """Run ``colorize - -o -`` with ``content`` on stdin."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
    return main(["colorize", "-", "-o", "-", *arguments])


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif"])
def test_an_image_goes_through_a_pipe(
    faked: Path, monkeypatch: pytest.MonkeyPatch, capsysbinary: pytest.CaptureFixture[bytes], suffix: str
) -> None:
    """Only the image is written to stdout, in its own format and with the same colours as in a folder."""
    path = write_gray(faked / "in" / f"stdin{suffix}")
    assert main(["colorize", "in", "-q"]) == 0
    expected = (faked / "in_colorized" / path.name).read_bytes()
    assert pipe(monkeypatch, path.read_bytes()) == 0
    out, err = capsysbinary.readouterr()
    made, wanted = decode_photo(out, path), decode_photo(expected, path)
    assert made.format == wanted.format
    np.testing.assert_array_equal(made.pixels, wanted.pixels)
    assert err == b""
    assert sorted(entry.name for entry in faked.iterdir()) == ["in", "in_colorized"]


def test_a_file_goes_to_stdout(faked: Path, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    write_gray(faked / "a.png")
    assert main(["colorize", "a.png", "-o", "-", "--format", "jpeg"]) == 0
    assert Image.open(io.BytesIO(capsysbinary.readouterr().out)).format == "JPEG"


@pytest.mark.parametrize(
    ("content", "arguments", "code", "said"),
    [
        (b"", [], 2, "stdin is empty"),
        (b"no image", [], 3, "The image on stdin is not a JPEG"),
        (None, ["--json"], 2, "--json cannot be used with -o -"),
        (None, ["--samples", "2"], 2, "omit --samples"),
        (None, ["--class", "1,2"], 2, "one sample and one class"),
        (None, ["more"], 2, "takes one image"),
    ],
)
def test_what_cannot_go_through_a_pipe_leaves_stdout_empty(
    faked: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsysbinary: pytest.CaptureFixture[bytes],
    content: bytes | None,
    arguments: list[str],
    code: int,
    said: str,
) -> None:
    """The next program in the pipe must not mistake partial output for an image."""
    whole = write_gray(faked / "a.png").read_bytes()
    assert pipe(monkeypatch, whole if content is None else content, *arguments) == code
    out, err = capsysbinary.readouterr()
    assert out == b""
    assert said in err.decode()


def test_an_image_in_colour_is_refused_with_the_reason(
    monkeypatch: pytest.MonkeyPatch, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    """If skipping counted as success, exit code 0 and an empty stdout would be taken for an empty image."""
    buffer = io.BytesIO()
    colours = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    Image.fromarray(colours).save(buffer, "PNG")
    assert pipe(monkeypatch, buffer.getvalue()) == 3
    out, err = capsysbinary.readouterr()
    assert out == b""
    assert b"--recolor" in err
