"""Curves and numbers of every phase of every block: what a set is judged by."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.descriptors.chords import chord_lengths
from engine.descriptors.covariance import directional_autocovariance
from engine.descriptors.lineal_path import lineal_path
from engine.descriptors.surface import surface_area
from engine.descriptors.two_point import directional_s2
from engine.errors import InputError
from engine.evaluation.compare import Comparison, ScalarComparison, compare, compare_scalars
from engine.evaluation.sets import BlockSet

CURVE_LAGS = 32
"""Lags below this count, and below half of a block's side."""


@dataclass(frozen=True, kw_only=True)
class Judged:
    """One curve or number of one phase. Both comparisons are None where the truth has nothing to compare with."""

    name: str
    """`s2[pore]`, `fraction[pore]`."""
    comparison: Comparison | None
    """Mean of ours against the mean of the truth, beside the null distribution."""
    spread: ScalarComparison | None = None
    """Of numbers: medians and standard deviations with bootstrap intervals."""
    ours: float | None = None
    """Of numbers: mean over our blocks."""
    truth: float | None = None
    """Of numbers: mean over the true blocks."""
    remark: str = ""
    """Why there is no comparison."""


def curves_of(found: BlockSet) -> dict[str, NDArray[np.float64]]:
    """Curves by name, [N, axes, R] each: S2, normalised autocovariance, lineal path, chord lengths."""
    lags, dims = min(CURVE_LAGS, found.side // 2), found.dimensions
    curves: dict[str, NDArray[np.float64]] = {}
    for index, phase in enumerate(found.phases):
        mask = found.blocks == index
        curves[f"s2[{phase}]"] = directional_s2(mask, lags, space_dims=dims).numpy()
        curves[f"autocovariance[{phase}]"] = directional_autocovariance(mask, lags, space_dims=dims).numpy()
        curves[f"lineal_path[{phase}]"] = lineal_path(mask, lags, space_dims=dims)
        curves[f"chord_lengths[{phase}]"] = chord_lengths(mask, lags, space_dims=dims)
    return curves


def numbers_of(found: BlockSet) -> dict[str, NDArray[np.float64]]:
    """Numbers by name, [N] each: fraction and surface area (1/voxel)."""
    space = tuple(range(1, found.blocks.ndim))
    numbers: dict[str, NDArray[np.float64]] = {}
    for index, phase in enumerate(found.phases):
        mask = found.blocks == index
        numbers[f"fraction[{phase}]"] = mask.mean(axis=space)
        numbers[f"surface_area[{phase}]"] = surface_area(mask, space_dims=found.dimensions)
    return numbers


def judge(ours: BlockSet, truth: BlockSet, *, seed: int = 0) -> list[Judged]:
    """Every curve and number of `ours` against `truth`."""
    judged = []
    true_numbers, true_curves = numbers_of(truth), curves_of(truth)
    for name, values in numbers_of(ours).items():
        reference = true_numbers[name]
        judged.append(
            Judged(
                name=name,
                comparison=_attempt(compare, values[:, None], reference[:, None], seed=seed, r_max=None),
                spread=_attempt(compare_scalars, values, reference, seed=seed),
                ours=float(values.mean()),
                truth=float(reference.mean()),
                remark="" if reference.any() else "the truth has none of it",
            )
        )
    for name, curve in curves_of(ours).items():
        comparison = _attempt(compare, curve, true_curves[name], seed=seed, r_max=None)
        judged.append(Judged(name=name, comparison=comparison, remark="" if comparison else "the truth has none of it"))
    return judged


def _attempt(function: Any, *arguments: Any, **options: Any) -> Any:
    """None where the truth is zero throughout or has no spread: these are results, not mistakes of the user."""
    try:
        return function(*arguments, **options)
    except InputError:
        return None
