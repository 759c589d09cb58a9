"""Guidance on the volume: move voxels until 3D targets hold, with the denoiser as prior and no weights to tune.

Two moves alternate. The *prior* redraws the planes across one axis (SDEdit: encode, noise, clean estimate, decode), so
the volume stays like the material. The *targets* then change the phase logits by the smallest step that meets all of
them to first order: a Gauss-Newton step on constraints, in which each target's direction is its own gradient and one
small linear system balances them. The loop is feedback: what the prior takes back, the next step asks for again.

Diffusivity enters through its exact adjoint on hard phases, with a slightly conducting solid so that the gradient
also says where to open a pore (`engine.properties.transport`); its value is anchored on the insulated solve.

Shapes: `B` volumes, `K` phases, `T` targets, `D H W` voxels.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from engine.errors import InputError
from engine.guidance.targets import Target
from engine.metrics import AXES, Metric
from engine.outcomes import DesignOutcome
from engine.properties.transport import solve, solve_with_gradient

Redraw = Callable[[Tensor, int, Sequence[int]], Tensor]
"""Prior: (probabilities [b, K, D, H, W], axis, which of the B volumes these are) -> redrawn probabilities."""

GUIDED = ("fraction", "diffusivity")
PRIOR_SHARE = 0.4  # of each redrawn axis in the running probabilities; three axes are seen in turn
LEAST_ROUNDS = 3  # every axis is redrawn at least once after the last coarse move
CORRECTIONS = 3  # Gauss-Newton steps after each redraw
LARGEST_MOVE = 0.02  # share of the volume that one step may change: first order does not reach further
MARGIN = 0.7  # of each tolerance: the certificate's solver differs from ours by some tenths of a per cent
CONTRAST = 1e-3  # conductivity of the insulator in the gradient solve


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
    fields: dict[Metric, Tensor] = field(default_factory=dict)  # potentials, to start the next solve from
    leaks: dict[Metric, float] = field(default_factory=dict)  # insulated value over leaking value
    gains: dict[Metric, float] = field(default_factory=dict)  # how much more to ask for than first order says
    trace: list[dict[str, float]] = field(default_factory=list)
    best: Tensor | None = None
    best_miss: float = math.inf


def check_guided(targets: Sequence[Target]) -> None:
    """Raise InputError for a target that guidance cannot steer."""
    for target in targets:
        if target.metric.name not in GUIDED:
            raise InputError(
                f"target {target}: {target.metric.name} can be measured but not asked for; "
                f"targets may be on {' and '.join(GUIDED)}"
            )


@torch.no_grad()
def guide(
    probabilities: Tensor,
    targets: Sequence[Sequence[Target]],
    phases: Sequence[str],
    redraw: Redraw,
    max_iterations: int,
    on_step: Callable[[int, int], None] | None = None,
) -> list[Guided]:
    """Guide volumes to their targets.

    Args:
        probabilities: [B, K, D, H, W] sampled volumes.
        targets: of each volume, at least one.
        phases: K names.
        redraw: the prior.
        max_iterations: redraws at most; a volume that has not met its targets then is MISSED, its best state kept.
    """
    members = [_Member(_logits(p), tuple(t)) for p, t in zip(probabilities, targets, strict=True)]
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
            if _correct(members[i], phases, iteration, settled) and settled:
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


def _correct(member: _Member, phases: Sequence[str], iteration: int, settled: bool) -> bool:
    """Gauss-Newton steps until every target holds, a few at most. True if all hold on the hard volume.

    A state is remembered as the best only once it is `settled`: redrawn along every axis.
    """
    before: list[float] = []
    for step in range(CORRECTIONS + 1):
        found = [_evaluate(member, target, phases) for target in member.targets]
        values = [value for value, _ in found]
        member.trace.append(
            {"iteration": float(iteration)}
            | {str(target.metric): value for target, value in zip(member.targets, values, strict=True)}
        )
        worst = max(_relative_miss(target, value) for target, value in zip(member.targets, values, strict=True))
        if worst <= member.best_miss and settled:
            member.best, member.best_miss = member.logits.clone(), worst
        if worst <= MARGIN:
            return True
        if before:
            _learn_gains(member, before, values)
        before = values
        if step < CORRECTIONS:
            member.logits = member.logits + _step(member, values, [gradient for _, gradient in found], phases)
    return False


def _learn_gains(member: _Member, before: Sequence[float], after: Sequence[float]) -> None:
    """Compare what a step was to bring with what it brought; ask for more, or less, of that metric from now on.

    First order is far off where a pore is about to open (the value does not move until it does).
    """
    for target, old, new in zip(member.targets, before, after, strict=True):
        asked = _distance(target, old)
        if abs(asked) < 1e-6:
            continue
        brought = (asked - _distance(target, new)) / asked
        factor = min(2.0, max(0.5, 1 / brought)) if brought > 0 else 2.0
        member.gains[target.metric] = min(64.0, max(0.25, member.gains.get(target.metric, 1.0) * factor**0.5))


def _distance(target: Target, value: float) -> float:
    """What is missing to the goal: in logarithms for a diffusivity (it spans decades), plain for a fraction.

    A one-sided target that holds asks for nothing.
    """
    if (math.isinf(target.low) or math.isinf(target.high)) and target.miss(value) == 0:
        return 0.0
    if target.metric.name == "diffusivity":
        return math.log(target.goal / _floored(target, value))
    return target.goal - value


def _floored(target: Target, value: float) -> float:
    """A diffusivity kept off 0, so that its logarithm exists."""
    return max(value, 0.02 * target.goal)


def _evaluate(member: _Member, target: Target, phases: Sequence[str]) -> tuple[float, Tensor]:
    """Value of a target's metric on the hard volume, and the gradient of the value by the phase's indicator.

    Returns: value; gradient [D, H, W].
    """
    metric, k = target.metric, phases.index(target.metric.phase)
    hard = member.logits.argmax(dim=0) == k
    if metric.name == "fraction":
        return float(hard.float().mean()), torch.full(hard.shape, 1.0 / hard.numel(), device=hard.device)
    axis = AXES.index(metric.axis or "")
    leaking = solve_with_gradient(hard.unsqueeze(0), axis, contrast=CONTRAST, start=member.fields.get(metric))
    member.fields[metric] = leaking.field
    value = float(leaking.value)
    leak = member.leaks.get(metric, 0.0)
    estimate = value * leak
    if leak < 0.5 or _relative_miss(target, estimate) <= 1.5:
        # Near the goal only the insulated value counts, and near the percolation threshold the other says little.
        exact = float(solve(hard.unsqueeze(0).float(), axis, start=leaking.field, tolerance=3e-4).value)
        member.leaks[metric] = exact / value
        estimate = exact
    return estimate, leaking.gradient[0]


def _relative_miss(target: Target, value: float) -> float:
    """Distance from the goal in units of the tolerance, at most 1 where the target holds; one-sided: 0 inside."""
    if math.isinf(target.low) or math.isinf(target.high):
        return 0.0 if target.miss(value) == 0 else 1.0 + abs(target.miss(value)) / max(abs(target.goal), 1e-9)
    return abs(value - target.goal) / (0.5 * (target.high - target.low))


def _step(member: _Member, values: Sequence[float], gradients: Sequence[Tensor], phases: Sequence[str]) -> Tensor:
    """Smallest change of the logits [K, D, H, W] that meets all targets to first order, within the trust region."""
    p = member.logits.softmax(dim=0)
    indices = [phases.index(target.metric.phase) for target in member.targets]
    wanted, slopes, directions = [], [], []
    for target, value, gradient, k in zip(member.targets, values, gradients, indices, strict=True):
        wanted.append(_distance(target, value) * member.gains.get(target.metric, 1.0))
        if target.metric.name == "diffusivity":
            slopes.append(gradient / _floored(target, value))
            directions.append(_spread(gradient, p[k]))
        else:
            slopes.append(gradient)
            directions.append(torch.ones_like(gradient))
    count = len(wanted)
    system = torch.zeros(count, count, dtype=torch.float64)
    for i, (slope, a) in enumerate(zip(slopes, indices, strict=True)):
        for j, (direction, b) in enumerate(zip(directions, indices, strict=True)):
            coupling = p[a] * ((1.0 if a == b else 0.0) - p[b])  # Jacobian of the softmax
            system[i, j] = float((slope * coupling * direction).sum(dtype=torch.float64))
    goal = torch.tensor(wanted, dtype=torch.float64)
    size = system.abs().amax(dim=1, keepdim=True).clamp(min=1e-30)
    weights = torch.linalg.lstsq(system / size, (goal / size[:, 0]).unsqueeze(1), driver="gelsd").solution[:, 0]
    change = torch.zeros_like(member.logits)
    for weight, direction, k in zip(weights.tolist(), directions, indices, strict=True):
        change[k] += weight * direction
    moved = float(sum((p[k] * (1 - p[k]) * change[k].abs()).mean() for k in set(indices)))
    return change * min(1.0, LARGEST_MOVE / max(moved, 1e-12))


def _spread(gradient: Tensor, p: Tensor) -> Tensor:
    """A direction that follows a transport gradient without its spikes: smoothed over neighbours, square root taken.

    The gradient is concentrated in a few throats; followed as it is it would flip those voxels and reach no further.
    """
    g = gradient.clamp(min=0)[None, None]
    for axis in range(3):
        kernel = gradient.new_tensor([0.25, 0.5, 0.25]).view([1, 1] + [3 if a == axis else 1 for a in range(3)])
        padding = [1 if a == axis else 0 for a in range(3)]
        g = F.conv3d(g, kernel, padding=padding)
    root = g[0, 0].sqrt()
    band = p * (1 - p)
    scale = ((band * root.square()).sum() / band.sum().clamp(min=1e-12)).sqrt().clamp(min=1e-12)
    return root / scale


def _logits(probabilities: Tensor) -> Tensor:
    """Log-probabilities, kept finite. Probabilities below 1e-4 all mean: certainly not this phase."""
    return probabilities.clamp(min=1e-4).log()


def fraction_goals(targets: Sequence[Target], phases: Sequence[str]) -> Mapping[int, float]:
    """Goals of the fraction targets by phase index."""
    return {phases.index(t.metric.phase): t.goal for t in targets if t.metric.name == "fraction"}
