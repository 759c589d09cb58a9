"""Score distillation: the gradient by which a denoiser draws latents towards the density it has learned.

The loss is (Poole et al., DreamFusion, 2023, eqs. 1 to 3; kappa as in MicroLad)

    L(z) = E_{t, eps} kappa(t) |eps - eps_theta(z_t, t)|^2,  z_t = sqrt(abar) z + sqrt(1 - abar) eps,
    kappa(t) = (1 - abar) / abar.

Its derivative by z holds the network's Jacobian, which is dropped (replaced by the identity):

    g = 2 kappa sqrt(abar) (eps_theta - eps) = 2 (1 - abar) / sqrt(abar) (eps_theta - eps).

Descending along g raises the density: in the mean over eps it is minus the score, the gradient of the log density of
noisy latents, times 2 (1 - abar)^(3/2) / sqrt(abar). (MicroLad's released code descends along eps - eps_theta, uphill.)
With the clean estimate x0 of the noisy latents it is g = 2 sqrt(1 - abar) (z - x0), which is what is computed here: no
division by a small abar, and a network that predicts anything else than eps will do.

Shapes: any; the first axis counts the items.
"""

import math
from collections.abc import Callable

from torch import Tensor

CleanEstimate = Callable[[Tensor], Tensor]
"""Noisy latents, all at one noise level -> E[z | noisy latents], as `PlaneDenoiser` and `VolumeDenoiser` give it."""


def kappa(abar: float) -> float:
    """Weight of the loss at a noise level: the inverse of its signal-to-noise ratio."""
    return (1 - abar) / abar


def noised(latents: Tensor, noise: Tensor, abar: float) -> Tensor:
    """z_t of clean latents and unit noise."""
    return math.sqrt(abar) * latents + math.sqrt(1 - abar) * noise


def distillation_loss(latents: Tensor, noise: Tensor, estimate: CleanEstimate, abar: float) -> Tensor:
    """kappa |eps - eps_theta|^2 of each item [B], for one draw of the noise."""
    noisy = noised(latents, noise, abar)
    predicted = (noisy - math.sqrt(abar) * estimate(noisy)) / math.sqrt(1 - abar)
    return kappa(abar) * (noise - predicted).square().flatten(1).sum(dim=1)


def distillation_gradient(latents: Tensor, noise: Tensor, estimate: CleanEstimate, abar: float) -> Tensor:
    """Derivative of `distillation_loss` by the latents, without the network's Jacobian.

    Args:
        latents: [B, ...] clean latents.
        noise: unit Gaussian, of the same shape.
        estimate: the denoiser at this noise level.
        abar: alpha-bar of the noise level, within (0, 1).

    Returns:
        shaped like the latents; subtract a multiple of it to raise their density.
    """
    return 2 * math.sqrt(1 - abar) * (latents - estimate(noised(latents, noise, abar)))
