"""Every format that a structure can be written in, under one function.

| format | file | holds | for |
| --- | --- | --- | --- |
| tiff | NAME.tif | labels, voxel size | ImageJ, Dragonfly, mesoforge itself |
| npy | NAME.npy | labels | NumPy, mesoforge itself |
| vti | NAME.vti | labels as cell data, spacing | ParaView, VTK |
| stl | NAME_PHASE.stl | a closed surface per phase | CAD, printing, meshing |
| inp | NAME.inp | brick elements, an element set per phase | Abaqus, CalculiX |
"""

from collections.abc import Collection, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from engine.errors import InputError
from engine.export.abaqus import write_inp
from engine.export.stl import SurfaceKind, write_stl
from engine.export.volumes import checked_labels, checked_voxel_size, replace_whole, write_volume
from engine.export.vti import write_vti
from engine.metrics import nearest

SUFFIXES = {"tiff": ".tif", "npy": ".npy", "vti": ".vti", "stl": ".stl", "inp": ".inp"}
FORMATS = tuple(SUFFIXES)
SURFACES: tuple[SurfaceKind, ...] = ("smooth", "voxel")


def known_format(name: str) -> str:
    """The name itself if it is a format.

    Raises:
        InputError: listing the formats there are.
    """
    if name not in FORMATS:
        raise InputError(f"format '{name}': cannot be written{nearest(name, FORMATS)}")
    return name


def known_surface(name: str) -> SurfaceKind:
    """The name itself if it is a kind of surface.

    Raises:
        InputError: listing the kinds there are.
    """
    for kind in SURFACES:
        if kind == name:
            return kind
    raise InputError(f"surface '{name}': there is no such kind{nearest(name, SURFACES)}")


def export_paths(folder: Path, name: str, format: str, phases: Collection[str]) -> list[Path]:
    """The files of a structure in one format: one, or for stl one per phase."""
    if format == "stl":
        return [folder / f"{name}_{phase}.stl" for phase in phases]
    return [folder / f"{name}{SUFFIXES[known_format(format)]}"]


def export(
    labels: NDArray[Any],
    phases: Mapping[str, int],
    folder: str | Path,
    name: str,
    format: str,
    *,
    voxel_size_um: float | None = None,
    surface: SurfaceKind = "smooth",
) -> list[Path]:
    """Write a structure in one format; each file appears whole or not at all and replaces one of the same name.

    Args:
        labels: (z, y, x), integers within 0..255.
        phases: label by name. stl writes a file for each, inp an element set; the other formats hold all labels.
        folder: where to; must exist.
        name: of the files, without ending.
        format: one of FORMATS.
        voxel_size_um: side of a voxel; None where it is not known, then lengths are in voxels.
        surface: for stl, `smooth` (within 0.4 voxels of the voxels' faces) or `voxel` (exactly along them).

    Returns:
        the files written.

    Raises:
        InputError: unknown format, labels that fit no volume, a phase without a voxel, or no such folder.
        WorkError: a file could not be written (disk full, no permission).
    """
    target = Path(folder)
    paths = export_paths(target, name, known_format(format), list(phases))
    if format in ("tiff", "npy"):
        return [write_volume(labels, paths[0], format, voxel_size_um)]
    volume, size = checked_labels(labels), checked_voxel_size(voxel_size_um)
    if not target.is_dir():
        raise InputError(f"{target}: no such folder; make it first")
    if format == "vti":
        return [replace_whole(paths[0], lambda stream: write_vti(stream, volume, size))]
    for phase, label in phases.items():
        if not (volume == label).any():
            raise InputError(f"phase '{phase}': label {label} has no voxel in {name}; leave it out of {format}")
    if format == "inp":
        return [replace_whole(paths[0], lambda stream: write_inp(stream, volume, phases, size))]
    for path, label in zip(paths, phases.values(), strict=True):
        replace_whole(path, partial(write_stl, mask=volume == label, voxel_size_um=size, kind=surface))
    return paths
