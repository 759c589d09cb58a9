"""`volume-sds`: guidance by score distillation on the latent volume, the terms balanced by normalised gradients.

Each iteration, through the planes of one axis, the three axes in turn:

    p        = mean of the three axes' decodes, of which this axis' is new
    g_target = derivative of each target's metric through this axis' decoder, signed towards the goal
    g_prior  = score distillation, with the spectrally corrected clean estimate of a volume
    z       <- Adam(z, PRIOR unit(g_prior) + sum push unit(g_target))

`unit` divides by the norm, so that no term needs a weight; `push` is 0 within the tolerance and grows to 1 at FAR
tolerances. The prior pushes always. (MicroLad weighs its terms by hand.)

What is delivered is the decoded volume after refinement, which moves the values a little. So when the targets hold, the
volume is decoded, refined and measured; if they no longer hold, what refinement changed is added to every value from
there on, and the iteration goes on.

Shapes: `B` volumes, `C` latent channels, `K` phases, `T` targets, `P` planes, `d h w` latent space, `D H W` voxels.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from engine.guidance.distillation import distillation_gradient
from engine.guidance.moves import Evaluation, Steered
from engine.guidance.newton import one_hot
from engine.guidance.slices import TrainableCodec
from engine.guidance.steering import steered
from engine.guidance.targets import Target
from engine.guidance.terms import MARGIN, relative_miss
from engine.guidance.volume import LEAST_ROUNDS, Guided
from engine.outcomes import DesignOutcome
from engine.sampling.multiplane import ROLL, Noise, VolumeDenoiser, rolled
from engine.sampling.planes import to_planes, to_volume
from engine.sampling.refine import MARGIN as WIDER
from engine.sampling.refine import stretch
from engine.sampling.schedules import Schedule

if TYPE_CHECKING:
    from engine.properties.materials import Materials
    from engine.properties.own import OwnProperty

RATE = 0.03  # of Adam, in standard deviations of the latents
PRIOR = 0.5  # share of the prior's direction
FAR = 5.0  # tolerances from the goal at which a target pushes with all its share
TIMES = (50, 300)  # trained times (of 1,000) between which the prior looks
GOLDEN = (math.sqrt(5) - 1) / 2  # its multiples fill an interval evenly, however many there are
CHECKS = 3  # iterations between two looks at the refined volume

Finish = Callable[[Tensor, int], Tensor]
"""Refinement: (probabilities [1, K, D, H, W], which of the B volumes it is) -> the same, refined."""


@dataclass
class _Member:
    """State of one volume on its way."""

    latents: Tensor  # [C, d, h, w], moved in place by
    optimizer: torch.optim.Adam
    targets: tuple[Target, ...]
    steering: tuple[Steered, ...]
    axes: list[Tensor] = field(default_factory=list)  # [K, D, H, W]: last decode along each axis
    found: list[Evaluation] = field(default_factory=list)  # on the mean of these
    shifts: list[float] = field(default_factory=list)  # what refinement adds to each value (to its logarithm)
    checked: int = -CHECKS  # iteration of the last look at the refined volume
    trace: list[dict[str, float]] = field(default_factory=list)
    best: Tensor | None = None  # [K, D, H, W] refined
    best_miss: float = math.inf
    done: bool = False


def push(miss: float) -> float:
    """How strongly a target pushes, by its distance from the goal in tolerances: not at all within them."""
    return 0.0 if miss <= MARGIN else min(1.0, miss / FAR)


@torch.no_grad()
def guide_latents(
    latents: Tensor,
    targets: Sequence[Sequence[Target]],
    phases: Sequence[str],
    codec: TrainableCodec,
    estimate: VolumeDenoiser,
    schedule: Schedule,
    noise: Noise,
    finish: Finish,
    max_iterations: int,
    *,
    correlations: Tensor | None = None,
    on_step: Callable[[int, int], None] | None = None,
    materials: "Sequence[Materials | None]" = (),
    training: Mapping[str, Sequence[float]] | None = None,
    properties: "Sequence[Sequence[OwnProperty]]" = (),
) -> list[Guided]:
    """Guide volumes to their targets by moving their latents.

    Args:
        latents: [B, C, d, h, w] sampled.
        targets: of each volume, at least one.
        phases: K names.
        codec: with the derivative of its decoder.
        estimate: clean estimate of noisy latent volumes.
        schedule: of the noise.
        noise: one stream per volume.
        finish: refinement of the decoded volume.
        max_iterations: a volume that has not met its targets then is MISSED, its best state kept.
        correlations: as for `stretch`.
        materials: of each volume's phases, for the targets that need them.
        training: curves of the training data, for targets on them.
        properties: of the user's own, for each volume.
    """
    made_of, own = materials or [None] * len(targets), properties or [()] * len(targets)
    members = []
    for z, wanted, material, functions in zip(latents, targets, made_of, own, strict=True):
        moved = z.clone()
        members.append(
            _Member(
                latents=moved,
                optimizer=torch.optim.Adam([moved], lr=RATE),
                targets=tuple(wanted),
                steering=tuple(steered(each.metric, phases, material, training, False, functions) for each in wanted),
                shifts=[0.0] * len(wanted),
            )
        )
    for axis in range(3):
        found = _decoded(_planes(latents, axis, codec, correlations), axis, codec, len(members))
        for member, decoded in zip(members, found, strict=True):
            member.axes.append(decoded)
    for iteration in range(max_iterations):
        for i, member in enumerate(members):
            if not member.done and _seems_to_hold(member, iteration):
                _look(member, i, codec, correlations, finish)
                member.checked = iteration
        active = [i for i, member in enumerate(members) if not member.done]
        if not active:
            break
        _step([members[i] for i in active], active, iteration, codec, estimate, schedule, noise, correlations)
        if on_step is not None:
            on_step(iteration + 1, max_iterations)
    for i, member in enumerate(members):
        if not member.done:
            _look(member, i, codec, correlations, finish)
    return [_guided(member) for member in members]


def _seems_to_hold(member: _Member, iteration: int) -> bool:
    """Measure a member's decoded volume. True if its targets hold there and it is time to look at the refined one."""
    member.found = _evaluate(member, _mean(member))
    values = [_shifted(member, j, each.value) for j, each in enumerate(member.found)]
    named = zip(member.targets, values, strict=True)
    member.trace.append(
        {"iteration": float(iteration)} | {str(target.metric): value for target, value in named if math.isfinite(value)}
    )
    due = iteration >= LEAST_ROUNDS and iteration - member.checked >= CHECKS
    return due and max(map(relative_miss, member.targets, values)) <= MARGIN


def _look(member: _Member, index: int, codec: TrainableCodec, correlations: Tensor | None, finish: Finish) -> None:
    """Decode a member along all axes, refine and measure it: done where its targets hold."""
    z = member.latents.unsqueeze(0)
    member.axes = [_decoded(_planes(z, axis, codec, correlations), axis, codec, 1)[0] for axis in range(3)]
    decoded = _mean(member)
    refined = finish(decoded.unsqueeze(0), index)[0]
    member.found, after = _evaluate(member, decoded), _evaluate(member, refined)
    worst = max(relative_miss(target, each.value) for target, each in zip(member.targets, after, strict=True))
    if member.best is None or worst <= member.best_miss:
        member.best, member.best_miss = refined, worst
    member.done = worst <= MARGIN
    for j, (one, other) in enumerate(zip(member.found, after, strict=True)):
        if math.isfinite(one.value) and math.isfinite(other.value):
            member.shifts[j] = _scaled(member, j, other.value) - _scaled(member, j, one.value)


def _step(
    members: Sequence[_Member],
    which: Sequence[int],
    iteration: int,
    codec: TrainableCodec,
    estimate: VolumeDenoiser,
    schedule: Schedule,
    noise: Noise,
    correlations: Tensor | None,
) -> None:
    """Move the latents of all members once, then decode along this axis where they are now."""
    axis = iteration % 3
    with torch.enable_grad():
        leaf = torch.stack([member.latents for member in members]).requires_grad_(True)
        planes = _planes(leaf, axis, codec, correlations)
    directions, pushes = _asked(members)
    pulls = _pull(directions, planes, leaf, axis, codec)
    time = TIMES[0] + (TIMES[1] - TIMES[0]) * (iteration * GOLDEN % 1)
    abar = schedule.abar_at(time * schedule.timesteps / 1_000)
    z = leaf.detach()
    cut = [iteration * latent_pixels for latent_pixels in ROLL]  # the planes' borders lie elsewhere each time
    clean = partial(rolled(estimate, [cut] * len(members)), axis=axis, abar=abar)
    prior = distillation_gradient(z, noise.select(which)(z.shape[1:]), clean, abar)
    for i, member in enumerate(members):
        gradient = PRIOR * _unit(prior[i])
        for pull, strengths in zip(pulls, pushes, strict=True):
            gradient = gradient - strengths[i] * _unit(pull[i])
        if bool(gradient.isfinite().all()):
            member.latents.grad = gradient
            member.optimizer.step()
    moved = torch.stack([member.latents for member in members])
    found = _decoded(_planes(moved, axis, codec, correlations), axis, codec, len(members))
    for member, decoded in zip(members, found, strict=True):
        member.axes[axis] = decoded


def _asked(members: Sequence[_Member]) -> tuple[list[Tensor], list[list[float]]]:
    """Of each target, up to the largest number that a member has: the direction in which the probabilities should
    move, [B, K, D, H, W], and how strongly it pushes in each member."""
    most, shape = max(len(member.targets) for member in members), members[0].axes[0].shape
    directions = [members[0].axes[0].new_zeros(len(members), *shape) for _ in range(most)]
    pushes = [[0.0] * len(members) for _ in range(most)]
    for i, member in enumerate(members):
        for j, (target, each) in enumerate(zip(member.targets, member.found, strict=True)):
            value = _shifted(member, j, each.value)
            pushes[j][i] = push(relative_miss(target, value))
            for move in each.moves:
                missing = _towards(target, value) if move.missing is None else move.missing
                directions[j][i] += missing * move.gradient
    return directions, pushes


def _pull(cotangents: Sequence[Tensor], planes: Tensor, leaf: Tensor, axis: int, codec: TrainableCodec) -> list[Tensor]:
    """The directions of the probabilities carried through the decoder of one axis: [B, C, d, h, w] each."""
    margin = WIDER * codec.factor
    wide = torch.stack([F.pad(to_planes(each, axis), (margin,) * 4) for each in cotangents])
    back = codec.decode_pullback(planes.detach(), wide)
    return [torch.autograd.grad(planes, leaf, each, retain_graph=True)[0] for each in back]


def _evaluate(member: _Member, soft: Tensor) -> list[Evaluation]:
    """Every target's metric on the hard volume of probabilities [K, D, H, W]."""
    hard = one_hot(soft.argmax(dim=0), len(soft))

    def miss(j: int, value: float) -> float:
        return relative_miss(member.targets[j], _shifted(member, j, value))

    return [steering(hard, soft, partial(miss, j)) for j, steering in enumerate(member.steering)]


def _shifted(member: _Member, j: int, value: float) -> float:
    """A value of the decoded volume as refinement will change it."""
    scaled = _scaled(member, j, value) + member.shifts[j]
    return math.exp(scaled) if _logarithmic(member, j) else scaled


def _scaled(member: _Member, j: int, value: float) -> float:
    return math.log(max(value, 1e-12)) if _logarithmic(member, j) else value


def _logarithmic(member: _Member, j: int) -> bool:
    return member.steering[j].logarithmic and member.targets[j].goal > 0


def _towards(target: Target, value: float) -> float:
    """1 where the metric is to rise, else -1; a target with one limit is aimed at from inside."""
    if math.isinf(target.low) or math.isinf(target.high):
        return 1.0 if math.isinf(target.high) else -1.0
    return math.copysign(1.0, target.goal - value)


def _mean(member: _Member) -> Tensor:
    first, second, third = member.axes
    return (first + second + third) / 3


def _unit(gradient: Tensor) -> Tensor:
    length: Tensor = gradient.norm()
    return gradient / length.clamp(min=1e-30)


def _planes(latents: Tensor, axis: int, codec: TrainableCodec, correlations: Tensor | None) -> Tensor:
    """Planes across an axis as `decode_volume` decodes them, with a margin of the other side: [B*n, C, h', w']."""
    along = correlations[:, axis] if correlations is not None and correlations.ndim == 2 else correlations
    return F.pad(to_planes(stretch(latents, axis, codec.factor, along), axis), (WIDER,) * 4, mode="circular")


def _decoded(planes: Tensor, axis: int, codec: TrainableCodec, volumes: int) -> Tensor:
    """[B*n, C, h', w'] -> probabilities [B, K, D, H, W] of this axis alone."""
    cut = slice(WIDER * codec.factor, -WIDER * codec.factor)
    return to_volume(codec.decode(planes)[..., cut, cut], axis, volumes)


def _guided(member: _Member) -> Guided:
    assert member.best is not None  # looked at in the end at the latest
    outcome = DesignOutcome.ATTAINED if member.done else DesignOutcome.MISSED
    return Guided(probabilities=member.best, outcome=outcome, trace=tuple(member.trace))
