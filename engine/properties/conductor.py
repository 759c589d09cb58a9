"""A voxel conductor between two fixed potentials: its equations, its power, and the power's derivative.

Legend: `B` members of a batch, `X Y Z` voxels (the flux runs along X), `N = X*Y*Z`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from engine.properties.stencil import Stencil, make_stencil

Resistances = tuple[Tensor, Tensor, Tensor]


@dataclass(frozen=True, kw_only=True)
class Conductor:
    """A voxel conductor between two fixed potentials: 0 half a voxel before the first layer, 1 behind the last.

    Faces between voxels of conductivity a and b conduct g = 2ab / (a + b) (two half voxels in series), a face to a
    fixed potential conducts 2a; the other outer faces are sealed, or meet each other where the sides are periodic.
    Lengths are in voxels. This is the discretisation of TauFactor (Kench, Squires and Cooper, 2023).
    """

    stencil: Stencil
    half_resistances: Resistances
    """[B, N] each: 1 / (2 sigma) along X, Y, Z, from the centre of a voxel to its face; inf in an insulator.
    Three times the same tensor where the conductivity is isotropic."""

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.stencil.shape

    @property
    def layer(self) -> int:
        """Voxels of one layer across the flux."""
        return self.shape[1] * self.shape[2]

    @property
    def isotropic(self) -> bool:
        return self.half_resistances[0] is self.half_resistances[1]

    def source(self) -> Tensor:
        """Right-hand side [B, N]: the conductance to the fixed potential 1."""
        right = torch.zeros_like(self.stencil.diagonal)
        right[:, -self.layer :] = 1 / self.half_resistances[0][:, -self.layer :]
        return right

    def power(self, u: Tensor) -> Tensor:
        """Dissipated power [B] of the potential u [B, N]; equals the current between the fixed potentials at the
        solution and exceeds it for every other u (Dirichlet's principle), by the squared energy norm of the error."""
        first, last, along = slice(None, self.layer), slice(-self.layer, None), self.half_resistances[0]
        total = (u[:, first].square() / along[:, first]).sum(1)
        total += ((1 - u[:, last]).square() / along[:, last]).sum(1)
        for face, stride in self.stencil.couplings():
            # `sum` adds in a cascade; a dot product of 10^7 single-precision terms would lose the fourth digit
            total += (u[:, stride:] - u[:, :-stride]).square_().mul_(face).sum(1)
        for wrap, start, end in self.stencil.ends(u):
            total += (start - end).square_().mul_(wrap).sum((1, 2))
        return total

    def power_gradient(self, u: Tensor) -> Tensor:
        """Derivative of the power by each voxel's conductivity, at the solution u [B, N].

        At the solution the derivative by u vanishes, so what is left is sum over the faces of dg/dsigma (du)^2. With
        the flux q = g du and dg/dsigma = 2 (g r)^2, r the half resistance, that is 2 r^2 times the sum of q^2.
        In insulators this is 0; what opening one would bring is `insulator_gradient`.

        Returns: [B, 1, N] by the isotropic conductivity, otherwise [B, 3, N] by that along X, Y, Z.
        """
        members, count = u.shape
        total = u.new_zeros(members, 1 if self.isotropic else 3, count)
        sums = [total[:, 0]] * 3 if self.isotropic else list(total.unbind(1))
        first, last, along = slice(None, self.layer), slice(-self.layer, None), self.half_resistances[0]
        sums[0][:, first] += (u[:, first] / along[:, first]).square_()
        sums[0][:, last] += ((1 - u[:, last]) / along[:, last]).square_()
        for axis, (face, stride) in enumerate(zip(self.stencil.faces, self.stencil.strides, strict=True)):
            if self.shape[axis] == 1:
                continue
            flux_squared = (u[:, stride:] - u[:, :-stride]).mul_(face[:, :-stride]).square_()
            sums[axis][:, :-stride] += flux_squared
            sums[axis][:, stride:] += flux_squared
        axes = [axis for axis, wrap in enumerate(self.stencil.wraps, start=1) if wrap is not None]
        for axis, (wrap, start, end) in zip(axes, self.stencil.ends(u), strict=True):
            flux_squared = (start - end).mul_(wrap).square_()
            grid = sums[axis].view(members, *self.shape)
            grid.select(axis + 1, 0).add_(flux_squared)
            grid.select(axis + 1, -1).add_(flux_squared)
        for index in range(total.shape[1]):
            resistance = self.half_resistances[index]
            known = torch.where(resistance.isinf(), 0.0, resistance)
            total[:, index].mul_(known).mul_(known).mul_(2)
        return total

    def select(self, members: Tensor) -> Conductor:
        """The conductor of some of the members, by index."""
        if self.isotropic:
            resistance = self.half_resistances[0][members]
            return Conductor(stencil=self.stencil.select(members), half_resistances=(resistance,) * 3)
        x, y, z = (resistance[members] for resistance in self.half_resistances)
        return Conductor(stencil=self.stencil.select(members), half_resistances=(x, y, z))


def make_conductor(conductivity: Tensor, periodic: bool = False) -> Conductor:
    """Discretise a conductivity [B, X, Y, Z], or [B, 3, X, Y, Z] along X, Y, Z (>= 0; flux along X).

    Args:
        periodic: whether the sides (along Y and Z) meet; otherwise they are sealed.
    """
    members, *sizes = conductivity.shape
    shape = (sizes[-3], sizes[-2], sizes[-1])
    grid = (members, *shape)
    half = 0.5 / conductivity  # inf where insulating, so that its faces come out as 0
    if conductivity.ndim == 4:
        resistances: Resistances = (half.reshape(members, -1),) * 3
    else:
        x, y, z = (each.reshape(members, -1) for each in half.unbind(1))
        resistances = (x, y, z)
    strides = (shape[1] * shape[2], shape[2], 1)
    faces = []
    for axis, (resistance, stride, size) in enumerate(zip(resistances, strides, shape, strict=True)):
        face = torch.zeros_like(resistance)
        if size > 1:
            torch.add(resistance[:, :-stride], resistance[:, stride:], out=face[:, :-stride])
            face[:, :-stride].reciprocal_()
            face.view(grid).select(axis + 1, -1).zero_()
        faces.append(face)
    sink = torch.zeros_like(resistances[0])
    layer = strides[0]
    sink[:, :layer] += 1 / resistances[0][:, :layer]
    sink[:, -layer:] += 1 / resistances[0][:, -layer:]
    wraps: list[Tensor | None] = []
    for axis in (1, 2):
        ends = resistances[axis].view(grid)
        joined = periodic and shape[axis] > 1
        wraps.append((ends.select(axis + 1, 0) + ends.select(axis + 1, -1)).reciprocal_() if joined else None)
    return Conductor(
        stencil=make_stencil(shape, (faces[0], faces[1], faces[2]), sink, (wraps[0], wraps[1])),
        half_resistances=resistances,
    )


def insulator_gradient(conducts: Tensor, known: Tensor, u: Tensor, periodic: bool) -> Tensor:
    """One-sided derivative of the power by the conductivity of single insulating voxels.

    A voxel that begins to conduct meets every conducting neighbour through the same conductance, 2 a to first order
    in its own conductivity a, so that it takes their mean potential m, and the power grows by 2 a times the sum over
    them of (u - m)^2. A voxel that insulates along one axis only has its own potential already, which takes the place
    of m. (Where two neighbours open together the power grows by more than the sum: there is no gradient in the strict
    sense, only these derivatives.) Conducting clusters that touch one fixed potential only take that potential;
    clusters that touch none say nothing, for they follow the voxel.

    Args:
        conducts: [B, 1, X, Y, Z] bool, or [B, 3, X, Y, Z] along X, Y, Z: a voxel then opens along each axis by itself.
        known: [B, X, Y, Z] bool, voxels with a potential.
        u: [B, X, Y, Z] their potential.
        periodic: whether the sides meet.

    Returns: [B, 1 or 3, N], 0 where a voxel conducts.
    """

    potential = _with_border(u, periodic, 0, 1)
    strides = potential.stride()[1:]

    def growth(conducts: Tensor, axes: Sequence[int]) -> Tensor:
        joined = _with_border(known & conducts, periodic, 1, 1)
        near = torch.zeros_like(joined)  # the voxels that could open onto something: few, so that they are picked out
        inner = near[:, 1:-1, 1:-1, 1:-1]
        for axis in axes:
            size = joined.shape[axis + 1]
            for start in (0, 2):
                inner |= joined.narrow(axis + 1, start, size - 2)[_inside_but(axis)]
        inner &= ~conducts
        at = near.flatten().nonzero()[:, 0]
        beside = torch.stack([at + sign * strides[axis] for axis in axes for sign in (-1, 1)])
        has = joined.flatten()[beside].to(u)
        potentials = potential.flatten()[beside]
        own = (potentials * has).sum(0) / has.sum(0)
        voxels = inner.flatten().nonzero()[:, 0]
        own = torch.where(known.flatten()[voxels], u.flatten()[voxels], own)
        out = torch.zeros_like(u).flatten()
        out[voxels] = (potentials - own).square_().mul_(has).sum(0) * 2
        return out.view(len(u), -1)

    if conducts.shape[1] == 1:
        return growth(conducts[:, 0], range(3)).unsqueeze(1)
    return torch.stack([growth(each, [axis]) for axis, each in enumerate(conducts.unbind(1))], dim=1)


def _inside_but(axis: int) -> tuple[slice, ...]:
    """Index of [B, X + 2, Y + 2, Z + 2] that takes the border off all axes but one."""
    return (slice(None), *(slice(None) if other == axis else slice(1, -1) for other in range(3)))


def _with_border(values: Tensor, periodic: bool, before: int, behind: int) -> Tensor:
    """Values [B, X, Y, Z] with a border of one voxel: `before` and `behind` along X; across it, 0 or the other side."""
    b, x, y, z = values.shape
    out = values.new_zeros(b, x + 2, y + 2, z + 2)
    out[:, 1:-1, 1:-1, 1:-1] = values
    out[:, 0], out[:, -1] = before, behind
    if periodic:
        out[:, 1:-1, 0, 1:-1], out[:, 1:-1, -1, 1:-1] = values[:, :, -1], values[:, :, 0]
        out[:, 1:-1, 1:-1, 0], out[:, 1:-1, 1:-1, -1] = values[..., -1], values[..., 0]
    return out
