"""The seven-point operator of steady conduction on voxels, stored flat so that every pass over memory is contiguous.

Legend: `B` members of a batch, `X Y Z` voxels (the flux runs along X), `N = X*Y*Z`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

Wraps = tuple[Tensor | None, Tensor | None]


@dataclass(frozen=True, kw_only=True)
class Stencil:
    """A symmetric operator A v = diagonal * v - sum over the six neighbours of conductance * v_neighbour.

    Row ends need no special case: the conductance stored there is 0, so a neighbour is a shift of the flat array. Faces
    through which a periodic volume meets itself are kept apart, in `wraps`.
    """

    shape: tuple[int, int, int]
    """Voxels (X, Y, Z)."""
    faces: tuple[Tensor, Tensor, Tensor]
    """[B, N] each: conductance of the face between a voxel and the next one along X, Y, Z; 0 at the last one."""
    sink: Tensor
    """[B, N]: conductance from a voxel to fixed potentials."""
    diagonal: Tensor
    """[B, N]: sum of all conductances of a voxel."""
    wraps: Wraps = (None, None)
    """[B, X, Z] and [B, X, Y]: conductance between the last and the first voxel along Y and Z; None where sealed."""

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
        self._add_wraps(v, out, 1)
        return out

    def apply(self, v: Tensor, out: Tensor | None = None) -> Tensor:
        """A v, both [B, N]."""
        out = torch.mul(self.diagonal, v, out=out)
        for face, stride in self.couplings():
            out[:, :-stride].addcmul_(face, v[:, stride:], value=-1)
            out[:, stride:].addcmul_(face, v[:, :-stride], value=-1)
        self._add_wraps(v, out, -1)
        return out

    def ends(self, v: Tensor) -> list[tuple[Tensor, Tensor, Tensor]]:
        """(conductance, v in the first voxels, v in the last ones) of every axis that wraps; views of v [B, N]."""
        grid = v.view(-1, *self.shape)
        pairs = enumerate(self.wraps, start=2)
        return [(wrap, grid.select(axis, 0), grid.select(axis, -1)) for axis, wrap in pairs if wrap is not None]

    def _add_wraps(self, v: Tensor, out: Tensor, sign: int) -> None:
        for (wrap, first, last), (_, out_first, out_last) in zip(self.ends(v), self.ends(out), strict=True):
            out_first.addcmul_(wrap, last, value=sign)
            out_last.addcmul_(wrap, first, value=sign)

    def select(self, members: Tensor) -> Stencil:
        """The stencil of some of the members, by index."""
        return Stencil(
            shape=self.shape,
            faces=(self.faces[0][members], self.faces[1][members], self.faces[2][members]),
            sink=self.sink[members],
            diagonal=self.diagonal[members],
            wraps=(_select(self.wraps[0], members), _select(self.wraps[1], members)),
        )

    def dense(self) -> Tensor:
        """The operator as a matrix [B, N, N]; voxels without any conductance get a 1 on the diagonal."""
        matrix = torch.diag_embed(torch.where(self.diagonal > 0, self.diagonal, 1.0))
        count = self.diagonal.shape[1]
        for face, stride in self.couplings():
            row = torch.arange(count - stride, device=face.device)
            matrix[:, row, row + stride] -= face
            matrix[:, row + stride, row] -= face
        for wrap, first, last in self.ends(torch.arange(count, device=self.diagonal.device)[None]):
            i, j = first.flatten(), last.flatten()
            matrix[:, i, j] -= wrap.flatten(1)
            matrix[:, j, i] -= wrap.flatten(1)
        return matrix


def make_stencil(
    shape: tuple[int, int, int], faces: tuple[Tensor, Tensor, Tensor], sink: Tensor, wraps: Wraps = (None, None)
) -> Stencil:
    """Assemble the diagonal of a stencil from its conductances."""
    stencil = Stencil(shape=shape, faces=faces, sink=sink, diagonal=sink.clone(), wraps=wraps)
    for face, stride in stencil.couplings():
        stencil.diagonal[:, :-stride] += face
        stencil.diagonal[:, stride:] += face
    for wrap, first, last in stencil.ends(stencil.diagonal):
        first += wrap
        last += wrap
    return stencil


def _select(wrap: Tensor | None, members: Tensor) -> Tensor | None:
    return None if wrap is None else wrap[members]
