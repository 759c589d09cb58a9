"""Chords: the pieces that a phase cuts out of a straight line, from interface to interface.

A chord that touches the border of the volume has an unknown length. It is left out of the distribution, and each
whole chord is weighted by how many places a chord of its length could have had in the line, which undoes the
preference for short ones (Miles-Lantuejoul weights). The mean chord needs no whole chords at all: it follows
from the volume fraction and the number of interface crossings (Cauchy: 4 * fraction / surface area).
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.descriptors.runs import as_items, check_lags, run_lengths
from engine.descriptors.surface import crossings


def chord_lengths(mask: NDArray[Any], r_max: int, *, space_dims: int = 3) -> NDArray[np.float64]:
    """Chord-length distribution along each axis.

    A line of n voxels has n - l - 1 places for a whole chord of l voxels (the voxel beyond each end must be
    seen), so a whole chord of l voxels weighs 1 / (n - l - 1). Chords longer than n - 2 voxels are never whole.

    Args:
        mask: [..., *space], bool or 0/1.
        r_max: number of entries; entry l is the probability that a chord is l voxels long, l = 0 .. r_max - 1
            (entry 0 is 0).
        space_dims: 3 for volumes, 2 for micrographs.

    Returns:
        probabilities [..., axes, r_max]: they sum to 1 less the share of longer chords; all 0 along an axis
        that has no whole chord.

    Raises:
        InputError: r_max is not within 1 .. the shortest side, or the mask holds other values than 0 and 1.
    """
    items, batch = as_items(mask, space_dims)
    check_lags(r_max, items.shape[1:])
    curves = []
    for axis in range(space_dims):
        n = items.shape[axis + 1]
        whole = run_lengths(items, axis).whole
        weighted = whole / np.maximum(n - np.arange(n + 1) - 1, 1)
        total = weighted.sum(axis=1, keepdims=True)
        curves.append((weighted / np.where(total > 0, total, 1.0))[:, :r_max])
    return np.stack(curves, axis=1).reshape(*batch, space_dims, r_max)


def mean_chord(mask: NDArray[Any], *, space_dims: int = 3) -> NDArray[np.float64]:
    """Mean chord length along each axis, in voxels.

    Every chord has two ends, so there are half as many chords as interface crossings:
    mean = fraction / (crossings per voxel step / 2). Chords cut by the border add their length to the fraction
    and the end that is seen to the crossings.

    Args:
        mask: [..., *space], bool or 0/1; at least 2 voxels along every axis.

    Returns:
        [..., axes]: 0 where the phase is absent, infinite where it meets no interface along the axis.
    """
    per_step = crossings(mask, space_dims=space_dims)
    space = tuple(range(-space_dims, 0))
    fraction = np.asarray(np.mean(np.asarray(mask), axis=space, dtype=np.float64))[..., None]
    with np.errstate(divide="ignore", invalid="ignore"):  # 0/0 where the phase is absent, x/0 without interface
        return np.where(fraction > 0, 2 * fraction / per_step, 0.0)
