"""studies.score: rows of a trial -> what Optuna is told."""

import pytest

from actors.rows import Row
from engine.metrics import parse_metric
from studies.score import mean_of, score
from studies.space import requests_of
from tests.studies.fakes import made_up_row, study

POINT = {"fraction[pore]": 0.2, "diffusivity[pore,z]": 0.04}
REQUESTS = requests_of(study(samples=3), 0, POINT)
TARGETS = REQUESTS[0].targets


def rows(*changes: dict[str, object]) -> list[Row]:
    return [made_up_row(request) | change for request, change in zip(REQUESTS, changes, strict=False)]


def test_the_objective_is_the_mean_of_the_samples() -> None:
    found = score(study(), TARGETS, rows({"diffusivity_pore_z": 0.03}, {"diffusivity_pore_z": 0.05}, {}))
    assert found.values == (pytest.approx(0.04),)
    assert found.attributes["target fraction[pore]"] == pytest.approx(0.2)
    assert found.attributes["achieved diffusivity[pore,z]"] == pytest.approx(0.04)
    assert found.attributes["structures attained"] == 3
    assert all(isinstance(value, int | float) for value in found.attributes.values())


def test_missed_and_blocked_structures_count_failed_ones_do_not() -> None:
    blocked = {"diffusivity_pore_z": 0.0, "diffusivity_pore_z_outcome": "does_not_percolate", "status": "missed"}
    failed = {"diffusivity_pore_z": None, "status": "failed"}
    found = score(study(), TARGETS, rows(blocked, {"diffusivity_pore_z": 0.04}, failed))
    assert found.values == (pytest.approx(0.02),)
    assert found.attributes["structures failed"] == 1 and found.attributes["structures attained"] == 1


def test_a_trial_of_failures_has_a_reason_and_no_value() -> None:
    failed = {"diffusivity_pore_z": None, "status": "failed", "reason": "OutOfMemoryError: no memory"}
    found = score(study(), TARGETS, rows(failed, failed, failed))
    assert found.values is None
    assert found.reason == "all 3 structures failed: OutOfMemoryError: no memory"


def test_an_objective_that_nothing_has_is_no_value() -> None:
    absent = {"diffusivity_pore_z": None, "diffusivity_pore_z_outcome": "absent"}
    found = score(study(), TARGETS, rows(absent))
    assert found.values is None and found.reason == "diffusivity[pore,z] has no value in any structure (absent)"


@pytest.mark.parametrize(
    ("constraint", "violation"),
    [
        ("fraction[pore]<=0.2", 0.03),
        ("fraction[pore]>=0.2", -0.03),
        ("fraction[pore]=[0.1,0.2]", 0.03),
        ("fraction[pore]=[0.25,0.3]", 0.02),
        ("fraction[pore]=[0.2,0.3]", -0.03),
    ],
)
def test_a_constraint_is_violated_by_the_distance_of_the_mean(constraint: str, violation: float) -> None:
    config = study(constraints=f"['{constraint}']")
    found = score(config, TARGETS, rows({"fraction_pore": 0.22}, {"fraction_pore": 0.24}))
    assert list(found.constraints.values()) == [pytest.approx(violation)]


def test_a_constraint_without_a_value_leaves_no_value() -> None:
    found = score(study(), TARGETS, rows({"fraction_pore": None}))
    assert found.values is None and found.constraints == {} and "fraction[pore]" in found.reason


def test_mean_of_ignores_what_has_no_value() -> None:
    metric = parse_metric("fraction[pore]")
    assert mean_of([{"fraction_pore": 0.1}, {"fraction_pore": None}, {}], metric) == 0.1
    assert mean_of([], metric) is None


def test_several_objectives_are_several_means() -> None:
    config = study(objective=None, objectives="[{maximize: 'diffusivity[pore,z]'}, {minimize: 'surface_area[pore]'}]")
    measured = {"surface_area_pore_per_voxel": 0.1}
    found = score(config, TARGETS, rows(measured | {"diffusivity_pore_z": 0.03}, measured))
    assert found.values == (pytest.approx(0.035), pytest.approx(0.1))
    without = score(config, TARGETS, rows({}))
    assert without.values is None and without.reason.startswith("surface_area[pore] has no value")
