"""The promises about every pixel written: the scan's lightness unchanged, colours in gamut, no visible seams."""

import os
import subprocess
import sys
import threading
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage import color as skimage_color

from colorcli.color import join as joining
from colorcli.color.join import Fidelity, join, join_strips
from colorcli.color.spaces import lightness_lut, srgb_to_lab

from .reference import fitted_lab, is_inside, photo_lightness, upsampled

BOUND = {8: 0.5, 16: 0.01}
DTYPE = {8: np.uint8, 16: np.uint16}
TOP = {8: 255, 16: 65535}


def joined(pixels: Any, chroma: Any, **options: Any) -> Any:
    report = Fidelity()
    picture = join(pixels, np.asarray(chroma, np.float32), fidelity=report, **options)
    return picture, report


def delta_l(picture: Any, pixels: Any) -> Any:
    """Largest |dL*| measured independently: with scikit-image, on the codes."""
    return np.abs(skimage_color.rgb2lab(picture / np.iinfo(picture.dtype).max)[..., 0] - photo_lightness(pixels)).max()


def hue_circle(count: int, radius: float) -> Any:
    angle = np.linspace(0, 2 * np.pi, count, endpoint=False)
    return radius * np.cos(angle), radius * np.sin(angle)


def every_gray_with_every_hue(bits: int, radius: float, hues: Any = 90) -> Any:
    """A photograph whose rows are gray codes and whose columns are hues, and chroma of the same size."""
    codes = np.unique(np.rint(np.linspace(0, TOP[bits], 256))).astype(DTYPE[bits])
    pixels = np.repeat(codes[:, None], hues, axis=1)
    a, b = hue_circle(hues, radius)
    return pixels, np.stack([np.broadcast_to(plane, pixels.shape) for plane in (a, b)])


# --- lightness ---


@pytest.mark.parametrize("bits", [8, 16])
def test_no_chroma_gives_back_every_gray_code_exactly(bits: int) -> None:
    codes = np.arange(TOP[bits] + 1, dtype=DTYPE[bits]).reshape(-1, 64)
    picture, report = joined(codes, np.zeros((2, 5, 7)), bits=bits)
    assert picture.dtype == DTYPE[bits]
    np.testing.assert_array_equal(picture, np.repeat(codes[..., None], 3, axis=2))
    assert report.max_delta_l < 1e-4
    assert (report.fitted_share, report.mean_chroma) == (0, 0)


def test_no_chroma_changes_depth_without_loss() -> None:
    codes = np.arange(256, dtype=np.uint8)[None]
    deep, _ = joined(codes, np.zeros((2, 1, 1)), bits=16)
    np.testing.assert_array_equal(deep, np.repeat(codes[..., None].astype(np.uint16) * 257, 3, axis=2))
    wide = np.arange(65536, dtype=np.uint16)[None]
    shallow, _ = joined(wide, np.zeros((2, 1, 1)), bits=8)
    assert np.abs(shallow[..., 0] - wide / 257).max() <= 0.5001


@pytest.mark.parametrize("bits", [8, 16])
def test_rgb_photo_without_chroma_is_the_gray_of_its_lightness(bits: int) -> None:
    pixels = np.random.default_rng(0).integers(0, TOP[bits] + 1, (64, 64, 3)).astype(DTYPE[bits])
    pixels[0] = 0
    pixels[1] = TOP[bits]
    pixels[2:4] = pixels[2:4, :, :1]
    picture, _ = joined(pixels, np.zeros((2, 3, 3)), bits=bits)
    assert (picture == picture[..., :1]).all()
    np.testing.assert_array_equal(picture[:4], pixels[:4])
    assert delta_l(picture, pixels) <= BOUND[bits]


@pytest.mark.parametrize("radius", [3, 40, 90, 150, 1000])
@pytest.mark.parametrize("out_bits", [8, 16])
@pytest.mark.parametrize("in_bits", [8, 16])
def test_lightness_is_kept_for_every_gray_and_hue(in_bits: int, out_bits: int, radius: float) -> None:
    pixels, chroma = every_gray_with_every_hue(in_bits, radius)
    picture, report = joined(pixels, chroma, bits=out_bits)
    measured = delta_l(picture, pixels)
    assert measured <= BOUND[out_bits]
    assert report.max_delta_l == pytest.approx(measured, rel=0.01, abs=1e-4)


@pytest.mark.parametrize("bits", [8, 16])
def test_lightness_is_kept_for_saturated_rgb_photos(bits: int) -> None:
    levels = np.linspace(0, TOP[bits], 9).astype(DTYPE[bits])
    cube = np.stack(np.meshgrid(levels, levels, levels, indexing="ij"), axis=-1).reshape(27, 27, 3)
    lab = srgb_to_lab(cube / TOP[bits])
    for sign in (1, -1):
        picture, report = joined(cube, sign * np.moveaxis(lab[..., 1:], -1, 0), bits=bits)
        assert delta_l(picture, cube) <= BOUND[bits]
        assert report.max_delta_l <= BOUND[bits]


@pytest.mark.parametrize("bits", [8, 16])
def test_a_coloured_photo_with_its_own_chroma_comes_back(bits: int) -> None:
    levels = np.linspace(0, TOP[bits], 9).astype(DTYPE[bits])
    cube = np.stack(np.meshgrid(levels, levels, levels, indexing="ij"), axis=-1).reshape(27, 27, 3)
    lab = srgb_to_lab(cube / TOP[bits])
    picture, _ = joined(cube, np.moveaxis(lab[..., 1:], -1, 0), bits=bits)
    # At 16 bits the white of the primaries differs from the tabulated D65 by up to three codes of blue.
    assert np.abs(picture.astype(int) - cube).max() <= {8: 1, 16: 40}[bits]
    assert np.abs(srgb_to_lab(picture / TOP[bits]) - lab).max() <= {8: 1.0, 16: 0.05}[bits]


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_lightness_is_kept_whatever_is_joined(data: Any) -> None:
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    in_bits, out_bits = data.draw(st.sampled_from([8, 16])), data.draw(st.sampled_from([8, 16]))
    height, width = data.draw(st.integers(1, 40)), data.draw(st.integers(1, 70))
    rows, columns = data.draw(st.integers(1, 50)), data.draw(st.integers(1, 50))
    channels = data.draw(st.sampled_from([(), (3,)]))
    low, high = sorted(rng.integers(0, TOP[in_bits] + 1, 2))
    pixels = rng.integers(low, high + 1, (height, width, *channels)).astype(DTYPE[in_bits])
    chroma = rng.normal(0, data.draw(st.sampled_from([0.0, 0.1, 10.0, 60.0, 1e4, 1e30])), (2, rows, columns))
    picture, report = joined(pixels, chroma, bits=out_bits, strength=data.draw(st.floats(0, 2)))
    assert picture.shape == (height, width, 3)
    measured = delta_l(picture, pixels)
    assert measured <= BOUND[out_bits]
    assert report.max_delta_l == pytest.approx(measured, rel=0.01, abs=1e-4)
    assert 0 <= report.fitted_share <= 1
    assert 0 <= report.mean_chroma < 140


# --- colour ---


def test_colours_are_those_asked_for() -> None:
    rng = np.random.default_rng(3)
    pixels = rng.integers(20000, 45000, (24, 31)).astype(np.uint16)
    chroma = rng.normal(0, 8, (2, 6, 5))
    picture, report = joined(pixels, chroma, bits=16)
    wanted = upsampled(chroma, 24, 31)
    assert is_inside(np.dstack((photo_lightness(pixels), wanted))).all()
    assert report.fitted_share == 0
    np.testing.assert_allclose(srgb_to_lab(picture / 65535)[..., 1:], wanted, atol=0.02)
    assert report.mean_chroma == pytest.approx(np.hypot(*np.moveaxis(wanted, -1, 0)).mean(), rel=1e-4)


@pytest.mark.slow
def test_what_is_out_of_gamut_keeps_hue_and_as_much_chroma_as_fits() -> None:
    pixels, chroma = every_gray_with_every_hue(16, 130, hues=72)
    pixels, chroma = pixels[8:-8:5], chroma[:, 8:-8:5]
    picture, report = joined(pixels, chroma, bits=16)
    wanted = np.dstack((photo_lightness(pixels), *chroma)).reshape(-1, 3)
    best = fitted_lab(wanted)
    got = srgb_to_lab(picture.reshape(-1, 3) / 65535)
    np.testing.assert_allclose(got, best, atol=0.15)
    along = np.hypot(*got[:, 1:].T)
    across = np.abs(got[:, 1] * wanted[:, 2] - got[:, 2] * wanted[:, 1]) / 130
    assert across.max() < 0.03, "hue has turned"
    assert report.fitted_share == pytest.approx((~is_inside(wanted)).mean(), abs=2e-3)
    assert report.mean_chroma == pytest.approx(along.mean(), abs=0.02)


def test_beside_yellow_the_boundary_nearest_to_the_wanted_colour_is_taken() -> None:
    # This line of constant hue is in gamut up to 32 units of chroma, outside it, and inside again from 90 to 96.
    lightness, hue = 96.6, np.radians(102.5)
    code = np.argmin(np.abs(lightness_lut(16) - lightness))
    wanted = np.array([lightness_lut(16)[code], 120 * np.cos(hue), 120 * np.sin(hue)])
    best = fitted_lab(wanted[None])[0]
    assert np.hypot(*best[1:]) > 90
    assert not is_inside(wanted * [1, 0.5, 0.5])
    picture, _ = joined(np.array([[code]], np.uint16), wanted[1:].reshape(2, 1, 1), bits=16)
    np.testing.assert_allclose(srgb_to_lab(picture[0, 0] / 65535), best, atol=0.1)


@pytest.mark.parametrize("bits", [8, 16])
def test_black_and_white_stay_black_and_white(bits: int) -> None:
    pixels = np.array([[0, TOP[bits]] * 8], DTYPE[bits])
    picture, report = joined(pixels, np.full((2, 1, 1), 60), bits=bits)
    np.testing.assert_array_equal(picture, np.repeat(pixels[..., None], 3, axis=2))
    assert report.fitted_share == 1
    assert report.mean_chroma == pytest.approx(0, abs=0.01)


def test_strength_multiplies_chroma() -> None:
    rng = np.random.default_rng(4)
    pixels = rng.integers(60, 200, (20, 20)).astype(np.uint8)
    chroma = rng.normal(0, 5, (2, 4, 4))
    np.testing.assert_array_equal(joined(pixels, chroma, strength=2)[0], joined(pixels, 2 * chroma)[0])
    none, report = joined(pixels, chroma, strength=0)
    np.testing.assert_array_equal(none, np.repeat(pixels[..., None], 3, axis=2))
    assert report.mean_chroma == 0


# --- upsampling ---


def upsampled_by_join(chroma: Any, height: int, width: int) -> Any:
    """The chroma that join writes, read back from a mid-gray image at 16 bits: ``(2, height, width)``."""
    pixels = np.full((height, width), 30000, np.uint16)
    picture, report = joined(pixels, chroma, bits=16)
    assert report.fitted_share == 0
    return np.moveaxis(srgb_to_lab(picture / 65535)[..., 1:], -1, 0)


def test_even_chroma_stays_even() -> None:
    up = upsampled_by_join(np.full((2, 4, 3), 12.5), 90, 100)
    np.testing.assert_allclose(up, 12.5, atol=0.02)


@pytest.mark.parametrize("factor", [1, 2, 3, 7, 32])
def test_a_slope_stays_straight(factor: int) -> None:
    row = np.linspace(-20, 20, 16)
    up = upsampled_by_join(np.broadcast_to(row, (2, 16, 16)), 16 * factor, 16 * factor)
    centres = (np.arange(16 * factor) + 0.5) / factor - 0.5
    inner = slice(2 * factor, -2 * factor)
    expected = np.interp(centres, np.arange(16), row)[inner]
    np.testing.assert_allclose(up[0][:, inner], np.broadcast_to(expected, (16 * factor, len(expected))), atol=0.03)
    np.testing.assert_allclose(up[1].T[inner].T, up[0][:, inner], atol=0.03)


@pytest.mark.parametrize("factor", [2, 3, 8, 40])
def test_no_overshoot_at_edges_and_no_blocks(factor: int) -> None:
    chroma = np.random.default_rng(5).choice([-20.0, 20.0], (2, 9, 8))
    up = upsampled_by_join(chroma, 9 * factor, 8 * factor)
    assert np.abs(up).max() <= 20.03
    # The step between neighbouring pixels is that of the steepest smooth curve, not the whole difference.
    for axis in (1, 2):
        assert np.abs(np.diff(up, axis=axis)).max() <= 1.6 * 40 / factor


def test_large_factors_are_smooth_in_slope_too() -> None:
    # Bilinear interpolation bends at every sample, which shows as diamonds; its slope jumps by 2.5 here.
    chroma = np.random.default_rng(6).choice([-20.0, 20.0], (2, 9, 8))
    slopes = np.diff(upsampled_by_join(chroma, 9 * 32, 8 * 32), axis=2)
    assert np.abs(np.diff(slopes, axis=2)).max() < 0.35


def test_colours_lie_where_they_belong() -> None:
    rng = np.random.default_rng(7)
    pixels = rng.integers(0, 65536, (50, 83)).astype(np.uint16)
    chroma = rng.normal(0, 30, (2, 7, 9))
    plain = joined(pixels, chroma, bits=16)[0].astype(int)
    upside_down = joined(pixels[::-1], chroma[:, ::-1], bits=16)[0][::-1]
    assert np.abs(upside_down.astype(int) - plain).max() <= 3
    mirrored = joined(pixels[:, ::-1], chroma[:, :, ::-1], bits=16)[0][:, ::-1]
    assert np.abs(mirrored.astype(int) - plain).max() <= 3
    # Rows and columns are clamped one after the other, so that transposing makes a small difference.
    turned = joined(pixels.T, chroma.transpose(0, 2, 1), bits=16)[0].transpose(1, 0, 2)
    assert np.abs(turned.astype(int) - plain).max() <= 200


def test_chroma_of_the_photos_own_size_is_taken_as_it_is() -> None:
    chroma = np.random.default_rng(8).uniform(-20, 20, (2, 33, 21))
    np.testing.assert_allclose(upsampled_by_join(chroma, 33, 21), chroma, atol=0.02)


@pytest.mark.parametrize("shape", [(4, 6), (5, 48), (30, 7), (1, 1)])
def test_chroma_larger_than_the_photo_is_averaged(shape: Any) -> None:
    # Every second sample alone would make this checkerboard a flat colour far from its mean.
    checkerboard = np.where(np.indices((40, 48)).sum(axis=0) % 2, 20.0, -20.0)
    slope = np.broadcast_to(np.linspace(-10, 10, 48), (40, 48))
    up = upsampled_by_join(np.stack((checkerboard, slope)), *shape)
    if shape[0] < 20 and shape[1] < 24:
        assert np.abs(up[0]).max() < 3.5
    assert up[0].mean() == pytest.approx(0, abs=0.1)
    assert up[1].mean() == pytest.approx(0, abs=0.02)
    assert (np.diff(up[1], axis=1) > -0.03).all()


# --- strips, arguments, threads, cache ---


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 37), st.integers(1, 23), st.integers(0, 2**32 - 1))
def test_the_height_of_strips_does_not_change_the_image(strip_rows: int, chroma_rows: Any, seed: int) -> None:
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (36, 20), dtype=np.uint8)
    chroma = rng.normal(0, 40, (2, chroma_rows, 3)).astype(np.float32)
    whole_report, report = Fidelity(), Fidelity()
    whole = join(pixels, chroma, fidelity=whole_report)
    strips = list(join_strips(pixels, chroma, strip_rows=strip_rows, fidelity=report))
    assert [len(strip) for strip in strips[:-1]] == [strip_rows] * (len(strips) - 1)
    np.testing.assert_array_equal(np.concatenate(strips), whole)
    assert report.max_delta_l == whole_report.max_delta_l
    assert report.fitted_share == whole_report.fitted_share
    assert report.mean_chroma == pytest.approx(whole_report.mean_chroma)


def test_strips_may_be_parts_of_one_array() -> None:
    """Wrong shapes would mix up the photograph's pieces or write beyond the array."""
    photo, chroma = (np.arange(3000) % 256).astype(np.uint8).reshape(60, 50), np.full((2, 3, 3), 20, np.float32)
    whole = np.zeros((60, 50, 3), np.uint8)
    for strip in join_strips(photo, chroma, strip_rows=16, out=whole):
        assert np.shares_memory(strip, whole)
    assert np.array_equal(whole, np.concatenate(list(join_strips(photo, chroma, strip_rows=16))))
    for wrong in (
        whole[1:],
        whole.astype(np.uint16),
        whole.transpose(1, 0, 2),
        np.zeros((60, 100, 3), np.uint8)[:, ::2],
    ):
        with pytest.raises(ValueError, match="out must have the shape"):
            join_strips(photo, chroma, out=wrong)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_chroma_that_is_not_finite_is_refused(value: Any) -> None:
    chroma = np.zeros((2, 4, 4), np.float32)
    chroma[1, 2, 3] = value
    with pytest.raises(ValueError, match="not finite"):
        join_strips(np.zeros((8, 8), np.uint8), chroma)


def test_chroma_too_large_for_float32_is_refused() -> None:
    with pytest.raises(ValueError, match="not finite"):
        join_strips(np.zeros((8, 8), np.uint8), np.full((2, 1, 1), 1e300))


@pytest.mark.parametrize("shape", [(2, 4), (3, 4, 4), (4, 4, 2), (2, 0, 4), (1, 2, 4, 4)])
def test_chroma_of_the_wrong_shape_is_refused(shape: Any) -> None:
    with pytest.raises(ValueError, match="chroma must have the shape"):
        join_strips(np.zeros((8, 8), np.uint8), np.zeros(shape, np.float32))


@pytest.mark.parametrize(
    ("pixels", "message"),
    [
        (np.zeros((8, 8), np.float32), "uint8 or uint16"),
        (np.zeros((8, 8), np.int16), "uint8 or uint16"),
        (np.zeros((8, 8), np.uint32), "uint8 or uint16"),
        (np.zeros((8, 8, 4), np.uint8), "shape"),
        (np.zeros((8,), np.uint8), "shape"),
        (np.zeros((0, 8), np.uint8), "shape"),
    ],
)
def test_pixels_of_another_kind_are_refused(pixels: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        join_strips(pixels, np.zeros((2, 4, 4), np.float32))


@pytest.mark.parametrize("options", [{"bits": 12}, {"strip_rows": 0}, {"strength": -1}, {"strength": float("nan")}])
def test_senseless_parameters_are_refused(options: Any) -> None:
    with pytest.raises(ValueError, match=r"bits|strip|strength"):
        join_strips(np.zeros((8, 8), np.uint8), np.zeros((2, 4, 4), np.float32), **options)


def test_any_memory_layout_is_accepted_and_never_written_to() -> None:
    rng = np.random.default_rng(9)
    pixels = rng.integers(0, 65536, (20, 30)).astype(np.uint16)
    chroma = rng.normal(0, 20, (2, 4, 4)).astype(np.float32)
    expected = join(pixels, chroma, bits=16)
    read_only = pixels.copy()
    read_only.flags.writeable = False
    for variant in (read_only, pixels.astype(">u2"), np.asfortranarray(pixels), np.repeat(pixels, 2, axis=1)[:, ::2]):
        np.testing.assert_array_equal(join(variant, chroma, bits=16), expected)
    np.testing.assert_array_equal(join(pixels, chroma.astype(np.float64), bits=16), expected)


def test_threads_do_not_disturb_each_other() -> None:
    rng = np.random.default_rng(10)
    photos = [rng.integers(0, 256, (300, 200 + n), dtype=np.uint8) for n in range(4)]
    chroma = rng.normal(0, 40, (2, 16, 16)).astype(np.float32)
    expected = [join(photo, chroma) for photo in photos]
    made: list[Any] = [None] * len(photos)

    def work(n: int) -> None:
        made[n] = join(photos[n], chroma)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(len(photos))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for one, other in zip(expected, made, strict=True):
        np.testing.assert_array_equal(one, other)


def test_memory_does_not_grow_with_the_photographs_height() -> None:
    joining.warm_up()
    chroma = np.zeros((2, 64, 64), np.float32)

    def peak(height: int) -> Any:
        pixels = np.zeros((height, 1000), np.uint8)
        tracemalloc.start()
        for _ in join_strips(pixels, chroma, strip_rows=64):
            pass
        size = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return size

    picture = 3 * 1000 * (4096 - 256)
    assert peak(4096) - peak(256) < 0.05 * picture, "weights for each row may be kept, but no pixels"


def run_python(code: Any, **environment: Any) -> Any:
    variables = {
        key: value for key, value in os.environ.items() if key not in ("NUMBA_CACHE_DIR", "COLORCLI_CACHE_DIR")
    }
    return subprocess.run(
        [sys.executable, "-c", code], env={**variables, **environment}, capture_output=True, text=True, check=True
    ).stdout


def test_numba_is_imported_only_when_pixels_are_joined() -> None:
    code = "import sys, colorcli.color.join, colorcli.color.metrics; print('numba' in sys.modules)"
    assert run_python(code).strip() == "False"


# As a loop of this package, but compiled in a moment.
LOOP = """
import numba
from colorcli.color.compiled import compiled

def double(x):
    return 2 * x

assert compiled(double, numba.float64(numba.float64))(4.0) == 8
"""


@pytest.fixture
def loop(tmp_path: Path) -> str:
    """Code that compiles a loop, which stands in a file, since Numba keeps no others."""
    (tmp_path / "loop.py").write_text(LOOP)
    return f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import loop"


@pytest.mark.slow
def test_compiled_code_is_kept_in_our_cache_folder_or_the_users_numba_folder(tmp_path: Path, loop: str) -> None:
    ours, users, unused = tmp_path / "ours", tmp_path / "users", tmp_path / "unused"
    own = "import numba; print(repr(numba.config.CACHE_DIR))"
    assert run_python(f"{loop}; {own}", COLORCLI_CACHE_DIR=str(ours)).strip() == "''", "numba's setting was changed"

    def machine_code(folder: Path) -> Any:
        return {path.name: path.stat().st_mtime_ns for path in folder.rglob("*.nb?")}

    made = machine_code(ours / "numba")
    assert len(made) == 2
    run_python(loop, COLORCLI_CACHE_DIR=str(ours))
    assert machine_code(ours) == made, "compiled again"
    (ours / "numba").rename(users)
    run_python(loop, COLORCLI_CACHE_DIR=str(unused), NUMBA_CACHE_DIR=str(users))
    assert machine_code(users) == made, "compiled again"
    assert not unused.exists()


@pytest.mark.slow
def test_a_damaged_cache_does_not_stop_a_run(tmp_path: Path, loop: str) -> None:
    run_python(loop, COLORCLI_CACHE_DIR=str(tmp_path))
    damaged = list(tmp_path.rglob("*.nb?"))
    assert damaged
    for path in damaged:
        path.write_bytes(path.read_bytes()[:100])
    run_python(loop, COLORCLI_CACHE_DIR=str(tmp_path))


def test_it_works_without_a_cache_folder(tmp_path: Path, loop: str) -> None:
    (tmp_path / "file").write_text("not a folder")
    run_python(loop, COLORCLI_CACHE_DIR=str(tmp_path / "file" / "below"))


@pytest.mark.parametrize("enlarge", ["bilinear", "nearest"])
@pytest.mark.parametrize("size", [(41, 33), (7, 5), (4, 3)], ids=["larger", "same", "smaller"])
def test_released_programs_enlarge_as_pytorch_does(enlarge: Any, size: Any) -> None:
    """Otherwise their colours at full size, edges and blocks included, would not be the released program's."""
    chroma = np.random.default_rng(5).uniform(-15, 15, (2, 7, 5)).astype(np.float32)
    sides = {"align_corners": False} if enlarge == "bilinear" else {}
    expected = F.interpolate(torch.from_numpy(chroma)[None], size=size, mode=enlarge, **sides)[0].numpy()
    picture = np.concatenate(list(join_strips(np.full(size, 30_000, np.uint16), chroma, bits=16, enlarge=enlarge)))
    found = skimage_color.rgb2lab(picture / 65535)[..., 1:].transpose(2, 0, 1)
    np.testing.assert_allclose(found, expected, atol=0.02)


def test_enlargements_are_known_by_name() -> None:
    with pytest.raises(ValueError, match="no enlargement 'lanczos'"):
        join_strips(np.zeros((2, 2), np.uint8), np.zeros((2, 1, 1), np.float32), enlarge="lanczos")
