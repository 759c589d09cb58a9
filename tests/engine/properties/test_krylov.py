from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from engine.properties.krylov import conjugate_gradients


@dataclass
class Dense:
    """Systems given as matrices [M, n, n], Jacobi-preconditioned."""

    matrices: Tensor

    def apply(self, v: Tensor) -> Tensor:
        return (self.matrices @ v.unsqueeze(2)).squeeze(2)

    def precondition(self, r: Tensor) -> Tensor:
        return r / self.matrices.diagonal(dim1=1, dim2=2).clamp(min=1e-300)

    def select(self, members: Tensor) -> "Dense":
        return Dense(self.matrices[members])


def systems(conditions: tuple[float, ...], n: int = 30) -> tuple[Dense, Tensor, Tensor]:
    """Matrices of given condition numbers, right-hand sides, solutions."""
    generator = torch.Generator().manual_seed(0)
    q = torch.linalg.qr(torch.randn(len(conditions), n, n, generator=generator, dtype=torch.float64))[0]
    eigenvalues = torch.stack([torch.logspace(0, float(torch.tensor(c).log10()), n) for c in conditions]).double()
    matrices = q @ torch.diag_embed(eigenvalues) @ q.mT
    x = torch.randn(len(conditions), n, generator=generator, dtype=torch.float64)
    return Dense(matrices), (matrices @ x.unsqueeze(2)).squeeze(2), x


@pytest.mark.parametrize("delay", (0, 3))
def test_systems_of_different_difficulty_are_solved_and_retire_one_by_one(delay: int) -> None:
    dense, b, x = systems((1.0, 10.0, 300.0, 50.0))
    energy = (x * b).sum(1)  # x.Ax: the energy of the start 0 above the solution's
    start = torch.zeros_like(b)
    result = conjugate_gradients(dense, start, b, 2 * energy, 1e-10, 200, delay=delay)
    assert result.converged == [True] * 4 and (start == 0).all()
    assert result.iterations == sorted(result.iterations[:2]) + result.iterations[2:]
    assert result.iterations[2] == max(result.iterations) > result.iterations[0]
    torch.testing.assert_close(result.x, x, rtol=1e-2, atol=1e-3)
    for i in range(4):
        one = torch.tensor([i])
        alone = conjugate_gradients(dense.select(one), start[one], b[one], 2 * energy[one], 1e-10, 200, delay=delay)
        assert alone.iterations == [result.iterations[i]]
        torch.testing.assert_close(alone.x[0], result.x[i], rtol=1e-3, atol=1e-4)


def test_nothing_to_do_takes_no_step() -> None:
    dense, b, x = systems((10.0,))
    result = conjugate_gradients(dense, x, torch.zeros_like(b), torch.ones(1).double(), 1e-6, 10, delay=3)
    assert result.iterations == [0] and result.converged == [True] and torch.equal(result.x, x)


def test_a_broken_system_is_given_up_and_does_not_hang() -> None:
    dense, b, x = systems((10.0, 10.0))
    energy = 2 * (x * b).sum(1)
    b[1] = torch.nan
    result = conjugate_gradients(dense, torch.zeros_like(b), b, energy, 1e-6, 100)
    assert result.converged == [True, False] and result.iterations[1] == 0


def test_a_consistent_singular_system_has_a_solution() -> None:
    dense, _, x = systems((10.0,))
    values, vectors = torch.linalg.eigh(dense.matrices)
    values[:, :5] = 0
    singular = Dense(vectors @ torch.diag_embed(values) @ vectors.mT)
    b = singular.apply(x)
    result = conjugate_gradients(singular, torch.zeros_like(b), b, (x * b).sum(1), 1e-14, 100)
    assert result.converged == [True]
    torch.testing.assert_close(singular.apply(result.x), b, rtol=1e-4, atol=1e-5)
