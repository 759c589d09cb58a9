import torch

from engine.properties.hexahedra import CORNERS, element_stiffness, linear_displacements
from engine.properties.stiffness import isotropic
from engine.properties.voids import loose_voxels, settling

ELEMENT = element_stiffness(isotropic(3.0, 0.3))


def test_corners_that_no_solid_touches_are_loose() -> None:
    void = torch.zeros(6, 5, 4, dtype=torch.bool)
    void[1:4, 1:3, 1:3] = True
    loose = loose_voxels(void, ELEMENT[None])
    assert len(loose.voxels) == 12  # every voxel of the hole touches one of its two inner nodes
    first = (1 * 5 + 1) * 4 + 1
    assert loose.patterns[loose.voxels == first].tolist() == [1 << CORNERS.index((1, 1, 1))]
    middle = (2 * 5 + 1) * 4 + 1
    corners = (1 << CORNERS.index((0, 1, 1))) + (1 << CORNERS.index((1, 1, 1)))
    assert loose.patterns[loose.voxels == middle].tolist() == [corners]
    assert loose_voxels(torch.ones(2, 2, 2, dtype=torch.bool), ELEMENT[None]).patterns.tolist() == [255] * 8
    assert not len(loose_voxels(torch.zeros(2, 2, 2, dtype=torch.bool), ELEMENT[None]).voxels)


def test_corners_come_with_the_uniform_strain() -> None:
    loose = loose_voxels(torch.ones(3, 3, 3, dtype=torch.bool), ELEMENT[None])
    v, strain = torch.zeros(1, 3, 3, 3, 3).double(), torch.arange(6.0).double()[None]
    expected = (linear_displacements() @ strain[0])[:, None].expand(-1, 27)
    torch.testing.assert_close(loose.corners(v, strain), expected)
    v[0, 0, 1, 1, 1] = 5  # component x of node (1, 1, 1) is the first corner of voxel 13 and the last of voxel 0
    moved = loose.corners(v, strain) - expected
    assert moved[0, 13] == 5 and moved[21, 0] == 5 and moved.abs().sum() == 40


def test_loose_corners_go_where_nothing_pulls_at_them() -> None:
    generator = torch.Generator().manual_seed(0)
    given = torch.randn(24, generator=generator, dtype=torch.float64)
    for pattern in (1, 0b1010, 0b01111111, 255):
        settled = settling(ELEMENT, pattern) @ given
        held = torch.tensor([not pattern >> c & 1 for c in range(8)]).repeat_interleave(3)
        assert torch.equal(settled[held], given[held])
        assert (ELEMENT @ settled)[~held].abs().max() < 1e-12
        energy = settled @ ELEMENT @ settled
        assert energy <= given @ ELEMENT @ given
        if pattern in (0b01111111, 255):  # it hangs by one corner, or floats: free to follow
            assert energy < 1e-12


def test_work_counts_the_settled_displacements() -> None:
    loose = loose_voxels(torch.ones(2, 2, 2, dtype=torch.bool), torch.stack([torch.zeros_like(ELEMENT), ELEMENT]))
    at = torch.randn(24, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    assert loose.work(at, at, torch.ones(2, 24)).abs().max() < 1e-12  # they float
