import pickle
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pytest

import engine.design
import engine.models.bundle
import engine.models.inference
from actors.engines import BundleEngine
from engine.design import Generated, Measurement
from engine.models.bundle import load_bundle
from engine.outcomes import DesignOutcome
from engine.request import Request
from tests.actors.fakes import FakeCard
from tests.bundles import write_untrained_bundle


class FakeBundle:
    def __init__(self, name: str, device: str) -> None:
        self.card = FakeCard(name=name)
        self.device = device
        self.memory_bytes = 1_000


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[object, ...]]:
    """What the engine asks of its rooms, in order; nothing is loaded or generated."""
    made: list[tuple[object, ...]] = []

    def load_bundle(where: str, device: str = "cpu") -> FakeBundle:
        made.append(("load", where, device))
        return FakeBundle(where, device)

    def read_card(where: str) -> FakeCard:
        made.append(("card", where))
        return FakeCard(name=where)

    def generate(requests: Sequence[Request], bundle: FakeBundle, *, inference: object) -> list[Generated]:
        assert inference == f"inference of {bundle.card.name}"
        names = [request.structure_id for request in requests]
        made.append(("generate", bundle.card.name, *names))
        labels = np.ones((2, 2, 2), np.uint8)
        outcome = DesignOutcome.UNGUIDED
        return [Generated(request=r, labels=labels, outcome=outcome, trace=(), wall_time_s=0.0) for r in requests]

    def measure(labels: np.ndarray, phases: Sequence[object], **asked: object) -> Measurement:
        assert asked == {"materials": None, "also": (), "periodic": False, "training": {}, "properties": ()}
        made.append(("measure", len(phases)))
        return Measurement(values={}, curves={}, wall_time_s=0.0)

    monkeypatch.setattr(engine.models.bundle, "load_bundle", load_bundle)
    monkeypatch.setattr(engine.models.inference, "Inference", lambda bundle: f"inference of {bundle.card.name}")
    monkeypatch.setattr(engine.models.bundle, "read_card", read_card)
    monkeypatch.setattr(engine.design, "generate", generate)
    monkeypatch.setattr(engine.design, "measure", measure)
    return made


def request(name: str, bundle: str) -> Request:
    return Request(structure_id=name, bundle=bundle, shape=(2, 2, 2), seed=0)


def test_a_factory_of_it_can_be_sent(calls: list[tuple[object, ...]]) -> None:
    made = pickle.loads(pickle.dumps(partial(BundleEngine, "cuda")))()
    assert made.device == "cuda"
    assert calls == []  # nothing is loaded before it is needed


def test_one_batch_per_bundle_in_the_order_of_the_requests(calls: list[tuple[object, ...]]) -> None:
    requests = [request("a", "berea"), request("b", "nmc"), request("c", "berea")]
    made = BundleEngine("cuda", memory_bytes=10_000).generate(requests)
    assert [structure.request for structure in made] == requests
    assert calls == [
        ("load", "berea", "cuda"),
        ("generate", "berea", "a", "c"),
        ("load", "nmc", "cuda"),
        ("generate", "nmc", "b"),
    ]


def test_a_bundle_is_loaded_once_and_its_card_taken_from_it(calls: list[tuple[object, ...]]) -> None:
    engine = BundleEngine()
    for _ in range(2):
        engine.generate([request("a", "berea")])
    assert engine.card("berea").name == "berea"
    assert [call[0] for call in calls] == ["load", "generate", "generate"]


def test_measuring_needs_the_card_alone(calls: list[tuple[object, ...]]) -> None:
    (structure,) = BundleEngine().generate([request("a", "berea")])
    calls.clear()
    engine = BundleEngine()
    for _ in range(2):
        measurement = engine.measure(structure)
    assert calls == [("card", "berea"), ("measure", 2), ("measure", 2)]
    assert engine.judge((), measurement) is DesignOutcome.UNGUIDED
    assert [phase.name for phase in engine.phases("berea")] == ["pore", "solid"]


def test_the_least_recently_used_bundle_makes_room(calls: list[tuple[object, ...]]) -> None:
    made = BundleEngine(memory_bytes=4_000)  # for two: each takes its networks and a copy
    for bundle in ("a", "b", "a", "c", "a", "b"):
        made.generate([request("x", bundle)])
    assert [call[1] for call in calls if call[0] == "load"] == ["a", "b", "c", "b"]


def test_one_bundle_is_kept_however_small_the_memory(calls: list[tuple[object, ...]]) -> None:
    made = BundleEngine(memory_bytes=1)
    for bundle in ("a", "a", "b", "b"):
        made.generate([request("x", bundle)])
    assert [call[1] for call in calls if call[0] == "load"] == ["a", "b"]


def test_a_bundle_is_read_where_it_lies_on_this_machine(calls: list[tuple[object, ...]], tmp_path: Path) -> None:
    made = BundleEngine(folders={"berea": tmp_path}, memory_bytes=10_000)
    made.card("berea")
    made.generate([request("x", "berea"), request("y", "nmc")])
    assert [call[:2] for call in calls if call[0] != "generate"] == [
        ("card", tmp_path),
        ("load", tmp_path),
        ("load", "nmc"),
    ]


def test_keeping_the_inference_changes_no_voxel(tmp_path: Path) -> None:
    write_untrained_bundle(tmp_path / "noise")
    wanted = Request(structure_id="x", bundle=str(tmp_path / "noise"), shape=(32, 32, 32), seed=3)
    made = BundleEngine()
    (first,), (again,) = made.generate([wanted]), made.generate([wanted])
    fresh = engine.design.generate([wanted], load_bundle(wanted.bundle))[0]
    np.testing.assert_array_equal(first.labels, again.labels)
    np.testing.assert_array_equal(first.labels, fresh.labels)
