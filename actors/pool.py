"""The interface that a study loop sees: submit requests while there are free slots, wait for results.

with make_pool() as pool:
    while work or pool.in_flight:
        while work and pool.free_slots > 0:
            pool.submit(work.pop())
        for result in pool.wait(timeout_s=1.0):
            ...  # Completed or Failure, each submitted request exactly once, in any order
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from actors.messages import Result
from engine.request import Request


class PoolFullError(RuntimeError):
    """`submit` was called without a free slot: call `wait` first."""


@dataclass(frozen=True, kw_only=True)
class PoolStats:
    """Counts since the pool was made."""

    done: int = 0
    """Requests returned as Completed."""
    failed: int = 0
    """Requests returned as Failure."""
    retried: int = 0
    """Attempts repeated because the one before failed or its actor died."""
    replaced: int = 0
    """Actors that died, or were ended, and were replaced."""
    busy_s: dict[str, float] = field(default_factory=dict)
    """Seconds of work per actor, such as {"design-0": 31.2, "property-0": 8.0, "writer-0": 0.3}."""


class Pool(ABC):
    """Workers behind a bounded number of slots: `submit` takes one, `wait` frees it with the result."""

    @abstractmethod
    def submit(self, request: Request) -> None:
        """Take a request; does not block.

        Raises:
            PoolFullError: no slot is free.
            InputError: the structure_id cannot name a file, or is in flight already; or a worker refused its input.
            WorkError: no worker can be kept alive, or results cannot be written.
        """

    @property
    @abstractmethod
    def free_slots(self) -> int:
        """How many requests `submit` will take now."""

    @property
    @abstractmethod
    def in_flight(self) -> int:
        """How many requests were submitted and not yet returned by `wait`."""

    @abstractmethod
    def wait(self, timeout_s: float) -> list[Result]:
        """Results that are ready, after at most about `timeout_s` seconds; at least one unless the time is over.

        Returns [] on timeout, and at once when nothing is in flight. Results that were finished before the pool
        broke are returned first; the error is raised by the next call.

        Raises:
            InputError: a worker could not start with the input given (a bundle, the output folder).
            WorkError: no worker can be kept alive, or results cannot be written. The message has a remedy.
        """

    @property
    @abstractmethod
    def stats(self) -> PoolStats:
        """Counts so far."""

    @abstractmethod
    def close(self) -> None:
        """End every worker and drop what is in flight; files already written stay. May be called twice."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
