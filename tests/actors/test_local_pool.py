from pathlib import Path

import pyarrow as pa
import pytest

from actors.engines import EngineFactory
from actors.local_pool import LocalPool
from actors.places import Folder
from actors.pool import Pool
from engine.errors import WorkError
from tests.actors.fakes import Fault, fake_factory
from tests.conformance.pool import PoolConformance, collect, request


class TestLocalPool(PoolConformance):
    @staticmethod
    def make(engine_factory: EngineFactory, out: Path, *, batch_size: int, structure_timeout_s: float = 60.0) -> Pool:
        limits = {"batch_size": batch_size, "structure_timeout_s": structure_timeout_s}
        return LocalPool(engine_factory, out, **limits, code_version="test")  # type: ignore[arg-type]


def test_what_was_finished_before_the_disk_refused_comes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = Folder.write

    def refuse_b(folder: Folder, table: pa.Table, name: str) -> None:
        if "b" in Path(name).stem:
            raise WorkError("full")
        write(folder, table, name)

    monkeypatch.setattr(Folder, "write", refuse_b)
    with LocalPool(fake_factory(tmp_path / "scratch"), tmp_path / "out", batch_size=3, code_version="test") as pool:
        for name in ("a", "b", "c"):
            pool.submit(request(name))
        assert [result.structure_id for result in pool.wait(1.0)] == ["a"]
        with pytest.raises(WorkError, match="full"):
            pool.wait(1.0)


def test_an_interrupt_comes_through(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.actors.fakes import FakeEngine

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(FakeEngine, "measure", interrupt)
    with (
        pytest.raises(KeyboardInterrupt),
        LocalPool(fake_factory(tmp_path / "scratch"), tmp_path / "out", batch_size=3, code_version="test") as pool,
    ):
        collect(pool, [request("a")])


def test_wait_stops_after_the_batch_that_overruns(tmp_path: Path) -> None:
    faults = {"a": Fault(action="raise")}
    with LocalPool(
        fake_factory(tmp_path / "scratch", faults), tmp_path / "out", batch_size=1, code_version="test"
    ) as pool:
        pool.submit(request("a"))
        assert pool.wait(0.0) == []  # one attempt, and the time is over
        assert pool.in_flight == 1
