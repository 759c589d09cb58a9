"""Which voxels of a phase are joined, through their faces, from one side of a volume to the other."""

import numpy as np
from numpy.typing import NDArray

from engine.errors import InputError

Mask = NDArray[np.bool_]


def spanning_mask(mask: NDArray[np.generic], axis: int) -> Mask:
    """Voxels of the clusters that touch both end faces of an axis.

    Voxels are neighbours when they share a face (6-connectivity), the only ones between which a voxel solver
    lets a flux pass.

    Args:
        mask: [D, H, W], true (non-zero) where the phase is.
        axis: 0, 1, 2 for z, y, x.

    Returns:
        [D, H, W] bool, a subset of `mask`; all false where the phase does not percolate.

    Raises:
        InputError: `mask` is not three-dimensional or the axis is not 0, 1 or 2.
    """
    from scipy import ndimage

    phase = _checked(mask, axis)
    clusters, count = ndimage.label(phase)  # the default structuring element is 6-connectivity
    touches_first, touches_last = np.zeros(count + 1, bool), np.zeros(count + 1, bool)
    touches_first[clusters.take(0, axis)] = True
    touches_last[clusters.take(-1, axis)] = True
    spans = touches_first & touches_last
    spans[0] = False  # label 0 is everything outside the phase
    return np.asarray(spans[clusters], bool)


def percolates(mask: NDArray[np.generic], axis: int) -> bool:
    """Whether a cluster of the phase touches both end faces of the axis. Arguments as `spanning_mask`."""
    phase = _checked(mask, axis)
    if not phase.any(axis=tuple({0, 1, 2} - {axis})).all():  # a layer without the phase: no need to label
        return False
    return bool(spanning_mask(phase, axis).any())


def connected_fraction(mask: NDArray[np.generic], axis: int) -> float:
    """Share of the phase's voxels that lies in spanning clusters: 0 to 1, and 0 where the phase has no voxel.

    Arguments as `spanning_mask`.
    """
    phase = _checked(mask, axis)
    total = int(phase.sum())
    return int(spanning_mask(phase, axis).sum()) / total if total else 0.0


def _checked(mask: NDArray[np.generic], axis: int) -> Mask:
    if mask.ndim != 3:
        raise InputError(
            f"mask: must be a volume of three axes (z, y, x), not of {mask.ndim}; give one volume at a time"
        )
    if axis not in (0, 1, 2):
        raise InputError(f"axis: must be 0, 1 or 2 (z, y, x), not {axis}")
    return np.asarray(mask, dtype=bool)
