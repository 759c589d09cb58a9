import numpy as np
import pytest

from engine.descriptors.connectivity import (
    clusters,
    connected_fraction,
    connected_fractions,
    percolates,
    spanning_mask,
)
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
    with pytest.raises(InputError, match="three axes or an image of two"):
        percolates(np.ones(4), 0)
    with pytest.raises(InputError, match="axis"):
        spanning_mask(np.ones(SHAPE), 3)


def test_images_are_joined_through_edges() -> None:
    image = np.zeros((4, 5), bool)
    image[:, 2] = True
    assert percolates(image, 0) and not percolates(image, 1)
    assert not percolates(np.eye(4, dtype=bool), 0)


def test_sides_of_a_periodic_volume_are_joined_but_not_its_faces() -> None:
    """A path down the right side that goes on down the left one; a plate in the middle of the first axis."""
    image = np.zeros((6, 5), bool)
    image[:4, 4] = image[3:, 0] = True
    assert not percolates(image, 0) and percolates(image, 0, periodic=True)
    assert connected_fraction(image, 0, periodic=True) == 1.0
    ends = np.zeros((6, 5), bool)
    ends[:2] = ends[4:] = True  # joined only across the faces of the axis itself
    assert not percolates(ends, 0, periodic=True)


def test_connected_fractions_of_a_batch() -> None:
    volumes = np.stack([structures.channel(SHAPE, 1, width=3), np.zeros(SHAPE, np.uint8), np.ones(SHAPE, np.uint8)])
    assert connected_fractions(volumes).tolist() == [[0, 1, 0], [0, 0, 0], [1, 1, 1]]


@pytest.mark.parametrize("periodic", [(), (0,), (0, 1, 2)])
def test_clusters_against_labelling_a_repeated_volume(periodic: tuple[int, ...]) -> None:
    """Two voxels are of one cluster if any of their images in a volume of many periods are joined."""
    mask = np.random.default_rng(0).random((5, 6, 7)) < 0.3
    numbers, count = clusters(mask, periodic=periodic)
    assert sorted(set(numbers[mask])) == list(range(1, count + 1)) and not numbers[~mask].any()
    repeats = [3 if axis in periodic else 1 for axis in range(3)]
    repeated, _ = clusters(np.tile(mask, repeats))
    inner = np.tile(numbers, repeats)
    for piece in range(1, repeated.max() + 1):
        assert len(set(inner[repeated == piece])) == 1
    middle = repeated[tuple(slice(n, 2 * n) if axis in periodic else slice(None) for axis, n in enumerate(mask.shape))]
    assert len(set(numbers[mask])) <= len(set(middle[mask]))
