"""Which voxels of a phase are joined, through their faces, from one side of a volume (or image) to the other.

Voxels are neighbours when they share a face (6-connectivity; in an image an edge, 4-connectivity), the only ones
between which a voxel solver lets a flux pass. Along the axis in hand the two faces are open ends; the other sides are
walls, or, in a periodic volume, joined to each other: the sides of a transport solve.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.descriptors.runs import as_items
from engine.errors import InputError

Mask = NDArray[np.bool_]


def clusters(mask: NDArray[Any], *, periodic: tuple[int, ...] = ()) -> tuple[NDArray[np.int32], int]:
    """Number the clusters of a phase.

    Args:
        mask: [D, H, W] or [H, W], true (non-zero) where the phase is.
        periodic: axes across which the clusters go on at the opposite side.

    Returns:
        numbers: of `mask`'s shape, 0 outside the phase, 1 .. count inside.
        count: number of clusters.
    """
    from scipy import ndimage, sparse

    numbers, count = ndimage.label(np.asarray(mask, dtype=bool))  # the default structuring element joins faces
    pairs = []
    for axis in periodic:
        first, last = numbers.take(0, axis).ravel(), numbers.take(-1, axis).ravel()
        both = (first > 0) & (last > 0)
        pairs.append(np.stack([first[both], last[both]]))
    if not pairs or not sum(pair.shape[1] for pair in pairs):
        return numbers, int(count)
    ends = np.concatenate(pairs, axis=1) - 1
    graph = sparse.coo_array((np.ones(ends.shape[1], dtype=np.int8), tuple(ends)), shape=(count, count))
    joined, groups = sparse.csgraph.connected_components(graph, directed=False)
    renumbered = np.concatenate([[0], groups + 1]).astype(np.int32)
    return renumbered[numbers], int(joined)


def spanning_mask(mask: NDArray[Any], axis: int, *, periodic: bool = False) -> Mask:
    """Voxels of the clusters that touch both end faces of an axis.

    Args:
        mask: [D, H, W] or [H, W], true (non-zero) where the phase is.
        axis: array axis, 0 for the first.
        periodic: the sides along the axis are joined to the opposite ones; its two faces stay apart.

    Returns:
        Bool of `mask`'s shape, a subset of it; all false where the phase does not percolate.

    Raises:
        InputError: `mask` is neither a volume nor an image, or has no such axis.
    """
    phase = _checked(mask, axis)
    sides = tuple(other for other in range(phase.ndim) if other != axis) if periodic else ()
    numbers, count = clusters(phase, periodic=sides)
    return np.asarray(_spans(numbers, count, axis)[numbers], bool)


def percolates(mask: NDArray[Any], axis: int, *, periodic: bool = False) -> bool:
    """Whether a cluster of the phase touches both end faces of the axis. Arguments as `spanning_mask`."""
    phase = _checked(mask, axis)
    others = tuple(other for other in range(phase.ndim) if other != axis)
    if not phase.any(axis=others).all():  # a layer without the phase: no need to label
        return False
    return bool(spanning_mask(phase, axis, periodic=periodic).any())


def connected_fraction(mask: NDArray[Any], axis: int, *, periodic: bool = False) -> float:
    """Share of the phase's voxels that lies in spanning clusters: 0 to 1, and 0 where the phase has no voxel.

    Arguments as `spanning_mask`.
    """
    phase = _checked(mask, axis)
    total = int(phase.sum())
    return int(spanning_mask(phase, axis, periodic=periodic).sum()) / total if total else 0.0


def connected_fractions(mask: NDArray[Any], *, space_dims: int = 3, periodic: bool = False) -> NDArray[np.float64]:
    """`connected_fraction` along every axis, of a batch.

    Args:
        mask: [..., *space], bool or 0/1.
        space_dims: 3 for volumes, 2 for micrographs.
        periodic: as for `spanning_mask`.

    Returns:
        [..., axes], the axes in array order (z, y, x).

    Raises:
        InputError: no voxel, or other values than 0 and 1.
    """
    items, batch = as_items(mask, space_dims)
    found = np.zeros((len(items), space_dims))
    for item, shares in zip(items, found, strict=True):
        if periodic:  # each axis has other sides, so other clusters
            shares[:] = [connected_fraction(item, axis, periodic=True) for axis in range(space_dims)]
            continue
        numbers, count = clusters(item)
        sizes = np.bincount(numbers.ravel(), minlength=count + 1)
        total = max(int(sizes[1:].sum()), 1)
        shares[:] = [sizes[_spans(numbers, count, axis)].sum() / total for axis in range(space_dims)]
    return found.reshape(*batch, space_dims)


def _spans(numbers: NDArray[np.int32], count: int, axis: int) -> NDArray[np.bool_]:
    """[count + 1]: which clusters touch both faces of the axis; entry 0, outside the phase, never."""
    touches_first, touches_last = np.zeros(count + 1, bool), np.zeros(count + 1, bool)
    touches_first[numbers.take(0, axis)] = True
    touches_last[numbers.take(-1, axis)] = True
    spans = touches_first & touches_last
    spans[0] = False
    return spans


def _checked(mask: NDArray[Any], axis: int) -> Mask:
    if mask.ndim not in (2, 3):
        raise InputError(f"mask: must be a volume of three axes or an image of two, not of {mask.ndim}")
    if axis not in range(mask.ndim):
        names = "0, 1 or 2 (z, y, x)" if mask.ndim == 3 else "0 or 1 (y, x)"
        raise InputError(f"axis: must be {names}, not {axis}")
    return np.asarray(mask, dtype=bool)
