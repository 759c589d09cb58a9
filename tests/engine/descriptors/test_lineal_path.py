import itertools

import numpy as np
import pytest

from engine.descriptors.lineal_path import lineal_path
from engine.descriptors.two_point import directional_s2
from engine.errors import InputError


def random_mask(*shape: int, share: float = 0.7) -> np.ndarray:
    return np.random.default_rng(0).random(shape) < share


def test_boolean_model(boolean_model, within_standard_errors):
    curves = lineal_path(boolean_model.masks, 20)
    within_standard_errors(curves.mean(axis=1), boolean_model.lineal_path(np.arange(20)))


def test_uncorrelated_voxels(within_standard_errors):
    """r + 1 voxels of a segment are independent: L(r) = fraction^(r + 1)."""
    curves = lineal_path(random_mask(64, 24, 24, 24), 10).mean(axis=1)
    within_standard_errors(curves, 0.7 ** (np.arange(10) + 1))


def test_segment_of_length_r_has_r_plus_one_voxels():
    """One run of 3 voxels in a line of 10: 3, 2, 1, 0 segments in 10, 9, 8, 7 places."""
    mask = np.zeros((10, 4, 4), dtype=bool)
    mask[4:7] = True
    curve = lineal_path(mask, 4)[0]
    assert curve == pytest.approx([3 / 10, 2 / 9, 1 / 8, 0], abs=0)


def test_runs_cut_by_the_border_count():
    mask = np.zeros((10, 4, 4), dtype=bool)
    mask[:3] = True
    assert lineal_path(mask, 4)[0] == pytest.approx([3 / 10, 2 / 9, 1 / 8, 0], abs=0)


def test_laminate():
    w = 4
    mask = np.broadcast_to((np.arange(16) // w % 2 == 0)[:, None, None], (16, 16, 16))
    across, along, _ = lineal_path(mask, 8)
    r = np.arange(8)
    assert across == pytest.approx(np.maximum(2 * (w - r), 0) / (16 - r))
    assert along == pytest.approx(np.full(8, 0.5))


def test_full_and_empty():
    assert np.array_equal(lineal_path(np.ones((5, 5, 5), dtype=bool), 5), np.ones((3, 5)))
    assert np.array_equal(lineal_path(np.zeros((5, 5, 5), dtype=bool), 5), np.zeros((3, 5)))


@pytest.mark.parametrize("shape", [(6, 7, 8), (9, 11)])
def test_against_sliding_windows(shape):
    mask = random_mask(*shape)
    measured = lineal_path(mask, 6, space_dims=len(shape))
    for axis, r in itertools.product(range(len(shape)), range(6)):
        windows = np.lib.stride_tricks.sliding_window_view(mask, r + 1, axis=axis)
        assert measured[axis, r] == pytest.approx(windows.all(axis=-1).mean(), abs=1e-15)


def test_never_above_s2_never_rising_and_equal_at_zero_and_one(boolean_model):
    path, s2 = lineal_path(boolean_model.masks, 20), directional_s2(boolean_model.masks, 20).numpy()
    assert np.all(path <= s2 + 1e-12)
    assert path[..., :2] == pytest.approx(s2[..., :2])
    assert np.all(np.diff(path.mean(axis=(0, 1))) < 0)


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_permuting_the_axes_permutes_the_curves(order):
    mask = random_mask(7, 8, 9)
    assert lineal_path(mask.transpose(order), 6) == pytest.approx(lineal_path(mask, 6)[list(order)], abs=0)


def test_a_member_of_a_batch_is_measured_as_alone():
    masks = random_mask(2, 3, 8, 7, 6)
    assert np.array_equal(lineal_path(masks, 6)[1, 2], lineal_path(masks[1, 2], 6))


@pytest.mark.parametrize("r_max", [0, 7])
def test_lengths_outside_the_volume_are_refused(r_max):
    with pytest.raises(InputError, match=r"1 \.\. 6"):
        lineal_path(np.zeros((6, 8, 8), dtype=bool), r_max)
