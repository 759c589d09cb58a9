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
        conducting: [X, Y, Z].
        periodic: whether the sides along Y and Z meet.

    Returns: [X, Y, Z] of `Reach`.
    """
    from scipy import ndimage

    clusters, count = ndimage.label(conducting)  # 6-connectivity: faces, the only way for a flux
    cluster_of = _joined_over_sides(clusters, count) if periodic else np.arange(count + 1)
    touches = np.zeros((2, count + 1), bool)
    touches[0, cluster_of[clusters[0]]] = True
    touches[1, cluster_of[clusters[-1]]] = True
    kinds = np.full(count + 1, Reach.FLOATING, np.uint8)
    kinds[touches[0]], kinds[touches[1]] = Reach.FIRST, Reach.LAST
    kinds[touches.all(0)] = Reach.SPANNING
    of_label = kinds[cluster_of]
    of_label[0] = Reach.INSULATOR  # label 0 is everything that does not conduct
    return np.asarray(of_label[clusters], np.uint8)


def _joined_over_sides(clusters: NDArray[np.int32], count: int) -> NDArray[np.int32]:
    """[count + 1]: one number for all labels that are one cluster once the sides meet."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    one = np.concatenate([clusters[:, 0].ravel(), clusters[:, :, 0].ravel()])
    other = np.concatenate([clusters[:, -1].ravel(), clusters[:, :, -1].ravel()])
    meet = (one > 0) & (other > 0)
    edges = (np.ones(meet.sum(), bool), (one[meet], other[meet]))
    return np.asarray(connected_components(coo_array(edges, shape=(count + 1, count + 1)), directed=False)[1])
