"""studies.mapping: how much of a map is covered, and where to go next."""

import random
from itertools import combinations

import numpy as np
import optuna
import pytest

from studies.config import Mode, StudyConfig
from studies.mapping import ATTAINED, Coverage, next_point, rarefied
from studies.samplers import StudySampler
from studies.space import GUIDED, distributions
from tests.studies.fakes import study

MAP = """
name: toy
bundle: toy_bundle
size: 8
seed: 3
trials: 40
unguided: 0
map:
  fraction[pore]: {low: 0.1, high: 0.5, cells: 4}
  diffusivity[pore,z]: {low: 0.0, high: 0.4, cells: 4}
"""


def row(fraction: float | None, diffusivity: float | None, status: str = "attained") -> dict[str, object]:
    return {"status": status, "fraction_pore": fraction, "diffusivity_pore_z": diffusivity}


def config_of(**changes: object) -> StudyConfig:
    return study(MAP, **changes)


def test_cells_above_the_voigt_bound_are_not_counted() -> None:
    config = config_of()
    assert config.mode is Mode.MAP
    # D <= fraction: a cell counts where its lower edge of D is at most its upper edge of the fraction
    lower, upper = np.arange(4) * 0.1, 0.2 + np.arange(4) * 0.1
    assert Coverage(config).report().cells == int((lower[None, :] <= upper[:, None] + 1e-12).sum())


def test_structures_count_where_they_lie() -> None:
    coverage = Coverage(config_of(constraints="['fraction[pore]<=0.45']"))
    assert coverage.cell(row(0.1, 0.0)) == (0, 0) and coverage.cell(row(0.25, 0.4)) == (1, 3)
    outside = [row(0.05, 0.1), row(0.2, 0.41), row(0.2, None), row(0.46, 0.1)]  # the last violates the constraint
    assert [coverage.cell(item) for item in outside] == [None] * 4
    assert coverage.add([row(0.15, 0.05), row(0.16, 0.06), row(None, None, "failed")], guided=False) == 1
    assert coverage.add([row(0.15, 0.05), row(0.35, 0.15), *outside], guided=True) == 1
    report = coverage.report()
    assert (report.covered, report.structures, report.unguided_structures, report.unguided_covered) == (2, 4, 2, 1)
    assert coverage.counts() == {(0, 0): 3, (2, 1): 1}
    assert coverage.points.shape == (4, 2) and coverage.points.min() >= 0 and coverage.points.max() <= 1


def test_rarefaction_is_the_mean_over_every_subset() -> None:
    cells = [0, 0, 0, 1, 1, 2, None]  # of seven structures, one lies in no cell
    counts = [3, 2, 1]
    for drawn in range(1, 8):
        subsets = [len({cells[i] for i in chosen} - {None}) for chosen in combinations(range(7), drawn)]
        assert rarefied(counts, 7, drawn) == pytest.approx(np.mean(subsets))


def run_map(config: StudyConfig, trials: int, attain: object) -> tuple[Coverage, optuna.Study]:
    """A study of points whose structure is made up by `attain(fraction, diffusivity)`, a row or None for a miss."""
    coverage = Coverage(config)
    found = optuna.create_study(sampler=StudySampler(config, coverage))
    for number in range(trials):
        trial = found.ask(distributions(config, number))
        result = attain(trial.params["fraction[pore]"], trial.params["diffusivity[pore,z]"])  # type: ignore[operator]
        trial.set_user_attr(ATTAINED, int(result["status"] == "attained"))
        coverage.add([result], guided=True)
        found.tell(trial, 0.0)
    return coverage, found


def test_a_map_covers_more_cells_than_random_points() -> None:
    config = config_of(trials=13)
    coverage, _ = run_map(config, 13, lambda fraction, diffusivity: row(fraction, diffusivity))
    draw, random_covered = random.Random(0), []
    for _ in range(50):
        scattered = Coverage(config)
        while len(scattered.points) < 13:
            fraction, diffusivity = draw.uniform(0.1, 0.5), draw.uniform(0, 0.4)
            if diffusivity <= fraction:
                scattered.add([row(fraction, diffusivity)], guided=True)
        random_covered.append(scattered.covered)
    assert coverage.covered >= max(random_covered)


def test_a_map_does_not_spend_itself_on_what_cannot_be_attained() -> None:
    """Diffusivities above half of the fraction are never reached: fewer than their part of the map are asked for."""

    def limited(fraction: float, diffusivity: float) -> dict[str, object]:
        reached = diffusivity <= 0.5 * fraction
        return row(fraction, min(diffusivity, 0.5 * fraction), "attained" if reached else "missed")

    _, found = run_map(config_of(), 40, limited)
    params = [trial.params for trial in found.trials]
    beyond = np.mean([point["diffusivity[pore,z]"] > 0.5 * point["fraction[pore]"] for point in params])
    assert beyond < 0.8 * 0.55  # 0.55: the part of the feasible box above the line


def test_a_choice_is_a_function_of_what_is_known() -> None:
    config = config_of()
    coverage, found = run_map(config, 5, lambda fraction, diffusivity: row(fraction, diffusivity))
    trials = found.get_trials()
    assert next_point(config, 5, trials, coverage) == next_point(config, 5, trials, coverage)
    assert next_point(config, 6, trials, coverage) != next_point(config, 5, trials, coverage)


def test_the_first_trials_ask_for_nothing() -> None:
    config = config_of(unguided=2)
    found = optuna.create_study(sampler=StudySampler(config, Coverage(config)))
    points = [found.ask(distributions(config, number)).params for number in range(4)]
    assert points[:2] == [{GUIDED: False}] * 2
    assert all(point[GUIDED] is True and "fraction[pore]" in point for point in points[2:])
