import itertools

import numpy as np
import pytest
import torch

from engine.properties.conductor import make_conductor

SHAPE = (3, 4, 5)


def conductivity() -> torch.Tensor:
    """[2, 3, 4, 5] random, with insulating voxels."""
    values = torch.rand(2, *SHAPE, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return torch.where(values < 0.3, 0.0, values)


def assembled(sigma: np.ndarray, periodic: bool = False) -> np.ndarray:
    """The same operator, written down voxel by voxel. Sigma [X, Y, Z], or [3, X, Y, Z] per axis."""
    if sigma.ndim == 3:
        sigma = np.stack([sigma] * 3)
    along, sigma = sigma, sigma[0]
    index = np.arange(sigma.size).reshape(sigma.shape)
    matrix = np.zeros((sigma.size, sigma.size))
    for here in itertools.product(*map(range, sigma.shape)):
        if here[0] in (0, sigma.shape[0] - 1):
            matrix[index[here], index[here]] += 2 * sigma[here]
        for axis in range(3):
            size = sigma.shape[axis]
            there = tuple(i + (axis == other) for other, i in enumerate(here))
            if there[axis] == size and (not periodic or axis == 0 or size == 1):
                continue
            there = tuple(i % n for i, n in zip(there, sigma.shape, strict=True))
            a, b = along[axis][here], along[axis][there]
            if a + b > 0:
                face = 2 * a * b / (a + b)
                i, j = index[here], index[there]
                matrix[[i, j], [i, j]] += face
                matrix[[i, j], [j, i]] -= face
    return matrix


@pytest.mark.parametrize("periodic", (False, True), ids=("sealed", "periodic"))
@pytest.mark.parametrize("channels", (1, 3), ids=("isotropic", "per axis"))
def test_operator_agrees_with_one_assembled_voxel_by_voxel(periodic: bool, channels: int) -> None:
    sigma = conductivity() if channels == 1 else torch.stack([conductivity() * factor for factor in (1, 3, 0.5)], 1)
    stencil = make_conductor(sigma, periodic).stencil
    v = torch.rand(2, 60, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    applied, residual = stencil.apply(v), stencil.residual(torch.ones_like(v), v)
    for member in range(2):
        expected = assembled(sigma[member].numpy(), periodic) @ v[member].numpy()
        np.testing.assert_allclose(applied[member], expected, atol=1e-13)
        np.testing.assert_allclose(residual[member], 1 - expected, atol=1e-13)


@pytest.mark.parametrize("periodic", (False, True), ids=("sealed", "periodic"))
def test_dense_form_is_the_operator_with_isolated_voxels_pinned(periodic: bool) -> None:
    sigma = conductivity()
    dense = make_conductor(sigma, periodic).stencil.dense()
    for member in range(2):
        expected = assembled(sigma[member].numpy(), periodic)
        expected[np.diag_indices(60)] += np.diag(expected) == 0
        np.testing.assert_allclose(dense[member], expected, atol=1e-13)


def test_selected_members_keep_their_operator() -> None:
    stencil = make_conductor(conductivity(), periodic=True).stencil
    v = torch.rand(2, 60, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    chosen = torch.tensor([1])
    torch.testing.assert_close(stencil.select(chosen).apply(v[chosen]), stencil.apply(v)[chosen])
