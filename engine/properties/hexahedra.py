"""Linear elasticity on voxels: one trilinear hexahedron per voxel, fully integrated, on a periodic grid of nodes, and
the inverse of a homogeneous medium on the same grid as preconditioner.

Full integration has no hourglass modes and gives an energy that bounds the effective stiffness from above; with the
discretisation's own Green operator the number of iterations does not grow with the grid and a void is nothing special
(M. Schneider, D. Merkert, M. Kabel, Int. J. Numer. Meth. Engng 109, 2017; M. Ladecky et al., Appl. Math. Comput. 446,
2023).

Legend: `M` systems (members x load cases), `D H W` voxels (z, y, x), `R` basis stiffnesses, 24 = 8 corners x 3
components (x, y, z); a voxel's first corner is the node of the same index.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

CORNERS = tuple(itertools.product((0, 1), repeat=3))
"""Offsets (z, y, x) of the corners of a voxel."""

SLAB = 8_192
"""Voxels whose corner displacements are gathered at once on a CPU: 0.8 MB in single precision stay in the cache."""


@cache
def strain_matrices() -> Tensor:
    """[8, 6, 24] float64: strains at the 2 x 2 x 2 Gauss points of a unit voxel from its corner displacements."""
    out = torch.zeros(8, 6, 8, 3, dtype=torch.float64)
    points = [0.5 - 0.5 / 3**0.5, 0.5 + 0.5 / 3**0.5]
    for g, at in enumerate(itertools.product(points, repeat=3)):  # (z, y, x)
        for c, corner in enumerate(CORNERS):
            shape = [p if o else 1 - p for p, o in zip(at, corner, strict=True)]
            slope = [1.0 if o else -1.0 for o in corner]
            dz, dy, dx = slope[0] * shape[1] * shape[2], shape[0] * slope[1] * shape[2], shape[0] * shape[1] * slope[2]
            out[g, :, c] = torch.tensor(
                [[dx, 0, 0], [0, dy, 0], [0, 0, dz], [0, dz, dy], [dz, 0, dx], [dy, dx, 0]], dtype=torch.float64
            )
    return out.flatten(2)


@cache
def linear_displacements() -> Tensor:
    """[24, 6] float64: corner displacements of a voxel under each unit strain."""
    corner = torch.tensor(CORNERS, dtype=torch.float64).flip(1)  # [8, 3] in x, y, z
    out = torch.zeros(8, 3, 6, dtype=torch.float64)
    for load, (a, b) in enumerate(((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))):
        out[:, a, load] += corner[:, b] * (1 if a == b else 0.5)
        if a != b:
            out[:, b, load] += corner[:, a] * 0.5
    return out.flatten(0, 1)


def element_stiffness(stiffness: Tensor) -> Tensor:
    """[..., 24, 24]: stiffness of one voxel of material [..., 6, 6]."""
    b = strain_matrices().to(stiffness)
    return torch.einsum("gia,...ij,gjb->...ab", b, stiffness, b) / 8


def corner_forces(stress: Tensor) -> Tensor:
    """[..., 24]: forces with which a voxel under a uniform stress [..., 6] pulls at its corners."""
    return torch.einsum("gia,...i->...a", strain_matrices().to(stress), stress) / 8


@dataclass(frozen=True, kw_only=True)
class Solid:
    """Periodic voxel solids: A u = sum over voxels of the corner forces. Implements `krylov.System`."""

    elements: Tensor
    """[R, 24, 24]: element stiffness of the basis materials."""
    weights: Tensor
    """[M or 1, R, D, H, W]: what each voxel has of each; a voxel's element stiffness is the weighted sum."""
    green: Tensor
    """[3, 3, D, H, W // 2 + 1]: inverse of the reference medium's operator in Fourier space, real; 0 at k = 0."""

    @property
    def shape(self) -> torch.Size:
        return self.weights.shape[-3:]

    def apply(self, v: Tensor) -> Tensor:
        """A v, both [M, 3, D, H, W]."""
        return self.forces(v, None)

    def forces(self, v: Tensor, strain: Tensor | None) -> Tensor:
        """Nodal forces [M, 3, D, H, W] of displacements v, on top of a uniform strain [M, 6]."""
        uniform = None if strain is None else (linear_displacements().to(v) @ strain.T).T  # [M, 24]
        padded = F.pad(v, [0, 1] * 3, mode="circular")
        out = torch.zeros_like(padded)
        for low, high in self._slabs(v):
            corners = _corners(padded, low, high)
            if uniform is not None:
                corners = corners + uniform.view(-1, 24, 1)
            _add_at_corners(out, self._element_forces(corners, low, high), low, high)
        return _folded(out)

    def energy_density(self, left: Tensor, right: Tensor, strains: Tensor) -> Tensor:
        """Work of the forces of `right` on `left` by voxel and basis material.

        Args:
            left, right: [M, 3, D, H, W].
            strains: [2, M, 6]: uniform strains on top of each.

        Returns: [M, R, D, H, W].
        """
        pads = [F.pad(v, [0, 1] * 3, mode="circular") for v in (left, right)]
        uniform = [(linear_displacements().to(left) @ s.T).T.view(-1, 24, 1) for s in strains]
        parts = []
        for low, high in self._slabs(left):
            a, b = (_corners(pad, low, high) + u for pad, u in zip(pads, uniform, strict=True))
            forces = torch.matmul(self.elements, b.unsqueeze(1))  # [M, R, 24, n]
            parts.append((forces * a.unsqueeze(1)).sum(2))
        return torch.cat(parts, dim=2).view(len(a), -1, *self.shape)

    def nodal(self, vectors: Tensor, indicators: Tensor) -> Tensor:
        """Nodal forces [M, 3, D, H, W] where voxels of phase k push their corners by vectors [K, 24], times
        indicators [M, K, D, H, W]."""
        members, _, d, h, w = indicators.shape
        out = indicators.new_zeros(members, 3, d + 1, h + 1, w + 1)
        for low, high in self._slabs(indicators):
            _add_at_corners(out, torch.matmul(vectors.T, indicators[:, :, low:high].flatten(2)), low, high)
        return _folded(out)

    def projected(self, v: Tensor, strain: Tensor, vectors: Tensor) -> Tensor:
        """The adjoint of `nodal`: [M, K, D, H, W], the product of each voxel's corner displacements (v on top of a
        uniform strain [M, 6]) with vectors [K, 24]."""
        padded = F.pad(v, [0, 1] * 3, mode="circular")
        uniform = (linear_displacements().to(v) @ strain.T).T.view(-1, 24, 1)
        parts = []
        for low, high in self._slabs(v):
            parts.append(torch.matmul(vectors, _corners(padded, low, high) + uniform))
        return torch.cat(parts, dim=2).view(len(v), -1, *self.shape)

    def precondition(self, r: Tensor) -> Tensor:
        """The displacements of the reference medium under forces r [M, 3, D, H, W]."""
        modes = torch.view_as_real(torch.fft.rfftn(r, dim=(-3, -2, -1)))
        green = self.green.unsqueeze(-1)
        out = torch.empty_like(modes)
        for i in range(3):
            torch.mul(green[i, 0], modes[:, 0], out=out[:, i])
            out[:, i].addcmul_(green[i, 1], modes[:, 1]).addcmul_(green[i, 2], modes[:, 2])
        moved: Tensor = torch.fft.irfftn(torch.view_as_complex(out), s=self.shape, dim=(-3, -2, -1))
        return moved

    def select(self, members: Tensor) -> Solid:
        weights = self.weights if len(self.weights) == 1 else self.weights[members]
        return Solid(elements=self.elements, weights=weights, green=self.green)

    def _element_forces(self, corners: Tensor, low: int, high: int) -> Tensor:
        """[M, 24, n] from corner displacements [M, 24, n] of the layers low ... high."""
        weights = self.weights[:, :, low:high].flatten(2)
        total = torch.matmul(self.elements[0], corners).mul_(weights[:, :1])
        for r in range(1, len(self.elements)):
            total.addcmul_(torch.matmul(self.elements[r], corners), weights[:, r : r + 1])
        return total

    def _slabs(self, v: Tensor) -> list[tuple[int, int]]:
        depth, layer = self.shape[0], len(v) * self.shape[1] * self.shape[2]
        thick = max(1, SLAB // layer) if v.device.type == "cpu" else depth
        return [(low, min(depth, low + thick)) for low in range(0, depth, thick)]


def reference_green(stiffness: Tensor, shape: torch.Size) -> Tensor:
    """`Solid.green` of a homogeneous material [6, 6]."""
    one = torch.ones(1, 1, 3, 3, 3, dtype=torch.float64, device=stiffness.device)
    solid = Solid(elements=element_stiffness(stiffness.double())[None], weights=one, green=one)
    impulses = torch.zeros(3, 3, 3, 3, 3, dtype=torch.float64, device=stiffness.device)
    for component in range(3):
        impulses[component, component, 1, 1, 1] = 1
    near = solid.apply(impulses)  # reaches the next nodes alone: a grid of 3 shows all of it
    response = near.new_zeros(3, 3, *shape)
    for node in itertools.product(range(3), repeat=3):
        z, y, x = ((at - 1) % size for at, size in zip(node, shape, strict=True))
        response[:, :, z, y, x] += near[:, :, node[0], node[1], node[2]]
    symbol = torch.fft.rfftn(response, dim=(-3, -2, -1)).real  # even in space, hence real
    matrices = symbol.permute(2, 3, 4, 0, 1)
    matrices[0, 0, 0] = torch.eye(3, dtype=torch.float64)
    inverse = torch.linalg.inv(matrices)
    inverse[0, 0, 0] = 0
    green: Tensor = inverse.permute(3, 4, 0, 1, 2).contiguous()
    return green


def _corners(padded: Tensor, low: int, high: int) -> Tensor:
    """[M, 24, n]: displacements at the corners of the voxels of some layers, from [M, 3, D + 1, H + 1, W + 1]."""
    members, _, _, h, w = padded.shape
    out = padded.new_empty(members, 8, 3, high - low, h - 1, w - 1)
    for c, (z, y, x) in enumerate(CORNERS):
        out[:, c] = padded[:, :, low + z : high + z, y : h - 1 + y, x : w - 1 + x]
    return out.view(members, 24, -1)


def _add_at_corners(padded: Tensor, forces: Tensor, low: int, high: int) -> None:
    """The adjoint of `_corners`: add [M, 24, n] to the nodes."""
    members, _, _, h, w = padded.shape
    grid = forces.view(members, 8, 3, high - low, h - 1, w - 1)
    for c, (z, y, x) in enumerate(CORNERS):
        padded[:, :, low + z : high + z, y : h - 1 + y, x : w - 1 + x] += grid[:, c]


def _folded(padded: Tensor) -> Tensor:
    """The adjoint of padding around: [M, 3, D + 1, H + 1, W + 1] -> [M, 3, D, H, W]."""
    padded[:, :, 0] += padded[:, :, -1]
    padded[:, :, :, 0] += padded[:, :, :, -1]
    padded[..., 0] += padded[..., -1]
    return padded[:, :, :-1, :-1, :-1].contiguous()
