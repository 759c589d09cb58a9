import numpy as np
import pytest
import torch

from engine.properties.conductor import make_conductor
from engine.properties.multigrid import Multigrid, coarse_shape, coarsen
from tests import structures


def homogeneous(shape: tuple[int, int, int]) -> torch.Tensor:
    return torch.ones(1, *shape, dtype=torch.float64)


def test_coarse_operator_of_a_homogeneous_conductor_is_its_discretisation_on_larger_voxels() -> None:
    coarse = coarsen(make_conductor(homogeneous((4, 6, 8))).stencil)
    assert coarse.shape == (2, 3, 4)
    for axis, face in enumerate(coarse.faces):  # a voxel of side 2 conducts 2 to its neighbour ...
        inner = face.view(2, 3, 4).narrow(axis, 0, coarse.shape[axis] - 1)
        torch.testing.assert_close(inner, torch.full_like(inner, 2.0))
    torch.testing.assert_close(coarse.sink, torch.full_like(coarse.sink, 4.0))  # ... and 4 to a fixed face


def test_flat_volume_is_coarsened_along_its_long_axes_alone() -> None:
    coarse = coarsen(make_conductor(homogeneous((1, 6, 7))).stencil)
    assert coarse.shape == coarse_shape((1, 6, 7)) == (1, 3, 4)
    across = coarse.faces[1].view(1, 3, 4)[0, 0]
    torch.testing.assert_close(across, torch.tensor([1.0, 1.0, 1.0, 0.5], dtype=torch.float64))  # the last is half wide


@pytest.mark.parametrize("periodic", (False, True), ids=("sealed", "periodic"))
@pytest.mark.parametrize("shape", [(6, 6, 6), (5, 6, 7), (1, 16, 9), (2, 3, 24)])
def test_cycle_is_symmetric_positive_definite_and_close_to_the_inverse(
    shape: tuple[int, int, int], periodic: bool
) -> None:
    phase = torch.from_numpy(structures.level_cut(shape, 0.5, 1.0, seed=0))[None].double()
    stencil = make_conductor(0.01 + 0.99 * phase, periodic).stencil
    count = phase.numel()
    columns = torch.eye(count, dtype=torch.float64)
    cycle = Multigrid(stencil)
    inverse = torch.cat([cycle(column[None]) for column in columns]).T
    torch.testing.assert_close(inverse, inverse.T)
    eigenvalues = np.linalg.eigvals((inverse @ stencil.dense()[0]).numpy())
    assert np.abs(eigenvalues.imag).max() < 1e-6
    assert eigenvalues.real.min() > 0.05 and eigenvalues.real.max() < 3


def test_periodic_sides_stay_periodic_until_a_cell_would_meet_itself() -> None:
    stencil = make_conductor(homogeneous((4, 4, 2)), periodic=True).stencil
    coarse = coarsen(stencil)
    assert coarse.wraps[1] is None and coarse.wraps[0] is not None
    torch.testing.assert_close(coarse.wraps[0], torch.full((1, 2, 1), 2.0, dtype=torch.float64))
