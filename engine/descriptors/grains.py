"""Grain sizes: volumes of the separate pieces of a phase, as diameters of the balls (disks) of the same volume.

A piece is a cluster of voxels joined through their faces; pieces that touch can be parted first at the necks of their
distance map (watershed, Beucher and Lantuéjoul 1979), as is usual for particles. In a volume that is not periodic a
piece at the border has an unknown size: it is left out, and each whole piece is weighted by how many places its
bounding box could have had without touching the border (Miles 1974, Lantuéjoul 1980), as chords are.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.descriptors.connectivity import clusters
from engine.errors import InputError

_NECK_SMOOTHING = 1.0  # voxels; without it every ripple of the distance map parts a piece


@dataclass(frozen=True, kw_only=True, eq=False)
class Grains:
    """The whole pieces of a phase."""

    diameters: NDArray[np.float64]
    """[pieces], in voxels: of the ball (2D: disk) with the piece's volume."""
    weights: NDArray[np.float64]
    """[pieces], dimensionless: expected number of such pieces in the volume for each one seen whole, at least 1."""
    whole_share: float
    """Share of the phase's voxels in whole pieces: where it is small, the pieces are larger than the volume shows."""

    @property
    def mean_diameter(self) -> float:
        """Mean over the pieces, in voxels; 0 where there is none."""
        return float(np.average(self.diameters, weights=self.weights)) if len(self.diameters) else 0.0


def grain_sizes(mask: NDArray[Any], *, periodic: bool = False, part: bool = False) -> Grains:
    """Sizes of the pieces of a phase in one volume or image.

    Args:
        mask: [D, H, W] or [H, W], true (non-zero) where the phase is.
        periodic: pieces go on at the opposite side; all are whole then.
        part: part touching pieces by the watershed of the distance map.

    Raises:
        InputError: the mask is neither a volume nor an image, or a periodic one is to be parted.
    """
    phase = np.asarray(mask, dtype=bool)
    if phase.ndim not in (2, 3):
        raise InputError(f"mask: must be a volume of three axes or an image of two, not of {phase.ndim}")
    if part and periodic:
        raise InputError("part: the watershed knows no periodic border; part the pieces with periodic=False")
    if part and phase.any():
        numbers = _parted(phase)
        count = int(numbers.max(initial=0))
    else:
        numbers, count = clusters(phase, periodic=tuple(range(phase.ndim)) if periodic else ())
    volumes = np.bincount(numbers.ravel(), minlength=count + 1)[1:].astype(np.float64)
    places = np.ones(count)
    if not periodic:
        places = _places(numbers, count)
    whole = places > 0
    everywhere = np.prod(phase.shape) if periodic else math.prod(max(n - 2, 1) for n in phase.shape)
    weights = np.ones(count) if periodic else everywhere / np.where(whole, places, 1)
    total = volumes.sum()
    return Grains(
        diameters=_diameter(volumes[whole], phase.ndim),
        weights=weights[whole],
        whole_share=float(volumes[whole].sum() / total) if total else 0.0,
    )


def _places(numbers: NDArray[np.int32], count: int) -> NDArray[np.float64]:
    """Places of each piece's bounding box in the volume that touch no border; 0 for a piece that touches it."""
    from scipy import ndimage

    places = np.zeros(count)
    for i, box in enumerate(ndimage.find_objects(numbers, count)):
        sides = zip(box, numbers.shape, strict=True)
        if all(part.start > 0 and part.stop < n for part, n in sides):
            places[i] = math.prod(n - (part.stop - part.start) - 1 for part, n in zip(box, numbers.shape, strict=True))
    return places


def _parted(phase: NDArray[np.bool_]) -> NDArray[np.int32]:
    """Number the pieces of a phase that the watershed of its distance map parts; 0 outside."""
    from scipy import ndimage
    from skimage.feature import peak_local_max
    from skimage.segmentation import watershed

    distance = ndimage.gaussian_filter(ndimage.distance_transform_edt(phase), _NECK_SMOOTHING) * phase
    numbers, _ = ndimage.label(phase)
    seeds = np.zeros(phase.shape, dtype=np.int32)
    peaks = peak_local_max(distance, labels=numbers, exclude_border=False)  # type: ignore[no-untyped-call]
    seeds[tuple(peaks.T)] = np.arange(1, len(peaks) + 1)
    parted = watershed(-distance, seeds, mask=phase)  # type: ignore[no-untyped-call]
    return np.asarray(parted, dtype=np.int32)


def _diameter(volume: NDArray[np.float64], dims: int) -> NDArray[np.float64]:
    return np.asarray(np.cbrt(6 * volume / np.pi) if dims == 3 else np.sqrt(4 * volume / np.pi))
