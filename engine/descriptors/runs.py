"""Runs of a phase along lines of voxels: what lineal path and chord lengths are made of."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Runs:
    """Histograms of the run lengths along one axis of n voxels. Index = length in voxels, 0 .. n."""

    whole: NDArray[np.int64]
    """[items, n + 1] runs with an interface at both ends."""
    cut: NDArray[np.int64]
    """[items, n + 1] runs that touch the border of the volume; in a periodic one the lines without an end."""
    lines: int
    """Number of lines along the axis in one item."""


def run_lengths(mask: NDArray[np.bool_], axis: int, *, periodic: bool = False) -> Runs:
    """Count the maximal runs of True along one axis.

    Args:
        mask: [items, *space].
        axis: the axis of space to walk along, 0 for the first.
        periodic: a run goes on at the other end of its line; then only a line that is all phase is cut.
    """
    items, n = mask.shape[0], mask.shape[axis + 1]
    along = np.moveaxis(mask, axis + 1, -1).reshape(-1, n)
    if periodic:  # turn every line so that it begins outside the phase: no run crosses its ends
        outside = along.argmin(axis=1)
        along = np.take_along_axis(along, (outside[:, None] + np.arange(n)) % n, axis=1)
    padded = np.zeros((len(along), n + 2), dtype=np.bool_)  # a False at both ends of every line closes its runs
    padded[:, 1:-1] = along
    flat = padded.ravel()
    changes = np.flatnonzero(flat[1:] != flat[:-1])  # start, end, start, end, ...
    starts, ends = changes[0::2], changes[1::2]
    lengths = ends - starts
    touches = lengths == n if periodic else (starts % (n + 2) == 0) | (ends % (n + 2) == n)
    lines = len(along) // items
    slot = starts // (lines * (n + 2)) * (n + 1) + lengths  # item, length
    histograms = [np.bincount(slot[chosen], minlength=items * (n + 1)) for chosen in (~touches, touches)]
    whole, cut = (histogram.reshape(items, n + 1).astype(np.int64) for histogram in histograms)
    return Runs(whole=whole, cut=cut, lines=lines)


def check_lags(r_max: int, sides: Sequence[int]) -> None:
    """Raise InputError where a curve of `r_max` entries does not fit into the shortest side."""
    shortest = min(sides)
    if not 1 <= r_max <= shortest:
        raise InputError(f"r_max: must lie within 1 .. {shortest} (the shortest side), not {r_max}")


def as_items(mask: NDArray[Any], space_dims: int) -> tuple[NDArray[np.bool_], tuple[int, ...]]:
    """The mask as bool [items, *space], and the shape of the batch that was flattened into items.

    Raises:
        InputError: fewer axes than `space_dims`, no voxel, or values other than 0 and 1.
    """
    mask = np.asarray(mask)
    if mask.ndim < space_dims or mask.size == 0:
        raise InputError(f"mask: need at least {space_dims} axes and one voxel, got shape {mask.shape}")
    if mask.dtype != np.bool_:
        hard = mask.astype(np.bool_)
        if not np.array_equal(hard, mask):
            raise InputError("mask: must be bool or hold only 0 and 1; compare the labels with one label first")
        mask = hard
    cut = mask.ndim - space_dims
    return mask.reshape(-1, *mask.shape[cut:]), mask.shape[:cut]
