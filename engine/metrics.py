"""Names of what can be measured: `fraction[pore]`, `diffusivity[pore,z]`, `tpb_density`.

One grammar serves targets, study files, table columns and the command line. A metric is a name and its
arguments; `MetricKind` says which arguments it takes, its unit and its bounds. A metric along an axis that is named
without one, `diffusivity[pore]`, is the mean of the axes; so are those of planes, `shear_modulus_gpa[xy]`, and of pairs
of axes, `poissons_ratio[xy]`.
"""

import math
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Literal

from engine.errors import InputError

AXES = ("z", "y", "x")  # names of the array axes 0, 1, 2
DIRECTIONS = {
    "": (),
    "AXIS": AXES,
    "PLANE": ("yz", "xz", "xy"),
    "PAIR": ("zy", "zx", "yz", "yx", "xz", "xy"),
}
"""What a metric has one value along each of. The order of the letters tells pairs apart, not planes."""


_VOXEL_UNITS = {  # unit: power of the voxel's side, ending of the column name
    "voxel": (1, "_voxel"),
    "voxel^2": (2, "_voxel2"),
    "1/voxel": (-1, "_per_voxel"),
    "1/voxel^2": (-2, "_per_voxel2"),
    "1/voxel^3": (-3, "_per_voxel3"),
}


@dataclass(frozen=True, kw_only=True)
class MetricKind:
    """What a metric name means."""

    name: str
    takes_phase: bool = True
    direction: Literal["", "AXIS", "PLANE", "PAIR"] = ""
    """What it has one value along each of (`DIRECTIONS`); empty where it has one value."""
    unit: str = ""
    """Empty for dimensionless numbers. Lengths are in voxels; any other unit is part of the name."""
    image_unit: str | None = None
    """Of an image's value, where it differs: what is counted per area there is no estimate of the volume's."""
    low: float = 0.0
    high: float = 1.0
    least_phases: int = 1
    """Materials with fewer phases have no such metric."""
    needs: str = ""
    """What it is not measured without: `materials`, the curves of a bundle's `training`, a `request` for it by name
    (its solve takes minutes), or a `function` of the user's own."""
    meaning: str

    @property
    def directions(self) -> tuple[str, ...]:
        """What stands in its name for the axis, plane or pair; none where it has one value."""
        return DIRECTIONS[self.direction]

    @property
    def unit_suffix(self) -> str:
        """Appended to the column name; empty for dimensionless numbers and names that hold their unit."""
        return _VOXEL_UNITS.get(self.unit, (0, ""))[1]

    def unit_of(self, space_dims: int) -> str:
        """Unit of a volume's value (3) or of an image's (2)."""
        return self.image_unit if space_dims == 2 and self.image_unit is not None else self.unit


def in_micrometres(value: float, unit: str, voxel_size_um: float) -> tuple[float, str] | None:
    """A value in powers of voxels as one in micrometres, with that unit; None where the unit holds no length."""
    if unit not in _VOXEL_UNITS:
        return None
    return value * voxel_size_um ** _VOXEL_UNITS[unit][0], unit.replace("voxel", "um")


KINDS: dict[str, MetricKind] = {
    kind.name: kind
    for kind in (
        MetricKind(name="fraction", meaning="volume fraction of the phase"),
        MetricKind(
            name="diffusivity",
            direction="AXIS",
            meaning="relative diffusivity D_eff/D_0 for flux along the axis through the phase, other faces sealed",
        ),
        MetricKind(
            name="multigrid_diffusivity",
            direction="AXIS",
            meaning="the same by our own multigrid solver, to set beside the diffusivity that TauFactor certifies",
        ),
        MetricKind(
            name="surface_area",
            unit="1/voxel",
            high=2.0,
            meaning="interface area of the phase per volume (voxel faces corrected for their staircase)",
        ),
        MetricKind(
            name="mean_chord",
            direction="AXIS",
            unit="voxel",
            high=math.inf,
            meaning="mean length of the pieces that the phase cuts out of lines along the axis",
        ),
        MetricKind(
            name="mean_pore_size",
            unit="voxel",
            high=math.inf,
            meaning="mean local thickness: diameter of the largest ball within the phase that covers a point of it",
        ),
        MetricKind(
            name="mean_grain_size",
            unit="voxel",
            high=math.inf,
            meaning="mean diameter of the balls that have the volumes of the phase's separate pieces",
        ),
        MetricKind(
            name="connected_fraction",
            direction="AXIS",
            meaning="share of the phase in clusters that touch both faces across the axis, joined through voxel faces",
        ),
        MetricKind(
            name="euler_number_density",
            unit="1/voxel^3",
            image_unit="1/voxel^2",
            low=-1.0,
            meaning="pieces less tunnels plus cavities of the phase per volume, voxels joined through their faces",
        ),
        MetricKind(
            name="tpb_density",
            takes_phase=False,
            unit="1/voxel^2",
            high=2.0,
            least_phases=3,
            meaning="length of the lines where three phases meet per volume (edges corrected for their staircase)",
        ),
        MetricKind(
            name="percolating_tpb_density",
            takes_phase=False,
            direction="AXIS",
            unit="1/voxel^2",
            high=2.0,
            least_phases=3,
            meaning="triple-phase boundary whose phases are all connected to both faces across the axis, per volume",
        ),
        MetricKind(
            name="s2_discrepancy",
            high=math.inf,
            needs="training",
            meaning="area between the phase's S2 (mean of the axes, below 32 voxels) and that of the training images, "
            "relative to the latter's",
        ),
        MetricKind(
            name="lineal_path_discrepancy",
            high=math.inf,
            needs="training",
            meaning="the same of the lineal path",
        ),
        MetricKind(
            name="conductivity",
            takes_phase=False,
            direction="AXIS",
            high=math.inf,
            needs="materials",
            meaning="effective conductivity for flux along the axis, other faces sealed, in the materials' unit",
        ),
        MetricKind(
            name="elastic_modulus_gpa",
            takes_phase=False,
            direction="AXIS",
            high=math.inf,
            needs="materials",
            meaning="effective Young's modulus along the axis in GPa, the volume taken as a periodic cell",
        ),
        MetricKind(
            name="shear_modulus_gpa",
            takes_phase=False,
            direction="PLANE",
            high=math.inf,
            needs="materials",
            meaning="effective shear modulus in the plane of two axes in GPa, the volume taken as a periodic cell",
        ),
        MetricKind(
            name="poissons_ratio",
            takes_phase=False,
            direction="PAIR",
            low=-math.inf,  # of an anisotropic body it has no limits: T. C. T. Ting and T. Chen, QJMAM 58, 73 (2005)
            high=math.inf,
            needs="materials",
            meaning="effective contraction along the second axis per extension along the first under stress along the "
            "first, the volume taken as a periodic cell",
        ),
        MetricKind(
            name="thermal_expansion",
            takes_phase=False,
            direction="AXIS",
            low=-math.inf,
            high=math.inf,
            needs="materials",
            meaning="effective thermal strain per kelvin along the axis, the volume taken as a periodic cell",
        ),
        MetricKind(
            name="permeability",
            direction="AXIS",
            unit="voxel^2",
            high=math.inf,
            needs="request",
            meaning="permeability of the phase to slow viscous flow along the axis, sides as mirrors",
        ),
        MetricKind(
            name="property",
            low=-math.inf,
            high=math.inf,
            needs="function",
            meaning="what the user's own function of this name gives (instead of a phase it takes the name)",
        ),
    )
}

_WORDS = {"AXIS": ("axis", "axes"), "PLANE": ("plane", "planes"), "PAIR": ("pair", "pairs")}
_PATTERN = re.compile(r"^\s*([a-z][a-z0-9_]*)\s*(?:\[\s*([^\[\]]*?)\s*\])?\s*$")


@dataclass(frozen=True, order=True)
class Metric:
    """A metric with its arguments, such as `diffusivity[pore,z]`. Hashable; its text form parses back."""

    name: str
    phase: str | None = None
    axis: str | None = None
    """Or the plane, or the pair of axes, as the kind has it."""

    def __str__(self) -> str:
        arguments = ",".join(self.arguments)
        return f"{self.name}[{arguments}]" if arguments else self.name

    @property
    def arguments(self) -> tuple[str, ...]:
        """The phase and the axis, as far as the kind takes them."""
        return tuple(each for each in (self.phase, self.axis) if each is not None)

    @property
    def kind(self) -> MetricKind:
        return KINDS[self.name]

    @property
    def is_mean(self) -> bool:
        """Whether it is the mean of the axes (planes, pairs) of a metric that has one value along each."""
        return bool(self.kind.directions) and self.axis is None

    def along(self, axes: Sequence[str] = AXES) -> "tuple[Metric, ...]":
        """The metrics that a mean is made of, of those axes; itself where it is none."""
        if not self.is_mean:
            return (self,)
        return tuple(Metric(self.name, self.phase, each) for each in self.kind.directions if set(each) <= set(axes))

    @property
    def column(self) -> str:
        """Column name in a structure table: `diffusivity_pore_z`, `surface_area_pore_per_voxel`."""
        return "_".join((self.name, *self.arguments)) + self.kind.unit_suffix

    @property
    def meaning(self) -> str:
        """The kind's meaning with this metric's phase and axis."""
        named = "function" if self.kind.needs == "function" else "phase"
        arguments = [f"{named} {self.phase}"] if self.phase else []
        if self.kind.directions:
            one, all_ = _WORDS[self.kind.direction]
            arguments.append(f"{one} {self.axis}" if self.axis else f"mean of the {all_}")
        return "; ".join([self.kind.meaning, *([", ".join(arguments)] if arguments else [])])


def all_metrics(phases: Sequence[str]) -> list[Metric]:
    """Every metric that a material of these phases has, kind by kind."""
    return [
        Metric(kind.name, phase, axis)
        for kind in KINDS.values()
        if len(phases) >= kind.least_phases and kind.needs != "function"
        for phase in (phases if kind.takes_phase else (None,))
        for axis in (kind.directions or (None,))
    ]


def mean_metrics(phases: Sequence[str]) -> list[Metric]:
    """Every mean of the axes; measured where it is asked for."""
    found = [metric for metric in all_metrics(phases) if metric.axis is not None]
    return list(dict.fromkeys(Metric(metric.name, metric.phase) for metric in found))


def own_metrics(columns: Collection[str]) -> list[Metric]:
    """The functions of the user's own that a table's columns hold."""
    found = [name.removeprefix("property_") for name in columns if name.startswith("property_")]
    return [Metric("property", name) for name in sorted(found) if not name.endswith("_outcome")]


def parse_metric(text: str, phases: Sequence[str] | None = None) -> Metric:
    """Read `name`, `name[phase]`, `name[axis]` or `name[phase,axis]`, as the kind takes them; without its axis it is
    the mean of the axes. The letters of a plane may stand in either order.

    Args:
        text: the metric as the user wrote it.
        phases: phase names of the bundle; None accepts any name.

    Raises:
        InputError: unknown metric, phase or axis (with the nearest valid name), a missing argument, or a metric
            that needs more phases.
    """
    match = _PATTERN.match(text)
    if match is None:
        raise InputError(f"metric '{text}': expected NAME[PHASE] or NAME[PHASE,AXIS], such as fraction[pore]")
    name = match.group(1)
    arguments = [part.strip() for part in match.group(2).split(",")] if match.group(2) is not None else []
    if name not in KINDS:
        raise InputError(f"metric '{text}': no metric is called '{name}'{nearest(name, KINDS)}")
    kind = KINDS[name]
    first = "NAME" if kind.needs == "function" else "PHASE"
    wanted = [word for word, takes in ((first, kind.takes_phase), (kind.direction, kind.direction)) if takes]
    least = len(wanted) - bool(kind.direction)
    if not least <= len(arguments) <= len(wanted) or not all(arguments):
        forms = [f"{name}[{','.join(wanted[:count])}]".replace("[]", "") for count in range(len(wanted), least - 1, -1)]
        raise InputError(f"metric '{text}': expected {' or '.join(forms)}")
    phase = arguments[0] if kind.takes_phase else None
    axis = arguments[-1] if len(arguments) > kind.takes_phase else None
    if phases is not None and phase is not None and phase not in phases and kind.needs != "function":
        raise InputError(f"metric '{text}': no phase is called '{phase}'{nearest(phase, phases)}")
    if axis is not None and axis not in kind.directions:
        ordered = "".join(sorted(axis))
        if kind.direction != "PLANE" or ordered not in kind.directions:
            *some, last = kind.directions
            word = _WORDS[kind.direction][0]
            raise InputError(f"metric '{text}': the {word} must be {', '.join(some)} or {last}, not '{axis}'")
        axis = ordered
    if phases is not None and len(phases) < kind.least_phases:
        raise InputError(
            f"metric '{text}': needs {kind.least_phases} phases, this material has {len(phases)}: {', '.join(phases)}"
        )
    return Metric(name, phase, axis)


def nearest(word: str, valid: Sequence[str] | Mapping[str, object]) -> str:
    """A hint for an error message: the closest valid word where there is one, else the whole list."""
    close = get_close_matches(word, list(valid), n=1)
    return f"; did you mean '{close[0]}'?" if close else f"; valid: {', '.join(valid)}"
