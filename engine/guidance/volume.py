"""Guidance on the volume: move voxels until 3D targets hold, with the denoiser as prior and no weights to tune.

Two moves alternate. The *prior* redraws the planes across one axis (SDEdit: encode, noise, clean estimate, decode), so
the volume stays like the material. The *targets* then change the phase logits by the smallest step that meets all of
them to first order: a Gauss-Newton step on constraints, in which each target's direction is its own gradient and one
small linear system balances them. The loop is feedback: what the prior takes back, the next step asks for again.

What is to be as large or small as it can (`maximize`, `minimize`) is moved along its gradient wherever the other
targets hold, less what that would change of those at their limits; the best state in which they hold is kept.

What can be steered, with its value and gradient, is in `engine.guidance.steering`; what is kept of the material beside
the targets in `engine.guidance.kept`.

Shapes: `B` volumes, `K` phases, `D H W` voxels.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from engine.errors import InputError
from engine.guidance.kept import kept_terms
from engine.guidance.member import Member
from engine.guidance.newton import logits
from engine.guidance.steering import steered
from engine.guidance.targets import Target
from engine.guidance.terms import asked_terms
from engine.outcomes import DesignOutcome

if TYPE_CHECKING:
    from engine.properties.materials import Materials
    from engine.properties.own import OwnProperty

Redraw = Callable[[Tensor, int, Sequence[int]], Tensor]
"""Prior: (probabilities [b, K, D, H, W], axis, which of the B volumes these are) -> redrawn probabilities."""

PRIOR_SHARE = 0.4  # of each redrawn axis in the running probabilities; three axes are seen in turn
LEAST_ROUNDS = 3  # every axis is redrawn at least once after the last coarse move


@dataclass(frozen=True, kw_only=True)
class Guided:
    """One guided volume."""

    probabilities: Tensor
    """[K, D, H, W]; the volume is its argmax."""
    outcome: DesignOutcome
    trace: tuple[dict[str, float], ...]
    """One entry per evaluation: the iteration and every value that is finite, of targets and of what is kept."""


def check_guided(
    targets: Sequence[Target],
    phases: Sequence[str],
    materials: "Materials | None" = None,
    training: Mapping[str, Sequence[float]] | None = None,
    properties: "Sequence[OwnProperty]" = (),
) -> None:
    """Refuse targets that guidance cannot steer.

    Raises:
        InputError: a target without a gradient, or that lacks materials, a curve or a function; two extremes.
    """
    for target in targets:
        steered(target.metric, phases, materials, training, properties=properties)
    extremes = [str(target) for target in targets if target.extreme]
    curves = [text for text in extremes if "_discrepancy" in text]
    if curves:
        raise InputError(f"{curves[0]}: a curve is asked for with a tolerance, such as s2[PHASE]=training±2%")
    if len(extremes) > 1:
        raise InputError(f"{' and '.join(extremes)}: one of them at a time; give the other a limit, or sweep a study")


@torch.no_grad()
def guide(
    probabilities: Tensor,
    targets: Sequence[Sequence[Target]],
    phases: Sequence[str],
    redraw: Redraw,
    max_iterations: int,
    on_step: Callable[[int, int], None] | None = None,
    materials: "Sequence[Materials | None]" = (),
    training: Mapping[str, Sequence[float]] | None = None,
    periodic: bool = False,
    properties: "Sequence[Sequence[OwnProperty]]" = (),
) -> list[Guided]:
    """Guide volumes to their targets.

    Args:
        probabilities: [B, K, D, H, W] sampled volumes.
        targets: of each volume, at least one.
        phases: K names.
        redraw: the prior.
        max_iterations: redraws at most; a volume that has not met its targets then is MISSED, its best state kept. So
            is one whose redraw or step is not finite.
        materials: of each volume's phases, for the targets that need them.
        training: curves of the training data, for targets on them and for the surfaces that are kept.
        periodic: opposite faces join, for the targets too.
        properties: of the user's own, for each volume.
    """
    made_of, own = materials or [None] * len(targets), properties or [()] * len(targets)
    members = []
    for p, wanted, material, functions in zip(probabilities, targets, made_of, own, strict=True):
        asked = asked_terms(wanted, phases, material, training, periodic, functions)
        members.append(Member(logits(p), asked + kept_terms(wanted, phases, training, periodic)))
    least = min(LEAST_ROUNDS, max_iterations)
    done: dict[int, DesignOutcome] = {}
    for iteration in range(max_iterations):
        active = [i for i in range(len(members)) if i not in done]
        if not active:
            break
        current = torch.stack([members[i].logits.softmax(dim=0) for i in active])
        redrawn = redraw(current, iteration % 3, active)
        settled = iteration + 1 >= least
        mixed = (1 - PRIOR_SHARE) * current + PRIOR_SHARE * redrawn
        for i, p in zip(active, mixed, strict=True):
            if not bool(p.isfinite().all()):
                done[i] = DesignOutcome.MISSED
                continue
            members[i].logits = logits(p)
            ended = members[i].correct(iteration, settled=settled, late=2 * iteration >= max_iterations)
            if ended is not None:
                done[i] = ended
        if on_step is not None:
            on_step(iteration + 1, max_iterations)
    return [
        Guided(
            probabilities=member.best.softmax(dim=0),
            outcome=done.get(i, member.reached),
            trace=tuple(member.trace),
        )
        for i, member in enumerate(members)
    ]


def fraction_goals(targets: Sequence[Target], phases: Sequence[str]) -> Mapping[int, float]:
    """Goals of the fraction targets by phase index."""
    return {phases.index(t.metric.phase): t.goal for t in targets if t.metric.name == "fraction" and not t.extreme}
