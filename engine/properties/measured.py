"""The properties of one labelled volume or image by metric, each with its outcome: `diffusivity[phase,axis]` and
`multigrid_diffusivity[phase,axis]`; for given materials `conductivity[axis]`, `elastic_modulus_gpa[axis]`,
`shear_modulus_gpa[plane]`, `poissons_ratio[pair]` and `thermal_expansion[axis]`; `permeability[phase,axis]` on request.

An image is measured along its own axes as a body that has this section everywhere: one layer of voxels, which the
sealed, mirrored or periodic sides continue.
"""

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from engine.errors import InputError
from engine.metrics import AXES, Metric, all_metrics
from engine.outcomes import Measured, Outcome
from engine.properties.certificate import certify_diffusivity
from engine.properties.elasticity import Homogenized, homogenize
from engine.properties.materials import Materials
from engine.properties.permeability import permeability
from engine.properties.phases import phase_indices
from engine.properties.stiffness import modulus, poissons_ratio, rigid, voigt_component
from engine.properties.transport import solve

DIFFUSIVITIES = ("diffusivity", "multigrid_diffusivity")

GIVEN_BY = {
    "conductivity": "conductivity",
    "elastic_modulus_gpa": "youngs_modulus_gpa",
    "shear_modulus_gpa": "youngs_modulus_gpa",
    "poissons_ratio": "youngs_modulus_gpa",
    "thermal_expansion": "thermal_expansion_per_k",
}
"""Metrics that need materials, and what of the materials."""

PROPERTIES = (*DIFFUSIVITIES, *GIVEN_BY, "permeability")

ELASTIC = ("elastic_modulus_gpa", "shear_modulus_gpa", "poissons_ratio", "thermal_expansion")
"""Those of one homogenisation."""


def measure_properties(
    labels: NDArray[Any],
    phases: Mapping[str, int],
    materials: Materials | None,
    metrics: Collection[Metric] | None = None,
    *,
    certify: bool = True,
    periodic: bool = False,
    note: Callable[[str], None] | None = None,
) -> dict[Metric, Measured]:
    """Measure the properties asked for.

    Args:
        labels: (z, y, x), or an image (y, x), which has none along z or in a plane with it.
        phases: label of every phase by name.
        materials: of the phases; None where no metric needs them.
        metrics: those asked for, others are passed over; None for the diffusivities and all that the materials give
            (no permeability, whose solve takes minutes: ask for it).
        certify: `diffusivity` is TauFactor's; otherwise it is our own, as `multigrid_diffusivity`.
        periodic: whether the sides of diffusion and conduction meet. Stiffness and expansion are of a periodic cell
            anyway.
        note: called with what is solved next.

    Raises:
        InputError: labels that no phase declares, a metric that needs materials without them, a phase or property that
            they lack, or a permeability with periodic sides.
    """
    names, axes = list(phases), AXES[-labels.ndim :]
    possible = [m for m in all_metrics(names) if m.name in PROPERTIES and set(m.axis or "") <= set(axes)]
    if metrics is None:
        wanted = [m for m in possible if not m.kind.needs or _given(m.name, materials, names)]
    else:
        wanted = [m for m in possible if m in metrics]
    if not wanted:
        return {}
    permeable = [metric for metric in wanted if metric.name == "permeability"]
    if permeable and periodic:
        raise InputError(f"metric '{permeable[0]}': its sides are mirrors, never periodic; ask for it by itself")
    found: dict[Metric, Measured] = {}
    volume = torch.from_numpy(labels if labels.ndim == 3 else labels[None])
    indices = phase_indices(volume, list(phases.values()))
    if note is None:
        note = _silent
    for index, name in enumerate(names):
        diffusive = [metric for metric in wanted if metric.phase == name and metric.name in DIFFUSIVITIES]
        if diffusive:
            found |= _diffusivities(indices == index, diffusive, certify, periodic, note)
    conducted = [metric for metric in wanted if metric.name == "conductivity"]
    elastic = [metric for metric in wanted if metric.name in ELASTIC]
    if conducted:
        found |= _conductivities(
            indices, _needed(materials, conducted[0]).conductivities(names).float(), conducted, periodic, note
        )
    if elastic:
        found |= _elastic(indices, _needed(materials, elastic[0]), names, elastic, note)
    for metric in permeable:
        note(str(metric))
        fluid = indices == names.index(metric.phase or "")
        found[metric] = permeability(fluid.unsqueeze(0), AXES.index(metric.axis or "")).measured()
    return {metric: found[metric] for metric in wanted}


def _diffusivities(
    mask: Tensor, wanted: Sequence[Metric], certify: bool, periodic: bool, note: Callable[[str], None]
) -> dict[Metric, Measured]:
    """Of one phase [D, H, W], by one solver or by both."""
    note(f"diffusivity of {wanted[0].phase}")
    out: dict[Metric, Measured] = {}
    for metric in wanted:
        axis = AXES.index(metric.axis or "")
        if certify and metric.name == "diffusivity":
            out[metric] = certify_diffusivity(mask.numpy(), axis, periodic=periodic)
            continue
        other = next((each for each in out if each.axis == metric.axis and not certify), None)
        if other is not None:
            out[metric] = out[other]
        elif not bool(mask.any()):
            out[metric] = Measured(value=0.0, outcome=Outcome.ABSENT)
        else:
            result = solve(mask.unsqueeze(0), axis, periodic=periodic)
            out[metric] = Measured(value=float(result.value), outcome=result.outcome[0])
    return out


def _conductivities(
    indices: Tensor, table: Tensor, wanted: Sequence[Metric], periodic: bool, note: Callable[[str], None]
) -> dict[Metric, Measured]:
    """The sides as those of the diffusivity."""
    isotropic = bool((table == table[:, :1]).all())
    field = table[:, 0][indices].unsqueeze(0) if isotropic else table[indices].movedim(-1, 0).unsqueeze(0)
    out = {}
    for metric in wanted:
        note(str(metric))
        result = solve(field, AXES.index(metric.axis or ""), periodic=periodic)
        out[metric] = Measured(value=float(result.value), outcome=result.outcome[0])
    return out


def _elastic(
    indices: Tensor, materials: Materials, names: Sequence[str], wanted: Sequence[Metric], note: Callable[[str], None]
) -> dict[Metric, Measured]:
    """One homogenisation of the volume as a periodic cell gives all of them."""
    note("stiffness")
    stiffness = materials.stiffnesses(names)
    expands = any(metric.name == "thermal_expansion" for metric in wanted)
    one_hot = torch.nn.functional.one_hot(indices, len(names)).movedim(-1, 0).unsqueeze(0).float()
    result = homogenize(one_hot, stiffness, materials.expansions(names) if expands else None)
    return {metric: _elastic_value(metric, result, stiffness) for metric in wanted}


def _elastic_value(metric: Metric, cell: Homogenized, phases: Tensor) -> Measured:
    """One number of a homogenised cell; what carries no load has the modulus 0, and no ratio or expansion."""
    effective, along = cell.stiffness[0], metric.axis or ""
    value: float | None
    match metric.name:
        case "elastic_modulus_gpa" | "shear_modulus_gpa":
            value = modulus(effective, voigt_component(along))
            if cell.outcome[0] is Outcome.CONVERGED and not rigid(effective, voigt_component(along), phases):
                return Measured(value=0.0, outcome=Outcome.DOES_NOT_PERCOLATE)
        case "poissons_ratio":
            ratio = poissons_ratio(effective, along, phases)
            value = None if ratio is None else ratio.value
        case _:
            assert cell.expansion is not None
            value = float(cell.expansion[0, voigt_component(along)])
    if value is None or math.isnan(value):
        return Measured(value=None, outcome=Outcome.DOES_NOT_PERCOLATE)
    return Measured(value=value, outcome=cell.outcome[0])


def _given(name: str, materials: Materials | None, phases: Sequence[str]) -> bool:
    if name not in GIVEN_BY or materials is None or not materials.gives(phases, GIVEN_BY[name]):
        return False
    return name != "thermal_expansion" or materials.gives(phases, "youngs_modulus_gpa")


def _needed(materials: Materials | None, metric: Metric) -> Materials:
    if materials is None:
        raise InputError(
            f"metric '{metric}': needs the phases' materials; give a materials file (--materials FILE.yaml)"
        )
    return materials


def _silent(_: str) -> None:
    """Nobody listens."""
