"""The Ray actors: thin shells around `actors.workers`. Each first proves that its node can reach the results.

A call returns a small Report for the driver, then its volumes or measurements as separate objects: the driver passes
their references on and never fetches them.
"""

import os
import socket
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import ray

from actors.batches import Kind
from actors.engines import EngineFactory
from actors.messages import ErrorRecord, record_error
from actors.places import Place
from actors.rows import Row
from actors.workers import Certified, Designed, DesignWorker, StoreWorker, certify
from engine.request import Request


@dataclass(frozen=True, kw_only=True)
class Setup:
    """What an actor needs to start; picklable."""

    engine_factory: EngineFactory
    place: Place
    """Of volumes and curves."""
    token: str
    threads: int | None
    """Torch threads; None leaves them as they are and does not import torch."""
    code_version: str


@dataclass(frozen=True, kw_only=True)
class Report:
    """What the driver reads of one call."""

    busy_s: float
    errors: tuple[ErrorRecord | None, ...] = ()
    """One per request of the call; None where it went well."""
    limits: Mapping[Kind, int] = field(default_factory=dict)
    """From a design actor: batch sizes that memory allows, as far as it has found out."""
    row: Row | None = None
    """From the writer: the row of the structure it stored."""


@dataclass(frozen=True, kw_only=True)
class Started:
    """Answer of an actor that is ready, or why it is not."""

    node: str
    pid: int
    error: ErrorRecord | None


class _Shell:
    """Start-up shared by the actors: nothing that can fail happens in a constructor."""

    def __init__(self, setup: Setup) -> None:
        self.setup = setup

    def start(self) -> Started:
        """Check the token, set the threads, make what the actor hosts."""
        started = time.monotonic()
        error = None
        try:
            self.setup.place.check_token(self.setup.token)
            os.environ.setdefault("MPLBACKEND", "Agg")  # the transport solver imports matplotlib
            os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # actors share cores; spinning threads block them
            if self.setup.threads is not None:
                import torch

                torch.set_num_threads(self.setup.threads)
            self.prepare()
        except Exception as caught:
            error = record_error(caught, time.monotonic() - started)
        return Started(node=socket.gethostname(), pid=os.getpid(), error=error)

    def prepare(self) -> None:
        raise NotImplementedError


class _Design(_Shell):
    def prepare(self) -> None:
        self.worker = DesignWorker(self.setup.engine_factory())

    def design(self, requests: Sequence[Request]) -> tuple[Report | Designed | None, ...]:
        """Returns the report, then one Designed per request, None where it failed: num_returns = 1 + len(requests)."""
        started = time.monotonic()
        results = self.worker.design(requests)
        errors = tuple(result if isinstance(result, ErrorRecord) else None for result in results)
        designs = [None if isinstance(result, ErrorRecord) else result for result in results]
        report = Report(busy_s=time.monotonic() - started, errors=errors, limits=self.worker.limits.known())
        return report, *designs


class _Property(_Shell):
    def prepare(self) -> None:
        self.engine = self.setup.engine_factory()

    def certify(self, designed: Designed) -> tuple[Report, Certified | None]:
        """Returns the report and the certified values, None where that failed: num_returns = 2."""
        started = time.monotonic()
        certified = certify(self.engine, designed)
        busy_s = time.monotonic() - started
        if isinstance(certified, ErrorRecord):
            return Report(busy_s=busy_s, errors=(certified,)), None
        return Report(busy_s=busy_s, errors=(None,)), certified


class _Writer(_Shell):
    def prepare(self) -> None:
        self.worker = StoreWorker(self.setup.place, self.setup.code_version)

    def store(self, designed: Designed, certified: Certified) -> Report:
        """The report holds the row; by then volume and curves are durable."""
        started = time.monotonic()
        row = self.worker.store(designed, certified)
        busy_s = time.monotonic() - started
        if isinstance(row, ErrorRecord):
            return Report(busy_s=busy_s, errors=(row,))
        return Report(busy_s=busy_s, errors=(None,), row=row)


# Restarts and retries are the pool's business: a retry by Ray would run a request again without counting it.
DesignActor = ray.remote(max_restarts=0, max_task_retries=0)(_Design)
PropertyActor = ray.remote(max_restarts=0, max_task_retries=0)(_Property)
WriterActor = ray.remote(max_restarts=0, max_task_retries=0)(_Writer)
"""Ray actor classes of the three kinds of work."""
