"""What guidance can steer: the value of a metric on a hard volume, its gradient by the phases, and where to move.

One object per target and volume, which keeps what makes its next evaluation cheap (potentials, displacements).

Shapes: `K` phases, `D H W` voxels.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from engine.descriptors.chords import soft_mean_chord
from engine.descriptors.euler import soft_euler_number_density
from engine.descriptors.surface import soft_crossings, soft_surface_area
from engine.descriptors.triple_phase import soft_tpb_density
from engine.errors import InputError
from engine.guidance.curves import Curve, lineal_path_curve, lineal_path_slope, s2_curve, s2_slope
from engine.guidance.moves import Evaluation, Move, Steered, centred, follow, scaled, smooth, spread
from engine.metrics import AXES, Metric
from engine.properties.elasticity import homogenize
from engine.properties.stiffness import modulus, poissons_ratio, uniaxial_strain, voigt_component
from engine.properties.transport import solve, solve_with_gradient, value_and_gradient

if TYPE_CHECKING:
    from engine.properties.materials import Materials
    from engine.properties.own import OwnProperty

CONTRAST = 1e-3  # conductivity of the insulator in the gradient solve
NEARLY = 1.5  # tolerances from the goal within which only the insulated value counts


def steered(
    metric: Metric,
    phases: Sequence[str],
    materials: "Materials | None" = None,
    training: Mapping[str, Sequence[float]] | None = None,
    periodic: bool = False,
    properties: "Sequence[OwnProperty]" = (),
) -> Steered:
    """The steering of a metric.

    Args:
        metric: what is asked for.
        phases: K names.
        materials: what they are made of.
        training: curves of the training data such as `s2[pore]`, at 0, 1, 2, ... voxels.
        periodic: the volume goes on beyond its border.

    Raises:
        InputError: it has no gradient, or lacks the phases' materials or the training's curve.
    """
    if metric.name not in STEERED:
        raise InputError(f"target on {metric}: has no gradient to follow; those that have: {', '.join(STEERED)}")
    return STEERED[metric.name](
        _Asked(
            metric=metric,
            phases=phases,
            materials=materials,
            training=training,
            periodic=periodic,
            properties=properties,
        )
    )


@dataclass(frozen=True, kw_only=True)
class _Asked:
    """A metric with all that may be needed to steer it."""

    metric: Metric
    phases: Sequence[str]
    materials: "Materials | None"
    training: Mapping[str, Sequence[float]] | None
    periodic: bool
    properties: "Sequence[OwnProperty]"

    @property
    def phase(self) -> int:
        return self.phases.index(self.metric.phase or "")

    @property
    def axes(self) -> tuple[int, ...]:
        """The one axis, or all that a mean is taken of."""
        return tuple(AXES.index(each) for each in self.directions)

    @property
    def directions(self) -> tuple[str, ...]:
        """The one axis, plane or pair, or all that a mean is taken of, by name."""
        return tuple(part.axis or "" for part in self.metric.along())

    def stiffness(self) -> Tensor:
        """[K, 6, 6] of the phases."""
        return self.needed_materials().stiffnesses(self.phases)

    def needed_materials(self) -> "Materials":
        if self.materials is None:
            raise InputError(
                f"target on {self.metric}: needs the phases' materials; give a materials file (--materials FILE.yaml)"
            )
        return self.materials

    def needed_function(self) -> "OwnProperty":
        for own in self.properties:
            if own.metric == self.metric:
                return own
        raise InputError(
            f"target on {self.metric}: no function of this name is given; give --property "
            f"{self.metric.phase}=MODULE:FUNCTION"
        )

    def needed_curve(self) -> Sequence[float]:
        name = f"{self.metric.name.removesuffix('_discrepancy')}[{self.metric.phase}]"
        curve = (self.training or {}).get(name)
        if curve is None:
            raise InputError(
                f"target on {self.metric}: the bundle's card holds no {name} of its training; train the bundle again"
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
        direction[self._phase] = spread(leaking.gradient[0], soft[self._phase], self._periodic)
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
        direction = follow(gradient, soft, self._periodic)
        return Evaluation(value=value, moves=(Move(gradient=gradient, direction=direction),))


class Mean:
    """Mean of the axes."""

    def __init__(self, parts: Sequence[Steered]) -> None:
        self._parts = parts
        self.logarithmic = parts[0].logarithmic

    def __call__(self, hard: Tensor, soft: Tensor, miss: Callable[[float], float]) -> Evaluation:
        # Near the goal each: whether their mean is can only be told from exact values.
        found = [part(hard, soft, lambda _: 0.0) for part in self._parts]
        moves = [move for each in found for move in each.moves]
        gradient = torch.stack([move.gradient for move in moves]).mean(dim=0)
        direction = torch.stack([move.direction for move in moves]).mean(dim=0)
        value = sum(each.value for each in found) / len(found)
        return Evaluation(value=value, moves=(Move(gradient=gradient, direction=direction),))


class Modulus:
    """Young's modulus along an axis, shear modulus in a plane, or the mean of some, by the exact adjoint of the volume
    as a periodic cell.

    Args:
        stiffness: [K, 6, 6] of the phases.
        directions: such as `z` or `xy`.
    """

    logarithmic = True

    def __init__(self, stiffness: Tensor, directions: Sequence[str], *, periodic: bool = False) -> None:
        self._table, self._periodic = stiffness, periodic
        self._components = [voigt_component(each) for each in directions]
        self._fields: Tensor | None = None

    def __call__(self, hard: Tensor, soft: Tensor, miss: Callable[[float], float]) -> Evaluation:
        cell = homogenize(hard.unsqueeze(0).float(), self._table, start=self._fields, tolerance=1e-3)
        self._fields = cell.displacements
        # A modulus is the least energy under this strain: stationary in the strain's other components.
        strains = [uniaxial_strain(cell.stiffness[0], each) for each in self._components]
        weights = torch.stack([torch.outer(strain, strain) for strain in strains]).mean(dim=0)
        gradient = cell.stiffness_gradient(weights.unsqueeze(0))[0].to(soft)
        value = sum(modulus(cell.stiffness[0], each) for each in self._components) / len(strains)
        direction = follow(gradient, soft, self._periodic)
        return Evaluation(value=value, moves=(Move(gradient=gradient, direction=direction),))


class Poisson:
    """Poisson's ratio of a pair of axes, or the mean of some, by the exact adjoint of the volume as a periodic cell.

    Args:
        stiffness: [K, 6, 6] of the phases.
        pairs: such as `xy`.
    """

    logarithmic = False  # it can have either sign

    def __init__(self, stiffness: Tensor, pairs: Sequence[str], *, periodic: bool = False) -> None:
        self._table, self._pairs, self._periodic = stiffness, pairs, periodic
        self._fields: Tensor | None = None

    def __call__(self, hard: Tensor, soft: Tensor, miss: Callable[[float], float]) -> Evaluation:
        cell = homogenize(hard.unsqueeze(0).float(), self._table, start=self._fields, tolerance=1e-3)
        self._fields = cell.displacements
        found = [poissons_ratio(cell.stiffness[0], pair, self._table) for pair in self._pairs]
        known = [each for each in found if each is not None]
        if len(known) < len(found):  # it has no value where an axis carries nothing
            nothing = torch.zeros_like(soft)
            return Evaluation(value=math.nan, moves=(Move(gradient=nothing, direction=nothing),))
        weights = torch.stack([each.gradient for each in known]).mean(dim=0)
        gradient = cell.stiffness_gradient(weights.unsqueeze(0))[0].to(soft)
        value = sum(each.value for each in known) / len(known)
        direction = follow(gradient, soft, self._periodic)
        return Evaluation(value=value, moves=(Move(gradient=gradient, direction=direction),))


class Expansion:
    """Thermal expansion along an axis or its mean, the volume as a periodic cell, by its exact adjoint."""

    logarithmic = False  # it can have either sign

    def __init__(self, stiffness: Tensor, expansion: Tensor, *axes: int, periodic: bool = False) -> None:
        self._stiffness, self._expansion, self._periodic = stiffness, expansion, periodic
        self._weights = torch.zeros(1, 6, dtype=torch.float64)
        self._weights[0, [2 - axis for axis in axes]] = 1 / len(axes)  # x, y, z
        self._fields: Tensor | None = None

    def __call__(self, hard: Tensor, soft: Tensor, miss: Callable[[float], float]) -> Evaluation:
        cell = homogenize(
            hard.unsqueeze(0).float(), self._stiffness, self._expansion, start=self._fields, tolerance=1e-3
        )
        self._fields = cell.displacements
        assert cell.expansion is not None
        value = float((self._weights * cell.expansion).sum())  # NaN where nothing hangs together
        gradient = (
            cell.expansion_gradient(self._weights)[0].to(soft) if math.isfinite(value) else torch.zeros_like(soft)
        )
        direction = follow(gradient, soft, self._periodic)
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
        calm = torch.stack([smooth(each, self._periodic, times=2) for each in centred(gradient, soft)])
        return Evaluation(value=float(value.detach()), moves=(Move(gradient=gradient, direction=scaled(calm, soft)),))


class SignedDescriptor(Descriptor):
    """One that can have either sign, so that it has no logarithm."""

    logarithmic = False


class MeanChord(Descriptor):
    """Mean chord of a phase along an axis. Where it is infinite, or 0, it has no gradient: there it is followed as if
    the volume had one interface more."""

    def __init__(self, phase: int, axis: int, *, periodic: bool = False) -> None:
        super().__init__(lambda soft: self._chord(soft[phase], axis), periodic=periodic)

    def _chord(self, mask: Tensor, axis: int) -> Tensor:
        chord = soft_mean_chord(mask, periodic=self._periodic)[axis]
        if bool(chord.isfinite()) and float(chord.detach()) > 0:
            return chord
        per_step = soft_crossings(mask, periodic=self._periodic)[axis]
        lifted = 2 * mask.mean() / (per_step + 1 / mask.shape[axis])
        return lifted - lifted.detach() + chord.detach()


def _along(asked: _Asked, one: Callable[[int], Steered]) -> Steered:
    """Of the axis that is asked for, or the mean of all."""
    parts = [one(axis) for axis in asked.axes]
    return parts[0] if len(parts) == 1 else Mean(parts)


def _diffusivity(asked: _Asked) -> Steered:
    return _along(asked, lambda axis: Diffusivity(asked.phase, axis, periodic=asked.periodic))


def _conductivity(asked: _Asked) -> Steered:
    table = asked.needed_materials().conductivities(asked.phases)
    return _along(asked, lambda axis: Conductivity(table[:, axis], axis, periodic=asked.periodic))


def _expansion(asked: _Asked) -> Steered:
    expansion = asked.needed_materials().expansions(asked.phases)
    return Expansion(asked.stiffness(), expansion, *asked.axes, periodic=asked.periodic)


STEERED: dict[str, Callable[[_Asked], Steered]] = {
    "fraction": lambda asked: Fraction(asked.phase),
    "diffusivity": _diffusivity,
    "multigrid_diffusivity": _diffusivity,
    "surface_area": lambda asked: Descriptor(
        lambda soft: soft_surface_area(soft[asked.phase], periodic=asked.periodic), periodic=asked.periodic
    ),
    "mean_chord": lambda asked: _along(asked, lambda axis: MeanChord(asked.phase, axis, periodic=asked.periodic)),
    "euler_number_density": lambda asked: SignedDescriptor(
        lambda soft: soft_euler_number_density(soft[asked.phase], periodic=asked.periodic), periodic=asked.periodic
    ),
    "tpb_density": lambda asked: Descriptor(
        lambda soft: soft_tpb_density(soft.unsqueeze(0), periodic=asked.periodic)[0], periodic=asked.periodic
    ),
    "s2_discrepancy": lambda asked: Curve(
        asked.phase, asked.needed_curve(), s2_curve, s2_slope, periodic=asked.periodic
    ),
    "lineal_path_discrepancy": lambda asked: Curve(
        asked.phase, asked.needed_curve(), lineal_path_curve, lineal_path_slope, periodic=asked.periodic
    ),
    "conductivity": _conductivity,
    "elastic_modulus_gpa": lambda asked: Modulus(asked.stiffness(), asked.directions, periodic=asked.periodic),
    "shear_modulus_gpa": lambda asked: Modulus(asked.stiffness(), asked.directions, periodic=asked.periodic),
    "poissons_ratio": lambda asked: Poisson(asked.stiffness(), asked.directions, periodic=asked.periodic),
    "thermal_expansion": _expansion,
    "property": lambda asked: SignedDescriptor(asked.needed_function(), periodic=asked.periodic),
}
"""Metrics whose exact gradient guidance follows. All others that the engine measures are met by selection."""
