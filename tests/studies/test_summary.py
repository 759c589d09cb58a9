"""studies.summary: the best trial, and the end of a sweep in words."""

import json
from dataclasses import replace

from optuna.trial import FrozenTrial, TrialState, create_trial

from engine.metrics import parse_metric
from studies.config import Objective
from studies.summary import Summary, best_trial


def trial(value: float | None, state: TrialState = TrialState.COMPLETE, **constraints: float) -> FrozenTrial:
    return create_trial(value=value, state=state, constraints=constraints)


def test_the_best_trial_is_complete_feasible_and_first() -> None:
    trials = [trial(1.0, a=0.0), trial(3.0, a=0.1), trial(2.0, a=-1.0), trial(2.0), trial(None, TrialState.FAIL)]
    metric = parse_metric("fraction[pore]")
    assert best_trial(trials, Objective(metric=metric, maximize=True)) is trials[2]
    assert best_trial(trials, Objective(metric=metric, maximize=False)) is trials[0]
    assert best_trial(trials[4:], Objective(metric=metric, maximize=True)) is None


def test_a_summary_in_words_and_as_a_document() -> None:
    summary = Summary(
        study="toy",
        out="runs/toy",
        trials_done=3,
        trials_total=12,
        trials_infeasible=2,
        structures=7,
        attained=4,
        missed=2,
        failed=1,
        resumed=False,
        interrupted=True,
        best_trial=1,
        best_value=0.05,
        best="diffusivity[pore,z] = 0.05 (trial 1)",
        wall_time_s=3.0,
    )
    assert summary.lines() == [
        "3 of 12 trials done, 2 infeasible points skipped",
        "7 structures: 4 attained, 2 missed, 1 failed",
        "best: diffusivity[pore,z] = 0.05 (trial 1)",
        "stopped; every finished structure is kept in runs/toy, the same command goes on from there",
    ]
    assert replace(summary, best="").lines()[2].startswith("best: none; ")
    assert not summary.finished
    assert json.loads(json.dumps(summary.document()))["best_trial"] == 1
