import signal
import threading
import time

import pytest

from actors.messages import CallTimeoutError, record_error
from actors.time_limit import time_limit


def test_what_takes_too_long_is_ended() -> None:
    started = time.monotonic()
    message = r"within 0\.2 s, the limit for a batch of 2 structures"
    with pytest.raises(CallTimeoutError, match=message) as caught, time_limit(0.1, 2):
        time.sleep(30)
    assert 0.15 < time.monotonic() - started < 10
    record = record_error(caught.value, 0.2)
    assert record.timed_out and record.retryable and not record.poisoned


def test_what_ends_in_time_is_left_alone() -> None:
    before = signal.getsignal(signal.SIGALRM)
    with time_limit(0.05):
        pass
    time.sleep(0.1)
    with time_limit(None):
        pass
    assert signal.getsignal(signal.SIGALRM) is before


def test_an_alarm_of_somebody_else_still_comes() -> None:
    """Such as that of a test that may hang."""
    rung = []
    before = signal.signal(signal.SIGALRM, lambda number, frame: rung.append(time.monotonic()))
    others_left_s, others_interval_s = signal.setitimer(signal.ITIMER_REAL, 0.3)
    try:
        with time_limit(60.0):
            time.sleep(0.1)
        assert not rung
        time.sleep(0.4)
        assert rung
    finally:
        signal.signal(signal.SIGALRM, before)
        signal.setitimer(signal.ITIMER_REAL, others_left_s, others_interval_s)


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
