"""Colouring one photograph, as the API, the engine and evaluations do it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from colorcli.api import Model
from colorcli.color.spaces import lab_to_srgb, srgb_to_lab, srgb_to_lightness
from colorcli.colorize.options import choose_parameters
from colorcli.errors import ColorcliError, PhotoError, UsageError
from colorcli.images.kind import MAYBE
from colorcli.images.read import read_photo
from colorcli.networks.size import IN_RGB
from colorcli.pipeline.coloring import Join, color, infer_whole, prepare
from colorcli.sessions.session import OutOfMemoryError
from tests.colorize.conftest import Colour, colour, compiled, write_gray

from ..fakes import INFO, FakeSession
from ..images.test_content import typed

__all__ = ["colour", "compiled"]

Fault = Callable[[NDArray[np.float32], NDArray[np.float32]], Any]


def nan(lightness: Any, chroma: Any) -> Any:
    chroma[0, 0, 0, 0] = np.nan
    return chroma


def broken(lightness: Any, chroma: Any) -> Any:
    raise ValueError("the network broke")


def full(lightness: Any, chroma: Any) -> Any:
    raise OutOfMemoryError("8 GB are not enough")


@pytest.mark.parametrize("asked", [{}, {"sigma": 3.0, "seed": 5}, {"class_name": "tabby"}, {"vividness": 0.8}])
def test_api_and_command_give_the_same_pixels(tmp_path: Path, colour: Colour, asked: dict[str, Any]) -> None:
    """Otherwise a photograph would have different colours in a notebook and in the archive."""
    for name in ("a.png", "sub/b.png", "sub/long.png"):
        write_gray(tmp_path / "in" / name, width=400 if "long" in name else 48)
    colour(tmp_path / "in", **asked)
    model = Model(FakeSession())
    for name in ("a.png", "sub/b.png", "sub/long.png"):
        made = read_photo(tmp_path / "in_colorized" / name).pixels
        assert np.array_equal(model.colorize(tmp_path / "in" / name, relative=name, **asked), made), name
    if "seed" in asked:
        other = model.colorize(tmp_path / "in" / "sub" / "b.png", **asked)
        assert not np.array_equal(other, read_photo(tmp_path / "in_colorized" / "sub" / "b.png").pixels)


@pytest.mark.parametrize(
    "fault",
    [
        nan,
        broken,
        full,
        lambda lightness, chroma: chroma * np.inf,
        lambda lightness, chroma: chroma * 0,
        lambda lightness, chroma: chroma[:, :1],
        lambda lightness, chroma: chroma[0],
        lambda lightness, chroma: chroma[..., :0],
    ],
)
def test_api_and_command_fail_alike(tmp_path: Path, colour: Colour, fault: Fault) -> None:
    """Otherwise a notebook would get a gray image, or a ValueError where the command shows a sentence."""
    path = write_gray(tmp_path / "in" / "a.png")
    colour(tmp_path / "in", session=FakeSession(fault))
    with pytest.raises(PhotoError) as raised:
        Model(FakeSession(fault)).colorize(path)
    assert str(raised.value) == colour.reasons()["a.png"]


@pytest.mark.parametrize(
    "asked", [{"size": 8}, {"size": -64}, {"strength": -1}, {"strength": float("nan")}, {"sigma": float("nan")}]
)
def test_what_makes_no_sense_is_refused_in_our_words(asked: dict[str, Any]) -> None:
    """Otherwise users would see a ValueError from NumPy, raised three layers below."""
    with pytest.raises(UsageError):
        Model(FakeSession()).colorize(np.full((32, 48), 99, np.uint8), **asked)


def test_lightness_and_colour_are_measured(tmp_path: Path) -> None:
    """Users of the API must be able to check the result, as users of the command can in the journal."""
    pixels = read_photo(write_gray(tmp_path / "a.png")).pixels
    made = color(FakeSession(), pixels, choose_parameters(INFO).settings, relative="a.png")
    assert 0 < made.fidelity.mean_delta_l < made.fidelity.max_delta_l < 0.5
    assert made.fidelity.mean_chroma > 5 and 0 <= made.fidelity.fitted_share <= 1


def test_a_batch_that_does_not_fit_goes_one_by_one() -> None:
    """Otherwise sixteen photographs would fail together though each one fits into memory."""

    def small_memory(lightness: Any, chroma: Any) -> None:
        if len(lightness) > 1:
            raise OutOfMemoryError("too many")

    session = FakeSession(small_memory)
    layouts = [prepare(np.full((64, 64), value, np.uint8), INFO.size_rule) for value in (60, 90, 120)]
    answers = infer_whole(session, layouts, [[{}]] * 3)
    assert not any(isinstance(answer, ColorcliError) for answer in answers)
    assert [shape[0] for shape in session.batches] == [3, 1, 1, 1]


def test_a_picture_that_is_only_measured_may_be_gray() -> None:
    """Otherwise an evaluation would omit the photographs on which a network fails, which would flatter it."""
    gray = np.tile(np.arange(40, 200, dtype=np.uint8), (32, 1))
    nothing = np.zeros((2, 8, 8), np.float32)
    assert np.array_equal(Join(gray, nothing, measured=True).picture(), np.repeat(gray[..., None], 3, 2))
    with pytest.raises(PhotoError, match="no colour"):
        Join(gray, nothing)


def in_rgb(lightness: Any, chroma: Any) -> Any:
    """RGB output whose lightness is its own, darker than the photograph's."""
    lab = np.concatenate((np.full_like(chroma[:, :1], 40), chroma / 2), 1)
    return lab_to_srgb(lab.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2).clip(0, 1).astype(np.float32)


def mean_chroma(picture: Any) -> float:
    a, b = srgb_to_lab(picture / 255)[..., 1:].reshape(-1, 2).T
    return float(np.hypot(a, b).mean())


@pytest.mark.parametrize("enlarge", IN_RGB)
def test_a_networks_picture_gives_its_colours_and_not_its_lightness(tmp_path: Path, enlarge: str) -> None:
    """Models of released programs that enlarge RGB take hints, vividness and long photographs like all others."""
    info = replace(INFO, size_rule=replace(INFO.size_rule, enlarge=enlarge))
    session = FakeSession(in_rgb, info)
    model = Model(session)
    pixels = read_photo(write_gray(tmp_path / "a.png", width=90)).pixels
    plain, asked = model.colorize(pixels), FakeSession(lambda lightness, chroma: chroma / 2)
    np.testing.assert_allclose(srgb_to_lightness(plain / 255), srgb_to_lightness(pixels / 255), atol=0.6)
    theirs = Model(asked).colorize(pixels)
    assert np.abs(plain.astype(int) - theirs).mean() < 3, "nearly the same, where colours change little"
    assert mean_chroma(model.colorize(pixels, vividness=0.9)) > 1.2 * mean_chroma(plain)
    hinted = model.colorize(pixels, hints=[{"x": 0.5, "y": 0.5, "color": "#3c50b4", "radius": 0.2}])
    middle = srgb_to_lab(hinted / 255)[pixels.shape[0] // 2, pixels.shape[1] // 2]
    assert middle[2] < -20 and srgb_to_lab(plain / 255)[..., 2].min() > 0
    assert model.colorize(np.tile(pixels, (1, 6))).shape == (*np.tile(pixels, (1, 6)).shape[:2], 3)
    lightness = np.full((2, 1, 64, 64), 50, np.float32)
    assert model.chroma(lightness).shape == (2, 2, 32, 32)
    np.testing.assert_allclose(model.chroma(lightness), Model(asked).chroma(lightness), atol=0.01)
    with pytest.raises(PhotoError, match=r"not \(1, 3, h, w\)"):
        Model(FakeSession(info=info)).colorize(pixels)


def test_a_stamp_keeps_its_colour_and_the_print_around_it_is_coloured() -> None:
    """Prints with a stamp or hand-coloured parts count as monochrome, and those parts used to be painted over."""
    picture = np.full((64, 64, 3), 128, np.uint8)
    picture[20:40, 20:40] = (200, 60, 60)
    other = np.zeros((64, 64), np.uint8)
    other[20:40, 20:40] = MAYBE
    green = np.stack([np.full((8, 8), -30), np.full((8, 8), 20)]).astype(np.float32)
    painted = np.repeat(np.array([0.1, 0.3, 0.05], np.float32), 64).reshape(3, 8, 8)
    for answer, enlarge, strength in ((green, "cubic", 1.0), (green, "cubic", 0.5), (painted, "bilinear-8-rgb", 1.0)):
        made = Join(picture, answer, other=other, strength=strength, enlarge=enlarge).picture().astype(int)
        assert np.abs(made[30, 30] - (200, 60, 60)).max() <= 8
        assert made[5, 5, 1] > made[5, 5, 0] + 10 * strength


def test_a_page_of_text_stays_neutral_unless_insisted() -> None:
    page = typed()
    green = np.stack([np.full((8, 8), -30), np.full((8, 8), 20)]).astype(np.float32)
    made = Join(page, green)
    assert "page of text" in made.neutral and np.array_equal(made.picture(), np.repeat(page[..., None], 3, 2))
    insisted = Join(page, green, insist=True)
    assert not insisted.neutral and np.ptp(insisted.picture(), axis=2).max() > 5


def test_a_page_with_little_between_its_blacks_and_whites_is_no_failure() -> None:
    """Typed pages used to fail as without any colour: white paper, which cannot hold any, is most of their area."""
    page = np.full((200, 200), 255, np.uint8)
    page[np.random.default_rng(0).random(page.shape) < 0.02] = 130
    faint = np.full((2, 8, 8), 3, np.float32)
    assert np.ptp(Join(page, faint).picture(), axis=2).max() > 2
    with pytest.raises(PhotoError, match="no colour"):
        Join(page, np.zeros((2, 8, 8), np.float32))
