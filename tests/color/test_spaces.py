"""If these fail, our colours differ from those of every other program."""

import warnings
from typing import Any

import numpy as np
import pytest
from skimage import color as skimage_color

from colorcli.color import spaces

CORNERS = np.array([[r, g, b] for r in (0, 1) for g in (0, 1) for b in (0, 1)], float)


def rgb_colours() -> Any:
    ramp = np.linspace(0, 1, 1001)
    grays = np.stack([ramp] * 3, axis=-1)
    reds, greens, blues = (grays * channel for channel in np.eye(3))
    return np.concatenate((CORNERS, grays, reds, greens, blues, np.random.default_rng(0).random((5000, 3))))


def test_lab_of_srgb_is_scikit_images() -> None:
    rgb = rgb_colours()
    np.testing.assert_allclose(spaces.srgb_to_lab(rgb), skimage_color.rgb2lab(rgb), rtol=1e-9, atol=1e-9)


def test_xyz_of_srgb_is_scikit_images() -> None:
    rgb = rgb_colours()
    np.testing.assert_allclose(spaces.srgb_to_xyz(rgb), skimage_color.rgb2xyz(rgb), rtol=1e-12, atol=1e-12)


def test_srgb_of_lab_is_scikit_images_once_clipped() -> None:
    lab = np.random.default_rng(1).uniform((0, -100, -100), (100, 100, 100), (20000, 3))
    # scikit-image clips Z at zero, which distorts a few colours; ours are not clipped.
    lab = lab[spaces.lab_to_xyz(lab)[:, 2] > 0]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        theirs = skimage_color.lab2rgb(lab)
    np.testing.assert_allclose(np.clip(spaces.lab_to_srgb(lab), 0, 1), theirs, atol=1e-7)


def test_out_of_gamut_colours_are_not_clipped() -> None:
    rgb = spaces.lab_to_srgb([[50, 120, 0], [97, 0, 90]])
    assert rgb.max() > 1.01
    assert rgb.min() < -0.01
    np.testing.assert_allclose(spaces.srgb_to_lab(rgb), [[50, 120, 0], [97, 0, 90]], atol=1e-4)


def test_there_and_back_is_the_same_colour() -> None:
    rgb = rgb_colours()
    np.testing.assert_allclose(spaces.lab_to_srgb(spaces.srgb_to_lab(rgb)), rgb, atol=5e-7)
    np.testing.assert_allclose(spaces.linear_to_srgb(spaces.srgb_to_linear(rgb)), rgb, atol=5e-8)


def test_float32_stays_float32_and_is_as_good_as_it_can_be() -> None:
    rgb = rgb_colours().astype(np.float32)
    lab = spaces.srgb_to_lab(rgb)
    assert lab.dtype == np.float32
    assert spaces.lab_to_srgb(lab).dtype == np.float32
    np.testing.assert_allclose(lab, skimage_color.rgb2lab(rgb.astype(np.float64)), atol=2e-4)


def test_any_leading_shape_is_kept() -> None:
    rgb = np.random.default_rng(2).random((2, 5, 7, 3))
    lab = spaces.srgb_to_lab(rgb)
    assert lab.shape == rgb.shape
    np.testing.assert_array_equal(lab[1, 3, 4], spaces.srgb_to_lab(rgb[1, 3, 4]))


def test_colours_of_another_shape_are_refused() -> None:
    with pytest.raises(ValueError, match="three components"):
        spaces.srgb_to_lab(np.zeros((4, 4)))
    with pytest.raises(ValueError, match="three components"):
        spaces.lab_to_srgb(np.float64(3))
    with pytest.raises(ValueError, match="three components"):
        spaces.srgb_to_lightness(np.zeros((4, 4, 2)))


def test_lightness_of_gray_and_of_rgb_is_the_l_of_lab() -> None:
    gray = np.linspace(0, 1, 3 * 101).reshape(101, 3)  # three columns: still a gray picture
    rgb = np.repeat(gray[..., None], 3, axis=-1)
    expected = skimage_color.rgb2lab(rgb)[..., 0]
    np.testing.assert_allclose(spaces.srgb_to_lightness(gray), expected, atol=1e-9)
    np.testing.assert_allclose(spaces.srgb_to_lightness(rgb), expected, atol=1e-9)
    colours = np.random.default_rng(3).random((8, 9, 3))
    np.testing.assert_allclose(spaces.srgb_to_lightness(colours), skimage_color.rgb2lab(colours)[..., 0], atol=1e-9)


@pytest.mark.parametrize("bits", [8, 16])
def test_lightness_table_holds_the_l_of_every_code_and_comes_back(bits: int) -> None:
    table = spaces.lightness_lut(bits)
    codes = np.arange(2**bits)
    assert table.shape == (2**bits,)
    assert table.dtype == np.float32
    assert (table[0], table[-1]) == (0, 100)
    assert (np.diff(table) > 0).all(), "two codes share an L*"
    expected = skimage_color.rgb2lab(np.repeat(codes[:, None] / codes[-1], 3, axis=1))[:, 0]
    np.testing.assert_allclose(table, expected, atol=5e-6)
    np.testing.assert_array_equal(np.rint(spaces.lightness_to_gray(table) * codes[-1]), codes)


def test_a_caller_cannot_spoil_the_shared_table() -> None:
    with pytest.raises(ValueError, match="read-only"):
        spaces.lightness_lut(8)[0] = 1


def test_other_depths_have_no_table() -> None:
    with pytest.raises(ValueError, match="8 or 16 bits"):
        spaces.lightness_lut(12)


def test_gray_never_falls_as_lightness_grows() -> None:
    joints = [np.linspace(lightness - 0.01, lightness + 0.01, 100_001) for lightness in (2.828, 7.9996, 8.0)]
    lightness = np.sort(np.concatenate((np.linspace(-1, 101, 1_000_001), *joints)))
    gray = spaces.lightness_to_gray(lightness)
    assert (np.diff(gray) >= 0).all()
    assert (gray[0], gray[-1]) == (0, 1)


def test_gray_and_lightness_undo_each_other() -> None:
    gray = np.linspace(0, 1, 200_001)
    np.testing.assert_allclose(spaces.lightness_to_gray(spaces.gray_to_lightness(gray)), gray, atol=5e-8)


def test_luma_has_one_meaning() -> None:
    """Otherwise networks would be trained on one gray and measured on another."""
    torch = pytest.importorskip("torch")
    from colorcli.color import spaces, tensors
    from colorcli.evaluate.prepare import to_gray
    from colorcli.train import data, losses

    assert vars(data)["LUMA601"] is vars(losses)["LUMA601"] is spaces.LUMA601
    assert spaces.LUMA601.sum() == pytest.approx(1)
    rgb = np.array([[[200, 30, 90]]], np.uint8)
    luma = float(tensors.srgb_to_yuv(torch.from_numpy(rgb.transpose(2, 0, 1)[None] / 255))[0, 0])
    assert luma * 255 == pytest.approx(float(rgb[0, 0] @ spaces.LUMA601))
    assert to_gray(rgb, "luma601")[0, 0] == round(luma * 255)
