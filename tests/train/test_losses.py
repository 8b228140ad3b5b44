"""Loss terms have known values."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from skimage.color import deltaE_ciede94

from colorcli.color.metrics import colorfulness
from colorcli.train import losses


def test_hinge_is_zero_only_beyond_the_margins() -> None:
    assert losses.discriminator_gan("hinge", torch.tensor([1.5]), torch.tensor([-2.0])) == 0
    assert losses.discriminator_gan("hinge", torch.tensor([0.0]), torch.tensor([0.0])) == 2


def test_minimax_teaches_least_where_the_discriminator_is_sure() -> None:
    """Both losses have the same minimum; they differ in the gradient of a generator that does not fool it yet."""
    slopes = {}
    for kind in ("bce", "minimax"):
        score = torch.tensor([-4.0], requires_grad=True)
        losses.generator_gan(kind, score).backward()
        assert score.grad is not None
        slopes[kind] = float(score.grad)
    assert slopes["bce"] == pytest.approx(-torch.sigmoid(torch.tensor(4.0)).item())
    assert slopes["minimax"] == pytest.approx(-torch.sigmoid(torch.tensor(-4.0)).item())


def test_vivid_scales_chromaticity_and_keeps_luma() -> None:
    rgb = torch.tensor([0.4, 0.5, 0.45]).view(1, 3, 1, 1)
    weights = torch.tensor([0.2989, 0.5870, 0.1140]).view(1, 3, 1, 1)
    out = losses.vivid(rgb, 1.2)
    luma = (rgb * weights).sum()
    assert torch.allclose((out * weights).sum(), luma, atol=1e-4)
    assert torch.allclose(out - luma, 1.2 * (rgb - luma), atol=1e-4)


def test_the_divergence_from_the_prior_is_the_textbooks() -> None:
    mean, log_variance = torch.tensor([[0.5, -1.0], [0.0, 0.0]]), torch.tensor([[0.2, -0.7], [0.0, 0.0]])
    one = torch.distributions.Normal(mean, (log_variance / 2).exp())
    exact = torch.distributions.kl_divergence(one, torch.distributions.Normal(0.0, 1.0)).sum(1).mean()
    assert losses.prior_divergence(mean, log_variance) == pytest.approx(float(exact))


def test_a_global_tint_or_noise_is_no_diversity() -> None:
    """Otherwise the generator could reduce the loss with tints or coloured noise."""
    torch.manual_seed(0)
    one = torch.randn(1, 2, 64, 64)
    codes = (torch.zeros(1, 68), torch.ones(1, 68))
    tinted = losses.diversity_shortfall((one, one + 20), codes, 4.0)
    noisy = losses.diversity_shortfall((one, one + 4 * torch.randn(1, 2, 64, 64)), codes, 4.0)
    regions = one.clone()
    regions[..., :32] += 6
    regions[..., 32:] -= 6
    # A tint costs more than no diversity at all.
    assert tinted > losses.diversity_shortfall((one, one), codes, 4.0) > 0.98
    assert noisy > 0.6
    assert losses.diversity_shortfall((one, regions), codes, 4.0) < 0.01


def test_the_colourfulness_is_that_of_the_metric_and_can_grow_from_gray() -> None:
    """A term of another scale would outweigh the others, and one without a gradient at gray would end a run as NaN."""
    codes = np.random.default_rng(0).integers(0, 256, (2, 8, 9, 3), np.uint8)
    rgb = torch.from_numpy(codes).permute(0, 3, 1, 2) / 255
    expected = 1 - np.mean([colorfulness(one) for one in codes]) / 100
    assert float(losses.colorfulness_shortfall(rgb)) == pytest.approx(expected, abs=1e-5)
    gray = torch.full((1, 3, 8, 8), 0.5, requires_grad=True)
    losses.colorfulness_shortfall(gray).backward()
    assert gray.grad is not None and gray.grad.isfinite().all()


@pytest.mark.parametrize(("kind", "expected"), [("mse", 0.04), ("l1", 0.2), ("smooth_l1", 0.15)])
def test_distances_are_per_photograph_and_zero_for_the_truth(kind: str, expected: float) -> None:
    truth = torch.randn(2, 2, 8, 8)
    wrong = truth.clone()
    wrong[1] += 0.2
    error = losses.distance(kind, wrong, truth)
    assert error[0] == 0
    assert torch.isclose(error[1], torch.tensor(expected), atol=1e-5)


def test_the_colour_difference_is_that_of_scikit_image() -> None:
    """With the standard's factors, an error on a neutral colour costs more than the same error on a vivid one."""
    torch.manual_seed(0)
    truth, ours = 30 * torch.randn(2, 2, 8, 8), 30 * torch.randn(2, 2, 8, 8)
    lab = [torch.cat((torch.full((2, 1, 8, 8), 50.0), ab), 1).permute(0, 2, 3, 1).numpy() for ab in (truth, ours)]
    assert float(losses.delta_e94(ours, truth)) == pytest.approx(float(np.mean(deltaE_ciede94(*lab))), rel=1e-3)
    neutral, vivid = torch.zeros(1, 2, 8, 8), torch.full((1, 2, 8, 8), 50.0)
    assert losses.delta_e94(neutral + 10, neutral) > 2 * losses.delta_e94(vivid + 10, vivid)


def test_clouds_and_displaced_borders_cost_and_a_tint_does_not() -> None:
    truth = torch.zeros(1, 2, 32, 32)
    truth[..., 16:] = 40
    displaced = truth.roll(4, -1)
    clouds = truth + 10 * torch.sin(torch.arange(32.0) / 2)
    assert losses.edge_distance(truth + 20, truth) == 0
    assert losses.edge_distance(displaced, truth) > 1
    assert losses.edge_distance(clouds, truth) > 1
    assert losses.edge_distance(torch.zeros_like(truth), truth) < losses.edge_distance(displaced, truth)


def test_weights_make_pixels_count() -> None:
    truth, wrong = torch.zeros(1, 2, 1, 2), torch.tensor([[[[1.0, 0.0]], [[1.0, 0.0]]]])
    weight = torch.tensor([[[[3.0, 1.0]]]])
    assert losses.distance("mse", wrong, truth, weight) == 3 * losses.distance("mse", wrong, truth)


def test_the_distance_in_cells_tells_places_apart() -> None:
    """The best sample is chosen for each region, for example one for a coat and another for a car."""
    truth, wrong = torch.zeros(1, 2, 4, 4), torch.zeros(1, 2, 4, 4)
    wrong[..., :2, 2:] = 1
    assert losses.distance("mse", wrong, truth, cells=2).tolist() == [[0, 1, 0, 0]]
    assert losses.distance("mse", wrong, truth).tolist() == [[0.25]]


def test_cross_entropy_is_that_of_the_target_distribution() -> None:
    target = torch.zeros(1, 3, 1, 1)
    target[0, :2] = 0.5
    assert torch.isclose(losses.distance("cross_entropy", torch.zeros(1, 3, 1, 1), target), torch.tensor(3.0).log())


def test_a_discriminator_that_tosses_a_coin_has_the_loss_of_a_coin() -> None:
    """Beyer Bruvik and Penfold call a loss of 0.5 ideal; it is ln 2."""
    zeros = torch.zeros(4)
    assert torch.isclose(losses.discriminator_gan("bce", zeros, zeros), torch.tensor(2.0).log())
    assert torch.isclose(losses.generator_gan("bce", zeros), torch.tensor(2.0).log())


def test_distillation_is_least_when_the_student_agrees() -> None:
    teacher = torch.tensor([[2.0, 0.0, -1.0]])
    assert losses.distillation(teacher, teacher) < losses.distillation(-teacher, teacher)
