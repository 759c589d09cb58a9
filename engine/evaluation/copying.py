"""Whether a set was copied from its training images.

Of each image the square of half its side about the middle is searched in every training image, at every position and in
the eight orientations of the square. How near is too near is told by unseen true images, searched in the same way
(after Meehan et al. 2020): a set that is nearer to the training images than the truth is has copied.

Legend: P patches, T training images, K phases, s patch side.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from engine.errors import InputError
from engine.evaluation.sets import BlockSet

PATCHES = 32
"""Images of a set that are searched at most, evenly spread over the set."""
TRAINING_SLICES = 1_000
"""Slices of training volumes at most, at equal steps across all axes: slices a voxel or two apart are nearly equal."""
VALUES_AT_ONCE = 2**25
"""Correlation values held at a time: 128 MiB."""


@dataclass(frozen=True, kw_only=True)
class Copying:
    """Nearest training crops of ours and of true images, as shares of differing pixels."""

    side: int
    """Of the searched squares, in pixels."""
    training_images: int
    nearest: float
    """Smallest mismatch of ours."""
    median: float
    reference_nearest: float
    """Smallest mismatch of true images."""
    reference_median: float
    copies: int
    """Images of ours whose mismatch is below half of the smallest among true images."""
    p_value: float
    """That true images are as near as ours (one-sided Mann-Whitney): below 0.05 ours are nearer."""

    @property
    def passes(self) -> bool:
        """No copy, and as a set no nearer than the truth."""
        return self.copies == 0 and self.p_value >= 0.05


def nearest_mismatch(
    images: NDArray[np.uint8], training: NDArray[np.uint8], *, own: NDArray[np.bool_] | None = None
) -> NDArray[np.float64]:
    """Smallest share of pixels in which the middle square of each image differs from a training crop.

    Args:
        images: phase indices [P, H, W].
        training: phase indices [T, H', W'], at least as large as the squares (half of the shorter side of an image).
        own: [P, T], true where a training image must not count (it is the image itself).

    Returns:
        [P]: 0 for a copy.

    Raises:
        InputError: training images smaller than the squares.
    """
    side = patch_side(images)
    if min(training.shape[1:]) < side:
        raise InputError(f"copying: training images of {training.shape[1:]} are smaller than squares of {side} pixels")
    phases = int(max(images.max(), training.max())) + 1
    top, left = ((n - side) // 2 for n in images.shape[1:])
    middles = torch.from_numpy(images[:, top : top + side, left : left + side].copy()).long()
    turned = torch.stack([torch.rot90(each, k, (1, 2)) for each in (middles, middles.mT) for k in range(4)], dim=1)
    size = tuple(training.shape[1:])
    patches = _spectrum(turned.flatten(0, 1), phases, size).conj()  # [8 P, K, H', W'/2 + 1]
    h, w = (n - side + 1 for n in size)
    most = np.zeros((len(images), len(training)))
    at_once = max(1, VALUES_AT_ONCE // (8 * size[0] * size[1]))
    for start in range(0, len(training), at_once):
        here = _spectrum(torch.from_numpy(training[start : start + at_once].copy()).long(), phases, size)
        for p in range(len(images)):
            product = torch.einsum("ekyx,tkyx->etyx", patches[8 * p : 8 * p + 8], here)
            equal = torch.fft.irfft2(product, s=size)[..., :h, :w]
            most[p, start : start + len(here)] = equal.amax(dim=(0, 2, 3)).numpy()
    if own is not None:
        most[own] = 0
    return np.asarray(1 - np.round(most.max(axis=1)) / side**2)  # counts, off by rounding of the transforms only


def patch_side(images: NDArray[np.uint8]) -> int:
    """Side of the squares that are searched."""
    return max(4, int(min(images.shape[1:])) // 2)


def copying(ours: BlockSet, truth: BlockSet, training: BlockSet | None = None) -> Copying:
    """Judge whether `ours` copies the training images.

    Args:
        ours, truth: the truth not in the training set.
        training: None takes the truth itself, each block of which is then searched in the others.
    """
    from scipy.stats import mannwhitneyu

    searched, owners = (truth if training is None else training).dense_slices(TRAINING_SLICES)
    images, true = ours.slices(), truth.slices()
    one, two = (evenly(len(each), PATCHES) for each in (images, true))
    own = None if training is not None else truth.owners()[two, None] == owners[None]
    found = nearest_mismatch(images[one], searched)
    reference = nearest_mismatch(true[two], searched, own=own)
    return Copying(
        side=patch_side(images),
        training_images=len(searched),
        nearest=float(found.min()),
        median=float(np.median(found)),
        reference_nearest=float(reference.min()),
        reference_median=float(np.median(reference)),
        copies=int((found < 0.5 * reference.min()).sum()),
        p_value=float(mannwhitneyu(found, reference, alternative="less").pvalue),
    )


def evenly(count: int, most: int) -> NDArray[np.int64]:
    """At most `most` of the numbers 0 .. count - 1, evenly spread."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(np.int64))


def _spectrum(images: torch.Tensor, phases: int, size: tuple[int, ...]) -> torch.Tensor:
    """Transforms of the phase indicators [B, K, *], zero-padded to `size`."""
    indicators = torch.nn.functional.one_hot(images, phases).movedim(-1, 1).float()
    spectrum: torch.Tensor = torch.fft.rfft2(indicators, s=size)
    return spectrum
