"""If these fail, classification networks learn or return the wrong colours."""

from __future__ import annotations

import numpy as np
import pytest

from colorcli.color import bins


def colours_in_gamut(count: int) -> np.ndarray:
    from colorcli.color.spaces import srgb_to_lab

    rng = np.random.default_rng(0)
    corners = np.array([[r, g, b] for r in (0, 1) for g in (0, 1) for b in (0, 1)], float)
    return srgb_to_lab(np.concatenate((corners, rng.random((count, 3)))))[:, 1:]


def nearest_by_force(ab: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    squares = ((ab[:, None] - bins.ab_bins().centres) ** 2).sum(-1)
    order = np.argsort(squares, 1, kind="stable")[:, :5]
    weights = np.exp(-np.take_along_axis(squares, order, 1) / (2 * 5**2))
    return order, weights / weights.sum(1, keepdims=True)


def test_bins_are_the_published_ones_in_their_order() -> None:
    """Channel k of a released network means bin k: any other order turns grass pink."""
    centres, prior = bins.ab_bins()
    assert centres.shape == (313, 2)
    assert (centres[0].tolist(), centres[-1].tolist()) == ([-90, 50], [100, 0])
    assert not (centres % 10).any()
    assert np.unique(centres, axis=0).shape == (313, 2)
    assert prior.sum() == pytest.approx(1)
    assert centres[prior.argmax()].tolist() == [0, 0]


def test_soft_encoding_finds_the_same_bins_as_trying_all() -> None:
    """The search looks at a dozen candidates only; a missing one would be a wrong target in training."""
    outside = np.random.default_rng(1).uniform(-128, 128, (2000, 2))
    for ab in (colours_in_gamut(5000), outside):
        found, weights = bins.soft_encode(ab)
        expected, expected_weights = nearest_by_force(ab)
        np.testing.assert_allclose(weights, expected_weights, atol=1e-12)
        # Bins at equal distance may come in any order.
        distinct = (np.abs(np.diff(expected_weights, axis=1)) > 1e-9).all(1)
        np.testing.assert_array_equal(found[distinct], expected[distinct])


def test_class_weights_follow_the_formula_of_the_paper() -> None:
    """w = 1 / ((1 - lambda) p + lambda / Q) with expectation 1: otherwise the learning rate would not fit the loss."""
    prior = bins.ab_bins().prior
    weights = bins.class_weights(mix=0.5)
    expected = 1 / (0.5 * prior + 0.5 / 313)
    np.testing.assert_allclose(weights / weights[0], expected / expected[0])
    assert (prior * weights).sum() == pytest.approx(1)
    np.testing.assert_allclose(bins.class_weights(mix=1), 1)


def test_a_prior_is_smoothed_with_a_gaussian_once() -> None:
    """Twice would make rare colours look common; not at all would give unseen colours infinite weight."""
    histogram = np.zeros((256, 256))
    histogram[128, 128] = 1
    prior = bins.prior_of(histogram)
    place = {tuple(centre): index for index, centre in enumerate(bins.ab_bins().centres.astype(int).tolist())}
    near = prior[[place[0, 0], place[10, 0], place[10, 10]]]
    np.testing.assert_allclose(near / near[0], [1, np.exp(-100 / 50), np.exp(-200 / 50)])
    assert prior.sum() == pytest.approx(1)
    np.testing.assert_allclose(bins.class_weights(prior, mix=0) * prior, 1 / 313)


def test_prior_of_a_histogram_counts_each_colour_for_its_nearest_bin() -> None:
    """The prior of someone's own photographs must mean the same as the published one."""
    histogram = np.zeros((256, 256), np.int64)
    histogram[128 + 20, 128 + 30] = 3
    histogram[128 - 1, 128] = 1
    prior = bins.prior_of(histogram, sigma=0)
    centres = bins.ab_bins().centres
    assert {tuple(centres[k]): prior[k] for k in np.flatnonzero(prior)} == {(20.0, 30.0): 0.75, (0.0, 0.0): 0.25}


def test_decoding_what_was_encoded_gives_the_colour_back() -> None:
    """The result is within a third of a bin; an error in either direction would show in every photograph."""
    torch = pytest.importorskip("torch")
    tensors = pytest.importorskip("colorcli.color.tensors")
    ab = torch.from_numpy(np.random.default_rng(0).uniform(-25, 25, (1, 2, 20, 20)))
    back = tensors.annealed_mean(tensors.encode_bins(ab).log(), 1.0)
    assert (back - ab).abs().max() < 3.5


def test_pixels_are_weighed_by_their_true_colour() -> None:
    torch = pytest.importorskip("torch")
    tensors = pytest.importorskip("colorcli.color.tensors")
    weights = torch.from_numpy(bins.class_weights())
    centres = bins.ab_bins().centres
    nearest = [int(((centres - colour) ** 2).sum(1).argmin()) for colour in ((1, -2), (60.2, -70.7))]
    ab = torch.tensor([[1.0, 60.2], [-2.0, -70.7]]).reshape(1, 2, 1, 2)
    assert tensors.class_weight(tensors.encode_bins(ab), weights).flatten().tolist() == weights[nearest].tolist()
    table = torch.arange(256 * 256).reshape(256, 256)
    assert tensors.histogram_weight(ab, table).flatten().tolist() == [129 * 256 + 126, 188 * 256 + 57]
