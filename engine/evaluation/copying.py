"""Whether a set was copied from its training images.

Of each image the square of half its side that holds most interface is searched in every training image, at every
position and in the eight orientations of the square. A square of nearly one phase is found everywhere and says nothing:
images without a busier one are passed over. How near is too near is told by unseen true images, searched in the same
way (after Meehan et al. 2020): a set that is nearer to the training images than the truth is has copied.

Legend: P patches, T training images, K phases, s patch side.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from engine.errors import InputError
from engine.evaluation.sets import BlockSet
from engine.parallel import one_thread, single_threads

PATCHES = 32
"""Images of a set that are searched at most, evenly spread over the set."""
TRAINING_SLICES = 1_000
"""Slices of training volumes at most, at equal steps across all axes: slices a voxel or two apart are nearly equal."""
TRAINING_PIXELS_AT_ONCE = 2**20
"""Of the training images whose transforms are held at a time: 4 MiB for each phase."""
PIXELS_AT_ONCE = 2**18
"""Of one product of transforms: 1 MiB, so that it stays in a core's cache."""

Progress = Callable[[float], None]
"""Called with the share that is done, 0 to 1."""


@dataclass(frozen=True, kw_only=True)
class Copying:
    """Nearest training crops of ours and of true images, as shares of differing pixels."""

    side: int
    """Of the searched squares, in pixels."""
    images: int
    """Of ours that were searched."""
    reference_images: int
    """True images that were searched."""
    training_images: int
    """That they were searched in."""
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
    images: NDArray[np.uint8],
    training: NDArray[np.uint8],
    *,
    own: NDArray[np.bool_] | None = None,
    on_progress: Progress | None = None,
) -> NDArray[np.float64]:
    """Smallest share of pixels in which the busiest square of each image differs from a training crop.

    Exact: the equal pixels of a square and all crops of an image are one correlation, taken by FFT. As many squares as
    torch has threads are searched at once, each on one thread: transforms this small lose more than they gain on two.

    Args:
        images: phase indices [P, H, W].
        training: phase indices [T, H', W'], at least as large as the squares (half of the shorter side of an image).
        own: [P, T], true where a training image must not count (it is the image itself).
        on_progress: called between squares, in the caller's thread.

    Returns:
        [P]: 0 for a copy.

    Raises:
        InputError: training images smaller than the squares.
    """
    side, size = patch_side(images), tuple(training.shape[1:])
    if min(size) < side:
        raise InputError(f"copying: training images of {size} are smaller than squares of {side} pixels")
    phases = int(max(images.max(), training.max())) + 1
    squares = torch.from_numpy(np.stack([busiest_square(image, side)[0] for image in images])).long()
    turned = torch.stack([torch.rot90(each, k, (1, 2)) for each in (squares, squares.mT) for k in range(4)], dim=1)
    positions = tuple(n - side + 1 for n in size)
    most = np.zeros((len(images), len(training)))
    at_once = max(1, TRAINING_PIXELS_AT_ONCE // (size[0] * size[1]))
    workers = torch.get_num_threads()
    with one_thread(), single_threads(workers) as pool:
        for start in range(0, len(training), at_once):
            here = _spectrum(torch.from_numpy(training[start : start + at_once].copy()).long(), phases, size)

            def search(square: torch.Tensor, here: torch.Tensor = here) -> NDArray[np.float32]:
                return _most_equal(_spectrum(square, phases, size).conj().resolve_conj(), here, size, positions)

            # an interrupt leaves the loop, which cancels the squares that were not begun
            for place, found in enumerate(pool.map(search, turned)):
                most[place, start : start + here.shape[1]] = found
                if on_progress is not None:
                    on_progress((start + here.shape[1] * (place + 1) / len(images)) / len(training))
    if own is not None:
        most[own] = 0
    return np.asarray(1 - np.round(most.max(axis=1)) / side**2)  # counts, off by rounding of the transforms only


def _most_equal(
    squares: torch.Tensor, training: torch.Tensor, size: tuple[int, ...], positions: tuple[int, ...]
) -> NDArray[np.float32]:
    """Most equal pixels of any square in any place of each training image [T].

    Args:
        squares: conjugate transforms of the eight orientations of one square [K, 8, H', W'/2 + 1].
        training: transforms [K, T, H', W'/2 + 1].
        size: H', W'. positions: of a square within them.
    """
    found = []
    for part in training.split(max(1, PIXELS_AT_ONCE // (8 * size[0] * size[1])), dim=1):  # type: ignore[no-untyped-call]
        product = squares[0, :, None] * part[0]
        for square, images in zip(squares[1:], part[1:], strict=True):
            product.addcmul_(square[:, None], images)
        equal = torch.fft.irfft2(product, s=size)[..., : positions[0], : positions[1]]
        found.append(equal.amax(dim=(0, 2, 3)))
    return np.asarray(torch.cat(found).numpy())


def busiest_square(image: NDArray[np.uint8], side: int) -> tuple[NDArray[np.uint8], int]:
    """The square of an image [H, W] with most pairs of neighbours in different phases [side, side], and how many."""
    down = _sums(image[1:] != image[:-1], side - 1, side)
    across = _sums(image[:, 1:] != image[:, :-1], side, side - 1)
    pairs = down + across
    y, x = np.unravel_index(int(pairs.argmax()), pairs.shape)
    return image[y : y + side, x : x + side], int(pairs[y, x])


def _sums(values: NDArray[np.bool_], height: int, width: int) -> NDArray[np.int64]:
    """Sums over every window of [H, W]: [H - height + 1, W - width + 1]."""
    total = np.pad(values.cumsum(axis=0).cumsum(axis=1), ((1, 0), (1, 0)))
    rows = total[height:] - total[:-height]
    return np.asarray(rows[:, width:] - rows[:, :-width])


def telling(images: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Numbers of the images [N, H, W] whose busiest square holds as much interface as a band right through it."""
    side = patch_side(images)
    return np.flatnonzero([busiest_square(image, side)[1] >= 2 * side for image in images])


def patch_side(images: NDArray[np.uint8]) -> int:
    """Side of the squares that are searched."""
    return max(4, int(min(images.shape[1:])) // 2)


def copying(
    ours: BlockSet, truth: BlockSet, training: BlockSet | None = None, *, on_progress: Progress | None = None
) -> Copying | None:
    """Judge whether `ours` copies the training images; None where no image of a set has enough interface to tell.

    Args:
        ours, truth: the truth not in the training set.
        training: None takes the truth itself, each block of which is then searched in the others.
        on_progress: called as the search goes on.
    """
    from scipy.stats import mannwhitneyu

    searched, owners = (truth if training is None else training).dense_slices(TRAINING_SLICES)
    images, true = ours.slices(), truth.slices()
    one, two = (among[evenly(len(among), PATCHES)] for among in (telling(images), telling(true)))
    if not len(one) or not len(two):
        return None
    own = None if training is not None else truth.owners()[two, None] == owners[None]
    report = on_progress or (lambda share: None)
    found = nearest_mismatch(images[one], searched, on_progress=lambda share: report(share / 2))
    reference = nearest_mismatch(true[two], searched, own=own, on_progress=lambda share: report((1 + share) / 2))
    return Copying(
        side=patch_side(images),
        images=len(one),
        reference_images=len(two),
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
    """Transforms of the phase indicators [K, B, *], zero-padded to `size`."""
    indicators = torch.nn.functional.one_hot(images, phases).movedim(-1, 0).float()
    spectrum: torch.Tensor = torch.fft.rfft2(indicators, s=size)
    return spectrum
