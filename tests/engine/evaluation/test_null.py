import numpy as np
import pytest
import torch

from engine.descriptors.two_point import directional_s2
from engine.errors import InputError
from engine.evaluation.null import blocks, null_distribution


def test_blocks_are_disjoint_and_in_order():
    volume = np.arange(5 * 4 * 7).reshape(5, 4, 7)
    cut = blocks(volume, 2)
    assert cut.shape == (2 * 2 * 3, 2, 2, 2)
    assert np.array_equal(cut[1], volume[:2, :2, 2:4])
    assert np.array_equal(cut[-1], volume[2:4, 2:4, 4:6])
    assert len(np.unique(cut)) == cut.size
    with pytest.raises(InputError, match="no block of 5"):
        blocks(volume, 5)


def test_null_of_one_number_is_the_normal_law():
    """|difference of two means| / mean: median .6745 and 95th percentile 1.960 standard errors."""
    n, m = 100, 400
    truth = np.random.default_rng(0).normal(10, 0.5, size=(m, 1))
    null = null_distribution(truth, n, draws=10_000)
    error = truth.std() * np.sqrt(1 / n + 1 / m) / truth.mean()
    assert np.median(null) == pytest.approx(0.6745 * error, rel=0.03)
    assert np.quantile(null, 0.95) == pytest.approx(1.960 * error, rel=0.03)


def test_the_reference_of_the_null_is_the_draw_of_as_many_blocks_as_the_truth_has():
    """Blocks 1 and 3: two drawn have mean 1, 2, 3 in the ratio 1:2:1; a million drawn have mean 2."""
    null = null_distribution(np.array([[1.0], [3.0]]), 1_000_000, draws=4000)
    for value, share in ((1.0, 0.25), (0.0, 0.5), (1 / 3, 0.25)):
        assert np.isclose(null, value, atol=0.01).mean() == pytest.approx(share, abs=0.03)


def test_null_is_reproducible_and_depends_on_the_seed():
    truth = np.random.default_rng(0).random((9, 4))
    assert np.array_equal(null_distribution(truth, 5, seed=3), null_distribution(truth, 5, seed=3))
    assert not np.array_equal(null_distribution(truth, 5, seed=3), null_distribution(truth, 5, seed=4))


def test_too_little_truth_is_refused():
    with pytest.raises(InputError, match="2 truth blocks"):
        null_distribution(np.ones((1, 4)), 5)


@pytest.mark.parametrize(
    ("file", "from_x", "label", "median", "p95"),
    [
        ("berea_sandstone_200x400x400.tif", 272, 0, 0.046, 0.132),
        ("nmc_cathode_251x301x200.tif", 0, 0, 0.031, 0.093),
        ("nmc_cathode_251x301x200.tif", 0, 2, 0.032, 0.095),
    ],
)
def test_null_of_the_tomograms(shared_data, file, from_x, label, median, p95):
    """36 disjoint 64^3 blocks each, 128 generated volumes: the yardstick first measured for these data."""
    volume = pytest.importorskip("tifffile").imread(shared_data / file)[:, :, from_x:]
    masks = torch.from_numpy(blocks(volume, 64) == label)
    assert len(masks) == 36
    curves = directional_s2(masks, 32).mean(dim=1).numpy()
    null = null_distribution(curves, 128)
    assert np.median(null) == pytest.approx(median, rel=0.08)
    assert np.quantile(null, 0.95) == pytest.approx(p95, rel=0.08)
