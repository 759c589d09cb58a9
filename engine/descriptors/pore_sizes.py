"""Local thickness: at every point of a phase the diameter of the largest ball within the phase that covers it.

Hildebrand and Rüegsegger (1997); of the pores it is the pore size. Its mean over the phase is the mean pore size.
The balls are centred on voxels. Their radii are scipy's exact Euclidean distances to the nearest voxel outside; the
points that the balls of one radius or more cover follow by a dilation with the ball, one axis after the other, which
takes a tenth of the time of a second distance map for every radius.

Bias: the centre of a pore rarely is that of a voxel, so balls are measured about 1 voxel too small at any radius, while
a layer across an axis is exact for an even number of voxels and 1 voxel too thick for an odd one. A ball may reach out
of the volume: what lies there is taken for more of the phase, unless the volume is periodic.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.descriptors.runs import as_items
from engine.errors import InputError

_MOST_RADII = 64  # told apart; a phase that has more loses less than 1 % of its mean to equal steps


def local_thickness(mask: NDArray[Any], *, space_dims: int = 3, periodic: bool = False) -> NDArray[np.float32]:
    """Local thickness of every voxel of the phase.

    Args:
        mask: [..., *space], bool or 0/1.
        space_dims: 3 for volumes, 2 for micrographs (disks in place of balls).
        periodic: balls go on at the opposite side.

    Returns:
        [..., *space], in voxels; 0 outside the phase. Infinite where the phase fills the volume.

    Raises:
        InputError: no voxel, or other values than 0 and 1.
    """
    items, batch = as_items(mask, space_dims)
    return np.stack([_thickness(item, periodic) for item in items]).reshape(*batch, *items.shape[1:])


def mean_pore_size(mask: NDArray[Any], *, space_dims: int = 3, periodic: bool = False) -> NDArray[np.float64]:
    """Mean local thickness over the phase. Arguments as `local_thickness`.

    Returns:
        [...], in voxels: 0 where the phase is absent, infinite where it fills the volume.
    """
    return np.asarray(mean_of_phase(local_thickness(mask, space_dims=space_dims, periodic=periodic), space_dims))


def mean_of_phase(thickness: NDArray[np.float32], space_dims: int = 3) -> NDArray[np.float64]:
    """Mean of a local thickness [..., *space] over the voxels where it is above 0; 0 without such a voxel."""
    space = tuple(range(-space_dims, 0))
    count = np.count_nonzero(thickness, axis=space)
    return np.asarray(thickness.sum(axis=space, dtype=np.float64) / np.maximum(count, 1))


def size_distribution(thickness: NDArray[np.float32], d_max: int, *, space_dims: int = 3) -> NDArray[np.float64]:
    """Share of the phase whose local thickness is at least d: the cumulative pore-size distribution.

    Args:
        thickness: [..., *space] as from `local_thickness`.
        d_max: number of entries; d = 0 .. d_max - 1 voxels.

    Returns:
        [..., d_max], 1 at d = 0 (all 0 where the phase is absent) and never rising.

    Raises:
        InputError: d_max is below 1.
    """
    if d_max < 1:
        raise InputError(f"d_max: must be at least 1, not {d_max}")
    space = tuple(range(-space_dims, 0))
    total = np.maximum(np.count_nonzero(thickness, axis=space), 1)
    shares = [np.count_nonzero((thickness > 0) & (thickness >= d), axis=space) / total for d in range(d_max)]
    return np.stack(shares, axis=-1)


def _thickness(phase: NDArray[np.bool_], periodic: bool) -> NDArray[np.float32]:
    if phase.all():
        return np.full(phase.shape, np.inf, dtype=np.float32)
    squared = _squared_distance(phase)
    if periodic:  # wrapping only brings the outside nearer, so no voxel has its nearest one further than that
        margin = math.isqrt(int(squared.max())) + 1
        wrapped = np.pad(phase, margin, mode="wrap")
        squared = _squared_distance(wrapped)[tuple(slice(margin, margin + n) for n in phase.shape)]
    thickness = np.zeros(phase.shape, dtype=np.float32)
    for r2 in _radii(squared).tolist():  # from the largest: the first ball that covers a voxel is its own
        covered = _within(squared >= r2, r2, periodic)
        thickness[covered & (thickness == 0)] = 2 * math.sqrt(r2)
    return thickness


def _squared_distance(phase: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Squared distance to the nearest voxel outside, an integer; 0 outside."""
    from scipy.ndimage import distance_transform_edt

    return np.asarray(np.rint(distance_transform_edt(phase) ** 2), dtype=np.int64)


def _within(centres: NDArray[np.bool_], r2: int, periodic: bool) -> NDArray[np.bool_]:
    """Voxels whose squared distance to one of the centres is below r2: minimised over one axis after the other."""
    kind = np.int16 if 2 * r2 < 2**15 else np.int32
    squared: NDArray[Any] = np.where(centres, 0, r2).astype(kind)
    for axis in range(centres.ndim):
        nearest = squared.copy()
        for k in range(1, min(math.isqrt(r2 - 1) + 1, centres.shape[axis])):
            raised = squared + kind(k * k)
            if periodic:
                np.minimum(nearest, np.roll(raised, k, axis), out=nearest)
                np.minimum(nearest, np.roll(raised, -k, axis), out=nearest)
                continue
            head: list[slice] = [slice(None)] * centres.ndim
            tail = list(head)
            head[axis], tail[axis] = slice(None, -k), slice(k, None)
            ahead, behind = nearest[tuple(tail)], nearest[tuple(head)]
            np.minimum(ahead, raised[tuple(head)], out=ahead)
            np.minimum(behind, raised[tuple(tail)], out=behind)
        squared = nearest
    return np.asarray(squared < r2)


def _radii(squared: NDArray[np.int64]) -> NDArray[np.int64]:
    """Squared radii to tell apart, from the largest down to that of the smallest ball, 1 (one voxel)."""
    distinct = 1 + np.flatnonzero(np.bincount(squared.ravel())[1:])  # much faster than sorting
    if len(distinct) > _MOST_RADII:
        # the largest radius that occurs at or below each of equal steps, so that every radius is one of a ball
        steps = np.linspace(1.0, math.sqrt(distinct[-1]), _MOST_RADII) ** 2
        distinct = distinct[np.unique(np.searchsorted(distinct, steps + 1e-6, side="right") - 1)]
    return np.asarray(distinct[::-1])
