import numpy as np
import pytest

from engine.descriptors.euler import euler_number_density, soft_euler_number_density
from engine.errors import InputError
from tests import structures


def in_empty_space(body: np.ndarray) -> np.ndarray:
    """A margin, so that a periodic density times the voxels is the body's own Euler number."""
    return np.pad(np.asarray(body, dtype=bool), 2)


def euler_number(body: np.ndarray) -> float:
    mask = in_empty_space(body)
    return float(euler_number_density(mask, space_dims=mask.ndim, periodic=True) * mask.size)


def torus() -> np.ndarray:
    z, y, x = np.indices((9, 25, 25)) - np.array([4, 12, 12])[:, None, None, None]
    return (np.hypot(y, x) - 7.5) ** 2 + z**2 < 9


def shell() -> np.ndarray:
    return (structures.sphere((15, 15, 15), 7) > 0) & ~(structures.sphere((15, 15, 15), 3.5) > 0)


@pytest.mark.parametrize(
    ("body", "number"),
    [
        (structures.sphere((11, 11, 11), 5), 1),
        (torus(), 0),  # a piece with a tunnel
        (shell(), 2),  # a piece with a cavity
        (np.eye(4)[None], 4),  # pieces that touch along edges are separate
        (np.ones((2, 2, 2)), 1),
        (torus()[4], 0),  # an image: a ring has a hole
        (np.eye(4), 4),
    ],
)
def test_bodies(body: np.ndarray, number: int) -> None:
    assert euler_number(body) == pytest.approx(number, abs=1e-9)


def test_uncorrelated_voxels(within_standard_errors) -> None:
    """Each cell of c voxels is in the phase with probability p^c: p - 3 p^2 + 3 p^4 - p^8 per voxel."""
    p = 0.4
    masks = np.random.default_rng(0).random((64, 16, 16, 16)) < p
    within_standard_errors(euler_number_density(masks), np.array(p - 3 * p**2 + 3 * p**4 - p**8))
    images = euler_number_density(masks, space_dims=2).mean(axis=1)
    within_standard_errors(images, np.array(p - 2 * p**2 + p**4))


@pytest.mark.parametrize("shape", [(9, 10, 11), (14, 17)])
def test_against_scikit_image(shape: tuple[int, ...]) -> None:
    from skimage.measure import euler_number as library

    mask = np.random.default_rng(1).random(shape) < 0.4
    assert euler_number(mask) == pytest.approx(library(mask, connectivity=1))


def test_lattice_of_rods_along_every_axis() -> None:
    """One junction and three rods per cell of 4 voxels: Euler number 1 - 3, whatever the window."""
    inside = np.indices((16, 16, 16)) % 4 == 0
    rods = inside.sum(axis=0) >= 2
    assert euler_number_density(rods, periodic=True) * 64 == pytest.approx(-2)


def test_the_border_neither_closes_nor_cuts() -> None:
    """A full volume and a plate through it have no boundary of their own; the window adds none."""
    assert euler_number_density(np.ones((6, 7, 8), dtype=bool)) == 0
    assert euler_number_density(structures.channel((8, 8, 8), 0, 3)) == pytest.approx(0, abs=0.02)


def test_the_soft_form_is_the_expectation() -> None:
    import torch

    p = torch.full((1, 1, 6, 6, 6), 0.4, dtype=torch.float64)
    assert float(soft_euler_number_density(p)) == pytest.approx(0.4 - 3 * 0.16 + 3 * 0.4**4 - 0.4**8)


def test_a_side_of_one_voxel_is_refused() -> None:
    with pytest.raises(InputError, match="at least 2 voxels"):
        euler_number_density(np.ones((1, 4, 4), dtype=bool))
