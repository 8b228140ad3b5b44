"""If these fail, an evaluation's tables do not follow the formulas that they name."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from skimage import data
from skimage.color import deltaE_ciede2000, rgb2lab
from skimage.metrics import structural_similarity

from colorcli.color.scoring import lab_rgb8, mean_delta_e_2000, ssim_rgb8

Rgb8 = NDArray[np.uint8]

# Sharma, Wu and Dalal (2005), table 1: L*, a*, b* of two colours and their difference. Chosen by its authors so that
# each line catches a usual mistake (hue means across 0 degrees, neutral colours, the rotation term).
SHARMA = """
50.0000 2.6772 -79.7751 50.0000 0.0000 -82.7485 2.0425
50.0000 3.1571 -77.2803 50.0000 0.0000 -82.7485 2.8615
50.0000 2.8361 -74.0200 50.0000 0.0000 -82.7485 3.4412
50.0000 -1.3802 -84.2814 50.0000 0.0000 -82.7485 1.0000
50.0000 0.0000 0.0000 50.0000 -1.0000 2.0000 2.3669
50.0000 -1.0000 2.0000 50.0000 0.0000 0.0000 2.3669
50.0000 2.4900 -0.0010 50.0000 -2.4900 0.0009 7.1792
50.0000 2.4900 -0.0010 50.0000 -2.4900 0.0011 7.2195
50.0000 -0.0010 2.4900 50.0000 0.0009 -2.4900 4.8045
50.0000 -0.0010 2.4900 50.0000 0.0011 -2.4900 4.7461
50.0000 2.5000 0.0000 50.0000 0.0000 -2.5000 4.3065
50.0000 2.5000 0.0000 73.0000 25.0000 -18.0000 27.1492
50.0000 2.5000 0.0000 61.0000 -5.0000 29.0000 22.8977
50.0000 2.5000 0.0000 56.0000 -27.0000 -3.0000 31.9030
50.0000 2.5000 0.0000 58.0000 24.0000 15.0000 19.4535
60.2574 -34.0099 36.2677 60.4626 -34.1751 39.4387 1.2644
63.0109 -31.0961 -5.8663 62.8187 -29.7946 -4.0864 1.2630
22.7233 20.0904 -46.6940 23.0331 14.9730 -42.5619 2.0373
36.4612 47.8580 18.3852 36.2715 50.5065 21.2231 1.4146
90.8027 -2.0831 1.4410 91.1528 -1.6435 0.0447 1.4441
6.7747 -0.2908 -2.4247 5.8714 -0.0985 -2.2286 0.6377
2.0776 0.0795 -1.1350 0.9033 -0.0636 -0.5514 0.9082
"""


def altered(photo: Rgb8) -> dict[str, Rgb8]:
    """What a colorizer may make of a photograph: its gray, other hues, noise, an unrelated image."""
    gray = np.rint(photo @ [0.299, 0.587, 0.114]).astype(np.uint8)
    noise = np.random.default_rng(0).integers(-20, 21, photo.shape)
    return {
        "gray": np.repeat(gray[..., None], 3, axis=2),
        "other hues": np.roll(photo, 1, axis=2),
        "noise": np.clip(photo + noise, 0, 255).astype(np.uint8),
        "unrelated": np.random.default_rng(1).integers(0, 256, photo.shape, dtype=np.uint8),
        "almost equal": np.where(np.arange(photo.shape[1])[:, None] % 7 == 0, photo ^ 1, photo),
    }


@pytest.mark.parametrize("kind", ["gray", "other hues", "noise", "unrelated", "almost equal"])
@pytest.mark.parametrize("load", [data.astronaut, data.coffee, data.chelsea])
def test_photographs_score_as_with_scikit_image(load: object, kind: str) -> None:
    """Without this, our numbers could not be compared with those of others."""
    photo = np.ascontiguousarray(load()[50:190, 80:250])
    other = altered(photo)[kind]
    ours = mean_delta_e_2000(lab_rgb8(other), lab_rgb8(photo))
    assert ours == pytest.approx(deltaE_ciede2000(rgb2lab(photo), rgb2lab(other)).mean(), rel=1e-9)
    theirs = structural_similarity(
        photo, other, channel_axis=2, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=255
    )
    assert ssim_rgb8(other, photo) == pytest.approx(theirs, rel=1e-9)


def test_lab_of_every_shade_is_scikit_images() -> None:
    codes = np.arange(256, dtype=np.uint8)
    picture = np.stack(np.meshgrid(codes, codes[::5]), -1)
    picture = np.concatenate([picture, picture[..., :1] // 2 + 60], 2)
    np.testing.assert_allclose(np.moveaxis(lab_rgb8(picture), 0, 2), rgb2lab(picture), atol=1e-10)


def each_delta_e(first: NDArray[np.float64], second: NDArray[np.float64]) -> list[float]:
    return [mean_delta_e_2000(a.reshape(3, 1, 1), b.reshape(3, 1, 1)) for a, b in zip(first, second, strict=True)]


@settings(max_examples=50)
@given(st.integers(0, 2**32 - 1))
def test_delta_e_is_that_of_the_formula_for_any_two_colours(seed: int) -> None:
    """This includes neutral colours, opposite hues and the blues to which the rotation term applies."""
    rng = np.random.default_rng(seed)
    first, second = rng.uniform((0, -90, -110), (100, 100, 95), (2, 40, 3))
    second[::4] = first[::4] * (1, -1, -1) + rng.uniform(-1, 1, (10, 3))
    first[1::8, 1:] = 0
    second[3::8, 1:] = 0
    blue = np.radians(rng.uniform(230, 330, 10))
    first[2::4, 1:] = 60 * np.stack([np.cos(blue), np.sin(blue)], 1)
    second[2::4, 1:] = 40 * np.stack([np.cos(blue + 0.3), np.sin(blue + 0.3)], 1)
    np.testing.assert_allclose(np.array(each_delta_e(first, second)), deltaE_ciede2000(first, second), atol=1e-8)


def test_delta_e_gives_the_published_values() -> None:
    table = np.array([line.split() for line in SHARMA.strip().splitlines()], float)
    np.testing.assert_allclose(each_delta_e(table[:, :3], table[:, 3:6]), table[:, 6], atol=5e-5)


def test_equal_pictures_have_no_difference() -> None:
    photo = data.astronaut()[:40, :60]
    assert ssim_rgb8(photo, photo) == pytest.approx(1, abs=1e-12)
    assert mean_delta_e_2000(lab_rgb8(photo), lab_rgb8(photo)) == 0


def test_what_cannot_be_compared_is_refused() -> None:
    with pytest.raises(ValueError, match="different sizes"):
        ssim_rgb8(np.zeros((20, 20, 3), np.uint8), np.zeros((20, 21, 3), np.uint8))
    with pytest.raises(ValueError, match="at least 11"):
        ssim_rgb8(np.zeros((10, 20, 3), np.uint8), np.zeros((10, 20, 3), np.uint8))
    with pytest.raises(ValueError, match="8-bit RGB"):
        lab_rgb8(np.zeros((4, 4, 3)))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="different sizes"):
        mean_delta_e_2000(np.zeros((3, 2, 2)), np.zeros((3, 2, 3)))
