"""S2 and lineal path of a bundle's training crops, kept in its card: the band that reports draw beside volumes.

A crop is smaller than a volume, so its curves spread more than those of volumes: the band says what the micrographs
show, not how far volumes may differ from each other.
"""

import numpy as np
from numpy.typing import NDArray

from engine.descriptors.lineal_path import lineal_path
from engine.descriptors.two_point import directional_s2
from engine.micrographs.crops import CropSampler
from engine.micrographs.micrograph import Micrographs

KEY = "training_curves"
"""Under which a card's metrics hold the curves."""
BAND = (5.0, 95.0)
"""Percentiles of the crops between which the band lies."""
CROPS = 512
LAGS = 32

Curves = dict[str, dict[str, list[float]]]
"""`s2[pore]` -> `mean`, `low`, `high`, each [R], entry r at r pixels."""


def training_curves(micrographs: Micrographs, crop: int, seed: int = 0, count: int = CROPS) -> Curves:
    """Curves of random training crops, averaged over the two directions in the plane.

    Args:
        micrographs: training data.
        crop: pixels on a side.
        seed: of the crops.
        count: how many.
    """
    crops = CropSampler(micrographs, crop).draw(count, np.random.default_rng([seed, 5])).indices.numpy()
    lags = min(LAGS, crop)
    found: Curves = {}
    for index, phase in enumerate(micrographs.phases):
        masks = crops == index
        # [count, directions, R] each
        s2 = np.stack([directional_s2(mask, lags, space_dims=2).numpy() for mask in masks])
        lineal = np.stack([lineal_path(mask, lags, space_dims=2) for mask in masks])
        found[f"s2[{phase}]"] = _band(s2.mean(axis=1))
        found[f"lineal_path[{phase}]"] = _band(lineal.mean(axis=1))
    return found


def _band(curves: NDArray[np.float64]) -> dict[str, list[float]]:
    """[count, R] -> mean and percentiles, to five digits."""
    low, high = np.percentile(curves, BAND, axis=0)
    return {
        name: [float(f"{value:.5g}") for value in values]
        for name, values in (("mean", curves.mean(axis=0)), ("low", low), ("high", high))
    }
