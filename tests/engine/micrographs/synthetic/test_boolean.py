import numpy as np
import pytest

from engine.descriptors.lineal_path import lineal_path
from engine.descriptors.surface import surface_area
from engine.descriptors.two_point import directional_s2
from engine.errors import InputError
from engine.micrographs.synthetic.boolean import OverlappingSpheres
from tests.engine.micrographs.synthetic.common import assert_mean, samples

LAGS = np.array([0, 1, 2, 4, 7, 11, 16])
CASES = [
    (2, OverlappingSpheres(fraction=0.4, radius=4), 48, 150),
    (3, OverlappingSpheres(fraction=0.3, radius=4), 32, 50),
]


@pytest.mark.parametrize(("dimensions", "material", "side", "count"), CASES)
def test_fraction_s2_lineal_path_and_surface_follow_the_exact_formulas(dimensions, material, side, count):
    labels = samples(material, (side,) * dimensions, count)
    spheres = labels == 1
    s2 = directional_s2(spheres, 17, space_dims=dimensions, periodic=True).mean(dim=1).numpy()[:, LAGS]
    assert_mean(s2, material.s2(LAGS, dimensions))
    path = lineal_path(~spheres, 17, space_dims=dimensions).mean(axis=1)[:, LAGS]
    assert_mean(path, material.matrix_lineal_path(LAGS, dimensions, spacing=1))
    crossings = 2 * (material.matrix_s2(0, dimensions) - material.matrix_s2(1, dimensions))
    assert_mean(surface_area(spheres, space_dims=dimensions)[:, None], [2 * crossings])


@pytest.mark.parametrize("dimensions", [2, 3])
def test_the_formulas_agree_with_each_other(dimensions):
    """S2(0) is the fraction, S2'(0) the surface area, far points are independent, short steps a segment."""
    material = OverlappingSpheres(fraction=0.35, radius=20)
    assert material.s2(0, dimensions) == pytest.approx(0.35)
    assert material.s2(40, dimensions) == pytest.approx(0.35**2)
    slope = float(material.s2(0, dimensions) - material.s2(1e-4, dimensions)) / 1e-4
    mean_projection = {2: np.pi, 3: 4}[dimensions]  # S2'(0) = -interface / pi in 2D, / 4 in 3D
    assert slope * mean_projection == pytest.approx(material.surface_area(dimensions), rel=1e-4)
    lengths = np.array([0.0, 3.0, 10.0])
    fine = material.matrix_lineal_path(lengths, dimensions, spacing=0.01)
    assert fine == pytest.approx(material.matrix_lineal_path(lengths, dimensions), rel=1e-3)


@pytest.mark.parametrize(("fraction", "radius"), [(0, 5), (1, 5), (0.3, 0), (0.3, -1), (float("nan"), 5)])
def test_impossible_parameters_are_refused(fraction, radius):
    with pytest.raises(InputError, match="must lie between"):
        OverlappingSpheres(fraction=fraction, radius=radius)


def test_a_sphere_that_does_not_fit_is_refused():
    with pytest.raises(InputError, match=r"below 7.5 voxels"):
        OverlappingSpheres(radius=8).sample((16, 32, 32), 0)
