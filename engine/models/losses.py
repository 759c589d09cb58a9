"""What a denoiser is trained for: what it predicts, and the variance of its steps.

Shapes: `B` batch, `C` channels, `H W` plane. Alpha-bars are [B, 1, 1, 1].
"""

import math
from typing import Literal

import torch
from torch import Tensor

Prediction = Literal["v", "epsilon", "x0"]


def target_of(prediction: Prediction, clean: Tensor, epsilon: Tensor, abar: Tensor) -> Tensor:
    """What the network should answer: epsilon (Ho et al. 2020), v (Salimans & Ho 2022, appendix D) or x0."""
    if prediction == "epsilon":
        return epsilon
    return clean if prediction == "x0" else abar.sqrt() * epsilon - (1 - abar).sqrt() * clean


def clean_of(prediction: Prediction, noisy: Tensor, predicted: Tensor, abar: Tensor | float) -> Tensor:
    """The clean estimate that an answer means; inverse of `target_of` for noisy = sqrt(abar) x0 + sqrt(1-abar) eps."""
    level = torch.as_tensor(abar, dtype=torch.float64)
    a, s = level.sqrt().to(noisy), (1 - level).sqrt().to(noisy)
    if prediction == "epsilon":
        return (noisy - s * predicted) / a
    return predicted if prediction == "x0" else a * noisy - s * predicted


def log_variances(abar: Tensor | float, abar_next: Tensor | float) -> tuple[Tensor, Tensor]:
    """Logarithms of the largest and the smallest variance of a step to `abar_next`: beta and its posterior form."""
    here, there = torch.as_tensor(abar, dtype=torch.float64), torch.as_tensor(abar_next, dtype=torch.float64)
    beta = 1 - here / there
    return beta.log(), (beta * (1 - there) / (1 - here)).clamp(min=1e-20).log()


def variational_bound(
    clean: Tensor, noisy: Tensor, estimate: Tensor, share: Tensor, abar: Tensor, abar_next: Tensor
) -> Tensor:
    """L_t of the variational bound per pixel and channel, in nats, for a step whose variance the network chose.

    Nichol & Dhariwal 2021, eqs. 4-6 and 15: KL of the true posterior against a Gaussian around the same form of mean,
    with log variance share * log beta + (1 - share) * log beta~. At the first time (abar_next = 1) the negative
    log-likelihood of the clean field, which is continuous here.

    Args:
        clean, noisy, estimate: [B, C, H, W]; the estimate is not differentiated: only the variance is trained by this.
        share: [B, C, H, W] within 0..1.

    Returns:
        [B].
    """
    largest, smallest = (value.to(clean) for value in log_variances(abar.double(), abar_next.double()))
    first = abar_next >= 1
    smallest = torch.where(first, largest, smallest)  # beta~ is 0 there; its limit would be a spike
    log_variance = share * largest + (1 - share) * smallest
    alpha, beta = abar / abar_next, 1 - abar / abar_next
    of_clean = abar_next.sqrt() * beta / (1 - abar)
    of_noisy = alpha.sqrt() * (1 - abar_next) / (1 - abar)
    true_mean, mean = of_clean * clean + of_noisy * noisy, of_clean * estimate.detach() + of_noisy * noisy
    squares = (true_mean - mean).square() * (-log_variance).exp()
    divergence = 0.5 * (log_variance - smallest + (smallest - log_variance).exp() + squares - 1)
    likelihood = 0.5 * (math.log(2 * math.pi) + log_variance + squares)
    return torch.where(first, likelihood, divergence).mean(dim=(1, 2, 3))
