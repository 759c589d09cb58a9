"""The pool on Ray. Ray must be initialised by the caller (room `cluster`).

A request goes design actor → property actor → writer. Its volume travels by object reference, from actor to actor;
the driver sees small reports and rows, and holds each reference no longer than the next step needs it.

Back-pressure: a request takes a slot from `submit` until `wait` returns it, so that slow property actors or a slow disk
stop the design actors instead of filling memory with volumes.
"""

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import ray

from actors.engines import EngineFactory
from actors.ledger import Ledger
from actors.messages import Result
from actors.places import Folder, Place
from actors.pool import Pool, PoolStats
from actors.ray_actors import DesignActor, PropertyActor, Setup, WriterActor
from actors.ray_crew import Crew
from actors.ray_flow import RayFlow
from actors.ray_metrics import PoolMetrics
from actors.volumes import CURVES, VOLUMES
from engine.errors import WorkError
from engine.request import Request

STRUCTURE_TIMEOUT_S = 3600.0
"""Of a structure in any step: far more than real work takes, and a hang costs a night no more than this."""


class RayPool(Pool):
    """Actors that generate, measure and write; dead and hanging ones are replaced.

    The first `submit` writes the token and starts the actors; by then the caller holds the lock of the folder.

    Args:
        engine_factory: picklable; called inside each design and property actor.
        out: where volumes and curves go: a folder on a disk that every node sees, made where missing, or another place.
        design_actors: how many; each holds one batch and, where there is work for it, the next one.
        property_actors: how many at most. There is one per design actor at first, and one more whenever structures
            queue up to be measured: as many as measuring costs. One writer is enough.
        batch_size: most requests that a design actor generates at once.
        batches_in_flight: slots of the pool, in batches per design actor.
        cpus_per_design_actor, gpus_per_design_actor, cpus_per_property_actor: what Ray reserves; fractions are fine
            and only bookkeeping. The writer reserves nothing.
        threads_per_design_actor, threads_per_property_actor: torch threads in each, independent of what is reserved;
            None leaves torch alone.
        max_attempts: tries per request and step (design, certify, store) before it comes back as a Failure.
        structure_timeout_s: a step that takes longer than this, for each structure of its batch, loses its actor.
        start_timeout_s: how long to wait for the first actor of a kind (a cluster may have to grow).
        code_version: stored in every row.
    """

    def __init__(
        self,
        engine_factory: EngineFactory,
        out: Path | Place,
        *,
        design_actors: int = 1,
        property_actors: int = 1,
        batch_size: int,
        batches_in_flight: int = 2,
        cpus_per_design_actor: float = 1.0,
        gpus_per_design_actor: float = 0.0,
        cpus_per_property_actor: float = 0.5,
        threads_per_design_actor: int | None = None,
        threads_per_property_actor: int | None = None,
        max_attempts: int = 3,
        structure_timeout_s: float = STRUCTURE_TIMEOUT_S,
        start_timeout_s: float = 600.0,
        code_version: str,
    ) -> None:
        assert ray.is_initialized(), "ray.init() first"
        self._ledger = Ledger(slots=batches_in_flight * design_actors * batch_size, max_attempts=max_attempts)
        place = Folder(out.absolute()) if isinstance(out, Path) else out
        self._setup = Setup(
            engine_factory=engine_factory, place=place, token="", threads=None, code_version=code_version
        )
        self._metrics = PoolMetrics(Path(str(place)).name)
        self._flow = RayFlow(
            self._ledger,
            self._metrics,
            batch_size=batch_size,
            structure_timeout_s=structure_timeout_s,
            start_timeout_s=start_timeout_s,
        )
        design = self._crew(
            "design",
            DesignActor,
            (design_actors, design_actors),
            threads_per_design_actor,
            {"num_cpus": cpus_per_design_actor, "num_gpus": gpus_per_design_actor},
        )
        property = self._crew(
            "property",
            PropertyActor,
            (min(design_actors, property_actors), property_actors),
            threads_per_property_actor,
            {"num_cpus": cpus_per_property_actor},
        )
        writer = self._crew("writer", WriterActor, (1, 1), None, {"num_cpus": 0.0})
        self._crews = (design, property, writer)
        self._flow.join(*self._crews)
        self._started = False

    def _crew(
        self,
        kind: str,
        actor_class: Any,
        sizes: tuple[int, int],
        threads: int | None,
        resources: dict[str, float],
    ) -> Crew:
        attempts = self._ledger.max_attempts
        return Crew(
            kind=kind,
            actor_class=actor_class,
            size=sizes[0],
            max_size=sizes[1],
            threads=threads,
            resources=resources,
            # Two requests in a row may each kill an actor at every attempt, and a node may take all its actors with
            # it, before it looks as if no actor can live.
            max_deaths=2 * attempts + 2 * sizes[1],
            max_member_deaths=2 * attempts + 2,
            max_barren=2 * attempts,
            watch=self._flow.watch_start,
        )

    def _start(self) -> None:
        """Prove the place and ask for the actors."""
        self._started = True
        try:
            token = self._setup.place.write_token()
            self._setup.place.clear_leftovers(VOLUMES, CURVES)
        except WorkError as error:
            self._ledger.error = error
            raise
        for crew in self._crews:
            crew.start(replace(self._setup, token=token, threads=crew.threads))

    def submit(self, request: Request) -> None:
        job = self._ledger.admit(request)
        if not self._started:
            self._start()
        self._flow.add(job)

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
            if self._flow.turn(deadline) == 0.0:
                break
        self._publish()
        return self._ledger.take()

    def drain(self, timeout_s: float) -> list[Result]:
        deadline = time.monotonic() + timeout_s
        self._ledger.draining = True
        self._flow.abandon()
        while self._ledger.error is None and self._flow.measuring and self._flow.turn(deadline) > 0.0:
            pass
        self._publish()
        return self._ledger.take()

    def close(self) -> None:
        self._ledger.close()
        for crew in self._crews:
            crew.kill()
        self._flow.clear()
        self._publish()  # what came within the last second, too, and that nothing waits any more

    def _publish(self) -> None:
        now = self._ledger.closed or self._ledger.draining
        self._metrics.publish(self.stats, self._flow.queues, self._ledger.in_flight, now=now)
