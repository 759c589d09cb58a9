import itertools

import numpy as np
import torch

from engine.properties.stencil import make_conductor

SHAPE = (3, 4, 5)


def conductivity() -> torch.Tensor:
    """[2, 3, 4, 5] random, with insulating voxels."""
    values = torch.rand(2, *SHAPE, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return torch.where(values < 0.3, 0.0, values)


def assembled(sigma: np.ndarray) -> np.ndarray:
    """The same operator, written down voxel by voxel."""
    index = np.arange(sigma.size).reshape(sigma.shape)
    matrix = np.zeros((sigma.size, sigma.size))
    for here in itertools.product(*map(range, sigma.shape)):
        if here[0] in (0, sigma.shape[0] - 1):
            matrix[index[here], index[here]] += 2 * sigma[here]
        for axis in range(3):
            there = tuple(i + (axis == other) for other, i in enumerate(here))
            if there[axis] < sigma.shape[axis] and sigma[here] + sigma[there] > 0:
                face = 2 * sigma[here] * sigma[there] / (sigma[here] + sigma[there])
                i, j = index[here], index[there]
                matrix[[i, j], [i, j]] += face
                matrix[[i, j], [j, i]] -= face
    return matrix


def test_operator_agrees_with_one_assembled_voxel_by_voxel() -> None:
    sigma = conductivity()
    stencil = make_conductor(sigma).stencil
    v = torch.rand(2, 60, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    applied, residual = stencil.apply(v), stencil.residual(torch.ones_like(v), v)
    for member in range(2):
        expected = assembled(sigma[member].numpy()) @ v[member].numpy()
        np.testing.assert_allclose(applied[member], expected, atol=1e-13)
        np.testing.assert_allclose(residual[member], 1 - expected, atol=1e-13)


def test_dense_form_is_the_operator_with_isolated_voxels_pinned() -> None:
    sigma = conductivity()
    dense = make_conductor(sigma).stencil.dense()
    for member in range(2):
        expected = assembled(sigma[member].numpy())
        expected[np.diag_indices(60)] += np.diag(expected) == 0
        np.testing.assert_allclose(dense[member], expected, atol=1e-13)


def test_power_is_the_quadratic_form_of_the_operator() -> None:
    conductor = make_conductor(conductivity())
    u = torch.rand(2, 60, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    right = conductor.source()
    quadratic = (u * conductor.stencil.apply(u) - 2 * u * right + right).sum(1)  # the last term: potential 1 outside
    torch.testing.assert_close(conductor.power(u), quadratic)


def test_power_gradient_is_the_derivative_at_a_fixed_potential() -> None:
    sigma = conductivity() + 0.1
    u = torch.rand(2, 60, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    gradient = make_conductor(sigma).power_gradient(u).view_as(sigma)
    step = 1e-6
    for voxel in itertools.product((0, 1, 2), (0, 3), (0, 2, 4)):
        change = torch.zeros_like(sigma)
        change[(slice(None), *voxel)] = step
        difference = make_conductor(sigma + change).power(u) - make_conductor(sigma - change).power(u)
        torch.testing.assert_close(gradient[(slice(None), *voxel)], difference / (2 * step), rtol=1e-6, atol=1e-9)
