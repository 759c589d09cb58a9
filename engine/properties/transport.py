"""Steady diffusion (or conduction) through a voxel volume, batched, with the exact gradient of the effective value.

Cell-centred finite volumes with harmonic faces; along the chosen axis the potential is fixed half a voxel outside the
first and the last layer, the sides are sealed or periodic. For conductivities 0 and 1 and sealed sides the value is the
relative diffusivity D_eff / D_0 as TauFactor defines it. Solved by conjugate gradients preconditioned with a multigrid
V-cycle. Any conductivity per voxel will do, isotropic or along each axis: `engine.properties.phases` makes it from
labels or soft phases.

Legend: `B` members, `D H W` space (z, y, x), `X Y Z` the same with the flux axis first, `N = X*Y*Z`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from engine.errors import InputError
from engine.outcomes import Outcome
from engine.properties.conductor import Conductor, insulator_gradient, make_conductor
from engine.properties.krylov import Solution, conjugate_gradients
from engine.properties.memory import check_memory
from engine.properties.multigrid import Multigrid
from engine.properties.reach import Reach, reach

INSULATING = 1e-7
"""Conductivities below this share of a member's largest count as 0: single precision cannot tell them apart."""

ARRAYS = 20
"""Volumes of the conductivity's type that one member's solve holds at its peak, hierarchy included."""


@dataclass(frozen=True, kw_only=True)
class TransportResult:
    """Effective conductivities of a batch."""

    value: Tensor
    """[B]: effective conductivity along the axis, in the unit of the conductivity given. An upper bound until
    converged, since it is the dissipated power of the field."""
    field: Tensor
    """[B, D, H, W]: potential, from 0 before the first layer to 1 behind the last. Hand it back as `start`."""
    outcome: list[Outcome]
    """CONVERGED, OUT_OF_ITERATIONS or DOES_NOT_PERCOLATE (the value is exactly 0), per member."""
    iterations: list[int]
    """Conjugate-gradient steps, per member."""


@dataclass(frozen=True, kw_only=True)
class TransportGradient(TransportResult):
    """Effective conductivities of a batch and their derivatives."""

    gradient: Tensor
    """Shaped like what was given: derivative of the value by each of its entries."""


@torch.no_grad()
def solve(
    conductivity: Tensor,
    axis: int,
    *,
    periodic: bool = False,
    start: Tensor | None = None,
    tolerance: float = 1e-4,
    max_iterations: int = 500,
) -> TransportResult:
    """Effective conductivity along an axis.

    Args:
        conductivity: [B, D, H, W], or [B, 3, D, H, W] along z, y, x; at least 0; float32 or float64, anything else is
            taken as float32. Zero insulates, along each axis by itself.
        axis: 0, 1, 2 for z, y, x.
        periodic: whether the sides meet; otherwise they are sealed.
        start: [B, D, H, W] potential to start from, such as `field` of a similar volume; None is a straight ramp.
        tolerance: estimated relative error of the value at which a member is done.
        max_iterations: steps after which a member is given up as OUT_OF_ITERATIONS.

    Returns:
        One value per member. Where nothing conducts from face to face it is exactly 0; voxels outside the spanning
        clusters carry no flux and keep their starting potential.

    Raises:
        InputError: wrong shape or axis, a conductivity that is negative or not finite, too little memory.
    """
    result = _solve(conductivity, axis, periodic, start, tolerance, max_iterations, with_gradient=False)
    return TransportResult(value=result.value, field=result.field, outcome=result.outcome, iterations=result.iterations)


@torch.no_grad()
def value_and_gradient(
    conductivity: Tensor,
    axis: int,
    *,
    periodic: bool = False,
    start: Tensor | None = None,
    tolerance: float = 1e-4,
    max_iterations: int = 500,
) -> TransportGradient:
    """Effective conductivity and its exact derivative by every entry of the conductivity, from one solve.

    The problem is its own adjoint, hence no second solve (`Conductor.power_gradient`). In an insulating voxel the
    derivative is one-sided: what the value gains when this voxel alone begins to conduct
    (`conductor.insulator_gradient`), which shows the voxels that would open a volume that does not percolate.
    Insulators more than one voxel thick get 0: `solve_with_gradient` says where to dig through those.

    Arguments and errors as `solve`. The gradient is less accurate than the value, most of all in the few voxels where
    it is large: on sandstone it was off by 3 to 21 % of its norm at 1e-3 (cosines above 0.97), by 3 to 15 % at 1e-4 and
    by less than 1 % at 1e-6.
    """
    return _solve(conductivity, axis, periodic, start, tolerance, max_iterations, with_gradient=True)


@torch.no_grad()
def solve_with_gradient(
    phase: Tensor,
    axis: int,
    *,
    contrast: float = 1e-3,
    periodic: bool = False,
    start: Tensor | None = None,
    tolerance: float = 1e-3,
    max_iterations: int = 500,
) -> TransportGradient:
    """Effective conductivity of a phase in a slightly conducting matrix, and its derivative by the phase's indicator.

    The conductivity is contrast + (1 - contrast) * phase, so every voxel carries a potential and the derivative also
    says where to open an insulator. It leaks: the value lies above that of the insulated phase by a few times
    `contrast`; anchor targets on `solve`.

    Args:
        phase: [B, D, H, W], 1 inside the phase and 0 outside, or anything between (soft phases); bool is accepted.
        axis: 0, 1, 2 for z, y, x.
        contrast: conductivity outside the phase, in (0, 1].
        periodic, start, tolerance, max_iterations: as `solve`; accuracy as `value_and_gradient`.

    Raises:
        InputError: wrong shape, axis or contrast, or a phase outside [0, 1].
    """
    if not INSULATING < contrast <= 1:
        raise InputError(f"contrast: must lie within ({INSULATING:g}, 1], not {contrast}; 0.001 is usual")
    if phase.ndim != 4 or phase.numel() == 0:
        raise InputError(f"phase: must be [B, D, H, W] with at least one voxel, not {list(phase.shape)}")
    soft = _floating(phase)
    low, high = torch.aminmax(soft)
    if not (float(low) >= 0 and float(high) <= 1):  # false for NaN too
        raise InputError(f"phase: every voxel must lie within [0, 1], found [{float(low):.4g}, {float(high):.4g}]")
    result = _solve(
        contrast + (1 - contrast) * soft, axis, periodic, start, tolerance, max_iterations, with_gradient=True
    )
    result.gradient.mul_(1 - contrast)
    return result


def _solve(
    conductivity: Tensor,
    axis: int,
    periodic: bool,
    start: Tensor | None,
    tolerance: float,
    max_iterations: int,
    with_gradient: bool,
) -> TransportGradient:
    """All of `solve` and `value_and_gradient`; the gradient is empty unless asked for."""
    _check_shape(conductivity, axis)
    sides, members = conductivity.shape[-3:], len(conductivity)
    # On a CPU one member at a time: its arrays stay in the cache, and its numbers do not depend on the batch.
    together = 1 if conductivity.device.type == "cpu" else members
    size = 8 if conductivity.dtype == torch.float64 else 4
    check_memory(conductivity, (together * ARRAYS + 2 * members) * sides.numel() * size)
    given = _checked_values(conductivity)
    if start is not None and start.shape != (members, *sides):
        raise InputError(f"start: must have the shape of the volume, {[members, *sides]}, not {list(start.shape)}")
    parts = []
    for i in range(0, members, together):
        part = _along_axis(given[i : i + together], axis)
        ramp = _ramp(part) if start is None else start[i : i + together].to(part).movedim(axis + 1, 1)
        parts.append(_solve_part(part, ramp, periodic, tolerance, max_iterations, with_gradient))
    return TransportGradient(
        value=torch.cat([part.value for part in parts]),
        field=torch.cat([part.field for part in parts]).movedim(1, axis + 1).contiguous(),
        outcome=[outcome for part in parts for outcome in part.outcome],
        iterations=[count for part in parts for count in part.iterations],
        gradient=_back(torch.cat([part.gradient for part in parts]), axis),
    )


def _solve_part(
    given: Tensor, start: Tensor, periodic: bool, tolerance: float, max_iterations: int, with_gradient: bool
) -> TransportGradient:
    """Members [b, X, Y, Z] or [b, 3, X, Y, Z] solved together, everything with the flux axis first."""
    grid = (len(given), *given.shape[-3:])
    largest = given.flatten(1).amax(1)
    unit = torch.where(largest > 0, largest, 1.0)
    relative = given / unit.view(-1, *[1] * (given.ndim - 1))  # so that no product over- or underflows
    conducts = (relative > INSULATING).view(len(given), -1, *grid[1:])  # [b, 1 or 3, X, Y, Z]
    reached = _reach(conducts, periodic)
    carries = (conducts if reached is None else conducts & (reached == Reach.SPANNING).unsqueeze(1)).view(given.shape)
    conductor = make_conductor(relative if bool(carries.all()) else torch.where(carries, relative, 0.0), periodic)
    solution = potential(conductor, start.reshape(len(given), -1), tolerance, max_iterations)
    u = solution.x
    scale = _length_over_section(conductor)
    gradient = u.new_empty(0)
    if with_gradient:
        gradient = conductor.power_gradient(u)
        if reached is not None:
            known, held = reached >= Reach.FIRST, u.view(grid)
            held = torch.where(reached == Reach.FIRST, 0.0, held)
            held = torch.where(reached == Reach.LAST, 1.0, held)
            gradient += insulator_gradient(conducts, known, held, periodic)
        gradient = gradient.mul_(scale).view(given.shape)
    outcomes = [
        Outcome.DOES_NOT_PERCOLATE if not c else Outcome.CONVERGED if done else Outcome.OUT_OF_ITERATIONS
        for c, done in zip(carries.flatten(1).any(1).tolist(), solution.converged, strict=True)
    ]
    return TransportGradient(
        value=unit * scale * conductor.power(u),
        field=u.view(grid),
        outcome=outcomes,
        iterations=solution.iterations,
        gradient=gradient,
    )


@dataclass(frozen=True, kw_only=True)
class Conduction:
    """A conductor's equations with a V-cycle as preconditioner: a `krylov.System`."""

    conductor: Conductor
    multigrid: Multigrid

    def apply(self, v: Tensor) -> Tensor:
        return self.conductor.stencil.apply(v)

    def precondition(self, r: Tensor) -> Tensor:
        return self.multigrid(r)

    def select(self, members: Tensor) -> Conduction:
        return conduction(self.conductor.select(members))


def conduction(conductor: Conductor) -> Conduction:
    return Conduction(conductor=conductor, multigrid=Multigrid(conductor.stencil))


def potential(conductor: Conductor, start: Tensor, tolerance: float, max_iterations: int) -> Solution:
    """The potential [B, N] of a conductor, from `start` [B, N], to a relative error of its power of `tolerance`.

    r.Mr, M the V-cycle, lay between 0.1 and 1 times the true error on sandstone. (With Jacobi for M it falls below a
    hundredth of it: a small residual then says little about the value.)
    """
    residual = conductor.stencil.residual(conductor.source(), start)
    return conjugate_gradients(
        conduction(conductor), start, residual, conductor.power(start), tolerance, max_iterations
    )


def _check_shape(conductivity: Tensor, axis: int) -> None:
    if axis not in (0, 1, 2):
        raise InputError(f"axis: must be 0, 1 or 2 (z, y, x), not {axis}")
    shape = list(conductivity.shape)
    if conductivity.ndim not in (4, 5) or conductivity.numel() == 0 or (conductivity.ndim == 5 and shape[1] != 3):
        raise InputError(f"conductivity: must be [B, D, H, W] or [B, 3, D, H, W] with at least one voxel, not {shape}")


def _checked_values(conductivity: Tensor) -> Tensor:
    """The conductivity in floating point."""
    out = _floating(conductivity)
    low, high = torch.aminmax(out)
    if not (float(low) >= 0 and float(high) < float("inf")):  # false for NaN too
        raise InputError(
            f"conductivity: every voxel must be finite and at least 0, found [{float(low):.4g}, {float(high):.4g}]; "
            "check the material's values"
        )
    return out


def _floating(volume: Tensor) -> Tensor:
    return volume if volume.dtype in (torch.float32, torch.float64) else volume.to(torch.float32)


def _along_axis(conductivity: Tensor, axis: int) -> Tensor:
    """[B, D, H, W] to contiguous [B, X, Y, Z] with the axis first; [B, 3, D, H, W] with its channels in that order."""
    if conductivity.ndim == 4:
        return conductivity.movedim(axis + 1, 1).contiguous()
    order = [axis, *(other for other in range(3) if other != axis)]
    return conductivity.movedim(axis + 2, 2)[:, order].contiguous()


def _back(gradient: Tensor, axis: int) -> Tensor:
    """The inverse of `_along_axis`."""
    if gradient.ndim != 5:
        return gradient.movedim(1, axis + 1).contiguous() if gradient.ndim == 4 else gradient
    order = [axis, *(other for other in range(3) if other != axis)]
    inverse = [order.index(each) for each in range(3)]
    return gradient.movedim(2, axis + 2)[:, inverse].contiguous()


def _length_over_section(conductor: Conductor) -> float:
    """Effective conductivity per unit of current at potential difference 1."""
    return conductor.shape[0] / conductor.layer


def _ramp(part: Tensor) -> Tensor:
    """[b, X, Y, Z]: the potential of a homogeneous conductor."""
    length = part.shape[-3]
    steps = (torch.arange(length, dtype=part.dtype, device=part.device) + 0.5) / length
    return steps.view(1, -1, 1, 1).expand(len(part), *part.shape[-3:])


def _reach(conducts: Tensor, periodic: bool) -> Tensor | None:
    """[b, X, Y, Z] of `Reach` from [b, 1 or 3, X, Y, Z]; None where every voxel conducts along every axis."""
    if bool(conducts.all()):
        return None
    members = [torch.from_numpy(reach(member, periodic)) for member in conducts.cpu().numpy()]
    return torch.stack(members).to(conducts.device)
