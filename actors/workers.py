"""The three kinds of work behind every pool, free of Ray: design a batch, measure a structure, store it.

Each catches what goes wrong and returns it as an ErrorRecord, so that the pools hold the retry policy alone.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from actors.batches import BatchLimits
from actors.engines import DesignEngine
from actors.messages import ErrorRecord, record_error
from actors.places import Place
from actors.rows import Row, make_row
from actors.time_limit import time_limit
from actors.volumes import VolumeWriter
from engine.errors import WorkError
from engine.outcomes import DesignOutcome
from engine.request import Request

if TYPE_CHECKING:
    from engine.design import Generated, Measurement
    from engine.models.bundle import Card


@dataclass(frozen=True, kw_only=True)
class Designed:
    """A generated structure with what its row needs. Holds the voxels: it goes from worker to worker."""

    generated: "Generated"
    card: "Card"
    device: str


@dataclass(frozen=True, kw_only=True)
class Certified:
    """Certified values of one structure, judged against its targets."""

    measurement: "Measurement"
    outcome: DesignOutcome


class DesignWorker:
    """Generates batches. One bad request does not fail its neighbours.

    Args:
        engine: does the work.
        structure_timeout_s: seconds that a structure may take; None where somebody else watches the clock.
    """

    def __init__(self, engine: DesignEngine, structure_timeout_s: float | None = None) -> None:
        self.engine = engine
        self.limits = BatchLimits()
        self._timeout_s = structure_timeout_s

    def design(self, requests: Sequence[Request]) -> list[Designed | ErrorRecord]:
        """One structure or error per request, in their order.

        A batch that raises is repeated one by one; after running out of memory, in halves, and this size is kept.
        """
        size = min((self.limits.limit(request, len(requests)) for request in requests), default=1)
        results: list[Designed | ErrorRecord] = []
        for start in range(0, len(requests), size):
            results += self._attempt(requests[start : start + size])
        return results

    def _attempt(self, requests: Sequence[Request]) -> list[Designed | ErrorRecord]:
        started = time.monotonic()
        try:
            with time_limit(self._timeout_s, len(requests)):
                structures = self.engine.generate(requests)
            assert len(structures) == len(requests), (len(structures), len(requests))
            device = self.engine.device
            return [
                Designed(generated=structure, card=self.engine.card(request.bundle), device=device)
                for request, structure in zip(requests, structures, strict=True)
            ]
        except Exception as caught:
            error = record_error(caught, time.monotonic() - started)  # the exception, and its tensors, end here
        if len(requests) == 1:
            return [error]
        size = 1
        if error.out_of_memory:
            size = max(1, len(requests) // 2)
            for request in requests:
                self.limits.refused(request, len(requests))
        results: list[Designed | ErrorRecord] = []
        for start in range(0, len(requests), size):
            results += self._attempt(requests[start : start + size])
        return results


def certify(
    engine: DesignEngine, designed: Designed, structure_timeout_s: float | None = None
) -> Certified | ErrorRecord:
    """Measure one structure and judge it."""
    started = time.monotonic()
    try:
        with time_limit(structure_timeout_s):
            measurement = engine.measure(designed.generated)
        outcome = engine.judge(designed.generated.request.targets, measurement)
        return Certified(measurement=measurement, outcome=outcome)
    except Exception as caught:
        return record_error(caught, time.monotonic() - started)


class StoreWorker:
    """Writes volumes and curves, and builds the row."""

    def __init__(self, place: Place | Path, code_version: str) -> None:
        self.writer = VolumeWriter(place)
        self.code_version = code_version

    def store(self, designed: Designed, certified: Certified) -> Row | ErrorRecord:
        """The row of a structure whose files are durable. A refusal of the file system is a fatal record."""
        started = time.monotonic()
        generated, card = designed.generated, designed.card
        try:
            digest = self.writer.write(
                generated.request.structure_id,
                generated.labels,
                card.voxel_size_um,
                certified.measurement.curves,
            )
            return make_row(
                generated,
                certified.measurement,
                card,
                outcome=certified.outcome,
                device=designed.device,
                code_version=self.code_version,
                volume_sha256=digest,
            )
        except Exception as caught:
            return record_error(caught, time.monotonic() - started, fatal=isinstance(caught, WorkError))
