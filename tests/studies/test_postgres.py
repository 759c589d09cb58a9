"""studies.postgres: a study whose trials are on a real PostgreSQL server."""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from optuna.trial import TrialState

from engine.errors import InputError
from studies.config import StudyConfig
from studies.loop import run_study
from studies.storage import open_study, read_trials
from studies.table import read_structures
from tests.studies.fakes import FakePool, study

PASSWORD = "a-secret-of-the-tests"
PROGRAMS = ("initdb", "postgres")


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """URL of a server of our own, without the password."""
    missing = [name for name in PROGRAMS if shutil.which(name) is None]
    if missing:
        pytest.skip(f"needs a PostgreSQL server: {', '.join(missing)} not found (Debian: apt-get install postgresql)")
    pytest.importorskip("psycopg", reason="needs psycopg: pip install 'psycopg[binary]'")
    user = None
    if os.getuid() == 0:  # PostgreSQL refuses to run as root
        try:
            user = pwd.getpwnam("postgres").pw_name
        except KeyError:
            pytest.skip("needs the user postgres: PostgreSQL does not run as root")
    with socket.create_server(("127.0.0.1", 0)) as found:
        port = found.getsockname()[1]
    home = Path(tempfile.mkdtemp(prefix="mesoforge-postgres-"))
    (home / "password").write_text(PASSWORD)
    if user is not None:
        for path in (home, home / "password"):
            shutil.chown(path, user)
    data = home / "data"
    initdb = ["initdb", "-D", data, "-U", "meso", "--auth=scram-sha-256", f"--pwfile={home / 'password'}", "--no-sync"]
    subprocess.run(initdb, check=True, user=user, capture_output=True, cwd=home)
    options = ["-h", "127.0.0.1", "-p", str(port), "-k", str(home), "-c", "fsync=off"]
    process = subprocess.Popen(
        ["postgres", "-D", data, *options], user=user, cwd=home, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                time.sleep(0.1)
        yield f"postgresql://meso@127.0.0.1:{port}/postgres"
    finally:
        process.send_signal(signal.SIGINT)  # a fast shutdown
        process.wait(timeout=30)
        shutil.rmtree(home, ignore_errors=True)


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
