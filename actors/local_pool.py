"""The pool without Ray: everything in this process, one batch per call of `wait`."""

import time
from collections import deque
from pathlib import Path

from actors.batches import take_batch
from actors.engines import EngineFactory
from actors.ledger import Job, Ledger
from actors.messages import ErrorRecord, Result
from actors.places import Folder, Place
from actors.pool import Pool, PoolStats
from actors.volumes import CURVES, VOLUMES
from actors.workers import Designed, DesignWorker, StoreWorker, certify
from engine.errors import WorkError
from engine.request import Request


class LocalPool(Pool):
    """Runs in the caller's thread, inside `wait`. A batch is never interrupted, so `wait` may overrun its timeout.

    Args:
        engine_factory: called once, here; its InputError (no such bundle) comes through.
        out: where volumes and curves go: a folder, made where missing and touched by the first `submit`, or a store.
        batch_size: most requests generated at once.
        structure_timeout_s: a structure that takes longer is ended and fails; None: no limit. Holds where `wait` is
            called in the main thread, for what returns to Python now and then.
        max_attempts: tries per request and step (design, certify, store) before it comes back as a Failure.
        code_version: stored in every row.
    """

    def __init__(
        self,
        engine_factory: EngineFactory,
        out: Path | Place,
        *,
        batch_size: int,
        structure_timeout_s: float | None = None,
        max_attempts: int = 3,
        code_version: str,
    ) -> None:
        self._ledger = Ledger(slots=2 * batch_size, max_attempts=max_attempts)
        self._batch_size = batch_size
        self._queue: deque[Job] = deque()
        self._engine = engine_factory()
        self._place: Place = Folder(out) if isinstance(out, Path) else out
        self._started = False
        self._timeout_s = structure_timeout_s
        self._design = DesignWorker(self._engine, structure_timeout_s)
        self._store = StoreWorker(self._place, code_version)

    def submit(self, request: Request) -> None:
        job = self._ledger.admit(request)
        if not self._started:
            self._place.clear_leftovers(VOLUMES, CURVES)
            self._started = True
        self._queue.append(job)

    @property
    def free_slots(self) -> int:
        return self._ledger.free_slots

    @property
    def in_flight(self) -> int:
        return self._ledger.in_flight

    @property
    def stats(self) -> PoolStats:
        return self._ledger.stats

    def wait(self, timeout_s: float) -> list[Result]:
        deadline = time.monotonic() + timeout_s
        self._ledger.check()
        while self._queue and not self._ledger.has_results:
            self._run_batch()
            if self._ledger.error is None and time.monotonic() >= deadline:
                break
        if not self._ledger.has_results:
            self._ledger.check()
        return self._ledger.take()

    def drain(self, timeout_s: float) -> list[Result]:
        self._queue.clear()
        self._ledger.draining = True
        return self._ledger.take()

    def close(self) -> None:
        self._queue.clear()
        self._ledger.close()

    def _run_batch(self) -> None:
        batch = take_batch(self._queue, self._batch_size, self._design.limits)
        with _Clock(self._ledger, "design-0"):
            designs = self._design.design([job.request for job in batch])
        for job, designed in zip(batch, designs, strict=True):
            step, error = ("design", designed) if isinstance(designed, ErrorRecord) else self._finish(job, designed)
            if error is None:
                continue
            if error.fatal:
                self._ledger.error = WorkError(error.message)
                self._queue.clear()
                return
            if self._ledger.attempt_failed(job, step, error):
                self._queue.append(job)

    def _finish(self, job: Job, designed: Designed) -> tuple[str, ErrorRecord | None]:
        """Measure and store one structure; returns the last step taken, and the error where it failed."""
        with _Clock(self._ledger, "property-0"):
            certified = certify(self._engine, designed, self._timeout_s)
        if isinstance(certified, ErrorRecord):
            return "certify", certified
        with _Clock(self._ledger, "writer-0"):
            row = self._store.store(designed, certified)
        if isinstance(row, ErrorRecord):
            return "store", row
        self._ledger.complete(job, row)
        return "store", None


class _Clock:
    """Adds the time spent inside it to a worker's busy seconds."""

    def __init__(self, ledger: Ledger, worker: str) -> None:
        self._ledger, self._worker = ledger, worker

    def __enter__(self) -> None:
        self._started = time.monotonic()

    def __exit__(self, *_: object) -> None:
        self._ledger.worked(self._worker, time.monotonic() - self._started)
