"""Closed triangle surfaces of one phase: along the voxels exactly, or smoothed.

Coordinates are (x, y, z) in voxels; the first voxel of the volume spans 0..1 along each axis. Surfaces are closed where
the phase meets the border of the volume, normals point out of the phase, and every edge has exactly two triangles.
"""

from functools import cache

import numpy as np
from numpy.typing import NDArray

from engine.errors import InputError

Surface = tuple[NDArray[np.float64], NDArray[np.int64]]
"""Vertices [V, 3] as (x, y, z), triangles [T, 3] as indices of vertices."""

# Where voxels of a phase touch along an edge or in a corner only, their surfaces are drawn apart by this much (in
# voxels): files of triangles have no other way to say that they are two. Far above float32's steps at 1,000 voxels.
APART = 1e-3

# Taubin (1995), "A signal processing approach to fair surface design": a shrinking and a growing step in turn, which
# smooths a voxel's staircase and keeps the volume. The published pair has 1/shrink + 1/grow = 0.1.
SHRINK, GROW, PASSES = 0.5, -0.5263, 10

# Voxels by which smoothing may move a point along each axis: below half, so that a single voxel keeps a volume.
FREEDOM = 0.4


def voxel_surface(mask: NDArray[np.bool_]) -> Surface:
    """The faces of the voxels of a phase, each as two triangles (more where an edge is shared with another piece).

    Args:
        mask: (z, y, x), true in the phase.

    Raises:
        InputError: no voxel, or no volume.
    """
    padded = _padded(mask)
    keys, places, triangles = [], [], []
    for axis in range(3):
        for side in (0, 1):
            outside = np.roll(padded, 1 - 2 * side, axis=axis)  # the neighbour on that side
            voxels = np.argwhere(padded & ~outside)  # [F, 3]
            face = _Faces(padded, voxels, axis, side)
            found = face.triangles()
            keys.append(found[0])
            places.append(found[1])
            triangles.append(found[2])
    offsets = np.cumsum([0, *(len(part) for part in keys[:-1])])
    corners = np.concatenate([part + offset for part, offset in zip(triangles, offsets, strict=True)])
    _, first, number = np.unique(np.concatenate(keys), axis=0, return_index=True, return_inverse=True)
    vertices = np.concatenate(places)[first] - 1.0  # the padding
    return np.ascontiguousarray(vertices[:, ::-1]), number.reshape(-1)[corners][:, ::-1]


class _Faces:
    """All faces of one direction."""

    def __init__(self, padded: NDArray[np.bool_], voxels: NDArray[np.int64], axis: int, side: int) -> None:
        self._padded, self._voxels, self._axis = padded, voxels, axis
        second, third = (axis + 1) % 3, (axis + 2) % 3
        ring = [(0, 0), (1, 0), (1, 1), (0, 1)] if side else [(0, 0), (0, 1), (1, 1), (1, 0)]
        self._offsets = np.zeros((4, 3), np.int64)  # of the corners from the voxel's first corner, around the normal
        self._offsets[:, axis] = side
        self._offsets[:, second], self._offsets[:, third] = np.array(ring).T

    def triangles(self) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.int64]]:
        """Key of each vertex [n, 5], its place [n, 3], and triangles [T, 3] of numbers of vertices.

        The key is the same for all faces that share the vertex: where it is, what it is, and which piece it is of.
        """
        count = len(self._voxels)
        face = np.arange(count)
        corners = [self._corner(number) for number in range(4)]
        middles = [self._middle(number) for number in range(4)]
        side = np.full(count, self._offsets[0, self._axis])
        hub_key = np.column_stack([self._voxels, np.full(count, 3 + self._axis), side])
        keys = np.concatenate([part[0] for part in (*corners, *middles)] + [hub_key])
        places = np.concatenate(
            [part[1] for part in (*corners, *middles)] + [self._voxels + self._offsets.mean(axis=0)]
        )
        corner, middle = [face + number * count for number in range(4)], [face + (4 + i) * count for i in range(4)]
        hub = face + 8 * count

        split = np.stack([part[2] for part in middles], axis=1)  # [F, 4] edges with a middle
        plain = ~split.any(axis=1)
        found = [np.column_stack([corner[0], corner[i], corner[i + 1]])[plain] for i in (1, 2)]
        for number in range(4):
            begin, end = corner[number], corner[(number + 1) % 4]
            found.append(np.column_stack([hub, begin, end])[~plain & ~split[:, number]])
            found.append(np.column_stack([hub, begin, middle[number]])[split[:, number]])
            found.append(np.column_stack([hub, middle[number], end])[split[:, number]])
        used, renumbered = np.unique(np.concatenate(found), return_inverse=True)
        return keys[used], places[used], renumbered.reshape(-1, 3)

    def _corner(self, number: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """A corner belongs to the piece of the phase that the face's voxel is part of among the eight voxels there."""
        at = self._voxels + self._offsets[number]
        code = np.zeros(len(at), np.int64)
        for bit in range(8):
            cell = at - 1 + np.array([bit >> 2, bit >> 1 & 1, bit & 1])
            code |= self._padded[tuple(cell.T)].astype(np.int64) << bit
        own = (1 - self._offsets[number]) @ np.array([4, 2, 1])  # which of the eight the face's voxel is
        pieces, shifts = _pieces()
        key = np.column_stack([at, np.full(len(at), -1), pieces[code, own]])
        return key, at + APART * shifts[code, own]

    def _middle(self, number: int) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.bool_]]:
        """The middle of an edge, and whether two voxels of the phase meet there diagonally, and only there."""
        first, last = self._offsets[number], self._offsets[(number + 1) % 4]
        along = int(np.flatnonzero(first != last)[0])
        low = np.minimum(first, last)
        across = [axis for axis in range(3) if axis != along]
        inward = np.zeros(3, np.int64)
        inward[across] = 1 - 2 * low[across]  # from the edge to the middle of the face's voxel
        at = self._voxels + low

        def filled(step_a: int, step_b: int) -> NDArray[np.bool_]:
            cell = self._voxels.copy()
            cell[:, across[0]] -= step_a * inward[across[0]]
            cell[:, across[1]] -= step_b * inward[across[1]]
            inside: NDArray[np.bool_] = self._padded[tuple(cell.T)]
            return inside

        diagonal = filled(1, 1) & ~filled(1, 0) & ~filled(0, 1)
        voxel = np.ravel_multi_index(tuple(self._voxels.T), self._padded.shape)
        key = np.column_stack([at, np.full(len(at), along), -1 - voxel])
        half = np.zeros(3)
        half[along] = 0.5
        return key, at + half + APART * inward, diagonal


@cache
def _pieces() -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """For each of the 256 fillings of the eight voxels around a corner: the piece that each voxel belongs to [256, 8],
    joined through faces, and where the corner of that piece moves [256, 8, 3]; nowhere if there is one piece."""
    from scipy import ndimage

    pieces, shifts = np.zeros((256, 8), np.int64), np.zeros((256, 8, 3))
    cells = np.array([[bit >> 2, bit >> 1 & 1, bit & 1] for bit in range(8)]) - 0.5
    for code in range(256):
        filled = np.array([code >> bit & 1 for bit in range(8)]).reshape(2, 2, 2)
        joined, count = ndimage.label(filled)
        pieces[code] = joined.ravel()
        for piece in range(1, count + 1 if count > 1 else 1):
            members = pieces[code] == piece
            shifts[code, members] = cells[members].mean(axis=0)
    return pieces, shifts


def smooth_surface(mask: NDArray[np.bool_]) -> Surface:
    """The voxels' surface without its staircase: Taubin's smoothing of `voxel_surface`, which keeps it closed.

    As in constrained surface nets (Gibson 1998) no point leaves the neighbourhood of the voxel corner it stands for, so
    thin necks stay and nothing is lost; points on the border of the volume stay on it.

    Args:
        mask: (z, y, x), true in the phase.

    Raises:
        InputError: no voxel, or no volume.
    """
    from scipy import sparse

    start, triangles = voxel_surface(mask)
    fixed = (start <= 0) | (start >= np.array(mask.shape[::-1]))
    begins, ends = triangles[:, [0, 1, 2]].ravel(), triangles[:, [1, 2, 0]].ravel()  # each edge once each way
    joined = sparse.csr_array((np.ones(len(begins)), (begins, ends)), shape=(len(start), len(start)))
    degree = np.asarray(joined.sum(axis=1)).reshape(-1, 1)
    places = start
    for share in (SHRINK, GROW) * PASSES:
        moved = places + share * (joined @ places / degree - places)
        places = np.where(fixed, start, np.clip(moved, start - FREEDOM, start + FREEDOM))
    return places, triangles


def _padded(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    array = np.asarray(mask, dtype=bool)
    if array.ndim != 3 or not array.any():
        raise InputError(f"surface: needs a volume with at least one voxel of the phase, got shape {array.shape}")
    return np.pad(array, 1)
