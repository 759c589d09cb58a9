"""Targets on metrics without a gradient: volumes are drawn from one seed after the other until one has them.

Everything else that is asked for is guided in each of them. A structure's first candidate is what its request gives
without such targets; the seeds of the others follow from its own, so a request still decides the voxels.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from engine.errors import InputError
from engine.guidance.steering import STEERED
from engine.guidance.targets import Target
from engine.outcomes import DesignOutcome
from engine.request import Request, structure_seed

if TYPE_CHECKING:
    from engine.design import Generated
    from engine.measure import LabelledPhase

Make = Callable[[Sequence[Request]], "list[Generated]"]


def selected_targets(targets: Sequence[Target]) -> tuple[Target, ...]:
    """Those that are met by selection."""
    return tuple(target for target in targets if target.metric.name not in STEERED)


def guided_targets(targets: Sequence[Target]) -> tuple[Target, ...]:
    """The others."""
    return tuple(target for target in targets if target.metric.name in STEERED)


def guided(request: Request) -> Request:
    """The request without those met by selection."""
    return replace(request, targets=guided_targets(request.targets))


def check_selected(targets: Sequence[Target]) -> None:
    """Refuse an extreme of what has no gradient.

    Raises:
        InputError: naming it.
    """
    for target in selected_targets(targets):
        if target.extreme:
            raise InputError(
                f"{target}: has no gradient to follow; give it a limit, or search for it with a study's objective; "
                f"those that have: {', '.join(STEERED)}"
            )


def cost_of(request: Request) -> list[str]:
    """What selection may cost, in a sentence; nothing where there is none."""
    names = sorted({str(target.metric) for target in selected_targets(request.targets)})
    if not names:
        return []
    minutes = ", each measured by a solve of minutes" if any("permeability" in name for name in names) else ""
    return [
        f"{' and '.join(names)}: no gradient to follow; up to {request.settings.candidates} volumes are generated for "
        f"each structure, at as many times the time{minutes}; the first that has it is kept, else the nearest"
    ]


def select(requests: Sequence[Request], make: Make, phases: "Sequence[LabelledPhase]") -> "list[Generated]":
    """The first candidate of each request that has all targets, else the nearest.

    Args:
        requests: with any targets.
        make: generates requests that have no target met by selection.
        phases: of the volumes.
    """
    best: list[_Candidate | None] = [None] * len(requests)
    time_s = [0.0] * len(requests)
    waiting, number = list(range(len(requests))), 0
    while waiting:
        for i, made in zip(waiting, make([_candidate(requests[i], number) for i in waiting]), strict=True):
            time_s[i] += made.wall_time_s
            found, before = _judged(requests[i], made, phases), best[i]
            if before is None or found.miss < before.miss:
                best[i] = found
        number += 1
        waiting = [i for i in waiting if not _enough(requests[i], best[i], number)]
    chosen = [found for found in best if found is not None]
    return [
        replace(found.made, request=request, outcome=found.outcome, wall_time_s=spent)
        for request, found, spent in zip(requests, chosen, time_s, strict=True)
    ]


@dataclass(frozen=True, kw_only=True)
class _Candidate:
    made: "Generated"
    outcome: DesignOutcome
    miss: float  # largest miss of the selected targets, in tolerances; more where guidance missed the others


def _candidate(request: Request, number: int) -> Request:
    seed = request.seed if number == 0 else structure_seed("candidate", request.seed, number, 0)
    return replace(guided(request), seed=seed)


def _enough(request: Request, best: _Candidate | None, tried: int) -> bool:
    assert best is not None
    held = best.outcome is not DesignOutcome.MISSED
    return held or tried >= request.settings.candidates or not selected_targets(request.targets)


def _judged(request: Request, made: "Generated", phases: "Sequence[LabelledPhase]") -> _Candidate:
    from engine.measure import measure

    wanted = selected_targets(request.targets)
    if not wanted:
        return _Candidate(made=made, outcome=made.outcome, miss=0.0)
    metrics = [target.metric for target in wanted]
    values = measure(made.labels, phases, metrics=metrics, certify=False, periodic=request.periodic).values
    miss = max(_miss(target, values[target.metric].value) for target in wanted)
    guidance_missed = made.outcome is DesignOutcome.MISSED
    outcome = DesignOutcome.ATTAINED if miss == 0 and not guidance_missed else DesignOutcome.MISSED
    return _Candidate(made=made, outcome=outcome, miss=miss + guidance_missed)


def _miss(target: Target, value: float | None) -> float:
    """Distance from the interval, in half its width or, with one limit, that limit; infinite without a value."""
    if value is None or not math.isfinite(value):
        return math.inf
    one_sided = math.isinf(target.low) or math.isinf(target.high)
    unit = abs(target.goal) if one_sided else 0.5 * (target.high - target.low)
    return abs(target.miss(value)) / max(unit, 1e-12)
