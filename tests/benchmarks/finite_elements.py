"""Young's modulus of a periodic cell by an independent code: torch-fem's elements, opposite faces identified."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from engine.properties.elasticity import homogenize
from engine.properties.stiffness import isotropic, strain_tensor, uniaxial_strain, youngs_modulus

LOOK, MOST_STEPS = 10, 200


def modulus_by_torch_fem(
    labels: NDArray[np.uint8], moduli: list[float], ratios: list[float], axis: int, *, tolerance: float = 1e-4
) -> tuple[float, float, float]:
    """Young's modulus along an array axis (z, y, x), and how it was certified.

    The strain of a pull along the axis alone is taken from our own solver, and its displacements as the start; the
    energy of that strain is then minimised with torch-fem's forces by conjugate gradients until it falls by less
    than `tolerance` in ten steps. The modulus is the least energy over the displacements and over the other strains,
    so an error of our solver could only show as a modulus that falls, or as a residual that does not.

    Args:
        labels: [D, H, W] phase indices.
        moduli, ratios: of each phase; none of them a void.

    Returns:
        our modulus, torch-fem's, and the share of the forces that was out of balance at the start.
    """
    from torchfem import Solid
    from torchfem.materials import IsotropicElasticity3D
    from torchfem.mesh import cube_hexa

    shape = labels.shape
    component = 2 - axis
    indices = torch.from_numpy(labels.astype(np.int64))
    hot = torch.nn.functional.one_hot(indices, len(moduli)).movedim(-1, 0)[None].float()
    table = torch.stack([isotropic(e, nu) for e, nu in zip(moduli, ratios, strict=True)])
    ours = homogenize(hot, table, tolerance=1e-4)
    strain = uniaxial_strain(ours.stiffness[0], component).double()

    previous = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        nodes, elements = cube_hexa(*(n + 1 for n in reversed(shape)), *(float(n) for n in reversed(shape)))
        nodes = nodes.double()
        x, y, z = nodes[elements].mean(1).long().unbind(1)
        phase = indices[z, y, x]
        material = IsotropicElasticity3D(E=torch.tensor(moduli)[phase], nu=torch.tensor(ratios)[phase])
        model = Solid(nodes, elements, material)
        x, y, z = nodes.round().long().unbind(1)
        cell = ((z % shape[0]) * shape[1] + y % shape[1]) * shape[2] + x % shape[2]  # node of the periodic cell
        points = len(model.etype.iweights)
        unstrained = torch.eye(3).expand(points, len(elements), 3, 3)
        unstressed = torch.zeros(points, len(elements), 3, 3)
        state = torch.zeros(points, len(elements), material.n_state)

        def element_forces(displacement: Tensor) -> Tensor:
            """[elements, 8, 3] of displacements [nodes, 3]."""
            nothing = torch.zeros_like(displacement)
            _, out, *_ = model.integrate_material(
                nothing, unstrained, unstressed, state, displacement, unstressed[0], 0, compute_stiffness=False
            )
            return out.reshape(len(elements), 8, 3)

        def gathered(by_element: Tensor) -> Tensor:
            """[nodes of the cell, 3]."""
            out = torch.zeros(labels.size, 3)
            return out.index_add_(0, cell[elements].reshape(-1), by_element.reshape(-1, 3))

        affine = nodes @ strain_tensor(strain)
        moved = torch.einsum("l,lcdhw->dhwc", strain, ours.displacements[0].double()).reshape(-1, 3)
        scale = float(gathered(element_forces(affine)).norm())
        residual = -gathered(element_forces(affine + moved[cell]))
        unbalanced = float(residual.norm()) / scale
        direction, square = residual, float(residual.square().sum())
        energy = np.inf
        for step in range(MOST_STEPS + 1):
            if step % LOOK == 0:
                displacement = affine + moved[cell]
                now = float((displacement[elements] * element_forces(displacement)).sum()) / labels.size
                if energy - now < tolerance * now:
                    break
                energy = now
            answer = gathered(element_forces(direction[cell]))
            length = square / float((direction * answer).sum())
            moved = moved + length * direction
            residual = residual - length * answer
            before, square = square, float(residual.square().sum())
            direction = residual + square / before * direction
    finally:
        torch.set_default_dtype(previous)
    return youngs_modulus(ours.stiffness[0], component), now, unbalanced
