"""Labelled images as TIFF files, written whole or not at all; `read_label_file` reads them back."""

from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from engine.errors import InputError
from engine.export.volumes import checked_labels, checked_voxel_size, replace_whole
from engine.micrographs.files import side_text


def write_image(labels: NDArray[Any], path: str | Path, voxel_size_um: float | None = None) -> Path:
    """Write a labelled image as TIFF (zlib, with ImageJ metadata that carries the pixel size).

    Args:
        labels: (y, x), integers within 0..255.
        path: ends in .tif or .tiff, in a folder that exists.
        voxel_size_um: side of a pixel; None where it is not known.

    Raises:
        InputError: labels that fit no image, another ending, or a folder that does not exist.
        WorkError: the file could not be written (disk full, no permission).
    """
    target = Path(path)
    if labels.ndim != 2:
        raise InputError(f"labels: must be an image (y, x), not {side_text(labels.shape)}")
    image = checked_labels(labels[None])[0]
    size_um = checked_voxel_size(voxel_size_um)
    if target.suffix.lower() not in (".tif", ".tiff"):
        raise InputError(f"{target}: an image is written as TIFF; give it the ending .tif")
    if not target.parent.is_dir():
        raise InputError(f"{target}: the folder {target.parent} does not exist; make it first")
    return replace_whole(target, lambda stream: _write(stream, image, size_um))


def _write(stream: BinaryIO, image: NDArray[np.uint8], size_um: float | None) -> None:
    import tifffile

    if size_um is None:
        tifffile.imwrite(stream, image, imagej=True, compression="zlib", metadata={"axes": "YX"})
        return
    per_um = 1 / size_um
    metadata = {"axes": "YX", "unit": "um"}
    tifffile.imwrite(stream, image, imagej=True, compression="zlib", metadata=metadata, resolution=(per_um, per_um))
