"""Permeability: slow viscous flow through the voxels of a phase, driven by a pressure difference between two faces.

Stokes equations on a staggered grid (F. H. Harlow and J. E. Welch, Phys. Fluids 8, 2182, 1965): pressures in the
voxels, velocities on the faces between two voxels of the phase, no slip on all others. Pressure 1 and 0 on the end
faces, where the flow is normal; the sides are mirror planes (nothing crosses, nothing drags), as the sealed sides of
diffusion are.
With viscosity 1 and lengths in voxels, permeability = flow x length / section, in voxels squared.

The saddle-point system is solved by MINRES with a block-diagonal preconditioner: a multigrid V-cycle for the velocities
and, for the pressure, 1 + R / L (J. Cahouet and J.-P. Chabard, Int. J. Numer. Meth. Fluids 8, 869, 1988): 1 is right
within a pore, a V-cycle for the pore's Laplacian L over long distances, where pores resist like Darcy's law with R.

No gradient: a voxel is fluid or wall, and what a wall between would be (a Brinkman medium) is a choice of model that
the value depends on. Guide by `diffusivity` and measure the permeability.

Legend: `X Y Z` voxels with the flow axis first; faces [3, X+1, Y+1, Z+1]: component c at the lower face of a voxel.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from engine.errors import InputError
from engine.outcomes import Measured, Outcome
from engine.properties.conductor import make_conductor
from engine.properties.krylov import minres
from engine.properties.memory import check_memory
from engine.properties.multigrid import Multigrid
from engine.properties.reach import Reach, reach
from engine.properties.stencil import Stencil, make_stencil

ARRAYS = 120
"""Doubles per voxel of one solve: three components of seven-point stencils with their hierarchy, and MINRES vectors."""


@dataclass(frozen=True, kw_only=True)
class PermeabilityResult:
    """Permeabilities of a batch."""

    value: Tensor
    """[B] in voxels squared (times voxel_size_um^2: in um^2); inf where no wall resists."""
    velocity: list[Tensor]
    """[3, X+1, Y+1, Z+1] per member: on the lower faces of the voxels, along X, Y, Z, with the flow axis first."""
    outcome: list[Outcome]
    """CONVERGED, OUT_OF_ITERATIONS, DOES_NOT_PERCOLATE (exactly 0), ABSENT (exactly 0) or UNBOUNDED (inf)."""
    iterations: list[int]

    def measured(self, member: int = 0) -> Measured:
        """A member's value with its outcome; no value where it is unbounded."""
        outcome = self.outcome[member]
        value = None if outcome == Outcome.UNBOUNDED else float(self.value[member])
        return Measured(value=value, outcome=outcome)


@torch.no_grad()
def permeability(
    phase: Tensor, axis: int, *, tolerance: float = 1e-4, max_iterations: int = 1000
) -> PermeabilityResult:
    """Permeability of a phase along an axis, in double precision.

    Args:
        phase: [B, D, H, W] bool or 0 and 1.
        axis: 0, 1, 2 for z, y, x.
        tolerance: fall of the preconditioned residual; on the cases of the tests the error of the value stays below it.
        max_iterations: MINRES steps after which a member is given up as OUT_OF_ITERATIONS.

    Raises:
        InputError: wrong shape or axis, values other than 0 and 1, too little memory.
    """
    if axis not in (0, 1, 2):
        raise InputError(f"axis: must be 0, 1 or 2 (z, y, x), not {axis}")
    if phase.ndim != 4 or phase.numel() == 0:
        raise InputError(f"phase: must be [B, D, H, W] with at least one voxel, not {list(phase.shape)}")
    check_memory(phase, 8 * ARRAYS * phase[0].numel())
    if not bool(((phase == 0) | (phase == 1)).all()):
        raise InputError("phase: every voxel must be 0 or 1 (fluid); threshold soft phases first")
    values, velocities, outcomes, counts = [], [], [], []
    for member in phase.movedim(axis + 1, 1):
        value, velocity, outcome, count = _solve_member(member.bool().contiguous(), tolerance, max_iterations)
        values.append(value)
        velocities.append(velocity)
        outcomes.append(outcome)
        counts.append(count)
    return PermeabilityResult(
        value=torch.tensor(values, dtype=torch.float64), velocity=velocities, outcome=outcomes, iterations=counts
    )


def _solve_member(fluid: Tensor, tolerance: float, max_iterations: int) -> tuple[float, Tensor, Outcome, int]:
    shape = (fluid.shape[0], fluid.shape[1], fluid.shape[2])
    still = torch.zeros(3, *(size + 1 for size in shape), dtype=torch.float64, device=fluid.device)
    if not bool(fluid.any()):
        return 0.0, still, Outcome.ABSENT, 0
    if bool(fluid.all()):
        return math.inf, still, Outcome.UNBOUNDED, 0
    spanning = torch.from_numpy(reach(fluid.cpu().numpy(), periodic=False) == Reach.SPANNING).to(fluid.device)
    if not bool(spanning.any()):
        return 0.0, still, Outcome.DOES_NOT_PERCOLATE, 0
    flow = _make_flow(spanning)
    x, converged, iterations = minres(flow.apply, flow.precondition, flow.pull(), tolerance, max_iterations)
    velocity, _ = flow.split(x)
    per_layer = velocity[0].sum((1, 2))  # the same through every layer, once converged
    value = float(per_layer.mean()) * shape[0] / (shape[1] * shape[2])
    return value, velocity, Outcome.CONVERGED if converged else Outcome.OUT_OF_ITERATIONS, iterations


@dataclass(frozen=True, kw_only=True)
class Flow:
    """The saddle-point system K (u, p) = (f, 0) of one fluid; vectors are u and p end to end."""

    fluid: Tensor
    """[X, Y, Z] bool."""
    open: Tensor
    """[3, X+1, Y+1, Z+1] double: 1 on faces that carry a velocity."""
    viscous: Stencil
    """Three members, one per component: force of the walls and of the neighbours' velocities."""
    velocity_cycle: Multigrid
    pressure_cycle: Multigrid
    resistance: float
    """R: what a pore of the mean hydraulic radius r resists with, 3 / r^2 (a slit of width 2 r)."""

    def split(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Velocities [3, X+1, Y+1, Z+1] and pressures [X, Y, Z]."""
        return x[: self.open.numel()].view_as(self.open), x[self.open.numel() :].view(self.fluid.shape)

    def apply(self, x: Tensor) -> Tensor:
        u, p = self.split(x)
        forces = self.viscous.apply(u.flatten(1)).view_as(u)
        padded = F.pad(p, [1, 1] * 3)
        for c in range(3):
            upper = padded[1:, 1:, 1:]
            lower = padded[tuple(slice(0, -1) if a == c else slice(1, None) for a in range(3))]
            forces[c] -= (lower - upper) * self.open[c]
        divergence = torch.zeros_like(p)
        for c in range(3):
            high = tuple(slice(1, None) if a == c else slice(None, -1) for a in range(3))
            divergence += u[c][high] - u[c, :-1, :-1, :-1]
        return torch.cat([forces.flatten(), -(divergence * self.fluid).flatten()])

    def pull(self) -> Tensor:
        """Right-hand side: pressure 1 before the first layer."""
        force = torch.zeros_like(self.open)
        force[0, 0] = self.open[0, 0]
        return torch.cat([force.flatten(), force.new_zeros(self.fluid.numel())])

    def precondition(self, x: Tensor) -> Tensor:
        u, p = self.split(x)
        # a cycle's coarse corrections also reach closed faces and walls: back to 0 there
        smooth_u = self.velocity_cycle(u.flatten(1)).view_as(u) * self.open
        smooth_p = self.pressure_cycle(p.reshape(1, -1)).view_as(p) * self.fluid
        return torch.cat([smooth_u.flatten(), (p + self.resistance * smooth_p).flatten()])


def _make_flow(fluid: Tensor) -> Flow:
    """Discretise a fluid [X, Y, Z] whose every voxel is joined to both ends."""
    shape = (fluid.shape[0] + 1, fluid.shape[1] + 1, fluid.shape[2] + 1)
    opened = torch.zeros(3, *shape, dtype=torch.float64, device=fluid.device)
    couplings = [torch.zeros_like(opened) for _ in range(3)]
    sink = torch.zeros_like(opened)
    for c in range(3):
        lower, upper = _sides(fluid, c)
        free, wet = lower & upper, lower | upper
        share = torch.ones_like(free, dtype=torch.float64)  # of a voxel, that the momentum of a face is
        if c == 0:
            share[0] = share[-1] = 0.5
        nx, ny, nz = free.shape
        region = (c, slice(nx), slice(ny), slice(nz))
        opened[region] = free.double()
        for d in range(3):
            weight = torch.ones_like(share) if d == c else share
            ahead = free & _neighbour(free, d, 1, False)
            couplings[d][region] = weight * ahead
            for step in (-1, 1):
                next_free, next_wet = _neighbour(free, d, step, True), _neighbour(wet, d, step, True)
                # a closed face next to the phase is a wall one voxel away, one within the other phase half as far
                drag = torch.where(next_free, 0.0, torch.where(next_wet, 1.0, 2.0)) * weight
                if d == 0 and c != 0:  # the flow through the ends is normal to them: a wall for the other components
                    end = drag.select(0, 0 if step == -1 else -1)
                    end.fill_(2.0)
                sink[region] += drag * free
    flat = [coupling.flatten(1) for coupling in couplings]
    viscous = make_stencil(shape, (flat[0], flat[1], flat[2]), sink.flatten(1))
    walls = sum(
        float((fluid.narrow(a, 1, n - 1) != fluid.narrow(a, 0, n - 1)).sum()) for a, n in enumerate(fluid.shape)
    )
    radius = float(fluid.sum()) / max(walls, 1.0)
    return Flow(
        fluid=fluid,
        open=opened,
        viscous=viscous,
        velocity_cycle=Multigrid(viscous),
        pressure_cycle=Multigrid(make_conductor(fluid.double()[None]).stencil),
        resistance=3 / radius**2,
    )


def _sides(fluid: Tensor, axis: int) -> tuple[Tensor, Tensor]:
    """What lies below and above each face along an axis: [.., n + 1, ..] bool. Beyond the ends the first and the last
    layer go on; beyond the sides there is a wall that nothing crosses."""
    first, last = fluid.narrow(axis, 0, 1), fluid.narrow(axis, fluid.shape[axis] - 1, 1)
    if axis != 0:
        first, last = torch.zeros_like(first), torch.zeros_like(last)
    return torch.cat([first, fluid], axis), torch.cat([fluid, last], axis)


def _neighbour(values: Tensor, axis: int, step: int, beyond: bool) -> Tensor:
    """The value one `step` (1 or -1) further along an axis; `beyond` outside."""
    filler = torch.full_like(values.narrow(axis, 0, 1), beyond)
    n = values.shape[axis]
    if step == 1:
        return torch.cat([values.narrow(axis, 1, n - 1), filler], axis)
    return torch.cat([filler, values.narrow(axis, 0, n - 1)], axis)
