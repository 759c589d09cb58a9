"""Which conducting voxels are joined to the fixed potentials before the first and behind the last layer."""

from enum import IntEnum

import numpy as np
from numpy.typing import NDArray


class Reach(IntEnum):
    """What a voxel is joined to through faces of conducting voxels."""

    INSULATOR = 0
    FLOATING = 1  # a conducting cluster that touches neither end
    FIRST = 2
    LAST = 3
    SPANNING = 4


def reach(conducting: NDArray[np.bool_], periodic: bool) -> NDArray[np.uint8]:
    """Classify every voxel of a volume whose flux runs along its first axis.

    Args:
        conducting: [X, Y, Z], or [3, X, Y, Z] along X, Y, Z: a face joins two voxels where both conduct across it.
        periodic: whether the sides along Y and Z meet.

    Returns: [X, Y, Z] of `Reach`; an insulator conducts along no axis.
    """
    along = conducting if conducting.ndim == 4 else conducting[None]
    across = along[0]
    # joining voxels is much faster, and right wherever they conduct along all axes or none
    numbers = _by_faces(along, periodic) if (along != across).any() else _by_voxels(across, periodic)
    touches = np.zeros((2, int(numbers.max()) + 1), bool)
    touches[0, numbers[0][across[0]]] = True
    touches[1, numbers[-1][across[-1]]] = True
    kinds = np.full(touches.shape[1], Reach.FLOATING, np.uint8)
    kinds[touches[0]], kinds[touches[1]] = Reach.FIRST, Reach.LAST
    kinds[touches.all(0)] = Reach.SPANNING
    kinds[0] = Reach.INSULATOR
    return np.asarray(kinds[numbers], np.uint8)


def _by_voxels(conducting: NDArray[np.bool_], periodic: bool) -> NDArray[np.int32]:
    """[X, Y, Z]: number of each voxel's cluster, 0 in insulators."""
    from scipy import ndimage

    clusters, count = ndimage.label(conducting)  # 6-connectivity: faces, the only way for a flux
    if not periodic:
        return np.asarray(clusters, np.int32)
    one = np.concatenate([clusters[:, 0].ravel(), clusters[:, :, 0].ravel()])
    other = np.concatenate([clusters[:, -1].ravel(), clusters[:, :, -1].ravel()])
    meet = (one > 0) & (other > 0)
    joined = _joined(one[meet], other[meet], count + 1)
    joined[0] = 0
    numbers: NDArray[np.int32] = joined[clusters]
    return numbers


def _by_faces(along: NDArray[np.bool_], periodic: bool) -> NDArray[np.int32]:
    """`_by_voxels` of [3, X, Y, Z], where a face may insulate between two voxels that conduct."""
    index = np.arange(along[0].size, dtype=np.int32).reshape(along[0].shape)
    one, other = [], []
    for axis, conducts in enumerate(along):
        size = index.shape[axis]
        pairs = [(slice(0, size - 1), slice(1, size))]
        if periodic and axis > 0:
            pairs.append((slice(0, 1), slice(size - 1, size)))
        for low, high in pairs:
            first, second = ((slice(None),) * axis + (each,) for each in (low, high))
            passes = conducts[first] & conducts[second]
            one.append(index[first][passes])
            other.append(index[second][passes])
    joined = _joined(np.concatenate(one), np.concatenate(other), index.size).reshape(index.shape)
    return np.where(along.any(0), joined, 0)


def _joined(one: NDArray[np.int32], other: NDArray[np.int32], count: int) -> NDArray[np.int32]:
    """[count]: one number, from 1, for all of 0 ... count - 1 that pairs join, directly or not."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    edges = (np.ones(len(one), bool), (one, other))
    return np.asarray(connected_components(coo_array(edges, shape=(count, count)), directed=False)[1] + 1, np.int32)
