"""Which requests share a batch, and how many of them fit into memory.

A batch holds requests of one kind: same bundle, shape, border and settings, so that the engine runs them as one. Their
targets and seeds may differ, and so may the trials they come from.
"""

from collections import deque
from collections.abc import Callable, Mapping
from typing import TypeVar

from actors.ledger import Job
from engine.request import Request, Settings

AnyJob = TypeVar("AnyJob", bound=Job)
Kind = tuple[str, tuple[int, int, int], bool, Settings]


def kind_of(request: Request) -> Kind:
    """What requests must have in common to be generated together."""
    return request.bundle, request.shape, request.periodic, request.settings


class BatchLimits:
    """The most structures of a kind that may go into memory at once; learnt from batches that did not fit."""

    def __init__(self) -> None:
        self._limits: dict[Kind, int] = {}

    def limit(self, request: Request, size: int) -> int:
        """At most `size`, fewer where so many of this kind were refused before."""
        return min(size, self._limits.get(kind_of(request), size))

    def refused(self, request: Request, size: int) -> None:
        """`size` of this kind ran out of memory: half as many from now on."""
        self.learn({kind_of(request): max(1, size // 2)})

    def learn(self, limits: Mapping[Kind, int]) -> None:
        """Take over what another place found out."""
        for kind, limit in limits.items():
            self._limits[kind] = min(limit, self._limits.get(kind, limit))

    def known(self) -> dict[Kind, int]:
        return dict(self._limits)


def take_batch(
    queue: deque[AnyJob], size: int, limits: BatchLimits, eligible: Callable[[AnyJob], bool] = lambda job: True
) -> list[AnyJob]:
    """Take from the queue its first eligible request and up to `size - 1` later ones of the same kind.

    The order of what stays is kept. A job that must run alone gets a batch of its own. Empty where nothing is eligible.
    """
    head = next((job for job in queue if eligible(job)), None)
    if head is None:
        return []
    kind, size = kind_of(head.request), limits.limit(head.request, size)
    batch: list[AnyJob] = []
    if head.alone:
        batch.append(head)
    else:
        for job in queue:
            if len(batch) == size:
                break
            if not job.alone and eligible(job) and kind_of(job.request) == kind:
                batch.append(job)
    taken = {id(job) for job in batch}
    rest = [job for job in queue if id(job) not in taken]
    queue.clear()
    queue.extend(rest)
    return batch
