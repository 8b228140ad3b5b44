"""Hints: the given colours appear at their places, and nothing else changes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from colorcli.color.spaces import srgb_to_lab
from colorcli.errors import UsageError
from colorcli.images.tiles import Windows
from colorcli.pipeline import controls, hints
from colorcli.sessions.session import ModelInfo

RED = "#c83c28"
RED_AB = srgb_to_lab([[0xC8 / 255, 0x3C / 255, 0x28 / 255]])[0, 1:]


def _halves(height: int = 64, width: int = 64) -> np.ndarray:
    """Lightness ``(height, width)``: dark on the left, bright on the right."""
    lightness = np.full((height, width), 30, np.float32)
    lightness[:, width // 2 :] = 75
    return lightness


def test_a_hint_colours_its_own_side_of_an_edge_and_leaves_the_other_to_the_last_bit() -> None:
    """Otherwise a red dress would turn the wall behind it red."""
    chroma = np.random.default_rng(0).normal(0, 20, (2, 32, 32)).astype(np.float32)
    before = chroma.copy()
    after = hints.spread(chroma, _halves(), [[0.2, 0.5, RED, 0.02]])
    assert np.array_equal(chroma, before), "the network's output must not be changed in place"
    assert after[:, 16, 6] == pytest.approx(RED_AB, abs=1e-3)
    assert np.array_equal(after[:, :, 16:], before[:, :, 16:])
    left = [np.abs(one[:, 14:19, 3:9] - RED_AB[:, None, None]).mean() for one in (after, before)]
    assert left[0] < 0.3 * left[1]
    assert np.array_equal(after[:, 31, 15], before[:, 31, 15]), "this place is far from the dot"


def test_two_hints_meet_between_them_and_each_keeps_its_place() -> None:
    """Otherwise the last dot of the list would override the others."""
    chroma = np.zeros((2, 40, 40), np.float32)
    dots = [[0.3, 0.5, RED, 0.02], [0.7, 0.5, "#2850c8", 0.02]]
    after = hints.spread(chroma, np.full((40, 40), 50, np.float32), dots)
    assert np.allclose(after, hints.spread(chroma, np.full((40, 40), 50, np.float32), dots[::-1]), atol=1e-4)
    assert after[:, 20, 12] == pytest.approx(RED_AB, abs=3)
    assert after[1, 20, 28] < -40 < after[1, 20, 20] < RED_AB[1]


def test_the_map_of_a_window_has_the_dots_of_the_whole_photograph() -> None:
    """Otherwise every window of a panorama would have the dot at the same place."""
    layout = Windows((np.full((32, 64), 50, np.float32),) * 2, (0, 32), 96, 1)
    dots = [[0.75, 0.5, RED, 0.05]]
    first, second = (hints.as_map(dots, layout, window) for window in (0, 1))
    assert not first.any()
    rows, columns = np.nonzero(second[2])
    assert (rows.mean() + 0.5, columns.mean() + 0.5) == pytest.approx((16, 40), abs=0.5)
    assert second[:2, rows[0], columns[0]] == pytest.approx(RED_AB, abs=1e-3)
    assert not second[:2, second[2] == 0].any()


def test_a_picture_with_dots_says_the_same_as_a_file_of_numbers(tmp_path: Path) -> None:
    """People paint dots; programs write numbers."""
    picture = Image.new("RGBA", (200, 100))
    ImageDraw.Draw(picture).ellipse((36, 46, 43, 53), fill=RED)
    picture.save(tmp_path / "dots.png")
    (dot,) = hints.read(tmp_path / "dots.png")
    assert (
        dot[:2] == pytest.approx([0.2, 0.5], abs=0.005) and dot[2] == RED and dot[3] == pytest.approx(0.04, abs=0.005)
    )
    (tmp_path / "dots.json").write_text(json.dumps([{"x": 0.2, "y": 0.5, "color": RED.upper(), "radius": 0.04}]))
    assert hints.read(tmp_path / "dots.json") == [[0.2, 0.5, RED, 0.04]]
    assert hints.read([{"x": 0.2, "y": 0.5, "color": RED}]) == [[0.2, 0.5, RED, hints.RADIUS]]


def test_a_folder_of_hints_is_told_apart_by_the_photographs_paths(tmp_path: Path) -> None:
    """Otherwise a photograph would get another photograph's hints."""
    (tmp_path / "1912").mkdir()
    (tmp_path / "1912" / "a.jpg.json").write_text(json.dumps([{"x": 0, "y": 0, "color": RED}]))
    (tmp_path / "b.json").write_text(json.dumps([{"x": 1, "y": 1, "color": "#2850c8"}]))
    value = hints.read(str(tmp_path))
    assert hints.own(value, "1912/a.jpg") == [[0.0, 0.0, RED, hints.RADIUS]]
    assert hints.own(value, "b.tif") == [[1.0, 1.0, "#2850c8", hints.RADIUS]]
    assert hints.own(value, "a.jpg") is None
    assert json.loads(json.dumps(value)) == value and hints.valid(value)


def test_a_folder_of_hints_is_searched_like_one_of_photographs(tmp_path: Path) -> None:
    """Otherwise a memory card's resource forks would end the run, and a linked folder's hints would be passed over."""
    folder, elsewhere = tmp_path / "hints", tmp_path / "elsewhere"
    folder.mkdir()
    elsewhere.mkdir()
    (elsewhere / "a.json").write_text(json.dumps([{"x": 0, "y": 0, "color": RED}]))
    (folder / "1912").symlink_to(elsewhere, target_is_directory=True)
    (folder / "1912" / "._a.json").write_bytes(b"\x00\x05\x16\x07")
    assert hints.read(folder) == {"1912/a": [[0.0, 0.0, RED, hints.RADIUS]]}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("[]", "it has no dots"),
        ("{", "are not JSON"),
        ("7", r"a dot must be like .*\(dots must be a list, not 7\)"),
        ('{"a.png": {"x": 0.1}}', "dots must be a list, not {"),
        ("[[0.1, 0.2]]", r"\[0.1, 0.2\] is not an object"),
        ('[{"x": 0.1, "y": 0.2}]', "one has no color"),
        ('[{"x": 10, "y": 20, "color": "#ff0000"}]', "x, y and radius must be from 0 to 1, not 10"),
        ('[{"x": 0.1, "y": 0.2, "color": "red"}]', "a colour must be like #b03020, not red"),
        ('[{"x": 0.1, "y": 0.2, "colour": "#ff0000"}]', "there is no field colour"),
    ],
)
def test_what_is_no_hint_is_refused_in_a_sentence(tmp_path: Path, content: str, said: str) -> None:
    """If pixels were accepted in place of fractions, every dot would silently lie outside the photograph."""
    (tmp_path / "h.json").write_text(content)
    with pytest.raises(UsageError, match=said):
        hints.read(tmp_path / "h.json")


def test_what_is_no_picture_of_dots_is_refused(tmp_path: Path) -> None:
    """Otherwise a colour photograph given by mistake would become one huge dot."""
    Image.new("RGB", (40, 40), RED).save(tmp_path / "full.png")
    Image.new("L", (40, 40), 128).save(tmp_path / "gray.png")
    with pytest.raises(UsageError, match="most of it is coloured"):
        hints.read(tmp_path / "full.png")
    with pytest.raises(UsageError, match="holds no hints"):
        hints.read(tmp_path / "gray.png")
    with pytest.raises(UsageError, match="cannot be read: No such file"):
        hints.read(tmp_path / "none.json")


def test_every_model_takes_hints_and_says_so_in_its_records_only_when_given() -> None:
    """Otherwise labels and journals of earlier outputs would change."""
    info = ModelInfo("plain@x", "plain", "0" * 64)
    assert controls.choose(info, {}) == {}
    settings = controls.choose(info, {"hints": [{"x": 0.5, "y": 0.5, "color": RED}]})
    assert settings == {"hints": [[0.5, 0.5, RED, hints.RADIUS]]}
    assert [one.name for one in controls.steering((), settings)] == ["hints"]
    assert [one.name for one in controls.steering(("hints",), settings)] == ["hints"], (
        "it is listed once, even if the network reads it"
    )
    chroma, lightness = np.zeros((2, 16, 16), np.float32), np.full((16, 16), 50, np.float32)
    assert controls.follow((), settings, chroma, lightness).any()
    assert controls.follow(("hints",), settings, chroma, lightness) is chroma
    assert controls.own({"hints": {"a.jpg": settings["hints"]}}, "b.jpg") == {}
