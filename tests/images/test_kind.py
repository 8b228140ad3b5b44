"""Gray, toned or in colour: colour photographs must be left alone, toned prints must not be."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw
from skimage import data
from skimage.color import lab2rgb, rgb2lab

from colorcli.images.kind import judge, own_color
from colorcli.images.read import read_photo

SCENES = ["camera", "coins", "grass", "moon", "brick"]


def photograph(name: str) -> np.ndarray:
    return getattr(data, name)().astype(np.float64) / 255


def toned(gray: np.ndarray, tone: str) -> np.ndarray:
    middle = np.sin(np.pi * gray)
    a, b = {
        "sepia": (6 + 0 * gray, 18 * middle + 4),
        "cyanotype": (-8 * middle, -30 * middle),
        "split": (10 * (gray - 0.5), 30 * (gray - 0.5)),
    }[tone]
    return np.clip(lab2rgb(np.stack([gray * 100, a, b], axis=-1)), 0, 1)


def as_jpeg(rgb: np.ndarray, quality: int = 75) -> np.ndarray:
    noise = np.random.default_rng(0).normal(0, 0.02, rgb.shape[:2])[..., None]
    buffer = io.BytesIO()
    Image.fromarray((np.clip(rgb + noise, 0, 1) * 255).astype(np.uint8)).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer))


@pytest.mark.parametrize("name", SCENES)
@pytest.mark.parametrize("tone", ["sepia", "cyanotype", "split"])
def test_toned_prints_are_recognized_through_noise_and_jpeg(name: str, tone: Any) -> None:
    """Without this, sepia prints are skipped as if they were in colour."""
    assert judge(as_jpeg(toned(photograph(name), tone))).kind == "toned"


def test_unevenly_faded_prints_are_toned() -> None:
    gray = photograph("camera")
    fade = np.linspace(0, 0.35, gray.shape[1])[None, :, None]
    assert judge(as_jpeg(toned(gray, "sepia") * (1 - fade) + fade * np.array([0.9, 0.85, 0.7]))).kind == "toned"


@pytest.mark.parametrize("name", ["astronaut", "coffee", "cat", "rocket"])
@pytest.mark.parametrize("bits", [8, 16])
def test_colour_photographs_are_recognized(name: str, bits: int) -> None:
    """Without this, somebody's colour photographs are recoloured."""
    picture = getattr(data, name)()
    assert judge(picture if bits == 8 else picture.astype(np.uint16) * 257).kind == "color"


def test_a_coloured_object_makes_a_colour_photograph_and_a_spot_is_noted() -> None:
    """A stamp and a red flower look alike: what is too large for a stamp is an object, and a stamp is noted."""
    picture = np.repeat(data.camera()[..., None], 3, axis=-1)
    picture[200:240, 200:240] = (200, 30, 30)
    assert (
        judge(picture).note == "judged by its inner part: colour in 0.6 % of it, as from a stamp or stain; "
        "other colours than the print's are kept"
    )
    picture[150:350, 150:350] = (200, 30, 30)  # 15 % of the picture
    assert judge(picture).kind == "color"


@pytest.mark.parametrize("name", SCENES)
def test_gray_with_jpeg_noise_is_gray(name: str) -> None:
    rgb = np.repeat(photograph(name)[..., None], 3, axis=-1)
    picture = as_jpeg(rgb, 60).astype(int)
    picture += np.random.default_rng(1).integers(-3, 4, picture.shape)
    assert judge(np.clip(picture, 0, 255).astype(np.uint8)).kind == "gray"
    assert judge((photograph(name) * 65535).astype(np.uint16)).kind == "gray"


@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 3000, 3), (2000, 2, 3), (129, 131, 3)])
def test_odd_shapes_are_judged_too(shape: Any) -> None:
    assert judge(np.full(shape, 100, np.uint8)).kind == "gray"
    assert judge(np.full(shape, (120, 100, 70), np.uint8)).kind == "toned"


def test_gray_stored_as_rgb_takes_a_third_of_the_memory(tmp_path: Path) -> None:
    picture = np.repeat(data.camera()[..., None], 3, axis=-1)
    Image.fromarray(picture).save(tmp_path / "a.png")
    photo = read_photo(tmp_path / "a.png")
    assert (photo.kind, photo.pixels.shape) == ("gray", (512, 512))


def prints() -> dict[str, np.ndarray]:
    """Monochrome prints with what a scanner sees around and on them."""
    gray = np.asarray(Image.fromarray(data.astronaut()).convert("L"))
    tones = gray / 255.0
    plain = np.repeat(gray[..., None], 3, 2)
    sepia = np.rint(255 * np.stack([tones**0.85, tones, tones**1.3], 2)).astype(np.uint8)
    y, x = np.mgrid[0:512, 0:512] / 512.0

    def on_page(picture: np.ndarray, colour: tuple[int, int, int], margin: int) -> np.ndarray:
        page = np.empty((512 + 2 * margin, 512 + 2 * margin, 3), np.uint8)
        page[:] = colour
        page[margin:-margin, margin:-margin] = picture
        return page

    target = np.repeat([(56, 61, 150), (70, 148, 73), (175, 54, 60), (231, 199, 31)], 128, axis=0)
    stain = np.where(((x - 0.3) ** 2 + (y - 0.7) ** 2 < 0.012)[..., None], plain * (1, 0.75, 0.45), plain)
    middle = np.where(((x - 0.5) ** 2 + (y - 0.5) ** 2 < 0.012)[..., None], plain * (1, 0.75, 0.45), plain)
    inked = Image.fromarray(sepia)
    ImageDraw.Draw(inked).ellipse((200, 260, 340, 350), outline=(60, 40, 150), width=6)
    corner = np.clip(1 - np.hypot(x, y) / 0.6, 0, 1)[..., None] * 0.7
    stamp = Image.fromarray(plain)
    ImageDraw.Draw(stamp).ellipse((350, 380, 480, 470), outline=(60, 40, 150), width=6)
    written = Image.fromarray(plain)
    for line in range(4):
        points = [(50 + 10 * i, 390 + 25 * line + 6 * np.sin(1.7 * i + line)) for i in range(30)]
        ImageDraw.Draw(written).line(points, fill=(40, 50, 150), width=3)
    red, green, blue = np.moveaxis(sepia, 2, 0)
    return {
        "thin page": on_page(plain, (188, 160, 120), 5),
        "wide page": on_page(plain, (188, 160, 120), 80),
        "sepia on blue": on_page(sepia, (60, 70, 110), 40),
        "target": np.concatenate([plain, np.repeat(target[None].astype(np.uint8), 40, 0)]),
        "stain": stain.astype(np.uint8),
        "stain in the middle": middle.astype(np.uint8),
        "faded corner": np.rint(plain * (1 - corner) + corner * (235, 205, 160)).astype(np.uint8),
        "stamp": np.asarray(stamp),
        "handwriting": np.asarray(written),
        "stamp in the middle of sepia": np.asarray(inked),
        "out of register": np.stack([np.roll(red, 1, 1), green, np.roll(blue, -1, 1)], 2),
    }


@pytest.mark.parametrize("name", prints())
def test_the_photograph_decides_not_its_surroundings(name: str) -> None:
    """Fourteen of seventeen prints were skipped as colour photographs, with exit 0: a run that did nothing."""
    stored = io.BytesIO()
    Image.fromarray(prints()[name]).save(stored, "JPEG", quality=92)
    found = judge(np.asarray(Image.open(stored)))
    assert found.kind == "toned"
    expected = {"out of register": "out of register", "faded corner": "yellowed unevenly"}
    assert expected.get(name, "judged by its inner part") in found.note


@pytest.mark.parametrize("name", ["astronaut", "coffee", "chelsea", "rocket"])
def test_photographs_in_colour_stay_so(name: str) -> None:
    """If one were mistaken for a print, its true colours would be replaced."""
    assert judge(getattr(data, name)()).kind == "color"


def test_a_sky_over_gray_mountains_is_no_margin() -> None:
    gray = np.asarray(Image.fromarray(data.astronaut()).convert("L"))
    picture = np.repeat(gray[..., None], 3, 2)
    picture[:180] = np.linspace(0.7, 1, 180)[:, None, None] * (90, 140, 230)
    assert judge(picture).kind == "color"


def test_what_has_another_colour_keeps_it() -> None:
    """A red stamp, a brown page and a hand-painted coat would be recoloured without a word."""
    gray = np.repeat(np.asarray(Image.fromarray(data.astronaut()).convert("L"))[..., None], 3, 2)
    page = np.empty((592, 592, 3), np.uint8)
    page[:] = (188, 160, 120)
    page[40:-40, 40:-40] = gray
    coat = gray.copy()
    coat[200:270, 200:270] = np.clip(coat[200:270, 200:270] * (1.0, 0.35, 0.3) + (60, 0, 0), 0, 255)
    for picture, inside, outside in ((page, (20, 300), (300, 300)), (coat, (235, 235), (400, 100))):
        found = judge(picture)
        assert found.kind == "toned" and "are kept" in found.note and found.other is not None
        own, weights = own_color(picture, found.other)
        assert own.shape[1:] == weights.shape == picture.shape[:2]
        assert weights[inside] > 0.99 and weights[outside] == 0
        np.testing.assert_allclose(own[:, inside[0], inside[1]], rgb2lab(picture[inside])[1:], atol=0.5)
