"""How far two curves of a descriptor are from each other."""

import numpy as np
from numpy.typing import NDArray

from engine.errors import InputError


def relative_area(curve: NDArray[np.float64], reference: NDArray[np.float64]) -> NDArray[np.float64]:
    """Discrepancy of curves: area between them over the area under the reference (Lee and Yun, eq. 23).

    The reference's area is taken as |reference|, so that an autocovariance that goes below zero can be one.

    Args:
        curve, reference: [..., R] at unit spacing.

    Returns:
        [...], a ratio (0.05 is 5 %).

    Raises:
        InputError: the reference is zero throughout.
    """
    area = np.abs(reference).sum(axis=-1)
    if not np.all(area > 0):
        raise InputError("discrepancy: the reference curve is zero everywhere; is the phase absent from the truth?")
    return np.asarray(np.abs(curve - reference).sum(axis=-1) / area)
