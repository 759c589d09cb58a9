"""studies.loop: a study from its first ask to its summary."""

import errno
import os
import signal
from functools import partial
from pathlib import Path

import pytest
from optuna.trial import TrialState

from actors.local_pool import LocalPool
from actors.messages import Failure
from actors.rows import Row
from engine.errors import InputError, WorkError
from engine.request import Request, structure_id
from studies.config import StudyConfig
from studies.folder import OWNER, freeze, hold_study
from studies.loop import run_study, trials_left
from studies.query import query
from studies.storage import read_trials
from studies.summary import Progress
from studies.table import read_structures
from tests.actors.fakes import FakeEngine
from tests.studies.fakes import STUDY, FakePool, failure, made_up_row, study
from tests.studies.test_mapping import MAP

WIDE = STUDY.replace("low: 0.02, high: 0.06", "low: 0.02, high: 0.4")  # part of it above the Voigt bound


def run(config: StudyConfig, out: Path, pool: FakePool | None = None) -> FakePool:
    pool = pool or FakePool()
    summary = run_study(config, out, pool)
    assert summary.finished and not summary.interrupted
    return pool


@pytest.mark.parametrize("sampler", ["tpe", "random", "qmc"])
def test_every_trial_is_told_with_rows_for_every_sample(tmp_path: Path, sampler: str) -> None:
    config = study(sampler=sampler, trials=6)
    pool = run(config, tmp_path / "out")
    trials, table = read_trials(tmp_path / "out"), read_structures(tmp_path / "out")
    assert [trial.state for trial in trials] == [TrialState.COMPLETE] * 6
    expected = {structure_id("toy", trial, sample) for trial in range(6) for sample in range(2)}
    assert set(table["structure_id"].to_pylist()) == expected
    assert sorted(request.structure_id for request in pool.submitted) == sorted(expected)
    assert pool.most_in_flight == 3
    for row in table.to_pylist():
        assert row["structure_id"] == structure_id("toy", row["trial"], row["sample"])
        assert row["study"] == "toy" and row["attempt"] == 1
        params = trials[row["trial"]].params
        assert row["fraction_pore"] == pytest.approx(params["fraction[pore]"], abs=1e-6)


def test_rows_are_durable_before_their_trial_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import optuna

    tell, told = optuna.Study.tell, []

    def checked(self: optuna.Study, trial: optuna.Trial, *args: object, **kwargs: object) -> object:
        rows = read_structures(tmp_path / "out")["trial"].to_pylist()
        told.append(rows.count(trial.number))
        return tell(self, trial, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(optuna.Study, "tell", checked)
    run(study(), tmp_path / "out")
    assert told == [2, 2, 2, 2]


def test_rows_are_grouped_into_few_files(tmp_path: Path) -> None:
    run(study(trials=20, sampler="random"), tmp_path / "out", FakePool(slots=8))
    assert len(list((tmp_path / "out" / "structures").glob("*.parquet"))) <= 6


def test_the_trial_is_told_the_mean_of_its_samples(tmp_path: Path) -> None:
    def answer(request: Request) -> Row:
        first = request.structure_id in {structure_id("toy", trial, 0) for trial in range(4)}
        return made_up_row(request) | {"diffusivity_pore_z": 0.03 if first else 0.05}

    run(study(), tmp_path / "out", FakePool(answer=answer))
    assert [trial.value for trial in read_trials(tmp_path / "out")] == [pytest.approx(0.04)] * 4


def test_constraints_reach_optuna_and_decide_what_is_best(tmp_path: Path) -> None:
    config = study(trials=8, sampler="qmc")
    summary = run_study(config, tmp_path / "out", FakePool())
    trials = read_trials(tmp_path / "out")
    for trial in trials:
        [violation] = trial.constraints.values()
        assert violation == pytest.approx(trial.params["fraction[pore]"] - 0.2, abs=1e-6)
        assert all(isinstance(value, int | float) for value in trial.user_attrs.values())
    feasible = [trial for trial in trials if trial.params["fraction[pore]"] <= 0.2]
    assert 0 < len(feasible) < 8
    best = max(feasible, key=lambda trial: trial.value or 0.0)
    assert [(item.trial, item.values) for item in summary.best] == [(best.number, (best.value,))]
    assert f"trial {best.number}" in summary.best_text


def test_a_structure_that_does_not_percolate_is_a_result(tmp_path: Path) -> None:
    def answer(request: Request) -> Row:
        blocked = {"diffusivity_pore_z": 0.0, "diffusivity_pore_z_outcome": "does_not_percolate", "status": "missed"}
        return made_up_row(request) | blocked

    summary = run_study(study(), tmp_path / "out", FakePool(answer=answer))
    assert [(trial.state, trial.value) for trial in read_trials(tmp_path / "out")] == [(TrialState.COMPLETE, 0.0)] * 4
    assert (summary.missed, summary.failed) == (8, 0)
    assert set(read_structures(tmp_path / "out")["diffusivity_pore_z_outcome"].to_pylist()) == {"does_not_percolate"}


def test_a_failed_sample_is_a_row_and_its_trial_goes_by_the_others(tmp_path: Path) -> None:
    broken = {structure_id("toy", 1, 0), structure_id("toy", 2, 0), structure_id("toy", 2, 1)}

    def answer(request: Request) -> Row | Failure:
        return failure(request) if request.structure_id in broken else made_up_row(request)

    summary = run_study(study(), tmp_path / "out", FakePool(answer=answer))
    states = [trial.state for trial in read_trials(tmp_path / "out")]
    assert states == [TrialState.COMPLETE, TrialState.COMPLETE, TrialState.FAIL, TrialState.COMPLETE]
    assert (summary.attained, summary.failed, summary.trials_done) == (5, 3, 4)
    reason = read_trials(tmp_path / "out")[2].user_attrs["reason"]
    assert reason.startswith("all 2 structures failed: OutOfMemoryError: no memory")
    rows = {row["structure_id"]: row for row in read_structures(tmp_path / "out").to_pylist()}
    for name in broken:
        row = rows[name]
        assert (row["status"], row["error_type"], row["attempt"]) == ("failed", "OutOfMemoryError", 3)
        assert row["traceback"] and row["failed_wall_time_s"] == 1.5 and row["targets"] and row["bundle_hash"]


@pytest.mark.parametrize("sampler", ["tpe", "gp", "nsga2", "nsga3", "qmc", "random"])
def test_no_trial_is_spent_on_a_point_that_cannot_be_met(tmp_path: Path, sampler: str) -> None:
    """Above the Voigt bound D <= fraction there is nothing; `diffusivity` is what every sampler is drawn to."""
    text = WIDE.replace("low: 0.02, high: 0.4", "low: 0.1, high: 0.4")
    config = study(text, sampler=sampler, trials=16, samples=1, startup_trials=4, constraints="[]", population=4)
    run(config, tmp_path / "out")
    trials = read_trials(tmp_path / "out")
    assert [trial.state for trial in trials] == [TrialState.COMPLETE] * 16
    for trial in trials:
        goal, fraction = trial.params["diffusivity[pore,z]"], trial.params["fraction[pore]"]
        assert goal * 0.95 <= (fraction + 0.01) * (1 + 1e-4)  # a target's text has six digits
    assert len({tuple(trial.params.values()) for trial in trials}) >= 14  # on the border a point may come twice


def test_a_search_that_is_hardly_feasible_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("studies.space.PATIENCE", 50)
    text = STUDY.replace("low: 0.02, high: 0.06", "low: 0.25, high: 1").replace("low: 0.15", "low: 0.2499")
    text = text.replace("tolerance: 0.01", "tolerance: 0.00001").replace("5%", "0.001%")
    with pytest.raises(InputError, match=r"none of 50 points in a row can be met by any structure; narrow the search"):
        run_study(study(text, trials=1), tmp_path / "out", FakePool())


def test_a_grid_ends_with_its_points_that_can_be_met(tmp_path: Path) -> None:
    text = WIDE.replace("low: 0.15, high: 0.25,", "values: [0.15, 0.25],")
    text = text.replace("low: 0.02, high: 0.4,", "values: [0.02, 0.1, 0.2],").replace("tpe", "grid")
    config = study(text, trials=None)
    summary = run_study(config, tmp_path / "out", FakePool())
    trials = read_trials(tmp_path / "out")
    assert len({tuple(trial.params.values()) for trial in trials}) == len(trials) == 5  # of 6: not 0.2 at 0.15
    assert (summary.trials_done, summary.trials_total) == (5, 5)


def test_progress_rises_to_the_end(tmp_path: Path) -> None:
    seen: list[Progress] = []
    run_study(study(), tmp_path / "out", FakePool(), seen.append)
    assert seen[0].structures_done == 0 and not seen[0].best and seen[0].eta_s is None
    assert [item.structures_done for item in seen] == sorted(item.structures_done for item in seen)
    last = seen[-1]
    assert (last.trials_done, last.trials_total, last.structures_done, last.structures_total) == (4, 4, 8, 8)
    assert "diffusivity[pore,z] = " in last.best
    assert last.structures_per_s > 0 and last.eta_s == 0 and last.structures_in_flight == 0


def test_a_finished_study_is_left_as_it_is(tmp_path: Path) -> None:
    assert trials_left(study(), tmp_path / "out") == 4
    run(study(), tmp_path / "out")
    before = results_of(tmp_path / "out")
    assert trials_left(study(), tmp_path / "out") == 0
    pool = FakePool()
    summary = run_study(study(), tmp_path / "out", pool)
    assert pool.submitted == [] and summary.resumed and summary.finished and summary.best
    assert results_of(tmp_path / "out") == before


def results_of(out: Path) -> dict[Path, bytes]:
    """Every file but the records of runs."""
    return {path: path.read_bytes() for path in out.rglob("*") if path.is_file() and path.parent.name != "runs"}


def test_nothing_is_written_into_a_folder_that_holds_something_else(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="holds other files"):
        run_study(study(), tmp_path, FakePool())
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_ctrl_c_keeps_what_came_back_and_the_same_command_goes_on(tmp_path: Path) -> None:
    config = study(trials=8)
    pool = FakePool()

    def interrupt(count: int) -> None:
        if count == 4:
            os.kill(os.getpid(), signal.SIGINT)

    pool.on_wait = interrupt
    summary = run_study(config, tmp_path / "out", pool)
    assert summary.interrupted and summary.structures == 8 and "the same command goes on" in summary.lines()[-1]
    kept = set(read_structures(tmp_path / "out")["structure_id"].to_pylist())
    assert len(kept) == 8  # three waits and the last one, for what was under way
    assert not (tmp_path / "out" / OWNER).exists()
    again = FakePool()
    rest = run_study(config, tmp_path / "out", again)
    assert rest.finished and rest.resumed and not rest.interrupted and rest.structures == 16
    assert kept.isdisjoint(request.structure_id for request in again.submitted)


def test_a_pool_that_breaks_loses_no_row(tmp_path: Path) -> None:
    pool = FakePool()

    def fail(count: int) -> None:
        if count == 3:
            raise WorkError("no worker left")

    pool.on_wait = fail
    with pytest.raises(WorkError, match="no worker left"):
        run_study(study(), tmp_path / "out", pool)
    assert read_structures(tmp_path / "out").num_rows == 4


def test_a_full_disk_is_said_with_a_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    freeze(study(), tmp_path / "out")

    def full(descriptor: int, data: bytes) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("studies.journal.append_all", full)
    with pytest.raises(WorkError, match="no space left on the disk; free some and run the same command again"):
        run_study(study(), tmp_path / "out", FakePool())


def test_a_result_that_comes_twice_or_from_nowhere_is_ignored(tmp_path: Path) -> None:
    class Echo(FakePool):
        def wait(self, timeout_s: float) -> list:  # type: ignore[type-arg]
            results = super().wait(timeout_s)
            stranger = made_up_row(self.submitted[0]) | {"structure_id": "stranger"}
            return [*results, *results, type(results[0])("stranger", stranger, 1)]

    run_study(study(), tmp_path / "out", Echo())
    assert read_structures(tmp_path / "out").num_rows == 8


def test_a_study_runs_on_a_real_pool(tmp_path: Path) -> None:
    """Rows as the pools make them fit the table; volumes and curves lie beside them under the same ids."""
    out = tmp_path / "out"
    engine = partial(FakeEngine, tmp_path)
    with hold_study(study(), out), LocalPool(engine, out, batch_size=3, code_version="0.1.0") as pool:
        summary = run_study(study(), out, pool)
    assert summary.finished and (summary.attained, summary.missed, summary.failed) == (0, 8, 0)
    found = query(
        out,
        """SELECT s.status, s.code_version, v.sha256 = s.volume_sha256 AS same, len(c.value) AS points, t.value
        FROM structures s JOIN volumes v USING (structure_id) JOIN curves c USING (structure_id) JOIN trials t
        USING (trial)""",
    )
    assert (
        found.to_pylist()
        == [{"status": "missed", "code_version": "0.1.0", "same": True, "points": 8, "value": 0.0}] * 8
    )


def test_several_objectives_give_a_front(tmp_path: Path) -> None:
    goals = "[{maximize: 'diffusivity[pore,z]'}, {minimize: 'fraction[pore]'}]"
    config = study(sampler="nsga2", population=4, trials=16, samples=1, objective=None, objectives=goals)
    summary = run_study(config, tmp_path, FakePool())
    trials = {trial.number: trial.values for trial in read_trials(tmp_path)}
    assert len(summary.best) > 1 and all(best.values == tuple(trials[best.trial]) for best in summary.best)
    best = {best.values for best in summary.best}
    for values in trials.values():
        assert any(other[0] >= values[0] and other[1] <= values[1] for other in best) or values[1] > 0.2
    again = run_study(config, tmp_path, FakePool())
    assert again.best == summary.best and "a front of" in again.best_text


def test_a_map_counts_what_it_covers_and_goes_on(tmp_path: Path) -> None:
    config = study(MAP, trials=12, unguided=3, samples=2)
    pool = FakePool()

    def stop(count: int) -> None:
        if count == 6:
            raise KeyboardInterrupt

    pool.on_wait = stop

    def answer(request: Request) -> Row:
        natural = {"fraction_pore": 0.3, "diffusivity_pore_z": 0.1}  # what the model makes when nothing is asked
        return made_up_row(request) | (natural if not request.targets else {})

    pool._answer = answer
    assert run_study(config, tmp_path, pool).interrupted
    summary = run_study(config, tmp_path, FakePool(answer=answer))
    coverage = summary.coverage
    assert coverage is not None and summary.unguided == 6 and summary.best == []
    assert (coverage.unguided_structures, coverage.unguided_covered) == (6, 1)
    assert coverage.covered >= 8 and coverage.guided_expected is not None and coverage.guided_expected > 3
    values = [trial.value for trial in read_trials(tmp_path)]
    assert sum(value or 0 for value in values) == coverage.covered
    assert any(line.strip().startswith("0.3 |") for line in coverage.picture)


def test_a_study_stops_when_nothing_new_comes(tmp_path: Path) -> None:
    def flat(request: Request) -> Row:
        return made_up_row(request) | {"diffusivity_pore_z": 0.03}

    config = study(trials=None, converged="{after: 5}", samples=1, sampler="qmc", constraints="[]")
    summary = run_study(config, tmp_path, FakePool(answer=flat, slots=1))
    assert (summary.stopped, summary.trials_done, summary.trials_total) == ("converged", 6, None)
    assert run_study(config, tmp_path, FakePool()).trials_done == 6


def test_hours_of_earlier_runs_count(tmp_path: Path) -> None:
    config = study(trials=None, hours=1, sampler="qmc")
    freeze(config, tmp_path)
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "before.json").write_text('{"wall_time_s": 3601}')
    summary = run_study(config, tmp_path, FakePool())
    assert (summary.stopped, summary.structures) == ("hours", 0)


def test_a_finished_study_goes_on_with_a_larger_budget(tmp_path: Path) -> None:
    run_study(study(trials=3), tmp_path, FakePool())
    pool = FakePool()
    summary = run_study(study(trials=5), tmp_path, pool)
    assert summary.finished and summary.trials_done == 5 and len(pool.submitted) == 4


@pytest.mark.parametrize("damage", ["gone", "garbage"])
def test_rows_of_told_trials_that_the_disk_lost_are_made_again(tmp_path: Path, damage: str) -> None:
    config = study(trials=3)
    run_study(config, tmp_path, FakePool(slots=1))
    before = sorted(read_structures(tmp_path).to_pylist(), key=lambda row: row["structure_id"])
    values = [trial.value for trial in read_trials(tmp_path)]
    paths = list((tmp_path / "structures").glob("*.parquet"))
    for path in paths:
        if damage == "gone":
            path.unlink()
        else:
            path.write_bytes(path.read_bytes()[:-20])
    pool = FakePool()
    summary = run_study(config, tmp_path, pool)
    assert len(pool.submitted) == 6 and len(summary.damaged) == (len(paths) if damage == "garbage" else 0)
    assert sorted(read_structures(tmp_path).to_pylist(), key=lambda row: row["structure_id"]) == before
    assert [trial.value for trial in read_trials(tmp_path)] == values


def test_requests_of_several_bundles_and_sizes_reach_the_pool(tmp_path: Path) -> None:
    text = STUDY.replace("bundle: toy_bundle", "bundles: [a, b]").replace("size: 8", "sizes: [8, 12]")
    pool = FakePool()
    run_study(study(text, sampler="qmc", trials=12, samples=1), tmp_path, pool)
    assert {(request.bundle, request.shape[0]) for request in pool.submitted} == {(b, s) for b in "ab" for s in (8, 12)}
    assert set(read_structures(tmp_path)["bundle"].to_pylist()) == {"a", "b"}
