"""A time limit for work that runs in this thread."""

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from actors.messages import CallTimeoutError


@contextmanager
def time_limit(structure_timeout_s: float | None, structures: int = 1) -> Iterator[None]:
    """Raise CallTimeoutError inside the block once it has taken `structure_timeout_s` for each of its structures.

    The alarm is delivered between two Python instructions, and to the main thread alone: elsewhere, and while a library
    call never returns, nothing can end the block but the end of its process. None sets no limit.
    """
    if structure_timeout_s is None or threading.current_thread() is not threading.main_thread():
        yield
        return
    limit_s = structure_timeout_s * structures

    def expire(number: int, frame: FrameType | None) -> None:
        raise CallTimeoutError(timeout_message(limit_s, structures))

    started = time.monotonic()
    before = signal.signal(signal.SIGALRM, expire)
    left_s, interval_s = signal.setitimer(signal.ITIMER_REAL, limit_s)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)
        if left_s:  # somebody else's alarm was running, and still is
            signal.setitimer(signal.ITIMER_REAL, max(left_s - (time.monotonic() - started), 1e-3), interval_s)


def timeout_message(limit_s: float, structures: int) -> str:
    """What a structure that was given up says."""
    what = "a structure" if structures == 1 else f"a batch of {structures} structures"
    return f"no answer within {limit_s:g} s, the limit for {what}; allow more time, or ask for a smaller size"
