"""studies.summary: the end of a sweep in words."""

import json
from dataclasses import replace

from engine.guidance.targets import parse_target
from engine.request import Request
from studies.front import BestTrial
from studies.mapping import CoverageReport
from studies.summary import Summary, Tally, TimeSpent, describe_best
from tests.studies.fakes import made_up_row, study

TIME = TimeSpent(
    wall_time_s=12.0,
    waiting_s=11.0,
    choosing_s=0.5,
    writing_s=0.3,
    busy_s={"design-0": 9.0, "design-1": 7.0, "property-0": 3.0},
    ready_s={"design-0": 10.0, "design-1": 10.0, "property-0": 30.0},
)
SUMMARY = Summary(
    study="toy",
    mode="best",
    out="runs/toy",
    stopped="interrupted",
    trials_done=3,
    trials_total=12,
    structures=7,
    attained=4,
    missed=2,
    unguided=0,
    failed=1,
    missed_targets={"diffusivity[pore,z]": 2},
    failures={"OutOfMemoryError: no memory": 1},
    resumed=False,
    damaged=[],
    retried=2,
    replaced=1,
    best=[BestTrial(trial=1, values=(0.05,))],
    best_text="diffusivity[pore,z] = 0.05 (trial 1)",
    time=TIME,
)


def test_a_summary_says_what_was_done_what_failed_and_where_time_went() -> None:
    assert SUMMARY.lines() == [
        "3 of 12 trials done",
        "7 structures: 4 attained, 2 missed, 1 failed",
        "missed: diffusivity[pore,z] 2",
        "failed: 1 by OutOfMemoryError: no memory",
        "time: 12.0 s; design actors 16.0 s (80% of their time), property actors 3.0 s, "
        "driver 0.5 s choosing points, 0.3 s writing, 1 actors replaced",
        "best: diffusivity[pore,z] = 0.05 (trial 1)",
        "stopped; every finished structure is kept in runs/toy, the same command goes on from there",
    ]
    assert replace(SUMMARY, best=[]).lines()[5].startswith("best: none; ")
    assert not SUMMARY.finished and replace(SUMMARY, stopped="budget").finished


def test_an_open_number_of_trials_and_a_map() -> None:
    coverage = CoverageReport(
        cells=40, covered=10, structures=20, unguided_structures=4, unguided_covered=2, guided_expected=3.5
    )
    lines = replace(SUMMARY, trials_total=None, stopped="hours", unguided=4, coverage=coverage).lines()
    assert lines[0] == "3 trials done, out of hours"
    assert "4 unguided" in lines[1]
    assert lines[5] == "covered: 10 of 40 cells (25%) with 20 structures"
    assert lines[6] == "the model alone: 2 cells with 4 structures; with targets, as many cover 3.5 on average"


def test_a_summary_is_a_json_document() -> None:
    document = json.loads(json.dumps(SUMMARY.document()))
    assert document["best"] == [{"trial": 1, "values": [0.05]}]
    assert document["time"]["design_share"] == 0.8 and document["interrupted"] and not document["finished"]


def test_rows_are_counted_by_status_missed_target_and_kind_of_failure() -> None:
    target = parse_target("fraction[pore]=0.2±0.01")
    row = made_up_row(Request(structure_id="a", bundle="toy", shape=(8, 8, 8), seed=1, targets=(target,)))
    tally = Tally()
    missed = row | {"status": "missed", "fraction_pore": 0.3}
    failed = [row | {"status": "failed", "reason": f"CudaError: broke (attempt {attempt})"} for attempt in (1, 3)]
    tally.add([row, missed, *failed])
    assert tally.structures == 4 and tally.status == {"attained": 1, "missed": 1, "failed": 2}
    assert tally.missed == {"fraction[pore]": 1} and tally.failures == {"CudaError: broke": 2}


def test_the_best_in_words() -> None:
    config = study()
    assert describe_best(config, []) == ""
    assert describe_best(config, [BestTrial(trial=3, values=(0.05,))]) == "diffusivity[pore,z] = 0.05 (trial 3)"
    pareto = study(objective=None, objectives="[{maximize: 'diffusivity[pore,z]'}, {minimize: 'fraction[pore]'}]")
    members = [BestTrial(trial=number, values=(0.1, 0.2)) for number in range(2)]
    assert describe_best(pareto, members) == "a front of 2 trials"
