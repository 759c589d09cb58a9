"""`sds-slices`: guidance as MicroLad publishes it, slice by slice with losses of slices, for comparison.

    repeat: draw an axis and a slice of the volume; encode it; one step of a fresh Adam on

        L_SDS + sum_M w_M |M(decoded slice) - M*|^2

    along the pseudo-gradient of score distillation and the derivative of the losses through the decoder; decode
    it back.

Before and after, some rounds in which every slice of each axis is encoded and decoded and the three axes are averaged.
Terms and numbers are those of the released code; the facts were read there, the code is ours. Where we depart:

- Score distillation has the sign of its theory and kappa as weight. The released code descends along eps - eps_theta.
- Phases are categories: moments, correlations and surfaces are those of each target's phase, not of a grey channel.
- Correlations are unbiased (the code wraps around the border), and the surface is counted in the unit of the target.
- A slice's diffusivity is that of our solver, in an insulator of 1e-3 of the phase's conductivity as in the code.
  Slices across the axis of the flux do not hold it and are left alone by that term.
- A one-sided target pushes only while it does not hold.

What is asked of the volume is asked of every slice: that is the method. A slice's diffusivity is far below that of the
volume.

Shapes: `K` phases, `C` latent channels, `H W` pixels, `h w` latent pixels, `D H W` voxels.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from engine.descriptors.surface import soft_surface_area
from engine.descriptors.two_point import radial_s2
from engine.errors import InputError
from engine.guidance.choices import SliceNumbers
from engine.guidance.distillation import distillation_gradient
from engine.guidance.newton import one_hot
from engine.guidance.steering import CONTRAST, steered
from engine.guidance.targets import Target
from engine.guidance.terms import relative_miss
from engine.guidance.volume import Guided
from engine.metrics import AXES
from engine.outcomes import DesignOutcome
from engine.properties.transport import solve_with_gradient
from engine.sampling.multiplane import Noise, PlaneDenoiser
from engine.sampling.refine import Codec, refine
from engine.sampling.schedules import Schedule

TIMES = (200, 500)
"""Trained times (of 1,000) at which a slice is noised, as published."""
_LAGS = 32  # pixels up to which correlations are compared


class TrainableCodec(Codec, Protocol):
    """A codec that knows the derivative of its decoder."""

    def decode_pullback(self, latents: Tensor, cotangents: Tensor) -> Tensor:
        """Derivatives of sum(cotangent * decode(latents)) by the latents.

        Args: latents [P, C, h, w], cotangents [T, P, K, H, W]. Returns: [T, P, C, h, w].
        """
        ...


Term = Callable[[Tensor, int], Tensor]
"""(probabilities [K, H, W] of a slice, axis that it is across) -> weighted loss, a number with a derivative."""


def check_slice_targets(targets: Sequence[Target]) -> None:
    """Raise InputError for a target that no loss of slices is published for."""
    for target in targets:
        if target.metric.name not in _LOSSES or target.metric.is_mean or target.extreme:
            raise InputError(
                f"target on {target.metric}: guidance sds-slices has losses on fraction, s2, surface_area and "
                "diffusivity along an axis alone, as published; use guidance volume"
            )


def guide_slices(
    probabilities: Tensor,
    targets: Sequence[Target],
    phases: Sequence[str],
    codec: TrainableCodec,
    denoise: PlaneDenoiser,
    schedule: Schedule,
    noise: Noise,
    numbers: SliceNumbers | None = None,
    training: Mapping[str, Sequence[float]] | None = None,
    on_step: Callable[[int, int], None] | None = None,
    whole: Codec | None = None,
) -> Guided:
    """Guide one volume by its slices.

    Args:
        probabilities: [K, D, H, W] sampled volume.
        targets: at least one.
        phases: K names.
        codec, denoise, schedule: of the bundle, called with single planes but for the rounds.
        whole: the codec for the rounds, which take all planes at once; None takes `codec`.
        noise: the volume's stream.
        numbers: as published where None.
        training: curves of the training data such as `s2[pore]`, for targets on them.

    Returns:
        The volume, ATTAINED where every target holds on its hard voxels in 3D, which the procedure itself does not
        look at. The trace has the 3D values before the first slice and at the end.
    """
    numbers = numbers or SliceNumbers()
    check_slice_targets(targets)
    terms = [_LOSSES[target.metric.name](target, phases, numbers, training) for target in targets]
    steering = [steered(target.metric, phases, training=training) for target in targets]

    def values(volume: Tensor) -> list[float]:
        hard = one_hot(volume.argmax(dim=0), len(phases))
        return [each(hard, volume, lambda _: 0.0).value for each in steering]

    def tidied(volume: Tensor) -> Tensor:
        return refine(volume.unsqueeze(0), whole or codec, denoise, [1.0] * numbers.rounds, noise)[0]

    current = tidied(probabilities.clone())
    trace = [_entry(0, targets, values(current))]
    for step in range(numbers.steps):
        [axis], [time] = noise.integers(0, 3), noise.integers(*TIMES)
        [index] = noise.integers(0, current.shape[1 + axis])
        abar = schedule.abar_at(time * schedule.timesteps / 1_000)
        latents = codec.encode(current.select(1 + axis, index).unsqueeze(0))
        estimate = partial(denoise, abar=abar, axis=axis)
        prior = distillation_gradient(latents, noise(latents.shape[1:]), estimate, abar)
        gradient = prior / latents.numel()  # the mean over the latents, as in the code
        cotangent = _cotangent(codec.decode(latents)[0], terms, axis)
        gradient = gradient + codec.decode_pullback(latents, cotangent[None, None])[0]
        # The first step of Adam (Kingma and Ba 2015), whose moments are new for every slice: the rate alone counts.
        moved = latents - numbers.rate * gradient / (gradient.abs() + 1e-8)
        current.select(1 + axis, index).copy_(codec.decode(moved)[0])
        if on_step is not None:
            on_step(step + 1, numbers.steps)
    current = tidied(current)
    found = values(current)
    trace.append(_entry(numbers.steps, targets, found))
    held = all(relative_miss(target, value) <= 1 for target, value in zip(targets, found, strict=True))
    return Guided(
        probabilities=current,
        outcome=DesignOutcome.ATTAINED if held else DesignOutcome.MISSED,
        trace=tuple(trace),
    )


def _entry(step: int, targets: Sequence[Target], values: Sequence[float]) -> dict[str, float]:
    return {"iteration": float(step)} | {str(t.metric): v for t, v in zip(targets, values, strict=True)}


@torch.enable_grad()
def _cotangent(plane: Tensor, terms: Sequence[Term], axis: int) -> Tensor:
    """Derivative of the summed losses by the probabilities [K, H, W] of a slice."""
    leaf = plane.detach().clone().requires_grad_(True)
    total = sum((term(leaf, axis) for term in terms), start=leaf.new_zeros(()))
    if not total.requires_grad:  # no term has anything to say about this slice
        return torch.zeros_like(plane)
    [gradient] = torch.autograd.grad(total, leaf)
    return gradient


def straight_through(plane: Tensor, phase: int) -> Tensor:
    """The hard mask [H, W] of a phase, with the derivative of its probability."""
    soft = plane[phase]
    return (plane.argmax(dim=0) == phase).to(soft) - soft.detach() + soft


def _short(target: Target, value: Tensor) -> Tensor:
    """What is missing to the goal; 0 where a one-sided target holds."""
    if (math.isinf(target.low) or math.isinf(target.high)) and target.miss(float(value.detach())) == 0:
        return 0 * value
    return value - target.goal


def _fraction(target: Target, phases: Sequence[str], numbers: SliceNumbers, _: object) -> Term:
    phase = phases.index(target.metric.phase or "")

    def loss(plane: Tensor, axis: int) -> Tensor:
        first, second = plane[phase].mean(), plane[phase].square().mean()  # equal where every pixel is decided
        return numbers.fraction * (_short(target, first).square() + _short(target, second).square())

    return loss


def _surface_area(target: Target, phases: Sequence[str], numbers: SliceNumbers, _: object) -> Term:
    phase = phases.index(target.metric.phase or "")

    def loss(plane: Tensor, axis: int) -> Tensor:
        area = soft_surface_area(straight_through(plane, phase), space_dims=2)
        return numbers.surface_area * _short(target, area).square()

    return loss


def _correlation(
    target: Target, phases: Sequence[str], numbers: SliceNumbers, training: Mapping[str, Sequence[float]] | None
) -> Term:
    phase, curve = phases.index(target.metric.phase or ""), (training or {})[f"s2[{target.metric.phase}]"]

    def loss(plane: Tensor, axis: int) -> Tensor:
        lags = min(len(curve), _LAGS, *plane.shape[1:])
        found = radial_s2(straight_through(plane, phase), lags, space_dims=2)
        wanted = np.interp(shell_distances(lags), np.arange(len(curve)), curve)
        return numbers.s2 * (found - found.new_tensor(wanted)).square().mean()

    return loss


def shell_distances(lags: int) -> list[float]:
    """Mean distance of the pixel pairs whose distance rounds to 0, 1, ..., where the plane is large."""
    y, x = np.mgrid[-lags : lags + 1, -lags : lags + 1]
    distance = np.hypot(y, x)
    return [float(distance[distance.round() == lag].mean()) for lag in range(lags)]


def _diffusivity(target: Target, phases: Sequence[str], numbers: SliceNumbers, _: object) -> Term:
    phase, along = phases.index(target.metric.phase or ""), AXES.index(target.metric.axis or "")

    def loss(plane: Tensor, axis: int) -> Tensor:
        if axis == along:
            return plane.new_zeros(())
        inside = [other for other in range(3) if other != axis].index(along)
        soft = plane[phase]
        # A slice is a volume of one layer; its exact gradient comes with the value.
        solved = solve_with_gradient(soft.detach()[None, None].clamp(0, 1), 1 + inside, contrast=CONTRAST)
        linear = (solved.gradient[0, 0] * (soft - soft.detach())).sum()
        return numbers.diffusivity * _short(target, solved.value[0] + linear).square()

    return loss


_Loss = Callable[[Target, Sequence[str], SliceNumbers, Mapping[str, Sequence[float]] | None], Term]
_LOSSES: dict[str, _Loss] = {
    "fraction": _fraction,
    "surface_area": _surface_area,
    "s2_discrepancy": _correlation,
    "diffusivity": _diffusivity,
}
"""Metrics that a loss of slices is published for."""
