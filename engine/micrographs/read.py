"""Training images from files: find, read, crop, segment or check the labels, and number the phases."""

import glob
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.errors import InputError
from engine.metrics import AXES
from engine.micrographs.files import SUFFIXES, distinct_values, read_array, sha256_of, side_text
from engine.micrographs.micrograph import PLANES, Micrographs, Source
from engine.micrographs.segment import RULES, Rule, parse_rule, segment

# A labelled image has a few distinct values; more (and more than the phases named) are taken for grey values.
MOST_LABELS = 8

Region = dict[str, tuple[int | None, int | None]]


def read_micrographs(
    paths: Sequence[str | Path],
    phases: Sequence[str],
    *,
    segment: str | None = None,
    region: str | None = None,
    voxel_size_um: float | None = None,
    minimum: int = 64,
    classes: Mapping[str, Sequence[str | Path]] | None = None,
) -> Micrographs:
    """Read the training images of one material.

    Args:
        paths: files (TIFF, PNG, NPY), folders of them, or patterns such as `slices/*.png`. A TIFF with several
            pages or a 3D NPY is a volume. All must be 2D or all 3D. Where the material differs between planes, each
            with the planes it shows: `xy=top/*.png`, `xz,yz=side/*.png`, `xy,xz,yz=tomogram.tif` (cut across z, y, x).
        phases: names; the labels found in all images together, sorted, belong to them in this order.
        segment: rule for grey images, `otsu` or `thresholds:V1,V2,...`; None expects labels.
        region: the part to use, such as `x=0:256,z=:100` (end excluded, open ends allowed); cut out first, so
            thresholds and labels come from this part alone.
        voxel_size_um: side of a voxel; None takes what all files agree on, if they say.
        minimum: least side in pixels, the training crop.
        classes: paths by the name of the class of material they show, instead of `paths`.

    Raises:
        InputError: anything about files or options that cannot be used, in one line.
    """
    names = _checked_phases(phases)
    rule = None if segment is None else parse_rule(segment, len(names))
    cut = parse_region(region) if region else {}
    check_voxel_size(voxel_size_um)
    files, planes, class_of = find_all(paths, classes or {})
    arrays: list[NDArray[np.uint8]] = []
    sources: list[Source] = []
    sizes: list[float | None] = []
    for path, shown in zip(files, planes or [()] * len(files), strict=True):
        array, source, size_um = _read_one(path, names, rule, cut, minimum, shown)
        check_alike(path, array, files[0], (arrays or [array])[0])
        arrays.append(array)
        sources.append(source)
        sizes.append(size_um)
    labels = _labels(arrays, files, names, rule)
    lookup = np.zeros(256, dtype=np.uint8)
    lookup[list(labels)] = np.arange(len(labels))
    if voxel_size_um is None and len(set(sizes)) == 1:
        voxel_size_um = sizes[0]
    return Micrographs(
        arrays=tuple(lookup[array] for array in arrays),
        phases=names,
        labels=labels,
        sources=tuple(sources),
        voxel_size_um=voxel_size_um,
        planes=planes,
        classes=tuple(classes or ()),
        class_of=class_of,
    )


def check_voxel_size(voxel_size_um: float | None) -> None:
    """Raise InputError for what is no length."""
    if voxel_size_um is not None and not (math.isfinite(voxel_size_um) and voxel_size_um > 0):
        raise InputError(f"voxel size: must be a positive length in micrometres, not {voxel_size_um}")


def check_alike(path: Path, array: NDArray[Any], first_path: Path, first: NDArray[Any]) -> None:
    """Raise InputError where images and volumes are mixed."""
    if array.ndim != first.ndim:
        raise InputError(
            f"{path}: holds {array.ndim}D data, while {first_path} holds {first.ndim}D; train on images or on volumes"
        )


def find_all(
    paths: Sequence[str | Path], classes: Mapping[str, Sequence[str | Path]]
) -> tuple[list[Path], tuple[tuple[int, ...], ...], tuple[int, ...]]:
    """Files, their planes, and the index of each one's class."""
    if not classes:
        return *find_planes(paths), ()
    if paths:
        raise InputError(
            f"{paths[0]}: belongs to no class, while there are classes ({', '.join(classes)}); name its own"
        )
    if len(classes) == 1:
        raise InputError(f"classes: there is only one ({next(iter(classes))}); name another, or train without classes")
    files: list[Path] = []
    planes: list[tuple[int, ...]] = []
    class_of: list[int] = []
    for index, (name, members) in enumerate(classes.items()):
        found, shown = find_planes(members)
        known = {other.resolve() for other in files}
        twice = next((file for file in found if file.resolve() in known), None)
        if twice is not None:
            raise InputError(f"{twice}: is in two classes, one of them {name}; give it to one")
        if index and bool(shown) != bool(planes):
            raise InputError(f"class {name}: planes are named for some classes only; name them for all or for none")
        files += found
        planes += shown
        class_of += [index] * len(found)
    return files, tuple(planes), tuple(class_of)


def find_planes(paths: Iterable[str | Path]) -> tuple[list[Path], tuple[tuple[int, ...], ...]]:
    """Files behind paths, and the planes that each shows (axes across them); none where no path names planes.

    Raises:
        InputError: as `find_files`; or planes named for some paths only, one twice for a path, one for none.
    """
    found: dict[Path, tuple[Path, list[int]]] = {}
    bare: list[str] = []
    for given in paths:
        match = re.fullmatch(r"((?:xy|xz|yz)(?:,(?:xy|xz|yz))*)=(.+)", str(given), re.DOTALL)
        axes = [PLANES.index(name) for name in match[1].split(",")] if match else []
        if len(set(axes)) < len(axes):
            raise InputError(f"{given}: names a plane twice; name each once")
        if not match:
            bare.append(str(given))
        for file in find_files([match[2] if match else given]):
            found.setdefault(file.resolve(), (file, []))[1].extend(axes)
    files = [file for file, _ in found.values()] or find_files([])
    planes = tuple(tuple(dict.fromkeys(axes)) for _, axes in found.values())
    if not any(planes):
        return files, ()
    if bare:
        raise InputError(
            f"{bare[0]}: no plane is named for it, while others have one; give xy=, xz= or yz= to each or to none"
        )
    missing = [name for axis, name in enumerate(PLANES) if not any(axis in axes for axes in planes)]
    if missing:
        raise InputError(
            f"planes: no image shows {' or '.join(missing)}; give one, or say which images stand for it too, such as "
            "--images xz,yz=PATH where these two look alike"
        )
    return files, planes


def find_files(paths: Iterable[str | Path]) -> list[Path]:
    """Files behind paths, folders (image files directly inside, by name) and patterns; each once.

    Raises:
        InputError: nothing there, or a folder without image files.
    """
    found: dict[Path, Path] = {}
    for given in paths:
        path = Path(given)
        if path.is_dir():
            inside = sorted(item for item in path.iterdir() if item.suffix.lower() in SUFFIXES and item.is_file())
            if not inside:
                raise InputError(f"{path}: no image in this folder; expected files of type {', '.join(SUFFIXES)}")
        elif path.exists() or not glob.has_magic(str(given)):
            inside = [path]
        else:
            inside = sorted(Path(name) for name in glob.glob(str(given)) if Path(name).is_file())
            if not inside:
                raise InputError(f"{given}: no file matches this pattern; check the path")
        for item in inside:
            found.setdefault(item.resolve(), item)
    if not found:
        raise InputError("no image was named; give at least one file, folder or pattern")
    return list(found.values())


def parse_region(text: str) -> Region:
    """Read a region such as `x=0:256` or `z=:100,y=20:` into half-open ranges by axis.

    Raises:
        InputError: no such axis, an axis named twice, or a range that is not START:END.
    """
    region: Region = {}
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\w+)\s*=\s*(\d*)\s*:\s*(\d*)\s*", part)
        if match is None:
            raise InputError(f"region '{text}': '{part.strip()}' is not AXIS=START:END, such as x=0:256")
        axis, start, end = match.groups()
        if axis not in AXES:
            raise InputError(f"region '{text}': no axis is called '{axis}'; axes are {', '.join(AXES)}")
        if axis in region:
            raise InputError(f"region '{text}': the axis {axis} is named twice; give one range for each axis")
        region[axis] = (int(start) if start else None, int(end) if end else None)
    return region


def _crop(array: NDArray[Any], region: Region, path: Path) -> tuple[NDArray[Any], str]:
    """The region of an array, and the region as text with its ends filled in."""
    axes = AXES[-array.ndim :]
    slices, texts = [slice(None)] * array.ndim, []
    for axis, (start, end) in region.items():
        if axis not in axes:
            raise InputError(f"{path}: an image has no axis '{axis}' (region); axes of an image are y and x")
        size = array.shape[axes.index(axis)]
        first, last = start or 0, size if end is None else end
        if not first < last <= size:
            raise InputError(
                f"{path}: region {axis}={first}:{last} is empty or leaves the array, which has {size} along {axis}; "
                f"choose within {axis}=0:{size}"
            )
        slices[axes.index(axis)] = slice(first, last)
        texts.append(f"{axis}={first}:{last}")
    return array[tuple(slices)], ",".join(texts)


def _read_one(
    path: Path, phases: tuple[str, ...], rule: Rule | None, region: Region, minimum: int, planes: tuple[int, ...]
) -> tuple[NDArray[np.uint8], Source, float | None]:
    """One file as labels 0..255 (phase indices where a rule is given), its origin and its voxel size."""
    part = read_part(path, region, minimum, planes)
    if rule is None:
        labels = as_labels(part.array, path, most=max(MOST_LABELS, len(phases)), is_colour=part.is_colour)
        return labels, part.source, part.voxel_size_um
    labels, thresholds = segment(part.array, rule, len(phases), where=str(path))
    return labels, replace(part.source, segment=rule.text, thresholds=thresholds), part.voxel_size_um


@dataclass(frozen=True, kw_only=True, eq=False)
class Part:
    """The part of a file that is trained on, as it stands there."""

    array: NDArray[Any]
    is_colour: bool
    source: Source
    voxel_size_um: float | None


def read_part(path: Path, region: Region, minimum: int, planes: tuple[int, ...]) -> Part:
    """Read a file and cut the region out.

    Raises:
        InputError: as `read_array`; a region that the file does not hold, or one smaller than the training crop.
    """
    held = read_array(path)
    if held.array.ndim == 2 and len(planes) == len(PLANES):
        raise InputError(f"{path}: an image cannot show all three planes apart; leave out the names of the planes")
    cropped, region_text = _crop(held.array, region, path)
    if min(cropped.shape) < minimum:
        part = f" (region {region_text})" if region_text else ""
        remedy = "" if cropped.ndim == 2 else ", or save the slices of a thin volume as separate images"
        raise InputError(
            f"{path}: {side_text(cropped.shape)}{part} is smaller than the training crop; every side must have at "
            f"least {minimum}; use a larger image{' or region' if region_text else ''}{remedy}"
        )
    source = Source(
        name=path.name,
        sha256=sha256_of(path),
        shape=tuple(held.array.shape),
        kind="volume" if held.array.ndim == 3 else "image",
        region=region_text,
        planes=",".join(PLANES[axis] for axis in planes),
    )
    return Part(array=cropped, is_colour=held.is_colour, source=source, voxel_size_um=held.voxel_size_um)


def read_label_file(path: str | Path, *, most: int = MOST_LABELS) -> tuple[NDArray[np.uint8], float | None]:
    """Read one labelled file, image or volume.

    Args:
        path: TIFF, PNG or NPY.
        most: most distinct values that count as labels.

    Returns:
        Labels as they stand in the file, (y, x) or (z, y, x), and the voxel size in micrometres if the file says.

    Raises:
        InputError: unreadable file, or values that are no labels.
    """
    held = read_array(Path(path))
    return as_labels(held.array, Path(path), most=most, is_colour=held.is_colour), held.voxel_size_um


def as_labels(array: NDArray[Any], path: Path, *, most: int, is_colour: bool) -> NDArray[np.uint8]:
    """The values as labels in a fresh contiguous array.

    Raises:
        InputError: grey values (colour, floating point, or more than `most` distinct), or labels outside 0..255.
    """
    values = distinct_values(array)
    if is_colour or array.dtype.kind == "f" or len(values) > most:
        kind = "a colour image" if is_colour else f"grey values of type {array.dtype}"
        raise InputError(
            f"{path}: {kind} with {len(values)} grey levels, not labels (at most {most} distinct integers); segment "
            f"it with a rule (--segment): {RULES}"
        )
    if values[0] < 0 or values[-1] > 255:
        listed = ", ".join(str(int(value)) for value in values)
        raise InputError(f"{path}: labels must lie within 0..255, found {listed}; renumber them, or segment the image")
    return np.array(array, dtype=np.uint8, order="C")


def _checked_phases(phases: Sequence[str]) -> tuple[str, ...]:
    names = tuple(name.strip() for name in phases)
    if len(names) < 2:
        raise InputError(f"phases: at least two are needed, got {len(names)}; name them such as pore,solid")
    for name in names:
        if not re.fullmatch(r"[A-Za-z]\w*", name, re.ASCII):
            raise InputError(f"phases: '{name}' is no name; use letters, digits and _, a letter first")
        if names.count(name) > 1:
            raise InputError(f"phases: '{name}' is named twice; each phase needs its own name")
    return names


def _labels(
    arrays: Sequence[NDArray[np.uint8]], files: Sequence[Path], phases: tuple[str, ...], rule: Rule | None
) -> tuple[int, ...]:
    """Labels of all arrays together, one for each phase."""
    first_seen: dict[int, Path] = {}
    for array, path in zip(arrays, files, strict=True):
        for label in distinct_values(array):
            first_seen.setdefault(int(label), path)
    labels = tuple(sorted(first_seen))
    where = str(files[0]) if len(files) == 1 else f"{len(files)} images from {files[0]} on"
    if rule is not None and len(labels) < len(phases):
        empty = ", ".join(name for index, name in enumerate(phases) if index not in first_seen)
        raise InputError(f"{where}: the rule {rule.text} leaves no pixel for {empty}; choose other thresholds")
    if len(labels) != len(phases):
        listed = ", ".join(
            str(label) if len(files) == 1 else f"{label} (first in {first_seen[label].name})" for label in labels
        )
        raise InputError(
            f"{where}: {len(labels)} label{'s' if len(labels) != 1 else ''} found ({listed}) but {len(phases)} phases "
            f"named ({', '.join(phases)}); name one phase for each label, in the order of the labels"
        )
    return labels
