"""Fusion of the planes of all three axes at once: planes, less the lines they share, plus the points.

Kikuchi's approximation (1951; Yedidia, Freeman & Weiss 2005): of a field known through overlapping regions, log p is
the sum over the regions, each counted so often that every smaller region counts once. A line lies in two planes, a
point in three planes and three lines:

    log p(x) = sum of planes - sum of lines + sum of points

The score of the noisy field, and with it the clean estimate, follows term by term. The same sum over Gaussian fields
of the material's spectrum lacks correlations between points that share no plane; those are known exactly, so the
difference is added as a linear term. What results is exact for Gaussian fields, for independent layers, columns and
points, and counts what is not Gaussian once, in all planes together.

In the first steps planes tell nothing that is not Gaussian yet, and in the last ones each knows enough by itself, while
sums carry the errors of seven estimates: there planes are corrected axis by axis (`BETWEEN`), which saves two fifths.

Shapes: `B` volumes, `C` channels, `D H W` latent space (z, y, x), `M` samples.
"""

from typing import Protocol

import torch
from torch import Tensor

from engine.sampling.moments import with_mean_of
from engine.sampling.multiplane import PlaneDenoiser, VolumeDenoiser, mpdd, spectral
from engine.sampling.planes import AXES, lines_to_volume, to_lines
from engine.sampling.spectra import SpectralFilter, scale_modes

KERNEL = 0.06
"""Standard deviation, of normalised latents, of the kernel around each sample of a point's distribution."""
POINTS = 512
"""Samples of it that a bundle keeps."""
BETWEEN = (0.04, 0.96)
"""Alpha-bar from and up to which everything is summed. On Berea wider limits bring no more of the natural diffusivity;
.1 and .85 bring less."""
AT_ONCE = 2**21
"""Distances between points and samples held at once."""


class LineEstimate(Protocol):
    """Clean estimate of noisy lines [N, C, L], all at one noise level, all along one axis."""

    def __call__(self, lines: Tensor, abar: float, axis: int) -> Tensor: ...


def kikuchi(
    denoise: PlaneDenoiser,
    lines: LineEstimate,
    points: Tensor,
    spectral_filter: SpectralFilter,
    told: Tensor | None = None,
) -> VolumeDenoiser:
    """Clean estimate of volumes through their planes, lines and points.

    Args:
        denoise, lines: of planes and lines, each by itself.
        points: [M, C], samples of single latents.
        spectral_filter: of the latent volume's shape.
        told: [B] bool, the volumes of which `denoise` is told descriptors: their means are what the planes say, in the
            mean of the axes, for they are known and not inferred.
    """
    plain, by_axis = mpdd(denoise), spectral(denoise, spectral_filter, told)

    def fused(volume: Tensor, axis: int, abar: float) -> Tensor:
        if not BETWEEN[0] <= abar <= BETWEEN[1]:
            return by_axis(volume, axis, abar)
        planes = torch.zeros_like(volume)
        for across in AXES:
            planes += plain(volume, across, abar)
        estimate = scale_modes(volume / abar**0.5, spectral_filter.remainder(abar))
        estimate += planes
        for along in AXES:
            estimate -= lines_to_volume(lines(to_lines(volume, along), abar, along), along, volume.shape)
        estimate += point_estimate(volume, points, abar)
        return estimate if told is None else with_mean_of(planes / len(AXES), estimate, told)

    return fused


def sample_points(latents: Tensor) -> Tensor:
    """Single latents out of [N, C, h, w], evenly over all, with the mean and the covariance of all: [M, C].

    So few would have others, and the difference to Wiener's filter would be taken for something that is not Gaussian.
    """
    every = latents.movedim(1, -1).flatten(0, 2).double()
    if latents.shape[1] == 1:  # in order of their values: quantiles
        every = every.sort(dim=0).values
    some = every[torch.linspace(0, len(every) - 1, POINTS + 2)[1:-1].long()]
    wanted, found = (torch.linalg.cholesky(each.T.cov().reshape(each.shape[1], -1)) for each in (every, some))
    centred = torch.linalg.solve_triangular(found, (some - some.mean(dim=0)).T, upper=False)
    points: Tensor = (wanted @ centred).T + every.mean(dim=0)
    return points.float().contiguous()


def point_estimate(volume: Tensor, points: Tensor, abar: float) -> Tensor:
    """Clean estimate of every point by itself, from the distribution of single latents (a kernel estimate).

    Args:
        volume: [B, C, D, H, W]. points: [M, C].
    """
    noise, kernel = (1 - abar) / abar, KERNEL**2
    toward = points.T / (kernel + noise)  # of the log likelihood -|x - p|^2 / 2 (kernel + noise)
    offset = points.square().sum(dim=1) / (-2 * (kernel + noise))
    shrunk = kernel / (kernel + noise)

    def estimate(x: Tensor) -> Tensor:
        """[N, C]."""
        means = torch.addmm(offset, x, toward).softmax(dim=1) @ points
        return means + shrunk * (x - means)

    at_once = max(1, AT_ONCE // len(points))
    flat = (volume / abar**0.5).movedim(1, -1)  # [B, D, H, W, C]
    # Volume by volume, so that no result depends on the batch.
    found = [torch.cat([estimate(part) for part in one.reshape(-1, one.shape[-1]).split(at_once)]) for one in flat]
    return torch.stack(found).reshape(flat.shape).movedim(-1, 1).contiguous()
