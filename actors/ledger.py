"""Bookkeeping that every pool needs: slots, what is in flight, results not yet fetched, counts, the fatal error."""

import time
from collections import Counter
from dataclasses import dataclass, field

from actors.messages import Completed, ErrorRecord, Failure, Result
from actors.pool import PoolFullError, PoolStats
from actors.rows import Row
from actors.volumes import check_structure_id
from engine.errors import InputError, WorkError
from engine.outcomes import DesignOutcome
from engine.request import Request

TIMEOUT_ATTEMPTS = 2
"""A request that hangs is tried once more and no oftener, whatever the cap: each try costs the whole time limit."""


@dataclass(eq=False, kw_only=True)
class Job:
    """A request on its way through a pool."""

    request: Request
    attempt: int = 1
    """The attempt that runs now or next."""
    failures: Counter[str] = field(default_factory=Counter)
    """Failed attempts by step: the cap holds for each step, so that three actors lost in a row do not end a request."""
    alone: bool = False
    """Its batch killed an actor: run it in a batch of its own, so that the culprit shows."""


@dataclass(eq=False, kw_only=True)
class Ledger:
    """Each admitted request leaves exactly once, through `complete` or `fail`, and is handed out by `take`."""

    slots: int
    max_attempts: int
    error: InputError | WorkError | None = None
    """Why the pool is broken; raised by `check`."""
    done: int = 0
    failed: int = 0
    retried: int = 0
    replaced: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    busy_s: dict[str, float] = field(default_factory=dict)
    ready_s: dict[str, float] = field(default_factory=dict)
    _since: dict[str, float] = field(default_factory=dict)
    """When each worker was ready, or answered last, in seconds of the monotonic clock."""
    draining: bool = False
    closed: bool = False
    _in_flight: set[str] = field(default_factory=set)
    _results: list[Result] = field(default_factory=list)

    def admit(self, request: Request) -> Job:
        """Take a slot."""
        self.check()
        check_structure_id(request.structure_id)
        if request.structure_id in self._in_flight:
            raise InputError(f"structure {request.structure_id}: is in flight already; wait for its result first")
        if self.free_slots < 1:
            raise PoolFullError(f"all {self.slots} slots are taken: call wait() before submit()")
        self._in_flight.add(request.structure_id)
        return Job(request=request)

    def check(self) -> None:
        """Raise where the pool is closed or broken."""
        if self.closed or self.draining:
            raise RuntimeError("the pool is closed")
        if self.error is not None:
            raise self.error

    @property
    def in_flight(self) -> int:
        return len(self._in_flight)

    @property
    def free_slots(self) -> int:
        return self.slots - len(self._in_flight)

    @property
    def has_results(self) -> bool:
        return bool(self._results)

    def complete(self, job: Job, row: Row) -> None:
        self.done += 1
        self.outcomes[str(row["status"])] += 1
        self._results.append(Completed(job.request.structure_id, row, job.attempt))

    def attempt_failed(self, job: Job, step: str, error: ErrorRecord) -> bool:
        """Count a failed attempt. True: try again; False: the request has left as a Failure."""
        job.failures[step] += 1
        cap = min(TIMEOUT_ATTEMPTS, self.max_attempts) if error.timed_out else self.max_attempts
        if error.retryable and job.failures[step] < cap:
            job.attempt += 1
            self.retried += 1
            return True
        self.failed += 1
        self.outcomes[DesignOutcome.FAILED] += 1
        self._results.append(
            Failure(
                structure_id=job.request.structure_id,
                error_type=error.error_type,
                message=error.message,
                traceback=error.traceback,
                attempt=job.attempt,
                wall_time_s=error.wall_time_s,
            )
        )
        return False

    def take(self) -> list[Result]:
        """Hand out what has left; frees the slots."""
        results, self._results = self._results, []
        self._in_flight.difference_update(result.structure_id for result in results)
        return results

    def ready(self, worker: str) -> None:
        """A worker can work from now on."""
        self._since[worker] = time.monotonic()

    def worked(self, worker: str, busy_s: float) -> None:
        """A worker has answered, after work of `busy_s`."""
        now = time.monotonic()
        self.busy_s[worker] = self.busy_s.get(worker, 0.0) + busy_s
        self.ready_s[worker] = self.ready_s.get(worker, 0.0) + now - self._since.get(worker, now - busy_s)
        self._since[worker] = now

    def close(self) -> None:
        self.closed = True
        self._in_flight.clear()
        self._results.clear()

    @property
    def stats(self) -> PoolStats:
        return PoolStats(
            done=self.done,
            failed=self.failed,
            retried=self.retried,
            replaced=self.replaced,
            outcomes=dict(self.outcomes),
            busy_s=dict(self.busy_s),
            ready_s=dict(self.ready_s),
        )
