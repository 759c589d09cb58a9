"""How far apart two sets of true blocks lie: the yardstick for a reconstruction.

Two sets of sub-volumes of one tomogram differ too, so a discrepancy means something only beside the null
distribution: the discrepancy between the mean of N blocks and the mean of M blocks, both drawn with replacement
from the M disjoint truth blocks.

Legend: N generated volumes, M truth blocks, R points of a curve.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.descriptors.discrepancy import relative_area
from engine.errors import InputError

DRAWS = 2000  # the 95th percentile of the null then has a standard error of about 2 % of itself


def blocks(volume: NDArray[Any], size: int) -> NDArray[Any]:
    """Cut a volume into disjoint cubes, from its first corner on; what does not fill a cube is left out.

    Args:
        volume: [Z, Y, X].
        size: side of a cube, in voxels.

    Returns:
        [M, size, size, size], x fastest. A copy.

    Raises:
        InputError: the volume does not hold one cube.
    """
    if volume.ndim != 3 or size < 1 or min(volume.shape) < size:
        raise InputError(f"blocks: a volume of shape {volume.shape} holds no block of {size} voxels a side")
    z, y, x = (side // size for side in volume.shape)
    cut = volume[: z * size, : y * size, : x * size].reshape(z, size, y, size, x, size)
    return cut.transpose(0, 2, 4, 1, 3, 5).reshape(-1, size, size, size).copy()


def null_distribution(
    truth: NDArray[np.float64], generated_count: int, *, draws: int = DRAWS, seed: int = 0
) -> NDArray[np.float64]:
    """Discrepancies between two sets of true blocks, the M-draw being the reference.

    Args:
        truth: [M, R], one curve per disjoint truth block.
        generated_count: N, the number of generated volumes that are to be judged.
        draws: how many pairs of sets.
        seed: of the draws.

    Returns:
        [draws], ratios.

    Raises:
        InputError: fewer than two truth blocks, or nothing to judge.
    """
    count = len(truth)
    if count < 2 or generated_count < 1 or draws < 1:
        raise InputError(
            f"null distribution: needs 2 truth blocks, 1 generated volume and 1 draw at least, "
            f"got {count}, {generated_count} and {draws}"
        )
    generator = np.random.default_rng(seed)
    even = np.full(count, 1 / count)
    # how often each block is drawn; a set's mean is then one row of a matrix product
    as_generated = generator.multinomial(generated_count, even, size=draws) / generated_count
    as_truth = generator.multinomial(count, even, size=draws) / count
    return relative_area(as_generated @ truth, as_truth @ truth)
