"""studies.loop after a kill: nothing finished is lost or repeated, every trial ends under its own number.

The driver runs in a forked child that kills itself (SIGKILL) at the n-th moment at which the disk changes: before and
after a file takes its name, before a flush to disk, within and after a record of the journal.
"""

import os
import random
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from optuna.trial import TrialState

from actors.messages import Failure
from actors.rows import Row
from engine.request import Request, structure_id
from studies.config import StudyConfig
from studies.folder import JOURNAL
from studies.loop import _suggest, run_study
from studies.space import distributions, has_params
from studies.storage import open_study, read_trials
from studies.table import read_structures, structure_files
from tests.studies.fakes import STUDY, FakePool, kill_self, made_up_row, study

SMALL = study(trials=2, samples=2, startup_trials=1)
TOLD = (TrialState.COMPLETE, TrialState.FAIL)


class Moments:
    """Calls `act` at the n-th moment at which the disk changes."""

    def __init__(self, at: int, act: Callable[[], None]) -> None:
        self.count, self._at, self._act = 0, at, act

    def __call__(self) -> bool:
        self.count += 1
        if self.count == self._at:
            self._act()
        return self.count == self._at

    def install(self, patch: pytest.MonkeyPatch) -> None:
        replace, fsync = os.replace, os.fsync

        def counted_replace(source: object, target: object) -> None:
            self()
            replace(source, target)  # type: ignore[arg-type]
            self()

        def counted_fsync(descriptor: int) -> None:
            self()
            fsync(descriptor)

        def counted_append(descriptor: int, data: bytes) -> None:
            """A group of records can be cut between two of them, and within one."""
            for number, line in enumerate(data.splitlines(keepends=True)):
                cut = len(line) // 2 if number % 2 else 0
                os.write(descriptor, line[:cut])
                self()
                os.write(descriptor, line[cut:])
            os.fsync(descriptor)

        patch.setattr(os, "replace", counted_replace)
        patch.setattr(os, "fsync", counted_fsync)
        patch.setattr("studies.journal.append_all", counted_append)


def run_and_die(
    config: StudyConfig, out: Path, at: int, log: Path, answer: Callable[[Request], Row | Failure] = made_up_row
) -> bool:
    """Run the study in a child that dies at moment `at`. Returns whether it got that far."""
    child = os.fork()
    if child == 0:
        try:
            Moments(at, kill_self).install(pytest.MonkeyPatch())
            run_study(config, out, FakePool(log=log, answer=answer))
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)


def durable(out: Path) -> set[str]:
    return set(read_structures(out)["structure_id"].to_pylist()) if (out / "structures").is_dir() else set()


def check_complete(config: StudyConfig, out: Path) -> None:
    """Every trial told under its own number, with a row for each of its samples and no other."""
    trials = read_trials(out)
    assert [trial.number for trial in trials] == list(range(len(trials)))
    assert [trial.state for trial in trials] == [TrialState.COMPLETE] * (config.budget.trials or 0)
    expected = {structure_id(config.name, trial.number, s) for trial in trials for s in range(config.samples)}
    assert durable(out) == expected
    for row in read_structures(out).to_pylist():
        assert row["fraction_pore"] == pytest.approx(trials[row["trial"]].params["fraction[pore]"], abs=1e-6)


def count_moments(tmp_path: Path) -> int:
    moments = Moments(0, kill_self)
    with pytest.MonkeyPatch.context() as patch:
        moments.install(patch)
        run_study(SMALL, tmp_path / "whole", FakePool())
    return moments.count


@pytest.mark.filterwarnings("error::UserWarning")  # Optuna's, where something is set twice
def test_a_kill_at_any_moment_loses_and_repeats_nothing(tmp_path: Path) -> None:
    moments = count_moments(tmp_path)
    assert moments > 50
    for at in range(1, moments + 1):
        out = tmp_path / str(at)
        assert run_and_die(SMALL, out, at, tmp_path / "log")
        before = {trial.number: trial for trial in read_trials(out)}
        finished = durable(out)
        pool = FakePool()
        summary = run_study(SMALL, out, pool)
        assert summary.finished, at
        check_complete(SMALL, out)
        assert finished.isdisjoint(request.structure_id for request in pool.submitted), at
        rows = sum(len(read_structures_of(path)) for path in structure_files(out))
        assert rows == 2 * SMALL.samples, at  # before duplicates are dropped
        for trial in read_trials(out):
            if trial.number in before and has_params(SMALL, before[trial.number]):
                assert trial.params == before[trial.number].params, at


def read_structures_of(path: Path) -> list[str]:
    import pyarrow.parquet as pq

    names: list[str] = pq.read_table(path)["structure_id"].to_pylist()
    return names


def test_many_kills_in_a_row_still_end(tmp_path: Path) -> None:
    out, log, draw = tmp_path / "out", tmp_path / "log", random.Random(1)
    config = study(trials=6, samples=2, constraints="[]")
    for _ in range(8):
        run_and_die(config, out, draw.randrange(5, 40), log)
    run_study(config, out, FakePool(log=log))
    check_complete(config, out)


def test_a_stopped_study_has_the_points_of_one_that_was_not(tmp_path: Path) -> None:
    for sampler in ("qmc", "random"):
        config = study(trials=5, samples=1, sampler=sampler)
        run_study(config, tmp_path / sampler, FakePool())
        out = tmp_path / f"{sampler}-stopped"
        for at in (17, 23):
            assert run_and_die(config, out, at, tmp_path / "log")
        run_study(config, out, FakePool())
        points = [[trial.params for trial in read_trials(path)] for path in (tmp_path / sampler, out)]
        assert points[0] == points[1]


def test_a_journal_cut_at_any_byte_of_its_last_record_goes_on(tmp_path: Path) -> None:
    out = tmp_path / "out"
    run_study(SMALL, out, FakePool())
    journal = (out / JOURNAL).read_bytes()
    last = journal[:-1].rindex(b"\n") + 1
    for length in range(last, len(journal), 17):
        (out / JOURNAL).write_bytes(journal[:length])
        pool = FakePool()
        run_study(SMALL, out, pool)
        check_complete(SMALL, out)
        assert pool.submitted == []


def test_a_row_of_a_trial_that_the_journal_lost_is_not_taken_for_another(tmp_path: Path) -> None:
    """The journal was cut back to its start and trial 0 asked again, with other targets under the same ids."""
    out = tmp_path / "out"
    run_study(SMALL, out, FakePool())
    other = study(STUDY.replace("high: 0.25", "high: 0.24"), trials=2, samples=2, startup_trials=1)
    (out / "study.yaml").write_text(other.text())
    (out / JOURNAL).write_bytes(b"")
    with open_study(other, out) as opened:
        trial = opened.study.ask()
        for name, distribution in distributions(other, 0).items():
            _suggest(trial, name, distribution)
        opened.flush()
    pool = FakePool()
    run_study(other, out, pool)
    assert len(pool.submitted) == 4
    check_complete(other, out)


DRIVER = """
import sys, time
from pathlib import Path
from studies.loop import run_study
from tests.studies.fakes import FakePool, made_up_row, study

answers = 0

def slow(request):
    global answers
    answers += 1
    time.sleep(0.01 if answers < 14 else 600)  # it is killed there, however late
    return made_up_row(request)

config = study(trials=40, samples=2, constraints="[]")
run_study(config, Path(sys.argv[1]), FakePool(answer=slow, log=Path(sys.argv[2])))
"""


def test_a_real_driver_killed_at_work_goes_on(tmp_path: Path) -> None:
    """As its user sees it: kill -9, then the same command."""
    out, log = tmp_path / "out", tmp_path / "log"
    config = study(trials=40, samples=2, constraints="[]")
    driver = subprocess.Popen([sys.executable, "-c", DRIVER, str(out), str(log)], cwd=Path(__file__).parents[2])
    while not (log.exists() and len(log.read_text().split()) > 12):
        assert driver.poll() is None
        time.sleep(0.01)
    driver.kill()
    assert driver.wait() == -9
    kept = durable(out)
    pool = FakePool()
    assert run_study(config, out, pool).resumed
    check_complete(config, out)
    assert kept and kept.isdisjoint(request.structure_id for request in pool.submitted)
