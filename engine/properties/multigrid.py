"""A multigrid V-cycle as preconditioner for conduction on voxels.

Cells are merged 2x2x2 (Galerkin aggregation): the conductance between two coarse cells is the sum over the fine faces
that cross between them, so every level is again a seven-point stencil and insulating voxels keep their meaning.
Piecewise constant corrections make the coarse operator too stiff by the coarsening factor; dividing it by 2 per
coarsened axis restores it (exact in a homogeneous conductor; D. Braess, "Towards algebraic multigrid for elliptic
problems of second order", Computing 55, 1995, uses 1.8). Smoothing is damped Jacobi, the same before and
after, so the cycle is symmetric and positive definite, as conjugate gradients ask.

Measured on the pore phase of Berea sandstone, 64^3, to 1e-4 in the value: 10 to 21 steps of conjugate gradients where
plain Jacobi preconditioning takes 340 to 390, each step about four times as dear.

Legend: `B` members, `X Y Z` voxels of a level, `N = X*Y*Z`.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from engine.properties.stencil import Stencil, make_stencil

DAMPING = 0.9
"""Jacobi weight. The eigenvalues of D^-1 A lie in (0, 2), so it must stay below 1; 0.9 took 5-15 % fewer iterations
than 0.8 on sandstone at 64^3, and one sweep was as fast in wall time as two."""

COARSEST = 64
"""Cells per member at which the hierarchy ends: a 64 x 64 inverse costs less than another level's dozens of calls."""

STIFFNESS = 0.5
"""Scale of the faces across a coarsened axis: the distance between the centres of coarse cells is twice as long."""


class Multigrid:
    """Approximate inverse of a stencil by one V-cycle. Linear, symmetric, positive definite.

    Every voxel that conducts must be joined to a fixed potential."""

    def __init__(self, stencil: Stencil) -> None:
        self._levels = [stencil]
        while self._levels[-1].diagonal.shape[1] > COARSEST:
            self._levels.append(coarsen(self._levels[-1]))
        self._smoothers = [_damped_inverse(level) for level in self._levels[:-1]]
        self._scratch = [torch.empty_like(level.diagonal) for level in self._levels[:-1]]
        # in double precision: with contrasts of 1e3 and more, single would cost the correction its symmetry
        self._coarsest_inverse = torch.linalg.inv(self._levels[-1].dense().double()).to(stencil.diagonal.dtype)

    def __call__(self, residual: Tensor) -> Tensor:
        """One V-cycle from zero: about A^-1 residual, both [B, N]."""
        return self._cycle(residual, 0)

    def _cycle(self, right: Tensor, depth: int) -> Tensor:
        if depth == len(self._levels) - 1:
            return torch.bmm(self._coarsest_inverse, right.unsqueeze(2)).squeeze(2)
        level, smoother, scratch = self._levels[depth], self._smoothers[depth], self._scratch[depth]
        solution = smoother * right
        level.residual(right, solution, out=scratch)
        correction = self._cycle(_restrict(scratch, level.shape), depth + 1)
        _add_prolonged(solution, correction, level.shape)
        level.residual(right, solution, out=scratch)
        return solution.addcmul_(smoother, scratch)


def coarsen(fine: Stencil) -> Stencil:
    """The Galerkin stencil of cells merged by two along every axis longer than one voxel, made less stiff."""
    members = fine.diagonal.shape[0]
    grid = (members, *fine.shape)
    faces: list[Tensor] = []
    for axis, face in enumerate(fine.faces):
        coarse = face.view(grid)
        for other in range(3):
            coarse = _crossing(coarse, axis) if other == axis else _pair_sum(coarse, other)
        scale = STIFFNESS if fine.shape[axis] > 1 else 1.0
        faces.append((coarse * scale).reshape(members, -1))
    # a sink sits on a face across X: that axis alone decides about its length
    sink = _restrict(fine.sink, fine.shape) * (STIFFNESS if fine.shape[0] > 1 else 1.0)
    shape = coarse_shape(fine.shape)
    wraps: list[Tensor | None] = []
    for axis, wrap in enumerate(fine.wraps, start=1):
        if wrap is None or shape[axis] == 1:  # a cell that meets itself passes nothing
            wraps.append(None)
            continue
        coarse = wrap.unsqueeze(axis + 1)
        for other in {0, 1, 2} - {axis}:
            coarse = _pair_sum(coarse, other)
        wraps.append((coarse * STIFFNESS).squeeze(axis + 1))
    return make_stencil(shape, (faces[0], faces[1], faces[2]), sink, (wraps[0], wraps[1]))


def coarse_shape(shape: tuple[int, int, int]) -> tuple[int, int, int]:
    """Sizes after merging by two; an odd axis keeps its last voxel as a cell of its own."""
    return (shape[0] + 1) // 2, (shape[1] + 1) // 2, (shape[2] + 1) // 2


def _damped_inverse(level: Stencil) -> Tensor:
    return torch.where(level.diagonal > 0, DAMPING / level.diagonal, 0.0)


def _pairs(values: Tensor, axis: int) -> Tensor:
    """Split an axis (0, 1, 2 of X, Y, Z) of values [B, X, Y, Z] into (cells, 2); an odd one gets a zero appended."""
    if values.shape[axis + 1] % 2:
        values = F.pad(values, [0, 0] * (2 - axis) + [0, 1])
    before, after = values.shape[: axis + 1], values.shape[axis + 2 :]
    return values.reshape(*before, -1, 2, *after)


def _pair_sum(values: Tensor, axis: int) -> Tensor:
    """Sum neighbours two by two along an axis of values [B, X, Y, Z]; an axis of one voxel stays."""
    if values.shape[axis + 1] == 1:
        return values
    pairs = _pairs(values, axis)
    return pairs.select(axis + 2, 0) + pairs.select(axis + 2, 1)


def _crossing(face: Tensor, axis: int) -> Tensor:
    """Every second face along an axis of face [B, X, Y, Z]: those between two coarse cells."""
    if face.shape[axis + 1] == 1:
        return face
    return _pairs(face, axis).select(axis + 2, 1)


def _restrict(values: Tensor, shape: tuple[int, int, int]) -> Tensor:
    """Sum [B, N] over the voxels of each coarse cell."""
    coarse = values.view(-1, *shape)
    for axis in range(3):  # slowest axis first: the short strided pass comes last, on a quarter of the data
        coarse = _pair_sum(coarse, axis)
    return coarse.reshape(values.shape[0], -1)


def _add_prolonged(solution: Tensor, correction: Tensor, shape: tuple[int, int, int]) -> None:
    """Add to every voxel of solution [B, N] the correction [B, N of the coarse level] of its cell, in place."""
    members = solution.shape[0]
    x, y, z = coarse_shape(shape)
    repeat_x, repeat_y, repeat_z = (1 if size == 1 else 2 for size in shape)
    rows = correction.view(members, x, y, z, 1).expand(-1, -1, -1, -1, repeat_z).reshape(members, x, y, 1, -1)
    layers = rows.expand(-1, -1, -1, repeat_y, -1).reshape(members, x, 1, -1)
    if (x * repeat_x, y * repeat_y, z * repeat_z) == shape:
        solution.view(members, x, repeat_x, -1).add_(layers)
        return
    volume = layers.expand(-1, -1, repeat_x, -1).reshape(members, x * repeat_x, y * repeat_y, z * repeat_z)
    solution.view(members, *shape).add_(volume[:, : shape[0], : shape[1], : shape[2]])
