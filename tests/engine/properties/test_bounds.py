import pytest

from engine.errors import InputError
from engine.properties.bounds import (
    Bounds,
    hashin_shtrikman,
    hashin_shtrikman_bulk,
    hashin_shtrikman_shear,
    relative_diffusivity,
    reuss,
    voigt,
)


def test_known_values() -> None:
    assert voigt((0.25, 0.75), (4, 8)) == 7
    assert reuss((0.25, 0.75), (4, 8)) == pytest.approx(1 / (0.25 / 4 + 0.75 / 8))
    assert reuss((0.5, 0.5), (1, 0)) == 0
    for fraction in (0.0, 0.3, 0.9):
        bounds = relative_diffusivity(fraction)
        assert (bounds.low, bounds.high) == (0, pytest.approx(2 * fraction / (3 - fraction), abs=1e-15))
    assert relative_diffusivity(1.0).low == relative_diffusivity(1.0).high == 1


def test_two_phases_agree_with_maxwells_coated_spheres() -> None:
    matrix, inclusion, fraction = 2.0, 5.0, 0.3
    contrast = (inclusion - matrix) / (inclusion + 2 * matrix)
    maxwell = (
        matrix * (1 + 2 * fraction * contrast) / (1 - fraction * contrast)
    )  # Maxwell 1873: the matrix is the lower
    assert hashin_shtrikman((1 - fraction, fraction), (matrix, inclusion)).low == pytest.approx(maxwell)


@pytest.mark.parametrize("fractions", [(0.2, 0.3, 0.5), (0.6, 0.1, 0.3), (1.0, 0.0, 0.0)])
def test_bounds_are_ordered_and_meet_in_a_single_phase(fractions: tuple[float, ...]) -> None:
    conductivities = (0.1, 1.0, 7.0)
    shtrikman = hashin_shtrikman(fractions, conductivities)
    chain = [reuss(fractions, conductivities), shtrikman.low, shtrikman.high, voigt(fractions, conductivities)]
    assert chain == sorted(chain) or max(chain) - min(chain) < 1e-12
    assert (max(chain) - min(chain) < 1e-12) == (max(fractions) == 1)


def test_absent_phase_does_not_widen_the_bounds() -> None:
    assert hashin_shtrikman((0.4, 0.6, 0.0), (1, 2, 100)) == hashin_shtrikman((0.4, 0.6), (1, 2))
    assert reuss((1.0, 0.0), (3, 0)) == pytest.approx(3)


def test_refuses_what_is_no_composite() -> None:
    with pytest.raises(InputError, match="sum to 1"):
        voigt((0.5, 0.6), (1, 0))
    with pytest.raises(InputError, match="as many"):
        reuss((1.0,), (1, 0))
    with pytest.raises(InputError, match="at least 0"):
        hashin_shtrikman((0.5, 0.5), (1, -1))


def test_bulk_modulus_is_the_coated_sphere() -> None:
    """K = K_m + f / (1 / (K_i - K_m) + (1 - f) / (K_m + 4/3 G_m)) with the softer and the stiffer phase as matrix m."""
    f, bulk, shear = (0.7, 0.3), (2.0, 30.0), (1.0, 20.0)
    bounds = hashin_shtrikman_bulk(f, bulk, shear)
    assert bounds.low == pytest.approx(2 + 0.3 / (1 / 28 + 0.7 / (2 + 4 / 3)))
    assert bounds.high == pytest.approx(30 + 0.7 / (1 / -28 + 0.3 / (30 + 80 / 3)))
    assert hashin_shtrikman_bulk(f, (2.0, 0.0), (1.0, 0.0)).low == 0
    assert hashin_shtrikman_bulk((1.0, 0.0), bulk, shear).low == pytest.approx(2)


def test_shear_modulus_is_that_of_two_phases_and_of_hard_spheres() -> None:
    """G = G_m + f / (1 / (G_i - G_m) + 6 (1 - f) (K_m + 2 G_m) / (5 G_m (3 K_m + 4 G_m))), the softer and the stiffer
    phase as matrix m (Hashin and Shtrikman 1963, eqs. 4.3 and 4.4); dilute rigid spheres in what does not change its
    volume add 5/2 f of its own (Einstein 1906)."""
    f, bulk, shear = (0.7, 0.3), (2.0, 30.0), (1.0, 20.0)
    bounds = hashin_shtrikman_shear(f, bulk, shear)
    for m, i, found in ((0, 1, bounds.low), (1, 0, bounds.high)):
        k, g = bulk[m], shear[m]
        own = 6 * f[m] * (k + 2 * g) / (5 * g * (3 * k + 4 * g))
        assert found == pytest.approx(g + f[i] / (1 / (shear[i] - g) + own))
    assert hashin_shtrikman_shear((0.999, 0.001), (1e9, 1e9), (1.0, 1e9)).low == pytest.approx(1.0025, rel=1e-5)
    assert hashin_shtrikman_shear(f, (2.0, 0.0), (1.0, 0.0)).low == 0
    assert hashin_shtrikman_shear((1.0, 0.0), bulk, shear) == Bounds(low=pytest.approx(1), high=pytest.approx(1))
