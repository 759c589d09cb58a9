import math

import pytest
import torch

from engine.errors import InputError
from engine.properties.stiffness import (
    check_stiffness,
    engineering_constants,
    isotropic,
    isotropic_moduli,
    modulus,
    orthotropic,
    poissons_ratio,
    rotated,
    strain_rotation,
    strain_tensor,
    uniaxial_strain,
    voigt_component,
    youngs_modulus,
)

FIBRE = orthotropic((230, 20, 15), (0.2, 0.22, 0.25), (24, 23, 6))


def about_z(degrees: float) -> torch.Tensor:
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return torch.tensor([[c, s, 0], [-s, c, 0], [0, 0, 1]], dtype=torch.float64)


def test_engineering_constants_come_back() -> None:
    found = engineering_constants(FIBRE)
    assert found is not None
    assert found.youngs_modulus_gpa == pytest.approx({"x": 230, "y": 20, "z": 15})
    assert found.shear_modulus_gpa == pytest.approx({"xy": 24, "xz": 23, "yz": 6})
    ratios = found.poissons_ratio
    assert (ratios["xy"], ratios["xz"], ratios["yz"]) == pytest.approx((0.2, 0.22, 0.25))
    assert ratios["yx"] / 20 == pytest.approx(ratios["xy"] / 230)
    assert engineering_constants(torch.diag(torch.tensor([1.0, 1, 0, 1, 1, 1]))) is None


def test_isotropic_is_the_equal_case_of_orthotropic() -> None:
    torch.testing.assert_close(isotropic(7.0, 0.3), orthotropic((7,) * 3, (0.3,) * 3, (7 / 2.6,) * 3))


def test_turning_keeps_energy_and_permutes_axes() -> None:
    axes = about_z(30)
    strain = torch.randn(6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    own = strain_rotation(axes) @ strain
    torch.testing.assert_close(strain_tensor(own), axes @ strain_tensor(strain) @ axes.T)
    assert strain @ rotated(FIBRE, axes) @ strain == pytest.approx(float(own @ FIBRE @ own))
    quarter = engineering_constants(rotated(FIBRE, about_z(90)))
    assert quarter is not None
    assert quarter.youngs_modulus_gpa == pytest.approx({"x": 20, "y": 230, "z": 15})
    torch.testing.assert_close(rotated(isotropic(3.0, 0.2), axes), isotropic(3.0, 0.2))


def test_modulus_off_axis_follows_the_textbook() -> None:
    """1/E = c^4/E1 + (1/G12 - 2 nu12/E1) c^2 s^2 + s^4/E2 (Jones, Mechanics of Composite Materials, eq. 2.97)."""
    c, s = math.cos(math.radians(30)), math.sin(math.radians(30))
    expected = 1 / (c**4 / 230 + (1 / 24 - 2 * 0.2 / 230) * c**2 * s**2 + s**4 / 20)
    assert youngs_modulus(rotated(FIBRE, about_z(30)), 0) == pytest.approx(expected)


def test_uniaxial_strain_is_the_derivative_of_the_modulus() -> None:
    strain = uniaxial_strain(FIBRE, 1)
    stress = FIBRE @ strain
    assert stress[[0, 2, 3, 4, 5]].abs().max() < 1e-9 and strain[1] == 1
    change = torch.randn(6, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    change = change + change.T
    ends = [youngs_modulus(FIBRE + s * change, 1) for s in (1e-6, -1e-6)]
    assert float(strain @ change @ strain) == pytest.approx((ends[0] - ends[1]) / 2e-6, rel=1e-5)


def test_modulus_of_what_holds_together_along_some_axes_only() -> None:
    plates = torch.zeros(6, 6, dtype=torch.float64)
    plates[0, 0] = plates[1, 1] = 2.0
    plates[0, 1] = plates[1, 0] = 0.5
    assert [youngs_modulus(plates, axis) for axis in range(3)] == pytest.approx([1.875, 1.875, 0])


@pytest.mark.parametrize("degrees", (0, 30))
def test_shear_moduli_and_poissons_ratios_are_the_engineering_constants(degrees: int) -> None:
    turned = rotated(FIBRE, about_z(degrees))
    known = engineering_constants(turned)
    assert known is not None
    for plane, shear in known.shear_modulus_gpa.items():
        assert modulus(turned, voigt_component(plane)) == pytest.approx(shear)
    for pair, expected in known.poissons_ratio.items():
        found = poissons_ratio(turned, pair, turned[None])
        assert found is not None and found.value == pytest.approx(expected)


@pytest.mark.parametrize("pair", ("xy", "yx", "zx"))
def test_the_derivative_of_poissons_ratio(pair: str) -> None:
    stiffness = rotated(FIBRE, about_z(20))
    found = poissons_ratio(stiffness, pair, stiffness[None])
    change = torch.randn(6, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    change = change + change.T
    ends = [poissons_ratio(stiffness + s * change, pair, stiffness[None]) for s in (1e-5, -1e-5)]
    assert found is not None and ends[0] is not None and ends[1] is not None
    assert float((found.gradient * change).sum()) == pytest.approx((ends[0].value - ends[1].value) / 2e-5, rel=1e-5)


def test_poissons_ratio_is_undefined_where_an_axis_carries_nothing_and_sees_no_noise() -> None:
    """A plate in plane stress; across it, only what is left of a solver's error, which couples to anything."""
    phase = isotropic(10.0, 0.3)
    plate = torch.zeros(6, 6, dtype=torch.float64)
    plate[:2, :2] = 10 / (1 - 0.09) * torch.tensor([[1, 0.3], [0.3, 1]])
    plate[5, 5] = 10 / 2.6
    generator = torch.Generator().manual_seed(0)
    for size in (0.0, 1e-6):
        noise = size * torch.randn(6, 6, generator=generator, dtype=torch.float64)
        noisy = plate + noise @ noise.T / max(size, 1e-30)
        found = poissons_ratio(noisy, "xy", phase[None])
        assert found is not None and found.value == pytest.approx(0.3, abs=1e-4)
        assert found.gradient.isfinite().all()
        assert poissons_ratio(noisy, "xz", phase[None]) is None and poissons_ratio(noisy, "zx", phase[None]) is None
    assert poissons_ratio(0 * plate, "xy", torch.zeros(1, 6, 6, dtype=torch.float64)) is None


def test_isotropic_moduli_are_told_of_isotropic_stiffnesses_alone() -> None:
    assert isotropic_moduli(isotropic(9.0, 0.2)) == pytest.approx((9 / 1.8, 9 / 2.4))
    assert isotropic_moduli(torch.zeros(6, 6)) == (0.0, 0.0)
    assert isotropic_moduli(FIBRE) is None


def test_unstable_materials_are_refused_by_name() -> None:
    with pytest.raises(InputError, match=r"0\.5"):
        isotropic(1.0, 0.5)
    with pytest.raises(InputError, match="youngs_modulus_gpa"):
        isotropic(-1.0, 0.3)
    with pytest.raises(InputError, match="not positive definite"):
        orthotropic((10, 1, 1), (0.3, 0.3, 1.2), (1, 1, 1))
    with pytest.raises(InputError, match="three"):
        orthotropic((10, 1), (0.3, 0.3, 0.2), (1, 1, 1))
    with pytest.raises(InputError, match="shear_modulus_gpa"):
        orthotropic((10, 1, 1), (0.3, 0.3, 0.2), (1, 0, 1))
    with pytest.raises(InputError, match=r"binder.*symmetric"):
        check_stiffness(torch.eye(6).index_put((torch.tensor([0]), torch.tensor([1])), torch.tensor(0.5)), "binder")
    with pytest.raises(InputError, match=r"binder.*positive definite"):
        check_stiffness(torch.diag(torch.tensor([1.0, 1, 1, 1, 1, 0])), "binder")
    with pytest.raises(InputError, match="finite"):
        check_stiffness(torch.full((6, 6), math.nan), "binder")
    check_stiffness(torch.zeros(6, 6), "pore")
