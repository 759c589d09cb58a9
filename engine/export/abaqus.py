"""Voxel meshes for Abaqus and CalculiX (`.inp`): one eight-node brick per voxel, one element set per phase."""

from collections.abc import Mapping
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

# Corners of a brick as Abaqus numbers them: around the lower face against the clock, then around the upper; (z, y, x).
_CORNERS = ((0, 0, 0), (0, 0, 1), (0, 1, 1), (0, 1, 0), (1, 0, 0), (1, 0, 1), (1, 1, 1), (1, 1, 0))
_IDS_IN_A_LINE = 16  # the most that Abaqus reads


def write_inp(
    stream: BinaryIO, labels: NDArray[np.uint8], phases: Mapping[str, int], voxel_size_um: float | None
) -> None:
    """Write the phases given as C3D8 elements that share their nodes; other voxels are left out, as are their nodes.

    Sets: one element set per phase, under its name; the node sets Z_MIN, Z_MAX, Y_MIN, Y_MAX, X_MIN, X_MAX hold the
    nodes on the faces of the volume, for boundary conditions. Materials and loads are the user's. Lengths are in
    micrometres, in voxels where the voxel size is not known.

    Args:
        stream: binary.
        labels: (z, y, x).
        phases: label by name; at least one voxel of each.
        voxel_size_um: side of a voxel.
    """
    size = 1.0 if voxel_size_um is None else voxel_size_um
    unit = "voxels" if voxel_size_um is None else "micrometres"
    used = np.isin(labels, list(phases.values()))
    places = np.argwhere(used)  # [E, 3] as (z, y, x)
    lattice = np.array(labels.shape) + 1
    corners = np.stack(
        [np.ravel_multi_index(tuple((places + corner).T), tuple(lattice)) for corner in _CORNERS], axis=1
    )
    present, numbered = np.unique(corners, return_inverse=True)
    nodes = np.column_stack(np.unravel_index(present, tuple(lattice)))  # [N, 3] as (z, y, x)
    elements = numbered.reshape(corners.shape) + 1
    numbers = np.arange(1, len(places) + 1)

    def line(text: str) -> None:
        stream.write(text.encode() + b"\n")

    line("*HEADING")
    line(f"mesoforge voxel mesh, {'x'.join(map(str, labels.shape))} voxels (z, y, x), lengths in {unit}")
    line("*NODE")
    table = np.column_stack([np.arange(1, len(nodes) + 1), nodes[:, ::-1] * size])
    np.savetxt(stream, table, fmt=("%d", "%.9g", "%.9g", "%.9g"), delimiter=", ")
    line("*ELEMENT, TYPE=C3D8")
    np.savetxt(stream, np.column_stack([numbers, elements]), fmt="%d", delimiter=", ")
    values = labels[used]
    for name, label in phases.items():
        line(f"*ELSET, ELSET={name}")
        _ids(stream, numbers[values == label])
    for axis, letter in enumerate("ZYX"):
        for end, place in (("MIN", 0), ("MAX", labels.shape[axis])):
            there = np.flatnonzero(nodes[:, axis] == place) + 1
            if len(there):
                line(f"*NSET, NSET={letter}_{end}")
                _ids(stream, there)


def _ids(stream: BinaryIO, numbers: NDArray[np.int64]) -> None:
    whole = len(numbers) // _IDS_IN_A_LINE * _IDS_IN_A_LINE
    np.savetxt(stream, numbers[:whole].reshape(-1, _IDS_IN_A_LINE), fmt="%d", delimiter=", ")
    if whole < len(numbers):
        np.savetxt(stream, numbers[None, whole:], fmt="%d", delimiter=", ")
