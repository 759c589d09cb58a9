"""What a structure is and does: the descriptors and properties of one labelled volume or image.

measurement = measure(labels, card.phases)
measurement.values[parse_metric("surface_area[pore]")]     # Measured(value, outcome)
measurement.curves["s2[pore]"]
"""

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from engine.metrics import AXES, Metric, all_metrics
from engine.outcomes import Measured

if TYPE_CHECKING:
    from engine.properties.materials import Materials


class LabelledPhase(Protocol):
    """A phase by name and label, such as that of a bundle's card."""

    @property
    def name(self) -> str: ...

    @property
    def label(self) -> int: ...


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """Descriptors and properties of one volume or image."""

    values: dict[Metric, Measured]
    curves: dict[str, NDArray[np.float32]]
    """`s2[phase]`, `lineal_path[phase]` and `chord_length[phase]` at r = 0, 1, ... voxels, mean of the axes;
    `pore_size[phase]`, the share of the phase whose local thickness is at least r voxels."""
    wall_time_s: float


def measure(
    labels: NDArray[np.uint8],
    phases: Sequence[LabelledPhase],
    *,
    metrics: Collection[Metric] | None = None,
    materials: "Materials | None" = None,
    also: Collection[Metric] = (),
    certify: bool = True,
    note: Callable[[str], None] | None = None,
) -> Measurement:
    """Everything this version measures of a volume, or the metrics asked for.

    Args:
        labels: (z, y, x), or an image (y, x), which has descriptors but no properties.
        phases: every phase that occurs, by name and label.
        metrics: these alone; None measures all that need no request of their own (`MetricKind.needs`).
        materials: what the phases are made of, for conductivity, elastic moduli and thermal expansion.
        also: metrics to measure beside those that need no request of their own.
        certify: solve the diffusivities with TauFactor, the independent solver; otherwise with our own.
        note: called with what is measured next.

    Raises:
        InputError: labels that cannot be measured or belong to no phase.
    """
    from engine.descriptors.describe import describe

    started = time.perf_counter()
    description = describe(labels, {phase.name: phase.label for phase in phases}, metrics=metrics, note=note)
    values = dict(description.values)
    for phase in phases if labels.ndim == 3 else ():
        axes = [axis for axis in AXES if metrics is None or Metric("diffusivity", phase.name, axis) in metrics]
        if axes and note is not None:
            note(f"diffusivity of {phase.name}")
        for axis, measured in _diffusivities(labels == phase.label, axes, certify).items():
            values[Metric("diffusivity", phase.name, axis)] = measured
    if labels.ndim == 3:
        from engine.properties.measured import measure_properties

        named = {phase.name: phase.label for phase in phases}
        values |= measure_properties(labels, named, materials, metrics, note)
        values |= measure_properties(labels, named, materials, set(also) - set(values), note)
    order = [metric for metric in all_metrics([phase.name for phase in phases]) if metric in values]
    return Measurement(
        values={metric: values[metric] for metric in order},
        curves=description.curves,
        wall_time_s=time.perf_counter() - started,
    )


def _diffusivities(mask: NDArray[np.bool_], axes: Sequence[str], certify: bool) -> dict[str, Measured]:
    if certify:
        from engine.properties.certificate import certify_axes

        return certify_axes(mask, axes)
    from engine.properties.transport import solve

    solved = {axis: solve(torch.from_numpy(mask).float().unsqueeze(0), AXES.index(axis)) for axis in axes}
    return {axis: Measured(value=float(each.value), outcome=each.outcome[0]) for axis, each in solved.items()}
