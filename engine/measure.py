"""What a structure is and does: the descriptors and properties of one labelled volume or image.

measurement = measure(labels, card.phases)
measurement.values[parse_metric("surface_area[pore]")]     # Measured(value, outcome)
measurement.curves["s2[pore]"]
"""

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from engine.metrics import AXES, Metric, all_metrics
from engine.outcomes import Measured, Outcome

if TYPE_CHECKING:
    from engine.properties.materials import Materials
    from engine.properties.own import OwnProperty


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
    periodic: bool = False,
    note: Callable[[str], None] | None = None,
    training: Mapping[str, Sequence[float]] | None = None,
    properties: "Sequence[OwnProperty]" = (),
) -> Measurement:
    """Everything this version measures of a volume, or the metrics asked for.

    Args:
        labels: (z, y, x), or an image (y, x), whose properties along y and x are those of a body that it goes through
            unchanged.
        phases: every phase that occurs, by name and label.
        metrics: these alone; None measures all that need no request of their own (`MetricKind.needs`).
        materials: what the phases are made of, for conductivity, elastic moduli and thermal expansion.
        also: metrics to measure beside those that need no request of their own.
        certify: solve the diffusivities with TauFactor, the independent solver, too; otherwise with our own alone.
        periodic: the structure goes on beyond its border: for the descriptors along all axes, for diffusivity and
            conductivity along those across the flux. (Stiffness and expansion always take it so.)
        note: called with what is measured next.
        training: curves such as `s2[pore]` that `s2_discrepancy` and `lineal_path_discrepancy` compare with
            (`Card.training_means`); None measures none.
        properties: functions of the user's own, called with the phases in the order of `phases`.

    Raises:
        InputError: labels that cannot be measured or belong to no phase, or a metric that lacks materials.
        WorkError: a function of the user's own failed.
    """
    from engine.descriptors.describe import describe
    from engine.descriptors.discrepancy import relative_area
    from engine.properties.measured import measure_properties

    started = time.perf_counter()
    named = {phase.name: phase.label for phase in phases}
    axes = AXES[-labels.ndim :]
    means = [metric for metric in (*(metrics or ()), *also) if metric.is_mean]
    if metrics is not None:
        metrics = {part for metric in metrics for part in metric.along(axes)}
    also = {part for metric in also for part in metric.along(axes)}
    description = describe(labels, named, metrics=metrics, periodic=periodic, note=note)
    values = dict(description.values)
    for asked in (metrics, set(also)):
        fresh = asked if asked is None else set(asked) - set(values)
        values |= measure_properties(labels, named, materials, fresh, certify=certify, periodic=periodic, note=note)
    for curve, wanted in (training or {}).items():
        name, _, phase = curve.rstrip("]").partition("[")
        metric = Metric(f"{name}_discrepancy", phase)
        if curve in description.curves and (metrics is None or metric in metrics):
            found = description.curves[curve]
            lags = min(len(found), len(wanted))
            apart = float(relative_area(found[:lags].astype(np.float64), np.array(wanted[:lags])))
            values[metric] = Measured(value=apart, outcome=Outcome.MEASURED)
    order = [metric for metric in all_metrics(list(named)) if metric in values]
    own = _own(labels, list(named.values()), properties)
    return Measurement(
        values={metric: values[metric] for metric in order}
        | {mean: _mean([values[part] for part in mean.along(axes)]) for mean in dict.fromkeys(means)}
        | own,
        curves=description.curves,
        wall_time_s=time.perf_counter() - started,
    )


def _mean(parts: Sequence[Measured]) -> Measured:
    """Mean of the axes; what is wrong with one is wrong with it."""
    wrong = [part.outcome for part in parts if part.outcome.remedy]
    known = [part.value for part in parts if part.value is not None]
    value = sum(known) / len(parts) if len(known) == len(parts) else None
    return Measured(value=value, outcome=wrong[0] if wrong else parts[0].outcome)


def _own(labels: NDArray[np.uint8], of: Sequence[int], properties: "Sequence[OwnProperty]") -> dict[Metric, Measured]:
    """What functions of the user's own give of a volume whose phases have these labels."""
    if not properties:
        return {}
    import torch

    hot = torch.from_numpy(np.stack([labels == label for label in of])).float()
    return {own.metric: own.measured(hot) for own in properties}
