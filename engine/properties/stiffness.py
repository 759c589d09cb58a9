"""Stiffness matrices: of isotropic and orthotropic materials, turned, checked, and read back as engineering constants.

Voigt notation with engineering shear strains, in the order xx, yy, zz, yz, xz, xy: stress = C strain, C [6, 6]
symmetric. Moduli in GPa. x, y, z are the axes of a volume's arrays 2, 1, 0.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from engine.errors import InputError

PAIRS = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))
"""Tensor indices of the Voigt components."""

NAMES = ("xx", "yy", "zz", "yz", "xz", "xy")

RIGID = 1e-5
"""A modulus below this share of the stiffest phase's is nothing but the solver's error: that load is not carried."""


@dataclass(frozen=True, kw_only=True)
class EngineeringConstants:
    """Moduli of a stiffness along the axes of the volume, in GPa."""

    youngs_modulus_gpa: dict[str, float]
    """By axis: x, y, z."""
    shear_modulus_gpa: dict[str, float]
    """By plane: yz, xz, xy."""
    poissons_ratio: dict[str, float]
    """By pair ab: minus the strain along b per strain along a under stress along a."""


def isotropic(youngs_modulus_gpa: float, poissons_ratio: float) -> Tensor:
    """[6, 6] float64; Young's modulus 0 is a void.

    Raises:
        InputError: a negative modulus, or a Poisson's ratio outside (-1, 0.5).
    """
    e, nu = youngs_modulus_gpa, poissons_ratio
    if not 0 <= e < math.inf:
        raise InputError(f"youngs_modulus_gpa: must be finite and at least 0, not {e}")
    if not -1 < nu < 0.5:
        raise InputError(f"poissons_ratio: must lie within (-1, 0.5), not {nu}")
    lame, shear = e * nu / ((1 + nu) * (1 - 2 * nu)), e / (2 * (1 + nu))
    out = torch.diag(torch.tensor([2.0, 2, 2, 1, 1, 1], dtype=torch.float64) * shear)
    out[:3, :3] += lame
    return out


def orthotropic(
    youngs_moduli_gpa: Sequence[float], poissons_ratios: Sequence[float], shear_moduli_gpa: Sequence[float]
) -> Tensor:
    """[6, 6] float64 in the material's own axes 1, 2, 3.

    Args:
        youngs_moduli_gpa: E1, E2, E3.
        poissons_ratios: nu12, nu13, nu23 (nu_ab: contraction along b under tension along a).
        shear_moduli_gpa: G12, G13, G23.

    Raises:
        InputError: three of each are wanted, moduli above 0, and together a positive definite stiffness.
    """
    for name, values in (("youngs_modulus_gpa", youngs_moduli_gpa), ("shear_modulus_gpa", shear_moduli_gpa)):
        if len(values) != 3 or not all(0 < value < math.inf for value in values):
            raise InputError(f"{name}: an orthotropic phase has three, each finite and above 0, not {list(values)}")
    if len(poissons_ratios) != 3 or not all(math.isfinite(value) for value in poissons_ratios):
        raise InputError(f"poissons_ratio: an orthotropic phase has three (12, 13, 23), not {list(poissons_ratios)}")
    (e1, e2, e3), (nu12, nu13, nu23), (g12, g13, g23) = youngs_moduli_gpa, poissons_ratios, shear_moduli_gpa
    compliance = torch.diag(torch.tensor([1 / e1, 1 / e2, 1 / e3, 1 / g23, 1 / g13, 1 / g12], dtype=torch.float64))
    for a, b, nu, e in ((0, 1, nu12, e1), (0, 2, nu13, e1), (1, 2, nu23, e2)):
        compliance[a, b] = compliance[b, a] = -nu / e
    if float(torch.linalg.eigvalsh(compliance)[0]) <= 0:
        raise InputError(
            f"poissons_ratio: {list(poissons_ratios)} with Young's moduli {list(youngs_moduli_gpa)} is no stable "
            "material (its stiffness is not positive definite); check for each pair that |nu_ab| < sqrt(E_a / E_b)"
        )
    stiffness: Tensor = torch.linalg.inv(compliance)
    return stiffness


def check_stiffness(stiffness: Tensor, name: str) -> None:
    """Refuse a stiffness [6, 6] that is neither positive definite nor, as a void, all 0.

    Raises:
        InputError: named after the phase.
    """
    if stiffness.shape != (6, 6) or not bool(stiffness.isfinite().all()):
        raise InputError(f"stiffness of {name}: must be a finite 6 x 6 matrix, not of shape {list(stiffness.shape)}")
    if not torch.allclose(stiffness, stiffness.T, rtol=1e-6, atol=1e-9 * float(stiffness.abs().max())):
        raise InputError(f"stiffness of {name}: must be symmetric")
    if bool((stiffness == 0).all()):
        return
    least, most = torch.linalg.eigvalsh(stiffness.double())[[0, -1]].tolist()
    if least <= 1e-12 * most:
        raise InputError(f"stiffness of {name}: must be positive definite (or all 0, a void), eigenvalue {least:.3g}")


def rotated(stiffness: Tensor, axes: Tensor) -> Tensor:
    """The stiffness of a turned material.

    Args:
        stiffness: [6, 6] in the material's axes 1, 2, 3.
        axes: [3, 3], row a the direction of material axis a in x, y, z; orthonormal.
    """
    strain = strain_rotation(axes.to(stiffness))
    turned: Tensor = strain.T @ stiffness @ strain
    return turned


def strain_rotation(axes: Tensor) -> Tensor:
    """[6, 6]: strains in x, y, z -> strains in the material's axes (Bond, Proc. Phys. Soc. B 56, 1943)."""
    units = torch.eye(6, dtype=axes.dtype)
    return torch.stack([strain_vector(axes @ strain_tensor(unit) @ axes.T) for unit in units], dim=1)


def strain_tensor(strain: Tensor) -> Tensor:
    """[6] with engineering shear -> [3, 3]."""
    out = strain.new_zeros(3, 3)
    for value, (a, b) in zip(strain, PAIRS, strict=True):
        out[a, b] = out[b, a] = value if a == b else value / 2
    return out


def strain_vector(tensor: Tensor) -> Tensor:
    """[3, 3] symmetric -> [6] with engineering shear."""
    return torch.stack([tensor[a, b] if a == b else 2 * tensor[a, b] for a, b in PAIRS])


def engineering_constants(stiffness: Tensor) -> EngineeringConstants | None:
    """Moduli from the compliance of a stiffness [6, 6]; None where it is singular (some load meets no resistance).

    For a stiffness with normal-shear coupling these are what tests along the axes would measure.
    """
    eigenvalues = torch.linalg.eigvalsh(stiffness.double())
    if float(eigenvalues[0]) <= 1e-9 * float(eigenvalues[-1]):
        return None
    s = torch.linalg.inv(stiffness.double())
    axes = "xyz"
    return EngineeringConstants(
        youngs_modulus_gpa={axis: 1 / float(s[i, i]) for i, axis in enumerate(axes)},
        shear_modulus_gpa={NAMES[i]: 1 / float(s[i, i]) for i in (3, 4, 5)},
        poissons_ratio={axes[a] + axes[b]: -float(s[b, a] / s[a, a]) for a in range(3) for b in range(3) if a != b},
    )


def isotropic_moduli(stiffness: Tensor) -> tuple[float, float] | None:
    """Bulk and shear modulus of an isotropic stiffness [6, 6]; None of another."""
    bulk, shear = float(stiffness[:3, :3].mean()), float(stiffness[3, 3])
    same = torch.diag(stiffness.new_tensor([2.0, 2, 2, 1, 1, 1]) * shear)
    same[:3, :3] += bulk - 2 / 3 * shear
    return (bulk, shear) if torch.allclose(stiffness, same, rtol=1e-6, atol=1e-9 * (bulk + shear)) else None


def voigt_component(direction: str) -> int:
    """Voigt component of the stress along an axis, `x`, or in a plane, `xy`."""
    return NAMES.index(direction * 2 if len(direction) == 1 else direction)


def uniaxial_strain(stiffness: Tensor, component: int) -> Tensor:
    """Strain [6] under a stress of one Voigt component (0, 1, 2 along x, y, z; 3, 4, 5 in yz, xz, xy), scaled to 1
    there.

    The other components take what costs the least energy, also where the stiffness is singular. The energy is then
    the modulus, M = e.Ce, and its derivative by C the outer product of this strain e with itself.
    """
    others = [i for i in range(6) if i != component]
    inner = stiffness[others][:, others]
    out = stiffness.new_zeros(6)
    out[component] = 1
    out[others] = -torch.linalg.pinv(inner, hermitian=True, rtol=1e-9) @ stiffness[others, component]
    return out


def modulus(stiffness: Tensor, component: int) -> float:
    """Young's modulus along x, y, z (components 0, 1, 2) or shear modulus in yz, xz, xy (3, 4, 5) of a stiffness
    [6, 6], singular or not: 0 where that load meets no resistance."""
    strain = uniaxial_strain(stiffness, component)
    return max(0.0, float(strain @ stiffness @ strain))


def youngs_modulus(stiffness: Tensor, axis: int) -> float:
    """Young's modulus along an axis (0, 1, 2 for x, y, z) of a stiffness [6, 6], singular or not."""
    return modulus(stiffness, axis)


def rigid(stiffness: Tensor, component: int, phases: Tensor) -> bool:
    """Whether an effective stiffness [6, 6] carries a load, or shows the solver's error alone (`RIGID`).

    Args:
        phases: [K, 6, 6], stiffnesses of the phases.
    """
    return modulus(stiffness, component) > RIGID * _stiffest(phases)


def _stiffest(phases: Tensor) -> float:
    return max(modulus(each, axis) for each in phases for axis in range(3))


@dataclass(frozen=True, kw_only=True)
class PoissonsRatio:
    """A Poisson's ratio with its derivative by the stiffness."""

    value: float
    gradient: Tensor
    """[6, 6], symmetric."""


def poissons_ratio(stiffness: Tensor, pair: str, phases: Tensor) -> PoissonsRatio | None:
    """Contraction along the pair's second axis per extension along its first, under a stress along the first.

    With the strain e under that stress (1 along a) it is -e_b, and its derivative by C the symmetric part of the outer
    product of e with the strain g under a unit stress along b that leaves a as it is: e' = -g.C'e.

    Args:
        stiffness: [6, 6], effective.
        pair: such as `xy`.
        phases: [K, 6, 6], stiffnesses of the phases.

    Returns:
        None where one of the axes carries no load: what is along a is then no extension of the body as a whole, or
        what is along b can be anything.
    """
    a, b = map(voigt_component, pair)
    if not (rigid(stiffness, a, phases) and rigid(stiffness, b, phases)):
        return None
    others = [i for i in range(6) if i != a]
    inner = stiffness[others][:, others]
    # What gives way to some other load does so at the solver's error instead of 0: it is left out of the inverse.
    flexible = torch.linalg.pinv(inner, hermitian=True, atol=0.1 * RIGID * _stiffest(phases))
    strain, answer = stiffness.new_zeros(6), stiffness.new_zeros(6)
    strain[a] = 1
    strain[others] = -flexible @ stiffness[others, a]
    answer[others] = flexible[others.index(b)]
    outer = torch.outer(answer, strain)
    return PoissonsRatio(value=-float(strain[b]), gradient=0.5 * (outer + outer.T))
