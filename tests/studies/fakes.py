"""A pool whose structures are numbers made up from their requests, at once; and small studies for it."""

import os
import random
from collections.abc import Callable, Sequence
from pathlib import Path

from actors.messages import Completed, Failure, Result
from actors.pool import Pool, PoolFullError, PoolStats
from actors.rows import Row, request_columns
from engine.request import Request
from studies.config import StudyConfig
from studies.reading import parse_study

PHASES = ("pore", "solid")
HASH = "f" * 64

STUDY = """
name: toy
bundle: toy_bundle
size: 8
seed: 3
trials: 4
samples: 2
sampler: tpe
search:
  fraction[pore]: {low: 0.15, high: 0.25, tolerance: 0.01}
  diffusivity[pore,z]: {low: 0.02, high: 0.06, tolerance: 5%}
objective: {maximize: "diffusivity[pore,z]"}
constraints: ["fraction[pore]<=0.2"]
"""


def facts(bundle: str) -> tuple[tuple[str, ...], str]:
    return PHASES, HASH


def study(text: str = STUDY, **changes: object) -> StudyConfig:
    """The toy study, with top-level keys replaced (None removes the key)."""
    lines = text.strip("\n").splitlines()
    for key, value in changes.items():
        lines = [line for line in lines if not line.startswith(f"{key}:")]
        if value is not None:
            lines.append(f"{key}: {value}")
    return parse_study("\n".join(lines), "toy.yaml", default_name="toy", facts=facts)


def made_up_row(request: Request) -> Row:
    """A row in which every target is met at its goal."""
    row: Row = request_columns(request) | {
        "bundle": request.bundle,
        "bundle_hash": HASH,
        "voxel_size_um": None,
        "code_version": "0.1.0",
        "device": "cpu",
        "status": "attained" if request.targets else "unguided",
        "reason": "",
        "generate_wall_time_s": 0.1,
        "measure_wall_time_s": 0.1,
        "volume_sha256": "0" * 64,
    }
    for target in request.targets:
        row[target.metric.column] = target.goal
        row[f"{target.metric.column}_outcome"] = "converged"
    return row


class FakePool(Pool):
    """Results after one `wait`, shuffled.

    Args:
        slots: most requests in flight.
        answer: request -> Row or Failure.
        log: every submitted structure_id is appended to this file.
        per_wait: most results of one `wait`.
    """

    def __init__(
        self,
        slots: int = 3,
        answer: Callable[[Request], Row | Failure] = made_up_row,
        log: Path | None = None,
        per_wait: int = 2,
    ) -> None:
        self._slots, self._answer, self._log, self._per_wait = slots, answer, log, per_wait
        self._waiting: list[Request] = []
        self._random = random.Random(0)
        self.submitted: list[Request] = []
        self.most_in_flight = 0
        self.on_wait: Callable[[int], None] = lambda count: None
        self._waits = 0

    def submit(self, request: Request) -> None:
        if self.free_slots < 1:
            raise PoolFullError
        self.submitted.append(request)
        self._waiting.append(request)
        self.most_in_flight = max(self.most_in_flight, len(self._waiting))
        if self._log is not None:
            with self._log.open("a") as log:
                log.write(request.structure_id + "\n")

    @property
    def free_slots(self) -> int:
        return self._slots - len(self._waiting)

    @property
    def in_flight(self) -> int:
        return len(self._waiting)

    def wait(self, timeout_s: float) -> list[Result]:
        self._waits += 1
        self.on_wait(self._waits)
        results: list[Result] = []
        while self._waiting and len(results) < self._per_wait:
            request = self._waiting.pop(self._random.randrange(len(self._waiting)))
            answer = self._answer(request)
            results.append(answer if isinstance(answer, Failure) else Completed(request.structure_id, answer, 1))
        return results

    @property
    def stats(self) -> PoolStats:
        return PoolStats()

    def close(self) -> None:
        self._waiting.clear()


def failure(request: Request) -> Failure:
    return Failure(request.structure_id, "OutOfMemoryError", "no memory", "Traceback ...", 3, 1.5)


def value_by_sample(values: Sequence[float], column: str = "diffusivity_pore_z") -> Callable[[Request], Row]:
    """Rows whose `column` takes the values in turn, by the order of submission."""
    turn = iter(values)

    def answer(request: Request) -> Row:
        return made_up_row(request) | {column: next(turn)}

    return answer


def kill_self() -> None:
    os.kill(os.getpid(), 9)
