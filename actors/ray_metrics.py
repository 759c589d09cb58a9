"""What Prometheus can read of a running pool, through the metrics port of the driver's Ray node.

The names below appear there with the prefix `ray_`. Ray itself exports the use of GPUs, CPUs and memory by node.
"""

import time
from collections import Counter as Tally
from collections import deque
from collections.abc import Mapping
from typing import Any

from actors.pool import PoolStats

RATE_WINDOW_S = 60.0
PUBLISH_EVERY_S = 1.0
BATCH_BOUNDARIES = [1, 2, 4, 8, 16, 32, 64, 128]


class PoolMetrics:
    """Counters and gauges of one pool, labelled with its study.

    Args:
        study: value of the label `study`.
        library: has Counter, Gauge and Histogram; None takes `ray.util.metrics`.
    """

    def __init__(self, study: str, library: Any = None) -> None:
        if library is None:
            from ray.util import metrics

            library = metrics
        keys = ("study",)
        self._structures = library.Counter(
            "mesoforge_structures", "Structures that left the pool.", tag_keys=("study", "status")
        )
        self._retries = library.Counter("mesoforge_retries", "Attempts that had to be repeated.", tag_keys=keys)
        self._replaced = library.Counter("mesoforge_actors_replaced", "Actors lost and replaced.", tag_keys=keys)
        self._busy = library.Counter(
            "mesoforge_busy_seconds", "Seconds of work, by kind of actor.", tag_keys=("study", "kind")
        )
        self._rate = library.Gauge(
            "mesoforge_structures_per_second", "Structures finished, mean of the last minute.", tag_keys=keys
        )
        self._attainment = library.Gauge(
            "mesoforge_attainment", "Share of the guided structures that hold every target.", tag_keys=keys
        )
        self._queue = library.Gauge(
            "mesoforge_queue_length", "Structures waiting for an actor.", tag_keys=("study", "kind")
        )
        self._in_flight = library.Gauge("mesoforge_in_flight", "Structures in the pool.", tag_keys=keys)
        self._batch = library.Histogram(
            "mesoforge_batch_size", "Structures generated together.", boundaries=BATCH_BOUNDARIES, tag_keys=keys
        )
        self._tags = {"study": study}
        self._before = PoolStats()
        self._done: deque[tuple[float, int]] = deque()  # when, and how many had left the pool by then
        self._published = float("-inf")

    def batch(self, size: int) -> None:
        """A design actor was given `size` requests at once."""
        self._batch.observe(size, self._tags)

    def publish(self, stats: PoolStats, queues: Mapping[str, int], in_flight: int, *, now: bool = False) -> None:
        """Bring everything up to date, at most once a second unless `now`.

        Args:
            stats: of the pool.
            queues: waiting structures by kind of actor.
            in_flight: structures in the pool.
            now: even if it was done a moment ago.
        """
        clock = time.monotonic()
        if clock - self._published < PUBLISH_EVERY_S and not now:
            return
        self._published = clock
        before, self._before = self._before, stats
        for status, count in stats.outcomes.items():
            self._add(self._structures, count - before.outcomes.get(status, 0), status=status)
        self._add(self._retries, stats.retried - before.retried)
        self._add(self._replaced, stats.replaced - before.replaced)
        busy_s, busy_before_s = _by_kind(stats.busy_s), _by_kind(before.busy_s)
        for kind, seconds in busy_s.items():
            self._add(self._busy, seconds - busy_before_s[kind], kind=kind)
        guided = stats.outcomes.get("attained", 0) + stats.outcomes.get("missed", 0)
        if guided:
            self._attainment.set(stats.outcomes.get("attained", 0) / guided, self._tags)
        for kind, length in queues.items():
            self._queue.set(length, self._tags | {"kind": kind})
        self._in_flight.set(in_flight, self._tags)
        self._rate.set(self._structures_per_s(clock, stats.done), self._tags)

    def _structures_per_s(self, clock: float, done: int) -> float:
        self._done.append((clock, done))
        while clock - self._done[0][0] > RATE_WINDOW_S and len(self._done) > 2:
            self._done.popleft()
        since, done_then = self._done[0]
        return (done - done_then) / (clock - since) if clock > since else 0.0

    def _add(self, counter: Any, amount: float, **tags: str) -> None:
        if amount > 0:  # Ray refuses zero
            counter.inc(amount, self._tags | tags)


def _by_kind(busy_s: Mapping[str, float]) -> Tally[str]:
    """Seconds by kind of actor, from seconds by actor such as `design-0`."""
    total: Tally[str] = Tally()
    for name, seconds in busy_s.items():
        total[name.rpartition("-")[0]] += seconds  # type: ignore[assignment]
    return total
