import numpy as np
import pytest
import torch

from engine.descriptors.lineal_path import lineal_path, soft_lineal_path
from engine.descriptors.two_point import directional_s2
from engine.guidance.curves import lineal_path_curve, lineal_path_slope, s2_curve, s2_slope
from tests import structures


def mask(n=12):
    return torch.from_numpy(structures.level_cut((n, n, n), 0.5, 1.5, seed=3)).double()


def test_the_slope_of_s2_at_each_lag_is_that_of_finite_differences():
    pore = mask()
    for lag in (0, 1, 5):
        value, slope = s2_slope(pore, lag)
        assert value == pytest.approx(float(directional_s2(pore.bool().numpy(), 6).mean(dim=0)[lag]))
        for voxel in ((0, 0, 0), (5, 6, 7), (11, 3, 11)):
            ends = []
            for step in (1e-4, -1e-4):
                moved = pore.clone()
                moved[voxel] += step
                ends.append(s2_slope(moved, lag)[0])
            # the product of a voxel with itself (lag 0) counts twice in a difference, once in the derivative by a mask
            assert float(slope[voxel]) == pytest.approx((ends[0] - ends[1]) / 2e-4, rel=1e-5, abs=1e-12)


@pytest.mark.parametrize("periodic", [False, True])
@pytest.mark.parametrize("lag", [0, 1, 2, 5, 11])
def test_the_slope_of_the_lineal_path_is_that_of_the_expected_one(lag, periodic):
    """The expectation over independent voxels is linear in each, so its gradient at a hard volume is exact."""
    pore = mask()
    value, slope = lineal_path_slope(pore, lag, periodic)
    soft = pore.clone().requires_grad_(True)
    expected = soft_lineal_path(soft, lag + 1, periodic=periodic)[:, lag].mean()
    [gradient] = torch.autograd.grad(expected, soft)
    assert value == pytest.approx(float(expected.detach()), rel=1e-12)
    torch.testing.assert_close(slope, gradient, rtol=1e-9, atol=1e-15)


def test_curves_are_means_of_the_axes():
    pore = mask().bool().numpy()
    np.testing.assert_allclose(s2_curve(pore, 6), directional_s2(pore, 6).numpy().mean(axis=0))
    np.testing.assert_allclose(lineal_path_curve(pore, 6), lineal_path(pore, 6).mean(axis=0))


def test_the_slope_of_s2_in_a_periodic_volume():
    pore = mask(32).float()
    for lag in (1, 7, 20):
        value, slope = s2_slope(pore, lag, periodic=True)
        s2 = directional_s2(pore.bool(), 21, periodic=True).mean(dim=0)
        assert value == pytest.approx(float(s2[lag]), abs=1e-6)
        nudged = pore.clone()
        nudged[0, 31, 3] += 1e-2
        assert s2_slope(nudged, lag, periodic=True)[0] - value == pytest.approx(1e-2 * float(slope[0, 31, 3]), rel=0.05)
