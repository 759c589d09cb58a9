"""Labelled volumes as TIFF and NPY files: written whole or not at all, and read back."""

import math
import os
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from engine.errors import InputError, WorkError
from engine.metrics import nearest
from engine.micrographs.files import side_text
from engine.micrographs.read import read_label_file

# More than the 8 of training images: a measured file may hold many phases; grey volumes have far more values.
MOST_LABELS = 32


@dataclass(frozen=True, kw_only=True, eq=False)
class Volume:
    """A labelled volume as a file holds it."""

    labels: NDArray[np.uint8]
    """(z, y, x)."""
    voxel_size_um: float | None
    """None where the file does not say."""


def write_volume(
    labels: NDArray[Any], path: str | Path, format: str | None = None, voxel_size_um: float | None = None
) -> Path:
    """Write a labelled volume; the file appears whole or not at all and replaces one of the same name.

    Args:
        labels: (z, y, x), integers within 0..255.
        path: the file to write, in a folder that exists.
        format: `tiff` (zlib, with ImageJ metadata that carries the voxel size) or `npy` (the bare array, without
            voxel size); None takes it from the ending of `path`.
        voxel_size_um: side of a voxel; None where it is not known.

    Raises:
        InputError: unknown format, labels that fit no volume, or a folder that does not exist.
        WorkError: the file could not be written (disk full, no permission).
    """
    target = Path(path)
    chosen = FORMATS[_known_format(format if format is not None else _format_of(target))]
    if target.suffix.lower() not in chosen.suffixes:
        raise InputError(f"{target}: a file of format {format} must end in {' or '.join(chosen.suffixes)}; rename it")
    volume = checked_labels(labels)
    checked_voxel_size(voxel_size_um)
    if not target.parent.is_dir():
        raise InputError(f"{target}: the folder {target.parent} does not exist; make it first")
    return replace_whole(target, lambda stream: chosen.write(stream, volume, voxel_size_um))


def _known_format(name: str) -> str:
    """The name itself if it is a format of this module."""
    if name not in FORMATS:
        raise InputError(f"format '{name}': cannot be written{nearest(name, list(FORMATS))}")
    return name


def read_volume(path: str | Path) -> Volume:
    """Read a labelled volume, TIFF or NPY; a 2D file is a volume of one layer.

    Raises:
        InputError: unreadable file, another format, or grey values.
    """
    where = Path(path)
    if where.exists():
        _format_of(where)
    labels, voxel_size_um = read_label_file(where, most=MOST_LABELS)
    return Volume(labels=labels[None] if labels.ndim == 2 else labels, voxel_size_um=voxel_size_um)


def read_labels(path: str | Path) -> NDArray[np.uint8]:
    """Read the labels of a volume to be measured, (z, y, x), at least two voxels along each axis.

    Raises:
        InputError: as `read_volume`, or an image where a volume is needed.
    """
    labels = read_volume(path).labels
    if min(labels.shape) < 2:
        raise InputError(
            f"{path}: {side_text(labels.shape)} is a single layer; descriptors and properties of a volume need at "
            "least 2 voxels along z, y and x; give a volume"
        )
    return labels


def _format_of(path: Path) -> str:
    """Format of a file name by its ending."""
    for name, known in FORMATS.items():
        if path.suffix.lower() in known.suffixes:
            return name
    endings = ", ".join(suffix for known in FORMATS.values() for suffix in known.suffixes)
    raise InputError(f"{path}: no volume format ends in '{path.suffix}'; endings: {endings}")


def checked_labels(labels: NDArray[Any]) -> NDArray[np.uint8]:
    """The labels as a contiguous volume; raises InputError where they are none."""
    if labels.ndim != 3 or labels.size == 0:
        raise InputError(f"labels: must be a volume (z, y, x) that is not empty, not {side_text(labels.shape)}")
    if labels.dtype.kind not in "bui" or labels.min() < 0 or labels.max() > 255:
        raise InputError(f"labels: must be integers within 0..255, not {labels.dtype} beyond that; renumber them")
    return np.ascontiguousarray(labels, dtype=np.uint8)


def checked_voxel_size(voxel_size_um: float | None) -> float | None:
    """The size itself; raises InputError where it is no positive length."""
    if voxel_size_um is not None and not (math.isfinite(voxel_size_um) and voxel_size_um > 0):
        raise InputError(f"voxel size: must be a positive length in micrometres, not {voxel_size_um}")
    return voxel_size_um


def _write_tiff(stream: BinaryIO, labels: NDArray[np.uint8], voxel_size_um: float | None) -> None:
    import tifffile

    metadata: dict[str, Any] = {"axes": "ZYX"}
    if voxel_size_um is None:
        tifffile.imwrite(stream, labels, imagej=True, compression="zlib", metadata=metadata)
        return
    metadata |= {"spacing": voxel_size_um, "unit": "um"}
    per_um = 1 / voxel_size_um
    tifffile.imwrite(stream, labels, imagej=True, compression="zlib", metadata=metadata, resolution=(per_um, per_um))


def _write_npy(stream: BinaryIO, labels: NDArray[np.uint8], voxel_size_um: float | None) -> None:
    np.save(stream, labels, allow_pickle=False)


@dataclass(frozen=True, kw_only=True)
class Format:
    """How a format is written and what its files end in."""

    suffixes: tuple[str, ...]
    write: Callable[[BinaryIO, NDArray[np.uint8], float | None], None]


FORMATS: dict[str, Format] = {
    "tiff": Format(suffixes=(".tif", ".tiff"), write=_write_tiff),
    "npy": Format(suffixes=(".npy",), write=_write_npy),
}


def replace_whole(target: Path, write: Callable[[BinaryIO], None]) -> Path:
    """Write beside the target, flush to disk, then rename over it: a reader sees the old file or the new one.

    Raises:
        WorkError: the file could not be written; what was there stays.
    """
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
    try:
        with temporary.open("xb") as stream:
            write(stream)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, target)
        folder = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(folder)  # makes the new name durable
        finally:
            os.close(folder)
        return target
    except OSError as error:
        raise WorkError(
            f"{target}: could not be written ({error.strerror or error}); free space or choose another folder"
        ) from error
    finally:
        temporary.unlink(missing_ok=True)
