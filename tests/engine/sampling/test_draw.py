"""Phases drawn from probabilities: how often, how far correlated, the same again."""

import numpy as np
import pytest
import torch
from scipy import stats

from engine.sampling.draw import SURER, Draw
from engine.sampling.multiplane import Noise

SHARES = torch.tensor([0.2, 0.3, 0.5])


def everywhere(shares, side, volumes=1):
    return shares.reshape(1, -1, 1, 1, 1).expand(volumes, -1, side, side, side).clone()


@pytest.mark.parametrize("length", [0.5, 1.5])
def test_phases_come_as_often_as_they_are_probable(length):
    drawn = Draw((3, 64, 64, 64), length, Noise([0, 1]))(everywhere(SHARES, 64, 2)).argmax(dim=1)
    found = torch.stack([(drawn == k).float().mean() for k in range(3)])
    independent = 2 * 64**3 / (4 * np.pi * length**2) ** 1.5  # voxels, by the integral of the squared correlation
    standard_error = (SHARES * (1 - SHARES) / independent).sqrt()
    assert ((found - SHARES).abs() < 4 * standard_error).all()


def test_surer_takes_probabilities_to_a_power():
    drawn = Draw((3, 48, 48, 48), 0.5, Noise([0]))(everywhere(SHARES, 48), surer=SURER).argmax(dim=1)
    wanted = SHARES**SURER / (SHARES**SURER).sum()
    found = torch.stack([(drawn == k).float().mean() for k in range(3)])
    assert torch.allclose(found, wanted, atol=0.01)


def test_neighbours_agree_as_often_as_a_gaussian_field_of_the_length_says():
    """Against pairs drawn by numpy: correlation exp(-r^2 / (4 length^2)), Gumbel's distribution by scipy."""
    length, lags = 1.5, (1, 2, 4)
    drawn = Draw((2, 64, 64, 64), length, Noise([0, 1, 2]))(everywhere(torch.tensor([0.3, 0.7]), 64, 3)).argmax(dim=1)
    generator, count = np.random.default_rng(0), 400_000
    for lag in lags:
        correlation = np.exp(-(lag**2) / (4 * length**2))
        first, second = generator.standard_normal((2, 2, count))
        second = correlation * first + np.sqrt(1 - correlation**2) * second
        phases = [
            (np.log([0.3, 0.7])[:, None] + stats.gumbel_r.ppf(stats.norm.cdf(field))).argmax(axis=0)
            for field in (first, second)
        ]
        agree = float((drawn == drawn.roll(lag, 1)).float().mean())
        assert agree == pytest.approx((phases[0] == phases[1]).mean(), abs=0.012)


def test_a_volume_has_the_same_draw_again_and_in_any_company():
    probabilities = torch.rand(2, 2, 16, 16, 16, generator=torch.Generator().manual_seed(0)).softmax(dim=1)
    both = Draw((2, 16, 16, 16), 1.5, Noise([5, 6]))
    drawn = both(probabilities.clone())
    assert torch.equal(both(probabilities[1:].clone(), [1]), drawn[1:])
    alone = Draw((2, 16, 16, 16), 1.5, Noise([6]))
    assert torch.equal(alone(probabilities[1:].clone()), drawn[1:])
    assert not torch.equal(both(probabilities[:1].clone(), [1]), drawn[:1])


def test_what_is_certain_stays_and_all_is_finite():
    mask = torch.zeros(1, 16, 16, 16, dtype=torch.bool)
    mask[:, :8] = True
    certain = torch.stack([mask, ~mask], dim=1).float()
    drawn = Draw((2, 16, 16, 16), 1.5, Noise([0]))(certain.clone(), surer=SURER)
    assert bool(drawn.isfinite().all())
    assert torch.equal(drawn.argmax(dim=1) == 0, mask)
    assert torch.allclose(drawn.sum(dim=1), torch.ones(1, 16, 16, 16))
