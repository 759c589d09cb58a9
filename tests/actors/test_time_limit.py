import signal
import threading
import time
from collections.abc import Iterator

import pytest

from actors.messages import CallTimeoutError, record_error
from actors.time_limit import time_limit


@pytest.fixture
def no_alarm() -> Iterator[None]:
    """Without the alarm of whoever runs the tests, which comes back afterwards."""
    left_s, interval_s = signal.setitimer(signal.ITIMER_REAL, 0.0)
    yield
    signal.setitimer(signal.ITIMER_REAL, left_s, interval_s)


def test_what_takes_too_long_is_ended() -> None:
    started = time.monotonic()
    message = r"within 0\.2 s, the limit for a batch of 2 structures"
    with pytest.raises(CallTimeoutError, match=message) as caught, time_limit(0.1, 2):
        time.sleep(100)
    assert 0.15 < time.monotonic() - started < 90
    record = record_error(caught.value, 0.2)
    assert record.timed_out and record.retryable and not record.poisoned


@pytest.mark.parametrize("limit_s", [60.0, None])
def test_what_ends_in_time_is_left_alone(no_alarm: None, limit_s: float | None) -> None:
    before = signal.getsignal(signal.SIGALRM)
    with time_limit(limit_s):
        assert (signal.getitimer(signal.ITIMER_REAL)[0] > 0) == (limit_s is not None)
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)  # nothing comes later
    assert signal.getsignal(signal.SIGALRM) is before


def test_an_alarm_of_somebody_else_still_comes(no_alarm: None) -> None:
    """Such as that of a test that may hang: what is left of it after the block, or at once if it is overdue."""
    rung = threading.Event()
    before = signal.signal(signal.SIGALRM, lambda number, frame: rung.set())
    try:
        signal.setitimer(signal.ITIMER_REAL, 30.0, 40.0)
        with time_limit(60.0):
            time.sleep(0.1)
        left_s, interval_s = signal.getitimer(signal.ITIMER_REAL)
        assert left_s < 29.95 and interval_s == 40.0 and not rung.is_set()
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        with time_limit(60.0):
            time.sleep(0.1)
            assert not rung.is_set()
        assert rung.wait(60)
    finally:
        signal.signal(signal.SIGALRM, before)


def test_outside_the_main_thread_there_is_no_limit() -> None:
    done = []

    def work() -> None:
        with time_limit(0.01):
            time.sleep(0.1)
        done.append(True)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert done
