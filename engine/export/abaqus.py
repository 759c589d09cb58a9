"""Voxel meshes for Abaqus and CalculiX (`.inp`): one eight-node brick per voxel, one element set per phase."""

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

# Corners of a brick as Abaqus numbers them: around the lower face against the clock, then around the upper; (z, y, x).
_CORNERS = ((0, 0, 0), (0, 0, 1), (0, 1, 1), (0, 1, 0), (1, 0, 0), (1, 0, 1), (1, 1, 1), (1, 1, 0))
_IDS_IN_A_LINE = 16  # the most that Abaqus reads
_ROWS_AT_ONCE = 10_000  # some megabytes of text


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
    depth, height, width = labels.shape
    lattice = np.zeros((depth + 1, height + 1, width + 1), bool)
    for up, back, right in _CORNERS:
        lattice[up : up + depth, back : back + height, right : right + width] |= used
    node = _numbered(lattice)
    element = _numbered(used)

    def line(text: str) -> None:
        stream.write(text.encode() + b"\n")

    line("*HEADING")
    line(f"mesoforge voxel mesh, {'x'.join(map(str, labels.shape))} voxels (z, y, x), lengths in {unit}")
    line("*NODE")
    for z in range(depth + 1):  # layer by layer: a mesh of 256³ voxels takes gigabytes at once
        y, x = np.nonzero(lattice[z])
        _rows(stream, "%d, %.9g, %.9g, %.9g", [node[z, y, x], x * size, y * size, np.full(len(x), z * size)])
    line("*ELEMENT, TYPE=C3D8")
    for z in range(depth):
        y, x = np.nonzero(used[z])
        corners = [node[z + up, y + back, x + right] for up, back, right in _CORNERS]
        _rows(stream, ", ".join(["%d"] * 9), [element[z, y, x], *corners])
    for name, label in phases.items():
        line(f"*ELSET, ELSET={name}")
        _ids(stream, element[labels == label])
    for axis, letter in enumerate("ZYX"):
        for end, place in (("MIN", 0), ("MAX", labels.shape[axis])):
            face = (slice(None),) * axis + (place,)
            there = node[face][lattice[face]]
            if len(there):
                line(f"*NSET, NSET={letter}_{end}")
                _ids(stream, there)


def _numbered(members: NDArray[np.bool_]) -> NDArray[np.int32]:
    """Numbers of the members from 1 on, in their order; of the others nothing that means anything."""
    numbers: NDArray[np.int32] = np.cumsum(members, dtype=np.int32)
    return numbers.reshape(members.shape)


def _ids(stream: BinaryIO, numbers: NDArray[np.int32]) -> None:
    whole = len(numbers) // _IDS_IN_A_LINE * _IDS_IN_A_LINE
    _rows(stream, ", ".join(["%d"] * _IDS_IN_A_LINE), list(numbers[:whole].reshape(-1, _IDS_IN_A_LINE).T))
    if whole < len(numbers):
        stream.write((", ".join(map(str, numbers[whole:].tolist())) + "\n").encode())


def _rows(stream: BinaryIO, form: str, columns: Sequence[NDArray[np.generic]]) -> None:
    """Rows of numbers as text: many rows in one formatting, some times as fast as `numpy.savetxt`."""
    for start in range(0, len(columns[0]), _ROWS_AT_ONCE):
        part = [column[start : start + _ROWS_AT_ONCE].tolist() for column in columns]
        text = (form + "\n") * len(part[0]) % tuple(chain.from_iterable(zip(*part, strict=True)))
        stream.write(text.encode())
