"""engine.models.losses: what is predicted means the clean field, and the variational bound is what theory says."""

import math

import pytest
import torch

from engine.models.losses import clean_of, log_variances, target_of, variational_bound
from engine.sampling.schedules import CosineSchedule, LinearSchedule


@pytest.mark.parametrize("prediction", ["v", "epsilon", "x0"])
def test_the_right_answer_means_the_clean_field(prediction):
    clean, epsilon = torch.randn(2, 5, 3, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    abar = torch.tensor([0.999, 0.9, 0.5, 0.1, 0.01], dtype=torch.float64)[:, None, None, None]
    noisy = abar.sqrt() * clean + (1 - abar).sqrt() * epsilon
    answer = target_of(prediction, clean, epsilon, abar)
    assert torch.allclose(clean_of(prediction, noisy, answer, abar), clean, atol=1e-10)
    assert torch.allclose(clean_of(prediction, noisy[1], answer[1], 0.9), clean[1], atol=1e-10)


def bound(share, abar, abar_next, error=0.0, count=200_000):
    generator = torch.Generator().manual_seed(0)
    clean, epsilon = torch.randn(2, 1, 1, 1, count, dtype=torch.float64, generator=generator)
    here, there = (torch.full((1, 1, 1, 1), value, dtype=torch.float64) for value in (abar, abar_next))
    noisy = here.sqrt() * clean + (1 - here).sqrt() * epsilon
    return float(variational_bound(clean, noisy, clean + error, torch.full_like(clean, share), here, there))


def test_the_posterior_itself_costs_nothing_and_everything_else_something():
    assert bound(0.0, 0.5, 0.8) == pytest.approx(0.0, abs=1e-12)
    assert bound(0.5, 0.5, 0.8) > 0.001
    assert bound(0.0, 0.5, 0.8, error=0.3) > 0.001


def test_the_bound_is_the_divergence_of_two_gaussians():
    """KL(N(m, a) || N(m + d, b)) = (ln b/a + a/b + d^2/b - 1) / 2."""
    abar, abar_next, share, error = 0.4, 0.7, 0.3, 0.2
    largest, smallest = (float(value) for value in log_variances(abar, abar_next))
    log_b = share * largest + (1 - share) * smallest
    shift = math.sqrt(abar_next) * (1 - abar / abar_next) / (1 - abar) * error
    wanted = 0.5 * (log_b - smallest + math.exp(smallest - log_b) + shift**2 * math.exp(-log_b) - 1)
    assert bound(share, abar, abar_next, error) == pytest.approx(wanted, rel=1e-6)


def test_the_first_time_is_a_likelihood():
    largest, _ = (float(value) for value in log_variances(0.999, 1.0))
    assert bound(0.7, 0.999, 1.0, error=0.0) == pytest.approx(0.5 * (math.log(2 * math.pi) + largest), rel=1e-6)


def test_the_mean_is_not_trained_by_the_bound():
    clean, noisy = torch.randn(2, 2, 1, 4, 4)
    estimate, share = torch.randn(2, 1, 4, 4, requires_grad=True), torch.rand(2, 1, 4, 4, requires_grad=True)
    levels = torch.full((2, 1, 1, 1), 0.5), torch.full((2, 1, 1, 1), 0.8)
    variational_bound(clean, noisy, estimate, share, *levels).sum().backward()
    assert estimate.grad is None and float(share.grad.abs().max()) > 0


def test_the_cosine_schedule_is_the_square_of_a_cosine():
    schedule = CosineSchedule(1000)
    share = torch.tensor([101, 501, 901], dtype=torch.float64) / 1000
    wanted = torch.cos((share + 0.008) / 1.008 * math.pi / 2) ** 2 / math.cos(0.008 / 1.008 * math.pi / 2) ** 2
    assert torch.allclose(torch.from_numpy(schedule.abar[[100, 500, 900]]), wanted, rtol=1e-6)
    assert (schedule.abar[1:] < schedule.abar[:-1]).all() and schedule.abar[-1] > 0
    assert schedule.time_of(schedule.abar_at(333.3)) == pytest.approx(333.3, abs=0.01)


def test_four_thousand_steps_with_a_quarter_of_the_betas_end_alike():
    long, short = LinearSchedule(4000, 2.5e-5, 5e-3), LinearSchedule(1000, 1e-4, 2e-2)
    assert math.log(long.abar[-1]) == pytest.approx(math.log(short.abar[-1]), rel=0.02)
