"""studies.runs: what each run did, on disk."""

import errno
import json
import logging
import os
from pathlib import Path

import pytest

from actors.messages import Failure
from actors.rows import Row
from engine.errors import WorkError
from engine.request import Request, structure_id
from studies.loop import run_study
from studies.runs import LOGGER, RunRecord, log, recorded, seconds_before
from tests.studies.fakes import FakePool, failure, made_up_row, study


def events(out: Path) -> list[dict[str, object]]:
    lines = [line for path in sorted((out / "runs").glob("*.jsonl")) for line in path.read_text().splitlines()]
    return [json.loads(line) for line in lines]


def summaries(out: Path) -> list[dict[str, object]]:
    return [json.loads(path.read_text()) for path in sorted((out / "runs").glob("*.json"))]


def test_a_run_leaves_a_summary_and_a_log(tmp_path: Path) -> None:
    broken = structure_id("toy", 1, 0)

    def answer(request: Request) -> Row | Failure:
        return failure(request) if request.structure_id == broken else made_up_row(request)

    run_study(study(), tmp_path, FakePool(answer=answer))
    [summary] = summaries(tmp_path)
    assert (summary["stopped"], summary["trials_done"], summary["failed"]) == ("budget", 4, 1)
    assert summary["failures"] == {"OutOfMemoryError: no memory": 1}
    assert summary["pid"] == os.getpid() and summary["host"] and summary["started"] and summary["code_version"]
    found = events(tmp_path)
    assert [event["event"] for event in found].count("trial told") == 4
    assert found[0]["event"] == "run started" and found[-1]["event"] == "run ended"
    [failed] = [event for event in found if event["event"] == "structure failed"]
    assert (failed["structure_id"], failed["error_type"], failed["attempt"]) == (broken, "OutOfMemoryError", 3)
    assert all({"time", "level", "logger"} <= event.keys() for event in found)


def test_what_broke_a_run_is_in_its_log_and_summary(tmp_path: Path) -> None:
    pool = FakePool()

    def fail(count: int) -> None:
        raise WorkError("no worker left")

    pool.on_wait = fail
    with pytest.raises(WorkError):
        run_study(study(), tmp_path, pool)
    assert summaries(tmp_path)[0]["stopped"] == "failed: no worker left"
    assert events(tmp_path)[-1]["error_type"] == "WorkError"


def test_other_loggers_of_the_program_land_in_the_same_file(tmp_path: Path) -> None:
    with recorded(tmp_path):
        log("hello", count=3)
        logging.getLogger("mesoforge.pool").warning("actor lost", extra={"fields": {"actor": "design-0"}})
        logging.getLogger("elsewhere").warning("not ours")
    found = events(tmp_path)
    assert [(event["event"], event["level"]) for event in found] == [("hello", "info"), ("actor lost", "warning")]
    assert found[0]["count"] == 3 and found[1]["actor"] == "design-0"
    assert LOGGER.handlers == []


def test_hours_of_earlier_runs_add_up_and_damaged_records_count_as_nothing(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "a.json").write_text('{"wall_time_s": 100.0}')
    (tmp_path / "runs" / "b.json").write_text('{"wall_time_s": 20.5}')
    (tmp_path / "runs" / "c.json").write_text('{"wall_ti')
    (tmp_path / "runs" / "d.json").write_text("[]")
    assert seconds_before(tmp_path) == 120.5
    assert seconds_before(tmp_path / "nowhere") == 0.0


def test_a_disk_that_refuses_a_record_stops_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(text: str, out: Path, name: str) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("studies.runs.write_text", full)
    RunRecord(tmp_path, "name").keep({})
    (tmp_path / "runs").write_text("a file where the folder must be")
    with recorded(tmp_path):
        log("goes nowhere")
