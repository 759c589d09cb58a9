"""engine.micrographs.crops: every plane comes up, in the orientations that its material allows."""

import numpy as np

from engine.micrographs.crops import CropSampler
from engine.micrographs.micrograph import Micrographs, Source


def micrographs(arrays, planes=()):
    sources = tuple(Source(name="a", sha256="", shape=array.shape, kind="volume") for array in arrays)
    return Micrographs(arrays=tuple(arrays), phases=("a", "b"), labels=(0, 1), sources=sources, planes=planes)


def ramp(axis, shape=(24, 20, 28)):
    """1 in the first half along an axis."""
    position = np.arange(shape[axis]).reshape([-1 if a == axis else 1 for a in range(3)])
    return np.broadcast_to(position < shape[axis] // 2, shape).astype(np.uint8)


def test_planes_without_names_have_no_plane():
    crops, planes, _ = CropSampler(micrographs([ramp(0)]), 16).draw(20, np.random.default_rng(0))
    assert crops.shape == (20, 16, 16) and set(planes.tolist()) == {-1}


def test_layers_across_z_are_seen_by_the_planes_that_hold_z_along_their_rows():
    """Layers across z: a crop of xy is all one phase, rows of xz and yz are; nothing is ever turned."""
    sampler = CropSampler(micrographs([ramp(0)], planes=((0, 1, 2),)), 16)
    crops, planes, _ = sampler.draw(300, np.random.default_rng(0))
    counts = np.bincount(planes.numpy(), minlength=3)
    assert counts.min() > 70  # each plane equally likely, though the volume has more slices along x
    for crop, plane in zip(crops.numpy(), planes.tolist(), strict=True):
        assert (crop == crop[:, :1]).all()
        if plane == 0:
            assert (crop == crop[0, 0]).all()


def test_an_image_of_two_planes_is_turned_where_their_common_axis_needs_it():
    """One image for xy and yz: y runs along the rows of the one and the columns of the other."""
    image = (np.arange(32)[:, None] < 16).repeat(32, axis=1).astype(np.uint8)  # layers along its rows, which are y
    other = np.zeros((32, 32), dtype=np.uint8)
    sampler = CropSampler(micrographs([image, other], planes=((0, 2), (1,))), 32)
    crops, planes, _ = sampler.draw(60, np.random.default_rng(0))
    for crop, plane in zip(crops.numpy(), planes.tolist(), strict=True):
        layered = crop if plane == 0 else crop.T
        assert plane == 1 or ((layered == layered[:, :1]).all() and layered.any() and not layered.all())


def test_a_batch_is_a_function_of_the_generator():
    sampler = CropSampler(micrographs([ramp(1)], planes=((0, 1, 2),)), 16)
    one, two = (sampler.draw(5, np.random.default_rng(3)) for _ in range(2))
    assert (one[0] == two[0]).all() and (one[1] == two[1]).all()
