"""What guidance can steer: the value of a metric on a hard volume, its gradient by the phases, and where to move.

One object per target and volume, which keeps what makes its next evaluation cheap (potentials, displacements).

Shapes: `K` phases, `D H W` voxels.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from engine.descriptors.chords import soft_mean_chord
from engine.descriptors.discrepancy import relative_area
from engine.descriptors.surface import soft_surface_area
from engine.descriptors.triple_phase import soft_tpb_density
from engine.descriptors.two_point import directional_s2
from engine.errors import InputError
from engine.metrics import AXES, Metric
from engine.properties.elasticity import homogenize
from engine.properties.stiffness import uniaxial_strain, youngs_modulus
from engine.properties.transport import solve, solve_with_gradient, value_and_gradient

if TYPE_CHECKING:
    from engine.properties.materials import Materials

CONTRAST = 1e-3  # conductivity of the insulator in the gradient solve
NEARLY = 1.5  # tolerances from the goal within which only the insulated value counts
LAGS = (0, 1, 2, 3, 4, 6, 8, 10, 13, 16, 20, 25, 31)  # voxels at which S2 is moved; in between it is smooth


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """A metric of one volume."""

    value: float
    """On the hard volume."""
    moves: "tuple[Move, ...]"
    """One for a number, one for each lag of a curve."""


@dataclass(frozen=True, kw_only=True)
class Move:
    """How a number can be changed."""

    gradient: Tensor
    """[K, D, H, W]: of the number by the phases' indicators."""
    direction: Tensor
    """[K, D, H, W]: in which the logits move to raise it."""
    missing: float | None = None
    """What it lacks; None where it is the metric itself, and the target says."""


class Steered(Protocol):
    """A metric of one volume on its way."""

    logarithmic: bool
    """Whether what is missing is measured in logarithms, as for what spans decades."""

    def __call__(self, hard: Tensor, soft: Tensor, miss: Callable[[float], float]) -> Evaluation:
        """Args:
        hard: [K, D, H, W] one-hot.
        soft: [K, D, H, W] probabilities.
        miss: of a value, its distance from the goal in tolerances.
        """
        ...


def steered(
    metric: Metric,
    phases: Sequence[str],
    materials: "Materials | None" = None,
    training: Mapping[str, Sequence[float]] | None = None,
    periodic: bool = False,
) -> Steered:
    """The steering of a metric.

    Args:
        metric: what is asked for.
        phases: K names.
        materials: what they are made of.
        training: S2 of the training data by phase, at 0, 1, 2, ... voxels.

    Raises:
        InputError: it can be measured but not steered, or lacks the phases' materials or the training's curve.
    """
    if metric.name not in STEERED:
        raise InputError(
            f"target on {metric}: {metric.name} can be measured but not asked for; targets may be on "
            f"{', '.join(STEERED)}"
        )
    return STEERED[metric.name](
        _Asked(metric=metric, phases=phases, materials=materials, training=training, periodic=periodic)
    )


@dataclass(frozen=True, kw_only=True)
class _Asked:
    """A metric with all that may be needed to steer it."""

    metric: Metric
    phases: Sequence[str]
    materials: "Materials | None"
    training: Mapping[str, Sequence[float]] | None
    periodic: bool

    @property
    def phase(self) -> int:
        return self.phases.index(self.metric.phase or "")

    @property
    def axis(self) -> int:
        return AXES.index(self.metric.axis or "")

    def needed_materials(self) -> "Materials":
        if self.materials is None:
            raise InputError(
                f"target on {self.metric}: needs the phases' materials; give a materials file (--materials FILE.yaml)"
            )
        return self.materials

    def needed_curve(self) -> Sequence[float]:
        curve = (self.training or {}).get(self.metric.phase or "")
        if curve is None:
            raise InputError(
                f"target on {self.metric}: the bundle's card holds no S2 of its training; train the bundle again"
            )
        return curve


@dataclass
class Fraction:
    """Volume fraction of a phase; all its voxels move alike."""

    phase: int
    logarithmic: bool = False

    def __call__(self, hard: Tensor, soft: Tensor, miss: Callable[[float], float]) -> Evaluation:
        gradient, direction = torch.zeros_like(soft), torch.zeros_like(soft)
        gradient[self.phase] = 1.0 / soft[0].numel()
        direction[self.phase] = 1.0
        move = Move(gradient=gradient, direction=direction)
        return Evaluation(value=float(hard[self.phase].mean()), moves=(move,))


class Diffusivity:
    """Relative diffusivity of a phase in an insulator, by its exact adjoint.

    The gradient is that of a slightly conducting insulator, so that it says where to open a pore; near the goal, and
    where the other says little, the value is that of the insulated solve.
    """

    logarithmic = True

    def __init__(self, phase: int, axis: int, *, periodic: bool = False) -> None:
        self._phase, self._axis, self._periodic = phase, axis, periodic
        self._field: Tensor | None = None
        self._leak = 0.0  # insulated value over leaking value

    def __call__(self, hard: Tensor, soft: Tensor, miss: Callable[[float], float]) -> Evaluation:
        mask = hard[self._phase].bool()
        leaking = solve_with_gradient(
            mask.unsqueeze(0), self._axis, contrast=CONTRAST, periodic=self._periodic, start=self._field
        )
        self._field = leaking.field
        value = float(leaking.value)
        estimate = value * self._leak
        if self._leak < 0.5 or miss(estimate) <= NEARLY:
            insulated = solve(
                mask.unsqueeze(0).float(), self._axis, periodic=self._periodic, start=self._field, tolerance=3e-4
            )
            estimate = float(insulated.value)
            self._leak = estimate / value
        gradient, direction = torch.zeros_like(soft), torch.zeros_like(soft)
        gradient[self._phase] = leaking.gradient[0]
        direction[self._phase] = _spread(leaking.gradient[0], soft[self._phase], self._periodic)
        return Evaluation(value=estimate, moves=(Move(gradient=gradient, direction=direction),))


class Conductivity:
    """Effective conductivity of all phases together, by its exact adjoint."""

    logarithmic = True

    def __init__(self, conductivities: Tensor, axis: int, *, periodic: bool = False) -> None:
        self._table, self._axis, self._periodic = conductivities.float(), axis, periodic
        self._field: Tensor | None = None

    def __call__(self, hard: Tensor, soft: Tensor, miss: Callable[[float], float]) -> Evaluation:
        table = self._table.to(soft)
        # A phase that insulates conducts a little, so that the gradient reaches into it.
        floor = CONTRAST * float(table.max())
        field = torch.einsum("kdhw,k->dhw", hard, table.clamp(min=floor)).unsqueeze(0)
        found = value_and_gradient(field, self._axis, periodic=self._periodic, start=self._field, tolerance=1e-3)
        self._field = found.field
        value = float(found.value)
        if bool((table < floor).any()):
            exact = torch.einsum("kdhw,k->dhw", hard, table).unsqueeze(0)
            insulated = solve(exact, self._axis, periodic=self._periodic, start=self._field, tolerance=3e-4)
            value = float(insulated.value)
        gradient = found.gradient[0] * table[:, None, None, None]
        direction = _follow(gradient, soft, self._periodic)
        return Evaluation(value=value, moves=(Move(gradient=gradient, direction=direction),))


class Modulus:
    """Young's modulus along an axis, the volume as a periodic cell, by its exact adjoint."""

    logarithmic = True

    def __init__(self, stiffness: Tensor, axis: int, *, periodic: bool = False) -> None:
        self._table, self._component, self._periodic = stiffness, 2 - axis, periodic  # x, y, z
        self._fields: Tensor | None = None

    def __call__(self, hard: Tensor, soft: Tensor, miss: Callable[[float], float]) -> Evaluation:
        cell = homogenize(hard.unsqueeze(0).float(), self._table, start=self._fields, tolerance=1e-3)
        self._fields = cell.displacements
        # The modulus is the least energy under this strain along the axis: stationary in the other strains.
        strain = uniaxial_strain(cell.stiffness[0], self._component)
        gradient = cell.stiffness_gradient(torch.outer(strain, strain).unsqueeze(0))[0].to(soft)
        value = youngs_modulus(cell.stiffness[0], self._component)
        direction = _follow(gradient, soft, self._periodic)
        return Evaluation(value=value, moves=(Move(gradient=gradient, direction=direction),))


class Descriptor:
    """Any differentiable number of the phases' indicators, such as a soft descriptor.

    Its gradient is smoothed before it is followed: on voxels, that of a surface points into the phase at every flat
    interface and is zero at a corner, and only over some neighbours does it know the one from the other.
    """

    logarithmic = True

    def __init__(self, number: Callable[[Tensor], Tensor], *, periodic: bool = False) -> None:
        self._number, self._periodic = number, periodic

    def __call__(self, hard: Tensor, soft: Tensor, miss: Callable[[float], float]) -> Evaluation:
        with torch.enable_grad():
            indicators = hard.detach().clone().requires_grad_(True)
            value = self._number(indicators)
            [gradient] = torch.autograd.grad(value, indicators)
        calm = torch.stack([_smoothed_twice(each, self._periodic) for each in _centred(gradient, soft)])
        return Evaluation(value=float(value), moves=(Move(gradient=gradient, direction=_scaled(calm, soft)),))


class Correlation:
    """S2 of a phase against a wanted curve: every lag moves by itself, the value is what is left between the curves."""

    logarithmic = False

    def __init__(self, phase: int, wanted: Sequence[float], *, periodic: bool = False) -> None:
        self._phase, self._wanted, self._periodic = phase, wanted, periodic

    def __call__(self, hard: Tensor, soft: Tensor, miss: Callable[[float], float]) -> Evaluation:
        mask = hard[self._phase]
        lags = min(len(self._wanted), *mask.shape)
        found = directional_s2(mask.bool(), lags, periodic=self._periodic).mean(dim=0).cpu().numpy()
        value = float(relative_area(found, np.array(self._wanted[:lags])))
        moves = []
        for lag in (lag for lag in LAGS if lag < lags):
            s2, slope = _pairs(mask, lag, self._periodic)
            gradient, direction = torch.zeros_like(soft), torch.zeros_like(soft)
            gradient[self._phase], direction[self._phase] = slope, _smoothed_twice(slope, self._periodic)
            missing = 0.0 if miss(value) == 0 else self._wanted[lag] - s2
            moves.append(Move(gradient=gradient, direction=_scaled(direction, soft), missing=missing))
        return Evaluation(value=value, moves=tuple(moves))


def _pairs(mask: Tensor, lag: int, periodic: bool = False) -> tuple[float, Tensor]:
    """S2 at one lag, mean of the axes, and its derivative by the mask [D, H, W]."""
    total, slope = 0.0, torch.zeros_like(mask)
    for axis in range(3):
        if periodic:
            far = mask.roll(-lag, axis)
            total += float((mask * far).mean()) / 3
            slope += (far + mask.roll(lag, axis)) / (3 * mask.numel())
            continue
        count = mask.shape[axis] - lag
        near, far = mask.narrow(axis, 0, count), mask.narrow(axis, lag, count)
        total += float((near * far).mean()) / 3
        slope.narrow(axis, 0, count).add_(far, alpha=1 / (3 * far.numel()))
        slope.narrow(axis, lag, count).add_(near, alpha=1 / (3 * far.numel()))
    return total, slope


def _spread(gradient: Tensor, p: Tensor, periodic: bool = False) -> Tensor:
    """A direction [D, H, W] that follows a transport gradient without its spikes: smoothed, square root taken.

    The gradient is concentrated in a few throats; followed as it is it would flip those voxels and reach no further.
    """
    root = _smooth(gradient.clamp(min=0), periodic).sqrt()
    band = p * (1 - p)
    scale = ((band * root.square()).sum() / band.sum().clamp(min=1e-12)).sqrt().clamp(min=1e-12)
    return root / scale


def _follow(gradient: Tensor, soft: Tensor, periodic: bool = False) -> Tensor:
    """The same for all phases together: [K, D, H, W], either sign."""
    centred = _centred(gradient, soft)
    calm = torch.stack([_smooth(each, periodic) for each in centred])
    return _scaled(calm.sign() * calm.abs().sqrt(), soft)


def _centred(gradient: Tensor, soft: Tensor) -> Tensor:
    """Less the mean over the phases: what all phases share moves nothing."""
    return gradient - (gradient * soft).sum(dim=0, keepdim=True)


def _scaled(direction: Tensor, soft: Tensor) -> Tensor:
    """To a mean square of one where voxels are undecided."""
    band = soft * (1 - soft)
    return direction / ((band * direction.square()).sum() / band.sum().clamp(min=1e-12)).sqrt().clamp(min=1e-20)


def _smoothed_twice(field: Tensor, periodic: bool) -> Tensor:
    return _smooth(_smooth(field, periodic), periodic)


def _smooth(field: Tensor, periodic: bool = False) -> Tensor:
    """[D, H, W] over its nearest neighbours."""
    if periodic:
        for axis in range(3):
            field = 0.5 * field + 0.25 * (field.roll(1, axis) + field.roll(-1, axis))
        return field
    out = field[None, None]
    for axis in range(3):
        kernel = field.new_tensor([0.25, 0.5, 0.25]).view([1, 1] + [3 if a == axis else 1 for a in range(3)])
        out = F.conv3d(out, kernel, padding=[1 if a == axis else 0 for a in range(3)])
    return out[0, 0]


STEERED: dict[str, Callable[[_Asked], Steered]] = {
    "fraction": lambda asked: Fraction(asked.phase),
    "diffusivity": lambda asked: Diffusivity(asked.phase, asked.axis, periodic=asked.periodic),
    "surface_area": lambda asked: Descriptor(
        lambda soft: soft_surface_area(soft[asked.phase], periodic=asked.periodic), periodic=asked.periodic
    ),
    "mean_chord": lambda asked: Descriptor(
        lambda soft: soft_mean_chord(soft[asked.phase], periodic=asked.periodic)[asked.axis], periodic=asked.periodic
    ),
    "tpb_density": lambda asked: Descriptor(
        lambda soft: soft_tpb_density(soft.unsqueeze(0), periodic=asked.periodic)[0], periodic=asked.periodic
    ),
    "s2_discrepancy": lambda asked: Correlation(asked.phase, asked.needed_curve(), periodic=asked.periodic),
    "conductivity": lambda asked: Conductivity(
        asked.needed_materials().conductivities(asked.phases)[:, asked.axis], asked.axis, periodic=asked.periodic
    ),
    "elastic_modulus_gpa": lambda asked: Modulus(
        asked.needed_materials().stiffnesses(asked.phases), asked.axis, periodic=asked.periodic
    ),
}
"""Metrics that can be asked for."""
