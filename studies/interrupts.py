"""Ctrl-C arrives between two steps of bookkeeping, never within one."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def interrupts_deferred() -> Iterator[None]:
    """Hold a Ctrl-C back until the block is left; it raises KeyboardInterrupt there.

    Python handles signals in the main thread alone, so elsewhere this does nothing; nor does it within itself.
    """
    if threading.current_thread() is not threading.main_thread() or isinstance(_handler(), _Remember):
        yield
        return
    remember = _Remember()
    before = signal.signal(signal.SIGINT, remember)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if remember.caught:
        raise KeyboardInterrupt


class _Remember:
    """A signal handler that only takes note."""

    caught = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        self.caught = True


def _handler() -> object:
    return signal.getsignal(signal.SIGINT)
