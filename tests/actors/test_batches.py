from collections import deque

from actors.batches import BatchLimits, take_batch
from actors.ledger import Job
from engine.guidance.targets import parse_target
from engine.request import Request, Settings


def job(name: str, side: int = 32, *, alone: bool = False, bundle: str = "berea", steps: int | None = None) -> Job:
    settings = Settings(steps=steps)
    shape = (side, side, side)
    wanted = Request(structure_id=name, bundle=bundle, shape=shape, seed=0, settings=settings)
    return Job(request=wanted, alone=alone)


def names(jobs: object) -> list[str]:
    return [each.request.structure_id for each in jobs]  # type: ignore[attr-defined]


def test_a_batch_gathers_one_kind_and_leaves_the_rest_in_order() -> None:
    queue = deque([job("a"), job("b", 64), job("c"), job("d", bundle="nmc"), job("e"), job("f", steps=5), job("g")])
    assert names(take_batch(queue, 3, BatchLimits())) == ["a", "c", "e"]
    assert names(queue) == ["b", "d", "f", "g"]
    assert [names(take_batch(queue, 3, BatchLimits())) for _ in range(4)] == [["b"], ["d"], ["f"], ["g"]]
    assert take_batch(queue, 3, BatchLimits()) == []


def test_targets_and_seeds_do_not_part_requests() -> None:
    targets = (parse_target("fraction[pore]>=0.2"),)
    guided = Request(structure_id="b", bundle="berea", shape=(32, 32, 32), seed=7, targets=targets)
    assert names(take_batch(deque([job("a"), Job(request=guided)]), 3, BatchLimits())) == ["a", "b"]


def test_a_job_that_must_run_alone_does() -> None:
    queue = deque([job("a"), job("b", alone=True), job("c")])
    assert names(take_batch(queue, 3, BatchLimits())) == ["a", "c"]
    queue.append(job("d"))
    assert names(take_batch(queue, 3, BatchLimits())) == ["b"]


def test_jobs_that_are_not_eligible_stay() -> None:
    queue = deque([job("a"), job("b"), job("c")])
    assert names(take_batch(queue, 3, BatchLimits(), lambda each: each.request.structure_id != "a")) == ["b", "c"]
    assert names(queue) == ["a"]
    assert take_batch(queue, 3, BatchLimits(), lambda each: False) == []


def test_what_did_not_fit_is_halved_for_its_kind_alone() -> None:
    limits = BatchLimits()
    small, large = job("a").request, job("b", 64).request
    limits.refused(large, 8)
    assert (limits.limit(large, 8), limits.limit(large, 3), limits.limit(small, 8)) == (4, 3, 8)
    limits.refused(large, 1)
    assert limits.limit(large, 8) == 1  # never none
    elsewhere = BatchLimits()
    elsewhere.refused(small, 4)
    elsewhere.learn(limits.known())
    assert (elsewhere.limit(small, 8), elsewhere.limit(large, 8)) == (2, 1)
    elsewhere.learn({next(iter(limits.known())): 5})
    assert elsewhere.limit(large, 8) == 1  # the smaller one holds
