"""Which numbers to draw first, which structures are best, and which get a picture or their voxels into the page."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.metrics import Metric
from studies.report.rows import STATUSES, Rows, first_present

MATRIX_COLUMNS = 5  # ten panels: more are too small to be read


@dataclass(frozen=True, kw_only=True)
class Axes:
    """What the map shows when the page opens; indices into `Rows.columns`."""

    x: int
    y: int
    more_x: bool
    """Whether more of x is better, for the front of best compromises."""
    more_y: bool
    matrix: tuple[int, ...]


def choose_axes(rows: Rows) -> Axes:
    """Objectives upwards, what they are traded against sideways."""
    objectives = [metric for metric, _ in rows.objectives]
    asked = [*objectives, *rows.searched, *(target.metric for target in rows.constraints), *rows.targeted]
    y = first_present(rows, asked)
    if y is None:
        y = first_present(rows, [Metric("diffusivity", phase, "z") for phase in rows.phases]) or 0
    phase = next((metric.phase for metric in asked if metric.phase), rows.phases[0] if rows.phases else None)
    others = [*objectives[1:], *(target.metric for target in rows.constraints), *asked, Metric("fraction", phase)]
    x = first_present(rows, others, besides=[y])
    if x is None:
        x = next((place for place in range(len(rows.columns)) if place != y), y)
    first = dict.fromkeys(
        place for place in (x, y, *(rows.place(str(metric)) for metric in asked)) if place is not None
    )
    # Then what varies most about its mean: a constant column tells nothing.
    spread = {place: _spread(column.values) for place, column in enumerate(rows.columns)}
    rest = sorted((place for place in spread if place not in first and spread[place] > 0), key=lambda i: -spread[i])
    of_phase = [i for i in rest if phase and f"_{phase}" in rows.columns[i].name]
    matrix = [*first, *of_phase, *(place for place in rest if place not in of_phase)][:MATRIX_COLUMNS]
    return Axes(
        x=x, y=y, more_x=_more_is_better(rows, x, False), more_y=_more_is_better(rows, y, True), matrix=tuple(matrix)
    )


def _spread(values: NDArray[np.float64]) -> float:
    mean = abs(float(np.nanmean(values)))
    return float(np.nanstd(values)) / mean if mean > 0 else 0.0


def _more_is_better(rows: Rows, place: int, default: bool) -> bool:
    name = rows.columns[place].label
    for metric, more in rows.objectives:
        if str(metric) == name:
            return more
    for target in rows.constraints:
        if str(target.metric) == name and np.isinf(target.low) != np.isinf(target.high):
            return bool(np.isinf(target.high))  # at least: more is better
    return default


def feasible(rows: Rows) -> NDArray[np.bool_]:
    """[rows] whether a structure exists and meets every constraint of the study."""
    good = rows.status != STATUSES.index("failed")
    for target in rows.constraints:
        place = rows.place(str(target.metric))
        values = np.full(len(rows), np.nan) if place is None else rows.columns[place].values
        good &= (values >= target.low) & (values <= target.high)
    return np.asarray(good, bool)


def best_first(rows: Rows) -> list[int]:
    """Feasible structures, the best by the first objective first; without one, the attained ones by number."""
    good = feasible(rows)
    if rows.objectives and (place := rows.place(str(rows.objectives[0][0]))) is not None:
        values = rows.columns[place].values
        order = np.argsort(-values if rows.objectives[0][1] else values, kind="stable")  # NaN goes last
        return [int(row) for row in order if good[row] and not np.isnan(values[row])]
    attained = rows.status == STATUSES.index("attained")
    return [int(row) for row in np.lexsort((np.arange(len(rows)), ~attained)) if good[row]]


def front(x: NDArray[np.float64], y: NDArray[np.float64], *, more_x: bool, more_y: bool) -> list[int]:
    """Rows that no other row beats in one of x and y without losing in the other (Pareto), ordered by x.

    Args: x, y [rows]; rows with NaN are left out.
    """
    there = np.flatnonzero(~(np.isnan(x) | np.isnan(y)))
    gain_x, gain_y = (x if more_x else -x)[there], (y if more_y else -y)[there]
    order = np.lexsort((-gain_y, -gain_x))  # best x first; of equal x the best y
    kept, best = [], -np.inf
    for place in order:
        if gain_y[place] > best:
            kept.append(int(there[place]))
            best = gain_y[place]
    return sorted(kept, key=lambda row: x[row])


def spread_out(points: NDArray[np.float64], start: list[int], count: int) -> list[int]:
    """`start` and further rows until there are `count`, each the farthest from all before (Gonzalez 1985).

    Args:
        points: [rows, d]; rows with NaN are never taken.
        start: rows that come first.
        count: how many in all, at most.
    """
    kept = list(dict.fromkeys(start))[:count]
    there = np.asarray(np.isfinite(points).all(axis=1))
    if not there.any():
        return kept
    scale = points[there].std(axis=0)
    unit = (points - points[there].mean(axis=0)) / np.where(scale > 0, scale, 1.0)
    distance = np.where(there, np.inf, -1.0)
    distance[kept] = -1.0
    for row in kept:
        if there[row]:
            distance = np.fmin(distance, np.square(unit - unit[row]).sum(axis=1))
    while len(kept) < count and (row := int(distance.argmax())) >= 0 and distance[row] > 0:
        kept.append(row)
        distance = np.fmin(distance, np.square(unit - unit[row]).sum(axis=1))
        distance[row] = -1.0
    return kept
