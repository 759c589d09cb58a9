import numpy as np
import pytest

from engine.descriptors.surface import crossings, natural_surface_area, surface_area
from engine.descriptors.two_point import directional_s2
from engine.errors import InputError
from engine.micrographs.synthetic.adsorption import Fibres


def ball(radius: float, centre: np.ndarray, side: int) -> np.ndarray:
    z, y, x = (axis - c for axis, c in zip(np.ix_(*[np.arange(side)] * 3), centre, strict=True))
    return z**2 + y**2 + x**2 < radius**2


@pytest.mark.parametrize(("radius", "single", "mean"), [(4, 0.08, 0.01), (6, 0.04, 0.01), (10, 0.015, 0.005)])
def test_spheres(radius, single, mean):
    """Analytic area 4 pi R^2, at random positions: each within a few per cent, no bias on average."""
    side = 2 * radius + 6
    centres = side / 2 + np.random.default_rng(0).uniform(-1, 1, size=(30, 3))
    masks = np.stack([ball(radius, centre, side) for centre in centres])
    steps = (side - 1) * side**2  # neighbour pairs along one axis
    ratio = surface_area(masks) * steps / (4 * np.pi * radius**2)
    assert ratio == pytest.approx(np.ones(30), abs=single)
    assert ratio.mean() == pytest.approx(1, abs=mean)


@pytest.mark.parametrize(("radius", "single", "mean"), [(5.6, 0.04, 0.01), (8.8, 0.02, 0.006)])
def test_cubic_sphere_packs(radius, single, mean):
    """S_V = 4 pi R^2 / a^3 for spheres at places of a cubic lattice that is shifted at random; a = 2.5 R, since where
    spheres touch a gap below one voxel is closed on the grid."""
    period = round(2.5 * radius)
    ratios = []
    for shift in np.random.default_rng(0).uniform(size=(30, 3)):
        z, y, x = ((np.arange(period) - place + period / 2) % period - period / 2 for place in shift)
        pack = z[:, None, None] ** 2 + y[:, None] ** 2 + x**2 < radius**2
        ratios.append(float(surface_area(pack, periodic=True)) * period**3 / (4 * np.pi * radius**2))
    assert ratios == pytest.approx([1] * 30, abs=single)
    assert np.mean(ratios) == pytest.approx(1, abs=mean)


def test_random_sphere_packs():
    """Equal spheres that touch no other: their number times 4 pi R^2; and scikit-image's mesh of the same voxels."""
    from skimage.measure import marching_cubes, mesh_surface_area

    packs = Fibres(fraction=0.25, radius=6.3, length=0.0, gap=1.0)
    found, meshed, shape = [], [], (48, 48, 48)
    for seed in range(6):
        pack = packs.sample(shape, seed)
        found.append(float(surface_area(pack == 1, periodic=True)) / packs.surface_area(shape))
        wrapped = np.pad(pack, 1, mode="wrap").astype(float)[:-1, :-1, :-1]
        vertices, faces, _, _ = marching_cubes(wrapped, 0.5)
        meshed.append(mesh_surface_area(vertices, faces) / pack.size / packs.surface_area(shape))
    assert found == pytest.approx([1] * 6, abs=0.03)
    assert np.mean(found) == pytest.approx(1, abs=0.01)
    assert np.mean(meshed) == pytest.approx(1.08, abs=0.04)  # marching cubes on labels: facets of 45 degrees, 8 % more


@pytest.mark.parametrize(("normal", "factor"), [((0, 0, 1), 2 / 3), ((0, 1, 1), 2**1.5 / 3), ((1, 1, 1), 2 / 3**0.5)])
def test_planes_show_the_stated_bias(normal, factor):
    """A staircase has |n_x| + |n_y| + |n_z| times the area of its plane."""
    n = np.array(normal) / np.linalg.norm(normal)
    position = np.tensordot(n, np.indices((49, 49, 49)), axes=1)
    period = 12 * n.max()  # 12 voxels along the axes, of 48 steps; two planes per period
    mask = (position + 0.25) % period < period / 2
    assert surface_area(mask) * period / 2 == pytest.approx(factor, rel=0.005)


def test_boolean_model(boolean_model, within_standard_errors):
    """A crossing is a pair of neighbours of which one is phase: 2 (S2(0) - S2(1)), known exactly."""
    expected = 4 * (boolean_model.s2(0) - boolean_model.s2(1))
    area = surface_area(boolean_model.masks)
    within_standard_errors(area, expected)
    surface = boolean_model.density * 4 * np.pi * boolean_model.radius**2 * np.exp(-np.log(2))
    assert area.mean() == pytest.approx(surface, rel=0.1)  # the continuum has features below a voxel


def test_sections_of_an_isotropic_material_give_the_area_of_its_volume(boolean_model, within_standard_errors):
    volumes = surface_area(boolean_model.masks)
    sections = surface_area(boolean_model.masks[:, ::8], space_dims=2).mean(axis=1)
    within_standard_errors(sections - volumes, np.zeros(()))


def test_both_sides_have_the_same_surface_and_the_border_has_none():
    mask = np.random.default_rng(0).random((5, 6, 7)) < 0.3
    assert surface_area(mask) == surface_area(~mask)
    assert surface_area(np.ones((5, 6, 7), dtype=bool)) == 0


def test_bounds_are_reached_by_the_checkerboard():
    assert surface_area(np.indices((4, 4, 4)).sum(axis=0) % 2) == 2


def test_crossings_follow_the_axes_and_s2():
    mask = np.broadcast_to((np.arange(16) // 4 % 2 == 0)[:, None, None], (16, 8, 8))
    assert crossings(mask) == pytest.approx([3 / 15, 0, 0])
    noise = np.random.default_rng(1).random((32, 32, 32)) < 0.4
    s2 = directional_s2(noise, 2).numpy()
    assert crossings(noise) == pytest.approx(2 * (s2[:, 0] - s2[:, 1]), rel=0.02)


def test_batch_and_bad_input():
    masks = np.random.default_rng(0).random((2, 3, 5, 6, 7)) < 0.3
    assert surface_area(masks)[1, 2] == surface_area(masks[1, 2])
    with pytest.raises(InputError, match="at least 2 voxels"):
        surface_area(np.ones((1, 4, 4), dtype=bool))
    with pytest.raises(InputError, match="only 0 and 1"):
        surface_area(np.full((4, 4, 4), 2))


def test_the_natural_surface_is_the_material_s_own_at_its_own_fraction():
    """Of independent voxels S_V = 4 f (1 - f), which S2 tells exactly."""
    own, _ = natural_surface_area([0.3, 0.09], 0.3)
    assert own == pytest.approx(4 * 0.3 * 0.7)
    volume = np.random.default_rng(0).random((64, 64, 64)) < 0.3
    assert float(surface_area(volume)) == pytest.approx(own, rel=0.01)


def test_elsewhere_it_grows_with_the_fraction_as_that_of_level_cuts_does():
    """Of a Gaussian field cut at t, S_V goes with exp(-t^2 / 2) (Rice); a tenth of the volume more or less of the phase
    leaves the two within a tenth."""
    from scipy.stats import norm

    def rice(fraction):
        return np.exp(-0.5 * norm.ppf(1 - fraction) ** 2)

    for mean in (0.3, 0.5, 0.7):
        for fraction in (mean - 0.1, mean + 0.1):
            found = (
                natural_surface_area([mean, 0.9 * mean], fraction)[0]
                / natural_surface_area([mean, 0.9 * mean], mean)[0]
            )
            assert found == pytest.approx(rice(fraction) / rice(mean), rel=0.1)


def test_its_derivative():
    s2, step = [0.3, 0.25], 1e-6
    for fraction in (0.1, 0.3, 0.5, 0.9):
        above, below = (natural_surface_area(s2, fraction + d)[0] for d in (step, -step))
        assert natural_surface_area(s2, fraction)[1] == pytest.approx((above - below) / (2 * step), rel=1e-5, abs=1e-8)
