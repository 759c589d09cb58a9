"""Every descriptor of one labelled volume or image, by metric, with an outcome; and its curves.

Which definition stands behind a metric is said by `KINDS[...].meaning`, the formulas by the modules of this folder.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.descriptors.chords import chord_lengths, mean_chord
from engine.descriptors.connectivity import connected_fractions
from engine.descriptors.euler import euler_number_density
from engine.descriptors.grains import grain_sizes
from engine.descriptors.lineal_path import lineal_path
from engine.descriptors.pore_sizes import local_thickness, mean_of_phase, size_distribution
from engine.descriptors.surface import surface_area
from engine.descriptors.triple_phase import percolating_tpb_density, tpb_density
from engine.descriptors.two_point import directional_s2
from engine.errors import InputError
from engine.metrics import AXES, KINDS, Metric, all_metrics
from engine.micrographs.files import distinct_values
from engine.outcomes import Measured, Outcome

CURVE_LAGS = 32  # voxels; half of the crop that bundles are trained on
LEAST_WHOLE = 0.5
"""Share of a phase that must lie in pieces off the border for a mean grain size: else the pieces seen whole are
splinters beside one that is larger than the volume."""

Note = Callable[[str], None]
"""Progress: what is measured now."""


@dataclass(frozen=True, kw_only=True)
class Description:
    """Descriptors of one volume or image."""

    values: dict[Metric, Measured]
    curves: dict[str, NDArray[np.float32]]
    """`s2[phase]`, `lineal_path[phase]`, `chord_length[phase]` at r = 0, 1, ... voxels, mean of the axes, and
    `pore_size[phase]`, the share of the phase whose local thickness is at least r voxels."""


def describe(
    labels: NDArray[Any],
    phases: Mapping[str, int],
    *,
    metrics: Collection[Metric] | None = None,
    lags: int = CURVE_LAGS,
    periodic: bool = False,
    note: Note | None = None,
) -> Description:
    """Measure a volume (z, y, x) or an image (y, x).

    Args:
        labels: integers, at least 2 voxels along every axis.
        phases: label of each phase by name; a phase may be absent from the volume.
        metrics: measure these alone (those that are no descriptors are passed over); None measures all.
        lags: length of the curves, cut at the shortest side.
        periodic: the volume goes on beyond its border.
        note: called with what is measured next.

    Raises:
        InputError: labels that are no integers or belong to no phase, a side of one voxel.
    """
    check_labels(labels, phases)
    return Describing(labels, phases, metrics, min(lags, *labels.shape), periodic, note or (lambda text: None)).run()


def check_labels(labels: NDArray[Any], phases: Mapping[str, int]) -> None:
    """Refuse what cannot be measured.

    Raises:
        InputError: as `describe`, naming the offender.
    """
    if labels.ndim not in (2, 3):
        raise InputError(f"labels: must be a volume (z, y, x) or an image (y, x), not of {labels.ndim} axes")
    if labels.dtype.kind not in "bui":
        wrong = int(np.count_nonzero(~np.isfinite(labels))) if labels.dtype.kind == "f" else 0
        found = f"{wrong} values that are NaN or infinite" if wrong else f"values of type {labels.dtype}"
        raise InputError(f"labels: must be integers, one per phase, not {found}; segment or repair them first")
    for name, side in zip(AXES[-labels.ndim :], labels.shape, strict=True):
        if side < 2:
            raise InputError(
                f"labels: a single layer of voxels along {name} is no volume; give it as an image (y, x) of at least "
                "2 by 2"
            )
    stray = sorted(set(distinct_values(labels).tolist()) - set(phases.values()))
    if stray:
        count = int(np.isin(labels, stray).sum())
        declared = ", ".join(f"{name} = {label}" for name, label in phases.items())
        raise InputError(
            f"labels: {', '.join(map(str, stray))} ({count} voxels) belong to no phase; declared are {declared}"
        )


class Describing:
    """One volume being described: what several metrics need is computed once."""

    def __init__(
        self,
        labels: NDArray[Any],
        phases: Mapping[str, int],
        metrics: Collection[Metric] | None,
        lags: int,
        periodic: bool,
        note: Note,
    ) -> None:
        self.labels, self.phases, self.lags, self.periodic, self.note = labels, phases, lags, periodic, note
        self.dims = labels.ndim
        self.axes = AXES[-self.dims :]
        possible = [
            each for each in all_metrics(list(phases)) if each.name in DESCRIPTORS and each.axis in (None, *self.axes)
        ]
        self.wanted = [each for each in possible if metrics is None or each in metrics]

    def run(self) -> Description:
        values: dict[Metric, Measured] = {}
        curves: dict[str, NDArray[np.float32]] = {}
        for phase, label in self.phases.items():
            one = _OnePhase(self, self.labels == label)
            for metric in self.wanted:
                if metric.phase == phase:
                    self.note(f"{metric.name} of {phase}")
                    values[metric] = getattr(one, metric.name)(metric.axis)
            self.note(f"curves of {phase}")
            curves |= {f"{name}[{phase}]": curve for name, curve in one.curves().items()}
        for metric in self.wanted:
            if metric.phase is None:
                self.note(metric.name)
                values[metric] = getattr(self, metric.name)(metric.axis)
        return Description(values={each: values[each] for each in self.wanted}, curves=curves)

    def tpb_density(self, axis: str | None) -> Measured:
        return Measured(value=self._tpb, outcome=Outcome.MEASURED)

    def percolating_tpb_density(self, axis: str | None) -> Measured:
        found = percolating_tpb_density(
            self.labels, self.axes.index(axis or ""), space_dims=self.dims, periodic=self.periodic
        )
        nothing = found == 0 and self._tpb > 0
        return Measured(value=float(found), outcome=Outcome.DOES_NOT_PERCOLATE if nothing else Outcome.MEASURED)

    @cached_property
    def _tpb(self) -> float:
        return float(tpb_density(self.labels, space_dims=self.dims, periodic=self.periodic))


class _OnePhase:
    """The metrics of one phase, by their names in `KINDS`."""

    def __init__(self, of: Describing, mask: NDArray[np.bool_]) -> None:
        self.mask, self.axes, self.lags = mask, of.axes, of.lags
        self.dims, self.periodic = of.dims, of.periodic
        self.absent = not mask.any()
        self.thickness: NDArray[np.float32] | None = None

    def curves(self) -> dict[str, NDArray[np.float32]]:
        mask, lags, dims, periodic = self.mask, self.lags, self.dims, self.periodic
        found: dict[str, NDArray[Any]] = {
            "s2": directional_s2(mask, lags, space_dims=dims, periodic=periodic).numpy().mean(axis=0),
            "lineal_path": lineal_path(mask, lags, space_dims=dims, periodic=periodic).mean(axis=0),
            "chord_length": chord_lengths(mask, lags, space_dims=dims, periodic=periodic).mean(axis=0),
        }
        if self.thickness is not None:
            found["pore_size"] = size_distribution(self.thickness, self.lags, space_dims=self.dims)
        return {name: curve.astype(np.float32) for name, curve in found.items()}

    def fraction(self, axis: str | None) -> Measured:
        return self._geometric(float(self.mask.mean()))

    def surface_area(self, axis: str | None) -> Measured:
        return self._geometric(float(surface_area(self.mask, space_dims=self.dims, periodic=self.periodic)))

    def euler_number_density(self, axis: str | None) -> Measured:
        return self._geometric(float(euler_number_density(self.mask, space_dims=self.dims, periodic=self.periodic)))

    def connected_fraction(self, axis: str | None) -> Measured:
        value = float(self._connected[self.axes.index(axis or "")])
        return self._geometric(value, Outcome.MEASURED if value else Outcome.DOES_NOT_PERCOLATE)

    def mean_chord(self, axis: str | None) -> Measured:
        return self._length(float(self._chords[self.axes.index(axis or "")]))

    def mean_pore_size(self, axis: str | None) -> Measured:
        self.thickness = local_thickness(self.mask, space_dims=self.dims, periodic=self.periodic)
        return self._length(float(mean_of_phase(self.thickness, self.dims)))

    def mean_grain_size(self, axis: str | None) -> Measured:
        grains = grain_sizes(self.mask, periodic=self.periodic)
        return self._length(grains.mean_diameter if grains.whole_share >= LEAST_WHOLE else np.inf)

    @cached_property
    def _chords(self) -> NDArray[np.float64]:
        return mean_chord(self.mask, space_dims=self.dims, periodic=self.periodic)

    @cached_property
    def _connected(self) -> NDArray[np.float64]:
        return connected_fractions(self.mask, space_dims=self.dims, periodic=self.periodic)

    def _geometric(self, value: float, outcome: Outcome = Outcome.MEASURED) -> Measured:
        return Measured(value=value, outcome=Outcome.ABSENT if self.absent else outcome)

    def _length(self, value: float) -> Measured:
        """A length has no value where the phase is absent or ends nowhere."""
        if self.absent:
            return Measured(value=None, outcome=Outcome.ABSENT)
        if np.isinf(value):
            return Measured(value=None, outcome=Outcome.UNBOUNDED)
        return Measured(value=value, outcome=Outcome.MEASURED)


DESCRIPTORS = tuple(name for name in KINDS if hasattr(_OnePhase, name) or hasattr(Describing, name))
"""Kinds of metrics that are descriptors; the others are properties."""
