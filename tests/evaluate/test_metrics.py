"""Every metric that needs no network has the value that can be computed independently."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from skimage import data
from skimage.color import deltaE_ciede2000, rgb2lab
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from colorcli.color.bins import ab_bins, class_weights
from colorcli.errors import UsageError
from colorcli.evaluate import metrics
from colorcli.evaluate.metrics import METRICS, Picture, Scene, choose, required_networks
from colorcli.evaluate.prepare import to_gray, to_rgb8

Rgb8 = NDArray[np.uint8]
PHOTO: Rgb8 = np.ascontiguousarray(data.astronaut()[60:180, 120:280])


def scene(original: Rgb8) -> Scene:
    return Scene(Picture(original), Picture(to_rgb8(to_gray(original, "lightness"))))


def score(name: str, picture: Rgb8, original: Rgb8) -> float:
    measure = METRICS[name].measure
    assert measure is not None
    return measure(Picture(picture), scene(original))


def flat(*rgb: int) -> Rgb8:
    return np.broadcast_to(np.array(rgb, np.uint8), (16, 16, 3)).copy()


COMPARED = [name for name, metric in METRICS.items() if metric.measure and not metric.alone]
PERFECT = {"psnr": math.inf, "ab-psnr": math.inf, "ssim": 1.0, "auc": 100.0, "auc-rebalanced": 100.0}
PERFECT |= {"auc-steps": 100.0, "auc-rebalanced-steps": 100.0}


@pytest.mark.parametrize("name", COMPARED)
def test_the_original_itself_is_perfect(name: str) -> None:
    if name.startswith("delta-l"):
        # Lightness is compared with the gray photograph, which is rounded to 8 bits.
        assert score(name, PHOTO, PHOTO) < 0.5
    else:
        assert score(name, PHOTO, PHOTO) == pytest.approx(PERFECT.get(name, 0.0), abs=1e-9)


def test_gray_has_no_colour_and_has_lost_the_originals() -> None:
    """Readers compare all other rows of a table with gray."""
    gray, lab = to_rgb8(to_gray(PHOTO, "lightness")), rgb2lab(PHOTO)
    assert score("colorfulness", gray, PHOTO) == score("colorfulness-abs", gray, PHOTO) == 0
    assert score("delta-colorfulness", gray, PHOTO) == score("colorfulness", PHOTO, PHOTO) > 20
    assert score("delta-l", gray, PHOTO) == score("delta-l-max", gray, PHOTO) == 0
    assert score("ab-rmse", gray, PHOTO) == pytest.approx(math.sqrt(np.mean(lab[..., 1:] ** 2)), abs=0.01)
    chroma = np.hypot(lab[..., 1], lab[..., 2])
    assert score("auc", gray, PHOTO) == pytest.approx(100 * np.mean(1 - chroma / 150), abs=0.01)


def test_noise_of_known_size() -> None:
    original = flat(100, 120, 140)
    noisy = original.copy()
    noisy[::2] += 10
    noisy[1::2] -= 10
    assert score("mse-rgb", noisy, original) == pytest.approx(100 / 255**2)
    assert score("psnr", noisy, original) == pytest.approx(10 * math.log10(255**2 / 100))


def test_shifted_hue() -> None:
    """If one flat colour replaces another, every value follows from the two colours."""
    picture, original = flat(180, 90, 80), flat(80, 120, 170)
    (_, a, b), (_, a_0, b_0) = rgb2lab(picture)[0, 0], rgb2lab(original)[0, 0]
    square = ((a - a_0) ** 2 + (b - b_0) ** 2) / 2
    assert score("mse-lab", picture, original) == pytest.approx(square / 128**2)
    assert score("ab-rmse", picture, original) == pytest.approx(math.sqrt(square))
    assert score("ab-psnr", picture, original) == pytest.approx(10 * math.log10(255**2 / square))
    expected = 100 * (1 - math.hypot(a - a_0, b - b_0) / 150)
    assert score("auc", picture, original) == pytest.approx(expected)
    assert score("auc-rebalanced", picture, original) == pytest.approx(expected)


def test_auc_is_the_area_under_the_published_curve() -> None:
    """Zhang et al. use thresholds from 0 to 150; the exact integral agrees with a fine sweep."""
    other = np.roll(PHOTO, 1, axis=2)
    distances = np.hypot(*np.moveaxis(rgb2lab(other) - rgb2lab(PHOTO), 2, 0)[1:])
    sweep = [np.mean(distances <= threshold) for threshold in np.arange(0, 150, 0.05)]
    assert score("auc", other, PHOTO) == pytest.approx(100 * np.mean(sweep), abs=0.05)


def test_auc_in_steps_is_the_sum_that_other_papers_report() -> None:
    """Compared with other papers' numbers, the exact integral would seem a quarter of a point better."""
    other = np.roll(PHOTO, 1, axis=2)
    distances = np.hypot(*np.moveaxis(rgb2lab(other) - rgb2lab(PHOTO), 2, 0)[1:])
    steps = 100 * np.mean([np.mean(distances <= threshold) for threshold in range(151)])
    assert score("auc-steps", other, PHOTO) == pytest.approx(steps, abs=0.01)
    assert 0.1 < score("auc", other, PHOTO) - score("auc-steps", other, PHOTO) < 0.4
    assert score("auc-rebalanced-steps", other, PHOTO) < score("auc-rebalanced", other, PHOTO)


def test_rebalancing_counts_rare_colours_by_the_inverse_of_their_share() -> None:
    """A few vivid pixels must not be outweighed by many gray ones."""
    original = flat(128, 128, 128)
    original[:2] = (230, 30, 40)
    missed_vivid = flat(128, 128, 128)
    lab = rgb2lab(original)
    centres, prior = ab_bins()
    shares = [prior[np.argmin(((lab[y, 0, 1:] - centres) ** 2).sum(1))] for y in (0, 2)]
    weights = np.array([2 / shares[0], 14 / shares[1]])
    right = np.array([1 - np.hypot(*lab[0, 0, 1:]) / 150, 1])
    expected = 100 * (weights * right).sum() / weights.sum()
    assert score("auc-rebalanced", missed_vivid, original) == pytest.approx(expected, abs=0.01)
    assert score("auc-rebalanced", missed_vivid, original) < score("auc", missed_vivid, original) - 10


def test_every_colour_is_weighted_as_its_nearest_bin() -> None:
    """The rarest colours weigh a million times the commonest: one pixel in a wrong bin changes a photograph's score."""
    codes = np.arange(0, 256, 5, dtype=np.uint8)
    cube = np.stack(np.meshgrid(codes, codes, codes, indexing="ij"), -1).reshape(codes.size, -1, 3)
    bins = ab_bins()
    weights = class_weights(mix=0.0)
    for row, found in zip(rgb2lab(cube), scene(cube).rarity, strict=True):
        nearest = np.argmin(np.square(row[:, None, 1:] - bins.centres).sum(-1), axis=1)
        assert np.array_equal(found, weights[nearest])


def test_lightness_that_was_changed_is_seen() -> None:
    darker = to_rgb8(to_gray(PHOTO, "lightness")) // 2
    gray = rgb2lab(to_rgb8(to_gray(PHOTO, "lightness")))[..., 0]
    change = np.abs(rgb2lab(darker)[..., 0] - gray)
    assert score("delta-l", darker, PHOTO) == pytest.approx(change.mean())
    assert score("delta-l-max", darker, PHOTO) == pytest.approx(change.max())


@pytest.mark.parametrize("load", [data.astronaut, data.coffee, data.chelsea])
def test_scikit_image_says_the_same(load: object) -> None:
    """Other programs' numbers can only be compared with ours if both are correct."""
    original = np.ascontiguousarray(load()[:150, :200])
    noisy = np.clip(original.astype(int) + np.random.default_rng(0).normal(0, 12, original.shape), 0, 255)
    picture = noisy.astype(np.uint8)
    assert score("psnr", picture, original) == pytest.approx(peak_signal_noise_ratio(original, picture), rel=1e-6)
    theirs = structural_similarity(
        original, picture, channel_axis=2, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
    )
    assert score("ssim", picture, original) == pytest.approx(theirs, rel=1e-6)
    mean = deltaE_ciede2000(rgb2lab(original), rgb2lab(picture)).mean()
    assert score("delta-e", picture, original) == pytest.approx(mean, rel=1e-6)


def test_what_is_smaller_than_the_window_has_no_ssim() -> None:
    assert math.isnan(score("ssim", PHOTO[:8, :8], PHOTO[:8, :8]))


def test_metrics_are_chosen_by_name() -> None:
    assert [metric.id for metric in choose(["psnr", "lpips-alex", "psnr"], ())] == ["psnr", "lpips-alex"]
    assert [metric.id for metric in choose(["diversity"], (0.8, 3))] == ["diversity@0.8", "diversity@3"]
    assert required_networks(choose(["fid", "lpips-vgg", "diversity-lpips"], (3,))) == [
        "inception-fid", "lpips-vgg", "lpips-alex"
    ]  # fmt: skip
    with pytest.raises(UsageError, match=r"no metric 'psn'.*psnr"):
        choose(["psn"], ())


def test_every_metric_says_what_it_is() -> None:
    """Without its formula, a number cannot be compared with others."""
    assert [name for name, metric in METRICS.items() if not metric.record()["text"]] == []
    assert metrics.Metric("diversity@3", "Diversity").record()["text"]
