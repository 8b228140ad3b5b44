"""If these fail, tables of results can't be compared with anybody else's."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from skimage import color as skimage_color
from skimage.metrics import peak_signal_noise_ratio

from colorcli.color.metrics import colorfulness, delta_e_2000, psnr_rgb8

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


def test_delta_e_2000_gives_the_published_values():
    table = np.array([line.split() for line in SHARMA.strip().splitlines()], float)
    np.testing.assert_allclose(delta_e_2000(table[:, :3], table[:, 3:6]), table[:, 6], atol=5e-5)


def test_delta_e_2000_is_scikit_images():
    first, second = np.random.default_rng(0).uniform((0, -120, -120), (100, 120, 120), (2, 50, 60, 3))
    np.testing.assert_allclose(delta_e_2000(first, second), skimage_color.deltaE_ciede2000(first, second), atol=1e-9)


def test_delta_e_2000_has_no_direction_and_no_difference_from_itself():
    first, second = np.random.default_rng(1).uniform((0, -90, -90), (100, 90, 90), (2, 500, 3))
    np.testing.assert_allclose(delta_e_2000(first, second), delta_e_2000(second, first), atol=1e-9)
    assert delta_e_2000(first, first).max() == 0
    assert delta_e_2000([50, 0, 0], [60, 0, 0]) == pytest.approx(delta_e_2000([[[50, 0, 0]]], [60, 0, 0])[0, 0])


def test_delta_e_2000_refuses_other_shapes():
    with pytest.raises(ValueError, match="three components"):
        delta_e_2000(np.zeros((4, 2)), np.zeros((4, 2)))


def test_gray_pictures_have_no_colourfulness():
    gray = np.random.default_rng(0).integers(0, 256, (20, 30, 1), dtype=np.uint8)
    assert colorfulness(np.repeat(gray, 3, axis=2)) == 0


def test_colourfulness_by_hand():
    # One red and one blue pixel: rg = 255, 0; yb = 127.5, -255.
    picture = np.array([[[255, 0, 0], [0, 0, 255]]], np.uint8)
    spread = math.hypot(127.5, 191.25)
    assert colorfulness(picture) == pytest.approx(spread + 0.3 * math.hypot(127.5, -63.75))
    assert colorfulness(picture, absolute=True) == pytest.approx(
        math.hypot(127.5, 63.75) + 0.3 * math.hypot(127.5, 191.25)
    )


def test_signed_colourfulness_tells_two_hues_from_one():
    red_and_cyan = np.zeros((2, 2, 3), np.uint8)
    red_and_cyan[0] = (200, 100, 100)
    red_and_cyan[1] = (100, 200, 200)
    only_red = np.full((2, 2, 3), (200, 100, 100), np.uint8)
    assert colorfulness(red_and_cyan) > 2 * colorfulness(only_red)
    assert colorfulness(red_and_cyan, absolute=True) == pytest.approx(colorfulness(only_red, absolute=True))


@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.integers(1, 40))
def test_psnr_is_scikit_images(seed, height, width):
    rng = np.random.default_rng(seed)
    first, second = rng.integers(0, 256, (2, height, width, 3), dtype=np.uint8)
    if (first != second).any():
        assert psnr_rgb8(first, second) == pytest.approx(peak_signal_noise_ratio(second, first))


def test_psnr_does_not_wrap_around_and_is_infinite_for_equal_pictures():
    black, white = np.zeros((4, 4, 3), np.uint8), np.full((4, 4, 3), 255, np.uint8)
    assert psnr_rgb8(black, white) == psnr_rgb8(white, black) == 0
    assert psnr_rgb8(white, white) == math.inf


@pytest.mark.parametrize("wrong", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3)), np.zeros((0, 4, 3), np.uint8)])
def test_pictures_of_another_kind_are_refused(wrong):
    with pytest.raises(ValueError, match="8-bit RGB"):
        colorfulness(wrong)
    with pytest.raises(ValueError, match="8-bit RGB"):
        psnr_rgb8(wrong, wrong)


def test_pictures_of_different_sizes_are_not_compared():
    with pytest.raises(ValueError, match="different sizes"):
        psnr_rgb8(np.zeros((1, 4, 3), np.uint8), np.zeros((4, 4, 3), np.uint8))
