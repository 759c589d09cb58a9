import numpy as np
import pytest

from engine.descriptors.lineal_path import lineal_path
from engine.descriptors.surface import surface_area
from engine.errors import InputError
from engine.micrographs.synthetic.adsorption import Disks, Fibres, nearest_vector
from engine.micrographs.synthetic.grid import ball_volume, balls_overlap
from tests.engine.micrographs.synthetic.common import assert_mean, samples


def test_disks_have_the_fraction_lineal_path_and_surface_of_the_formulas():
    """Exact since disks are convex and a gap of one voxel keeps two of them apart on the grid."""
    material, shape = Disks(fraction=0.35, radius=4, gap=1), (48, 48)
    masks = samples(material, shape, 60) == 1
    assert_mean(masks.mean(axis=(1, 2))[:, None], [material.exact_fraction(shape)])
    lengths = np.array([0, 1, 3, 5, 7, 8])
    assert_mean(lineal_path(masks, 9, space_dims=2).mean(axis=1)[:, lengths], material.lineal_path(lengths, shape))
    density = material.count(shape) / (48 * 48)
    crossing = 2 * density * (ball_volume(4, 2) - float(balls_overlap(1, 4, 2)))
    assert_mean(surface_area(masks, space_dims=2)[:, None], [2 * crossing])


def test_the_surface_is_the_slope_of_the_lineal_path():
    material, shape = Disks(radius=10), (64, 64)
    slope = (material.lineal_path(0, shape) - material.lineal_path(1e-4, shape)) / 1e-4
    assert slope * np.pi == pytest.approx(material.surface_area(shape), rel=1e-4)


def test_disks_in_3d_are_fibres_along_x():
    volume = Disks(radius=3).sample((32, 32, 20), 1)
    assert volume.shape == (32, 32, 20)
    assert (volume == volume[:, :, :1]).all() and volume.any()


@pytest.mark.parametrize(("dimensions", "length"), [(2, 6.0), (3, 6.0), (3, 0.0)])
def test_the_distance_of_segments_is_the_least_over_all_pairs_of_points(dimensions, length):
    generator = np.random.default_rng(0)
    offset = generator.normal(scale=4, size=(40, dimensions))
    first, second = (v / np.linalg.norm(v, axis=1, keepdims=True) for v in generator.normal(size=(2, 40, dimensions)))
    second[:5] = first[:5]  # parallel ones too
    along = np.linspace(-length / 2, length / 2, 201)
    points = along[:, None, None] * first[None]
    others = along[:, None, None] * second[None]
    brute = np.linalg.norm(offset + points[:, None] - others[None], axis=-1).min(axis=(0, 1))
    found = np.linalg.norm(nearest_vector(offset, first, second, length), axis=-1)
    assert (found <= brute + 1e-12).all()
    assert found == pytest.approx(brute, abs=0.03)


@pytest.mark.parametrize(
    ("material", "shape", "count"),
    [
        (Fibres(fraction=0.35, radius=2, length=8, alignment=6), (32, 32, 32), 3),  # pushed apart
        (Fibres(fraction=0.12, radius=2.5, length=8, alignment=1), (32, 32, 32), 3),  # all adsorbed
        (Fibres(fraction=0.35, radius=2.5, length=10), (64, 64), 10),
    ],
)
def test_fibres_do_not_overlap(material, shape, count):
    """An overlap would be missing from the fraction, whose exact value counts every fibre in full."""
    masks = samples(material, shape, count) == 1
    assert_mean(masks.reshape(count, -1).mean(axis=1)[:, None], [material.exact_fraction(shape)])


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("alignment", [0.3, 1.0, 5.0])
def test_directions_have_the_orientation_tensor(dimensions, alignment):
    material = Fibres(alignment=alignment)
    p = material.directions(20_000, dimensions, np.random.default_rng(0))
    assert_mean(p[:, :, None] * p[:, None, :], material.orientation_tensor(dimensions))
    if alignment == 1:
        assert material.orientation_tensor(dimensions) == pytest.approx(np.eye(dimensions) / dimensions)


def test_what_does_not_fit_is_refused():
    with pytest.raises(InputError, match="at most half of the shortest side"):
        Fibres(length=30).sample((48, 64, 64), 0)
    with pytest.raises(InputError, match="gap: must be 0 or more"):
        Disks(gap=-1)


def test_a_fraction_out_of_reach_is_refused_with_what_was_reached(monkeypatch):
    monkeypatch.setattr("engine.micrographs.synthetic.adsorption.DISK_TRIES", 2_000)
    with pytest.raises(InputError, match=r"0.8 is out of reach .* at 0\.[3-5]"):
        Disks(fraction=0.8, radius=3, gap=0).sample((32, 32), 0)
    monkeypatch.setattr("engine.micrographs.synthetic.adsorption.PUSHES", 5)
    with pytest.raises(InputError, match="still touch"):
        Fibres(fraction=0.9, radius=2, length=4).sample((24, 24, 24), 0)
