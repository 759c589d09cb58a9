"""studies.postgres: a study whose trials are on a real PostgreSQL server."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from optuna.trial import TrialState

from engine.errors import InputError
from studies.config import StudyConfig
from studies.loop import run_study
from studies.storage import open_study, read_trials
from studies.table import read_structures
from tests.postgres_server import PASSWORD, postgres_server
from tests.studies.fakes import FakePool, study


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with postgres_server() as url:
        yield url


@pytest.fixture(autouse=True)
def password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGPASSWORD", PASSWORD)


def shared(server: str, name: str) -> StudyConfig:
    return study(storage=server, name=name)


def test_a_study_on_a_server_runs_stops_and_goes_on(server: str, tmp_path: Path) -> None:
    config, out = shared(server, "resumed"), tmp_path / "out"
    pool = FakePool()

    def stop(count: int) -> None:
        if count == 3:
            raise KeyboardInterrupt

    pool.on_wait = stop
    assert run_study(config, out, pool).interrupted
    kept = set(read_structures(out)["structure_id"].to_pylist())
    again = FakePool()
    summary = run_study(config, out, again)
    assert summary.finished and summary.resumed and summary.structures == 8
    assert kept and kept.isdisjoint(request.structure_id for request in again.submitted)
    trials = read_trials(out)
    assert [trial.number for trial in trials] == [0, 1, 2, 3]
    assert [trial.state for trial in trials] == [TrialState.COMPLETE] * 4
    assert not (out / "optuna.journal").exists()
    assert not any(PASSWORD.encode() in path.read_bytes() for path in out.rglob("*") if path.is_file())


def test_one_driver_and_one_folder_for_each_study(server: str, tmp_path: Path) -> None:
    config = shared(server, "held")
    with (
        open_study(config, tmp_path),
        pytest.raises(InputError, match="another process works on 'held'"),
        open_study(config, tmp_path),
    ):
        pass
    with open_study(config, tmp_path):  # the first has let go
        pass
    with pytest.raises(InputError, match=f"whose results are in {tmp_path}"), open_study(config, tmp_path / "other"):
        pass


def test_a_server_that_refuses_is_one_line_without_secrets(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGPASSWORD", "wrong-secret")
    with pytest.raises(InputError) as caught, open_study(shared(server, "x"), tmp_path):
        pass
    line = str(caught.value)
    assert "password authentication failed" in line and "PGPASSWORD" in line and "\n" not in line
    assert "wrong-secret" not in line
