"""Effective stiffness and thermal expansion of a periodic voxel cell, with exact gradients by the phase indicators.

Six unit strains (xx, yy, zz, yz, xz, xy with engineering shear) are imposed on the mean of the cell; the fluctuations
follow from conjugate gradients on trilinear hexahedra (`engine.properties.hexahedra`). With t_i the whole displacement
of load case i,

    C_ij = 1/V sum over voxels of t_i . K_e t_j,

which is stationary in the fluctuations: the gradient by an indicator p_k is 1/V t_i . K_k t_j, without another solve.
The effective expansion is C^-1 beta with beta_i = 1/V sum of t_i . K_e u(alpha) (V. M. Levin, Mech. Solids 2, 58,
1967), and its gradient needs one more load case, the fluctuation under the phases' free expansion.

Where indicators are soft, stiffness and thermal stress mix linearly. A phase of stiffness 0 is a void.

Legend: `B` members, `K` phases, `D H W` voxels (z, y, x), 6 Voigt components, `L` load cases (6, or 7 with expansion).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from engine.errors import InputError
from engine.outcomes import Outcome
from engine.parallel import side_by_side
from engine.properties.hexahedra import Solid, corner_forces, element_stiffness, reference_green
from engine.properties.krylov import Solution, conjugate_gradients
from engine.properties.memory import check_memory
from engine.properties.stiffness import check_stiffness
from engine.properties.voids import LooseVoxels, loose_voxels

DELAY = 2
"""Steps over which the fall of the energy estimates its error."""

LEAST_ENERGY = 1e-3
"""Share of the Voigt energy below which the tolerance is no longer relative: a cell that hangs together by nothing has
the energy 0, and no error is small against that."""

SINGULAR = 1e-7
"""Least eigenvalue of the effective stiffness, as a share of the Voigt mean's largest, at which it is inverted."""

SMALL = 16_384
"""Voxels up to which a CPU solves the load cases of a cell together: more saves calls than it costs in cache."""

ARRAYS = 100
"""Volumes (of one number per voxel) that one member's load case holds at its peak, its displacements in double among
them."""


@dataclass(frozen=True, kw_only=True)
class Homogenized:
    """Effective properties of a batch of cells, and what their gradients are made of."""

    stiffness: Tensor
    """[B, 6, 6], in the unit of the phases' stiffness; its diagonal is an upper bound until converged."""
    expansion: Tensor | None
    """[B, 6] strain per kelvin, shear as engineering strain; None without the phases' expansion. NaN where the
    stiffness is singular, for then the cell does not hang together and has no expansion as a whole."""
    outcome: list[Outcome]
    """CONVERGED or OUT_OF_ITERATIONS, per member. What nothing holds together has the stiffness 0."""
    iterations: list[list[int]]
    """Conjugate-gradient steps of each load case, per member."""
    displacements: Tensor
    """[B, L, 3, D, H, W] periodic fluctuations, components x, y, z. Hand it back as `start`."""
    solids: list[Solid]
    """One per member."""
    mixing: Tensor
    """[K, R]: each phase's stiffness in the basis of the solids."""
    thermal: Tensor | None
    """[K, 24]: each phase's corner forces per kelvin."""

    @torch.no_grad()
    def stiffness_gradient(self, weights: Tensor) -> Tensor:
        """Derivative of sum_ij weights_ij C_ij by the phase indicators; in voids the one-sided one (`voids`).

        Args:
            weights: [B, 6, 6], the derivative of a number by the effective stiffness (symmetric part counts).

        Returns: [B, K, D, H, W].
        """
        out = []
        for member, solid in enumerate(self.solids):
            values, vectors = torch.linalg.eigh(0.5 * (weights[member] + weights[member].T).double())
            size = values.abs().max()
            total, loose = torch.zeros_like(solid.weights), self._loose(member)
            settled = total.new_zeros(len(self.mixing), len(loose.voxels))
            for value, vector in zip(values.tolist(), vectors.T.to(total), strict=True):
                if abs(value) <= 1e-14 * size:
                    continue
                v, strain = self._combined(member, vector)
                total += value * solid.energy_density(v, v, torch.stack([strain, strain]))
                at = loose.corners(v, strain)
                settled += value * loose.work(at, at)
            gradient = self._by_phase(total)
            gradient.flatten(2)[0, :, loose.voxels] = settled / solid.shape.numel()
            out.append(gradient)
        return torch.cat(out)

    @torch.no_grad()
    def expansion_gradient(self, weights: Tensor) -> Tensor:
        """Derivative of sum_i weights_i alpha_i by the phase indicators; weights [B, 6]. Returns [B, K, D, H, W].

        With y = C^-1 weights it is 1/V t_y . K_k (u(alpha_k) - w - t_alpha), w the thermal fluctuation.
        """
        if self.expansion is None or self.thermal is None:
            raise InputError("expansion: not asked for; homogenize with the phases' thermal expansion")
        out = []
        for member, solid in enumerate(self.solids):
            adjoint = torch.linalg.solve(self.stiffness[member].double(), weights[member].double())
            v, strain = self._combined(member, adjoint.to(solid.weights))
            free, free_strain = self._combined(member, self.expansion[member].to(solid.weights))
            moved = -(free + self.displacements[member, 6:])
            total = solid.energy_density(v, moved, torch.stack([strain, -free_strain]))
            gradient = self._by_phase(total) + solid.projected(v, strain, self.thermal) / solid.shape.numel()
            loose = self._loose(member)
            settled = loose.work(loose.corners(v, strain), loose.corners(moved, -free_strain), self.thermal)
            gradient.flatten(2)[0, :, loose.voxels] = settled / solid.shape.numel()
            out.append(gradient)
        return torch.cat(out)

    def _combined(self, member: int, strain: Tensor) -> tuple[Tensor, Tensor]:
        """Fluctuation [1, 3, D, H, W] and uniform strain [1, 6] under a mean strain [6]."""
        v = torch.einsum("l,lcdhw->cdhw", strain, self.displacements[member, :6])
        return v.unsqueeze(0), strain.unsqueeze(0)

    def _loose(self, member: int) -> LooseVoxels:
        solid = self.solids[member]
        elements = torch.einsum("kr,rab->kab", self.mixing, solid.elements.to(self.mixing))
        return loose_voxels((solid.weights[0] == 0).all(0), elements)

    def _by_phase(self, by_basis: Tensor) -> Tensor:
        voxels = by_basis.shape[-3:].numel()
        return torch.einsum("brdhw,kr->bkdhw", by_basis, self.mixing.to(by_basis)).contiguous() / voxels


@torch.no_grad()
def homogenize(
    indicators: Tensor,
    stiffness: Tensor,
    expansion: Tensor | None = None,
    *,
    start: Tensor | None = None,
    tolerance: float = 1e-4,
    max_iterations: int = 1000,
) -> Homogenized:
    """Effective stiffness, and thermal expansion if asked for, of periodic cells.

    Args:
        indicators: [B, K, D, H, W], one-hot or soft, each in [0, 1]; float64 is solved in float64, anything else in
            float32.
        stiffness: [K, 6, 6], positive definite or all 0 (void), Voigt order xx, yy, zz, yz, xz, xy.
        expansion: [K, 6] free strain per kelvin of each phase, shear as engineering strain.
        start: [B, L, 3, D, H, W] to start from, such as `displacements` of similar cells.
        tolerance: estimated relative error of each diagonal entry of the stiffness.
        max_iterations: per load case.

    Raises:
        InputError: shapes, values or memory that do not fit.
    """
    _check(indicators, stiffness, expansion)
    members, _, d, h, w = indicators.shape
    loads = 6 if expansion is None else 7
    if start is not None and start.shape != (members, loads, 3, d, h, w):
        raise InputError(f"start: must be {[members, loads, 3, d, h, w]}, not {list(start.shape)}")
    soft = indicators if indicators.dtype == torch.float64 else indicators.float()
    low, high = torch.aminmax(soft)
    if not (float(low) >= 0 and float(high) <= 1):  # false for NaN too
        raise InputError(f"indicators: must lie within [0, 1], found [{float(low):.4g}, {float(high):.4g}]")
    table = stiffness.to(soft.device, torch.float64)
    basis, mixing = stiffness_basis(table)
    stiff = table[(table != 0).flatten(1).any(1)]
    green = reference_green(stiff.mean(0) if len(stiff) else torch.eye(6, dtype=torch.float64), soft.shape[-3:])
    stress = None if expansion is None else torch.einsum("kij,kj->ki", table, expansion.to(table))  # per kelvin
    forces = None if stress is None else corner_forces(stress).to(soft)
    parts = []
    for member in range(members):
        one = soft[member : member + 1]
        weights = torch.einsum("bkdhw,kr->brdhw", one, mixing.to(soft))
        solid = Solid(elements=element_stiffness(basis).to(soft), weights=weights, green=green.to(soft))
        begin = soft.new_zeros(loads, 3, d, h, w) if start is None else start[member].to(soft)
        cell = _Cell(solid=solid, indicators=one, stiffness=table, expansion=expansion, forces=forces)
        parts.append(_solve_cell(cell, begin, tolerance, max_iterations))
    return Homogenized(
        stiffness=torch.stack([part.stiffness for part in parts]),
        expansion=None if expansion is None else torch.stack([part.expansion for part in parts]),
        outcome=[Outcome.CONVERGED if part.converged else Outcome.OUT_OF_ITERATIONS for part in parts],
        iterations=[part.iterations for part in parts],
        displacements=torch.stack([part.displacements for part in parts]),
        solids=[part.solid for part in parts],
        mixing=mixing,
        thermal=forces,
    )


@dataclass(frozen=True, kw_only=True)
class _Cell:
    """One member's problem."""

    solid: Solid
    indicators: Tensor  # [1, K, D, H, W]
    stiffness: Tensor  # [K, 6, 6] float64
    expansion: Tensor | None  # [K, 6]
    forces: Tensor | None  # [K, 24] thermal

    def averaged(self, values: Tensor) -> Tensor:
        """Sum over phases of fraction times values [K, ...], float64."""
        fractions = self.indicators.mean((0, 2, 3, 4), dtype=torch.float64)
        return torch.einsum("k,k...->...", fractions, values.to(fractions))


@dataclass(frozen=True, kw_only=True)
class _Solved:
    stiffness: Tensor  # [6, 6] float64
    expansion: Tensor  # [6] float64, NaN where there is none
    converged: bool
    iterations: list[int]
    displacements: Tensor  # [L, 3, D, H, W]
    solid: Solid


def _solve_cell(cell: _Cell, start: Tensor, tolerance: float, max_iterations: int) -> _Solved:
    """Load cases of a large cell one by one on a CPU (the arrays of one stay in the cache), else together."""
    solid, loads, voxels = cell.solid, len(start), start[0, 0].numel()
    voigt = cell.averaged(cell.stiffness)
    strains = torch.eye(6, dtype=start.dtype, device=start.device)
    at_rest = voigt.diagonal()  # energy per voxel that each load case stores before anything moves
    if cell.forces is not None and cell.expansion is not None:
        blocked = torch.einsum("ki,kij,kj->k", cell.expansion.to(voigt), cell.stiffness, cell.expansion.to(voigt))
        at_rest = torch.cat([at_rest, cell.averaged(blocked).view(1)])
    rest = (at_rest * voxels).to(start)
    together = 1 if start.device.type == "cpu" and voxels > SMALL else loads

    def pull(load: int) -> Tensor:
        if load < 6:
            return -solid.forces(torch.zeros_like(start[:1]), strains[load : load + 1])
        assert cell.forces is not None
        return solid.nodal(cell.forces, cell.indicators)

    def solve_loads(i: int) -> tuple[Solution, Tensor, Tensor]:
        u, energy = start[i : i + together], rest[i : i + together]
        b = torch.cat([pull(load) for load in range(i, i + len(u))])
        residual = b - solid.apply(u)
        stored = energy - torch.linalg.vecdot(u.flatten(1), (b + residual).flatten(1))
        solution = conjugate_gradients(
            solid, u, residual, stored, tolerance, max_iterations, delay=DELAY, least_energy=LEAST_ENERGY * energy
        )
        return solution, b, solid.apply(solution.x)

    solutions, pulls, moved = zip(*side_by_side(solve_loads, range(0, loads, together)), strict=True)
    fluctuations = torch.cat([solution.x for solution in solutions])
    u, b, au = (each.flatten(1).double() for each in (fluctuations, torch.cat(pulls), torch.cat(moved)))
    work = u[:6] @ b[:6].T
    effective = voigt + (u[:6] @ au[:6].T - work - work.T) / voxels  # the energy: its error is of second order
    alpha = effective.new_full((6,), torch.nan)
    if cell.forces is not None and cell.expansion is not None:
        beta = cell.averaged(torch.einsum("kij,kj->ki", cell.stiffness, cell.expansion.to(voigt)))
        # the residual of each load case times the thermal fluctuation makes this of second order too
        beta = beta + (u[:6] @ b[6] - (au[:6] - b[:6]) @ u[6]) / voxels
        if float(torch.linalg.eigvalsh(effective)[0]) > SINGULAR * float(torch.linalg.eigvalsh(voigt)[-1]):
            alpha = torch.linalg.solve(effective, beta)
    return _Solved(
        stiffness=effective,
        expansion=alpha,
        converged=all(done for solution in solutions for done in solution.converged),
        iterations=[count for solution in solutions for count in solution.iterations],
        displacements=fluctuations,
        solid=solid,
    )


def stiffness_basis(stiffness: Tensor) -> tuple[Tensor, Tensor]:
    """The fewest phases whose stiffnesses span all others: [R, 6, 6], and the coefficients [K, R].

    A void needs none and three isotropic phases need two, which saves the operator a product each. The stiffest come
    first, so that a soft phase is never a small difference of stiff ones unless it must be.
    """
    flat = stiffness.flatten(1)
    chosen: list[int] = []
    for k in torch.argsort(torch.linalg.vector_norm(flat, dim=1), descending=True).tolist():
        size = float(torch.linalg.vector_norm(flat[k]))
        if size == 0:
            continue
        if chosen:
            fit = torch.linalg.lstsq(flat[chosen].T, flat[k][:, None]).solution
            rest = float(torch.linalg.vector_norm(flat[k] - flat[chosen].T @ fit[:, 0]))
            if rest <= 1e-10 * size:
                continue
        chosen.append(k)
    chosen = chosen or [0]
    return stiffness[chosen], torch.linalg.lstsq(flat[chosen].T, flat.T, driver="gelsd").solution.T


def _check(indicators: Tensor, stiffness: Tensor, expansion: Tensor | None) -> None:
    if indicators.ndim != 5 or indicators.numel() == 0:
        raise InputError(f"indicators: must be [B, K, D, H, W] with at least one voxel, not {list(indicators.shape)}")
    phases = indicators.shape[1]
    if stiffness.shape != (phases, 6, 6):
        raise InputError(f"stiffness: must be [{phases}, 6, 6], one per phase, not {list(stiffness.shape)}")
    for k, each in enumerate(stiffness):
        check_stiffness(each, f"phase {k}")
    if expansion is not None and (expansion.shape != (phases, 6) or not bool(expansion.isfinite().all())):
        raise InputError(f"expansion: must be finite [{phases}, 6], one per phase, not {list(expansion.shape)}")
    members, voxels = len(indicators), indicators.shape[-3:].numel()
    size = 8 if indicators.dtype == torch.float64 else 4
    at_once = torch.get_num_threads() if indicators.device.type == "cpu" else 1
    check_memory(indicators, size * voxels * (ARRAYS * min(at_once, 7) + members * (21 + 2 * phases)))
