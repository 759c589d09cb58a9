"""Bounds on the effective conductivity and the elastic moduli of a composite from its volume fractions alone.

Any consistent unit; a relative diffusivity is the case of conductivities 1 (the phase) and 0.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from engine.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """An interval that the effective conductivity cannot leave, borders included."""

    low: float
    high: float


def voigt(fractions: Sequence[float], conductivities: Sequence[float]) -> float:
    """Arithmetic mean, sum f_i s_i: the upper bound for every structure and every axis; layers along the flux reach it.

    O. Wiener, Abh. Math.-Phys. Kl. Saechs. Ges. Wiss. 32, 509 (1912).

    Raises:
        InputError: fractions that are negative or do not sum to 1, or negative conductivities.
    """
    _check(fractions, conductivities)
    return sum(f * s for f, s in zip(fractions, conductivities, strict=True))


def reuss(fractions: Sequence[float], conductivities: Sequence[float]) -> float:
    """Harmonic mean, 1 / sum(f_i / s_i): the lower bound for every structure and every axis; layers across the flux
    reach it. 0 where an insulator is present. Source and errors as `voigt`."""
    _check(fractions, conductivities)
    present = [(f, s) for f, s in zip(fractions, conductivities, strict=True) if f > 0]
    if any(s == 0 for _, s in present):
        return 0.0
    return 1 / sum(f / s for f, s in present)


def hashin_shtrikman(fractions: Sequence[float], conductivities: Sequence[float]) -> Bounds:
    """Bounds for a macroscopically isotropic three-dimensional structure of any number of phases:

        s(z) = 1 / sum(f_i / (s_i + 2 z)) - 2 z,  lower at z = min s_i, upper at z = max s_i.

    Z. Hashin and S. Shtrikman, J. Appl. Phys. 33, 3125 (1962); in this form S. Torquato, Random Heterogeneous
    Materials (2002), section 21.1. A finite random volume is never quite isotropic: along one of its axes it may lie
    outside, so they test averages and fail nothing by themselves. Errors as `voigt`.
    """
    _check(fractions, conductivities)
    present = [(f, s) for f, s in zip(fractions, conductivities, strict=True) if f > 0]
    least, most = min(s for _, s in present), max(s for _, s in present)
    return Bounds(low=_comparison(present, least), high=_comparison(present, most))


def relative_diffusivity(fraction: float) -> Bounds:
    """Hashin-Shtrikman bounds on D_eff / D_0 of an isotropic phase in an insulator: [0, 2 f / (3 - f)].

    Raises:
        InputError: a fraction outside [0, 1].
    """
    return hashin_shtrikman((fraction, 1 - fraction), (1.0, 0.0))


def hashin_shtrikman_bulk(fractions: Sequence[float], bulk: Sequence[float], shear: Sequence[float]) -> Bounds:
    """Bounds on the bulk modulus of a macroscopically isotropic mixture of isotropic phases:

        K(G) = 1 / sum(f_i / (K_i + 4/3 G)) - 4/3 G,  lower at G = min G_i, upper at G = max G_i.

    Z. Hashin and S. Shtrikman, J. Mech. Phys. Solids 11, 127 (1963); L. J. Walpole, ibid. 14, 151 (1966). The coated
    spheres that reach them are the exact answer for a single sphere, too. Errors as `voigt`.
    """
    _check(fractions, bulk)
    _check(fractions, shear)
    present = [(f, k, g) for f, k, g in zip(fractions, bulk, shear, strict=True) if f > 0]
    pairs = [(f, k) for f, k, _ in present]
    low, high = (pick(g for _, _, g in present) * 2 / 3 for pick in (min, max))
    return Bounds(low=_comparison(pairs, low), high=_comparison(pairs, high))


def hashin_shtrikman_shear(fractions: Sequence[float], bulk: Sequence[float], shear: Sequence[float]) -> Bounds:
    """Bounds on the shear modulus of a macroscopically isotropic mixture of isotropic phases:

        G(z) = 1 / sum(f_i / (G_i + z)) - z,  z = G/6 (9 K + 8 G) / (K + 2 G) at the least and at the largest K and G.

    Source and errors as `hashin_shtrikman_bulk`; the least and the largest need not be those of one phase (Walpole).
    """
    _check(fractions, bulk)
    _check(fractions, shear)
    present = [(f, k, g) for f, k, g in zip(fractions, bulk, shear, strict=True) if f > 0]
    pairs = [(f, g) for f, _, g in present]
    ends = []
    for pick in (min, max):
        k, g = pick(k for _, k, _ in present), pick(g for _, _, g in present)
        ends.append(_comparison(pairs, g / 12 * (9 * k + 8 * g) / (k + 2 * g) if g > 0 else 0.0))
    return Bounds(low=ends[0], high=ends[1])


def _comparison(present: Sequence[tuple[float, float]], z: float) -> float:
    """The conductivity s(z) of the coated-spheres assemblage with comparison medium z."""
    if z == 0 and any(s == 0 for _, s in present):  # the limit of a harmonic mean with an insulator
        return 0.0
    return 1 / sum(f / (s + 2 * z) for f, s in present) - 2 * z


def _check(fractions: Sequence[float], conductivities: Sequence[float]) -> None:
    if len(fractions) != len(conductivities) or not fractions:
        raise InputError(f"fractions: as many as conductivities, not {len(fractions)} for {len(conductivities)}")
    if min(fractions) < 0 or not math.isclose(sum(fractions), 1, abs_tol=1e-6):
        raise InputError(f"fractions: must be at least 0 and sum to 1, not {list(fractions)}")
    if not all(0 <= s < math.inf for s in conductivities):
        raise InputError(f"conductivities: must be finite and at least 0, not {list(conductivities)}")
