"""Lineal path function L(r): the probability that a segment of length r lies wholly in the phase.

Lu and Torquato (1992). On voxels a segment of length r is r + 1 voxel centres in a row, so L(0) is the volume
fraction and L(r) <= S2(r), whose two ends are the same two voxels.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.descriptors.runs import as_items, check_lags, run_lengths


def lineal_path(mask: NDArray[Any], r_max: int, *, space_dims: int = 3) -> NDArray[np.float64]:
    """Lineal path along each axis, counted exactly.

    A run of l voxels holds l - r segments of length r; a line of n voxels holds n - r. The ratio of the two sums
    is unbiased at every r (runs cut by the border included: no segment needs to know how its run goes on).

    Args:
        mask: [..., *space], bool or 0/1.
        r_max: number of lengths; r = 0 .. r_max - 1 voxels.
        space_dims: 3 for volumes, 2 for micrographs.

    Returns:
        L [..., axes, r_max], the axes in array order (z, y, x).

    Raises:
        InputError: r_max is not within 1 .. the shortest side, or the mask holds other values than 0 and 1.
    """
    items, batch = as_items(mask, space_dims)
    check_lags(r_max, items.shape[1:])
    curves = []
    for axis in range(space_dims):
        n = items.shape[axis + 1]
        runs = run_lengths(items, axis)
        at_least = _sum_from(runs.whole + runs.cut)  # [items, n + 1]: runs of at least that many voxels
        segments = _sum_from(at_least)[:, 1 : r_max + 1]  # sum over l > r of (l - r) * (runs of l voxels)
        places = runs.lines * (n - np.arange(r_max))
        curves.append(segments / places)
    return np.stack(curves, axis=1).reshape(*batch, space_dims, r_max)


def _sum_from(histogram: NDArray[np.int64]) -> NDArray[np.int64]:
    """Sum from each index to the end of the last axis."""
    return np.cumsum(histogram[:, ::-1], axis=1)[:, ::-1]
