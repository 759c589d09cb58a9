import numpy as np
import pytest
import torch

from engine.descriptors.covariance import directional_autocovariance
from engine.descriptors.two_point import autocovariance, directional_s2
from engine.micrographs.synthetic.gaussian import LevelCut


def masks(count: int, shape: tuple[int, ...]) -> np.ndarray:
    """Blocks cut from larger samples: their fractions differ and they are not periodic."""
    material = LevelCut(fraction=0.2, lengths=(4.0,))
    whole = (material.sample(tuple(2 * n for n in shape), seed) == 1 for seed in range(count))
    return np.stack([each[tuple(slice(n) for n in shape)] for each in whole])


def by_hand(mask: np.ndarray, axis: int, r: int) -> float:
    """Covariance of the pairs at one lag, as one writes it down."""
    n = mask.shape[axis]
    heads, tails = (np.take(mask, np.arange(a, b), axis).astype(float) for a, b in ((0, n - r), (r, n)))
    return float((heads * tails).mean() - heads.mean() * tails.mean()) / mask.std() ** 2


@pytest.mark.parametrize("shape", [(20, 24), (12, 16, 20)])
@pytest.mark.parametrize("periodic", [False, True])
def test_a_phase_and_its_complement_have_one_curve(shape, periodic):
    phase = masks(3, shape)
    options = {"space_dims": len(shape), "periodic": periodic}
    one, other = (directional_autocovariance(mask, shape[0] // 2, **options) for mask in (phase, ~phase))
    assert one.shape == (3, len(shape), shape[0] // 2)
    assert one == pytest.approx(other, abs=1e-12)


def test_it_is_the_covariance_of_the_two_ends_of_the_pairs():
    [mask] = masks(1, (10, 12, 14))
    found = directional_autocovariance(mask, 8)
    for axis in range(3):
        assert found[axis].tolist() == pytest.approx([by_hand(mask, axis, r) for r in range(8)], abs=1e-12)


def test_in_a_periodic_volume_it_is_that_of_the_curve_alone():
    [mask] = masks(1, (10, 12, 14))
    s2 = directional_s2(mask, 8, periodic=True)
    assert directional_autocovariance(mask, 8, periodic=True) == pytest.approx(autocovariance(s2), abs=1e-12)


def test_the_phase_that_fills_most_is_no_noisier_than_its_complement():
    """What it is for: centred on the whole volume's fraction, the curves of the two phases spread differently."""
    phase = masks(24, (24, 24, 24))
    plain = [autocovariance(directional_s2(mask, 12)).std(dim=0)[:, -1].mean() for mask in (phase, ~phase)]
    centred = [directional_autocovariance(mask, 12).std(dim=0)[:, -1].mean() for mask in (phase, ~phase)]
    assert plain[1] > 1.1 * plain[0] and centred[0] == pytest.approx(centred[1])
    assert centred[0] < 1.05 * min(plain)


def test_uncorrelated_voxels_have_none_and_a_constant_field_is_defined():
    mask = np.random.default_rng(0).random((8, 24, 24, 24)) < 0.3
    found = directional_autocovariance(mask, 12).mean(dim=(0, 1))
    assert found[0] == pytest.approx(1) and found[1:].abs().max() < 0.005
    assert torch.equal(
        directional_autocovariance(np.ones((2, 6, 6), bool), 3, space_dims=2), torch.zeros(2, 2, 3).double()
    )
