import numpy as np
import pytest

from engine.errors import InputError
from engine.micrographs.synthetic.grains import SizedGrains, VoronoiGrains, tessellate
from tests.engine.micrographs.synthetic.common import assert_mean


@pytest.mark.parametrize("shape", [(20, 31), (12, 15, 10)])
def test_a_voxel_belongs_to_the_seed_of_least_power_among_all_images(shape):
    generator = np.random.default_rng(0)
    seeds, weights = generator.uniform(size=(9, len(shape))) * shape, generator.uniform(0, 10, size=9)
    found = tessellate(seeds, weights, shape).grains
    grid = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
    offset = grid[..., None, :] - seeds
    offset -= np.asarray(shape) * np.round(offset / np.asarray(shape))
    assert np.array_equal(found, ((offset**2).sum(axis=-1) - weights).argmin(axis=-1))


@pytest.mark.parametrize(("shape", "diameter", "count"), [((96, 96), 24, 60), ((32, 32, 32), 14, 30)])
def test_poisson_voronoi_boundaries_have_the_exact_density(shape, diameter, count):
    """Crossings between voxels a step apart, times pi / 2 (2D) or 2 (3D): Meijering's constants."""
    material = VoronoiGrains(diameter=diameter)
    density = []
    for seed in range(count):
        grains = material.tessellation(shape, seed).grains
        crossing = np.mean([(grains != np.roll(grains, 1, axis)).mean() for axis in range(len(shape))])
        density.append([crossing * (np.pi / 2 if len(shape) == 2 else 2)])
    assert_mean(np.array(density), [material.boundary_density(len(shape))])


def test_boundaries_are_as_thick_as_asked():
    """A thin boundary takes thickness * length: overlaps at corners make it a few per cent less."""
    material = VoronoiGrains(diameter=40, boundary=2)
    fractions = [material.sample((128, 128), seed).mean() for seed in range(30)]
    assert np.mean(fractions) == pytest.approx(2 * material.boundary_density(2), rel=0.08)


@pytest.mark.parametrize(("shape", "diameter"), [((64, 64), 12), ((32, 32, 32), 12)])
def test_grains_have_the_sizes_that_were_drawn(shape, diameter):
    material = SizedGrains(diameter=diameter)
    drawn = material.drawn_volumes(shape, np.random.default_rng(5))
    found = material.tessellation(shape, 5).volumes
    assert drawn.sum() == pytest.approx(np.prod(shape))
    wrong = np.abs(found - drawn)
    assert (wrong <= np.maximum(0.05 * drawn, 6)).all()
    assert np.median(wrong / drawn) < 0.03


def test_classes_have_their_shares_of_the_volume():
    """Eqs. 25 and 26 of Lee and Yun: drawn by number, the shares by volume come out."""
    material = SizedGrains(diameter=6)
    volumes = material.class_volumes(2)
    assert volumes / volumes[0] == pytest.approx(np.square([1, 2, 2.5, 3, 4]))
    assert material.probabilities(2) @ volumes == pytest.approx(np.pi * 9)
    drawn = material.drawn_volumes((1024, 1024), np.random.default_rng(0))
    classes = np.abs(drawn[:, None] / volumes - 1).argmin(axis=1)
    shares = np.bincount(classes, weights=drawn) / drawn.sum()
    assert shares == pytest.approx(material.shares, abs=0.01)


def test_impossible_parameters_are_refused():
    with pytest.raises(InputError, match="sum to 1"):
        SizedGrains(shares=(0.5, 0.2, 0.1, 0.1, 0.2))
    with pytest.raises(InputError, match="as many of one"):
        SizedGrains(ratios=(1.0, 2.0))
