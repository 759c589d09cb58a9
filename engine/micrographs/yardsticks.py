"""What the micrograph doctor measures: chords, correlations and integral ranges of a set of labelled images.

Shapes: `K` phases, `R` lags in pixels. Arrays are phase indices, all (y, x) or all (z, y, x).
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from engine.descriptors.chords import mean_chord
from engine.descriptors.two_point import autocovariance, directional_s2

DECAYED = 0.1
"""Autocovariance that counts as gone."""
NOISE = 0.02
"""Autocovariance below which an estimate from one image is noise."""
MOST_LAGS = 128
MOST_PIXELS = 2**22
"""Of a volume, at most so many voxels go into correlations: the statistics are settled long before."""
BLOCKS_PER_SIDE = 4


def chords_per_axis(arrays: Sequence[NDArray[np.uint8]], phases: int) -> NDArray[np.float64]:
    """Mean chords [K, axes] over all arrays: fractions over crossings, both weighted by pixels."""
    sizes = np.array([array.size for array in arrays], dtype=np.float64)
    out = np.zeros((phases, arrays[0].ndim))
    for phase in range(phases):
        masks = [array == phase for array in arrays]
        fractions = np.array([mask.mean() for mask in masks])
        lengths = np.stack([mean_chord(mask, space_dims=mask.ndim) for mask in masks])
        with np.errstate(divide="ignore", invalid="ignore"):  # no interface: no crossings
            crossings = np.where(lengths > 0, 2 * fractions[:, None] / lengths, 0.0)
            crossings = np.where(np.isfinite(lengths), crossings, 0.0)
            out[phase] = 2 * (sizes @ fractions) / (sizes @ crossings)
    return out


def mean_over_axes(chords: NDArray[np.float64]) -> float:
    """Mean chord over the axes: of the crossings, as these add up."""
    finite = chords[np.isfinite(chords) & (chords > 0)]
    return float(1 / (1 / finite).mean()) if len(finite) else math.inf


def bounded(chords: NDArray[np.float64]) -> bool:
    """Whether a phase is there and meets an interface along every axis."""
    return bool(np.isfinite(chords).all() and (chords > 0).all())


def correlations(arrays: Sequence[NDArray[np.uint8]], phases: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Autocovariance [K, R], mean of axes and arrays, and integral range [K] in pixels of the arrays' dimension.

    The integral takes the mean of the axes for every direction.
    """
    parts = [thinned(array) for array in arrays]
    dims = parts[0].ndim
    lags = min(MOST_LAGS, *(min(part.shape) // 2 for part in parts))
    weights = np.array([part.size for part in parts], dtype=np.float64)
    curves = np.zeros((phases, lags))
    for phase in range(phases):
        each = [directional_s2(part == phase, lags, space_dims=dims).numpy().mean(axis=0) for part in parts]
        s2 = np.average(each, axis=0, weights=weights)
        curves[phase] = autocovariance(torch.from_numpy(s2)).numpy()
    ranges = np.zeros(phases)
    distance = np.arange(lags)
    shell = 2 * np.pi * distance if dims == 2 else 4 * np.pi * distance**2
    for phase in range(phases):
        # Up to where it first vanishes: beyond, the estimate is noise, and the shells are large.
        below = np.flatnonzero(curves[phase] <= NOISE)
        end = below[0] if len(below) else lags
        ranges[phase] = max(1.0, float((shell * curves[phase])[:end].sum()))
    if phases == 2:  # each is the other's complement: one range, and the estimates differ by noise alone
        ranges[:] = ranges.max()
    return curves, ranges


def thinned(array: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The middle part of a volume that is too large to correlate in a moment."""
    if array.ndim == 2 or array.size <= MOST_PIXELS:
        return array
    sides = [min(side, round(MOST_PIXELS ** (1 / 3))) for side in array.shape]
    starts = [(side - part) // 2 for side, part in zip(array.shape, sides, strict=True)]
    return array[tuple(slice(start, start + part) for start, part in zip(starts, sides, strict=True))]


def decay_length(rho: NDArray[np.float64]) -> int | None:
    """Pixels within which every phase's autocovariance falls below DECAYED; None if it does not within the lags."""
    lengths = [np.flatnonzero(curve < DECAYED) for curve in rho]
    return max(int(found[0]) for found in lengths) if all(len(found) for found in lengths) else None


def s2_difference(arrays: Sequence[NDArray[np.uint8]], phase: int) -> float:
    """Largest area between two axes' S2, relative to the area below their mean."""
    parts = [thinned(array) for array in arrays]
    lags = min(32, *(min(part.shape) for part in parts))
    weights = [part.size / sum(p.size for p in parts) for part in parts]
    curves = np.sum(
        [
            weight * directional_s2(part == phase, lags, space_dims=part.ndim).numpy()
            for weight, part in zip(weights, parts, strict=True)
        ],
        axis=0,
    )
    return float(max(np.abs(a - b).sum() for a in curves for b in curves) / curves.mean(axis=0).sum())


def blocks(array: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
    """The array cut into equal blocks, 4 along each side."""
    parts = [array]
    for axis in range(array.ndim):
        parts = [piece for part in parts for piece in np.array_split(part, BLOCKS_PER_SIDE, axis=axis)]
    return parts
