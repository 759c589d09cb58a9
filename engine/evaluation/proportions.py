"""Intervals for a share of successes."""

from math import sqrt
from statistics import NormalDist

from engine.errors import InputError


def wilson_interval(successes: int, trials: int, confidence: float = 0.95) -> tuple[float, float]:
    """Score interval of a binomial proportion (Wilson 1927): sound for few trials and for shares near 0 or 1.

    Args:
        successes: how many of the trials held, 0 .. trials.
        trials: at least 1.
        confidence: two-sided, within (0, 1).

    Returns:
        (low, high) within [0, 1].

    Raises:
        InputError: counts or confidence out of range.
    """
    if trials < 1 or not 0 <= successes <= trials or not 0 < confidence < 1:
        raise InputError(
            f"interval: need 0 <= successes <= trials, trials >= 1 and a confidence within (0, 1), "
            f"got {successes} of {trials} at {confidence}"
        )
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    share = successes / trials
    centre = (share + z * z / (2 * trials)) / (1 + z * z / trials)
    half = z / (1 + z * z / trials) * sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials))
    low = 0.0 if successes == 0 else max(0.0, centre - half)
    high = 1.0 if successes == trials else min(1.0, centre + half)
    return low, high
