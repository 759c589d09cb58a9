"""Means over many samples against exact values."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from engine.micrographs.synthetic.grid import Labels, Material


def samples(material: Material, shape: tuple[int, ...], count: int, *, first_seed: int = 0) -> Labels:
    """[count, *shape]."""
    return np.stack([material.sample(shape, first_seed + seed) for seed in range(count)])


def assert_mean(values: NDArray[np.float64], expected: ArrayLike, *, within: float = 3) -> None:
    """The mean over samples [count, ...] is the expected value within so many standard errors, everywhere."""
    error = values.std(axis=0, ddof=1) / np.sqrt(len(values))
    away = np.abs(values.mean(axis=0) - np.asarray(expected)) / np.maximum(error, 1e-12)
    assert (away <= within).all(), f"{away} standard errors away: {values.mean(axis=0)} instead of {expected}"
