"""Guidance on the volume: move voxels until 3D targets hold, with the denoiser as prior and no weights to tune.

Two moves alternate. The *prior* redraws the planes across one axis (SDEdit: encode, noise, clean estimate, decode), so
the volume stays like the material. The *targets* then change the phase logits by the smallest step that meets all of
them to first order: a Gauss-Newton step on constraints, in which each target's direction is its own gradient and one
small linear system balances them. The loop is feedback: what the prior takes back, the next step asks for again.

What can be steered, with its value and gradient, is in `engine.guidance.steering`.

Shapes: `B` volumes, `K` phases, `T` targets, `D H W` voxels.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from engine.guidance.steering import Evaluation, Move, Steered, steered
from engine.guidance.targets import Target
from engine.outcomes import DesignOutcome

if TYPE_CHECKING:
    from engine.properties.materials import Materials

Redraw = Callable[[Tensor, int, Sequence[int]], Tensor]
"""Prior: (probabilities [b, K, D, H, W], axis, which of the B volumes these are) -> redrawn probabilities."""

PRIOR_SHARE = 0.4  # of each redrawn axis in the running probabilities; three axes are seen in turn
LEAST_ROUNDS = 3  # every axis is redrawn at least once after the last coarse move
CORRECTIONS = 3  # Gauss-Newton steps after each redraw
LARGEST_MOVE = 0.02  # share of the volume that one step may change: first order does not reach further
FLOOR = 0.02  # of the goal: a value is kept off 0 by this much, so that its logarithm exists
MARGIN = 0.7  # of each tolerance: the certificate's solver differs from ours by some tenths of a per cent


@dataclass(frozen=True, kw_only=True)
class Guided:
    """One guided volume."""

    probabilities: Tensor
    """[K, D, H, W]; the volume is its argmax."""
    outcome: DesignOutcome
    trace: tuple[dict[str, float], ...]
    """One entry per evaluation: the iteration and every target's value."""


@dataclass
class _Member:
    """State of one volume on its way."""

    logits: Tensor  # [K, D, H, W]
    targets: tuple[Target, ...]
    steering: tuple[Steered, ...]  # of each target
    gains: dict[int, float] = field(default_factory=dict)  # by target: how much more to ask for than first order says
    trace: list[dict[str, float]] = field(default_factory=list)
    best: Tensor | None = None
    best_miss: float = math.inf


def check_guided(
    targets: Sequence[Target],
    phases: Sequence[str],
    materials: "Materials | None" = None,
    training: Mapping[str, Sequence[float]] | None = None,
) -> None:
    """Raise InputError for a target that guidance cannot steer, or that lacks materials or a curve (`steered`)."""
    for target in targets:
        steered(target.metric, phases, materials, training)


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
) -> list[Guided]:
    """Guide volumes to their targets.

    Args:
        probabilities: [B, K, D, H, W] sampled volumes.
        targets: of each volume, at least one.
        phases: K names.
        redraw: the prior.
        max_iterations: redraws at most; a volume that has not met its targets then is MISSED, its best state kept.
        materials: of each volume's phases, for the targets that need them.
        training: S2 of the training data by phase, for targets on it.
        periodic: opposite faces join, for the targets too.
    """
    made_of = materials or [None] * len(targets)
    members = [
        _Member(
            _logits(p),
            tuple(wanted),
            tuple(steered(each.metric, phases, material, training, periodic) for each in wanted),
        )
        for p, wanted, material in zip(probabilities, targets, made_of, strict=True)
    ]
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
            members[i].logits = _logits(p)
            if _correct(members[i], iteration, settled) and settled:
                done[i] = DesignOutcome.ATTAINED
        if on_step is not None:
            on_step(iteration + 1, max_iterations)
    out = []
    for i, member in enumerate(members):
        assert member.best is not None
        final = member.logits if i in done else member.best
        out.append(
            Guided(
                probabilities=final.softmax(dim=0),
                outcome=done.get(i, DesignOutcome.MISSED),
                trace=tuple(member.trace),
            )
        )
    return out


def _correct(member: _Member, iteration: int, settled: bool) -> bool:
    """Gauss-Newton steps until every target holds, a few at most. True if all hold on the hard volume.

    A state is remembered as the best only once it is `settled`: redrawn along every axis.
    """
    before: list[float] = []
    for step in range(CORRECTIONS + 1):
        found = _evaluate(member)
        values = [each.value for each in found]
        member.trace.append(
            {"iteration": float(iteration)}
            | {str(target.metric): value for target, value in zip(member.targets, values, strict=True)}
        )
        worst = max(relative_miss(target, value) for target, value in zip(member.targets, values, strict=True))
        if worst <= member.best_miss and settled:
            member.best, member.best_miss = member.logits.clone(), worst
        if worst <= MARGIN:
            return True
        if before:
            _learn_gains(member, before, values)
        before = values
        if step < CORRECTIONS:
            member.logits = member.logits + _step(member, found)
    return False


def _evaluate(member: _Member) -> list[Evaluation]:
    """Every target's metric on the hard volume."""
    soft = member.logits.softmax(dim=0)
    hard = one_hot(member.logits.argmax(dim=0), len(soft))
    return [
        steering(hard, soft, lambda value, target=target: relative_miss(target, value))  # type: ignore[misc]
        for target, steering in zip(member.targets, member.steering, strict=True)
    ]


def _learn_gains(member: _Member, before: Sequence[float], after: Sequence[float]) -> None:
    """Compare what a step was to bring with what it brought; ask for more, or less, of that metric from now on.

    First order is far off where a pore is about to open (the value does not move until it does).
    """
    for i, (old, new) in enumerate(zip(before, after, strict=True)):
        asked = _distance(member, i, old)
        if abs(asked) < 1e-6:
            continue
        brought = (asked - _distance(member, i, new)) / asked
        factor = min(2.0, max(0.5, 1 / brought)) if brought > 0 else 2.0
        member.gains[i] = min(64.0, max(0.25, member.gains.get(i, 1.0) * factor**0.5))


def _distance(member: _Member, i: int, value: float) -> float:
    """What is missing to the goal of a target: in logarithms where the metric spans decades, else plain.

    A one-sided target that holds asks for nothing.
    """
    target = member.targets[i]
    if (math.isinf(target.low) or math.isinf(target.high)) and target.miss(value) == 0:
        return 0.0
    if _logarithmic(member, i):
        return math.log(target.goal / _floored(target, value))
    return target.goal - value


def _logarithmic(member: _Member, i: int) -> bool:
    return member.steering[i].logarithmic and member.targets[i].goal > 0


def _floored(target: Target, value: float) -> float:
    """A value whose logarithm exists, and does not ask for the impossible."""
    return max(value, FLOOR * target.goal) if math.isfinite(value) else FLOOR * target.goal


def relative_miss(target: Target, value: float) -> float:
    """Distance from the goal in units of the tolerance, at most 1 where the target holds; one-sided: 0 inside."""
    if math.isinf(target.low) or math.isinf(target.high):
        return 0.0 if target.miss(value) == 0 else 1.0 + abs(target.miss(value)) / max(abs(target.goal), 1e-9)
    return abs(value - target.goal) / (0.5 * (target.high - target.low))


def _step(member: _Member, found: Sequence[Evaluation]) -> Tensor:
    """Smallest change of the logits [K, D, H, W] that meets all targets to first order, within the trust region."""
    p = member.logits.softmax(dim=0)
    moves, wanted = [], []
    for i, each in enumerate(found):
        gain = member.gains.get(i, 1.0)
        for move in each.moves:
            moves.append(_scale(member, i, each.value, move))
            missing = _distance(member, i, each.value) if move.missing is None else move.missing
            wanted.append(missing * gain)
    changes = [_moved(p, move.direction) for move in moves]  # of the probabilities
    system = torch.zeros(len(moves), len(moves), dtype=torch.float64)
    for row, move in enumerate(moves):
        for column, change_of in enumerate(changes):
            system[row, column] = float((move.gradient * change_of).sum(dtype=torch.float64))
    goal = torch.tensor(wanted, dtype=torch.float64)
    size = system.abs().amax(dim=1, keepdim=True).clamp(min=1e-30)
    weights = torch.linalg.lstsq(system / size, (goal / size[:, 0]).unsqueeze(1), driver="gelsd").solution[:, 0]
    change = torch.zeros_like(member.logits)
    for weight, move in zip(weights.tolist(), moves, strict=True):
        change += weight * move.direction
    moved = 0.5 * float(_moved(p, change).abs().sum(dim=0).mean())
    return change * min(1.0, LARGEST_MOVE / max(moved, 1e-12))


def _scale(member: _Member, i: int, value: float, move: Move) -> Move:
    """With the gradient of the logarithm where distances are logarithmic."""
    if not _logarithmic(member, i):
        return move
    return replace(move, gradient=move.gradient / _floored(member.targets[i], value))


def one_hot(indices: Tensor, phases: int) -> Tensor:
    """Phase indices [D, H, W] as indicators [K, D, H, W], float32."""
    return torch.zeros(phases, *indices.shape, device=indices.device).scatter_(0, indices.unsqueeze(0), 1.0)


def _moved(p: Tensor, change: Tensor) -> Tensor:
    """First-order change of probabilities [K, D, H, W] by a change of their logits: the Jacobian of the softmax."""
    return p * (change - (p * change).sum(dim=0, keepdim=True))


def _logits(probabilities: Tensor) -> Tensor:
    """Log-probabilities, kept finite. Probabilities below 1e-4 all mean: certainly not this phase."""
    return probabilities.clamp(min=1e-4).log()


def fraction_goals(targets: Sequence[Target], phases: Sequence[str]) -> Mapping[int, float]:
    """Goals of the fraction targets by phase index."""
    return {phases.index(t.metric.phase): t.goal for t in targets if t.metric.name == "fraction"}


class Walk:
    """Gauss-Newton steps of one volume that somebody else moves too, such as a sampler.

    Args:
        targets: at least one.
        phases, material, training, periodic: as for `guide`.
    """

    def __init__(
        self,
        targets: Sequence[Target],
        phases: Sequence[str],
        material: "Materials | None" = None,
        training: Mapping[str, Sequence[float]] | None = None,
        periodic: bool = False,
    ) -> None:
        steering = tuple(steered(each.metric, phases, material, training, periodic) for each in targets)
        self._member = _Member(torch.empty(0), tuple(targets), steering)

    @property
    def trace(self) -> tuple[dict[str, float], ...]:
        """One entry per evaluation: its number and every target's value."""
        return tuple(self._member.trace)

    def step(self, probabilities: Tensor) -> Tensor:
        """Towards the targets by one step, from [K, D, H, W]; as they are where all targets hold."""
        values, found = self._look(probabilities)
        targets = self._member.targets
        if max(relative_miss(target, value) for target, value in zip(targets, values, strict=True)) <= MARGIN:
            return probabilities
        change = _step(self._member, found)
        return (self._member.logits + change).softmax(dim=0) if bool(change.isfinite().all()) else probabilities

    def attained(self, probabilities: Tensor) -> bool:
        """Whether every target holds on the hard volume."""
        values, _ = self._look(probabilities)
        return all(target.holds(value) for target, value in zip(self._member.targets, values, strict=True))

    def _look(self, probabilities: Tensor) -> tuple[list[float], list[Evaluation]]:
        member = self._member
        member.logits = _logits(probabilities)
        found = _evaluate(member)
        named = {str(target.metric): each.value for target, each in zip(member.targets, found, strict=True)}
        finite = {name: value for name, value in named.items() if math.isfinite(value)}
        member.trace.append({"iteration": float(len(member.trace))} | finite)
        return [each.value for each in found], found
