import numpy as np
import pytest

from engine.evaluation.representativity import fraction_spread, representativity
from engine.micrographs.synthetic.gaussian import LevelCut


def test_independent_voxels_have_an_integral_range_of_one_voxel():
    truth = np.random.default_rng(0).random((150, 32, 32)) < 0.3
    found = representativity(truth[:50], truth, "a")
    assert found.integral_range == pytest.approx(1, rel=0.25)
    assert found.representative_side == pytest.approx(np.sqrt(0.7 / 0.3) / 0.05, rel=0.15)
    for size in found.sizes:
        assert size.truth == pytest.approx(np.sqrt(0.21) / size.side, rel=0.15)
        low, high = size.truth_interval
        assert (
            low < size.truth < high and low < np.sqrt(0.21) / size.side * 1.1 and high > np.sqrt(0.21) / size.side * 0.9
        )


def test_the_spread_by_size_is_that_of_the_exact_correlation():
    """Var = sum over lags of (S2 - phi^2) times the share of pairs at that lag, for a level cut of known S2."""
    material = LevelCut(fraction=0.3, lengths=(4.0,))
    masks = np.stack([material.sample((64, 64), seed) for seed in range(60)]) == 1
    from engine.micrographs.synthetic.gaussian import band_s2, covariance

    for side in (8, 16):
        lag = np.arange(-side + 1, side)
        share = 1 - np.abs(lag) / side
        s2 = band_s2(*material.band, covariance("gaussian", [lag[:, None], lag[None]], (4.0, 4.0)))
        exact = np.sqrt(((s2 - 0.09) * share[:, None] * share).sum() / side**2)
        assert fraction_spread(masks, side).std() == pytest.approx(exact, rel=0.05)


def test_an_absent_phase_has_no_spread():
    found = representativity(np.zeros((3, 16, 16), bool), np.zeros((4, 16, 16), bool), "a")
    assert (found.integral_range, found.representative_side) == (0, 0)
    assert [size.side for size in found.sizes] == [16, 8]
