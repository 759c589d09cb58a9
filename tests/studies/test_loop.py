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
from studies.config import StudyConfig, grid_points
from studies.folder import OWNER, freeze, hold_study
from studies.loop import run_study, trials_left
from studies.query import query
from studies.storage import read_trials
from studies.summary import Progress
from studies.table import read_structures
from tests.actors.fakes import FakeEngine
from tests.studies.fakes import STUDY, FakePool, failure, made_up_row, study

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

    def checked(self: optuna.Study, trial: int, *args: object, **kwargs: object) -> object:
        rows = read_structures(tmp_path / "out")["trial"].to_pylist()
        told.append(rows.count(trial))
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
    assert (summary.best_trial, summary.best_value) == (best.number, best.value)
    assert f"trial {best.number}" in summary.best


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


def test_an_infeasible_point_costs_nothing_and_is_not_counted(tmp_path: Path) -> None:
    config = study(WIDE, sampler="random", trials=6)
    summary = run_study(config, tmp_path / "out", FakePool())
    trials = read_trials(tmp_path / "out")
    pruned = [trial for trial in trials if trial.state is TrialState.PRUNED]
    assert pruned and len(trials) == 6 + len(pruned) == 6 + summary.trials_infeasible
    for trial in pruned:
        assert trial.params["diffusivity[pore,z]"] > trial.params["fraction[pore]"]
        assert trial.constraints == {"feasible": 1.0} and "Voigt bound" in trial.user_attrs["reason"]
    assert summary.structures == 12 and summary.finished


def test_a_search_that_is_hardly_feasible_is_refused(tmp_path: Path) -> None:
    text = STUDY.replace("low: 0.02, high: 0.06", "low: 0.25, high: 1").replace("low: 0.15", "low: 0.2499")
    text = text.replace("tolerance: 0.01", "tolerance: 0.00001").replace("5%", "0.001%")
    with pytest.raises(InputError, match=r"21 points cannot be met by any structure, 0 can; narrow the search"):
        run_study(study(text, trials=1), tmp_path / "out", FakePool())


def test_a_grid_ends_with_its_points_feasible_or_not(tmp_path: Path) -> None:
    text = WIDE.replace("low: 0.15, high: 0.25,", "values: [0.15, 0.25],")
    text = text.replace("low: 0.02, high: 0.4,", "values: [0.02, 0.1, 0.2],").replace("tpe", "grid")
    config = study(text, trials=None)
    summary = run_study(config, tmp_path / "out", FakePool())
    trials = read_trials(tmp_path / "out")
    assert len({tuple(trial.params.values()) for trial in trials}) == len(trials) == grid_points(config.search) == 6
    assert (summary.trials_done, summary.trials_infeasible) == (5, 1)


def test_progress_rises_to_the_end(tmp_path: Path) -> None:
    seen: list[Progress] = []
    run_study(study(), tmp_path / "out", FakePool(), seen.append)
    assert seen[0].structures_done == 0 and seen[0].best is None and seen[0].eta_s is None
    assert [item.structures_done for item in seen] == sorted(item.structures_done for item in seen)
    last = seen[-1]
    assert (last.trials_done, last.trials_total, last.structures_done, last.structures_total) == (4, 4, 8, 8)
    assert last.best is not None and "diffusivity[pore,z] = " in last.best[1]
    assert last.structures_per_s > 0 and last.eta_s == 0 and last.structures_in_flight == 0


def test_a_finished_study_is_left_as_it_is(tmp_path: Path) -> None:
    assert trials_left(study(), tmp_path / "out") == 4
    run(study(), tmp_path / "out")
    before = {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert trials_left(study(), tmp_path / "out") == 0
    pool = FakePool()
    summary = run_study(study(), tmp_path / "out", pool)
    assert pool.submitted == [] and summary.resumed and summary.finished and summary.best
    assert {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()} == before


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
    assert summary.interrupted and summary.structures == 6 and "the same command goes on" in summary.lines()[-1]
    kept = set(read_structures(tmp_path / "out")["structure_id"].to_pylist())
    assert len(kept) == 6
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

    def full(self: object, logs: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("optuna.storages.journal.JournalFileBackend.append_logs", full)
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
