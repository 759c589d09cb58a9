from functools import partial
from pathlib import Path

import pyarrow as pa
import pytest

from actors.engines import BundleEngine, EngineFactory, engine_with
from actors.local_pool import LocalPool
from actors.places import Folder
from actors.pool import Pool
from engine.errors import WorkError
from engine.guidance.targets import parse_target
from engine.properties.own import parse_property
from engine.request import Request, Settings
from tests.actors.fakes import Fault, fake_factory
from tests.bundles import write_untrained_bundle
from tests.conformance.pool import PoolConformance, collect, request, row_of


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


def test_a_function_of_the_users_own_is_asked_for_and_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the real engine, in this process."""
    (tmp_path / "pool_models.py").write_text("def share(phases):\n    return phases[0].mean()\n")
    monkeypatch.syspath_prepend(tmp_path)
    write_untrained_bundle(tmp_path / "noise")
    own = parse_property("my_share=pool_models:share")
    asked = Request(
        structure_id="a",
        bundle=str(tmp_path / "noise"),
        shape=(32, 32, 32),
        seed=1,
        targets=(parse_target("property[my_share]=0.46±0.03"),),
        settings=Settings(steps=1, refine_passes=0, guidance_iterations=5),
        properties=(own,),
    )
    factory = partial(engine_with, (own,), BundleEngine)
    with LocalPool(factory, tmp_path / "out", batch_size=1, code_version="test") as pool:
        row = row_of(collect(pool, [asked])["a"])
    assert row["property_my_share"] == pytest.approx(row["fraction_pore"]) == pytest.approx(0.46, abs=0.03)
    assert row["property_my_share_outcome"] == "measured" and row["status"] == "attained"


def test_wait_stops_after_the_batch_that_overruns(tmp_path: Path) -> None:
    faults = {"a": Fault(action="raise")}
    with LocalPool(
        fake_factory(tmp_path / "scratch", faults), tmp_path / "out", batch_size=1, code_version="test"
    ) as pool:
        pool.submit(request("a"))
        assert pool.wait(0.0) == []  # one attempt, and the time is over
        assert pool.in_flight == 1
