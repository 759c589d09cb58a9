import pytest

from actors.ledger import Ledger
from actors.messages import Completed, ErrorRecord, Failure
from actors.pool import PoolFullError
from engine.errors import InputError, WorkError
from tests.conformance.pool import request

ERROR = ErrorRecord(error_type="RuntimeError", message="no", traceback="trace", wall_time_s=1.0)
INPUT = ErrorRecord(error_type="InputError", message="no", traceback="trace", wall_time_s=1.0, retryable=False)


@pytest.fixture
def ledger() -> Ledger:
    return Ledger(slots=2, max_attempts=2)


def test_a_slot_is_held_until_the_result_is_taken(ledger: Ledger) -> None:
    job = ledger.admit(request("a"))
    ledger.admit(request("b"))
    with pytest.raises(PoolFullError):
        ledger.admit(request("c"))
    ledger.complete(job, {"seed": 1, "status": "attained"})
    assert (ledger.in_flight, ledger.free_slots, ledger.has_results) == (2, 0, True)
    assert ledger.take() == [Completed("a", {"seed": 1, "status": "attained"}, 1)]
    assert ledger.take() == []
    assert (ledger.in_flight, ledger.free_slots, ledger.has_results) == (1, 1, False)


def test_the_cap_counts_attempts_per_step(ledger: Ledger) -> None:
    job = ledger.admit(request("a"))
    assert ledger.attempt_failed(job, "design", ERROR)
    assert ledger.attempt_failed(job, "certify", ERROR)
    assert ledger.attempt_failed(job, "store", ERROR)
    assert not ledger.attempt_failed(job, "certify", ERROR)
    assert ledger.take() == [Failure("a", "RuntimeError", "no", "trace", 4, 1.0)]
    assert (ledger.stats.failed, ledger.stats.retried, ledger.stats.done) == (1, 3, 0)


def test_what_no_retry_mends_fails_at_once(ledger: Ledger) -> None:
    assert not ledger.attempt_failed(ledger.admit(request("a")), "design", INPUT)
    assert ledger.stats.retried == 0


def test_a_broken_or_closed_ledger_takes_nothing(ledger: Ledger) -> None:
    ledger.error = WorkError("no disk")
    with pytest.raises(WorkError, match="no disk"):
        ledger.admit(request("a"))
    ledger.close()
    with pytest.raises(RuntimeError, match="closed"):
        ledger.admit(request("a"))


def test_a_refused_request_takes_no_slot(ledger: Ledger) -> None:
    with pytest.raises(InputError):
        ledger.admit(request("a/b"))
    assert ledger.free_slots == 2


def test_a_worker_is_there_from_when_it_is_ready_to_its_last_answer(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr("actors.ledger.time.monotonic", lambda: now[0])

    def after(seconds: float) -> None:
        now[0] += seconds

    ledger.ready("design-0")
    after(1.0)  # it waited for half of this
    ledger.worked("design-0", 0.5)
    after(60.0)  # its process was lost and replaced meanwhile
    ledger.ready("design-0")
    after(2.0)
    ledger.worked("design-0", 2.0)
    after(10.0)  # nothing is left for it
    ledger.worked("property-0", 0.25)  # never said that it was ready
    assert ledger.stats.ready_s == {"design-0": 3.0, "property-0": 0.25}
    assert ledger.stats.busy_s == {"design-0": 2.5, "property-0": 0.25}


def test_busy_time_adds_up_and_statistics_are_a_copy(ledger: Ledger) -> None:
    ledger.worked("design-0", 1.0)
    before = ledger.stats
    ledger.worked("design-0", 0.5)
    assert before.busy_s == {"design-0": 1.0}
    assert ledger.stats.busy_s == {"design-0": 1.5}
