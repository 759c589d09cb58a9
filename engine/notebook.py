"""The engine for notebooks: names and numbers in, structures with their measured values out.

    import engine

    targets = ["fraction[pore]=0.20±0.01", "diffusivity[pore,z]=0.05±5%"]
    [structure] = engine.design("berea", targets, size=64, seed=1)
    structure.values["diffusivity[pore,z]"], structure.attained
    structure.show(hide=["solid"])

The same options give the same voxels as `mesoforge reconstruct` and `mesoforge design`. Everything here is made of
`engine/design.py`, which has the whole control.
"""

import warnings
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from engine.design import Generated, Measurement, Report, check_request, generate, judge, measure, warnings_of
from engine.errors import InputError
from engine.guidance.targets import parse_extreme, parse_target
from engine.models.bundle import Bundle, Phase, load_bundle
from engine.outcomes import DesignOutcome
from engine.properties.own import PropertyFunction, named, spelled
from engine.request import Request, Settings, structure_seed

if TYPE_CHECKING:
    from matplotlib.figure import FigureBase

    from engine.properties.materials import Materials

BATCH = 8
"""Structures generated together, as on the command line."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Structure:
    """A labelled volume and what was measured of it."""

    labels: NDArray[np.uint8]
    """(z, y, x), labels as in the training images; `torch.from_numpy` takes it as it is."""
    phases: dict[str, int]
    """Label by name, of the phases that it has."""
    voxel_size_um: float | None
    values: dict[str, float | None]
    """By metric, such as `fraction[pore]`; None where `outcomes` says that there is no value."""
    outcomes: dict[str, str]
    """How each value came to be: measured, converged, does_not_percolate, ..."""
    curves: dict[str, NDArray[np.float32]]
    """`s2[phase]` and `lineal_path[phase]` at r = 0, 1, ... voxels."""
    attained: bool | None
    """Whether every target holds on the measured values; None without targets."""
    seed: int | None
    """Of a generated structure."""
    warnings: tuple[str, ...] = ()
    """What was not to be expected of its targets, or what they cost; also given as Python warnings."""

    def show(self, *, hide: Collection[str] = (), title: str = "") -> "FigureBase":
        """Picture from a corner; `hide` names phases to see through."""
        from engine import plots

        return plots.volume(self.labels, list(self.phases), hide=hide, voxel_size_um=self.voxel_size_um, title=title)

    def slices(self, *, title: str = "") -> "FigureBase":
        """Picture of the middle slices across z, y and x."""
        from engine import plots

        return plots.slices(self.labels, list(self.phases), voxel_size_um=self.voxel_size_um, title=title)

    def export(self, folder: str | Path, name: str, format: str = "vti") -> list[Path]:
        """Write it as `tiff`, `npy`, `vti`, `stl` or `inp`; returns the files (see `engine.export.formats`)."""
        from engine.export.formats import export

        return export(self.labels, self.phases, folder, name, format, voxel_size_um=self.voxel_size_um)


def design(
    model: str | Path | Bundle,
    targets: Sequence[str] = (),
    *,
    maximize: str | None = None,
    minimize: str | None = None,
    size: int = 64,
    shape: tuple[int, int, int] | None = None,
    periodic: bool = False,
    count: int = 1,
    seed: int = 0,
    settings: Settings | None = None,
    materials: "Materials | None" = None,
    properties: Mapping[str, PropertyFunction | str] | None = None,
    progress: Report | None = None,
) -> list[Structure]:
    """Generate structures that have the targets, measured and certified.

    Args:
        model: name or path of a bundle, or a loaded one (on a GPU: `engine.load_bundle("berea", "cuda")`).
        targets: as on the command line, such as `fraction[pore]=0.20±0.01`; none gives volumes like the material.
        maximize, minimize: metric to take as far as the targets let it, such as `diffusivity[pore,z]`.
        size: voxels on a side of a cube.
        shape: voxels along z, y and x, instead of `size`.
        periodic: opposite faces join; the volumes are measured so too.
        count: how many structures.
        seed: the only source of randomness.
        settings: sampler, steps and so on; None takes the bundle's.
        materials: what the phases are made of, for targets on conductivity or stiffness (`load_materials`).
        properties: functions of your own by name, or their import paths `module:function`, for targets on them
            (`engine.properties.own`).
        progress: called with (what is going on, steps done, steps in all).

    Returns:
        `count` structures. One that misses a target has `attained` False.

    Raises:
        InputError: no such bundle, a shape that does not fit it, or a target that no structure can have.
    """
    if count < 1 or seed < 0:
        raise InputError(f"count and seed: must be at least 1 and 0, not {count} and {seed}")
    bundle = model if isinstance(model, Bundle) else load_bundle(model)
    card = bundle.card
    own = named(properties or {})
    wanted = tuple(parse_target(spelled(text, own), card.phase_names) for text in targets)
    for which, metric in (("maximize", maximize), ("minimize", minimize)):
        if metric is not None:
            wanted += (parse_extreme(spelled(metric, own), which, card.phase_names),)
    requests = [
        Request(
            structure_id=f"{card.name}-{seed}-{number}",
            bundle=str(card.folder),
            shape=shape if shape is not None else (size, size, size),
            seed=structure_seed("", seed, 0, number),
            targets=wanted,
            settings=settings or Settings(),
            periodic=periodic,
            materials=materials,
            properties=own,
        )
        for number in range(count)
    ]
    check_request(requests[0], card)
    doubtful = tuple(warnings_of(requests[0], card))
    for text in doubtful:
        warnings.warn(text, stacklevel=2)
    structures = []
    for start in range(0, count, BATCH):
        for generated in generate(requests[start : start + BATCH], bundle, progress):
            measurement = measure(
                generated.labels,
                card.phases,
                materials=materials,
                also=generated.request.asked,
                periodic=periodic,
                training=card.training_means,
                properties=own,
            )
            structures.append(replace(_structure(generated, measurement, bundle), warnings=doubtful))
    return structures


def reconstruct(model: str | Path | Bundle, **options: Any) -> list[Structure]:
    """Generate structures like the material: `design` without targets, with the same options."""
    return design(model, **options)


def characterize(
    labels: NDArray[Any],
    phases: Sequence[str] | None = None,
    *,
    voxel_size_um: float | None = None,
    periodic: bool = False,
) -> Structure:
    """Measure a labelled volume of any origin, as `mesoforge characterize` does.

    Args:
        labels: (z, y, x), integers within 0..255, at least two voxels along each axis.
        phases: names of the labels that occur, in ascending order; None names them by label.
        voxel_size_um: side of a voxel, for pictures and files.
        periodic: the volume goes on beyond its border.

    Raises:
        InputError: labels that are no volume, or names that do not fit.
    """
    from engine.export.volumes import checked_labels

    volume = checked_labels(np.asarray(labels))
    found = [int(label) for label in np.unique(volume)]
    names = [str(label) for label in found] if phases is None else list(phases)
    if min(volume.shape) < 2 or len(names) != len(found):
        raise InputError(
            f"characterize: needs a volume of 2 voxels a side and a name for each label, got shape {volume.shape}, "
            f"{len(found)} labels ({', '.join(map(str, found))}) and {len(names)} names"
        )
    known = [
        Phase(name=name, label=label, fraction=float((volume == label).mean()))
        for name, label in zip(names, found, strict=True)
    ]
    return Structure(
        labels=volume,
        phases=dict(zip(names, found, strict=True)),
        voxel_size_um=voxel_size_um,
        attained=None,
        seed=None,
        **_measured(measure(volume, known, periodic=periodic)),
    )


def _structure(generated: Generated, measurement: Measurement, bundle: Bundle) -> Structure:
    outcome = judge(generated.request.targets, measurement)
    present = set(np.unique(generated.labels).tolist())
    return Structure(
        labels=generated.labels,
        phases={phase.name: phase.label for phase in bundle.card.phases if phase.label in present},
        voxel_size_um=bundle.card.voxel_size_um,
        attained=None if outcome is DesignOutcome.UNGUIDED else outcome is DesignOutcome.ATTAINED,
        seed=generated.request.seed,
        **_measured(measurement),
    )


def _measured(measurement: Measurement) -> dict[str, Any]:
    return {
        "values": {str(metric): measured.value for metric, measured in measurement.values.items()},
        "outcomes": {str(metric): str(measured.outcome) for metric, measured in measurement.values.items()},
        "curves": dict(measurement.curves),
    }
