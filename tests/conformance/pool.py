"""What every pool does. A pool is tested by a subclass that says how to make it."""

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from actors.engines import EngineFactory
from actors.messages import Completed, Failure, Result
from actors.pool import Pool, PoolFullError
from actors.volumes import read_volume, volume_sha256
from engine.errors import InputError, WorkError
from engine.guidance.targets import parse_target
from engine.request import Request, Settings
from tests.actors.fakes import Fault, batches, failing_factory, fake_factory, set_faults, voxels

PATIENCE_S = 300.0  # a test that waits longer hangs; actors start slowly on a busy machine


def request(name: str, seed: int | None = None) -> Request:
    number = sum(name.encode()) if seed is None else seed
    return Request(structure_id=name, bundle="fake", shape=(9, 8, 7), seed=number)


def collect(pool: Pool, requests: Iterable[Request]) -> dict[str, Result]:
    """Feed a pool as a study does, until every request is back."""
    waiting, results = list(requests), {}
    deadline = time.monotonic() + PATIENCE_S
    while waiting or pool.in_flight:
        assert time.monotonic() < deadline, f"still in flight: {pool.in_flight}"
        while waiting and pool.free_slots:
            pool.submit(waiting.pop(0))
        for result in pool.wait(1.0):
            assert result.structure_id not in results, "returned twice"
            results[result.structure_id] = result
    return results


def row_of(result: Result) -> dict[str, object]:
    assert isinstance(result, Completed), result
    return result.row


def failure_of(result: Result) -> Failure:
    assert isinstance(result, Failure), result
    return result


@dataclass(frozen=True, kw_only=True)
class Shared:
    """A pool that several tests use, one after the other, each with structures of its own."""

    pool: Pool
    out: Path
    scratch: Path

    def misbehave(self, **faults: Fault) -> None:
        set_faults(self.scratch, **faults)


class PoolConformance:
    """Inherit, define `make`, and be tested."""

    hang_limit_s = 0.5
    """What a structure may take where one hangs: far more than one that does not needs here."""

    @staticmethod
    def make(
        engine_factory: EngineFactory, out: Path, *, batch_size: int, structure_timeout_s: float = PATIENCE_S
    ) -> Pool:
        """A pool of one design worker, three attempts, code version `test`."""
        raise NotImplementedError

    @pytest.fixture(scope="class")
    @classmethod
    def shared(cls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shared]:
        folder = tmp_path_factory.mktemp("shared")
        with cls.make(fake_factory(folder / "scratch"), folder / "out", batch_size=4) as pool:
            yield Shared(pool=pool, out=folder / "out", scratch=folder / "scratch")

    def test_every_request_returns_once_and_counts(self, shared: Shared) -> None:
        requests = [request(f"once{index}") for index in range(13)]
        slots, before = shared.pool.free_slots, shared.pool.stats
        assert slots == 8  # two batches
        results = collect(shared.pool, requests)
        after = shared.pool.stats
        assert set(results) == {each.structure_id for each in requests}
        assert all(isinstance(result, Completed) and result.attempt == 1 for result in results.values())
        assert (shared.pool.free_slots, shared.pool.in_flight) == (slots, 0)
        assert (after.done - before.done, after.failed - before.failed, after.retried) == (13, 0, before.retried)
        assert after.outcomes.get("unguided", 0) - before.outcomes.get("unguided", 0) == 13
        assert {name.split("-")[0] for name in after.busy_s} == {"design", "property", "writer"}
        assert min(after.busy_s.values()) > 0
        assert after.ready_s.keys() == after.busy_s.keys()
        assert max(len(batch) for batch in batches(shared.scratch)) == 4

    def test_voxels_depend_on_the_request_alone(self, shared: Shared, tmp_path: Path) -> None:
        requests = [request(f"same{index}") for index in range(6)]
        with self.make(fake_factory(tmp_path / "scratch"), tmp_path / "out", batch_size=1) as pool:
            single = collect(pool, requests)
        batched = collect(shared.pool, reversed(requests))
        for each in requests:
            expected = volume_sha256(voxels(each))
            assert row_of(single[each.structure_id])["volume_sha256"] == expected
            assert row_of(batched[each.structure_id])["volume_sha256"] == expected

    def test_files_are_there_before_the_result(self, shared: Shared) -> None:
        shared.pool.submit(request("file"))
        while not (results := shared.pool.wait(1.0)):
            pass
        row = row_of(results[0])
        stored = read_volume(shared.out, "file")
        np.testing.assert_array_equal(stored.labels, voxels(request("file")))
        assert stored.sha256 == row["volume_sha256"]
        assert (shared.out / "curves" / "file.parquet").is_file()
        assert not list((shared.out / ".tmp").iterdir())
        assert row["structure_id"] == "file"
        assert row["code_version"] == "test"
        assert row["device"] == "fake"
        assert row["fraction_pore"] == pytest.approx(float((stored.labels == 1).mean()))
        assert row["diffusivity_pore_z_outcome"] == "does_not_percolate"

    def test_a_bad_request_fails_at_the_cap_and_spares_its_neighbours(self, shared: Shared) -> None:
        shared.misbehave(bad=Fault(action="raise"))
        before = shared.pool.stats
        results = collect(shared.pool, [request(name) for name in ("good0", "bad", "good1", "good2")])
        after = shared.pool.stats
        failure = failure_of(results.pop("bad"))
        assert (failure.error_type, failure.message) == ("RuntimeError", "no luck with bad")
        assert failure.attempt == 3
        assert "in _misbehave" in failure.traceback
        assert 0 <= failure.wall_time_s < PATIENCE_S
        assert all(isinstance(result, Completed) and result.attempt == 1 for result in results.values())
        assert (after.done - before.done, after.failed - before.failed, after.retried - before.retried) == (3, 1, 2)
        assert not (shared.out / "volumes" / "bad.parquet").exists()

    def test_a_retry_can_succeed(self, shared: Shared) -> None:
        shared.misbehave(again0=Fault(action="raise", times=1), again1=Fault(action="raise", step="measure", times=2))
        attempts = {}
        for name in ("again0", "again1"):  # each in a batch of its own
            result = collect(shared.pool, [request(name)])[name]
            assert isinstance(result, Completed)
            attempts[name] = result.attempt
        assert attempts == {"again0": 2, "again1": 3}

    def test_unusable_input_is_not_retried(self, shared: Shared) -> None:
        shared.misbehave(unusable0=Fault(action="input_error"), unusable1=Fault(action="input_error", step="measure"))
        before = shared.pool.stats
        results = collect(shared.pool, [request("unusable0"), request("unusable1")])
        assert shared.pool.stats.retried == before.retried
        for result in results.values():
            assert failure_of(result).error_type == "InputError"
            assert failure_of(result).attempt == 1

    def test_slots_bound_the_work(self, shared: Shared) -> None:
        slots = shared.pool.free_slots
        for index in range(slots):
            shared.pool.submit(request(f"slot{index}"))
        assert (shared.pool.free_slots, shared.pool.in_flight) == (0, slots)
        with pytest.raises(PoolFullError, match="wait"):
            shared.pool.submit(request("more"))
        assert len(collect(shared.pool, [])) == slots
        assert (shared.pool.free_slots, shared.pool.in_flight) == (slots, 0)

    def test_wait_without_work_returns_at_once(self, shared: Shared) -> None:
        started = time.monotonic()
        assert shared.pool.wait(2 * PATIENCE_S) == []
        assert time.monotonic() - started < PATIENCE_S

    def test_a_structure_id_must_be_new_and_name_a_file(self, shared: Shared) -> None:
        shared.pool.submit(request("twice"))
        with pytest.raises(InputError, match="in flight already"):
            shared.pool.submit(request("twice"))
        with pytest.raises(InputError, match="must name a file"):
            shared.pool.submit(request("../twice"))
        collect(shared.pool, [])
        assert set(collect(shared.pool, [request("twice")])) == {"twice"}  # doing it again is harmless

    def test_a_batch_that_does_not_fit_is_halved(self, tmp_path: Path) -> None:
        factory = fake_factory(tmp_path / "scratch", {"r0": Fault(action="out_of_memory", batch_above=2)})
        with self.make(factory, tmp_path / "out", batch_size=8) as pool:
            collect(pool, [request("first")])  # an actor may begin with one request
            results = collect(pool, [request(f"r{index}") for index in range(8)])
            assert all(isinstance(result, Completed) for result in results.values())
            assert [len(batch) for batch in batches(tmp_path / "scratch")] == [1, 8, 4, 2, 2, 4]
            collect(pool, [request(f"s{index}") for index in range(8)])  # and remembered
        assert max(len(batch) for batch in batches(tmp_path / "scratch")[6:]) == 2

    def test_a_batch_has_one_kind_and_mixed_targets(self, shared: Shared) -> None:
        """Trials differ in their targets; what differs in shape, bundle or settings cannot run as one."""
        targets = [(), (parse_target("fraction[pore]>=0.01"),), (parse_target("fraction[pore]>=0.99"),)]
        requests = {
            f"kind{index}": replace(
                request(f"kind{index}"),
                targets=targets[index % 3],
                shape=(9, 8, 7) if index % 2 else (4, 4, 4),
                settings=Settings(steps=20 if index in (0, 2) else None),
            )
            for index in range(8)
        }
        results = collect(shared.pool, requests.values())
        assert {str(row_of(result)["status"]) for result in results.values()} == {"unguided", "attained", "missed"}
        made = [[requests[name] for name in batch] for batch in batches(shared.scratch) if batch[0] in requests]
        assert all(len({(each.shape, each.settings) for each in batch}) == 1 for batch in made)
        assert max(len({each.targets for each in batch}) for batch in made) > 1

    def test_a_hanging_call_is_ended_and_becomes_a_failure(self, tmp_path: Path) -> None:
        """The neighbour has the same limit for each of its steps, on a machine that may be busy."""
        factory = fake_factory(tmp_path / "scratch", {"hang": Fault(action="hold")})
        started = time.monotonic()
        with self.make(factory, tmp_path / "out", batch_size=2, structure_timeout_s=self.hang_limit_s) as pool:
            results = collect(pool, [request("neighbour"), request("hang")])
            failure = failure_of(results["hang"])
            assert failure.error_type == "CallTimeoutError"
            assert f"no answer within {self.hang_limit_s:g} s" in failure.message
            assert failure.attempt == 2  # once more, no oftener: each try costs the whole limit
            assert failure.wall_time_s >= self.hang_limit_s
            assert pool.stats.outcomes == {"unguided": 1, "failed": 1}
        row_of(results["neighbour"])
        assert time.monotonic() - started < PATIENCE_S

    def test_draining_keeps_what_is_generated_and_begins_nothing(self, tmp_path: Path) -> None:
        requests = [request(f"r{index}") for index in range(4)]
        with self.make(fake_factory(tmp_path / "scratch"), tmp_path / "out", batch_size=2) as pool:
            for each in requests:
                pool.submit(each)
            first = pool.wait(PATIENCE_S)
            kept = [*first, *pool.drain(PATIENCE_S)]
            names = [row_of(result)["structure_id"] for result in kept]
            assert len(set(names)) == len(names) >= 1
            assert pool.in_flight == 4 - len(names)
            stored = {path.stem for path in (tmp_path / "out" / "volumes").iterdir()}
            assert stored == set(names)
            for refused in (lambda: pool.submit(request("more")), lambda: pool.wait(0.0)):
                with pytest.raises(RuntimeError, match="closed"):
                    refused()
            assert pool.drain(1.0) == []

    def test_a_refusing_disk_stops_the_pool(self, tmp_path: Path) -> None:
        out = tmp_path / "out"
        with self.make(fake_factory(tmp_path / "scratch"), out, batch_size=1) as pool:
            out.mkdir()
            out.joinpath("volumes").write_text("a file where a folder must be")
            with pytest.raises(WorkError, match="free some space") as caught:
                collect(pool, [request("a"), request("b")])
            assert str(out) in str(caught.value)
            assert "volumes/a.parquet" in str(caught.value)
            assert "\n" not in str(caught.value)
            with pytest.raises(WorkError):
                pool.wait(0.0)
            with pytest.raises(WorkError):
                pool.submit(request("c"))
            assert not list((out / ".tmp").iterdir())
            assert pool.stats.retried == 0

    def test_close_twice(self, tmp_path: Path) -> None:
        pool = self.make(fake_factory(tmp_path / "scratch"), tmp_path / "out", batch_size=4)
        pool.submit(request("a"))
        pool.close()
        pool.close()
        assert pool.in_flight == 0
        with pytest.raises(RuntimeError, match="closed"):
            pool.submit(request("b"))
        with pytest.raises(RuntimeError, match="closed"):
            pool.wait(0.0)

    def test_a_factory_that_cannot_be_used_is_the_users_error(self, tmp_path: Path) -> None:
        factory = partial(failing_factory, InputError("no such bundle"))
        with pytest.raises(InputError, match="no such bundle"), self.make(factory, tmp_path, batch_size=4) as pool:
            collect(pool, [request("a")])
