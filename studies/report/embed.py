"""What goes into the page as bytes: columns of numbers, pictures of structures, voxels of a chosen few."""

import base64
import zlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from actors.volumes import pack
from engine.errors import InputError
from studies.pictures import corner_png, phase_indices
from studies.results import Results

PICTURE_PIXELS = 96
VOLUME_BUDGET = 24 * 2**20  # of base64 text: a page that a mail program still takes


def column(values: NDArray[np.float64]) -> str:
    """Numbers as float32, little-endian, in base64: a quarter of their text, and read at once."""
    return base64.b64encode(values.astype("<f4").tobytes()).decode("ascii")


def picture(indices: NDArray[np.uint8], phases: int) -> str:
    return "data:image/png;base64," + base64.b64encode(corner_png(indices, phases, PICTURE_PIXELS)).decode("ascii")


def voxels(indices: NDArray[np.uint8]) -> dict[str, Any]:
    """Phase indices as bit planes (see `actors.volumes`), deflated, in base64; `labels` are the phases that occur."""
    packed = pack(indices)
    return {
        "shape": list(packed.shape),
        "labels": list(packed.labels),
        "bits": packed.bits_per_voxel,
        "data": base64.b64encode(zlib.compress(packed.packed, 9)).decode("ascii"),
    }


def embed(
    results: Results,
    ids: Sequence[str],
    pictured: Sequence[int],
    with_voxels: Sequence[int],
    phase_labels: Sequence[int],
    on_progress: Callable[[int, int], None],
) -> tuple[dict[int, str], dict[int, dict[str, Any]]]:
    """Pictures and voxels by row.

    Structures without a volume (failed ones, or `--format stl` alone) are left out; voxels stop at VOLUME_BUDGET.

    Args:
        results: of the folder.
        ids: of every row.
        pictured: rows that get a picture.
        with_voxels: rows that get their voxels, the most important first.
        phase_labels: label of each phase, in the order of the phases.
        on_progress: called with rows done and rows in all.
    """
    pictures: dict[int, str] = {}
    volumes: dict[int, dict[str, Any]] = {}
    spent = 0
    rows = list(dict.fromkeys([*with_voxels, *pictured]))
    wanted = set(with_voxels)
    for done, row in enumerate(rows, start=1):
        try:
            labels = results.volume(ids[row])
        except InputError:
            continue
        finally:
            on_progress(done, len(rows))
        if not phase_labels:
            phase_labels = np.unique(labels).tolist()
        indices = phase_indices(labels, phase_labels)
        pictures[row] = picture(indices, max(len(phase_labels), int(indices.max()) + 1))
        if row in wanted and spent < VOLUME_BUDGET:
            volumes[row] = voxels(indices)
            spent += len(volumes[row]["data"])
    return pictures, volumes
