"""Names of what can be measured: `fraction[pore]`, `diffusivity[pore,z]`, `surface_area[pore]`.

One grammar serves targets, study files, table columns and the command line. A metric is a name and its
arguments; `MetricKind` says which arguments it takes, its unit and its bounds.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from engine.errors import InputError

AXES = ("z", "y", "x")  # names of the array axes 0, 1, 2


@dataclass(frozen=True, kw_only=True)
class MetricKind:
    """What a metric name means."""

    name: str
    takes_axis: bool
    unit_suffix: str  # appended to the column name; empty for dimensionless numbers
    low: float
    high: float
    meaning: str


KINDS: dict[str, MetricKind] = {
    kind.name: kind
    for kind in (
        MetricKind(
            name="fraction", takes_axis=False, unit_suffix="", low=0.0, high=1.0, meaning="volume fraction of the phase"
        ),
        MetricKind(
            name="diffusivity",
            takes_axis=True,
            unit_suffix="",
            low=0.0,
            high=1.0,
            meaning="relative diffusivity D_eff/D_0 for flux along the axis through the phase, other faces sealed",
        ),
        MetricKind(
            name="surface_area",
            takes_axis=False,
            unit_suffix="_per_voxel",
            low=0.0,
            high=3.0,
            meaning="interface area of the phase per volume, in 1/voxel (voxel faces corrected for their staircase)",
        ),
    )
}

_PATTERN = re.compile(r"^\s*([a-z][a-z0-9_]*)\s*\[\s*([^\[\]]*?)\s*\]\s*$")


@dataclass(frozen=True, order=True)
class Metric:
    """A metric with its arguments, such as `diffusivity[pore,z]`. Hashable; its text form parses back."""

    name: str
    phase: str
    axis: str | None = None

    def __str__(self) -> str:
        return f"{self.name}[{self.phase}]" if self.axis is None else f"{self.name}[{self.phase},{self.axis}]"

    @property
    def kind(self) -> MetricKind:
        return KINDS[self.name]

    @property
    def column(self) -> str:
        """Column name in a structure table: `diffusivity_pore_z`, `surface_area_pore_per_voxel`."""
        parts = [self.name, self.phase] + ([self.axis] if self.axis else [])
        return "_".join(parts) + self.kind.unit_suffix


def parse_metric(text: str, phases: Sequence[str] | None = None) -> Metric:
    """Read `name[phase]` or `name[phase,axis]`.

    Args:
        text: the metric as the user wrote it.
        phases: phase names of the bundle; None accepts any name.

    Raises:
        InputError: unknown metric, phase or axis (with the nearest valid name), or a missing argument.
    """
    match = _PATTERN.match(text)
    if match is None:
        raise InputError(f"metric '{text}': expected NAME[PHASE] or NAME[PHASE,AXIS], such as fraction[pore]")
    name, arguments = match.group(1), [part.strip() for part in match.group(2).split(",")]
    if name not in KINDS:
        raise InputError(f"metric '{text}': no metric is called '{name}'{nearest(name, KINDS)}")
    wanted = 2 if KINDS[name].takes_axis else 1
    if len(arguments) != wanted or not all(arguments):
        form = f"{name}[PHASE,AXIS]" if wanted == 2 else f"{name}[PHASE]"
        raise InputError(f"metric '{text}': expected {form}")
    phase, axis = arguments[0], arguments[1] if wanted == 2 else None
    if phases is not None and phase not in phases:
        raise InputError(f"metric '{text}': no phase is called '{phase}'{nearest(phase, phases)}")
    if axis is not None and axis not in AXES:
        raise InputError(f"metric '{text}': the axis must be z, y or x, not '{axis}'")
    return Metric(name, phase, axis)


def nearest(word: str, valid: Sequence[str] | Mapping[str, object]) -> str:
    """A hint for an error message: the closest valid word where there is one, else the whole list."""
    close = get_close_matches(word, list(valid), n=1)
    return f"; did you mean '{close[0]}'?" if close else f"; valid: {', '.join(valid)}"
