"""studies.space: the points of a search and what they ask for."""

import math

import numpy as np
import pytest

from engine.errors import InputError
from engine.guidance.targets import parse_target
from engine.request import structure_id, structure_seed
from studies.space import Params, Points, infeasible, natural_value, requests_of, settings_of, targets_of
from tests.studies.fakes import STUDY, study

GRID = STUDY.replace("tolerance", "step: 0.02, tolerance").replace("tpe", "grid").replace("trials: 4\n", "")


def points_of(text: str, count: int, **changes: object) -> list[Params]:
    points = Points(study(text, **changes))
    return [points[index] for index in range(count)]


@pytest.mark.parametrize("sampler", ["random", "qmc"])
def test_points_lie_in_the_space_differ_and_follow_the_seed(sampler: str) -> None:
    points = points_of(STUDY, 8, sampler=sampler)
    for point in points:
        assert 0.15 <= point["fraction[pore]"] <= 0.25 and 0.02 <= point["diffusivity[pore,z]"] <= 0.06
    assert len({tuple(point.values()) for point in points}) == 8
    assert points_of(STUDY, 8, sampler=sampler) == points
    assert points_of(STUDY, 8, sampler=sampler, seed=4) != points


@pytest.mark.parametrize("sampler", ["random", "qmc", "grid"])
def test_a_point_does_not_depend_on_what_came_before(sampler: str) -> None:
    """Hence a study that was stopped and started again has the points of one that was not."""
    text, changes = (GRID, {}) if sampler == "grid" else (STUDY, {"sampler": sampler})
    points, fresh = points_of(text, 5, **changes), Points(study(text, **changes))
    assert [fresh[4], fresh[1], fresh[3]] == [points[4], points[1], points[3]]


def test_points_that_cannot_be_met_are_left_out() -> None:
    """Half of this box is above the Voigt bound D <= fraction."""
    text = STUDY.replace("low: 0.02, high: 0.06", "low: 0.05, high: 0.35")
    config = study(text, sampler="qmc")
    points = points_of(text, 64, sampler="qmc")
    assert not any(infeasible(config, point) for point in points)
    assert "Voigt bound" in infeasible(config, {"fraction[pore]": 0.2, "diffusivity[pore,z]": 0.3})
    assert max(point["diffusivity[pore,z]"] - point["fraction[pore]"] for point in points) > -0.02  # up to the border


def test_quasi_random_points_fill_the_space_evenly() -> None:
    """Sixteen scrambled Sobol points: one in each sixteenth of every axis."""
    points = points_of(STUDY, 16, sampler="qmc", trials=16)
    bins = sorted(int((point["fraction[pore]"] - 0.15) / 0.1 * 16) for point in points)
    assert bins == list(range(16))


def test_a_grid_visits_every_point_once() -> None:
    points = points_of(GRID, 18)
    assert len({tuple(point.values()) for point in points}) == 18
    assert sorted({round(point["diffusivity[pore,z]"], 9) for point in points}) == [0.02, 0.04, 0.06]


def test_settings_and_categories_are_searched_too() -> None:
    search = "  settings.steps: {low: 10, high: 90}\n  settings.sampler: {values: [spectral, mpdd]}\nobjective"
    text = STUDY.replace("objective", search, 1)
    config, points = study(text), points_of(text, 16, sampler="qmc", trials=16)
    settings = [settings_of(config, point) for point in points]
    assert {item.sampler for item in settings} == {"spectral", "mpdd"}
    assert all(10 <= item.steps <= 90 and isinstance(item.steps, int) for item in settings)
    assert settings[0].guidance_iterations == config.settings.guidance_iterations


def test_log_ranges_are_even_in_the_logarithm() -> None:
    text = STUDY.replace("low: 0.02, high: 0.06", "low: 0.0001, high: 0.1, log: true")
    points = points_of(text, 16, sampler="qmc", trials=16)
    below = sum(point["diffusivity[pore,z]"] < math.sqrt(0.0001 * 0.1) for point in points)
    assert below == 8


def test_a_point_becomes_targets_with_tolerances() -> None:
    targets = targets_of(study(), {"fraction[pore]": 0.2, "diffusivity[pore,z]": 0.04})
    assert [str(target) for target in targets] == ["fraction[pore]=[0.19,0.21]", "diffusivity[pore,z]=[0.038,0.042]"]


def test_the_text_of_a_target_is_the_target() -> None:
    """A row holds the text; a structure is regenerated from its row."""
    targets = targets_of(study(), {"fraction[pore]": 0.2123456789123, "diffusivity[pore,z]": 0.0412345678912})
    assert tuple(parse_target(str(target)) for target in targets) == targets


def test_a_multiple_is_taken_of_the_natural_value_at_the_fraction() -> None:
    """The table below is 4 f^3, a power law, which the interpolation keeps exactly."""
    table = {fraction: 4 * fraction**3 for fraction in (0.15, 0.2, 0.25)}
    text = STUDY.replace("low: 0.02, high: 0.06", f"low: 0.5, high: 2, times: {table}")
    config = study(text)
    for fraction in (0.15, 0.17, 0.23, 0.25):
        targets = targets_of(config, {"fraction[pore]": fraction, "diffusivity[pore,z] / natural": 1.2})
        goal = next(target.goal for target in targets if target.metric.name == "diffusivity")
        assert goal == pytest.approx(1.2 * 4 * fraction**3, rel=1e-5)


def test_natural_value_goes_on_beyond_its_table() -> None:
    table = [(0.1, 0.01), (0.2, 0.04), (0.4, 0.08)]  # powers 2 and 1
    values = [natural_value(table, fraction) for fraction in (0.05, 0.1, 0.2, 0.4, 0.8)]
    np.testing.assert_allclose(values, [0.0025, 0.01, 0.04, 0.08, 0.16], rtol=1e-12)


def test_an_infeasible_point_is_refused() -> None:
    text = STUDY.replace("low: 0.02, high: 0.06", "low: 0.02, high: 0.6")
    with pytest.raises(InputError, match="Voigt bound"):
        requests_of(study(text), 0, {"fraction[pore]": 0.16, "diffusivity[pore,z]": 0.5})


def test_requests_are_a_function_of_study_trial_and_sample() -> None:
    config = study()
    requests = requests_of(config, 7, {"fraction[pore]": 0.2, "diffusivity[pore,z]": 0.04})
    assert [request.structure_id for request in requests] == [structure_id("toy", 7, sample) for sample in (0, 1)]
    assert [request.seed for request in requests] == [structure_seed("toy", 3, 7, sample) for sample in (0, 1)]
    assert all(request.shape == (8, 8, 8) and request.bundle == "toy_bundle" for request in requests)


def test_several_bundles_and_sizes_are_chosen_from() -> None:
    text = STUDY.replace("bundle: toy_bundle", "bundles: [a, b]").replace("size: 8", "sizes: [8, 12]")
    config = study(text, sampler="qmc", trials=16)
    points = points_of(text, 16, sampler="qmc", trials=16)
    assert {(point["bundle"], point["size"]) for point in points} == {(b, s) for b in "ab" for s in ("8", "12")}
    for number, point in enumerate(points):
        request = requests_of(config, number, point)[0]
        assert (request.bundle, str(request.shape[2])) == (point["bundle"], point["size"])
