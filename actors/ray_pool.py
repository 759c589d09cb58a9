"""The pool on Ray. Ray must be initialised by the caller (room `cluster`).

A request goes design actor → property actor → writer. Its volume travels by object reference, from actor to actor;
the driver sees small reports and rows, and holds each reference no longer than the next step needs it.
"""

import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import ray
from ray.exceptions import ObjectFetchTimedOutError, ObjectLostError, RayError, RayTaskError

from actors.engines import EngineFactory
from actors.files import clear_leftovers, write_token
from actors.ledger import Job, Ledger
from actors.messages import ErrorRecord, Result, record_error
from actors.pool import Pool, PoolStats
from actors.ray_actors import DesignActor, PropertyActor, Report, Setup, Started, WriterActor
from actors.ray_crew import Crew, Member
from actors.volumes import CURVES, VOLUMES
from engine.errors import InputError, WorkError
from engine.request import Request

Step = Literal["start", "design", "certify", "store"]


@dataclass(eq=False, kw_only=True)
class _RayJob(Job):
    """A request with the objects that its next step needs."""

    designed: Any = None
    certified: Any = None


@dataclass(eq=False, kw_only=True)
class _Call:
    """A running remote call."""

    step: Step
    crew: Crew
    member: Member
    jobs: list[_RayJob]
    outputs: list[Any]
    """References of what the call returns after its report."""
    started: float


class RayPool(Pool):
    """Actors that generate, measure and write; dead ones are replaced.

    The first `submit` writes the token and starts the actors; by then the caller holds the lock of the folder.

    Args:
        engine_factory: picklable; called inside each design and property actor.
        out: study folder, on a disk that every node sees; made where missing.
        design_actors, property_actors: how many of each (one writer is enough).
        batch_size: most requests that a design actor generates at once.
        cpus_per_design_actor, gpus_per_design_actor, cpus_per_property_actor: what Ray reserves; fractions are fine
            and only bookkeeping. The writer reserves nothing.
        threads_per_design_actor, threads_per_property_actor: torch threads in each, independent of what is reserved;
            None leaves torch alone.
        max_attempts: tries per request and step (design, certify, store) before it comes back as a Failure.
        start_timeout_s: how long to wait for the first actor of a kind (a cluster may have to grow).
        code_version: stored in every row.
    """

    def __init__(
        self,
        engine_factory: EngineFactory,
        out: Path,
        *,
        design_actors: int = 1,
        property_actors: int = 1,
        batch_size: int,
        cpus_per_design_actor: float = 1.0,
        gpus_per_design_actor: float = 0.0,
        cpus_per_property_actor: float = 0.5,
        threads_per_design_actor: int | None = None,
        threads_per_property_actor: int | None = None,
        max_attempts: int = 3,
        start_timeout_s: float = 600.0,
        code_version: str,
    ) -> None:
        assert ray.is_initialized(), "ray.init() first"
        self._ledger = Ledger(slots=2 * design_actors * batch_size, max_attempts=max_attempts)
        self._batch_size = batch_size
        self._start_timeout_s = start_timeout_s
        self._calls: dict[Any, _Call] = {}
        self._to_design: deque[_RayJob] = deque()
        self._to_certify: deque[_RayJob] = deque()
        self._to_store: deque[_RayJob] = deque()
        self._setup = Setup(
            engine_factory=engine_factory, out=out.absolute(), token="", threads=None, code_version=code_version
        )
        self._design = self._crew(
            "design",
            DesignActor,
            design_actors,
            threads_per_design_actor,
            {"num_cpus": cpus_per_design_actor, "num_gpus": gpus_per_design_actor},
        )
        self._property = self._crew(
            "property",
            PropertyActor,
            property_actors,
            threads_per_property_actor,
            {"num_cpus": cpus_per_property_actor},
        )
        self._writer = self._crew("writer", WriterActor, 1, None, {"num_cpus": 0.0})
        self._crews = (self._design, self._property, self._writer)
        self._started = False

    def _crew(self, kind: str, actor_class: Any, size: int, threads: int | None, resources: dict[str, float]) -> Crew:
        return Crew(
            kind=kind,
            actor_class=actor_class,
            size=size,
            threads=threads,
            resources=resources,
            # Two requests in a row may each kill an actor at every attempt, and a node may take all its actors with
            # it, before it looks as if no actor can live.
            max_deaths=2 * self._ledger.max_attempts + 2 * size,
            watch=self._watch_start,
        )

    def _start(self) -> None:
        """Prove the folder and ask for the actors."""
        self._started = True
        out = self._setup.out
        try:
            token = write_token(out)
            clear_leftovers(out, VOLUMES, CURVES)
        except WorkError as error:
            self._ledger.error = error
            raise
        for crew in self._crews:
            crew.start(replace(self._setup, token=token, threads=crew.threads))

    def submit(self, request: Request) -> None:
        job = self._ledger.admit(request)
        if not self._started:
            self._start()
        self._to_design.append(_RayJob(request=job.request))
        if len(self._to_design) >= self._batch_size:  # smaller batches wait for `wait`: more may be coming
            self._dispatch_design()

    @property
    def free_slots(self) -> int:
        return self._ledger.free_slots

    @property
    def in_flight(self) -> int:
        return self._ledger.in_flight

    @property
    def stats(self) -> PoolStats:
        return self._ledger.stats

    @property
    def actors(self) -> dict[str, tuple[str, int]]:
        """Node and process id of each actor that is ready, by name such as `design-0`."""
        members = [member for crew in self._crews for member in crew.members]
        return {m.name: (m.node, m.pid) for m in members if m.ready and m.node is not None and m.pid is not None}

    def wait(self, timeout_s: float) -> list[Result]:
        deadline = time.monotonic() + timeout_s
        self._ledger.check()
        while not self._ledger.has_results and self._ledger.in_flight:
            self._ledger.check()
            self._dispatch()
            left = max(0.0, deadline - time.monotonic())
            # No longer than a second at a time, so that the start-up limit is looked at.
            ready, _ = ray.wait(list(self._calls), num_returns=1, timeout=min(left, 1.0))
            if ready:
                ready, _ = ray.wait(list(self._calls), num_returns=len(self._calls), timeout=0)
            for reference in ready:
                self._receive(reference)
            self._dispatch()
            self._check_crews()
            if not ready and left == 0.0:
                break
        return self._ledger.take()

    def close(self) -> None:
        self._ledger.close()
        for crew in self._crews:
            crew.kill()
        for waiting in (self._to_design, self._to_certify, self._to_store):
            waiting.clear()
        self._calls.clear()

    # What runs

    def _watch_start(self, crew: Crew, member: Member, reference: Any) -> None:
        self._calls[reference] = _Call(
            step="start", crew=crew, member=member, jobs=[], outputs=[], started=time.monotonic()
        )

    def _launch(
        self, step: Step, crew: Crew, member: Member, jobs: Sequence[_RayJob], references: Sequence[Any]
    ) -> None:
        member.busy = True
        self._calls[references[0]] = _Call(
            step=step,
            crew=crew,
            member=member,
            jobs=list(jobs),
            outputs=list(references[1:]),
            started=time.monotonic(),
        )

    def _dispatch(self) -> None:
        if self._ledger.error is not None:
            return
        self._dispatch_design()
        for member in self._property.idle()[: len(self._to_certify)]:
            job = self._to_certify.popleft()
            references = member.actor.certify.options(num_returns=2).remote(job.designed)
            self._launch("certify", self._property, member, [job], references)
        for member in self._writer.idle()[: len(self._to_store)]:
            job = self._to_store.popleft()
            reference = member.actor.store.remote(job.designed, job.certified)
            self._launch("store", self._writer, member, [job], [reference])

    def _dispatch_design(self) -> None:
        """Give idle actors equal shares of the queue, each at most a batch."""
        idle = self._design.idle()
        for position, member in enumerate(idle):
            if not self._to_design:
                return
            share = min(self._batch_size, -(-len(self._to_design) // (len(idle) - position)))
            batch = [self._to_design.popleft()]
            while len(batch) < share and not batch[0].alone and self._to_design and not self._to_design[0].alone:
                batch.append(self._to_design.popleft())
            call = member.actor.design.options(num_returns=1 + len(batch))
            self._launch("design", self._design, member, batch, call.remote([job.request for job in batch]))

    # What comes back

    def _receive(self, reference: Any) -> None:
        call = self._calls.pop(reference)
        call.member.busy = False
        try:
            report = ray.get(reference)
        except (RayTaskError, ObjectLostError, ObjectFetchTimedOutError) as error:
            self._receive_loss(call, error)
        except RayError as error:
            self._receive_death(call, error)
        else:
            if isinstance(report, Started):
                self._receive_start(call, report)
            else:
                self._receive_report(call, report)

    def _receive_start(self, call: _Call, started: Started) -> None:
        if started.error is None:
            call.member.ready, call.member.node, call.member.pid = True, started.node, started.pid
        elif not started.error.retryable:
            self._ledger.error = InputError(started.error.message)
        else:
            why = f"{started.error.error_type} at start on node {started.node}: {started.error.message}"
            self._replace(call, why)

    def _receive_report(self, call: _Call, report: Report) -> None:
        self._ledger.worked(call.member.name, report.busy_s)
        poison = next((error for error in report.errors if error is not None and error.poisoned), None)
        if poison is not None:
            self._replace(call, f"{poison.error_type}: {poison.message}")
        else:
            call.crew.progress()
        for index, (job, error) in enumerate(zip(call.jobs, report.errors, strict=True)):
            if error is not None and error.fatal:
                self._ledger.error = WorkError(error.message)
            elif error is not None:
                self._retry(job, call.step, error)
            elif call.step == "design":
                job.designed = call.outputs[index]
                self._to_certify.append(job)
            elif call.step == "certify":
                job.certified = call.outputs[0]
                self._to_store.append(job)
            else:
                assert report.row is not None
                self._ledger.complete(job, report.row)

    def _receive_loss(self, call: _Call, error: RayError) -> None:
        """A call failed outside our code, such as on an object whose node is gone: its requests start afresh."""
        if call.step == "start":
            self._replace(call, str(error))
            return
        record = record_error(error, time.monotonic() - call.started)
        for job in call.jobs:
            job.designed = job.certified = None
            self._retry(job, call.step, record, again="design")

    def _receive_death(self, call: _Call, error: RayError) -> None:
        """An actor died. Of several requests the culprit is unknown: each runs alone, and that try counts."""
        elapsed_s = time.monotonic() - call.started
        if call.jobs:
            self._ledger.worked(call.member.name, elapsed_s)
        where = f" on node {call.member.node}" if call.member.node else ""
        why = f"the process of actor {call.member.name}{where} ended during '{call.step}'"
        if "creation task" in str(error):  # our constructors only keep the setup: reading it failed, as it always will
            self._ledger.error = WorkError(
                f"{call.crew.kind} actors: cannot be made, {str(error).strip().splitlines()[-1]}; install the same "
                f"version of mesoforge on every node"
            )
            return
        self._replace(call, why)
        if len(call.jobs) > 1:
            self._ledger.retried += len(call.jobs)
            for job in reversed(call.jobs):
                job.alone = True
                self._to_design.appendleft(job)
            return
        record = ErrorRecord(error_type="ActorDied", message=why, traceback=str(error), wall_time_s=elapsed_s)
        for job in call.jobs:
            self._retry(job, call.step, record)

    def _retry(self, job: _RayJob, step: Step, error: ErrorRecord, again: Step | None = None) -> None:
        """Queue a request again, for the step that failed or the step `again`, or let it go as a Failure."""
        if self._ledger.attempt_failed(job, step, error):
            queues = {"design": self._to_design, "certify": self._to_certify, "store": self._to_store}
            queues[again or step].append(job)

    def _replace(self, call: _Call, why: str) -> None:
        call.crew.replace(call.member, why)
        if not call.crew.given_up:
            self._ledger.replaced += 1

    def _check_crews(self) -> None:
        for crew in self._crews:
            if self._ledger.error is not None:
                return
            if crew.given_up:
                self._ledger.error = WorkError(
                    f"{crew.kind} actors: {crew.deaths} in a row were lost without finishing anything (the last: "
                    f"{_one_line(crew.last_death)}); often it is memory: try a smaller batch or size, then give the "
                    f"same command again: it goes on where it stopped"
                )
            elif crew.overdue(self._start_timeout_s):
                self._ledger.error = WorkError(
                    f"{crew.kind} actors: none could be started within {self._start_timeout_s:g} s; each asks for "
                    f"{crew.resources}, the cluster has {_totals()}: ask for less, or for fewer actors, or add nodes"
                )


def _one_line(text: str) -> str:
    return " ".join(text.split())[:300]


def _totals() -> str:
    resources = ray.cluster_resources()
    return f"{resources.get('CPU', 0):g} CPUs and {resources.get('GPU', 0):g} GPUs"
