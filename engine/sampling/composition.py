"""Phase fractions as a function of a latent volume's mean, so that sampling can start out with the right composition.

The fraction of a phase in a crop is close to linear in the crop's mean latents. Fitted once on training crops, that
line turns a fraction target into a condition on the volume's mean during sampling, at no cost; guidance on the
volume takes what is left over.


Shapes: `B` volumes, `C` latent channels, `K` phases, `M` crops.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from engine.sampling.multiplane import VolumeDenoiser


@dataclass(frozen=True, kw_only=True)
class Composition:
    """fraction = offset + slope @ mean latents."""

    offset: Tensor
    """[K]."""
    slope: Tensor
    """[K, C]."""
    covariance: Tensor
    """[C, C] of the crops' mean latents: how the material itself moves from one fraction to another."""

    def tensors(self) -> dict[str, Tensor]:
        return {"offset": self.offset, "slope": self.slope, "covariance": self.covariance}

    def to(self, device: str) -> "Composition":
        return replace(self, **{name: tensor.to(device) for name, tensor in self.tensors().items()})

    def shift(self, mean: Tensor, wanted: Mapping[int, float]) -> Tensor:
        """The most likely change of a volume's mean latents [C] that gives the wanted fractions (by phase index).

        Conditional mean of a Gaussian: covariance S^T (S covariance S^T)^-1 (wanted - found), S the rows of `slope`.
        """
        rows = sorted(wanted)
        slope = self.slope[rows]
        goal = torch.tensor([wanted[row] for row in rows], dtype=mean.dtype, device=mean.device)
        missing = goal - self.offset[rows] - slope @ mean
        spread = slope @ self.covariance @ slope.T
        weights: Tensor = torch.linalg.lstsq(spread, missing.unsqueeze(1)).solution.squeeze(1)
        return self.covariance @ slope.T @ weights


def fit_composition(latents: Tensor, fractions: Tensor) -> Composition:
    """Least squares on crops.

    Args:
        latents: [M, C, h, w] normalised latents. fractions: [M, K] of the same crops.
    """
    means = latents.mean(dim=(2, 3)).double()
    design = torch.cat([torch.ones(len(means), 1, dtype=torch.float64), means], dim=1)
    solution = torch.linalg.lstsq(design, fractions.double()).solution  # [1 + C, K]
    covariance = means.T.cov().reshape(means.shape[1], means.shape[1])
    return Composition(offset=solution[0].float(), slope=solution[1:].T.float(), covariance=covariance.float())


def steer_mean(
    denoise: VolumeDenoiser, composition: Composition, wanted: Sequence[Mapping[int, float]]
) -> VolumeDenoiser:
    """Wrap a fused denoiser so that each volume's clean estimate has its wanted fractions (empty: left alone)."""

    def steered(volume: Tensor, axis: int, abar: float) -> Tensor:
        clean = denoise(volume, axis, abar)
        shifts = [
            composition.shift(member.mean(dim=(1, 2, 3)), goal) if goal else member.new_zeros(member.shape[0])
            for member, goal in zip(clean, wanted, strict=True)
        ]
        return clean + torch.stack(shifts)[:, :, None, None, None]

    return steered
