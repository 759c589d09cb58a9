"""studies.samplers: who chooses, and what is done with a point that cannot be met."""

import optuna
import pytest

from studies.samplers import StudySampler
from studies.space import Points, distributions, infeasible
from tests.studies.fakes import STUDY, study

WIDE = STUDY.replace("low: 0.02, high: 0.06", "low: 0.02, high: 0.6")


def points(count: int, *, tell: bool = True, **changes: object) -> list[dict[str, object]]:
    config = study(WIDE, **changes)
    found = optuna.create_study(direction="maximize", sampler=StudySampler(config))
    for number in range(count):
        trial = found.ask(distributions(config, number))
        assert not infeasible(config, trial.params)
        if tell:
            found.tell(trial, trial.params["diffusivity[pore,z]"])
    return [trial.params for trial in found.trials]


@pytest.mark.parametrize("sampler", ["tpe", "gp", "nsga2"])
def test_start_up_points_are_the_sequence_then_the_sampler_takes_over(sampler: str) -> None:
    options = {"sampler": sampler, "startup_trials": 4, "population": 4, "trials": 40}
    sequence = Points(study(WIDE, **options))
    found = points(9, **options)
    expected = [sequence[number] for number in range(9)]
    assert found[:4] == expected[:4] and found[4:] != expected[4:]
    assert points(9, **options) == found


def test_an_adaptive_sampler_goes_to_the_border_of_what_can_be_met() -> None:
    """The objective is the searched diffusivity itself: the best is at Voigt's bound at the largest fraction."""
    found = points(30, sampler="tpe", trials=30)
    best = max(point["diffusivity[pore,z]"] for point in found)  # type: ignore[type-var]
    assert best > 0.9 * 0.27  # (0.25 + 0.01) / 0.95
    start_up = max(point["diffusivity[pore,z]"] for point in found[:10])  # type: ignore[type-var]
    assert best > start_up  # type: ignore[operator]


def test_nothing_is_chosen_again_for_a_trial_that_has_its_parameters() -> None:
    config = study(WIDE, sampler="tpe")
    found = optuna.create_study(sampler=StudySampler(config))
    trial = found.ask(distributions(config, 0))
    again = optuna.trial.Trial(found, trial._trial_id)
    assert again.relative_params == trial.params


def test_categories_and_steps_stay_within_their_values() -> None:
    text = WIDE.replace("high: 0.25, tolerance", "high: 0.25, step: 0.05, tolerance")
    config = study(text.replace("objective", "  settings.eta: {values: [0.0, 1.0]}\nobjective", 1), trials=20)
    found = optuna.create_study(direction="maximize", sampler=StudySampler(config))
    for number in range(20):
        trial = found.ask(distributions(config, number))
        assert min(abs(trial.params["fraction[pore]"] - value) for value in (0.15, 0.2, 0.25)) < 1e-12
        assert trial.params["settings.eta"] in (0.0, 1.0)
        found.tell(trial, trial.params["diffusivity[pore,z]"])
