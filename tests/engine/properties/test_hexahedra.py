import itertools

import pytest
import torch

from engine.properties.hexahedra import (
    Solid,
    corner_forces,
    element_stiffness,
    linear_displacements,
    reference_green,
    strain_matrices,
)
from engine.properties.krylov import conjugate_gradients
from engine.properties.stiffness import isotropic, orthotropic

FIBRE = orthotropic((230, 15, 15), (0.2, 0.2, 0.25), (24, 24, 6))
SHAPE = (3, 4, 5)


def solid(members: int = 1) -> Solid:
    """Random mixtures of two materials."""
    weights = torch.rand(members, 2, *SHAPE, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    elements = element_stiffness(torch.stack([FIBRE, isotropic(3.0, 0.3)]))
    return Solid(elements=elements, weights=weights, green=reference_green(FIBRE, torch.Size(SHAPE)))


def displacements(seed: int, members: int = 1) -> torch.Tensor:
    return torch.randn(members, 3, *SHAPE, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_unit_strains_strain_every_gauss_point_alike() -> None:
    found = strain_matrices() @ linear_displacements()
    torch.testing.assert_close(found, torch.eye(6, dtype=torch.float64).expand(8, 6, 6))


def test_an_element_resists_strains_and_not_rigid_motions() -> None:
    element = element_stiffness(FIBRE)
    eigenvalues = torch.linalg.eigvalsh(element)
    assert (eigenvalues[:6].abs() < 1e-9).all() and eigenvalues[6] > 0.1  # six rigid motions, no hourglass modes
    uniform = linear_displacements()
    torch.testing.assert_close(uniform.T @ element @ uniform, FIBRE)
    torch.testing.assert_close(element @ uniform, corner_forces(FIBRE).T)


def test_operator_agrees_with_one_assembled_voxel_by_voxel() -> None:
    system, v = solid(), displacements(1)
    expected = torch.zeros_like(v)
    for at in itertools.product(*map(range, SHAPE)):
        nodes = [
            tuple((i + o) % n for i, o, n in zip(at, c, SHAPE, strict=True))
            for c in itertools.product((0, 1), repeat=3)
        ]
        element = torch.einsum("r,rab->ab", system.weights[(0, slice(None), *at)], system.elements)
        forces = element @ torch.cat([v[(0, slice(None), *node)] for node in nodes])
        for i, node in enumerate(nodes):
            expected[(0, slice(None), *node)] += forces[3 * i : 3 * i + 3]
    torch.testing.assert_close(system.apply(v), expected)


def test_slabs_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    system, v, strain = solid(), displacements(1), torch.rand(1, 6, dtype=torch.float64)
    whole = system.forces(v, strain), system.energy_density(v, v, torch.stack([strain, strain]))
    monkeypatch.setattr("engine.properties.hexahedra.SLAB", 1)
    torch.testing.assert_close(system.forces(v, strain), whole[0])
    torch.testing.assert_close(system.energy_density(v, v, torch.stack([strain, strain])), whole[1])


def test_energy_density_adds_up_to_the_quadratic_form() -> None:
    system, u, v = solid(), displacements(1), displacements(2)
    none = torch.zeros(2, 1, 6, dtype=torch.float64)
    by_basis = system.energy_density(u, v, none)
    torch.testing.assert_close((by_basis * system.weights).sum(), (u * system.apply(v)).sum())


def test_nodal_and_projected_are_adjoint() -> None:
    system, v = solid(), displacements(1)
    vectors = torch.randn(2, 24, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    forces = system.nodal(vectors, system.weights)
    found = (system.projected(v, torch.zeros(1, 6, dtype=torch.float64), vectors) * system.weights).sum()
    torch.testing.assert_close(found, (forces * v).sum())


@pytest.mark.parametrize("shape", [(3, 4, 5), (1, 6, 4), (2, 2, 2)])
def test_green_operator_inverts_the_homogeneous_medium(shape: tuple[int, int, int]) -> None:
    green = reference_green(FIBRE, torch.Size(shape))
    weights = torch.ones(1, 1, *shape, dtype=torch.float64)
    medium = Solid(elements=element_stiffness(FIBRE)[None], weights=weights, green=green)
    v = torch.randn(1, 3, *shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    v -= v.mean((2, 3, 4), keepdim=True)
    torch.testing.assert_close(medium.precondition(medium.apply(v)), v, rtol=1e-8, atol=1e-8)


def test_members_solved_together_are_those_solved_alone() -> None:
    system = solid(members=3)
    forces = system.apply(displacements(4, members=3))
    zero, energy = torch.zeros_like(forces), torch.full((3,), 1e3, dtype=torch.float64)
    together = conjugate_gradients(system, zero, forces, energy, 1e-9, 100, delay=2)
    for i in range(3):
        one = torch.tensor([i])
        alone = conjugate_gradients(system.select(one), zero[one], forces[one], energy[one], 1e-9, 100, delay=2)
        assert alone.iterations == [together.iterations[i]]
        torch.testing.assert_close(alone.x[0], together.x[i])
