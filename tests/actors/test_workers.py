from pathlib import Path

import pytest

from actors.messages import ErrorRecord
from actors.workers import Certified, Designed, DesignWorker, StoreWorker, certify
from engine.guidance.targets import parse_target
from engine.outcomes import DesignOutcome
from engine.request import Request
from tests.actors.fakes import FakeEngine, Fault, batches, fake_factory, set_faults
from tests.conformance.pool import request


@pytest.fixture
def engine(tmp_path: Path) -> FakeEngine:
    made = fake_factory(tmp_path / "scratch")()
    assert isinstance(made, FakeEngine)
    return made


def test_results_keep_the_order_of_the_requests(engine: FakeEngine) -> None:
    set_faults(engine.scratch, b=Fault(action="raise"))
    results = DesignWorker(engine).design([request(name) for name in ("a", "b", "c")])
    assert isinstance(results[1], ErrorRecord)
    names = [result.generated.request.structure_id for result in results if isinstance(result, Designed)]
    assert names == ["a", "c"]
    assert batches(engine.scratch) == [["a", "b", "c"], ["a"], ["b"], ["c"]]


def test_the_size_that_fits_is_kept(engine: FakeEngine) -> None:
    set_faults(engine.scratch, a=Fault(action="out_of_memory", batch_above=1))
    worker = DesignWorker(engine)
    worker.design([request(name) for name in ("a", "b", "c", "d")])
    assert [len(batch) for batch in batches(engine.scratch)] == [4, 2, 1, 1, 2]
    worker.design([request(name) for name in ("e", "f")])
    assert batches(engine.scratch)[5:] == [["e"], ["f"]]


def test_an_engine_that_returns_too_few_is_found_out(engine: FakeEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "generate", lambda requests: [])
    (result,) = DesignWorker(engine).design([request("a")])
    assert isinstance(result, ErrorRecord)
    assert result.error_type == "AssertionError"


def test_values_are_judged_where_they_are_measured(engine: FakeEngine) -> None:
    for text, outcome in (("fraction[pore]>=0.01", DesignOutcome.ATTAINED), ("fraction[pore]>=0.99", "missed")):
        wanted = Request(structure_id="a", bundle="fake", shape=(9, 8, 7), seed=1, targets=(parse_target(text),))
        (designed,) = DesignWorker(engine).design([wanted])
        assert isinstance(designed, Designed)
        certified = certify(engine, designed)
        assert isinstance(certified, Certified)
        assert certified.outcome == outcome


def test_only_the_file_systems_refusal_is_fatal(engine: FakeEngine, tmp_path: Path) -> None:
    (designed,) = DesignWorker(engine).design([request("a")])
    assert isinstance(designed, Designed)
    certified = certify(engine, designed)
    assert isinstance(certified, Certified)
    worker = StoreWorker(tmp_path / "out", "test")
    assert isinstance(worker.store(designed, certified), dict)
    certified.measurement.curves["no name"] = certified.measurement.curves["s2[pore]"]
    bug = worker.store(designed, certified)
    assert isinstance(bug, ErrorRecord)
    assert not bug.fatal
    del certified.measurement.curves["no name"]
    (tmp_path / "file").write_text("")
    refusal = StoreWorker(tmp_path / "file", "test").store(designed, certified)
    assert isinstance(refusal, ErrorRecord)
    assert refusal.fatal
