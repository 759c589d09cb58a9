"""A generated set against a true set: curves by the null distribution, scalars by median, spread and mean."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.descriptors.discrepancy import relative_area
from engine.errors import InputError
from engine.evaluation.null import DRAWS, null_distribution

Interval = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Mean curve of a generated set against the mean curve of the truth. All numbers are ratios (0.05 is 5 %)."""

    observed: float
    """Relative area between the two mean curves."""
    null_median: float
    """Median of the same statistic between two sets of true blocks of these sizes."""
    null_p95: float
    """Its 95th percentile."""
    ratio_to_median: float
    """observed / null_median: about 1 where the generated set is as near as another true set."""
    passes: bool
    """observed <= null_p95."""
    signed_bias: float
    """Signed area between the curves over the truth's area: above 0 where the generated curve lies higher."""


def compare(
    generated: NDArray[Any],
    truth: NDArray[Any],
    *,
    draws: int = DRAWS,
    seed: int = 0,
    r_max: int | None = 32,
) -> Comparison:
    """Judge a set of generated volumes by one kind of curve (S2, lineal path, normalised autocovariance).

    Args:
        generated: [N, R] or [N, axes, R], one curve per volume; several axes are averaged first.
        truth: [M, R] or [M, axes, R], one curve per disjoint block of the same size.
        draws, seed: of the null distribution.
        r_max: only r < r_max counts (32 is half a 64-voxel block); None for the whole curve.

    Raises:
        InputError: curves of different length, shorter than r_max or not finite, or fewer than two truth blocks.
    """
    ours, true = _curves(generated, r_max, "generated"), _curves(truth, r_max, "truth")
    if ours.shape[1] != true.shape[1]:
        raise InputError(f"compare: generated curves have {ours.shape[1]} points, true ones {true.shape[1]}")
    null = null_distribution(true, len(ours), draws=draws, seed=seed)
    mean, reference = ours.mean(axis=0), true.mean(axis=0)
    observed = float(relative_area(mean, reference))
    median, p95 = float(np.median(null)), float(np.quantile(null, 0.95))
    return Comparison(
        observed=observed,
        null_median=median,
        null_p95=p95,
        ratio_to_median=_ratio(observed, median),
        passes=observed <= p95,
        signed_bias=float((mean - reference).sum() / np.abs(reference).sum()),
    )


@dataclass(frozen=True, kw_only=True)
class ScalarComparison:
    """One number per volume, generated against true. Intervals are 95 % bootstrap intervals."""

    median_shift: float
    """(median generated - median true) / standard deviation of the true blocks."""
    median_shift_interval: Interval
    sd_ratio: float
    """Standard deviation generated / true: below 1 where the generated set varies too little."""
    sd_ratio_interval: Interval
    mean_shift: float
    """(mean generated - mean true) in units of the combined standard error of the two means."""
    relative_mean_shift: float
    """(mean generated - mean true) / mean true."""


def compare_scalars(
    generated: NDArray[Any], truth: NDArray[Any], *, draws: int = DRAWS, seed: int = 0
) -> ScalarComparison:
    """Judge a set of generated volumes by one number per volume (fraction, surface area, diffusivity).

    Both sets are resampled with replacement. A resample of the truth without spread (possible for very few
    blocks) has no ratio and is left out.

    Args:
        generated: [N]. truth: [M].
        draws, seed: of the bootstrap.

    Raises:
        InputError: a set of fewer than two values, values that are not finite, or a truth without spread.
    """
    ours, true = _scalars(generated, "generated"), _scalars(truth, "truth")
    generator = np.random.default_rng(seed)
    our_sets = ours[generator.integers(len(ours), size=(draws, len(ours)))]
    true_sets = true[generator.integers(len(true), size=(draws, len(true)))]

    def statistic(a: NDArray[np.float64], b: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        spread = b.std(axis=-1, ddof=1)
        keep = spread > 0
        shift = (np.median(a, axis=-1) - np.median(b, axis=-1))[keep] / spread[keep]
        return shift, a.std(axis=-1, ddof=1)[keep] / spread[keep]

    shift, ratio = statistic(ours[None], true[None])
    if not len(shift):
        raise InputError("truth: all values are equal, so there is no standard deviation to measure by")
    shifts, ratios = statistic(our_sets, true_sets)
    return ScalarComparison(
        median_shift=float(shift[0]),
        median_shift_interval=_interval(shifts),
        sd_ratio=float(ratio[0]),
        sd_ratio_interval=_interval(ratios),
        mean_shift=mean_shift_in_standard_errors(ours, true),
        relative_mean_shift=_ratio(float(ours.mean() - true.mean()), float(true.mean())),
    )


def mean_shift_in_standard_errors(generated: NDArray[Any], truth: NDArray[Any]) -> float:
    """Difference of two means in units of their combined standard error sqrt(s_a^2 / N + s_b^2 / M) (Welch).

    Within ±2 the means agree at about the 95 % level. Zero where both sets are one and the same constant.

    Raises:
        InputError: a set of fewer than two values, or values that are not finite.
    """
    ours, true = _scalars(generated, "generated"), _scalars(truth, "truth")
    error = float(np.sqrt(ours.var(ddof=1) / len(ours) + true.var(ddof=1) / len(true)))
    return _ratio(float(ours.mean() - true.mean()), error)


def bootstrap_interval(
    values: NDArray[Any], statistic: Callable[[NDArray[np.float64]], float], *, draws: int = DRAWS, seed: int = 0
) -> Interval:
    """95 % percentile interval of any statistic of one set of values [N], which are resampled with replacement."""
    sample = _scalars(values, "values")
    generator = np.random.default_rng(seed)
    picks = generator.integers(len(sample), size=(draws, len(sample)))
    return _interval(np.array([statistic(sample[pick]) for pick in picks]))


def _curves(curves: NDArray[Any], r_max: int | None, name: str) -> NDArray[np.float64]:
    """[count, R] in float64, the axes averaged and cut to r < r_max."""
    curves = np.asarray(curves, dtype=np.float64)
    if curves.ndim < 2 or curves.size == 0:
        raise InputError(f"{name}: need curves of shape [count, R] or [count, axes, R], got {curves.shape}")
    if r_max is not None and not 1 <= r_max <= curves.shape[-1]:
        raise InputError(f"{name}: curves have {curves.shape[-1]} points, r_max = {r_max} asks for more (or none)")
    curves = curves[..., :r_max]
    if not np.isfinite(curves).all():
        raise InputError(f"{name}: a curve holds values that are not finite")
    return curves.mean(axis=tuple(range(1, curves.ndim - 1))) if curves.ndim > 2 else curves


def _scalars(values: NDArray[Any], name: str) -> NDArray[np.float64]:
    sample = np.asarray(values, dtype=np.float64).ravel()
    if len(sample) < 2 or not np.isfinite(sample).all():
        raise InputError(f"{name}: need at least two finite values, got {len(sample)}")
    return sample


def _interval(values: NDArray[np.float64]) -> Interval:
    low, high = np.quantile(values, [0.025, 0.975])
    return float(low), float(high)


def _ratio(numerator: float, denominator: float) -> float:
    """numerator / denominator; 0 for 0/0, infinite with the numerator's sign for the rest of x/0."""
    if denominator == 0:
        return 0.0 if numerator == 0 else float(np.copysign(np.inf, numerator))
    return numerator / denominator
