"""Descriptors that a denoiser is told of what it sees: phase fractions and mean chords, measured on each training crop.

A crop's own numbers stand beside it in training, normalised by their mean and standard deviation over the training
crops. Most often nothing is told, so that a volume nobody asked anything of is that of a network that never heard of
descriptors; of what is left each number is told by itself or not, so that any of them can be asked for alone.

Shapes: `B` crops, `K` phases, `D` descriptors, `N` crop pixels.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from engine.descriptors.surface import soft_crossings
from engine.micrographs.crops import one_hot

TOLD_ALONE = 0.5  # chance of each number to be told where any is: every selection of them is then equally frequent


@dataclass(frozen=True, kw_only=True)
class DescriptorScale:
    """One number that a network was told in training, and what it was there."""

    name: str
    """`fraction[pore]`; `mean_chord[pore]`, in voxels, of lines along both axes of the plane."""
    mean: float
    sd: float
    """Over the training crops; the network is told (value - mean) / sd."""
    low: float
    high: float
    """Least and largest value of a training crop: what the network has seen."""


def descriptor_names(groups: Sequence[str], phases: Sequence[str]) -> tuple[str, ...]:
    """D names. The last phase's fraction follows from the others'."""
    of = {"fraction": phases[:-1], "mean_chord": phases}
    return tuple(f"{group}[{phase}]" for group in groups for phase in of[group])


def describe_crops(indices: Tensor, groups: Sequence[str], phases: int) -> Tensor:
    """The descriptors of crops, [B, D] float32 in the order of `descriptor_names`; NaN where there is no such number.

    A mean chord is 2 fraction / crossings (Cauchy) of the lines along both axes together. The phase that a crop lacks
    has none; one that is longer than the crop cannot be seen in it and counts as the crop's side.

    Args:
        indices: [B, N, N] phase indices.
    """
    hot = one_hot(indices, phases)
    fraction = hot.mean(dim=(2, 3))  # [B, K]
    crossings = soft_crossings(hot, space_dims=2).mean(dim=-1)
    longest = float(indices.shape[-1])
    chord = (2 * fraction / crossings.clamp(min=1e-12)).clamp(max=longest)
    of = {"fraction": fraction[:, :-1], "mean_chord": torch.where(fraction > 0, chord, torch.nan)}
    return torch.cat([of[group] for group in groups], dim=1)


def fit_scales(found: Tensor, names: Sequence[str]) -> tuple[DescriptorScale, ...]:
    """Scales of the descriptors of many crops, [M, D]; what a crop does not have does not count."""
    out = []
    for name, column in zip(names, found.double().T, strict=True):
        known = column[~column.isnan()]
        sd = float(known.std()) if len(known) > 1 else 0.0
        values = (float(known.mean()), float(known.min()), float(known.max())) if len(known) else (0.0, 0.0, 0.0)
        mean, low, high = values
        # What never varies carries nothing: a spread of one keeps it finite.
        out.append(DescriptorScale(name=name, mean=mean, sd=sd if sd > 0 else 1.0, low=low, high=high))
    return tuple(out)


def normalised(values: Tensor, scales: Sequence[DescriptorScale]) -> Tensor:
    """[..., D] as the network is told; NaN stays NaN."""
    mean, sd = (values.new_tensor([getattr(scale, name) for scale in scales]) for name in ("mean", "sd"))
    return (values - mean) / sd


def forget_some(told: Tensor, nothing: float, numbers: np.random.Generator) -> Tensor:
    """Training's [B, D] with NaN where it is not told: of a share `nothing` of the crops all, else each by itself."""
    silent = numbers.random(len(told)) < nothing
    left_out = numbers.random(tuple(told.shape)) >= TOLD_ALONE
    return told.masked_fill(torch.from_numpy(silent[:, None] | left_out), torch.nan)
