"""Score distillation on a Gaussian density, whose denoiser is known exactly."""

import math

import pytest
import torch

from engine.guidance.distillation import distillation_gradient, distillation_loss, kappa, noised

MEAN, DEVIATION = 1.5, 0.4
ABARS = [0.05, 0.3, 0.9]


def exact(abar):
    """E[z | z_t] for z ~ N(MEAN, DEVIATION^2)."""

    def estimate(noisy):
        gain = math.sqrt(abar) * DEVIATION**2 / (abar * DEVIATION**2 + 1 - abar)
        return MEAN + gain * (noisy - math.sqrt(abar) * MEAN)

    return estimate


def draws(count=200_000):
    return torch.randn(count, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.mark.parametrize("abar", ABARS)
def test_the_gradient_is_the_published_one_in_terms_of_the_noise(abar):
    """2 (1 - abar) / sqrt(abar) (eps_theta - eps)."""
    noise = draws(100)
    latents = torch.linspace(-2, 3, 100, dtype=torch.float64)[:, None]
    noisy = noised(latents, noise, abar)
    predicted = (noisy - math.sqrt(abar) * exact(abar)(noisy)) / math.sqrt(1 - abar)
    wanted = 2 * (1 - abar) / math.sqrt(abar) * (predicted - noise)
    assert torch.allclose(distillation_gradient(latents, noise, exact(abar), abar), wanted)


@pytest.mark.parametrize("abar", ABARS)
@pytest.mark.parametrize("at", [-1.0, MEAN, 2.5])
def test_its_mean_is_minus_the_score_in_closed_form(abar, at):
    """The score of noisy latents, N(sqrt(abar) MEAN, abar DEVIATION^2 + 1 - abar), averaged over the noise."""
    noise = draws()
    found = distillation_gradient(torch.full_like(noise, at), noise, exact(abar), abar).mean()
    score = -math.sqrt(abar) * (at - MEAN) / (abar * DEVIATION**2 + 1 - abar)
    wanted = -2 * (1 - abar) ** 1.5 / math.sqrt(abar) * score
    assert float(found) == pytest.approx(wanted, abs=0.01)


def test_descending_it_raises_the_density():
    """From either side, and whatever the noise level, latents end at the mode; ascending they would run away."""
    noise = torch.Generator().manual_seed(1)
    latents = torch.tensor([[-3.0], [0.0], [4.0]])
    first = (latents - MEAN).abs()
    for step in range(400):
        abar = ABARS[step % 3]
        fresh = torch.randn(latents.shape, generator=noise)
        latents = latents - 0.05 * distillation_gradient(latents, fresh, exact(abar), abar)
        if step == 30:
            assert bool(((latents - MEAN).abs() < first).all())
    assert torch.allclose(latents, torch.full_like(latents, MEAN), atol=0.15)


@pytest.mark.parametrize("abar", ABARS)
def test_it_is_the_derivative_of_the_loss_with_the_jacobian_set_to_one(abar):
    """Of a denoiser whose noise estimate moves one to one with its input nothing is dropped."""

    def estimate(noisy):
        predicted = noisy + 0.3
        return (noisy - math.sqrt(1 - abar) * predicted) / math.sqrt(abar)

    latents = torch.linspace(-1, 1, 12, dtype=torch.float64).reshape(3, 4).requires_grad_(True)
    noise = draws(12).reshape(3, 4)
    [derivative] = torch.autograd.grad(distillation_loss(latents, noise, estimate, abar).sum(), latents)
    assert torch.allclose(derivative, distillation_gradient(latents.detach(), noise, estimate, abar))


def test_the_weight_is_the_inverse_of_the_signal_to_noise_ratio():
    assert kappa(0.2) == pytest.approx(4.0)
    latents, noise = torch.zeros(2, 3), torch.ones(2, 3)
    blind = distillation_loss(latents, noise, lambda noisy: noisy / math.sqrt(0.2), 0.2)  # sees no noise at all
    assert torch.allclose(blind, torch.full((2,), 4.0 * 3))
