"""What is recorded: counters and gauges, their labels and values; and that Prometheus can read it from Ray."""

import re
import time
import urllib.request
from pathlib import Path

import pytest

from actors import ray_metrics
from actors.pool import PoolStats
from actors.ray_metrics import PoolMetrics
from actors.ray_pool import RayPool
from tests.actors.fakes import fake_factory
from tests.conformance.pool import collect, request


class Recorder:
    """Stands for `ray.util.metrics`."""

    def __init__(self) -> None:
        self.values: dict[tuple[str, ...], float] = {}
        self.observed: list[float] = []

    def Counter(self, name: str, description: str, tag_keys: tuple[str, ...]) -> "Instrument":
        return Instrument(self, name, tag_keys)

    Gauge = Counter

    def Histogram(
        self, name: str, description: str, boundaries: list[float], tag_keys: tuple[str, ...]
    ) -> "Instrument":
        assert boundaries == sorted(boundaries) and boundaries[0] > 0  # what Ray takes
        return Instrument(self, name, tag_keys)


class Instrument:
    def __init__(self, recorder: Recorder, name: str, tag_keys: tuple[str, ...]) -> None:
        self.recorder, self.name, self.tag_keys = recorder, name, tag_keys

    def _key(self, tags: dict[str, str]) -> tuple[str, ...]:
        assert set(tags) == set(self.tag_keys) and tags["study"] == "demo"
        return (self.name, *(value for key, value in tags.items() if key != "study"))

    def inc(self, amount: float, tags: dict[str, str]) -> None:
        assert amount > 0  # Ray refuses anything else
        self.recorder.values[self._key(tags)] = self.recorder.values.get(self._key(tags), 0) + amount

    def set(self, value: float, tags: dict[str, str]) -> None:
        self.recorder.values[self._key(tags)] = value

    def observe(self, value: float, tags: dict[str, str]) -> None:
        self._key(tags)
        self.recorder.observed.append(value)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr(ray_metrics.time, "monotonic", lambda: now[0])
    return now


def test_counters_follow_the_statistics(clock: list[float]) -> None:
    recorder = Recorder()
    metrics = PoolMetrics("demo", recorder)
    outcomes = {"attained": 3, "missed": 1, "failed": 2, "unguided": 4}
    stats = PoolStats(done=8, failed=2, retried=5, replaced=1, outcomes=outcomes, busy_s={"design-0": 2.0})
    metrics.publish(PoolStats(), {"design": 4, "property": 0}, 4)
    clock[0] += 10
    metrics.publish(stats, {"design": 2, "property": 1}, 3)
    clock[0] += 10
    more = PoolStats(done=9, retried=5, outcomes=outcomes | {"missed": 2}, busy_s={"design-0": 3.0, "design-1": 1.0})
    metrics.publish(more, {"design": 0, "property": 0}, 0)
    assert recorder.values == {
        ("mesoforge_structures", "attained"): 3,
        ("mesoforge_structures", "missed"): 2,
        ("mesoforge_structures", "failed"): 2,
        ("mesoforge_structures", "unguided"): 4,
        ("mesoforge_retries",): 5,
        ("mesoforge_actors_replaced",): 1,
        ("mesoforge_busy_seconds", "design"): 4.0,
        ("mesoforge_attainment",): 3 / 5,
        ("mesoforge_queue_length", "design"): 0,
        ("mesoforge_queue_length", "property"): 0,
        ("mesoforge_in_flight",): 0,
        ("mesoforge_structures_per_second",): 9 / 20,
    }


def test_the_rate_forgets_what_is_long_past(clock: list[float]) -> None:
    recorder = Recorder()
    metrics = PoolMetrics("demo", recorder)
    done = 0
    for second in range(300):
        clock[0] += 1
        done += 10 if second < 100 else 1
        metrics.publish(PoolStats(done=done), {}, 0)
    assert recorder.values[("mesoforge_structures_per_second",)] == pytest.approx(1.0)


def test_it_is_brought_up_to_date_once_a_second_or_when_told(clock: list[float]) -> None:
    recorder = Recorder()
    metrics = PoolMetrics("demo", recorder)
    for seconds, in_flight, now, expected in (
        (0, 1, False, 1),
        (0.5, 2, False, 1),
        (0.1, 3, True, 3),
        (1.1, 4, False, 4),
    ):
        clock[0] += seconds
        metrics.publish(PoolStats(), {}, in_flight, now=now)
        assert recorder.values[("mesoforge_in_flight",)] == expected


def test_batch_sizes_are_observed() -> None:
    recorder = Recorder()
    metrics = PoolMetrics("demo", recorder)
    for size in (2, 2, 1):
        metrics.batch(size)
    assert recorder.observed == [2, 2, 1]


SCRAPE_S = 120.0
"""Ray hands metrics on every ten seconds."""


def test_prometheus_reads_a_pool_from_the_metrics_port_of_its_node(
    local_ray: None, repository: Path, tmp_path: Path
) -> None:
    import ray
    from prometheus_client.parser import text_string_to_metric_families as families

    [node] = ray.nodes()
    address = f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics"

    def scrape() -> dict[tuple[str, ...], float]:
        with urllib.request.urlopen(address, timeout=SCRAPE_S) as answer:
            samples = [sample for family in families(answer.read().decode()) for sample in family.samples]
        return {
            (sample.name, sample.labels.get("status") or sample.labels.get("kind") or ""): sample.value
            for sample in samples
            if sample.labels.get("study") == "a study"
        }

    pool = RayPool(
        fake_factory(tmp_path / "scratch"),
        tmp_path / "a study",
        batch_size=2,
        cpus_per_design_actor=0.1,
        cpus_per_property_actor=0.1,
        code_version="test",
    )
    with pool:
        collect(pool, [request(name) for name in "abcd"])
    wanted = ("ray_mesoforge_structures_total", "unguided")
    deadline = time.monotonic() + SCRAPE_S
    while (found := scrape()).get(wanted) != 4:
        assert time.monotonic() < deadline, "\n".join(map(str, found.items()))
        time.sleep(0.5)
    assert found[("ray_mesoforge_in_flight", "")] == 0
    assert found[("ray_mesoforge_batch_size_count", "")] >= 2
    assert found[("ray_mesoforge_busy_seconds_total", "design")] > 0
    documented = set(re.findall(r"ray_mesoforge_\w+", (repository / "docs" / "cluster.md").read_text()))
    assert {re.sub("_(bucket|count|sum)$", "", name) for name, _ in found} <= documented
