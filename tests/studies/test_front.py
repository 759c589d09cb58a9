"""studies.front: the best trial, the Pareto front, and when nothing new comes any more."""

import numpy as np
import pytest
from optuna.study._multi_objective import _is_pareto_front

from engine.metrics import parse_metric
from studies.config import Budget, Objective
from studies.front import Front, pareto_rank
from studies.search import Tolerance

MORE = Objective(metric=parse_metric("diffusivity[pore,z]"), maximize=True)
LESS = Objective(metric=parse_metric("fraction[pore]"), maximize=False)
ENDLESS = Budget(trials=1)


def test_the_best_of_one_objective_is_feasible_and_the_first_of_equals() -> None:
    front = Front([MORE], ENDLESS)
    for number, (value, feasible) in enumerate([(1.0, True), (3.0, False), (2.0, True), (2.0, True)]):
        front.add(number, [value], feasible=feasible)
    front.add(4, None, feasible=True)
    assert [(best.trial, best.values) for best in front.members] == [(2, (2.0,))]
    assert Front([LESS], ENDLESS).members == []


@pytest.mark.parametrize("objectives", [[MORE, LESS], [MORE, LESS, MORE]])
def test_the_front_is_that_of_optuna(objectives: list[Objective]) -> None:
    points = np.random.default_rng(0).integers(0, 12, (60, len(objectives))).astype(float)
    points = np.unique(points, axis=0)  # of equal points the front keeps the first, Optuna all
    front = Front(objectives, ENDLESS)
    for number, point in enumerate(points):
        front.add(number, point, feasible=True)
    losses = points * np.array([-1.0 if objective.maximize else 1.0 for objective in objectives])
    expected = np.flatnonzero(_is_pareto_front(losses, assume_unique_lexsorted=False))
    assert sorted(best.trial for best in front.members) == expected.tolist()
    firsts = [best.values[0] for best in front.members]
    assert firsts == sorted(firsts, reverse=True)


def test_a_gain_within_the_tolerance_is_nothing_new() -> None:
    front = Front([MORE], Budget(after=2, tolerance=Tolerance(value=10.0, percent=True)))
    news = []
    for number, value in enumerate([0.0, 1.0, 1.05, 1.09, 1.3]):  # a tenth of the range is about 0.1
        front.add(number, [value], feasible=True)
        news.append(front.told_since_new)
    assert news == [0, 0, 1, 2, 0]
    assert front.members[0].values == (1.3,)
    front.add(5, [9.0], feasible=False)
    assert front.told_since_new == 1


def test_a_wider_front_is_new_and_a_denser_one_is_not() -> None:
    front = Front([MORE, LESS], Budget(after=9, tolerance=Tolerance(value=10.0, percent=True)))
    for number, point in enumerate([(0.0, 0.0), (1.0, 1.0), (0.5, 0.2)]):
        front.add(number, point, feasible=True)
        assert front.told_since_new == 0
    front.add(3, (0.51, 0.21), feasible=True)
    assert front.told_since_new == 1 and len(front.members) == 4
    front.add(4, (1.5, 1.5), feasible=True)
    assert front.told_since_new == 0


def test_pareto_ranks_peel_the_fronts_off() -> None:
    gains = np.array([[0, 3], [2, 2], [2, 2], [3, 0], [1, 2], [0, 0], [2, 1]], float)
    assert pareto_rank(gains, 7).tolist() == [1, 1, 1, 1, 2, 3, 2]  # equals do not beat each other
    assert pareto_rank(gains, 5).tolist() == [1, 1, 1, 1, 2, 0, 2]
    assert pareto_rank(gains[:0], 3).tolist() == []


def test_pareto_ranks_are_those_of_the_definition() -> None:
    gains = np.random.default_rng(0).integers(0, 6, (60, 3)).astype(float)
    want, left, level = np.zeros(60, int), set(range(60)), 0
    while left:
        level += 1
        best = {a for a in left if not any((gains[b] >= gains[a]).all() and (gains[b] > gains[a]).any() for b in left)}
        want[list(best)] = level
        left -= best
    assert pareto_rank(gains, 60).tolist() == want.tolist()
