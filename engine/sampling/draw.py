"""Phases drawn from the probabilities that decoding gives, instead of the likeliest of each voxel.

Latents do not hold everything. Where they leave open which phase a voxel has, the likeliest one makes surfaces smoother
than the material's and leaves out its thinnest walls and pores, however probable. A draw has as many of them as there
should be: the phase with the largest

    SURER log p_k + g_k

has nearly the probability p_k where g_k has Gumbel's distribution (Gumbel 1954; the logits' noise of Maddison et al.
2014). Neighbouring voxels are not drawn independently, or they would be salt and pepper: g is made of a Gaussian field
of a correlation length that the calibration finds (`SamplerNumbers.draw_length`).

Shapes: `B` volumes, `K` phases, `D H W` voxels.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from engine.sampling.multiplane import Noise

SURER = 1.5
"""A decoded volume is the mean of what the planes of three axes say, and less sure than it could be. To this power its
probabilities say best what true blocks are: the likelihood is largest at 1.4 on Berea's and from 1.4 to 1.6 on the
cathode's (`tests.benchmarks.decoding`)."""
LEAST = 1e-4  # a probability below is that much: never the phase, but for one in ten thousand voxels


class Draw:
    """One draw of each of B volumes: the same whenever it is asked of the same volume.

    Args:
        shape: (K, D, H, W).
        length: standard deviation of the Gaussian kernel that smooths the fields, voxels; the volume is a torus.
        noise: one stream per volume.
    """

    def __init__(self, shape: Sequence[int], length: float, noise: Noise) -> None:
        phases, *sides = shape
        self._gumbel = torch.stack([_gumbel(noise(sides), length) for _ in range(phases)], dim=1)  # [B, K, D, H, W]

    def __call__(self, probabilities: Tensor, which: Sequence[int] | None = None, *, surer: float = 1.0) -> Tensor:
        """Probabilities [b, K, D, H, W] whose likeliest phases are the draw; written over those given.

        Args:
            which: of the B volumes these are; None: all.
            surer: the power to which they are taken first.
        """
        drawn = probabilities.clamp_(min=LEAST).log_().mul_(surer)
        for one, volume in zip(drawn, range(len(drawn)) if which is None else which, strict=True):
            one += self._gumbel[volume]
        drawn -= drawn.amax(dim=1, keepdim=True)
        drawn.exp_()
        return drawn.div_(drawn.sum(dim=1, keepdim=True))


def _gumbel(white: Tensor, length: float) -> Tensor:
    """Smoothed white noise [B, D, H, W], of unit variance again, made Gumbel distributed; written over it."""
    for one in white:
        one.copy_(_smooth(one, length))
    gumbel: Tensor = torch.special.log_ndtr(white).neg_().log_().neg_()
    return gumbel


def _smooth(white: Tensor, length: float) -> Tensor:
    """White noise [D, H, W] convolved with a Gaussian kernel on the torus, at unit variance.

    By real transforms: at full resolution the complex ones of `scale_modes` would take twice the memory.
    """
    spectrum, variance = torch.fft.rfftn(white), 1.0
    for axis, side in enumerate(white.shape):
        k = torch.fft.fftfreq(side, device=white.device)
        gain = torch.exp(-2 * (math.pi * length * k) ** 2)
        variance *= float(gain.square().mean())
        gain = gain[: spectrum.shape[axis]] if axis == 2 else gain
        spectrum *= gain.reshape([-1 if axis == other else 1 for other in range(3)])
    smoothed: Tensor = torch.fft.irfftn(spectrum, white.shape)
    return smoothed / math.sqrt(variance)
