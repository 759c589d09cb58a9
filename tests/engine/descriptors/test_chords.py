import numpy as np
import pytest

from engine.descriptors.chords import chord_lengths, mean_chord
from engine.descriptors.surface import surface_area
from engine.errors import InputError


def test_uncorrelated_voxels(within_standard_errors):
    """A chord goes on with probability p: lengths are geometric, in a short line (12 voxels) too."""
    p, r_max = 0.6, 10
    masks = np.random.default_rng(0).random((64, 12, 12, 12)) < p
    lengths = np.arange(1, r_max)
    exact = (1 - p) * p ** (lengths - 1) / (1 - p**10)  # 10 voxels is the longest whole chord
    within_standard_errors(chord_lengths(masks, r_max).mean(axis=1)[:, 1:], exact)
    within_standard_errors(mean_chord(masks), np.full(3, 1 / (1 - p)))


def test_laminate():
    mask = np.broadcast_to((np.arange(20) // 4 % 2 == 1)[:, None, None], (20, 8, 8))  # layers 4 to 7, 12 to 15
    across, along, _ = chord_lengths(mask, 8)
    assert across == pytest.approx([0, 0, 0, 0, 1, 0, 0, 0])
    assert along.sum() == 0
    periods = mean_chord(mask)
    assert periods[0] == pytest.approx(2 * (8 / 20) / (4 / 19))  # 8 of 20 voxels, 4 crossings in 19 steps
    assert np.isinf(periods[1:]).all()


def test_chords_cut_by_the_border_stay_out_and_long_ones_weigh_more():
    """Line of 10: a whole chord of 1 voxel has 8 places, one of 4 has 5."""
    line = np.array([letter == "#" for letter in "##.#.####."])
    one, four = chord_lengths(np.broadcast_to(line, (4, 4, 10)), 4)[2, 1], 0.2 / (1 / 8 + 1 / 5)
    assert one == pytest.approx((1 / 8) / (1 / 8 + 1 / 5))
    assert one + four == pytest.approx(1)


def test_mean_chord_is_four_fractions_per_surface_area():
    """Cauchy's relation, exact for the harmonic mean over the axes."""
    mask = np.random.default_rng(1).random((9, 9, 9)) < 0.3
    harmonic = 3 / (1 / mean_chord(mask)).sum()
    assert harmonic == pytest.approx(4 * mask.mean() / surface_area(mask))


def test_mean_chord_of_a_sphere_is_four_thirds_of_its_radius():
    z, y, x = np.indices((33, 33, 33)) - 16
    assert mean_chord(z**2 + y**2 + x**2 < 13.5**2) == pytest.approx(np.full(3, 4 / 3 * 13.5), rel=0.04)


def test_absent_phase_and_full_phase():
    assert np.array_equal(mean_chord(np.zeros((4, 4, 4), dtype=bool)), np.zeros(3))
    assert np.isinf(mean_chord(np.ones((4, 4, 4), dtype=bool))).all()
    assert not chord_lengths(np.ones((4, 4, 4), dtype=bool), 4).any()


def test_batches_images_and_bad_lengths():
    masks = np.random.default_rng(2).random((2, 3, 8, 9)) < 0.5
    images = chord_lengths(masks, 6, space_dims=2)
    assert images.shape == (2, 3, 2, 6)
    assert np.array_equal(images[1, 2], chord_lengths(masks[1, 2], 6, space_dims=2))
    assert np.array_equal(mean_chord(masks, space_dims=2)[1, 2], mean_chord(masks[1, 2], space_dims=2))
    with pytest.raises(InputError, match=r"1 \.\. 8"):
        chord_lengths(masks, 9, space_dims=2)
