"""If these fail, networks are trained or exported with other colours than photographs are written in."""

from typing import Any

import numpy as np
import pytest
from skimage import color as skimage_color

from colorcli.color import spaces

torch = pytest.importorskip("torch")
tensors = pytest.importorskip("colorcli.color.tensors")


def planes(array: Any) -> Any:
    """``(n, m, 3)`` as a tensor ``(1, 3, n, m)``."""
    return torch.from_numpy(np.moveaxis(array, -1, 0)[None].copy())


def channels_last(tensor: Any) -> Any:
    return np.moveaxis(tensor[0].numpy(), 0, -1)


def rgb_picture() -> Any:
    ramp = np.linspace(0, 1, 500)
    cube = np.array([[r, g, b] for r in (0, 1) for g in (0, 1) for b in (0, 1)], float)
    colours = np.concatenate((cube, np.repeat(ramp[:, None], 3, axis=1), np.random.default_rng(0).random((4492, 3))))
    return colours.reshape(50, 100, 3)


def lab_picture() -> Any:
    return np.random.default_rng(1).uniform((0, -110, -110), (100, 110, 110), (50, 100, 3))


def test_lab_of_srgb_agrees_with_numpy_and_scikit_image() -> None:
    rgb = rgb_picture()
    lab = channels_last(tensors.srgb_to_lab(planes(rgb)))
    np.testing.assert_allclose(lab, spaces.srgb_to_lab(rgb), atol=1e-9)
    np.testing.assert_allclose(lab, skimage_color.rgb2lab(rgb), atol=1e-9)


def test_srgb_of_lab_agrees_with_numpy_also_out_of_gamut() -> None:
    lab = lab_picture()
    rgb = channels_last(tensors.lab_to_srgb(planes(lab)))
    # They differ by up to 3e-8 where sRGB's two segments meet with a step, since its constants are rounded.
    np.testing.assert_allclose(rgb, spaces.lab_to_srgb(lab), atol=1e-7)
    assert rgb.min() < 0
    assert rgb.max() > 1


def test_srgb_of_lab_agrees_with_scikit_image_in_gamut() -> None:
    rgb = rgb_picture()
    lab = skimage_color.rgb2lab(rgb)
    ours = channels_last(tensors.lab_to_srgb(planes(lab)))
    np.testing.assert_allclose(ours, skimage_color.lab2rgb(lab), atol=1e-6)


def test_float32_is_good_enough_for_16_bits() -> None:
    rgb = rgb_picture()
    there = tensors.srgb_to_lab(planes(rgb.astype(np.float32)))
    assert there.dtype == torch.float32
    np.testing.assert_allclose(channels_last(there), spaces.srgb_to_lab(rgb), atol=3e-4)
    np.testing.assert_allclose(channels_last(tensors.lab_to_srgb(there)), rgb, atol=1e-5)


def test_gray_and_lightness_agree_with_numpy() -> None:
    gray = np.linspace(0, 1, 2001)
    lightness = tensors.gray_to_lightness(torch.from_numpy(gray))
    np.testing.assert_allclose(lightness.numpy(), spaces.gray_to_lightness(gray), atol=1e-9)
    np.testing.assert_allclose(
        tensors.lightness_to_gray(lightness).numpy(), spaces.lightness_to_gray(lightness.numpy()), atol=1e-6
    )


def test_gradients_are_finite_for_every_colour() -> None:
    # A single infinite gradient, at black or at the joint of two formulas, ends a training run.
    lab = torch.cat((planes(lab_picture()), tensors.srgb_to_lab(planes(rgb_picture()))), 2).requires_grad_()
    tensors.lab_to_srgb(lab).sum().backward()
    assert torch.isfinite(lab.grad).all()
    rgb = planes(rgb_picture()).requires_grad_()
    tensors.srgb_to_lab(rgb).sum().backward()
    assert torch.isfinite(rgb.grad).all()
