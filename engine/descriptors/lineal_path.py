"""Lineal path function L(r): the probability that a segment of length r lies wholly in the phase.

Lu and Torquato (1992). On voxels a segment of length r is r + 1 voxel centres in a row, so L(0) is the volume
fraction and L(r) <= S2(r), whose two ends are the same two voxels.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from engine.descriptors.runs import as_items, check_lags, run_lengths


def lineal_path(mask: NDArray[Any], r_max: int, *, space_dims: int = 3, periodic: bool = False) -> NDArray[np.float64]:
    """Lineal path along each axis, counted exactly.

    A run of l voxels holds l - r segments of length r; a line of n voxels holds n - r. The ratio of the two sums
    is unbiased at every r (runs cut by the border included: no segment needs to know how its run goes on).

    Args:
        mask: [..., *space], bool or 0/1.
        r_max: number of lengths; r = 0 .. r_max - 1 voxels.
        space_dims: 3 for volumes, 2 for micrographs.
        periodic: segments go on at the opposite side.

    Returns:
        L [..., axes, r_max], dimensionless, the axes in array order (z, y, x).

    Raises:
        InputError: r_max is not within 1 .. the shortest side, or the mask holds other values than 0 and 1.
    """
    items, batch = as_items(mask, space_dims)
    check_lags(r_max, items.shape[1:])
    curves = []
    for axis in range(space_dims):
        n = items.shape[axis + 1]
        runs = run_lengths(items, axis, periodic=periodic)
        endless = runs.cut[:, n:] * n if periodic else 0  # a line that is all phase holds n segments of any length
        at_least = _sum_from(runs.whole if periodic else runs.whole + runs.cut)  # [items, n + 1]: runs that long
        segments = _sum_from(at_least)[:, 1 : r_max + 1] + endless  # sum over l > r of (l - r) * (runs of l voxels)
        places = runs.lines * (n if periodic else n - np.arange(r_max))
        curves.append(segments / places)
    return np.stack(curves, axis=1).reshape(*batch, space_dims, r_max)


def soft_lineal_path(phases: Tensor, r_max: int, *, space_dims: int = 3, periodic: bool = False) -> Tensor:
    """Differentiable form: the expected L where every voxel is in the phase with its own probability.

    A segment's chance is the product over its voxels; the product of length r is the one of r - 1 times one voxel
    more. The gradient keeps one field per length and axis in memory.

    Args:
        phases: [..., *space] within [0, 1], such as [B, K, D, H, W].
        r_max, space_dims, periodic: as for `lineal_path`.

    Returns:
        L [..., axes, r_max], such as [B, K, 3, R]; equal to `lineal_path` for zeros and ones.

    Raises:
        InputError: r_max is not within 1 .. the shortest side.
    """
    check_lags(r_max, phases.shape[phases.ndim - space_dims :])
    curves = []
    for axis in range(-space_dims, 0):
        product, values = phases, [phases.flatten(-space_dims).mean(dim=-1)]
        for r in range(1, r_max):
            product = extended(product, phases, r, axis, periodic)
            values.append(product.flatten(-space_dims).mean(dim=-1))
        curves.append(torch.stack(values, dim=-1))
    return torch.stack(curves, dim=-2)


def extended(product: Tensor, phases: Tensor, r: int, axis: int, periodic: bool) -> Tensor:
    """Products over r voxels in a row -> over r + 1, at every place that holds them.

    Args:
        product: [..., *space], r - 1 places shorter along `axis` than the volume unless it is periodic.
        phases: [..., *space].
        axis: counted from the end.
    """
    if periodic:
        return product * phases.roll(-r, dims=axis)
    n = phases.shape[axis]
    return product.narrow(axis, 0, n - r) * phases.narrow(axis, r, n - r)


def _sum_from(histogram: NDArray[np.int64]) -> NDArray[np.int64]:
    """Sum from each index to the end of the last axis."""
    return np.cumsum(histogram[:, ::-1], axis=1)[:, ::-1]
