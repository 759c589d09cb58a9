"""Threshold rules that make phases of grey values, asked for by name: `otsu`, `thresholds:90,160`."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.errors import InputError
from engine.micrographs.files import value_counts

RULES = "otsu, or thresholds:V1,V2,... with one value fewer than phases"

# Multi-Otsu tries every set of thresholds: 256 levels take seconds for 4 thresholds and hours for 5.
MOST_OTSU_PHASES = 5

# Levels of the histogram for images that are not 8-bit, the number scikit-image takes by default.
HISTOGRAM_BINS = 256


@dataclass(frozen=True, kw_only=True)
class Rule:
    """A segmentation rule; phase index i+1 starts above the i-th threshold."""

    text: str
    """As it is recorded, such as `otsu`."""
    thresholds: tuple[float, ...] | None
    """Fixed grey values; None where each image finds its own (Otsu)."""


def parse_rule(text: str, phase_count: int) -> Rule:
    """Read a rule.

    Args:
        text: `otsu` or `thresholds:V1,V2,...`, ascending.
        phase_count: number of phases K; a rule gives K-1 thresholds.

    Raises:
        InputError: unknown rule, values that are no ascending numbers, or a wrong number of them.
    """
    name, colon, values = text.strip().partition(":")
    if name == "otsu" and not colon:
        if phase_count > MOST_OTSU_PHASES:
            raise InputError(
                f"segment '{text}': Otsu's rule takes at most {MOST_OTSU_PHASES} phases, not {phase_count}; give "
                "the values yourself with thresholds:V1,V2,..."
            )
        return Rule(text="otsu", thresholds=None)
    if name != "thresholds":
        raise InputError(f"segment '{text}': no rule is called so; rules: {RULES}")
    try:
        thresholds = tuple(float(value) for value in values.split(","))
    except ValueError:
        raise InputError(f"segment '{text}': '{values}' are no numbers; expected thresholds:V1,V2,...") from None
    if not all(math.isfinite(value) for value in thresholds) or list(thresholds) != sorted(set(thresholds)):
        raise InputError(f"segment '{text}': the thresholds must be finite and ascend")
    if len(thresholds) != phase_count - 1:
        raise InputError(
            f"segment '{text}': {phase_count} phases take {phase_count - 1} thresholds, not {len(thresholds)}"
        )
    return Rule(text="thresholds:" + ",".join(f"{value:g}" for value in thresholds), thresholds=thresholds)


def segment(
    values: NDArray[Any], rule: Rule, phase_count: int, *, where: str = "image"
) -> tuple[NDArray[np.uint8], tuple[float, ...]]:
    """Cut grey values into phases.

    Args:
        values: grey values of any shape, finite.
        rule: from `parse_rule` with the same `phase_count`.
        phase_count: number of phases K.
        where: what an error calls the image.

    Returns:
        Phase indices 0..K-1 in the shape of `values`, darkest first, and the K-1 thresholds; a value equal to a
        threshold belongs to the darker phase.

    Raises:
        InputError: fewer grey levels than phases, where thresholds are to be found.
    """
    if values.dtype == bool:
        values = values.view(np.uint8)
    thresholds = rule.thresholds if rule.thresholds is not None else otsu_thresholds(values, phase_count, where=where)
    indices = np.zeros(values.shape, dtype=np.uint8)
    for threshold in thresholds:
        indices += values > threshold
    return indices, thresholds


def otsu_thresholds(values: NDArray[Any], phase_count: int, *, where: str = "image") -> tuple[float, ...]:
    """Thresholds of least variance within the phases: Otsu 1979; Liao, Chen and Chung 2001 for several.

    Arguments and errors as `segment`.
    """
    from skimage.filters import threshold_multiotsu, threshold_otsu

    two_phases: Callable[..., Any] = threshold_otsu  # scikit-image has no types
    more_phases: Callable[..., Any] = threshold_multiotsu

    if values.dtype == np.uint8:
        counts, centres = value_counts(values), np.arange(256)
    else:
        counts, edges = np.histogram(values, bins=HISTOGRAM_BINS)
        centres = 0.5 * (edges[:-1] + edges[1:])
    levels = int(np.count_nonzero(counts))
    if levels < phase_count:
        raise InputError(
            f"{where}: {levels} grey level{'s' if levels != 1 else ''}, too few for {phase_count} phases; leave the "
            "image out or use thresholds:V1,V2,..."
        )
    if phase_count == 2:
        return (float(two_phases(hist=(counts, centres))),)
    return tuple(float(value) for value in more_phases(classes=phase_count, hist=(counts, centres)))
