"""2D-to-3D sampling: one volume denoised through its planes, along the three axes in turn.

The stack of callables: network (one plane) -> preconditioning -> plane fusion (one volume) -> solver. Two fusions:

- `mpdd`: multi-plane denoising diffusion as published (Lee & Yun 2024; L-MPDD in MicroLad): the planes' estimates as
  they are. A product of experts; it loses the variance of modes that spread over many planes.
- `spectral`: the estimate's modes are corrected by what a Gaussian field of the same autocovariance would need in 3D
  (`engine.sampling.spectra`); exact for Gaussian fields, and the network keeps everything that is not Gaussian.

Shapes: `B` volumes, `C` channels, `D H W` latent space (z, y, x), `P` planes of one volume.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from engine.sampling.planes import to_planes, to_volume
from engine.sampling.schedules import LinearSchedule
from engine.sampling.solvers import ddim_step
from engine.sampling.spectra import SpectralFilter


class PlaneDenoiser(Protocol):
    """Clean estimate of noisy planes [P, C, H, W], all at one noise level."""

    def __call__(self, planes: Tensor, abar: float) -> Tensor: ...


class VolumeDenoiser(Protocol):
    """Clean estimate of noisy volumes [B, C, D, H, W] through the planes across `axis`."""

    def __call__(self, volume: Tensor, axis: int, abar: float) -> Tensor: ...


@dataclass(frozen=True, kw_only=True)
class SamplerNumbers:
    """Numbers of the spectral sampler; found per bundle by calibration."""

    steps: int = 60
    eta: float = 0.5
    snr_height: float = 1.0
    """lambda: the denoiser is told a signal-to-noise ratio this many times the true one, at high noise."""
    snr_from: float = 700.0
    snr_to: float = 400.0
    """lambda falls linearly to 1 between these two times (in units of 1,000 trained times)."""
    zero_mode: bool = True
    """Whether the spectral correction applies to the volume's mean."""
    refine_passes: int = 1
    refine_time: float = 150.0

    def snr_factor(self, time: float) -> float:
        """lambda at a time in 0..1000."""
        share = (time - self.snr_to) / max(self.snr_from - self.snr_to, 1e-9)
        return 1.0 + (self.snr_height - 1.0) * min(1.0, max(0.0, share))


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """What a bundle knows about sampling in 3D."""

    autocovariance: Tensor
    """[C, L] of the normalised latents, isotropic (`radial_autocovariance`)."""
    error_log_snr: Tensor
    """[E] noise levels, rising, at which the network's mean error was measured."""
    error_mean: Tensor
    """[E, C] mean of (clean estimate - clean) there."""
    numbers: SamplerNumbers = SamplerNumbers()

    def tensors(self) -> dict[str, Tensor]:
        return {
            "autocovariance": self.autocovariance,
            "error_log_snr": self.error_log_snr,
            "error_mean": self.error_mean,
        }

    def to(self, device: str) -> "Calibration":
        moved = {name: tensor.to(device) for name, tensor in self.tensors().items()}
        return Calibration(**moved, numbers=self.numbers)

    def mean_error(self, abar: float) -> Tensor:
        """Mean error of the clean estimate at a noise level, interpolated in log-SNR: [C]."""
        at = math.log(abar / (1 - abar))
        levels = self.error_log_snr.tolist()
        columns = [np.interp(at, levels, column) for column in self.error_mean.T.tolist()]
        return torch.tensor(columns, dtype=torch.float32, device=self.error_mean.device)


def told(denoise: PlaneDenoiser, schedule: LinearSchedule, snr_factor: Callable[[float], float]) -> PlaneDenoiser:
    """Preconditioning: tell the denoiser an SNR lambda times the true one (METHOD).

    abar' = lambda abar / (1 - abar + lambda abar); the input is rescaled by sqrt(abar'/abar) so that the signal has
    the amplitude that goes with abar'.
    """

    def wrapped(planes: Tensor, abar: float) -> Tensor:
        factor = snr_factor(schedule.time_of(abar) * 1_000 / schedule.timesteps)
        raised = factor * abar / (1 - abar + factor * abar)
        return denoise(planes * math.sqrt(raised / abar), raised)

    return wrapped


def mpdd(denoise: PlaneDenoiser) -> VolumeDenoiser:
    """Plane fusion as published: each plane's estimate stands as it is."""

    def fused(volume: Tensor, axis: int, abar: float) -> Tensor:
        return to_volume(denoise(to_planes(volume, axis), abar), axis, volume.shape[0])

    return fused


def spectral(denoise: PlaneDenoiser, spectral_filter: SpectralFilter, calibration: Calibration) -> VolumeDenoiser:
    """Spectrally consistent plane fusion: take off the network's mean error, then correct each mode by H_p."""
    plain = mpdd(denoise)

    def fused(volume: Tensor, axis: int, abar: float) -> Tensor:
        clean = plain(volume, axis, abar) - calibration.mean_error(abar).view(1, -1, 1, 1, 1)
        return spectral_filter(clean, axis, abar)

    return fused


class Noise:
    """Unit Gaussian noise, one independent stream per structure, so a structure does not depend on its batch.

    Drawn on the CPU for every device.
    """

    def __init__(self, seeds: Sequence[int], device: str = "cpu") -> None:
        self._generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        self._device = device

    def __call__(self, shape: Sequence[int]) -> Tensor:
        """[B, *shape] for the B seeds."""
        return torch.stack([torch.randn(*shape, generator=g) for g in self._generators]).to(self._device)

    def integers(self, low: int, high: int) -> list[int]:
        """One integer in [low, high) per structure."""
        return [int(torch.randint(low, high, (1,), generator=g)) for g in self._generators]

    def select(self, keep: Sequence[int]) -> "Noise":
        """The streams of some of the structures; they go on where they stand."""
        out = Noise([], self._device)
        out._generators = [self._generators[i] for i in keep]
        return out


@torch.no_grad()
def sample(
    denoise: VolumeDenoiser,
    shape: Sequence[int],
    levels: Sequence[float],
    eta: float,
    noise: Noise,
    on_step: Callable[[int, int], None] | None = None,
) -> Tensor:
    """Algorithm of MicroLad's L-MPDD with any fusion: one DDIM step through the planes of one axis, then the next axis.

    Args:
        denoise: fused clean estimate.
        shape: (C, D, H, W) of one latent volume.
        levels: alpha-bar of each step, rising, ending with 1 (`LinearSchedule.trajectory`).
        eta: 0 deterministic, 1 ancestral (as published).
        noise: one stream per volume.

    Returns:
        clean latent volumes [B, C, D, H, W].
    """
    x = noise(shape)
    for step, (abar, abar_next) in enumerate(pairwise(levels)):
        clean = denoise(x, step % 3, abar)
        fresh = noise(shape) if eta > 0 and abar_next < 1 else None
        x = ddim_step(x, clean, abar, abar_next, eta, fresh)
        if on_step is not None:
            on_step(step + 1, len(levels) - 1)
    return x
