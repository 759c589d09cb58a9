"""Specific surface area of a phase: interface area per volume, in 1/voxel, from counted interface crossings.

The estimator is stereology's S_V = 2 P_L (Saltykov; Underwood, Quantitative Stereology, 1970): twice the number
of interface crossings per length of test line, averaged over lines along the axes. On voxels a crossing is a
face between a phase voxel and another one, so for a volume this is (voxel faces per volume) / 1.5: a staircase
has |n_x| + |n_y| + |n_z| times the area of the surface with normal n, 3/2 on average over all directions.

Bias: none on average over directions. On spheres only voxelation is left: a single sphere is measured within
8 % at a radius of 4 voxels, 4 % at 6, 1 % from 14 on; the mean over positions within 1 % from 4 on. A plane across
an axis is underestimated by 1/3, one across a cube diagonal overestimated by 15 %.
The raw face count (1.5 times this number) is what some tools and the project's prototype tables call surface.
The same rule on a 2D section gives the area per volume of the isotropic material that it cuts, so micrographs
and volumes can be compared.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from engine.descriptors.neighbours import neighbours
from engine.descriptors.runs import as_items
from engine.errors import InputError


def surface_area(mask: NDArray[Any], *, space_dims: int = 3, periodic: bool = False) -> NDArray[np.float64]:
    """Specific surface area S_V = 2 P_L, mean of the axes.

    Args:
        mask: [..., *space], bool or 0/1; at least 2 voxels along every axis.
        space_dims: 3 for volumes, 2 for micrographs (the area of the isotropic material they cut).
        periodic: the volume goes on beyond its border; otherwise the border is no interface.

    Returns:
        area per volume [...], in 1/voxel, within [0, 2].

    Raises:
        InputError: a side of one voxel, or other values than 0 and 1.
    """
    return np.asarray(2 * crossings(mask, space_dims=space_dims, periodic=periodic).mean(axis=-1))


def crossings(mask: NDArray[Any], *, space_dims: int = 3, periodic: bool = False) -> NDArray[np.float64]:
    """Interface crossings per voxel step along each axis: the share of neighbour pairs of which one is phase.

    Equals 2 * (S2(0) - S2(1)), in a volume that is not periodic up to the border's share.

    Args:
        mask, space_dims, periodic: as for `surface_area`.

    Returns:
        [..., axes], dimensionless (per voxel), the axes in array order (z, y, x).

    Raises:
        InputError: a side of one voxel, or other values than 0 and 1.
    """
    items, batch = as_items(mask, space_dims)
    if min(items.shape[1:]) < 2:
        raise InputError(f"mask: interfaces need at least 2 voxels along every axis, got {items.shape[1:]}")
    per_axis = []
    for axis in range(1, space_dims + 1):
        before, after = neighbours(items, axis, periodic)
        differ = (before != after).reshape(len(items), -1)
        per_axis.append(np.count_nonzero(differ, axis=1) / differ.shape[1])
    return np.stack(per_axis, axis=1).reshape(*batch, space_dims)


def natural_surface_area(s2: Sequence[float], fraction: float) -> tuple[float, float]:
    """Surface of a phase in the material as it is, where the phase has another fraction than on average.

    4 (S2(0) - S2(1)) on average, and with the root of f (1 - f) from there: among blocks of a material the logarithm of
    the surface rises .2 to .8 times as fast as that of f (1 - f) (`tests/benchmarks/surface_law.py`). It would rise as
    fast if the correlations stayed as they are (Debye, Anderson and Brumberger 1957); but a block has more of a phase
    because its grains or pores are larger, too.

    Args:
        s2: the material's mean S2 at 0, 1, ... voxels; S2(0) within (0, 1).
        fraction: f, within (0, 1).

    Returns:
        area per volume, in 1/voxel, and its derivative by the fraction.
    """
    spread = fraction * (1 - fraction)
    area = 4 * (s2[0] - s2[1]) * (spread / (s2[0] * (1 - s2[0]))) ** 0.5
    return area, area * 0.5 * (1 - 2 * fraction) / spread


def soft_surface_area(phases: Tensor, *, space_dims: int = 3, periodic: bool = False) -> Tensor:
    """Differentiable form: the expected area where every voxel is in the phase with its own probability.

    Args:
        phases: [..., *space] within [0, 1], such as [B, K, D, H, W].

    Returns:
        [...], such as [B, K], in 1/voxel; equal to `surface_area` for zeros and ones.
    """
    return 2 * soft_crossings(phases, space_dims=space_dims, periodic=periodic).mean(dim=-1)


def soft_crossings(phases: Tensor, *, space_dims: int = 3, periodic: bool = False) -> Tensor:
    """Differentiable form of `crossings`: the chance p(1 - q) + q(1 - p) that two neighbours differ.

    Args:
        phases: as for `soft_surface_area`.

    Returns:
        [..., axes], per voxel step.
    """
    per_axis = []
    for axis in range(-space_dims, 0):
        before, after = neighbours(phases, axis, periodic)
        per_axis.append((before + after - 2 * before * after).flatten(-space_dims).mean(dim=-1))
    return torch.stack(per_axis, dim=-1)
