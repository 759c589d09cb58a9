"""Grey-level training images: as they come from the microscope, without phases.

    micrographs = read_grey(["sem/*.png"])

Values become 0..255 over one range for all images, which is kept. Of several classes some may be segmented: their
labels become evenly spaced grey values (0 and 255 for two phases), so that one network learns both kinds, as the
published ones do (Lee & Yun; Dureth et al.). The labels are kept too, and images of such a class are cut back to them.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.errors import InputError
from engine.micrographs.files import distinct_values
from engine.micrographs.micrograph import Micrographs
from engine.micrographs.read import (
    MOST_LABELS,
    Part,
    check_alike,
    check_voxel_size,
    find_all,
    parse_region,
    read_part,
)

WHITE = 255.0


def read_grey(
    paths: Sequence[str | Path] = (),
    *,
    region: str | None = None,
    voxel_size_um: float | None = None,
    minimum: int = 64,
    classes: Mapping[str, Sequence[str | Path]] | None = None,
) -> Micrographs:
    """Read grey-level training images.

    8-bit images keep their values. Of 16-bit and floating-point images the smallest and the largest value found in all
    of them become 0 and 255: their grey levels must mean the same in each.

    Args:
        paths, region, voxel_size_um, minimum, classes: as for `read_micrographs`.

    Raises:
        InputError: as `read_micrographs`; colours, one grey level only, labels in place of grey values, both in one
            class, or images of 8 bits beside others.
    """
    check_voxel_size(voxel_size_um)
    cut = parse_region(region) if region else {}
    files, planes, class_of = find_all(paths, classes or {})
    parts: list[Part] = []
    for path, shown in zip(files, planes or [()] * len(files), strict=True):
        part = read_part(path, cut, minimum, shown)
        check_alike(path, part.array, files[0], (parts or [part])[0].array)
        if part.is_colour:
            raise InputError(f"{path}: is in colour; save it as a grey image")
        parts.append(part)
    names = tuple(classes or ())
    members = [[i for i, owner in enumerate(class_of) if owner == index] for index in range(len(names))]
    labels = tuple(_labels_of(name, own, parts, files) for name, own in zip(names, members, strict=True))
    segmented = {i: labels[class_of[i]] for i in range(len(parts)) if names and labels[class_of[i]]}
    grey = [i for i in range(len(parts)) if i not in segmented]
    for i in grey:
        _check_grey(parts[i].array, files[i])
    low, high = _range([parts[i].array for i in grey], [files[i] for i in grey])
    sizes = {part.voxel_size_um for part in parts}
    return Micrographs(
        arrays=tuple(
            _levels(part.array, segmented[i]) if i in segmented else _scaled(part.array, low, high)
            for i, part in enumerate(parts)
        ),
        phases=(),
        labels=(),
        sources=tuple(part.source for part in parts),
        voxel_size_um=sizes.pop() if voxel_size_um is None and len(sizes) == 1 else voxel_size_um,
        planes=planes,
        classes=names,
        class_of=class_of,
        grey=(low, high),
        class_labels=labels,
    )


def level_of(labels: Sequence[int]) -> NDArray[np.uint8]:
    """Grey value of each of some labels, ascending: evenly spaced over 0..255."""
    return np.round(np.linspace(0, WHITE, len(labels))).astype(np.uint8)


def nearest_label(values: NDArray[Any], labels: Sequence[int]) -> NDArray[np.uint8]:
    """Grey values 0..1 of any shape -> the label whose grey value is nearest."""
    index = np.clip(np.round(values * (len(labels) - 1)), 0, len(labels) - 1).astype(np.int64)
    return np.asarray(np.asarray(labels, dtype=np.uint8)[index])


def _labels_of(name: str, own: Sequence[int], parts: Sequence[Part], files: Sequence[Path]) -> tuple[int, ...]:
    """Labels of a class that is segmented, ascending; none of one of grey images."""
    few = [i for i in own if _is_segmented(parts[i].array)]
    if not few:
        return ()
    if len(few) < len(own):
        other = next(i for i in own if i not in few)
        raise InputError(
            f"class {name}: {files[few[0]]} holds labels and {files[other]} grey values; make two classes of them"
        )
    found = sorted({int(value) for i in own for value in distinct_values(parts[i].array)})
    if not 2 <= len(found) <= MOST_LABELS or found[0] < 0 or found[-1] > WHITE:
        raise InputError(
            f"class {name}: holds the values {', '.join(map(str, found))}, neither grey values nor 2 to {MOST_LABELS} "
            "labels within 0..255"
        )
    return tuple(found)


def _is_segmented(array: NDArray[Any]) -> bool:
    return array.dtype.kind != "f" and len(distinct_values(array)) <= MOST_LABELS


def _check_grey(array: NDArray[Any], path: Path) -> None:
    """Refuse an image without grey levels."""
    if array.min() == array.max():
        raise InputError(f"{path}: every pixel has the value {float(array.flat[0]):g}; leave the image out")
    if _is_segmented(array):
        raise InputError(
            f"{path}: holds {len(distinct_values(array))} values only, which are labels, not grey levels; name them "
            "with --phases in place of --grey"
        )


def _range(arrays: Sequence[NDArray[Any]], files: Sequence[Path]) -> tuple[float, float]:
    """Values that become 0 and 255."""
    bytes_only = [array.dtype == np.uint8 for array in arrays]
    if all(bytes_only):
        return 0.0, WHITE
    if any(bytes_only):
        eight, other = files[bytes_only.index(True)], bytes_only.index(False)
        raise InputError(
            f"{files[other]}: has values of type {arrays[other].dtype}, while {eight} has 8 bits; save all of them "
            "alike"
        )
    return float(min(array.min() for array in arrays)), float(max(array.max() for array in arrays))


def _scaled(array: NDArray[Any], low: float, high: float) -> NDArray[np.uint8]:
    if array.dtype == np.uint8:
        return np.array(array, order="C")
    return np.round((array.astype(np.float64) - low) * (WHITE / (high - low))).astype(np.uint8)


def _levels(array: NDArray[Any], labels: tuple[int, ...]) -> NDArray[np.uint8]:
    """Labels as grey values."""
    index = np.searchsorted(np.asarray(labels), array)
    return np.ascontiguousarray(level_of(labels)[index])
