"""The lightness that networks see is the photograph's, without aliasing or drift."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from skimage.color import rgb2lab

from colorcli.color.spaces import lightness_to_gray
from colorcli.images.resize import working_lightness
from tests.images.conftest import color_scene, gray_scene


def lightness(gray: np.ndarray) -> np.ndarray:
    return rgb2lab(np.repeat(gray[..., None], 3, axis=-1))[..., 0]


@pytest.mark.parametrize("bits", [8, 16])
def test_same_size_gives_cie_lightness(bits: int) -> None:
    """Using 100 times gray instead of L* would be off by up to 3.4 L*."""
    picture = gray_scene(bits=bits)
    result = working_lightness(picture, 48, 64)
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, lightness(picture / ((1 << bits) - 1)), atol=0.05)


@pytest.mark.parametrize("shape", [(48, 64), (1000, 700), (997, 1501), (3000, 200), (1, 1), (5, 900)])
@pytest.mark.parametrize("bits", [8, 16])
def test_reducing_agrees_with_pillow_on_the_whole_image(shape: tuple[int, int], bits: int) -> None:
    """Partial blocks at the edges must not shift the image."""
    picture = gray_scene(*shape, bits=bits)
    reference = Image.fromarray((picture / ((1 << bits) - 1)).astype(np.float32))
    expected = np.asarray(reference.resize((96, 64), Image.Resampling.LANCZOS, reducing_gap=2.0))
    result = working_lightness(picture, 64, 96)
    assert result.shape == (64, 96)
    assert np.abs(result - lightness(np.clip(expected, 0, 1))).mean() < 0.25


def test_fine_stripes_become_even_gray() -> None:
    stripes = np.zeros((1024, 1024), np.uint8)
    stripes[:, ::2] = 255
    result = working_lightness(stripes, 100, 100)
    inner = result[:, 3:-3]  # at the sides, the window holds one stripe more of one colour
    np.testing.assert_allclose(inner, lightness(np.array([[0.5]]))[0, 0], atol=1.5)


@pytest.mark.parametrize("bits", [8, 16])
def test_colour_counts_by_its_lightness(bits: int) -> None:
    picture = color_scene(bits=bits)
    np.testing.assert_allclose(
        working_lightness(picture, 48, 64), rgb2lab(picture / ((1 << bits) - 1))[..., 0], atol=0.1
    )


def test_values_stay_within_lightness_range() -> None:
    edges = np.zeros((40, 40), np.uint8)
    edges[:, 20:] = 255
    result = working_lightness(edges, 25, 25)
    assert result.min() >= 0
    assert result.max() <= 100


def _scene(kind: str) -> NDArray[np.uint8]:
    """Fine texture, on which interpolations differ most: in colour or gray, larger or smaller than the target size."""
    shape = {"colour": (90, 61, 3), "gray": (41, 77), "tall": (150, 52)}[kind]
    return np.random.default_rng(3).integers(0, 256, shape, dtype=np.uint8)


def _by_pillow(rgb: NDArray[np.uint8], filter_: Image.Resampling) -> Image.Image:
    """At 48 x 48 pixels, width first, as every Pillow before version 13 does in one call."""
    image = Image.fromarray(rgb)
    return image.resize((48, image.height), filter_).resize((48, 48), filter_)


def _in_rgb(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return picture if picture.ndim == 3 else np.repeat(picture[..., None], 3, 2)


@pytest.mark.parametrize("kind", ["colour", "gray", "tall"])
def test_released_resizes_are_those_of_the_released_programs(kind: str) -> None:
    """Their networks were trained on these inputs: another interpolation changes them by up to twelve L*."""
    picture = _scene(kind)
    rgb = _in_rgb(picture)

    resized = np.asarray(_by_pillow(rgb, Image.Resampling.BICUBIC))
    found = working_lightness(picture, 48, 48, "bicubic-8")
    np.testing.assert_allclose(found, rgb2lab(resized)[..., 0], atol=1e-3)

    gray = np.asarray(_by_pillow(rgb, Image.Resampling.BILINEAR).convert("LA"))[..., 0] / 255
    found = lightness_to_gray(working_lightness(picture, 48, 48, "bilinear-8-luma"))
    np.testing.assert_allclose(found, gray, atol=1e-5)

    floats = torch.from_numpy(rgb).permute(2, 0, 1)[None].float() / 255
    small = F.interpolate(floats, size=(48, 48), mode="bilinear", align_corners=False)
    found = working_lightness(picture, 48, 48, "bilinear")
    np.testing.assert_allclose(found, rgb2lab(small[0].permute(1, 2, 0).numpy())[..., 0], atol=1e-3)

    luma = 0.2989 * floats[:, :1] + 0.5870 * floats[:, 1:2] + 0.1140 * floats[:, 2:]
    small = F.interpolate(luma, size=(32, 64), mode="bilinear", align_corners=False)
    found = lightness_to_gray(working_lightness(picture, 32, 64, "bilinear-luma"))
    np.testing.assert_allclose(found, small[0, 0].numpy(), atol=1e-5)


def test_released_programs_read_sixteen_bits_as_eight() -> None:
    picture = _scene("gray")
    for resize in ("bicubic-8", "bilinear-8-luma"):
        wide = working_lightness(picture.astype(np.uint16) * 257, 48, 48, resize)
        np.testing.assert_array_equal(wide, working_lightness(picture, 48, 48, resize))
