"""Derivatives of elastic energies by single void voxels, where a gradient has to look beyond the displacements solved.

A void voxel whose corners all belong to solids deforms with them; filling it a little costs the energy of that
deformation. A corner that no solid holds (voids are two voxels thick there) has no displacement of its own: once the
voxel begins to carry, such corners go where the energy is least, which is what the derivative counts. A voxel that no
solid touches gives 0. This is the elastic counterpart of `conductor.insulator_gradient`.

Legend: `D H W` voxels (z, y, x), `K` phases, 24 = 8 corners x 3 components, `n` loose voxels.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from engine.properties.hexahedra import CORNERS, linear_displacements


@dataclass(frozen=True, kw_only=True)
class LooseVoxels:
    """The void voxels of a cell with corners that no solid holds."""

    voxels: Tensor
    """[n]: flat indices."""
    patterns: Tensor
    """[n]: bit c is set where corner c is loose."""
    elements: Tensor
    """[K, 24, 24] float64: what each phase would carry there."""

    def corners(self, v: Tensor, strain: Tensor) -> Tensor:
        """[24, n]: corner displacements, of v [1, 3, D, H, W] on top of a uniform strain [1, 6]."""
        around = [v[0].roll([-each for each in corner], (1, 2, 3)).flatten(1)[:, self.voxels] for corner in CORNERS]
        return torch.cat(around) + linear_displacements().to(v) @ strain[0, :, None]

    def work(self, left: Tensor, right: Tensor, forces: Tensor | None = None) -> Tensor:
        """[K, n]: work, on the displacements `left`, of the forces of `right` (both [24, n]) and of `forces` [K, 24].

        With the loose corners of `left` at rest, those of `right` do not matter.
        """
        out = left.new_zeros(len(self.elements), left.shape[1])
        for pattern, chosen in self._by_pattern():
            for k, element in enumerate(self.elements):
                if not bool(element.any()):
                    continue
                settled = settling(element, pattern).to(left) @ left[:, chosen]
                pulled = element.to(right) @ right[:, chosen]
                if forces is not None:
                    pulled = pulled + forces[k, :, None].to(right)
                out[k, chosen] = (settled * pulled).sum(0)
        return out

    def _by_pattern(self) -> Iterator[tuple[int, Tensor]]:
        """Voxels that some corner holds, by pattern."""
        for pattern in torch.unique(self.patterns).tolist():
            if pattern == 2 ** len(CORNERS) - 1:
                continue  # it floats: nothing to pull at
            yield pattern, (self.patterns == pattern).nonzero()[:, 0]


def loose_voxels(void: Tensor, elements: Tensor) -> LooseVoxels:
    """Find them.

    Args:
        void: [D, H, W] bool, voxels of a periodic cell that carry nothing.
        elements: [K, 24, 24] float64.
    """
    held = torch.zeros_like(void)  # nodes of a solid
    for corner in CORNERS:
        held |= (~void).roll(corner, (0, 1, 2))
    patterns = torch.zeros_like(void, dtype=torch.int64)
    for bit, corner in enumerate(CORNERS):
        patterns += (~held).roll([-each for each in corner], (0, 1, 2)).long() << bit
    patterns = torch.where(void, patterns, 0).flatten()
    voxels = patterns.nonzero()[:, 0]
    return LooseVoxels(voxels=voxels, patterns=patterns[voxels], elements=elements)


def settling(element: Tensor, pattern: int) -> Tensor:
    """[24, 24]: corner displacements -> the same with the loose corners where `element` [24, 24] costs the least."""
    loose = torch.tensor([bool(pattern >> c & 1) for c in range(8)], device=element.device).repeat_interleave(3)
    out = torch.diag(torch.where(loose, 0.0, 1.0).double())
    if not bool(loose.all()):
        inner, outer = element[loose][:, loose], element[loose][:, ~loose]
        # the inverse of a voxel that hangs by a corner or an edge: it may turn freely
        rows = -torch.linalg.pinv(inner, hermitian=True, rtol=1e-10) @ outer
        out[loose.nonzero(), (~loose).nonzero()[:, 0]] = rows
    return out
