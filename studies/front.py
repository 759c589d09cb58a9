"""The best trials so far: the best one of a single objective, the Pareto front of several; and whether anything new
still comes."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from studies.config import Budget, Objective


@dataclass(frozen=True, kw_only=True)
class BestTrial:
    """A feasible trial that no other one beats."""

    trial: int
    values: tuple[float, ...]


class Front:
    """Trials that are not dominated: no other is at least as good in every objective and better in one.

    With one objective that is the best trial; of equals the first told stays.
    """

    def __init__(self, objectives: Sequence[Objective], budget: Budget) -> None:
        self._signs = np.array([1.0 if objective.maximize else -1.0 for objective in objectives])
        self._part = budget.tolerance.value / 100 if budget.tolerance is not None else 0.0
        self._members: list[BestTrial] = []
        self._least = np.full(len(objectives), np.inf)
        self._most = np.full(len(objectives), -np.inf)
        self.told_since_new = 0
        """Trials told since the last one that brought something new."""

    @property
    def members(self) -> list[BestTrial]:
        """By the first objective, best first."""
        return sorted(self._members, key=lambda best: (-self._signs[0] * best.values[0], best.trial))

    def add(self, trial: int, values: Sequence[float] | None, *, feasible: bool) -> None:
        """Take in a told trial; one without values, or infeasible, brings nothing new."""
        self.told_since_new += 1
        if values is None or not feasible:
            return
        point = self._signs * np.asarray(values, dtype=float)
        goods = [self._signs * np.asarray(best.values) for best in self._members]
        self._least, self._most = np.minimum(self._least, point), np.maximum(self._most, point)
        margin = self._part * (self._most - self._least)
        if not any(np.all(good >= point - margin) for good in goods):
            self.told_since_new = 0
        if any(np.all(good >= point) for good in goods):
            return
        kept = [best for best, good in zip(self._members, goods, strict=True) if not np.all(point >= good)]
        self._members = [*kept, BestTrial(trial=trial, values=tuple(float(value) for value in values))]


def pareto_rank(gains: NDArray[np.float64], count: int) -> NDArray[np.int64]:
    """Rank of each point: 1 where no other is at least as good in everything and better in something, 2 where that
    holds without those of rank 1, and so on.

    Args:
        gains: [points, objectives], more is better, finite.
        count: points to rank at least; the rest, worse than these, has rank 0.

    Returns:
        [points].
    """
    rank = np.zeros(len(gains), np.int64)
    left = np.lexsort(-gains.T[::-1])  # by the first objective, then the second: none is beaten by a later one
    level = 0
    while len(left) and np.count_nonzero(rank) < count:
        level += 1
        front: list[int] = []
        for place in left:
            better = gains[front]
            beaten = (better >= gains[place]).all(axis=1) & (better > gains[place]).any(axis=1)
            if not beaten.any():
                front.append(int(place))
        rank[front] = level
        left = left[rank[left] == 0]
    return rank
