"""Guidance on the volume: move voxels until 3D targets hold, with the denoiser as prior and no weights to tune.

Two moves alternate. The *prior* redraws the planes across one axis (SDEdit: encode, noise, clean estimate, decode), so
the volume stays like the material. The *targets* then change the phase logits by the smallest step that meets all of
them to first order: a Gauss-Newton step on constraints, in which each target's direction is its own gradient and one
small linear system balances them. The loop is feedback: what the prior takes back, the next step asks for again.

What is to be as large or small as it can (`maximize`, `minimize`) is moved along its gradient wherever the other
targets hold, less what that would change of those at their limits; the best state in which they hold is kept.

What can be steered, with its value and gradient, is in `engine.guidance.steering`.

Shapes: `B` volumes, `K` phases, `T` targets, `D H W` voxels.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from engine.errors import InputError
from engine.guidance.curves import Curve
from engine.guidance.moves import Evaluation, Move, Steered
from engine.guidance.steering import steered
from engine.guidance.targets import Target
from engine.outcomes import DesignOutcome

if TYPE_CHECKING:
    from engine.properties.materials import Materials
    from engine.properties.own import OwnProperty

Redraw = Callable[[Tensor, int, Sequence[int]], Tensor]
"""Prior: (probabilities [b, K, D, H, W], axis, which of the B volumes these are) -> redrawn probabilities."""

PRIOR_SHARE = 0.4  # of each redrawn axis in the running probabilities; three axes are seen in turn
LEAST_ROUNDS = 3  # every axis is redrawn at least once after the last coarse move
CORRECTIONS = 3  # Gauss-Newton steps after each redraw
INDISTINCT = 1e-3  # of the largest: combinations of moves with less effect are left alone, as of lags that move as one
CURVE_CORRECTIONS = 6  # the same where a curve is asked for: each redraw takes back a little of every lag
LARGEST_MOVE = 0.02  # share of the volume that one step may change: first order does not reach further
FLOOR = 0.02  # of the goal: a value is kept off 0 by this much, so that its logarithm exists
MARGIN = 0.7  # of each tolerance: the certificate's solver differs from ours by some tenths of a per cent
REST = 0.5  # tolerances from the goal within which a target no longer pushes: it is only held where it is
ONE_SIDED = 0.005  # of a limit: how far inside a target with one limit is aimed, for the same reason
ASCENT = 0.005  # share of the volume that one step towards an extreme changes
PROGRESS = 0.005  # relative gain below which an extreme counts as reached
PATIENCE = 9  # iterations without progress, three for each axis, after which it does


@dataclass(frozen=True, kw_only=True)
class Guided:
    """One guided volume."""

    probabilities: Tensor
    """[K, D, H, W]; the volume is its argmax."""
    outcome: DesignOutcome
    trace: tuple[dict[str, float], ...]
    """One entry per evaluation: the iteration and every target's value that is finite."""


@dataclass
class _Member:
    """State of one volume on its way."""

    logits: Tensor  # [K, D, H, W]
    targets: tuple[Target, ...]
    steering: tuple[Steered, ...]  # of each target
    gains: dict[int, float] = field(default_factory=dict)  # by target: how much more to ask for than first order says
    trace: list[dict[str, float]] = field(default_factory=list)
    best: Tensor = field(init=False)
    best_rank: tuple[int, float] = (3, math.inf)  # the less, the better; see `_rank`
    improved: int = 0  # the last iteration that made progress towards the extreme
    foretold: dict[int, float] = field(default_factory=dict)  # by target: its value after the last ascent
    drift: dict[int, float] = field(default_factory=dict)  # what an ascent brings that first order does not tell

    def __post_init__(self) -> None:
        self.best = self.logits

    @property
    def extreme(self) -> int | None:
        """Which target is one."""
        return next((i for i, target in enumerate(self.targets) if target.extreme), None)


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
        training: curves of the training data, for targets on them.
        periodic: opposite faces join, for the targets too.
        properties: of the user's own, for each volume.
    """
    made_of, own = materials or [None] * len(targets), properties or [()] * len(targets)
    members = [
        _Member(
            _logits(p),
            tuple(wanted),
            tuple(steered(each.metric, phases, material, training, periodic, functions) for each in wanted),
        )
        for p, wanted, material, functions in zip(probabilities, targets, made_of, own, strict=True)
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
            if not bool(p.isfinite().all()):
                done[i] = DesignOutcome.MISSED
                continue
            members[i].logits = _logits(p)
            ended = _correct(members[i], iteration, settled)
            if ended is not None:
                done[i] = ended
        if on_step is not None:
            on_step(iteration + 1, max_iterations)
    return [
        Guided(
            probabilities=member.best.softmax(dim=0),
            outcome=done.get(i, DesignOutcome.ATTAINED if member.best_rank[0] == 0 else DesignOutcome.MISSED),
            trace=tuple(member.trace),
        )
        for i, member in enumerate(members)
    ]


def _correct(member: _Member, iteration: int, settled: bool) -> DesignOutcome | None:
    """Gauss-Newton steps until every target holds, a few at most. None where the next redraw is to follow.

    A state is remembered as the best only once it is `settled`: redrawn along every axis.
    """
    before: list[float] = []
    corrections = CURVE_CORRECTIONS if any(_is_curve(member, i) for i in range(len(member.targets))) else CORRECTIONS
    for step in range(corrections + 1):
        found = _evaluate(member)
        values = [each.value for each in found]
        named = zip(member.targets, values, strict=True)
        member.trace.append(
            {"iteration": float(iteration)}
            | {str(target.metric): value for target, value in named if math.isfinite(value)}
        )
        hold = max(relative_miss(target, value) for target, value in zip(member.targets, values, strict=True)) <= MARGIN
        if settled:
            _remember(member, values, iteration)
        if hold and member.extreme is None:
            return DesignOutcome.ATTAINED if settled else None
        if before:
            _learn_gains(member, before, values)
        for i, told in member.foretold.items():
            member.drift[i] = member.drift.get(i, 0.0) + 0.5 * (values[i] - told)
        member.foretold = {}
        before = values
        if step < corrections:
            change = _ascent(member, found) if hold else _step(member, found)
            if not bool(change.isfinite().all()):
                return DesignOutcome.ATTAINED if member.best_rank[0] == 0 else DesignOutcome.MISSED
            member.logits = member.logits + change
    if member.extreme is not None and member.best_rank[0] == 0 and iteration - member.improved >= PATIENCE:
        return DesignOutcome.ATTAINED
    return None


def _remember(member: _Member, values: Sequence[float], iteration: int) -> None:
    """Keep the state if it is the best so far."""
    rank = _rank(member, values)
    if rank > member.best_rank:
        return
    now, before = rank[1], member.best_rank[1]
    if member.best_rank[0] != rank[0] or now < before - PROGRESS * abs(before):
        member.improved = iteration
    member.best, member.best_rank = member.logits.clone(), rank


def _rank(member: _Member, values: Sequence[float]) -> tuple[int, float]:
    """Where all targets hold (0), how far the extreme still is, if there is one; else (1) the largest miss."""
    misses = [relative_miss(target, value) for target, value in zip(member.targets, values, strict=True)]
    if max(misses) > MARGIN:
        return 1, max(misses)
    if member.extreme is None:
        return 0, max(misses)
    sign = 1 if member.targets[member.extreme].extreme == "minimize" else -1
    return 0, sign * values[member.extreme]


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

    First order is far off where a pore is about to open (the value does not move until it does). What is left between
    curves has no sign: where it grows, the step went too far.
    """
    for i, (old, new) in enumerate(zip(before, after, strict=True)):
        asked = _distance(member, i, old)
        if abs(asked) <= 1e-6 * (1.0 if _logarithmic(member, i) else abs(_aim(member.targets[i]))):
            continue
        brought = (asked - _distance(member, i, new)) / asked
        factor = min(2.0, max(0.5, 1 / brought)) if brought > 0 else 0.25 if _is_curve(member, i) else 2.0
        least = 0.05 if _is_curve(member, i) else 0.25
        member.gains[i] = min(64.0, max(least, member.gains.get(i, 1.0) * factor**0.5))


def _distance(member: _Member, i: int, value: float) -> float:
    """What is missing to the goal of a target: in logarithms where the metric spans decades, else plain.

    A target that holds asks for nothing, nor does an extreme, nor what has no value.
    """
    target = member.targets[i]
    if math.isnan(value) or relative_miss(target, value) <= (0 if _one_sided(target) else REST):
        return 0.0
    if _logarithmic(member, i):
        return math.log(_aim(target) / _floored(target, value))
    return _aim(target) - value if math.isfinite(value) else 0.0


def _is_curve(member: _Member, i: int) -> bool:
    return isinstance(member.steering[i], Curve)


def _logarithmic(member: _Member, i: int) -> bool:
    return member.steering[i].logarithmic and _aim(member.targets[i]) > 0


def _floored(target: Target, value: float) -> float:
    """A value whose logarithm exists, and does not ask for the impossible; also where it is infinite."""
    return _aim(target) / FLOOR if math.isinf(value) else max(value, FLOOR * _aim(target))


def _one_sided(target: Target) -> bool:
    return math.isinf(target.low) or math.isinf(target.high)


def _aim(target: Target) -> float:
    """The value to steer towards: the goal, a little inside where that is a limit; of an extreme 0, it has none."""
    if target.extreme:
        return 0.0
    inside = 0.0 if not _one_sided(target) else _inside(target)
    return target.goal + (inside if math.isinf(target.high) else -inside)


def _inside(target: Target) -> float:
    return max(ONE_SIDED * abs(target.goal), 1e-9)


def relative_miss(target: Target, value: float) -> float:
    """Distance from the aim in units of the tolerance, at most 1 where the target holds; one-sided: 0 well inside.
    Infinite for what is not finite."""
    if not math.isfinite(value):
        return math.inf
    if target.extreme:
        return 0.0
    if not _one_sided(target):
        return abs(value - target.goal) / (0.5 * (target.high - target.low))
    beyond = _aim(target) - value if math.isinf(target.high) else value - _aim(target)
    return max(0.0, beyond) / _inside(target)


def _step(member: _Member, found: Sequence[Evaluation]) -> Tensor:
    """Smallest change of the logits [K, D, H, W] that meets all targets to first order, within the trust region.

    A target with one limit that holds takes part only where the others would break it.
    """
    free = [
        i
        for i, each in enumerate(found)
        if i == member.extreme or (_one_sided(member.targets[i]) and relative_miss(member.targets[i], each.value) == 0)
    ]
    wanted = [(i, move) for i, each in enumerate(found) if i not in free for move in each.moves]
    moves = [_scale(member, i, found[i].value, move) for i, move in wanted]
    missing = [
        member.gains.get(i, 1.0) * (_distance(member, i, found[i].value) if move.missing is None else move.missing)
        for i, move in wanted
    ]
    p = member.logits.softmax(dim=0)
    change = _within_limits(member, found, p, _solved(p, moves, missing), free, moves)
    return change * min(1.0, LARGEST_MOVE / max(_share(p, change), 1e-12))


def _ascent(member: _Member, found: Sequence[Evaluation]) -> Tensor:
    """Change of the logits towards the extreme: its own direction, less what would break other targets (projected on
    what they leave: Rosen, J. SIAM 8, 181, 1960)."""
    assert member.extreme is not None
    p = member.logits.softmax(dim=0)
    [goal] = found[member.extreme].moves
    sign = 1.0 if member.targets[member.extreme].extreme == "maximize" else -1.0
    change = sign * goal.direction
    change = change * (ASCENT / max(_share(p, change), 1e-12))
    change = _within_limits(member, found, p, change, range(len(found)), drift=member.drift)
    if _brought(p, goal, change) * sign <= 0:
        member.drift = {i: drift / 2 for i, drift in member.drift.items()}
        return torch.zeros_like(change)  # the limits leave no way, or seem to
    change = change * (ASCENT / max(_share(p, change), 1e-12))
    for i, each in enumerate(found):
        if i != member.extreme and not _is_curve(member, i):
            [move] = each.moves
            member.foretold[i] = each.value + member.drift.get(i, 0.0) + _brought(p, move, change)
    return change


def _within_limits(
    member: _Member,
    found: Sequence[Evaluation],
    p: Tensor,
    change: Tensor,
    which: Sequence[int],
    kept: Sequence[Move] = (),
    drift: Mapping[int, float] | None = None,
) -> Tensor:
    """A change that takes no target of `which` beyond its limits, to first order, and brings the numbers in `kept` what
    the given change does. Targets that it would not take there anyway have no say."""
    moves, missing = list(kept), [0.0] * len(kept)
    for i in which:
        if i == member.extreme:
            continue
        target, value = member.targets[i], found[i].value
        for move in found[i].moves:
            brought = _brought(p, move, change) + (drift or {}).get(i, 0.0)
            if move.missing is not None:  # of a curve: as it is
                moves.append(move)
                missing.append(-brought)
            elif relative_miss(target, value + brought) > MARGIN:
                moves.append(move)
                missing.append(_room(target, value, brought) - brought)
    return change if len(moves) == len(kept) else change + _solved(p, moves, missing)


def _brought(p: Tensor, move: Move, change: Tensor) -> float:
    """What a change of the logits brings a number, to first order."""
    return float((move.gradient * _moved(p, change)).sum(dtype=torch.float64))


def _room(target: Target, value: float, change: float) -> float:
    """How far a value may go the way it changes: to its aim, or close to the end of its interval."""
    end = 0.0 if _one_sided(target) else 0.45 * MARGIN * (target.high - target.low)
    return _aim(target) + math.copysign(end, change) - value


def _solved(p: Tensor, moves: Sequence[Move], missing: Sequence[float]) -> Tensor:
    """The combination of the directions [K, D, H, W] that brings each number what it lacks, to first order."""
    if not moves:
        return torch.zeros_like(p)
    changes = [_moved(p, move.direction) for move in moves]  # of the probabilities
    system = torch.zeros(len(moves), len(moves), dtype=torch.float64)
    for row, move in enumerate(moves):
        for column, change_of in enumerate(changes):
            system[row, column] = float((move.gradient * change_of).sum(dtype=torch.float64))
    change = torch.zeros_like(p)
    if not bool(system.isfinite().all()):
        return change * torch.nan
    goal = torch.tensor(missing, dtype=torch.float64)
    size = system.abs().amax(dim=1, keepdim=True).clamp(min=1e-30)
    scaled = system / size, (goal / size[:, 0]).unsqueeze(1)
    weights = torch.linalg.lstsq(*scaled, rcond=INDISTINCT, driver="gelsd").solution[:, 0]
    for weight, move in zip(weights.tolist(), moves, strict=True):
        change += weight * move.direction
    return change


def _share(p: Tensor, change: Tensor) -> float:
    """Share of the volume that a change of the logits moves to other phases, to first order."""
    return 0.5 * float(_moved(p, change).abs().sum(dim=0).mean())


def _scale(member: _Member, i: int, value: float, move: Move) -> Move:
    """With the gradient of the logarithm where distances are logarithmic."""
    if not _logarithmic(member, i) or math.isnan(value):
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
    return {phases.index(t.metric.phase): t.goal for t in targets if t.metric.name == "fraction" and not t.extreme}


class Walk:
    """Gauss-Newton steps of one volume that somebody else moves too, such as a sampler.

    Args:
        targets: at least one.
        phases, material, training, periodic, properties: as for `guide`.
    """

    def __init__(
        self,
        targets: Sequence[Target],
        phases: Sequence[str],
        material: "Materials | None" = None,
        training: Mapping[str, Sequence[float]] | None = None,
        periodic: bool = False,
        properties: "Sequence[OwnProperty]" = (),
    ) -> None:
        steering = tuple(steered(each.metric, phases, material, training, periodic, properties) for each in targets)
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
