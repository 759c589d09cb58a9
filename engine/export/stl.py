"""Surfaces of one phase as binary STL, for printing, CAD and meshing tools."""

from typing import BinaryIO, Literal

import numpy as np
from numpy.typing import NDArray

from engine.export.surfaces import smooth_surface, voxel_surface

SurfaceKind = Literal["smooth", "voxel"]

_TRIANGLE = np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("attribute", "<u2")])  # 50 bytes


def write_stl(
    stream: BinaryIO, mask: NDArray[np.bool_], voxel_size_um: float | None, *, kind: SurfaceKind = "smooth"
) -> None:
    """Write the closed surface of a phase.

    Coordinates (x, y, z) are in micrometres, in voxels where the voxel size is not known; the header says which, as
    the format has no units.

    Args:
        stream: binary.
        mask: (z, y, x), true in the phase.
        voxel_size_um: side of a voxel.
        kind: `smooth`, or `voxel` for the voxels' own faces.
    """
    vertices, triangles = (smooth_surface if kind == "smooth" else voxel_surface)(mask)
    corners = vertices[triangles] * (1.0 if voxel_size_um is None else voxel_size_um)  # [T, 3 corners, 3]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    length = np.linalg.norm(normals, axis=1, keepdims=True)
    records = np.zeros(len(corners), _TRIANGLE)
    records["corners"] = corners
    records["normal"] = normals / np.where(length > 0, length, 1.0)
    unit = "voxel" if voxel_size_um is None else "um"
    stream.write(f"mesoforge, {kind} surface, UNITS={unit}".encode().ljust(80))  # must not begin with "solid"
    stream.write(np.uint32(len(records)).astype("<u4").tobytes())
    stream.write(records.tobytes())
