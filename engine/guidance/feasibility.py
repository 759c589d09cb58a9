"""Whether a structure can have the targets together: refused is what none can have, doubted what few do.

Refused by bounds that hold for every structure and every axis; doubted beyond those of isotropic structures, which a
finite volume may pass along one axis, and where the bundle's training crops have never been.
"""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from engine.errors import InputError
from engine.guidance.targets import Target
from engine.metrics import AXES, Metric, parse_metric
from engine.properties.bounds import (
    hashin_shtrikman,
    hashin_shtrikman_bulk,
    hashin_shtrikman_shear,
    reuss,
    voigt,
)
from engine.properties.stiffness import isotropic_moduli, modulus, uniaxial_strain, voigt_component

if TYPE_CHECKING:
    from engine.properties.materials import Materials

Range = tuple[float, float]
FACES = 32 / 31
"""Neighbouring voxels per voxel on the border of the smallest volume, against one in its inside: shares of pairs can
exceed those of voxels by so much."""
ROUNDING = 1e-9
TRACE = 1e-9
STRAINS = 40  # tried at most for the bound of a modulus
NEAR = 1e-3  # of the bound, from the stiffest mixture found: close enough to end the search


def check_feasible(targets: Sequence[Target], phases: Sequence[str], materials: "Materials | None" = None) -> None:
    """Refuse targets that no structure can meet, before anything is computed.

    Checked: each metric's own bounds; intervals on one metric that do not overlap; fractions that cannot sum to one;
    along one axis diffusivities, conductivities, Young's and shear moduli beyond Voigt's and Reuss' bound at the
    fractions asked for (Wiener 1912; Hill 1952); Poisson's ratios beyond what these moduli leave stable (Lempriere
    1968); surfaces of more than all voxels, or of one phase alone.

    Args:
        targets: together.
        phases: K names.
        materials: what the phases are made of; None leaves out what depends on them.

    Raises:
        InputError: naming the target and the feasible range.
    """
    ranges = _ranges(targets, phases)
    fractions = _fractions(ranges, phases)
    for metric, (low, high) in ranges.items():
        found = _bounds(metric, fractions, phases, materials)
        if found is None:
            continue
        (least, most), reason = found
        if low > most + ROUNDING * abs(most) or high < least - ROUNDING * abs(least):
            asked = f"{metric}>={low:.4g}" if low > most else f"{metric}<={high:.4g}"
            end = "inf)" if math.isinf(most) else f"{most:.4g}]"
            raise InputError(
                f"target {asked}: no structure has it; {reason}, {'at most' if low > most else 'at least'} "
                f"{most if low > most else least:.4g} here; feasible range [{least:.4g}, {end}"
            )
    _check_together(ranges, fractions, phases)


def doubts(
    targets: Sequence[Target],
    phases: Sequence[str],
    materials: "Materials | None" = None,
    training_fractions: Mapping[str, Range] | None = None,
) -> list[str]:
    """What is possible but not to be expected, a sentence each.

    Args:
        targets, phases, materials: as `check_feasible`, which they have passed.
        training_fractions: 5th and 95th percentile among the training crops by phase (`Card.training_fractions`).
    """
    ranges = _ranges(targets, phases)
    fractions = _fractions(ranges, phases)
    found = []
    for mean in dict.fromkeys(Metric(metric.name, metric.phase) for metric in ranges):
        isotropic = _isotropic(mean, fractions, phases, materials)
        if isotropic is None:
            continue
        parts = [ranges.get(axis, (mean.kind.low, mean.kind.high)) for axis in mean.along()]
        low, high = (sum(part[end] for part in parts) / len(parts) for end in (0, 1))
        if mean in ranges:
            low, high = max(low, ranges[mean][0]), min(high, ranges[mean][1])
        if low > isotropic[1] or high < isotropic[0]:
            relation = f"at least {low:.4g}" if low > isotropic[1] else f"at most {high:.4g}"
            found.append(
                f"{mean}: asked for is {relation} in the mean of all directions, which no isotropic structure "
                f"has (Hashin and Shtrikman: {isotropic[0]:.4g} to {isotropic[1]:.4g} at these fractions); only an "
                "anisotropic one could come close"
            )
    for phase, (least, most) in (training_fractions or {}).items():
        low, high = ranges.get(Metric("fraction", phase), (0.0, 1.0))
        if low > most or high < least:
            found.append(
                f"fraction[{phase}]: asked for is [{low:.4g}, {high:.4g}]; nine of ten training crops had "
                f"{least:.4g} to {most:.4g}, so the bundle has hardly seen such a material"
            )
    return found


def _ranges(targets: Sequence[Target], phases: Sequence[str]) -> dict[Metric, Range]:
    """What is left of each metric that is asked for."""
    ranges: dict[Metric, Range] = {}
    for target in targets:
        metric = parse_metric(str(target.metric), phases)
        kind = metric.kind
        if target.low > kind.high or target.high < kind.low:
            raise InputError(
                f"target {target}: no structure has it; {target.metric} lies within [{kind.low:g}, {kind.high:g}]"
            )
        before = ranges.get(metric, (kind.low, kind.high))
        low, high = max(before[0], target.low), min(before[1], target.high)
        if low > high:
            raise InputError(
                f"target {target}: contradicts another target on {metric}, which leaves [{before[0]:.4g}, "
                f"{before[1]:.4g}]"
            )
        ranges[metric] = (low, high)
    return ranges


def _fractions(ranges: Mapping[Metric, Range], phases: Sequence[str]) -> dict[str, Range]:
    """What each phase's fraction can be, given those of the others."""
    asked = {phase: ranges.get(Metric("fraction", phase), (0.0, 1.0)) for phase in phases}
    least, most = (sum(each[end] for each in asked.values()) for end in (0, 1))
    if least > 1 + ROUNDING or most < 1 - ROUNDING:
        raise InputError(
            f"the fraction targets cannot sum to 1: together the phases take between {least:.4g} and {most:.4g}"
        )
    return {phase: (max(low, 1 - (most - high)), min(high, 1 - (least - low))) for phase, (low, high) in asked.items()}


def _bounds(
    metric: Metric, fractions: Mapping[str, Range], phases: Sequence[str], materials: "Materials | None"
) -> tuple[Range, str] | None:
    """What a metric can be in any structure, and why; None where nothing is known. The mean of the axes obeys the
    mean of their bounds."""
    if metric.is_mean:
        parts = [_bounds(part, fractions, phases, materials) for part in metric.along()]
        known = [part for part in parts if part is not None]
        if len(known) < len(parts):
            return None
        low, high = (sum(part[0][end] for part in known) / len(known) for end in (0, 1))
        return (low, high), known[0][1]
    if metric.name in ("diffusivity", "multigrid_diffusivity"):
        assert metric.phase is not None
        return (0.0, fractions[metric.phase][1]), "the Voigt bound limits one axis to the phase's fraction"
    if metric.name == "surface_area":
        assert metric.phase is not None
        low, high = fractions[metric.phase]
        # of the pairs of neighbours along an axis at most 2 min(f, 1 - f) hold one voxel of the phase
        share = 0.5 if low <= 0.5 <= high else max(min(each, 1 - each) for each in (low, high))
        return (0.0, 4 * share * FACES), "every voxel of the phase or of the others has six faces at most"
    if materials is None or metric.axis is None:
        return None
    if metric.name == "conductivity":
        values = materials.conductivities(phases)[:, AXES.index(metric.axis)].tolist()
        poorest, richest = (_mixture(fractions, values, most=most) for most in (False, True))
        return (reuss(poorest, values), voigt(richest, values)), "the bounds of Voigt and Reuss limit one axis"
    if metric.name in ("elastic_modulus_gpa", "shear_modulus_gpa"):
        limited = "the bounds of Voigt and Reuss limit one axis" + (" or plane" if metric.name.startswith("s") else "")
        return _modulus_range(fractions, materials.stiffnesses(phases), voigt_component(metric.axis)), limited
    if metric.name == "poissons_ratio":
        stiffness = materials.stiffnesses(phases)
        (_, along), (across, _) = (_modulus_range(fractions, stiffness, voigt_component(each)) for each in metric.axis)
        most = math.sqrt(along / across) if across > 0 else math.inf
        return (-most, most), "a stable body has less than the root of the ratio of its moduli along the two axes"
    return None


def _modulus_range(fractions: Mapping[str, Range], stiffness: Tensor, component: int) -> Range:
    """Of Young's or shear modulus, by Voigt component."""
    moduli = [modulus(each, component) for each in stiffness]
    least = reuss(_mixture(fractions, moduli, most=False), moduli)
    return least, _stiffest(fractions, stiffness, component, _mixture(fractions, moduli, most=True))


def _isotropic(
    mean: Metric, fractions: Mapping[str, Range], phases: Sequence[str], materials: "Materials | None"
) -> Range | None:
    """Hashin and Shtrikman's bounds on the mean of the axes; None where they say nothing."""
    if mean.name in ("diffusivity", "multigrid_diffusivity"):
        fraction = fractions[mean.phase or ""][1]
        return 0.0, hashin_shtrikman((fraction, 1 - fraction), (1.0, 0.0)).high
    if materials is not None and mean.name in ("elastic_modulus_gpa", "shear_modulus_gpa", "poissons_ratio"):
        return _isotropic_elastic(mean.name, fractions, materials.stiffnesses(phases))
    if mean.name != "conductivity" or materials is None:
        return None
    table = materials.conductivities(phases)
    if bool((table != table[:, :1]).any()):
        return None
    values = table[:, 0].tolist()
    poorest, richest = (_mixture(fractions, values, most=most) for most in (False, True))
    return hashin_shtrikman(poorest, values).low, hashin_shtrikman(richest, values).high


def _isotropic_elastic(name: str, fractions: Mapping[str, Range], stiffness: Tensor) -> Range | None:
    """From the bounds on bulk and shear modulus, which are reached together (Z. Hashin and S. Shtrikman, J. Mech.
    Phys. Solids 11, 127, 1963); Young's modulus grows with both, Poisson's ratio with the one and against the other
    (R. W. Zimmerman, Mech. Res. Commun. 19, 563, 1992). None where a phase is anisotropic, or nothing is stiff."""
    pairs = [isotropic_moduli(each) for each in stiffness]
    known = [pair for pair in pairs if pair is not None]
    if len(known) < len(pairs):
        return None
    bulk, shear = [k for k, _ in known], [g for _, g in known]

    def mixture(values: Sequence[float], *, most: bool) -> list[float]:
        """With a trace of every phase that may be there: the extreme ones set the bounds."""
        shares = zip(_mixture(fractions, values, most=most), fractions.values(), strict=True)
        return [max(share, TRACE if high > 0 else 0.0) for share, (_, high) in shares]

    k_low = hashin_shtrikman_bulk(mixture(bulk, most=False), bulk, shear).low
    k_high = hashin_shtrikman_bulk(mixture(bulk, most=True), bulk, shear).high
    g_low = hashin_shtrikman_shear(mixture(shear, most=False), bulk, shear).low
    g_high = hashin_shtrikman_shear(mixture(shear, most=True), bulk, shear).high
    if not (k_high > 0 and g_high > 0):
        return None
    if name == "shear_modulus_gpa":
        return g_low, g_high
    if name == "poissons_ratio":
        return (3 * k_low - 2 * g_high) / (6 * k_low + 2 * g_high), (3 * k_high - 2 * g_low) / (6 * k_high + 2 * g_low)
    low = 9 * k_low * g_low / (3 * k_low + g_low) if k_low > 0 and g_low > 0 else 0.0
    return low, 9 * k_high * g_high / (3 * k_high + g_high)


def _check_together(ranges: Mapping[Metric, Range], fractions: Mapping[str, Range], phases: Sequence[str]) -> None:
    """What each metric can have alone and all cannot have at once."""
    for mean, (low, high) in ranges.items():
        if mean.is_mean:
            parts = [ranges.get(part, (mean.kind.low, mean.kind.high)) for part in mean.along()]
            least, most = (sum(part[end] for part in parts) / len(parts) for end in (0, 1))
            if low > most or high < least:
                raise InputError(
                    f"target on {mean}: contradicts those along the axes, whose mean is within "
                    f"[{least:.4g}, {most:.4g}]"
                )
    conducting = {
        phase: max(fractions[phase][0], *(ranges.get(Metric("diffusivity", phase, axis), (0.0,))[0] for axis in AXES))
        for phase in phases
    }
    if sum(conducting.values()) > 1 + ROUNDING:
        listed = ", ".join(f"{phase} {least:.4g}" for phase, least in conducting.items())
        raise InputError(
            f"the targets cannot hold together: a phase takes at least the larger of its fraction and its diffusivity "
            f"(the Voigt bound), here {listed}; together at most 1"
        )
    surfaces = {phase: ranges.get(Metric("surface_area", phase), (0.0, math.inf)) for phase in phases}
    for phase, (low, _) in surfaces.items():
        others = sum(high for other, (_, high) in surfaces.items() if other != phase)
        if low > others * (1 + ROUNDING):
            raise InputError(
                f"target surface_area[{phase}]>={low:.4g}: contradicts those of the other phases, where all of it is: "
                f"together they have {others:.4g} at most"
            )


def _mixture(fractions: Mapping[str, Range], values: Sequence[float], *, most: bool) -> list[float]:
    """Fractions within their ranges that have the most, or the least, of what the phases bring by their values."""
    ranges = list(fractions.values())
    found, left = [low for low, _ in ranges], 1 - sum(low for low, _ in ranges)
    for k in sorted(range(len(values)), key=lambda k: values[k], reverse=most):
        more = min(left, ranges[k][1] - ranges[k][0])
        found[k] += more
        left -= more
    return found


def _stiffest(fractions: Mapping[str, Range], stiffness: Tensor, component: int, start: Sequence[float]) -> float:
    """Upper bound of a modulus (of a Voigt component) for every structure and every fractions within the ranges.

    The effective stiffness is at most the mean one (Hill, Proc. Phys. Soc. A 65, 349, 1952), so the modulus is at most
    the mean energy under any strain of which that component is 1; the strain is sought under which that is least,
    from that of the mixture `start` on.
    """
    mixture = torch.tensor(start, dtype=torch.float64)
    least = math.inf
    for step in range(STRAINS):
        strain = uniaxial_strain(torch.einsum("k,kij->ij", mixture, stiffness), component)
        energies = torch.einsum("i,kij,j->k", strain, stiffness, strain).tolist()
        richest = _mixture(fractions, energies, most=True)
        bound = voigt(richest, energies)
        least = min(least, bound)
        if bound - voigt(mixture.tolist(), energies) <= NEAR * bound:  # the modulus of a mixture within the ranges
            break
        mixture += (torch.tensor(richest, dtype=torch.float64) - mixture) / (step + 2)
    return least
