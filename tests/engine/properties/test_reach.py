import numpy as np
import pytest

from engine.descriptors.connectivity import spanning_mask
from engine.properties.reach import Reach, reach
from tests import structures


def test_every_kind_of_cluster_is_told_apart() -> None:
    volume = np.zeros((5, 9, 3), bool)
    volume[:, 0, 1] = volume[:2, 2, 1] = volume[3:, 4, 1] = volume[2, 6, 1] = True
    kinds = reach(volume, periodic=False)[:, :, 1]
    assert (kinds[:, 0] == Reach.SPANNING).all()
    assert (kinds[:2, 2] == Reach.FIRST).all() and (kinds[3:, 4] == Reach.LAST).all()
    assert kinds[2, 6] == Reach.FLOATING and (kinds == Reach.INSULATOR).sum() == 45 - 10


@pytest.mark.parametrize("seed", range(4))
def test_spanning_voxels_are_those_of_the_descriptor(seed: int) -> None:
    phase = structures.level_cut((12, 10, 14), 0.25, 1.0, seed).astype(bool)
    assert np.array_equal(reach(phase, periodic=False) == Reach.SPANNING, spanning_mask(phase, 0))


@pytest.mark.parametrize("axis", (1, 2))
def test_a_path_may_leave_through_a_side_and_come_back_through_the_other(axis: int) -> None:
    volume = np.zeros((4, 6, 6), bool)
    turned = np.moveaxis(volume, axis, 1)
    turned[:2, 0, 3] = turned[1:, 5, 3] = True
    assert (reach(volume, periodic=False)[volume] != Reach.SPANNING).all()
    assert (reach(volume, periodic=True)[volume] == Reach.SPANNING).all()


def test_sides_do_not_join_along_the_flux() -> None:
    volume = np.zeros((4, 3, 3), bool)
    volume[0], volume[3] = True, True
    assert set(np.unique(reach(volume, periodic=True))) == {Reach.INSULATOR, Reach.FIRST, Reach.LAST}


@pytest.mark.parametrize("periodic", (False, True))
def test_equal_axes_join_as_voxels_do(periodic: bool) -> None:
    phase = structures.level_cut((9, 8, 7), 0.3, 1.0, seed=2).astype(bool)
    along = np.stack([phase] * 3)
    along[:, 4, 0, 0] = True, False, True  # one voxel that is not equal sends it down the other way
    joined = phase.copy()
    joined[4, 0, 0] = True
    lonely = reach(along, periodic), reach(joined, periodic)
    differ = np.argwhere(lonely[0] != lonely[1])
    assert len(differ) <= 2 and np.array_equal(lonely[0] == Reach.INSULATOR, ~joined)


def test_a_face_joins_only_where_both_voxels_conduct_across_it() -> None:
    along = np.zeros((3, 3, 2, 2), bool)
    along[0, :, 0, 0] = True  # a column along the flux
    along[1, :, :, 1] = True  # pairs across it, which touch neither end nor the column
    kinds = reach(along, periodic=False)
    assert (kinds[:, 0, 0] == Reach.SPANNING).all() and (kinds[:, 1, 0] == Reach.INSULATOR).all()
    assert (kinds[:, :, 1] == Reach.FLOATING).all()
    along[2, 1, 0] = True  # the middle of the column now meets its pair
    assert (reach(along, periodic=False)[1, 0] == Reach.SPANNING).all()


@pytest.mark.parametrize("axis", (1, 2))
def test_faces_meet_over_the_sides(axis: int) -> None:
    along = np.zeros((3, 4, 6, 6), bool)
    turned = np.moveaxis(along, axis + 1, 2)
    turned[0, :2, 0, 3] = turned[0, 1:, 5, 3] = True
    turned[axis, 1, 0, 3] = turned[axis, 1, 5, 3] = True
    assert not (reach(along, periodic=False) == Reach.SPANNING).any()
    assert (reach(along, periodic=True)[along.any(0)] == Reach.SPANNING).all()
