"""``colorcli.load`` and the model that it returns: the interface for other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

import colorcli
from colorcli.api import Model
from colorcli.color.spaces import srgb_to_lab
from colorcli.errors import ModelError, PhotoError, UsageError
from colorcli.images.read import read_photo
from colorcli.networks.size import SizeRule
from colorcli.pipeline.controls import random_code
from colorcli.sessions.session import Controls, ModelInfo

from .fakes import FakeSession


class Stub(FakeSession):
    """A session of a small working size whose chroma is constant."""

    def __init__(self, controls: tuple[str, ...] = ("z", "class_index")) -> None:
        super().__init__(info=ModelInfo("stub@x", "stub", "0" * 64, controls, SizeRule(size=32, multiple_of=16)))

    def paint(self, lightness: NDArray[np.float32], controls: Controls) -> NDArray[np.float32]:
        count, _, height, width = lightness.shape
        return np.full((count, 2, height // 2, width // 2), (12,), np.float32)


@pytest.fixture
def gray() -> NDArray[np.uint8]:
    ramp = np.linspace(60, 200, 40 * 60).reshape(40, 60)
    return ramp.astype(np.uint8)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_colour_is_added_and_lightness_kept(gray: NDArray[np.uint8], dtype: type) -> None:
    """The program's main promise holds in Python too."""
    pixels: NDArray[Any] = gray.astype(dtype) * (257 if dtype is np.uint16 else 1)
    rgb = Model(Stub()).colorize(pixels)
    assert (rgb.shape, rgb.dtype) == ((40, 60, 3), pixels.dtype)
    top = np.iinfo(dtype).max
    lab, before = srgb_to_lab(rgb / top), srgb_to_lab(np.stack([pixels / top] * 3, -1))
    np.testing.assert_allclose(lab[..., 0], before[..., 0], atol=0.5 if dtype is np.uint8 else 0.01)
    np.testing.assert_allclose(lab[..., 1:].mean((0, 1)), 12, atol=0.5)


def test_paths_photographs_and_pixels_give_the_same(gray: NDArray[np.uint8], tmp_path: Path) -> None:
    """The type of the argument must not change the colours."""
    path = tmp_path / "a.png"
    Image.fromarray(gray).save(path)
    session = Stub()
    model = Model(session)
    results = [model.colorize(photo) for photo in (path, str(path), read_photo(path), gray)]
    assert all(np.array_equal(result, results[0]) for result in results)
    assert [call["lightness"].shape for call in session.asked] == [(1, 1, 32, 48)] * 4
    code = random_code(0, "a.png", 0, 0.8)[None]
    assert all(np.array_equal(call["z"], code) for call in session.asked[:3])


def test_controls_reach_the_network(gray: NDArray[np.uint8]) -> None:
    """If a seed or class did not reach the network, it would have no effect."""
    session = Stub()
    Model(session).colorize(gray, sigma=3, seed=5, sample=2, class_name="tabby", size=64)
    (call,) = session.asked
    np.testing.assert_array_equal(call["z"], random_code(5, "", 2, 3)[None])
    assert call["class_index"].tolist() == [281]
    assert call["lightness"].shape == (1, 1, 64, 96)


def test_long_photographs_are_coloured_in_windows() -> None:
    """If a panorama were squeezed into one square, the network would not recognise its content."""
    session = Stub()
    strip = np.full((40, 600), 120, np.uint8)
    rgb = Model(session).colorize(strip, seed=1)
    assert rgb.shape == (40, 600, 3)
    (call,) = session.asked
    assert len(call["lightness"]) == len(call["z"]) > 3
    assert np.ptp(call["z"], axis=0).max() == 0


def test_strength_scales_the_chroma(gray: NDArray[np.uint8]) -> None:
    rgb = Model(Stub()).colorize(gray, strength=0)
    assert np.array_equal(rgb, np.stack([gray] * 3, -1))


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        ({"sigma": 1.0}, "stub@x takes no random code, so --sigma has no effect on it; omit it"),
        ({"sample": 1}, "every sample the same colours"),
        ({"class_name": "tabby"}, "takes no class"),
        ({"strength": 2.5}, "strength must be from 0 to 2"),
    ],
)
def test_what_a_model_cannot_do_is_said(gray: NDArray[np.uint8], arguments: dict[str, Any], fault: str) -> None:
    """A control that is silently ignored looks like a control without effect."""
    with pytest.raises(UsageError, match=fault):
        Model(Stub(controls=())).colorize(gray, **arguments)


def test_wrong_arrays_are_refused() -> None:
    """Otherwise floats in 0..1 and BGRA would silently be coloured wrongly."""
    model = Model(Stub())
    for pixels in (np.zeros((4, 4)), np.zeros((4, 4, 4), np.uint8), np.zeros((0, 4), np.uint8)):
        with pytest.raises(UsageError, match="uint8 or uint16"):
            model.colorize(pixels)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"\(N, 1, H, W\)"):
        model.chroma(np.zeros((32, 32), np.float32))


def test_the_network_alone() -> None:
    """Programs that do the rest themselves can call it; it gets contiguous float32 whatever is passed."""
    session = Stub()
    lightness = np.zeros((2, 1, 32, 64))[:, :, :, ::2]
    chroma = Model(session).chroma(lightness.astype(np.float64), class_index=np.array([1, -1]))
    assert chroma.shape == (2, 2, 16, 16)
    assert session.asked[0]["lightness"].dtype == np.float32
    assert session.asked[0]["lightness"].flags.c_contiguous
    assert session.asked[0]["z"].shape == (2, 68) and not session.asked[0]["z"].any()


def test_faults_are_the_packages_own_errors(tmp_path: Path) -> None:
    """Callers can catch them and branch on them, as scripts do on exit codes."""
    with pytest.raises(ModelError):
        colorcli.load("no-such-model")
    (tmp_path / "x.jpg").write_bytes(b"not a photograph")
    with pytest.raises(PhotoError, match=r"x\.jpg"):
        Model(Stub()).colorize(tmp_path / "x.jpg")
    with pytest.raises(AttributeError, match="no attribute 'colourize'"):
        colorcli.colourize  # noqa: B018


def test_hints_and_references_steer_every_model(gray: NDArray[np.uint8], tmp_path: Path) -> None:
    """Users who know that a dress was red can say so, whatever the model."""
    model = Model(Stub(controls=()))
    red = {"x": 0.5, "y": 0.5, "color": "#c82814", "radius": 0.1}
    plain, hinted = model.colorize(gray), model.colorize(gray, hints=[red])
    a = srgb_to_lab(hinted / 255)[20, 30, 1]
    assert a > 40 > srgb_to_lab(plain / 255)[20, 30, 1]
    assert np.array_equal(plain[:, :3], hinted[:, :3])
    (tmp_path / "hints.json").write_text('[{"x": 0.5, "y": 0.5, "color": "#c82814", "radius": 0.1}]')
    assert np.array_equal(model.colorize(gray, hints=tmp_path / "hints.json"), hinted)
    with pytest.raises(UsageError, match="holds no hints"):
        model.colorize(gray, hints=[{"x": 0.5}])
