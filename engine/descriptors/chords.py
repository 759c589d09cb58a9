"""Chords: the pieces that a phase cuts out of a straight line, from interface to interface.

A chord that touches the border of the volume has an unknown length. It is left out of the distribution, and each
whole chord is weighted by how many places a chord of its length could have had in the line, which undoes the
preference for short ones (Miles-Lantuejoul weights). The mean chord needs no whole chords at all: it follows
from the volume fraction and the number of interface crossings (Cauchy: 4 * fraction / surface area).
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from engine.descriptors.lineal_path import extended
from engine.descriptors.runs import as_items, check_lags, run_lengths
from engine.descriptors.surface import crossings, soft_crossings


def chord_lengths(
    mask: NDArray[Any], r_max: int, *, space_dims: int = 3, periodic: bool = False
) -> NDArray[np.float64]:
    """Chord-length distribution along each axis.

    A line of n voxels has n - l - 1 places for a whole chord of l voxels (the voxel beyond each end must be
    seen), so a whole chord of l voxels weighs 1 / (n - l - 1). Chords longer than n - 2 voxels are never whole.
    In a periodic volume every chord is whole and all weigh the same.

    Args:
        mask: [..., *space], bool or 0/1.
        r_max: number of entries; entry l is the probability that a chord is l voxels long, l = 0 .. r_max - 1
            (entry 0 is 0).
        space_dims: 3 for volumes, 2 for micrographs.
        periodic: chords go on at the opposite side.

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
        whole = run_lengths(items, axis, periodic=periodic).whole
        weighted = whole / (1 if periodic else np.maximum(n - np.arange(n + 1) - 1, 1))
        total = weighted.sum(axis=1, keepdims=True)
        curves.append((weighted / np.where(total > 0, total, 1.0))[:, :r_max])
    return np.stack(curves, axis=1).reshape(*batch, space_dims, r_max)


def mean_chord(mask: NDArray[Any], *, space_dims: int = 3, periodic: bool = False) -> NDArray[np.float64]:
    """Mean chord length along each axis, in voxels.

    Every chord has two ends, so there are half as many chords as interface crossings:
    mean = fraction / (crossings per voxel step / 2). Chords cut by the border add their length to the fraction
    and the end that is seen to the crossings.

    Args:
        mask: [..., *space], bool or 0/1; at least 2 voxels along every axis.
        space_dims: 3 for volumes, 2 for micrographs.
        periodic: the volume goes on beyond its border.

    Returns:
        [..., axes]: 0 where the phase is absent, infinite where it meets no interface along the axis.
    """
    per_step = crossings(mask, space_dims=space_dims, periodic=periodic)
    space = tuple(range(-space_dims, 0))
    fraction = np.asarray(np.mean(np.asarray(mask), axis=space, dtype=np.float64))[..., None]
    with np.errstate(divide="ignore", invalid="ignore"):  # 0/0 where the phase is absent, x/0 without interface
        return np.where(fraction > 0, 2 * fraction / per_step, 0.0)


def soft_chord_lengths(phases: Tensor, r_max: int, *, space_dims: int = 3, periodic: bool = False) -> Tensor:
    """Differentiable form of `chord_lengths`, where every voxel is in the phase with its own probability.

    The expected number of whole chords of l voxels per place is the mean over windows of l + 2 voxels of
    (1 - p_0) * p_1 * ... * p_l * (1 - p_(l+1)); the distribution is that number over its sum.

    Args:
        phases: [..., *space] within [0, 1], such as [B, K, D, H, W].
        r_max, space_dims, periodic: as for `chord_lengths`.

    Returns:
        [..., axes, r_max]; equal to `chord_lengths` for zeros and ones.

    Raises:
        InputError: r_max is not within 1 .. the shortest side.
    """
    check_lags(r_max, phases.shape[phases.ndim - space_dims :])
    outside = 1 - phases
    curves = []
    for axis in range(-space_dims, 0):
        n = phases.shape[axis]
        opened = extended(outside, phases, 1, axis, periodic)  # one voxel outside, then l of the phase
        per_place = [phases.new_zeros(phases.shape[: phases.ndim - space_dims])]
        for length in range(1, n if periodic else n - 1):
            # all but one voxel of a periodic line: the voxel outside is the same at both ends
            closed = opened if length == n - 1 else extended(opened, outside, length + 1, axis, periodic)
            per_place.append(closed.flatten(-space_dims).mean(dim=-1))
            if length + 1 < n:
                opened = extended(opened, phases, length + 1, axis, periodic)
        per_place += [torch.zeros_like(per_place[0])] * (r_max - len(per_place))
        expected = torch.stack(per_place, dim=-1)
        total = expected.sum(dim=-1, keepdim=True)
        curves.append((expected / torch.where(total > 0, total, 1.0))[..., :r_max])
    return torch.stack(curves, dim=-2)


def soft_mean_chord(phases: Tensor, *, space_dims: int = 3, periodic: bool = False) -> Tensor:
    """Differentiable form of `mean_chord`, where every voxel is in the phase with its own probability.

    Args:
        phases: [..., *space] within [0, 1], such as [B, K, D, H, W].

    Returns:
        [..., axes], in voxels: 0 where the phase is absent, infinite (with gradient 0) without interface.
    """
    per_step = soft_crossings(phases, space_dims=space_dims, periodic=periodic)
    fraction = phases.flatten(-space_dims).mean(dim=-1).unsqueeze(-1)
    crosses = per_step > 0
    mean = 2 * fraction / torch.where(crosses, per_step, 1.0)
    return torch.where(crosses, mean, torch.where(fraction > 0, torch.inf, 0.0).to(mean.dtype))
