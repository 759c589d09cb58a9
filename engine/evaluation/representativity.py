"""How the spread of a fraction falls with the size of the piece, and what size is representative.

For pieces of volume V far above the correlation length the variance of a fraction phi is phi (1 - phi) A / V, A the
integral range (Lantuejoul 1991; Kanit et al. 2003): the size of one independent cell.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.evaluation.compare import Interval, bootstrap_interval

ERROR = 0.05
"""Relative standard deviation at which a piece counts as representative."""
LEAST_SIDE = 8


@dataclass(frozen=True, kw_only=True)
class SpreadBySize:
    """Standard deviation of a fraction among pieces of one size."""

    side: int
    ours: float
    truth: float
    truth_interval: Interval
    """95 % bootstrap interval over blocks."""


@dataclass(frozen=True, kw_only=True)
class Representativity:
    """Of one phase."""

    phase: str
    sizes: tuple[SpreadBySize, ...]
    """Sides a block, half a block, ... down to LEAST_SIDE, largest first."""
    integral_range: float
    """In voxels, from whole blocks of the truth; 0 where the phase is absent or everything."""
    representative_side: float
    """Side of a piece whose fraction has a relative standard deviation of 5 %, if the law above holds."""


def fraction_spread(mask: NDArray[np.bool_], side: int) -> NDArray[np.float64]:
    """Fractions of the disjoint pieces [N, pieces] of blocks [N, *space] cut from the first corner on."""
    space = mask.shape[1:]
    counts = [n // side for n in space]
    kept = mask[(slice(None), *(slice(count * side) for count in counts))]
    split = kept.reshape(len(mask), *(n for count in counts for n in (count, side)))
    inner = tuple(range(2, 2 * len(space) + 1, 2))
    return np.asarray(split.mean(axis=inner).reshape(len(mask), -1))


def representativity(
    ours: NDArray[np.bool_], truth: NDArray[np.bool_], phase: str, *, draws: int = 200, seed: int = 0
) -> Representativity:
    """Spread by size of one phase, ours and true.

    Args:
        ours, truth: masks [N, *space], [M, *space].
    """
    sizes, side = [], truth.shape[1]
    while side >= LEAST_SIDE:
        true = fraction_spread(truth, side)

        def spread(chosen: NDArray[np.float64], true: NDArray[np.float64] = true) -> float:
            return float(true[chosen.astype(np.int64)].std(ddof=1))

        interval = bootstrap_interval(np.arange(len(true)), spread, draws=draws, seed=seed)
        found = float(fraction_spread(ours, side).std(ddof=1))
        sizes.append(SpreadBySize(side=side, ours=found, truth=float(true.std(ddof=1)), truth_interval=interval))
        side //= 2
    fraction, volume = float(truth.mean()), float(np.prod(truth.shape[1:]))
    binary = fraction * (1 - fraction)
    cell = volume * sizes[0].truth ** 2 / binary if binary and sizes else 0.0
    needed = binary * cell / (ERROR * fraction) ** 2 if fraction else 0.0
    return Representativity(
        phase=phase,
        sizes=tuple(sizes),
        integral_range=cell,
        representative_side=needed ** (1 / (truth.ndim - 1)),
    )
