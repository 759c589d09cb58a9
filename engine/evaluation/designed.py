"""What a set of designed volumes is worth: how many have their targets, how much one volume says of the material, and
whether a target was reached by noise or by copying.

Legend: `N` volumes, `T` targets, `K` phases.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from engine.descriptors.surface import natural_surface_area
from engine.errors import InputError
from engine.evaluation.copying import Copying, copying
from engine.evaluation.proportions import wilson_interval
from engine.evaluation.sets import LEAST_SIDE, MOST_LABELS, BlockSet, cut_blocks, middle_slices
from engine.guidance.targets import Target
from engine.metrics import Metric
from engine.micrographs.read import find_files, read_label_file

if TYPE_CHECKING:
    from engine.measure import LabelledPhase
    from engine.properties.materials import Materials

VOLUMES = 4
"""Of which octants are measured at most: 32 values tell a standard deviation within an eighth."""
OCTANT = 16
"""Voxels on the shortest side of an octant; below, it holds too little of a structure."""


@dataclass(frozen=True, kw_only=True)
class Reached:
    """One target among N volumes."""

    target: str
    held: int
    count: int
    interval: tuple[float, float]
    """95 % of the share that holds (Wilson 1927)."""
    mean: float | None
    """Of the values that there are."""
    sd: float | None
    error: float | None
    """Standard error of one volume's value as one of the material (`standard_errors`)."""


@dataclass(frozen=True, kw_only=True)
class Beside:
    """What was not asked for, of one phase: means over the volumes."""

    phase: str
    fraction: float
    surface_area: float
    expected_surface_area: float | None
    """Of the training images at this fraction (`natural_surface_area`); None where the card holds none."""
    s2_discrepancy: float | None
    """From the training images. It contains that the fraction differs."""


def reached(
    targets: Sequence[Target],
    values: Sequence[Mapping[Metric, float | None]],
    errors: Mapping[Metric, float] | None = None,
) -> list[Reached]:
    """Each of T targets among N volumes.

    Args:
        targets: asked of every volume.
        values: measured, N of them.
        errors: of one volume's value.
    """
    found = []
    for target in targets:
        known = [each for value in values if (each := value.get(target.metric)) is not None]
        held = sum(target.holds(value.get(target.metric)) for value in values)
        found.append(
            Reached(
                target=str(target),
                held=held,
                count=len(values),
                interval=wilson_interval(held, len(values)),
                mean=float(np.mean(known)) if known else None,
                sd=float(np.std(known, ddof=1)) if len(known) > 1 else None,
                error=(errors or {}).get(target.metric),
            )
        )
    return found


def standard_errors(
    volumes: Sequence[NDArray[np.uint8]],
    phases: "Sequence[LabelledPhase]",
    metrics: Sequence[Metric],
    materials: "Materials | None" = None,
    note: Callable[[int, int], None] | None = None,
) -> dict[Metric, float]:
    """How far one volume's value may be from the material's, by the spread among its octants.

    The variance of a mean over a volume falls with the volume (Lantuejoul 1991; Kanit et al. 2003), so that of the
    whole is an eighth of that among its octants. That holds for sides far above the correlation length, and for
    properties that add up; where a smaller piece differs in the mean, too, it says the size of the scatter.

    Args:
        volumes: labels (z, y, x); of the first few the octants are measured.
        metrics: those that take minutes or compare with the training are left out.
        note: called with (volumes done, volumes in all).

    Returns:
        by metric, where two octants of a volume have a value and are large enough.
    """
    from engine.measure import measure

    wanted = [metric for metric in metrics if metric.kind.needs in ("", "materials")]
    some = [labels for labels in volumes[:VOLUMES] if min(labels.shape) // 2 >= OCTANT]
    variances: dict[Metric, list[float]] = {metric: [] for metric in wanted}
    for done, labels in enumerate(some if wanted else []):
        pieces = _octants(labels)
        values = [measure(piece, phases, metrics=wanted, materials=materials, certify=False).values for piece in pieces]
        for metric in wanted:
            known = [each for value in values if (each := value[metric].value) is not None]
            if len(known) > 1:
                variances[metric].append(float(np.var(known, ddof=1)) / len(pieces))
        if note is not None:
            note(done + 1, len(some))
    return {metric: math.sqrt(np.mean(each)) for metric, each in variances.items() if each}


def beside(
    rows: Sequence[Mapping[Metric, float | None]], phases: Sequence[str], training: Mapping[str, Sequence[float]]
) -> list[Beside]:
    """Surface and two-point correlation of each phase.

    Args:
        rows: measured values of N volumes.
        phases: K names.
        training: mean curves of the training images (`Card.training_means`).
    """
    found = []
    for phase in phases:
        fraction, area, apart = (
            _mean(rows, Metric(name, phase)) for name in ("fraction", "surface_area", "s2_discrepancy")
        )
        if fraction is None or area is None:
            continue
        s2, expected = training.get(f"s2[{phase}]"), None
        if s2 is not None and 0 < s2[0] < 1 and 0 < fraction < 1:
            expected, _ = natural_surface_area(s2, fraction)
        found.append(
            Beside(
                phase=phase,
                fraction=fraction,
                surface_area=area,
                expected_surface_area=expected,
                s2_discrepancy=apart,
            )
        )
    return found


class TrainingImages:
    """What a bundle was trained on, to search volumes for copies of it.

    Args:
        path: file, folder or pattern of labelled images or volumes.
        phases: of the bundle.

    Raises:
        InputError: files that cannot be used, or that hold other labels than the bundle's.
    """

    def __init__(self, path: str | Path, phases: "Sequence[LabelledPhase]") -> None:
        self._phases = tuple(phases)
        self._arrays = []
        for file in find_files([path]):
            labels = read_label_file(file, most=MOST_LABELS)[0]
            strange = sorted(set(np.unique(labels).tolist()) - {phase.label for phase in phases})
            if strange:
                names = ", ".join(f"{phase.name} = {phase.label}" for phase in phases)
                raise InputError(
                    f"{file}: label {strange[0]} is none of the bundle's ({names}); give the images it was trained on, "
                    "segmented with its labels"
                )
            self._arrays.append(labels)
        if min(min(array.shape) for array in self._arrays) < LEAST_SIDE:
            raise InputError(f"{path}: images must be at least {LEAST_SIDE} pixels a side")

    def nearest(self, volumes: Sequence[NDArray[np.uint8]]) -> Copying | None:
        """How near volumes are to them; None where either holds too little interface to tell."""
        side = min(min(array.shape) for array in (*self._arrays, *volumes))
        ours, theirs = (self._blocks(arrays, side) for arrays in (volumes, self._arrays))
        if len(theirs) < 2:
            return None
        return copying(ours, theirs)

    def _blocks(self, arrays: Sequence[NDArray[np.uint8]], side: int) -> BlockSet:
        """Slices of volumes, and images."""
        index = np.zeros(256, dtype=np.uint8)
        index[[phase.label for phase in self._phases]] = np.arange(len(self._phases))
        cut = np.concatenate([middle_slices(cut_blocks(index[array], side)) for array in arrays])
        names = tuple(phase.name for phase in self._phases)
        return BlockSet(blocks=cut, phases=names, files=len(arrays))


def _octants(labels: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
    halves = [(slice(0, side // 2), slice(side - side // 2, side)) for side in labels.shape]
    return [labels[z, y, x] for z in halves[0] for y in halves[1] for x in halves[2]]


def _mean(rows: Sequence[Mapping[Metric, float | None]], metric: Metric) -> float | None:
    known = [value for row in rows if (value := row.get(metric)) is not None]
    return float(np.mean(known)) if known else None
