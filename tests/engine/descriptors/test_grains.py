import numpy as np
import pytest

from engine.descriptors.grains import grain_sizes
from engine.errors import InputError


def squares(side: int, size: int, corners: list[tuple[int, int]]) -> np.ndarray:
    mask = np.zeros((side, side), dtype=bool)
    for y, x in corners:
        mask[y : y + size, x : x + size] = True
    return mask


def test_pieces_are_measured_as_balls_of_their_volume() -> None:
    mask = np.zeros((12, 12, 12), dtype=bool)
    mask[1:4, 1:4, 1:4] = mask[6:8, 6:8, 6:8] = True
    grains = grain_sizes(mask)
    assert np.pi / 6 * grains.diameters**3 == pytest.approx([27, 8])
    disks = grain_sizes(squares(12, 3, [(1, 1), (6, 6)]))
    assert np.pi / 4 * disks.diameters**2 == pytest.approx([9, 9])
    assert disks.mean_diameter == pytest.approx(np.sqrt(36 / np.pi))


def test_edges_and_corners_do_not_join() -> None:
    assert len(grain_sizes(np.pad(np.eye(5, dtype=bool), 1)).diameters) == 5


def test_pieces_at_the_border_stay_out_and_large_ones_weigh_more() -> None:
    """In a side of 12, a square of s has 12 - s - 1 places along each axis."""
    mask = squares(12, 2, [(0, 5), (4, 8)]) | squares(12, 5, [(3, 1)])
    grains = grain_sizes(mask)
    assert np.pi / 4 * grains.diameters**2 == pytest.approx([25, 4])
    assert grains.weights == pytest.approx([100 / 36, 100 / 81])
    assert grains.whole_share == pytest.approx(29 / 33)


def test_the_weights_undo_the_border(within_standard_errors) -> None:
    """Squares of two sizes at random places of a large plane: windows count as many of each as there are."""
    generator, counts = np.random.default_rng(0), []
    for _ in range(400):
        window = np.zeros((20, 20), dtype=bool)
        size = generator.choice([2, 8])
        y, x = generator.integers(-8, 20, size=2)  # lower corner anywhere from which either size can reach in
        window[max(y, 0) : max(y + size, 0), max(x, 0) : max(x + size, 0)] = True
        grains = grain_sizes(window)
        large = grains.diameters > 4
        counts.append([grains.weights[~large].sum(), grains.weights[large].sum()])
    per_window = 18 * 18 / 28**2 / 2  # places that do not touch the border, as for a piece of no size
    within_standard_errors(np.array(counts), np.array([per_window] * 2))


def test_periodic_pieces_are_all_whole() -> None:
    mask = np.roll(squares(12, 4, [(4, 4)]), (6, 6), axis=(0, 1))  # in the four corners
    assert len(grain_sizes(mask).diameters) == 0
    grains = grain_sizes(mask, periodic=True)
    assert np.pi / 4 * grains.diameters**2 == pytest.approx([16])
    assert grains.weights == pytest.approx([1]) and grains.whole_share == 1


def test_touching_balls_are_parted_at_their_neck() -> None:
    position = np.indices((24, 24, 40))
    balls = [
        ((position - np.array(c)[:, None, None, None]) ** 2).sum(axis=0) < 8**2 for c in ((12, 12, 11), (12, 12, 25))
    ]
    mask = balls[0] | balls[1]
    assert len(grain_sizes(mask).diameters) == 1
    parted = grain_sizes(mask, part=True)
    assert parted.diameters == pytest.approx([16, 16], rel=0.03)


def test_absent_phase() -> None:
    grains = grain_sizes(np.zeros((5, 5, 5), dtype=bool))
    assert (len(grains.diameters), grains.whole_share, grains.mean_diameter) == (0, 0.0, 0.0)
    assert len(grain_sizes(np.zeros((5, 5, 5), dtype=bool), part=True).diameters) == 0


def test_bad_input() -> None:
    with pytest.raises(InputError, match="three axes or an image"):
        grain_sizes(np.ones(4))
    with pytest.raises(InputError, match="periodic=False"):
        grain_sizes(np.ones((4, 4)), periodic=True, part=True)
