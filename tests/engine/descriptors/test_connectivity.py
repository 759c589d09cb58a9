import numpy as np
import pytest

from engine.descriptors.connectivity import connected_fraction, percolates, spanning_mask
from engine.errors import InputError
from tests import structures

SHAPE = (6, 8, 10)


@pytest.mark.parametrize("axis", range(3))
def test_channel_percolates_along_its_own_axis_only(axis: int) -> None:
    volume = structures.channel(SHAPE, axis, width=3)
    assert [percolates(volume, other) for other in range(3)] == [other == axis for other in range(3)]
    assert connected_fraction(volume, axis) == 1.0


@pytest.mark.parametrize("axis", range(3))
def test_one_missing_layer_interrupts_its_own_axis_only(axis: int) -> None:
    volume = structures.dead_ends(SHAPE, axis)
    assert [percolates(volume, other) for other in range(3)] == [other != axis for other in range(3)]
    assert connected_fraction(volume, axis) == 0.0


def test_edges_and_corners_do_not_connect() -> None:
    assert not percolates(structures.checkerboard((4, 4, 4), 1), 0)
    diagonal = np.eye(4, dtype=np.uint8)[None]
    assert not percolates(diagonal, 1)


def test_spanning_mask_drops_other_clusters_and_keeps_dead_ends() -> None:
    volume = structures.channel(SHAPE, 0, width=2)
    volume[3, :6, 0] = 1  # a dead end that hangs on the channel
    expected = volume.astype(bool)
    volume[:5, 5, 8] = 1  # touches the first face alone
    volume[3, 3, 5] = 1  # floats
    spanning = spanning_mask(volume, 0)
    assert spanning.dtype == bool
    np.testing.assert_array_equal(spanning, expected)
    assert connected_fraction(volume, 0) == pytest.approx(expected.sum() / volume.sum())


def test_cluster_in_every_layer_need_not_span() -> None:
    volume = np.zeros((4, 5, 5), np.uint8)
    volume[:2, 0, 0] = volume[2:, 4, 4] = 1
    assert not percolates(volume, 0)


def test_empty_full_and_single_layer() -> None:
    empty, full = np.zeros(SHAPE, bool), np.ones(SHAPE, bool)
    assert not percolates(empty, 0) and connected_fraction(empty, 0) == 0.0
    assert percolates(full, 2) and connected_fraction(full, 2) == 1.0
    layer = np.zeros((1, 3, 3), bool)
    layer[0, 1, 1] = True
    assert percolates(layer, 0) and not percolates(layer, 1)


def test_refuses_what_is_no_volume_or_axis() -> None:
    with pytest.raises(InputError, match="three axes"):
        percolates(np.ones((4, 4)), 0)
    with pytest.raises(InputError, match="axis"):
        spanning_mask(np.ones(SHAPE), 3)
