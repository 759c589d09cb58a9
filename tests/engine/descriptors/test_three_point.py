import itertools

import numpy as np
import pytest
import torch

from engine.descriptors.three_point import along_axes, half_plane, three_point_correlation
from engine.descriptors.two_point import directional_s2
from engine.errors import InputError


def random_mask(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).random(shape) < 0.6


def test_lag_sets() -> None:
    assert along_axes(3, space_dims=2) == [(0, 0), (1, 0), (2, 0), (0, 1), (0, 2)]
    assert half_plane(2) == [(0, 0), (0, 1), (1, 0), (1, 1), (1, -1)]
    assert len(half_plane(32)) == 1985  # as in the paper


@pytest.mark.parametrize("periodic", [False, True])
@pytest.mark.parametrize("shape", [(7, 8), (6, 5, 7)])
def test_by_counting(shape: tuple[int, ...], periodic: bool) -> None:
    mask = random_mask(*shape)
    lags = [(0, 0), (0, 2), (1, 1), (2, -3), (3, 0)] if len(shape) == 2 else [(0, 0, 1), (2, -1, 0), (-1, 1, 3)]
    measured = three_point_correlation(mask, lags, space_dims=len(shape), periodic=periodic).numpy()
    for (i, a), (j, b) in itertools.product(enumerate(lags), repeat=2):
        hits = places = 0
        for here in np.ndindex(shape):
            points = [here, tuple(np.add(here, a)), tuple(np.add(here, b))]
            if periodic:
                points = [tuple(np.mod(point, shape)) for point in points]
            elif any(not 0 <= c < n for point in points for c, n in zip(point, shape, strict=True)):
                continue
            places += 1
            hits += all(mask[point] for point in points)
        assert measured[i, j] == pytest.approx(hits / places, abs=1e-15)


@pytest.mark.parametrize("periodic", [False, True])
def test_diagonal_and_row_of_lag_zero_are_s2(periodic: bool) -> None:
    mask = random_mask(8, 9, 10)
    s3 = three_point_correlation(mask, along_axes(5), periodic=periodic)
    s2 = directional_s2(mask, 5, periodic=periodic)
    expected = torch.cat([s2[0, :1], s2[:, 1:].flatten()])
    torch.testing.assert_close(s3.diagonal(), expected)
    torch.testing.assert_close(s3[0], expected)
    torch.testing.assert_close(s3, s3.T)


def test_boolean_model(boolean_model, within_standard_errors) -> None:
    """Three voxels in a row, r apart: the outer two spheres meet within the middle one, so their union is known."""
    for r in (2, 5):
        lags = [(r, 0, 0), (2 * r, 0, 0)]
        measured = three_point_correlation(boolean_model.masks, lags).numpy()[:, 0, 1]
        union = 2 * boolean_model.union_of_two(np.float64(r)) - boolean_model.sphere
        within_standard_errors(measured, np.array(np.exp(-boolean_model.density * union)))


def test_uncorrelated_voxels(within_standard_errors) -> None:
    masks = np.random.default_rng(1).random((48, 24, 24)) < 0.6
    measured = three_point_correlation(masks, [(1, 0), (0, 2)], space_dims=2).numpy()
    within_standard_errors(measured[:, 0, 1], np.array(0.6**3))


def test_a_batch_is_measured_as_one_by_one() -> None:
    masks = random_mask(2, 3, 8, 9)
    together = three_point_correlation(masks, half_plane(4), space_dims=2)
    assert together.shape == (2, 3, 25, 25)
    alone = three_point_correlation(masks[1, 2], half_plane(4), space_dims=2)
    torch.testing.assert_close(together[1, 2], alone, rtol=1e-5, atol=0)


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_turned_volumes_measure_the_same(order: tuple[int, ...]) -> None:
    mask, lags = random_mask(7, 8, 9), along_axes(4)
    turned = [tuple(lag[axis] for axis in order) for lag in lags]
    torch.testing.assert_close(
        three_point_correlation(mask.transpose(order), turned), three_point_correlation(mask, lags)
    )


@pytest.mark.parametrize("periodic", [False, True])
def test_soft_phases(periodic: bool) -> None:
    mask = random_mask(1, 6, 7)
    soft = three_point_correlation(torch.from_numpy(mask).double(), half_plane(3), space_dims=2, periodic=periodic)
    torch.testing.assert_close(soft, three_point_correlation(mask, half_plane(3), space_dims=2, periodic=periodic))
    field = torch.rand(2, 4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    assert torch.autograd.gradcheck(
        lambda x: three_point_correlation(x, half_plane(2), space_dims=2, periodic=periodic), field, rtol=1e-3
    )


def test_bad_lags() -> None:
    mask = random_mask(6, 7)
    with pytest.raises(InputError, match="at least one"):
        three_point_correlation(mask, [], space_dims=2)
    with pytest.raises(InputError, match="each of 2 integers"):
        three_point_correlation(mask, [(0, 0, 1)], space_dims=2)
    with pytest.raises(InputError, match="shorter"):
        three_point_correlation(mask, [(3, 0), (-3, 0)], space_dims=2)
