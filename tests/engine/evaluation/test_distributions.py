import numpy as np
import pytest
from scipy.linalg import sqrtm

from engine.errors import InputError
from engine.evaluation.distributions import compare_features, frechet_distance, precision_recall

A = np.array([[2.0, 0.6, 0.0], [0.6, 1.0, -0.3], [0.0, -0.3, 0.5]])
B = np.array([[0.5, -0.2, 0.1], [-0.2, 1.5, 0.4], [0.1, 0.4, 1.0]])  # does not commute with A
SHIFT = np.array([0.5, -1.0, 0.2])


def gaussians(count: int, mean: np.ndarray, covariance: np.ndarray, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).multivariate_normal(mean, covariance, size=count)


def test_the_frechet_distance_of_gaussians_is_the_closed_form():
    closed = SHIFT @ SHIFT + np.trace(A + B - 2 * sqrtm(A @ B).real)
    found = frechet_distance(gaussians(100_000, SHIFT, A), gaussians(100_000, 0 * SHIFT, B, seed=1))
    assert found == pytest.approx(closed, rel=0.02)


def test_the_frechet_distance_in_one_dimension_is_that_of_means_and_standard_deviations():
    one, two = np.array([[0.0], [2.0]]), np.array([[5.0], [5.0 + np.sqrt(18)]])  # sd sqrt(2) and 3
    assert frechet_distance(one, two) == pytest.approx((1 - 5 - np.sqrt(18) / 2) ** 2 + (3 - np.sqrt(2)) ** 2)


@pytest.mark.parametrize(("n", "m"), [(50, 80), (6, 9), (6, 80)])
def test_more_features_than_samples_change_nothing(n, m):
    """Against the matrix root of the sample covariances, 20 features."""
    generator = np.random.default_rng(0)
    one, two = generator.normal(size=(n, 20)), generator.normal(0.3, 2, size=(m, 20))
    c1, c2 = np.cov(one, rowvar=False), np.cov(two, rowvar=False)
    root = np.sqrt(np.maximum(np.linalg.eigvals(c1 @ c2).real, 0)).sum()
    exact = ((one.mean(0) - two.mean(0)) ** 2).sum() + np.trace(c1 + c2) - 2 * root
    assert frechet_distance(one, two) == pytest.approx(exact, rel=1e-5)


def test_a_set_is_at_no_distance_from_itself():
    values = gaussians(40, SHIFT, A)
    assert frechet_distance(values, values) == pytest.approx(0, abs=1e-9)
    assert precision_recall(values, values) == (1, 1)


def test_precision_sees_strangers_and_recall_sees_what_is_missing():
    truth = np.concatenate([gaussians(100, 0 * SHIFT, A), gaussians(100, 40 + SHIFT, A, seed=1)])
    half = gaussians(100, 0 * SHIFT, A, seed=2)
    precision, recall = precision_recall(half, truth)
    assert precision > 0.8 and 0.3 < recall < 0.5
    assert precision_recall(half + 1000, truth) == (0, 0)


def test_an_honest_set_is_within_and_a_shifted_one_beyond():
    truth = gaussians(60, 0 * SHIFT, A)
    passed = [
        compare_features(gaussians(30, 0 * SHIFT, A, seed), truth, features="x", comparable=False).passes
        for seed in range(1, 21)
    ]
    assert sum(passed) >= 15
    found = compare_features(gaussians(30, 2 * SHIFT, A, 1), truth, features="x", comparable=False)
    assert not found.passes and found.observed > 3 * found.null_median
    assert found.precision < found.null_precision and found.count == 30


def test_too_few_or_other_features_are_said():
    assert compare_features(np.zeros((40, 2)), np.zeros((15, 2)), features="x", comparable=False) is None
    with pytest.raises(InputError, match="two sets"):
        frechet_distance(np.zeros((4, 2)), np.zeros((4, 3)))
    with pytest.raises(InputError, match="more than 3"):
        precision_recall(np.zeros((3, 2)), np.zeros((9, 2)))
