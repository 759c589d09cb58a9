import pytest
import torch

from engine.sampling.planes import to_planes, to_volume


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_planes_are_the_slices_and_go_back(axis):
    volume = torch.randn(2, 3, 4, 5, 6)
    planes = to_planes(volume, axis)
    size = volume.shape[2 + axis]
    assert planes.shape[0] == 2 * size
    for b in range(2):
        for i in range(size):
            assert torch.equal(planes[b * size + i], volume[b].select(1 + axis, i))
    assert torch.equal(to_volume(planes, axis, 2), volume)
