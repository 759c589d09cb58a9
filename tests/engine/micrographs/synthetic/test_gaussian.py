import math

import numpy as np
import pytest

from engine.descriptors.surface import crossings
from engine.descriptors.two_point import directional_s2
from engine.errors import InputError
from engine.micrographs.synthetic.gaussian import LevelCut, Plurigaussian, band_s2, covariance, gaussian_field
from tests.engine.micrographs.synthetic.common import assert_mean, samples

LAGS = np.array([0, 1, 2, 4, 7, 11, 16])


@pytest.mark.parametrize("kind", ["gaussian", "exponential", "wave"])
def test_the_field_has_the_covariance_along_each_axis(kind):
    lengths = (3.0, 5.0)
    fields = np.stack([gaussian_field((64, 64), lengths, kind, np.random.default_rng(seed)) for seed in range(200)])
    for axis in (0, 1):
        products = np.stack([(fields * np.roll(fields, -lag, axis + 1)).mean(axis=(1, 2)) for lag in LAGS], axis=1)
        assert_mean(products, covariance(kind, [LAGS], [lengths[axis]]))


@pytest.mark.parametrize("band", [(0.4, math.inf), (-math.inf, -1.1), (-0.5, 0.5), (-0.3, 1.7)])
def test_band_probabilities_agree_with_scipy(band):
    from scipy.stats import multivariate_normal

    for correlation in (-0.4, 0.0, 0.3, 0.9, 0.999):
        law = multivariate_normal([0, 0], [[1, correlation], [correlation, 1]])
        low, high = np.clip(band, -9, 9)
        exact = law.cdf([high, high], lower_limit=[low, low])
        assert band_s2(*band, np.array(correlation)) == pytest.approx(exact, abs=2e-6)


@pytest.mark.parametrize("cuts", [1, 2])
def test_fraction_and_far_points(cuts):
    material = LevelCut(fraction=0.27, cuts=cuts)
    s2 = material.s2(np.array([0, 1000]), 0, 2)
    assert s2 == pytest.approx([0.27, 0.27**2], abs=1e-6)


@pytest.mark.parametrize(
    ("material", "shape", "count"),
    [
        (LevelCut(fraction=0.3, lengths=(5.0,)), (64, 64), 150),
        (LevelCut(fraction=0.3, lengths=(4.0, 9.0), cuts=2), (64, 64), 150),
        (LevelCut(fraction=0.2, lengths=(4.0,), covariance="exponential"), (64, 64), 150),
        (LevelCut(fraction=0.5, lengths=(4.0,), covariance="wave"), (64, 64), 150),
        (LevelCut(fraction=0.25, lengths=(3.0, 4.0, 6.0)), (32, 32, 32), 40),
    ],
)
def test_s2_follows_the_exact_relation_along_each_axis(material, shape, count):
    lags = LAGS  # up to half of the shortest side of all the shapes
    found = directional_s2(samples(material, shape, count) == 1, 17, space_dims=len(shape), periodic=True).numpy()
    for axis in range(len(shape)):
        assert_mean(found[:, axis, lags], material.s2(lags, axis, len(shape)))


@pytest.mark.parametrize("kind", ["gaussian", "wave"])
@pytest.mark.parametrize("cuts", [1, 2])
def test_crossings_are_twice_the_slope_of_s2_and_what_is_counted(kind, cuts):
    """Rice's formula against the exact S2, and on a grid that is fine beside the correlation length."""
    material = LevelCut(fraction=0.3, lengths=(16.0,), cuts=cuts, covariance=kind)
    step = 1e-3
    slope = float(material.s2(0, 0, 2) - material.s2(step, 0, 2)) / step
    assert 2 * slope == pytest.approx(material.crossings(0, 2), rel=1e-3)
    counted = crossings(samples(material, (128, 128), 40) == 1, space_dims=2).mean(axis=1)
    assert counted.mean() == pytest.approx(material.crossings(0, 2), rel=0.05)


def test_rough_surfaces_have_no_area():
    with pytest.raises(InputError, match="no finite area"):
        LevelCut(covariance="exponential").crossings(0, 3)


def test_plurigaussian_phases_have_their_fractions_and_s2():
    material = Plurigaussian(fractions=(0.2, 0.3, 0.5), lengths=(4.0,))
    labels = samples(material, (64, 64), 150)
    for phase, fraction in enumerate(material.fractions):
        found = directional_s2(labels == phase, 17, space_dims=2, periodic=True).mean(dim=1).numpy()[:, LAGS]
        exact = material.s2(LAGS, phase, 0, 2)
        assert exact[0] == pytest.approx(fraction)
        assert_mean(found, exact)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: LevelCut(cuts=3), "cuts: must be 1 or 2"),
        (lambda: LevelCut(covariance="linear"), "covariance: must be"),  # type: ignore[arg-type]
        (lambda: LevelCut(lengths=(1.0, 2.0)).sample((32, 32, 32), 0), "one for each of the 3 axes"),
        (lambda: LevelCut(lengths=(40.0,)).sample((32, 32), 0), "shorter length or a larger shape"),
        (lambda: Plurigaussian(fractions=(0.5, 0.5, 0.5)), "sum 1"),
    ],
)
def test_impossible_parameters_are_refused(make, words):
    with pytest.raises(InputError, match=words):
        make()
