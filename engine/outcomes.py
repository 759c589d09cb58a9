"""How a number or a structure came to be. An outcome is stored beside its value, never printed and forgotten."""

from dataclasses import dataclass
from enum import StrEnum


class Outcome(StrEnum):
    """Outcome of one measured value."""

    MEASURED = "measured"  # a geometric statistic: exact for the voxels given
    CONVERGED = "converged"  # an iterative solve that met its criterion
    DOES_NOT_PERCOLATE = "does_not_percolate"  # no path of the phase from face to face; the value is exactly 0
    OUT_OF_ITERATIONS = "out_of_iterations"  # the value is the solver's last, not converged
    ABSENT = "absent"  # the phase has no voxel here
    NOT_FINITE = "not_finite"  # a function of the user's own gave no finite number; there is no value
    UNBOUNDED = "unbounded"  # what is to be measured is larger than the volume; there is no value

    @property
    def remedy(self) -> str:
        """What a user can do about it; empty where nothing is wrong."""
        return _REMEDIES[self]


_REMEDIES = {
    Outcome.MEASURED: "",
    Outcome.CONVERGED: "",
    Outcome.DOES_NOT_PERCOLATE: "the phase is disconnected along this axis: ask for more of it, or for a larger volume",
    Outcome.OUT_OF_ITERATIONS: "raise the iteration limit or loosen the convergence criterion",
    Outcome.ABSENT: "the phase has no voxel in this volume: check the labels",
    Outcome.NOT_FINITE: "look at what the function does with this volume",
    Outcome.UNBOUNDED: "the phase's features do not end within this volume: measure a larger one",
}


class DesignOutcome(StrEnum):
    """Outcome of one generated structure against its targets."""

    UNGUIDED = "unguided"  # no target was asked for
    ATTAINED = "attained"  # every target holds on the thresholded volume
    MISSED = "missed"  # the best state found; at least one target does not hold
    FAILED = "failed"  # no volume: the row carries the reason


@dataclass(frozen=True, kw_only=True)
class Measured:
    """A value with its outcome. `value` is None only where the outcome says that there is none."""

    value: float | None
    outcome: Outcome
