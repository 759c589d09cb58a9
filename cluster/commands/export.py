"""`mesoforge export`: structures of a result folder as files for other tools."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from engine.errors import InputError
from engine.metrics import Metric, nearest

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from actors.rows import Row

SHORTEST_ID = 4


def export(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of a sweep, reconstruct or design.")],
    structures: Annotated[
        list[str], typer.Argument(metavar="STRUCTURE_ID...", help="Which; the first letters of an id will do.")
    ],
    format: Annotated[str, typer.Option("--format", metavar="vti,stl,...", help="tiff, npy, vti, stl, inp.")] = "vti",
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Where to.", show_default="the current folder")
    ] = None,
    phase: Annotated[
        list[str] | None,
        typer.Option("--phase", metavar="NAME", help="Only this phase, for stl and inp. May repeat; default: all."),
    ] = None,
    surface: Annotated[
        str, typer.Option(metavar="KIND", help="Of stl: smooth, or voxel for the voxels' own faces.")
    ] = "smooth",
) -> None:
    """Write structures as files for other tools and print the names of the files.

    \b
      tiff  labels with voxel size, for ImageJ and others
      npy   labels for NumPy
      vti   labels with voxel size, for ParaView
      stl   a closed surface for each phase, for CAD and meshing
      inp   a mesh of one brick per voxel for Abaqus and CalculiX, phases as element sets, faces as node sets

    Lengths are in micrometres, in voxels where the voxel size is not known.

    \b
    Examples:
      mesoforge export runs/berea_transport 0f3a --format vti
      mesoforge export designed 0f3a 77b2 --format stl,inp --phase solid --out meshes
    """
    from engine.export.formats import export as write
    from engine.export.formats import known_format, known_surface
    from studies.folder import check_place
    from studies.query import check_results
    from studies.table import read_structures

    formats = [known_format(name.strip()) for name in format.split(",")]
    kind = known_surface(surface)
    target = Path() if out is None else out
    check_place(target)
    check_results(folder)
    rows: dict[str, Row] = {row["structure_id"]: row for row in read_structures(folder).to_pylist()}
    chosen = [_found(rows, text, folder) for text in structures]
    for row in chosen:
        name = str(row["structure_id"])
        labels, voxel_size_um = _volume(folder, row)
        phases = _phases(row, labels)
        wanted = phases if not phase else {each: phases[_known(each, phases, name)] for each in phase}
        target.mkdir(parents=True, exist_ok=True)
        for each in formats:
            for path in write(labels, wanted, target, name, each, voxel_size_um=voxel_size_um, surface=kind):
                print(path)


def _found(rows: "dict[str, Row]", text: str, folder: Path) -> "Row":
    """The one structure whose id begins so."""
    matches = [name for name in rows if name == text or (len(text) >= SHORTEST_ID and name.startswith(text))]
    if text in matches:
        matches = [text]
    if not matches:
        raise InputError(
            f"{folder}: no structure is called '{text}'; list them with mesoforge query {folder} "
            '"SELECT structure_id, status FROM structures"'
        )
    if len(matches) > 1:
        raise InputError(f"structure '{text}': {len(matches)} ids begin so ({', '.join(matches[:3])}, ...); give more")
    row = rows[matches[0]]
    if row["status"] == "failed":
        raise InputError(f"structure {matches[0]}: failed and has no volume ({row['reason']}); choose another")
    return row


def _volume(folder: Path, row: "Row") -> "tuple[NDArray[np.uint8], float | None]":
    """The voxels, from the packed volumes of a sweep or the file that reconstruct and design leave."""
    from actors.places import keeps_volumes
    from actors.volumes import read_volume, volume_sha256
    from engine.export.volumes import FORMATS
    from engine.export.volumes import read_volume as read_file

    name = str(row["structure_id"])
    if keeps_volumes(folder):
        stored = read_volume(folder, name)
        return stored.labels, stored.voxel_size_um
    paths = [folder / f"{name}{suffix}" for each in FORMATS.values() for suffix in each.suffixes]
    path = next((path for path in paths if path.is_file()), None)
    if path is None:
        raise InputError(
            f"structure {name}: {folder} holds no volume of it; give the command that made the folder again, "
            "with tiff among the formats"
        )
    labels = read_file(path).labels
    if volume_sha256(labels) != row["volume_sha256"]:
        raise InputError(f"{path}: is not the volume that was measured; give the command that made it again")
    size = row["voxel_size_um"]
    assert size is None or isinstance(size, float)
    return labels, size


def _phases(row: "Row", labels: "NDArray[np.uint8]") -> dict[str, int]:
    """Label by name of the phases that the structure has: names and labels have the same order everywhere."""
    import numpy as np

    beginning = Metric("fraction", "").column
    names = [key.removeprefix(beginning) for key, value in row.items() if key.startswith(beginning) and value]
    names = [name for name in names if f"{Metric('fraction', name).column}_outcome" in row]
    found = np.unique(labels).tolist()
    assert len(names) == len(found), f"structure {row['structure_id']}: phases {names} for labels {found}"
    return dict(zip(names, found, strict=True))


def _known(name: str, phases: dict[str, int], structure: str) -> str:
    if name not in phases:
        raise InputError(f"--phase {name}: structure {structure} has no such phase{nearest(name, phases)}")
    return name
