import numpy as np
import pytest
import torch

from engine.descriptors.neighbours import axis_pairs, neighbours, squares


@pytest.mark.parametrize("make", [np.asarray, torch.tensor])
def test_every_voxel_with_the_next(make) -> None:
    field = make([[0, 1, 2], [3, 4, 5]])
    before, after = neighbours(field, -1, periodic=False)
    assert before.tolist() == [[0, 1], [3, 4]] and after.tolist() == [[1, 2], [4, 5]]
    before, after = neighbours(field, -1, periodic=True)
    assert before.tolist() == field.tolist() and after.tolist() == [[1, 2, 0], [4, 5, 3]]


def test_squares_hold_the_four_voxels_around_an_edge() -> None:
    field = np.arange(2 * 3 * 4).reshape(2, 3, 4)
    corners = np.stack(squares(field, (-3, -1), periodic=False))
    assert corners.shape == (4, 1, 3, 3)
    assert sorted(corners[:, 0, 1, 2].tolist()) == [6, 7, 18, 19]


def test_axis_pairs() -> None:
    assert axis_pairs(2) == [(-2, -1)]
    assert axis_pairs(3) == [(-3, -2), (-3, -1), (-2, -1)]
