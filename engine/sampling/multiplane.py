"""2D-to-3D sampling: one volume denoised through its planes, along the three axes in turn.

The stack of callables: network (one plane) -> preconditioning -> plane fusion (one volume) -> solver. Two fusions:

- `mpdd`: multi-plane denoising diffusion as published (Lee & Yun 2024; L-MPDD in MicroLad): the planes' estimates as
  they are. A product of experts; it loses the variance of modes that spread over many planes.
- `spectral`: the estimate's modes are corrected by what a Gaussian field of the same autocovariance would need in 3D
  (`engine.sampling.spectra`); exact for Gaussian fields, and the network keeps everything that is not Gaussian. What
  finite steps and the network leave is taken out by moment matching (`engine.sampling.moments`).

Shapes: `B` volumes, `C` channels, `D H W` latent space (z, y, x), `P` planes of one volume.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

import torch
from torch import Tensor

from engine.sampling.choices import Harmonizing, Refinement, SolverName
from engine.sampling.moments import StepHook, with_mean_of
from engine.sampling.planes import to_planes, to_volume
from engine.sampling.solvers import Solver
from engine.sampling.spectra import SpectralFilter, neighbour_correlation

ROLL = (3, 5, 7)  # latent pixels per step along z, y, x: odd, so that every cut of a volume of 2^m comes up


class PlaneDenoiser(Protocol):
    """Clean estimate of noisy planes [P, C, H, W], all at one noise level, all across one axis."""

    def __call__(self, planes: Tensor, abar: float, axis: int) -> Tensor: ...


class VolumeDenoiser(Protocol):
    """Clean estimate of noisy volumes [B, C, D, H, W] through the planes across `axis`."""

    def __call__(self, volume: Tensor, axis: int, abar: float) -> Tensor: ...


@dataclass(frozen=True, kw_only=True)
class SamplerNumbers:
    """Numbers of the spectral sampler; found per bundle by calibration."""

    steps: int = 16
    solver: SolverName = "dpm++"
    eta: float = 0.5
    refinement: Refinement = "sdedit"
    snr_factor: float = 1.0
    """Lambda: the network is told a signal-to-noise ratio so many times that of the volume, for a plane is known better
    with the planes beside it than by itself. 1 leaves that to the spectral correction, exact for Gaussian fields."""
    refine_passes: int = 0
    """After decoding: they take away what rhythm of the latents' lattice is left, and sharpen."""
    refine_time: float = 100.0
    """Trained time (of 1,000) of the first pass; later passes start lower. Higher, pores grow together."""
    draw_length: float = 0.0
    """Phases are drawn from what is decoded, with this correlation length in voxels (`engine.sampling.draw`); 0: each
    voxel has its likeliest."""


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """What a bundle knows about sampling in 3D."""

    autocovariance: Tensor
    """[C, L] of the normalised latents, or [C, 3, L, L] where the axes differ (`engine.sampling.spectra`)."""
    shift: Tensor
    """[E, C] and"""
    log_gain: Tensor
    """[E, C, Q] or [E, C, 3, Q]: moment correction of each of E steps (`engine.sampling.moments`)."""
    points: Tensor | None = None
    """[M, C], samples of single latents, where the bundle has a network of lines (`engine.sampling.kikuchi`)."""
    numbers: SamplerNumbers = SamplerNumbers()

    @property
    def by_axis(self) -> bool:
        """Whether the axes differ."""
        return self.autocovariance.ndim == 4

    @property
    def neighbour_correlation(self) -> Tensor:
        """Of latents one latent pixel apart, [C] or [C, 3]."""
        return neighbour_correlation(self.autocovariance)

    def tensors(self) -> dict[str, Tensor]:
        found = {"autocovariance": self.autocovariance, "shift": self.shift, "log_gain": self.log_gain}
        return found if self.points is None else found | {"points": self.points}

    def to(self, device: str) -> "Calibration":
        moved = {name: tensor.to(device) for name, tensor in self.tensors().items()}
        return Calibration(**moved, numbers=self.numbers)


def mpdd(denoise: PlaneDenoiser) -> VolumeDenoiser:
    """Plane fusion as published: each plane's estimate stands as it is."""

    def fused(volume: Tensor, axis: int, abar: float) -> Tensor:
        return to_volume(denoise(to_planes(volume, axis), abar, axis), axis, volume.shape[0])

    return fused


def spectral(denoise: PlaneDenoiser, spectral_filter: SpectralFilter, told: Tensor | None = None) -> VolumeDenoiser:
    """Spectrally consistent plane fusion: correct each mode of the planes' estimate by H_p.

    Args:
        told: [B] bool, the volumes of which the network is told descriptors. Their mean is no longer inferred from
            noisy planes, one by one, but known, so that nothing of it is lost: its gain is 1.
    """
    plain = mpdd(denoise)

    def fused(volume: Tensor, axis: int, abar: float) -> Tensor:
        estimate = plain(volume, axis, abar)
        filtered = spectral_filter(estimate, axis, abar)
        return filtered if told is None else with_mean_of(estimate, filtered, told)

    return fused


def assured(denoise: PlaneDenoiser, snr_factor: float) -> PlaneDenoiser:
    """The denoiser at a signal-to-noise ratio `snr_factor` times the true one: abar' = l abar / (1 - abar + l abar)."""
    if snr_factor == 1:
        return denoise

    def surer(planes: Tensor, abar: float, axis: int) -> Tensor:
        told = snr_factor * abar / (1 - abar + snr_factor * abar)
        return denoise(planes * math.sqrt(told / abar), told, axis)

    return surer


class CleanHook(Protocol):
    """Called with each step's clean estimate of the volumes [B, C, D, H, W], its axis and its noise level; what it
    returns is what the solver steps towards."""

    def __call__(self, clean: Tensor, axis: int, abar: float) -> Tensor: ...


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


class MirroredNoise(Noise):
    """Every stream twice, the second time with the sign turned: 2 B volumes whose noise has mean exactly zero.

    The mean of a batch then shows what the sampler does to it, not what was drawn: a shift measured on 36 volumes would
    else be off by a sixth of the spread between volumes.
    """

    def __call__(self, shape: Sequence[int]) -> Tensor:
        """[2 B, *shape] for the B seeds."""
        drawn = super().__call__(shape)
        return torch.cat([drawn, -drawn])


@torch.no_grad()
def sample(
    denoise: VolumeDenoiser,
    shape: Sequence[int],
    levels: Sequence[float],
    solver: Solver,
    noise: Noise,
    *,
    harmonizing: Harmonizing | None = None,
    after_step: StepHook | None = None,
    roll: bool = False,
    anywhere: bool = False,
    correct: CleanHook | None = None,
    on_step: Callable[[int, int], None] | None = None,
) -> Tensor:
    """Algorithm of MicroLad's L-MPDD with any fusion: one solver step through the planes of one axis, then the next.

    Args:
        denoise: fused clean estimate.
        shape: (C, D, H, W) of one latent volume.
        levels: alpha-bar of each step, rising, ending with 1 (`LinearSchedule.trajectory`).
        solver: fresh, for this trajectory.
        noise: one stream per volume.
        harmonizing: noise each step again and repeat it; none as first published.
        after_step: moment correction; none as published.
        roll: the volume is a torus, and another cut of it is what the planes show at each step. A network trained on
            crops knows their borders; on a volume that stands still they leave their mark on its faces.
        anywhere: the cut of each step is drawn for each volume, so that no place of the torus is special.
        correct: moves each clean estimate, as guidance inside the sampler does.

    Returns:
        clean latent volumes [B, C, D, H, W].
    """
    x, steps = noise(shape), len(levels) - 1
    for step, (abar, abar_next) in enumerate(pairwise(levels)):
        estimate, last = denoise, step + 1 == steps
        if anywhere:
            drawn = [noise.integers(0, side) for side in shape[1:]]
            estimate = rolled(denoise, list(zip(*drawn, strict=True)))
        elif roll:
            estimate = rolled(denoise, [[step * latent_pixels for latent_pixels in ROLL]] * len(x))
        repeats = harmonizing.passes if harmonizing is not None and not last else 0
        came = x
        for attempt in range(1 + repeats):
            if attempt > 0:
                assert harmonizing is not None
                alpha = abar / abar_next
                harmonized = math.sqrt(alpha) * x + math.sqrt(1 - alpha) * noise(shape)  # eq. 16
                x = harmonizing.blend * harmonized + (1 - harmonizing.blend) * came  # eq. 17
            fresh = noise(shape) if solver.stochastic and not last else None
            clean = estimate(x, step % 3, abar)
            if correct is not None:
                clean = correct(clean, step % 3, abar)
            x = solver.step(x, clean, abar, abar_next, fresh)
        if after_step is not None:
            x = after_step(x, (step + 1) / steps, abar_next)
        if on_step is not None:
            on_step(step + 1, steps)
    return x


def rolled(denoise: VolumeDenoiser, shifts: Sequence[Sequence[int]]) -> VolumeDenoiser:
    """The denoiser of a torus that is cut elsewhere: `shifts` along z, y, x for each of the B volumes."""

    def wrapped(volume: Tensor, axis: int, abar: float) -> Tensor:
        back = [[-pixels for pixels in shift] for shift in shifts]
        return roll_each(denoise(roll_each(volume, shifts), axis, abar), back)

    return wrapped


def roll_each(volumes: Tensor, shifts: Sequence[Sequence[int]]) -> Tensor:
    """Volumes [B, C, D, H, W], each rolled along z, y, x by numbers of its own."""
    return torch.stack([one.roll(list(shift), (1, 2, 3)) for one, shift in zip(volumes, shifts, strict=True)])
