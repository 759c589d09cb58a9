"""Euler number per volume: separate pieces less tunnels plus cavities, in 1/voxel^3 (an image: pieces less holes).

Voxels are joined through their faces, so the phase is the complex of its voxel centres, the pairs, the squares of four
and the cubes of eight that lie wholly in it, and chi = voxels - pairs + squares - cubes (Euler-Poincare; Ohser and
Muecklich, Statistical Analysis of Microstructures, 2000). Each count is divided by the number of its places in the
volume, so the density is unbiased: the border neither closes nor cuts anything on average. For a closed body away from
the border, density * volume is the body's Euler number up to that rule.
The complement counts with the opposite connectivity (joined through edges and corners too).

Every product is linear in each voxel, so the soft form is the expectation over independent voxels.
"""

from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from engine.descriptors.neighbours import neighbours
from engine.descriptors.runs import as_items
from engine.errors import InputError


def euler_number_density(mask: NDArray[Any], *, space_dims: int = 3, periodic: bool = False) -> NDArray[np.float64]:
    """Euler number per voxel of space.

    Args:
        mask: [..., *space], bool or 0/1; at least 2 voxels along every axis.
        space_dims: 3 for volumes, 2 for micrographs (1/pixel^2: not that of the volume it cuts).
        periodic: the volume goes on beyond its border.

    Returns:
        [...], in 1/voxel^3 (2D: 1/voxel^2).

    Raises:
        InputError: a side of one voxel, or other values than 0 and 1.
    """
    items, batch = as_items(mask, space_dims)
    if min(items.shape[1:]) < 2:
        raise InputError(f"mask: an Euler number needs at least 2 voxels along every axis, got {items.shape[1:]}")
    space = tuple(range(1, space_dims + 1))
    total = np.zeros(len(items))
    for axes in _cells(space_dims):
        block = items
        for axis in axes:
            before, after = neighbours(block, axis, periodic)
            block = before & after
        total += (-1) ** len(axes) * np.count_nonzero(block, axis=space) / _product(block.shape[1:])
    return total.reshape(batch)


def soft_euler_number_density(phases: Tensor, *, space_dims: int = 3, periodic: bool = False) -> Tensor:
    """Differentiable form: the expected density where every voxel is in the phase with its own probability.

    Args:
        phases: [..., *space] within [0, 1], such as [B, K, D, H, W].

    Returns:
        [...], such as [B, K]; equal to `euler_number_density` for zeros and ones.
    """
    total = phases.new_zeros(phases.shape[: phases.ndim - space_dims])
    for axes in _cells(space_dims):
        block = phases
        for axis in axes:
            before, after = neighbours(block, axis - space_dims - 1, periodic)
            block = before * after
        total = total + (-1) ** len(axes) * block.flatten(-space_dims).mean(dim=-1)
    return total


def _cells(space_dims: int) -> list[tuple[int, ...]]:
    """The axes that a cell extends along: a voxel, pairs, squares and (in a volume) the cube."""
    axes = range(1, space_dims + 1)
    return [cell for size in range(space_dims + 1) for cell in combinations(axes, size)]


def _product(sizes: tuple[int, ...]) -> int:
    return int(np.prod(sizes))
