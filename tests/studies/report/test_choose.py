"""studies.report.choose: axes, the best, the front, and an even spread."""

from pathlib import Path

import numpy as np
import pytest
from optuna.study._multi_objective import _is_pareto_front

from studies.report.choose import best_first, choose_axes, feasible, front, spread_out
from studies.report.rows import Rows
from studies.table import append_rows
from tests.studies.fakes import PHASES
from tests.studies.made_up import make_up


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Rows:
    out = tmp_path_factory.mktemp("study")
    make_up(out, trials=20, samples=3, volumes=0)
    return Rows(out)


def test_the_objective_stands_upwards_against_what_limits_it(rows: Rows) -> None:
    axes = choose_axes(rows)
    assert rows.columns[axes.y].label == "diffusivity[pore,z]" and axes.more_y
    assert rows.columns[axes.x].label == "fraction[pore]" and not axes.more_x
    assert axes.matrix[:2] == (axes.x, axes.y) and len(set(axes.matrix)) == len(axes.matrix) <= 5


def test_without_a_study_there_are_axes_too(tmp_path: Path) -> None:
    append_rows(tmp_path, [{"structure_id": "a", "status": "unguided", "fraction_pore": 0.3}], PHASES)
    axes = choose_axes(Rows(tmp_path))
    assert (axes.x, axes.y) == (0, 0)


def test_the_best_meet_every_constraint_and_fall(rows: Rows) -> None:
    best = best_first(rows)
    values = rows.columns[choose_axes(rows).y].values[best]
    assert (np.diff(values) <= 0).all() and feasible(rows)[best].all()
    assert len(best) == (feasible(rows) & ~np.isnan(rows.columns[choose_axes(rows).y].values)).sum()


@pytest.mark.parametrize(("more_x", "more_y"), [(False, True), (True, True), (False, False), (True, False)])
def test_the_front_is_that_of_optuna(more_x: bool, more_y: bool) -> None:
    generator = np.random.default_rng(4)
    x, y = generator.integers(0, 30, 300).astype(float), generator.integers(0, 30, 300).astype(float)
    loss = np.stack([-x if more_x else x, -y if more_y else y], axis=1)
    theirs = {tuple(point) for point in loss[_is_pareto_front(loss, assume_unique_lexsorted=False)]}
    ours = front(x, y, more_x=more_x, more_y=more_y)
    assert {tuple(point) for point in loss[ours]} == theirs
    assert (np.diff(x[ours]) > 0).all(), "equal points once, by x"


def test_the_front_leaves_out_what_has_no_value() -> None:
    x, y = np.array([0.0, 1.0, np.nan]), np.array([1.0, np.nan, 5.0])
    assert front(x, y, more_x=False, more_y=True) == [0]


def test_spread_out_takes_the_farthest_next() -> None:
    points = np.array([[0.0], [0.1], [1.0], [0.5], [np.nan]])
    assert spread_out(points, [0], 3) == [0, 2, 3]
    assert spread_out(points, [0, 4], 9) == [0, 4, 2, 3, 1], "a row without a number comes only where it was asked for"
    assert spread_out(points, [3, 3, 1], 1) == [3]
