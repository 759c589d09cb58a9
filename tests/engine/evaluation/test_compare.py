import numpy as np
import pytest

from engine.errors import InputError
from engine.evaluation.compare import bootstrap_interval, compare, compare_scalars, mean_shift_in_standard_errors
from engine.evaluation.null import null_distribution


def curves(count: int, *, level: float = 0.2, sd: float = 0.04, seed: int = 0, r: int = 32) -> np.ndarray:
    """Decaying curves [count, 3, r] whose level varies from volume to volume, as a pore fraction does."""
    generator = np.random.default_rng(seed)
    levels = level + sd * generator.normal(size=(count, 1, 1))
    return levels * np.exp(-np.arange(r) / 8) + 0.002 * generator.normal(size=(count, 3, r))


def test_observed_and_bias_by_hand():
    truth = np.array([[1.0, 1.0], [3.0, 1.0]])  # mean 2, 1
    generated = np.array([[[3.0, 0.0], [1.0, 1.0]]])  # mean over two axes 2, 0.5
    result = compare(generated, truth, r_max=None)
    assert result.observed == pytest.approx(0.5 / 3)
    assert result.signed_bias == pytest.approx(-0.5 / 3)
    assert result.ratio_to_median == pytest.approx(result.observed / result.null_median)


def test_the_yardstick_is_the_null_for_these_sizes():
    generated, truth = curves(50), curves(36, seed=1)
    null = null_distribution(truth.mean(axis=1), 50, draws=500, seed=7)
    result = compare(generated, truth, draws=500, seed=7)
    assert result.null_median == pytest.approx(np.median(null))
    assert result.null_p95 == pytest.approx(np.sort(null)[[474, 475]].mean(), rel=0.01)


def test_the_truth_against_itself_is_at_zero():
    truth = curves(36)
    result = compare(truth, truth)
    assert (result.observed, result.signed_bias, result.passes) == (0, 0, True)


def test_sets_from_one_law_pass_and_the_ratio_is_about_one():
    """The null's 95th percentile lets about 95 % of honest sets through (a little less: 36 blocks stand for all)."""
    results = [compare(curves(64, seed=s), curves(36, seed=1000 + s), draws=200, seed=s) for s in range(200)]
    share = np.mean([result.passes for result in results])
    assert 0.88 <= share <= 0.99
    assert 0.75 <= np.median([result.ratio_to_median for result in results]) <= 1.35


@pytest.mark.parametrize(("level", "sign"), [(0.16, -1), (0.24, 1)])
def test_a_shifted_set_fails_and_the_bias_has_its_sign(level, sign):
    result = compare(curves(128, level=level), curves(36, seed=1))
    assert not result.passes
    assert result.observed > result.null_p95 > result.null_median
    assert result.signed_bias == pytest.approx(sign * 0.2, abs=0.08)


def test_only_r_below_r_max_counts():
    truth, generated = curves(36, r=40), curves(20, seed=1, r=40)
    spoiled = generated.copy()
    spoiled[..., 32:] += 1
    assert compare(spoiled, truth) == compare(generated, truth)
    assert compare(spoiled, truth, r_max=40).observed > compare(generated, truth, r_max=40).observed


def test_curves_that_cannot_be_compared_are_refused():
    good = curves(4)
    with pytest.raises(InputError, match="asks for more"):
        compare(curves(4, r=16), good)
    with pytest.raises(InputError, match="16 points, true ones 32"):
        compare(curves(4, r=16), good, r_max=None)
    with pytest.raises(InputError, match="not finite"):
        compare(np.full((4, 32), np.nan), good)
    with pytest.raises(InputError, match="generated: need curves"):
        compare(np.ones(32), good)


def test_scalars_by_hand():
    result = compare_scalars(np.array([2.0, 4.0, 6.0]), np.array([0.0, 1.0, 2.0]))
    assert result.median_shift == pytest.approx(3)
    assert result.sd_ratio == pytest.approx(2)
    assert result.mean_shift == pytest.approx(3 / np.sqrt(4 / 3 + 1 / 3))
    assert result.relative_mean_shift == pytest.approx(3)


def test_intervals_of_scalars_hold_the_truth_about_95_times_in_100():
    generator = np.random.default_rng(0)
    held = []
    for seed in range(200):
        generated, truth = generator.normal(0.3, 1.5, size=60), generator.normal(0, 1, size=60)
        result = compare_scalars(generated, truth, draws=300, seed=seed)
        (a, b), (c, d) = result.median_shift_interval, result.sd_ratio_interval
        held.append((a <= 0.3 <= b, c <= 1.5 <= d))
    shift, ratio = np.mean(held, axis=0)
    assert 0.89 <= shift <= 0.995
    assert 0.87 <= ratio <= 0.99


def test_means_of_one_law_are_within_two_standard_errors_95_times_in_100():
    generator = np.random.default_rng(0)
    shifts = [
        mean_shift_in_standard_errors(generator.normal(size=40), generator.normal(0, 2, size=30)) for _ in range(400)
    ]
    assert np.mean(np.abs(shifts) <= 2) == pytest.approx(0.95, abs=0.03)
    assert np.std(shifts) == pytest.approx(1, abs=0.1)


def test_constant_sets():
    assert mean_shift_in_standard_errors(np.ones(3), np.ones(3)) == 0
    assert mean_shift_in_standard_errors(np.zeros(3), np.ones(3)) == -np.inf
    with pytest.raises(InputError, match="standard deviation"):
        compare_scalars(np.arange(3.0), np.ones(3))
    with pytest.raises(InputError, match="generated: need at least two"):
        compare_scalars(np.ones(1), np.arange(3.0))


def test_bootstrap_interval_of_a_mean_is_about_two_standard_errors_wide():
    values = np.random.default_rng(0).normal(5, 1, size=100)
    low, high = bootstrap_interval(values, np.mean)
    assert low < values.mean() < high
    assert high - low == pytest.approx(2 * 1.96 * values.std() / 10, rel=0.1)
