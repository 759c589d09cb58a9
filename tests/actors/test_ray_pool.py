import contextlib
import importlib
import json
import os
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import ray

from actors import ray_flow
from actors.engines import BundleEngine, EngineFactory, engine_with
from actors.local_pool import LocalPool
from actors.messages import Completed
from actors.pool import Pool
from actors.ray_pool import RayPool
from actors.volumes import read_volume
from engine.errors import InputError, WorkError
from engine.properties.own import parse_property
from engine.request import Request, Settings
from tests.actors.fakes import (
    FakeEngine,
    FakeGenerated,
    Fault,
    batches,
    fake_factory,
    is_running,
    lift_fault,
    set_faults,
    unstartable_engine,
    voxels,
)
from tests.conformance.pool import PATIENCE_S, PoolConformance, collect, failure_of, request, row_of

if TYPE_CHECKING:
    from engine.design import Generated

pytestmark = pytest.mark.usefixtures("local_ray")


def make(factory: EngineFactory, out: Path, **options: object) -> RayPool:
    """Reserves little, so that two pools fit beside each other."""
    reserved = {"cpus_per_design_actor": 0.25, "cpus_per_property_actor": 0.25}
    return RayPool(factory, out, code_version="test", **({"batch_size": 4} | reserved | options))  # type: ignore[arg-type]


class TestRayPool(PoolConformance):
    hang_limit_s = 2.0

    @staticmethod
    def make(engine_factory: EngineFactory, out: Path, *, batch_size: int, structure_timeout_s: float = 60.0) -> Pool:
        return make(engine_factory, out, batch_size=batch_size, structure_timeout_s=structure_timeout_s)


class TestWithOneLongLivedPool:
    """Each test leaves the pool working; statistics are compared before and after."""

    @pytest.fixture(scope="class")
    @classmethod
    def scratch(cls, tmp_path_factory: pytest.TempPathFactory) -> Path:
        return tmp_path_factory.mktemp("scratch")

    @pytest.fixture(scope="class")
    @classmethod
    def pool(cls, local_ray: None, scratch: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RayPool]:
        with make(fake_factory(scratch), tmp_path_factory.mktemp("out")) as pool:
            yield pool

    def test_a_killed_actor_is_replaced_and_its_batch_retried(self, pool: RayPool, scratch: Path) -> None:
        set_faults(scratch, killer=Fault(action="kill", times=1), later=Fault(action="kill", step="measure", times=1))
        collect(pool, [request("first")])  # an actor begins with one request
        results = collect(pool, [request(name) for name in ("a", "killer", "later", "b")])
        assert all(isinstance(result, Completed) for result in results.values())
        assert pool.stats.replaced == 2
        assert results["later"].attempt == 2
        assert results["a"].attempt == 1  # its batch died, but not of it
        assert [batch for batch in batches(scratch) if "killer" in batch] == [["a", "killer", "later", "b"], ["killer"]]

    def test_a_request_that_kills_every_actor_is_a_failure(self, pool: RayPool, scratch: Path) -> None:
        set_faults(scratch, poison=Fault(action="kill", step="measure"))
        results = collect(pool, [request(name) for name in ("c", "poison", "d")])
        failure = failure_of(results.pop("poison"))
        assert (failure.error_type, failure.attempt) == ("ActorDied", 3)
        assert "property-0" in failure.message
        assert all(isinstance(result, Completed) for result in results.values())

    def test_idle_actors_of_every_kind_may_die(self, pool: RayPool) -> None:
        before, replaced = ready(pool), pool.stats.replaced
        for _, pid in before.values():
            os.kill(pid, signal.SIGKILL)
        row_of(collect(pool, [request("e")])["e"])
        assert pool.stats.replaced - replaced == 3
        assert {pid for _, pid in before.values()}.isdisjoint(pid for _, pid in ready(pool).values())

    def test_a_cuda_error_costs_the_process(self, pool: RayPool, scratch: Path) -> None:
        set_faults(scratch, device=Fault(action="cuda_error", times=1))
        replaced = pool.stats.replaced
        assert collect(pool, [request("device")])["device"].attempt == 2
        assert pool.stats.replaced - replaced == 1

    def test_wait_keeps_its_timeout(self, pool: RayPool, scratch: Path) -> None:
        set_faults(scratch, slow=Fault(action="hold"))
        pool.submit(request("slow"))
        started = time.monotonic()
        assert pool.wait(0.3) == []
        assert 0.25 < time.monotonic() - started < PATIENCE_S
        assert pool.in_flight == 1
        lift_fault(scratch, "slow")
        assert set(collect(pool, [])) == {"slow"}

    def test_what_waited_behind_a_lost_call_is_not_to_blame(self, pool: RayPool, scratch: Path) -> None:
        """The actor is given the next batch while it works on one."""
        set_faults(scratch, front=Fault(action="kill", times=2))
        results = collect(pool, [request(name) for name in ("front", *(f"behind{index}" for index in range(7)))])
        assert {name: row_of(result) and result.attempt for name, result in results.items()} == {
            name: 2 if name == "front" else 1 for name in results
        }
        alone = [batch for batch in batches(scratch) if len(batch) == 1 and batch[0].startswith("behind")]
        assert {name for (name,) in alone} <= {"behind0", "behind1", "behind2"}  # its batch, not the next one

    def test_an_actor_ended_by_the_memory_monitor_costs_half_the_batch(
        self, pool: RayPool, scratch: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Ray's own: it ends the process before the system would, and says so."""
        real_get, lost = ray.get, []

        def get(reference: object) -> object:
            report = real_get(reference)
            if len(getattr(report, "errors", ())) == 4 and not lost:
                lost.append(report)
                raise ray.exceptions.OutOfMemoryError("killed: the node was running low on memory")
            return report

        monkeypatch.setattr(ray_flow.ray, "get", get)
        replaced = pool.stats.replaced
        shape = (5, 5, 5)
        requests = [Request(structure_id=f"low{i}", bundle="fake", shape=shape, seed=i) for i in range(8)]
        results = collect(pool, requests)
        assert lost and pool.stats.replaced == replaced + 1
        assert all(row_of(result) and result.attempt == 1 for result in results.values())
        sizes = [len(batch) for batch in batches(scratch) if batch[0].startswith("low")]
        assert sizes[0] == 4 and max(sizes[2:]) == 2  # the second batch of four was on its way

    def test_volumes_never_reach_the_driver(self, pool: RayPool, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(*_: object) -> None:
            raise AssertionError("a volume was unpickled in the driver")

        monkeypatch.setattr(FakeGenerated, "__setstate__", refuse)  # in this process alone
        large = Request(structure_id="large", bundle="fake", shape=(64, 64, 64), seed=1)
        row_of(collect(pool, [large])["large"])


def ready(pool: RayPool) -> dict[str, tuple[str, int]]:
    """Node and process of every actor, once all are there."""
    deadline = time.monotonic() + PATIENCE_S
    while len(pool.actors) < 3:
        assert time.monotonic() < deadline
        collect(pool, [request("warm-up")])
    return pool.actors


def test_actors_that_only_die_stop_the_pool(tmp_path: Path) -> None:
    requests = [request(f"r{index}") for index in range(20)]
    factory = fake_factory(tmp_path / "scratch", {each.structure_id: Fault(action="kill") for each in requests})
    with (
        make(factory, tmp_path / "out", batch_size=1, max_attempts=1) as pool,
        pytest.raises(WorkError, match="design actors: 4 in a row were lost without finishing anything") as caught,
    ):
        collect(pool, requests)
    assert "smaller batch" in str(caught.value)


def test_actors_that_cannot_start_stop_the_pool(tmp_path: Path) -> None:
    """The first two die while they start, the others raise."""
    with make(partial(unstartable_engine, tmp_path), tmp_path / "out", max_attempts=1) as pool:
        with pytest.raises(WorkError, match=r"4 in a row were lost.*no driver for the device") as caught:
            collect(pool, [request("a")])
        assert "\n" not in str(caught.value)
        with pytest.raises(WorkError):
            pool.submit(request("b"))


def test_a_function_of_the_users_own_that_a_node_cannot_import_stops_the_pool_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The driver has the module, the actors have not."""
    (tmp_path / "drivers_own.py").write_text("def share(phases):\n    return phases[0].mean()\n")
    monkeypatch.syspath_prepend(tmp_path)
    own = parse_property("my_share=drivers_own:share")
    own.load()
    pool = make(partial(engine_with, (own,), fake_factory(tmp_path / "scratch")), tmp_path / "out")
    with pool, pytest.raises(InputError, match=r"property my_share: drivers_own:share cannot be imported"):
        collect(pool, [request("a")])
    assert pool.stats.replaced == 0


def test_a_node_that_lacks_a_module_stops_the_pool_at_once(tmp_path: Path) -> None:
    pool = make(partial(fail_to_unpickle, Unpicklable()), tmp_path / "out")
    with pool, pytest.raises(WorkError, match=r"No module named 'missing'.*same version of mesoforge on every node"):
        collect(pool, [request("a")])
    assert pool.stats.replaced == 0


def test_an_actor_on_a_node_without_the_folder_is_refused(tmp_path: Path) -> None:
    with make(fake_factory(tmp_path / "scratch"), tmp_path / "out") as pool:
        pool.submit(request("a"))
        (tmp_path / "out" / ".token").write_text("another folder of this name")
        with pytest.raises(InputError, match=r"node .* sees another folder") as caught:
            collect(pool, [])
    assert str(tmp_path / "out") in str(caught.value)


def test_actors_that_do_not_fit_the_cluster_stop_the_pool(tmp_path: Path) -> None:
    with (
        make(fake_factory(tmp_path / "s"), tmp_path, cpus_per_design_actor=64.0, start_timeout_s=1.0) as pool,
        pytest.raises(WorkError, match=r"design actors: none could be started within 1 s; .* has 2 CPUs"),
    ):
        pool.submit(request("a"))
        while True:
            pool.wait(0.2)


def test_several_actors_share_the_queue_on_two_cores(tmp_path: Path) -> None:
    requests = [request(f"r{index}") for index in range(24)]
    factory = fake_factory(tmp_path / "scratch")
    with make(factory, tmp_path / "out", design_actors=2, property_actors=2) as pool:
        assert pool.free_slots == 2 * 4 * 2
        results = collect(pool, requests)
    assert len(results) == 24
    for each in requests:
        assert row_of(results[each.structure_id])["fraction_pore"] == pytest.approx((voxels(each) == 1).mean())


def test_a_broken_actor_does_not_use_up_the_attempts_of_many_requests(tmp_path: Path) -> None:
    """It answers at once, with errors, and would otherwise take most of the work."""
    factory = partial(BrokenEngine, tmp_path)
    with make(factory, tmp_path / "out", design_actors=2, batch_size=2, max_attempts=2) as pool:
        results = collect(pool, [request(f"r{index}") for index in range(40)])
        assert pool.stats.replaced >= 1
    assert all(row_of(result) for result in results.values())


def test_an_interrupt_ends_every_process_and_keeps_what_is_finished(tmp_path: Path) -> None:
    factory = fake_factory(tmp_path / "scratch", {"slow": Fault(action="hold")})
    with pytest.raises(KeyboardInterrupt), make(factory, tmp_path / "out") as pool:
        pids = [pid for _, pid in ready(pool).values()]
        assert all(is_running(pid) for pid in pids)
        pool.submit(request("slow"))
        threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
        pool.wait(PATIENCE_S)
    assert (tmp_path / "out" / "volumes" / "warm-up.parquet").is_file()
    deadline = time.monotonic() + PATIENCE_S
    while any(is_running(pid) for pid in pids):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_nothing_is_touched_before_there_is_work(tmp_path: Path) -> None:
    """A pool may be made before the folder's lock is held: another driver may be at work there."""
    with make(fake_factory(tmp_path / "scratch"), tmp_path / "out") as pool:
        assert pool.wait(0.0) == []
        assert pool.actors == {}
        assert not (tmp_path / "out").exists()


def test_the_real_engine_gives_the_same_voxels_in_any_batch_and_actor(tmp_path: Path) -> None:
    """Here one by one; in two actors, in batches of one, two and more. Threads are apart from what Ray reserves."""
    from tests.bundles import write_untrained_bundle  # torch, which the engines below do without

    bundle = str(tmp_path / "noise")
    write_untrained_bundle(tmp_path / "noise")
    few = Settings(steps=2, refine_passes=1)
    requests = [
        Request(structure_id=f"r{seed}", bundle=bundle, shape=(32, 32, 32), seed=seed, settings=few)
        for seed in range(7)
    ]
    with LocalPool(BundleEngine, tmp_path / "here", batch_size=1, code_version="test") as pool:
        here = collect(pool, requests)
    calls = tmp_path / "calls"
    threads = {"threads_per_design_actor": 3, "threads_per_property_actor": 1}
    with make(partial(LoggedEngine, calls), tmp_path / "there", batch_size=4, design_actors=2, **threads) as pool:
        there = collect(pool, requests)
    for each in requests:
        rows = [row_of(results[each.structure_id]) for results in (here, there)]
        assert rows[0]["volume_sha256"] == rows[1]["volume_sha256"]
        assert rows[0].keys() == rows[1].keys() and rows[0]["bundle"] == "noise"
    np.testing.assert_array_equal(
        read_volume(tmp_path / "here", "r0").labels, read_volume(tmp_path / "there", "r0").labels
    )
    made = [json.loads(line) for line in calls.read_text().splitlines()]
    assert {threads for _, _, threads in made} == {3}
    assert len({actor for actor, _, _ in made}) == 2 and max(size for _, size, _ in made) > 1


def test_an_actor_begins_with_one_request(tmp_path: Path) -> None:
    """The first structure is there early; from the second call on batches are whole."""
    with make(fake_factory(tmp_path / "scratch"), tmp_path / "out") as pool:
        collect(pool, [request(f"r{index}") for index in range(9)])
    assert [len(batch) for batch in batches(tmp_path / "scratch")][:2] == [1, 4]


class Unpicklable:
    """Cannot be read where the module that it needs is missing."""

    def __reduce__(self) -> tuple[object, ...]:
        return importlib.import_module, ("missing",)


def fail_to_unpickle(_: Unpicklable) -> None:
    raise AssertionError("unreachable")


class BrokenEngine(FakeEngine):
    """The first process that generates only raises, as on a node with a bad driver."""

    def generate(self, requests: Sequence[Request]) -> list[FakeGenerated]:
        broken, calls = self.scratch / "broken", self.scratch / "broken.calls"
        with contextlib.suppress(FileExistsError), open(broken, "x") as stream:
            stream.write(str(os.getpid()))
        if broken.read_text() == str(os.getpid()):
            self._log(calls.name, "failed")
            raise RuntimeError("no kernel image is available for execution on the device")
        # The others let it have its four calls, but do not wait for ever: it is not given what it has failed at.
        deadline = time.monotonic() + 0.5
        while (not calls.exists() or len(calls.read_text().splitlines()) < 4) and time.monotonic() < deadline:
            time.sleep(0.01)
        return super().generate(requests)


class LoggedEngine(BundleEngine):
    """Notes of every batch the process that makes it, its size and the threads of torch there. The first one is not
    made before another process has one too."""

    def __init__(self, log: Path) -> None:
        super().__init__()
        self._log = log

    def generate(self, requests: Sequence[Request]) -> "list[Generated]":
        import torch

        with open(self._log, "a") as stream:
            stream.write(json.dumps([os.getpid(), len(requests), torch.get_num_threads()]) + "\n")
        deadline = time.monotonic() + PATIENCE_S
        while len({json.loads(line)[0] for line in self._log.read_text().splitlines()}) < 2:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        return super().generate(requests)
