"""One step of the reverse process, from an estimate of the clean field.

Solvers know nothing of networks or planes: they take x_t and a clean estimate of any shape.
"""

import math

from torch import Tensor


def ddim_step(x: Tensor, clean: Tensor, abar: float, abar_next: float, eta: float, noise: Tensor | None) -> Tensor:
    """DDIM (Song et al. 2021, eq. 12 with sigma of eq. 16).

    Args:
        x: the field at `abar`, any shape.
        clean: estimate of x_0, same shape.
        abar, abar_next: alpha-bar now and after the step; abar_next = 1 ends on the clean estimate.
        eta: 0 deterministic, 1 ancestral.
        noise: unit Gaussian of the same shape; may be None where no noise is added.
    """
    epsilon = (x - math.sqrt(abar) * clean) / math.sqrt(1 - abar)
    sigma = eta * math.sqrt((1 - abar_next) / (1 - abar)) * math.sqrt(max(0.0, 1 - abar / abar_next))
    out = math.sqrt(abar_next) * clean + math.sqrt(max(0.0, 1 - abar_next - sigma**2)) * epsilon
    if sigma > 0:
        assert noise is not None
        out = out + sigma * noise
    return out


def ddpm_step(x: Tensor, clean: Tensor, abar: float, abar_next: float, noise: Tensor | None) -> Tensor:
    """Ancestral step: a draw from the posterior q(x_{t-1} | x_t, x_0) (Ho et al. 2020, eqs. 6-7).

    Takes any pair of noise levels; beta is that between the two. The lower of the paper's two variances is used.
    """
    alpha = abar / abar_next
    beta = 1 - alpha
    mean = (math.sqrt(abar_next) * beta * clean + math.sqrt(alpha) * (1 - abar_next) * x) / (1 - abar)
    variance = (1 - abar_next) / (1 - abar) * beta
    if variance > 0:
        assert noise is not None
        mean = mean + math.sqrt(variance) * noise
    return mean
