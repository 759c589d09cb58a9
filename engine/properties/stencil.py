"""The seven-point operator of steady conduction on voxels, stored flat so that every pass over memory is contiguous.

Legend: `B` members of a batch, `X Y Z` voxels (the flux runs along X), `N = X*Y*Z`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Stencil:
    """A symmetric operator A v = diagonal * v - sum over the six neighbours of conductance * v_neighbour.

    Row ends need no special case: the conductance stored there is 0, so a neighbour is a shift of the flat array.
    """

    shape: tuple[int, int, int]
    """Voxels (X, Y, Z)."""
    faces: tuple[Tensor, Tensor, Tensor]
    """[B, N] each: conductance of the face between a voxel and the next one along X, Y, Z; 0 at the last one."""
    sink: Tensor
    """[B, N]: conductance from a voxel to fixed potentials."""
    diagonal: Tensor
    """[B, N]: sum of all conductances of a voxel."""

    @property
    def strides(self) -> tuple[int, int, int]:
        """Distance in the flat array to the next voxel along X, Y, Z."""
        return self.shape[1] * self.shape[2], self.shape[2], 1

    def couplings(self) -> list[tuple[Tensor, int]]:
        """(conductance [B, N - stride], stride) of every axis with more than one voxel."""
        pairs = zip(self.faces, self.strides, self.shape, strict=True)
        return [(face[:, :-stride], stride) for face, stride, size in pairs if size > 1]

    def residual(self, right: Tensor, v: Tensor, out: Tensor | None = None) -> Tensor:
        """right - A v, all [B, N]."""
        out = torch.addcmul(right, self.diagonal, v, value=-1, out=out)
        for face, stride in self.couplings():
            out[:, :-stride].addcmul_(face, v[:, stride:])
            out[:, stride:].addcmul_(face, v[:, :-stride])
        return out

    def apply(self, v: Tensor, out: Tensor | None = None) -> Tensor:
        """A v, both [B, N]."""
        out = torch.mul(self.diagonal, v, out=out)
        for face, stride in self.couplings():
            out[:, :-stride].addcmul_(face, v[:, stride:], value=-1)
            out[:, stride:].addcmul_(face, v[:, :-stride], value=-1)
        return out

    def dense(self) -> Tensor:
        """The operator as a matrix [B, N, N]; voxels without any conductance get a 1 on the diagonal."""
        matrix = torch.diag_embed(torch.where(self.diagonal > 0, self.diagonal, 1.0))
        count = self.diagonal.shape[1]
        for face, stride in self.couplings():
            row = torch.arange(count - stride, device=face.device)
            matrix[:, row, row + stride] -= face
            matrix[:, row + stride, row] -= face
        return matrix


def make_stencil(shape: tuple[int, int, int], faces: tuple[Tensor, Tensor, Tensor], sink: Tensor) -> Stencil:
    """Assemble the diagonal of a stencil from its conductances ([B, N] each)."""
    stencil = Stencil(shape=shape, faces=faces, sink=sink, diagonal=sink.clone())
    for face, stride in stencil.couplings():
        stencil.diagonal[:, :-stride] += face
        stencil.diagonal[:, stride:] += face
    return stencil


@dataclass(frozen=True, kw_only=True)
class Conductor:
    """A voxel conductor between two fixed potentials: 0 half a voxel before the first layer, 1 behind the last.

    Faces between voxels of conductivity a and b conduct g = 2ab / (a + b) (two half voxels in series), a face to a
    fixed potential conducts 2a; all other outer faces are sealed. Lengths are in voxels. This is the discretisation
    of TauFactor (Kench, Squires and Cooper, 2023).
    """

    stencil: Stencil
    half_resistance: Tensor
    """[B, N]: 1 / (2 sigma), resistance from the centre of a voxel to one of its faces; inf in an insulator."""

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.stencil.shape

    @property
    def layer(self) -> int:
        """Voxels of one layer across the flux."""
        return self.shape[1] * self.shape[2]

    def source(self) -> Tensor:
        """Right-hand side [B, N]: the conductance to the fixed potential 1."""
        right = torch.zeros_like(self.half_resistance)
        right[:, -self.layer :] = 1 / self.half_resistance[:, -self.layer :]
        return right

    def power(self, u: Tensor) -> Tensor:
        """Dissipated power [B] of the potential u [B, N]; equals the current between the fixed potentials at the
        solution and exceeds it for every other u (Dirichlet's principle), by the squared energy norm of the error."""
        first, last = slice(None, self.layer), slice(-self.layer, None)
        total = (u[:, first].square() / self.half_resistance[:, first]).sum(1)
        total += ((1 - u[:, last]).square() / self.half_resistance[:, last]).sum(1)
        for face, stride in self.stencil.couplings():
            total += torch.linalg.vecdot(face, (u[:, stride:] - u[:, :-stride]).square_())
        return total

    def power_gradient(self, u: Tensor) -> Tensor:
        """Derivative [B, N] of the power by each voxel's conductivity, at the solution u [B, N].

        At the solution the derivative by u vanishes, so what is left is sum over the faces of dg/dsigma (du)^2. With
        the flux q = g du and dg/dsigma = 2 (g r)^2, r the half resistance, that is 2 r^2 times the sum of q^2.
        """
        first, last = slice(None, self.layer), slice(-self.layer, None)
        total = torch.zeros_like(u)
        total[:, first] += (u[:, first] / self.half_resistance[:, first]).square_()
        total[:, last] += ((1 - u[:, last]) / self.half_resistance[:, last]).square_()
        for face, stride in self.stencil.couplings():
            flux_squared = (u[:, stride:] - u[:, :-stride]).mul_(face).square_()
            total[:, :-stride] += flux_squared
            total[:, stride:] += flux_squared
        return total.mul_(self.half_resistance).mul_(self.half_resistance).mul_(2)


def make_conductor(conductivity: Tensor) -> Conductor:
    """Discretise a conductivity [B, X, Y, Z] (>= 0, flux along X)."""
    members, *sizes = conductivity.shape
    shape = (sizes[0], sizes[1], sizes[2])
    strides = (shape[1] * shape[2], shape[2], 1)
    resistance = (0.5 / conductivity).reshape(members, -1)  # inf where insulating, so that its faces come out as 0
    faces = []
    for axis, (stride, size) in enumerate(zip(strides, shape, strict=True)):
        face = torch.zeros_like(resistance)
        if size > 1:
            torch.add(resistance[:, :-stride], resistance[:, stride:], out=face[:, :-stride])
            face[:, :-stride].reciprocal_()
            face.view(members, *shape).select(axis + 1, -1).zero_()
        faces.append(face)
    sink = torch.zeros_like(resistance)
    layer = strides[0]
    sink[:, :layer] += 1 / resistance[:, :layer]
    sink[:, -layer:] += 1 / resistance[:, -layer:]
    return Conductor(
        stencil=make_stencil(shape, (faces[0], faces[1], faces[2]), sink),
        half_resistance=resistance,
    )
