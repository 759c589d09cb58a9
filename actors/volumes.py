"""Voxels and curves on disk: packed bits with shape, voxel size and sha256 (`volumes/`), radial curves (`curves/`).

Packing: the labels that occur, sorted, are numbered 0, 1, …; the numbers are stored as bit planes, lowest bit first,
each plane of ceil(voxels / 8) bytes in C order (z, y, x), lowest bit of a byte first. Parquet's zstd does the rest.
"""

import hashlib
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from actors.places import VOLUMES as VOLUMES
from actors.places import Folder, Place, place_of
from engine.errors import InputError

CURVES = "curves"
PACK_PREFIX = "pack~"  # of files with many structures, made by compaction; no structure_id begins so

VOLUME_SCHEMA = pa.schema(
    [
        pa.field("structure_id", pa.string(), nullable=False),
        pa.field("shape_z", pa.int32(), nullable=False),
        pa.field("shape_y", pa.int32(), nullable=False),
        pa.field("shape_x", pa.int32(), nullable=False),
        pa.field("voxel_size_um", pa.float64()),
        pa.field("labels", pa.list_(pa.field("element", pa.uint8())), nullable=False),
        pa.field("bits_per_voxel", pa.uint8(), nullable=False),
        pa.field("packed", pa.binary(), nullable=False),
        pa.field("sha256", pa.string(), nullable=False),
    ],
    metadata={"mesoforge_schema": "volumes/1"},
)
"""One row per structure; `sha256` is that of the raw uint8 labels in C order."""

CURVE_SCHEMA = pa.schema(
    [
        pa.field("structure_id", pa.string(), nullable=False),
        pa.field("curve", pa.string(), nullable=False),
        pa.field("phase", pa.string(), nullable=False),
        pa.field("axis", pa.string()),
        pa.field("r_voxels", pa.list_(pa.field("element", pa.float32())), nullable=False),
        pa.field("value", pa.list_(pa.field("element", pa.float32())), nullable=False),
    ],
    metadata={"mesoforge_schema": "curves/1"},
)
"""One row per curve and structure; entry i of a curve belongs to r = i voxels."""

_SAFE_ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,199}")
_CURVE_KEY = re.compile(r"([a-z][a-z0-9_]*)\[([^\[\],]+)(?:,([zyx]))?\]")


@dataclass(frozen=True, kw_only=True)
class PackedVolume:
    """A volume as stored."""

    shape: tuple[int, int, int]
    labels: tuple[int, ...]
    bits_per_voxel: int
    packed: bytes
    sha256: str


@dataclass(frozen=True, kw_only=True)
class StoredVolume:
    """A volume read back. labels: uint8 (z, y, x), writable, as in the training images."""

    structure_id: str
    labels: np.ndarray
    voxel_size_um: float | None
    sha256: str


def check_structure_id(structure_id: str) -> None:
    """Raises InputError where `structure_id` cannot name a file."""
    if not _SAFE_ID.fullmatch(structure_id):
        raise InputError(
            f"structure_id '{structure_id}': must name a file (letters, digits, '_', '-', '.'; at most 200); rename it"
        )


def volume_sha256(labels: np.ndarray) -> str:
    """sha256 of the raw labels, uint8 (z, y, x) in C order."""
    return hashlib.sha256(np.ascontiguousarray(labels).data).hexdigest()


def pack(labels: np.ndarray) -> PackedVolume:
    """Pack labels, uint8 (z, y, x), into ceil(log2 n) bits per voxel, n the number of labels that occur."""
    assert labels.dtype == np.uint8 and labels.ndim == 3 and labels.size > 0, (labels.dtype, labels.shape)
    counts = np.bincount(labels.ravel(), minlength=256)
    present = np.flatnonzero(counts)
    numbers = np.zeros(256, np.uint8)
    numbers[present] = np.arange(len(present), dtype=np.uint8)
    codes = numbers[np.ascontiguousarray(labels).ravel()]  # [voxels]
    bits = max(1, int(len(present) - 1).bit_length())
    planes = (np.packbits((codes >> bit) & 1, bitorder="little") for bit in range(bits))
    return PackedVolume(
        shape=(labels.shape[0], labels.shape[1], labels.shape[2]),
        labels=tuple(int(label) for label in present),
        bits_per_voxel=bits,
        packed=b"".join(plane.tobytes() for plane in planes),
        sha256=volume_sha256(labels),
    )


def unpack(volume: PackedVolume) -> np.ndarray:
    """Labels, uint8 (z, y, x).

    Raises:
        InputError: the bytes do not fit the shape, or the labels do not have the stored sha256.
    """
    voxels, bits = math.prod(volume.shape), volume.bits_per_voxel
    planes = np.frombuffer(volume.packed, np.uint8)
    # Nothing is allocated before the numbers fit the bytes that are there.
    if min(volume.shape) >= 1 and 1 <= bits <= 8 and len(planes) == bits * -(-voxels // 8):
        codes = np.zeros(voxels, np.uint8)
        for bit, plane in enumerate(np.split(planes, bits)):
            codes |= np.unpackbits(plane, count=voxels, bitorder="little") << np.uint8(bit)
        if codes.max() < len(volume.labels):
            labels = np.array(volume.labels, np.uint8)[codes].reshape(volume.shape)
            if volume_sha256(labels) == volume.sha256:
                return labels
    raise InputError(
        f"volume with sha256 {volume.sha256[:12]}…: its packed voxels are damaged; generate the structure again"
    )


def volume_table(structure_id: str, volume: PackedVolume, voxel_size_um: float | None) -> pa.Table:
    """One row of VOLUME_SCHEMA."""
    row = {
        "structure_id": structure_id,
        "shape_z": volume.shape[0],
        "shape_y": volume.shape[1],
        "shape_x": volume.shape[2],
        "voxel_size_um": voxel_size_um,
        "labels": list(volume.labels),
        "bits_per_voxel": volume.bits_per_voxel,
        "packed": volume.packed,
        "sha256": volume.sha256,
    }
    return pa.Table.from_pylist([row], schema=VOLUME_SCHEMA)


def curve_table(structure_id: str, curves: Mapping[str, np.ndarray]) -> pa.Table:
    """Rows of CURVE_SCHEMA from curves named `s2[pore]` or `s2[pore,z]`, each float [r]."""
    rows = []
    for key, values in curves.items():
        match = _CURVE_KEY.fullmatch(key)
        assert match, f"curve '{key}' is not named NAME[PHASE] or NAME[PHASE,AXIS]"
        name, phase, axis = match.groups()
        radii = np.arange(len(values), dtype=np.float32)
        rows.append(
            {
                "structure_id": structure_id,
                "curve": name,
                "phase": phase,
                "axis": axis,
                "r_voxels": radii,
                "value": np.asarray(values, np.float32),
            }
        )
    return pa.Table.from_pylist(rows, schema=CURVE_SCHEMA)


class VolumeWriter:
    """Writes `volumes/<structure_id>.parquet` and `curves/<structure_id>.parquet`; both are durable on return."""

    def __init__(self, place: Place | Path) -> None:
        self.place: Place = Folder(place) if isinstance(place, Path) else place

    def write(
        self, structure_id: str, labels: np.ndarray, voxel_size_um: float | None, curves: Mapping[str, np.ndarray]
    ) -> str:
        """Store one structure; writing it twice is harmless.

        Args:
            structure_id: names the files.
            labels: uint8 (z, y, x).
            voxel_size_um: edge of a voxel, where known.
            curves: float [r] by name.

        Returns:
            sha256 of the labels.

        Raises:
            InputError: `structure_id` cannot name a file.
            WorkError: the place refused; nothing half-written stays.
        """
        check_structure_id(structure_id)
        volume = pack(labels)
        self.place.write(curve_table(structure_id, curves), f"{CURVES}/{structure_id}.parquet")
        self.place.write(volume_table(structure_id, volume, voxel_size_um), f"{VOLUMES}/{structure_id}.parquet")
        return volume.sha256


def read_volume(folder: Path, structure_id: str) -> StoredVolume:
    """Read one structure of a study back, from wherever the study keeps its volumes.

    Raises:
        InputError: there is none of that name, or its file is damaged.
        WorkError: the object store that holds it does not answer.
    """
    check_structure_id(structure_id)
    place, name = place_of(folder), f"{VOLUMES}/{structure_id}.parquet"
    path = _file_of(folder, structure_id) if isinstance(place, Folder) else f"{place}/{name}"
    try:
        if isinstance(place, Folder):
            own = [("structure_id", "=", structure_id)]
            table = pq.read_table(path, filters=own, page_checksum_verification=True)
        else:
            table = place.read(name)
        # A file that lacks a column is refused: read by the schema, the column would be all null.
        row = table.select(VOLUME_SCHEMA.names).cast(VOLUME_SCHEMA).to_pylist()[0]
    except InputError:
        raise
    except (pa.ArrowException, ValueError, OSError, LookupError) as error:
        raise InputError(f"{path}: not a readable volume file ({error}); generate the structure again") from error
    volume = PackedVolume(
        shape=(row["shape_z"], row["shape_y"], row["shape_x"]),
        labels=tuple(row["labels"]),
        bits_per_voxel=row["bits_per_voxel"],
        packed=row["packed"],
        sha256=row["sha256"],
    )
    try:
        labels = unpack(volume)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    return StoredVolume(
        structure_id=structure_id, labels=labels, voxel_size_um=row["voxel_size_um"], sha256=row["sha256"]
    )


def _file_of(folder: Path, structure_id: str) -> Path:
    """The structure's own file, else the newest pack that holds it (compaction removes the one after the other)."""
    path = folder / VOLUMES / f"{structure_id}.parquet"
    if path.is_file():
        return path
    for pack in sorted((folder / VOLUMES).glob(f"{PACK_PREFIX}*.parquet"), reverse=True):
        try:
            ids = pq.read_table(pack, columns=["structure_id"], filters=[("structure_id", "=", structure_id)])
        except (pa.ArrowException, OSError) as error:
            raise InputError(f"{pack}: not a readable volume file ({error}); restore it") from error
        if ids.num_rows:
            return pack
    raise InputError(f"structure {structure_id}: {folder} holds no volume of that name; look into its table")
