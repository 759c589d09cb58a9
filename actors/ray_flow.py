"""How requests move through the actors: what is sent where, and what each answer means."""

import time
from collections import deque
from collections.abc import Sequence
from typing import Any

import ray
from ray.exceptions import ObjectFetchTimedOutError, ObjectLostError, OutOfMemoryError, RayError, RayTaskError

from actors.batches import BatchLimits, take_batch
from actors.ledger import Job, Ledger
from actors.messages import CallTimeoutError, ErrorRecord, record_error
from actors.ray_actors import Report, Started
from actors.ray_calls import Call, RayJob, Step
from actors.ray_crew import Crew, Member
from actors.ray_metrics import PoolMetrics
from actors.rows import Row
from actors.time_limit import timeout_message
from engine.errors import InputError, WorkError


class RayFlow:
    """Queues and running calls between three crews.

    Args:
        ledger: where requests leave, and what breaks the pool.
        metrics: told the size of each batch.
        batch_size: most requests of a batch.
        structure_timeout_s, start_timeout_s: as in `RayPool`.
    """

    def __init__(
        self,
        ledger: Ledger,
        metrics: PoolMetrics,
        *,
        batch_size: int,
        structure_timeout_s: float,
        start_timeout_s: float,
    ) -> None:
        self._ledger = ledger
        self._metrics = metrics
        self._batch_size = batch_size
        self._structure_timeout_s = structure_timeout_s
        self._start_timeout_s = start_timeout_s
        self._limits = BatchLimits()
        self._calls: dict[Any, Call] = {}
        self._to_design: deque[RayJob] = deque()
        self._to_certify: deque[RayJob] = deque()
        self._to_store: deque[RayJob] = deque()

    def join(self, design: Crew, property: Crew, writer: Crew) -> None:
        """The actors that do the work. They tell `watch_start` whom they hire."""
        self._design, self._property, self._writer = design, property, writer

    def add(self, job: Job) -> None:
        """Queue a request. Whole batches go out at once, one to each idle actor; less waits for `turn`: more may be
        coming, and shares that are dealt too early are small ones."""
        self._to_design.append(RayJob(request=job.request))
        if len(self._to_design) >= self._batch_size * max(1, len(self._design.idle())):
            self._dispatch_design()

    def abandon(self) -> None:
        """Forget what is not generated yet and has not begun."""
        self._to_design.clear()

    def clear(self) -> None:
        """Forget everything."""
        for waiting in (self._to_design, self._to_certify, self._to_store):
            waiting.clear()
        self._calls.clear()

    @property
    def queues(self) -> dict[str, int]:
        """Structures that wait, by kind of actor."""
        return {
            "design": len(self._to_design),
            "property": len(self._to_certify),
            "writer": len(self._to_store),
        }

    @property
    def measuring(self) -> bool:
        """Whether generated structures are still being measured or stored."""
        running = any(call.step in ("certify", "store") for call in self._calls.values())
        return running or bool(self._to_certify) or bool(self._to_store)

    def turn(self, deadline: float) -> float:
        """Start what can start, then wait for answers, no longer than until `deadline`; returns the seconds left."""
        self._dispatch()
        left = max(0.0, deadline - time.monotonic())
        # No longer than a second at a time, so that the limits of starts and calls are looked at.
        ready, _ = ray.wait(list(self._calls), num_returns=1, timeout=min(left, 1.0))
        if ready:
            ready, _ = ray.wait(list(self._calls), num_returns=len(self._calls), timeout=0)
        answered = set(ready)
        for reference in [reference for reference in self._calls if reference in answered]:  # in the order of calling
            if reference in self._calls:  # a death may have taken others with it
                self._receive(reference)
        self._dispatch()
        self._end_hanging_calls()
        self._check_crews()
        return left if not ready else max(left, 1e-3)

    # What runs

    def watch_start(self, crew: Crew, member: Member, reference: Any) -> None:
        """A crew has asked for an actor; `reference` answers once that is ready."""
        self._calls[reference] = Call(
            step="start",
            crew=crew,
            member=member,
            actor=member.actor,
            jobs=[],
            outputs=[],
            started=time.monotonic(),
        )

    def _launch(
        self, step: Step, crew: Crew, member: Member, jobs: Sequence[RayJob], references: Sequence[Any]
    ) -> None:
        call = Call(
            step=step,
            crew=crew,
            member=member,
            actor=member.actor,
            jobs=list(jobs),
            outputs=list(references[1:]),
            started=None if member.calls else time.monotonic(),
        )
        member.calls.append(call)
        self._calls[references[0]] = call

    def _dispatch(self) -> None:
        if self._ledger.error is not None:
            return
        self._dispatch_design()
        for member in self._property.idle():
            job = self._next(self._to_certify, self._property, member)
            if job is not None:
                references = member.actor.certify.options(num_returns=2).remote(job.designed)
                self._launch("certify", self._property, member, [job], references)
        if self._to_certify:
            self._property.grow()
        for member in self._writer.idle():
            job = self._next(self._to_store, self._writer, member)
            if job is not None:
                reference = member.actor.store.remote(job.designed, job.certified)
                self._launch("store", self._writer, member, [job], [reference])

    def _next(self, queue: deque[RayJob], crew: Crew, member: Member) -> RayJob | None:
        """Take the first job that this member may do."""
        job = next((job for job in queue if self._may_do(crew, member, job)), None)
        if job is not None:
            queue.remove(job)
        return job

    def _may_do(self, crew: Crew, member: Member, job: RayJob) -> bool:
        """A job that failed at a member goes to another one, where there is one."""
        return job.failed_on != member.name or len(crew.ready()) == 1

    def _dispatch_design(self) -> None:
        """Give idle actors equal shares of the queue, each at most a batch; then a whole batch ahead to busy ones.

        An actor begins with one request: the first structure is there early, and what is wrong shows on it alone.
        """
        if self._ledger.draining:
            return
        idle = self._design.idle()
        while idle and self._to_design:
            share = min(self._batch_size, -(-len(self._to_design) // len(idle)))
            member = self._choose(idle)
            idle.remove(member)
            self._send_batch(member, share if member.proven else 1)
        for member in self._design.ready():
            if len(member.calls) == 1 and len(self._to_design) >= self._batch_size:
                self._send_batch(member, self._batch_size)

    def _choose(self, idle: Sequence[Member]) -> Member:
        """The actor that has the first request's bundle loaded, else any."""
        bundle = self._to_design[0].request.bundle
        return next((member for member in idle if member.bundle == bundle), idle[0])

    def _send_batch(self, member: Member, size: int) -> None:
        batch = take_batch(self._to_design, size, self._limits, lambda job: self._may_do(self._design, member, job))
        if not batch:
            return
        member.bundle = batch[0].request.bundle
        self._metrics.batch(len(batch))
        call = member.actor.design.options(num_returns=1 + len(batch))
        references = call.remote([job.request for job in batch])
        self._launch("design", self._design, member, batch, references)

    # What comes back

    def _receive(self, reference: Any) -> None:
        call = self._forget(reference)
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

    def _forget(self, reference: Any) -> Call:
        """Take a call off the books; the one behind it begins."""
        call = self._calls.pop(reference)
        if call in call.member.calls:
            call.member.calls.remove(call)
            if call.member.calls and call.member.calls[0].started is None:
                call.member.calls[0].started = time.monotonic()
        return call

    def _receive_start(self, call: Call, started: Started) -> None:
        if started.error is None:
            call.member.ready, call.member.node, call.member.pid = True, started.node, started.pid
            self._ledger.ready(call.member.name)
        elif not started.error.retryable:
            self._ledger.error = InputError(started.error.message)
        else:
            why = f"{started.error.error_type} at start on node {started.node}: {started.error.message}"
            self._replace(call, why)

    def _receive_report(self, call: Call, report: Report) -> None:
        self._ledger.worked(call.member.name, report.busy_s)
        self._limits.learn(report.limits)
        self._judge_actor(call, report)
        for index, (job, error) in enumerate(zip(call.jobs, report.errors, strict=True)):
            if error is not None and error.fatal:
                self._ledger.error = WorkError(error.message)
            elif error is not None:
                self._retry(job, call, error)
            else:
                self._advance(job, call, index, report.row)

    def _judge_actor(self, call: Call, report: Report) -> None:
        """Keep the actor that answered, or replace it."""
        errors = [error for error in report.errors if error is not None and error.retryable and not error.fatal]
        poison = next((error for error in errors if error.poisoned), None)
        if poison is not None:
            self._replace(call, f"{poison.error_type}: {poison.message}")
        elif not errors or len(errors) < len(report.errors):
            call.crew.progress(call.member)
        elif call.crew.fruitless(call.member):
            self._replace(call, f"{call.crew.max_barren} calls in a row failed, the last with {errors[-1].message}")

    def _advance(self, job: RayJob, call: Call, index: int, row: Row | None) -> None:
        """A step of a request is done: on to the next one."""
        job.failed_on = None
        if call.step == "design":
            job.designed = call.outputs[index]
            self._to_certify.append(job)
        elif call.step == "certify":
            job.certified = call.outputs[0]
            self._to_store.append(job)
        else:
            assert row is not None
            self._ledger.complete(job, row)

    def _receive_loss(self, call: Call, error: RayError) -> None:
        """A call failed outside our code, such as on an object whose node is gone: its requests start afresh."""
        if call.step == "start":
            self._replace(call, str(error))
            return
        record = record_error(error, _elapsed_s(call))
        for job in call.jobs:
            job.designed = job.certified = None
            self._retry(job, call, record, again="design")

    def _receive_death(self, call: Call, error: RayError) -> None:
        """An actor died."""
        if call.started is None:  # it had not begun; the call that it waited for tells more
            self._to_design.extendleft(reversed(call.jobs))
            return
        where = f" on node {call.member.node}" if call.member.node else ""
        why = f"the process of actor {call.member.name}{where} ended during '{call.step}'"
        if "creation task" in str(error):  # our constructors only keep the setup: reading it failed, as it always will
            self._ledger.error = WorkError(
                f"{call.crew.kind} actors: cannot be made, {str(error).strip().splitlines()[-1]}; install the same "
                f"version of mesoforge on every node"
            )
            return
        memory = isinstance(error, OutOfMemoryError)  # Ray's memory monitor ended it before the system would
        if memory:
            why = f"actor {call.member.name}{where} was ended during '{call.step}' because its node ran out of memory"
        record = ErrorRecord(
            error_type="OutOfMemoryError" if memory else "ActorDied",
            message=why,
            traceback=str(error),
            wall_time_s=_elapsed_s(call),
            out_of_memory=memory,
        )
        self._lose_actor(call, record)

    def _end_hanging_calls(self) -> None:
        """Replace actors whose call takes longer than it may."""
        for reference, call in list(self._calls.items()):
            limit_s = self._structure_timeout_s * len(call.jobs)
            if call.step == "start" or call.started is None or _elapsed_s(call) <= limit_s:
                continue
            self._calls.pop(reference)
            message = f"{call.step} at actor {call.member.name}: {timeout_message(limit_s, len(call.jobs))}"
            record = record_error(CallTimeoutError(message), _elapsed_s(call))
            self._lose_actor(call, record)

    def _lose_actor(self, call: Call, error: ErrorRecord) -> None:
        """The actor of a running call is lost, and with it what waited behind that call.

        Of several requests the culprit is unknown: each runs alone, and that try counts; or, where memory was short,
        in halves.
        """
        if call.jobs:
            self._ledger.worked(call.member.name, _elapsed_s(call))
        self._replace(call, error.message)
        if len(call.jobs) > 1:
            self._ledger.retried += len(call.jobs)
            if error.out_of_memory:
                self._limits.refused(call.jobs[0].request, len(call.jobs))
            for job in call.jobs:
                job.alone = not error.out_of_memory
            self._to_design.extendleft(reversed(call.jobs))
            return
        for job in call.jobs:
            self._retry(job, call, error)

    def _retry(self, job: RayJob, call: Call, error: ErrorRecord, again: Step | None = None) -> None:
        """Queue a request again, for the step that failed or the step `again`, or let it go as a Failure."""
        job.failed_on = call.member.name
        if self._ledger.attempt_failed(job, call.step, error):
            queues = {"design": self._to_design, "certify": self._to_certify, "store": self._to_store}
            queues[again or call.step].append(job)

    def _replace(self, call: Call, why: str) -> None:
        """Replace the actor of a call; the calls that waited behind it go back into the queue."""
        for reference, waiting in list(self._calls.items()):
            if waiting.actor is call.actor and waiting is not call:
                del self._calls[reference]
                self._to_design.extendleft(reversed(waiting.jobs))
        call.crew.replace(call.member, why)
        if not call.crew.given_up:
            self._ledger.replaced += 1

    def _check_crews(self) -> None:
        for crew in (self._design, self._property, self._writer):
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


def _elapsed_s(call: Call) -> float:
    return 0.0 if call.started is None else time.monotonic() - call.started


def _one_line(text: str) -> str:
    return " ".join(text.split())[:300]


def _totals() -> str:
    resources = ray.cluster_resources()
    return f"{resources.get('CPU', 0):g} CPUs and {resources.get('GPU', 0):g} GPUs"
