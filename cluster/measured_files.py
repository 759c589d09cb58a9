"""Files that a user gives to be measured: read, checked, cut into blocks, and drawn on a page."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

from engine.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from engine.measure import Measurement
    from engine.models.bundle import Phase

ON_PAGE = ("s2", "lineal_path")
"""Curves of the picture."""
PICTURES = (".png", ".pdf", ".svg")


@dataclass(frozen=True, kw_only=True, eq=False)
class LabelledFile:
    """A file to be measured."""

    file: str
    labels: "NDArray[np.uint8]"
    """(z, y, x), or (y, x) of an image."""
    phases: "list[Phase]"
    voxel_size_um: float | None

    @property
    def label_values(self) -> list[int]:
        return [phase.label for phase in self.phases]


def read_labelled(file: str, names: str | None, voxel_size_um: float | None) -> LabelledFile:
    """Read one file; a volume of one layer is an image.

    Args:
        file: TIFF, NPY or PNG.
        names: of the labels in ascending order, separated by commas; None takes the labels.
        voxel_size_um: instead of what the file says.

    Raises:
        InputError: a file that cannot be read or measured, or names that do not fit its labels.
    """
    from engine.descriptors.describe import check_labels
    from engine.export.volumes import MOST_LABELS
    from engine.micrographs.read import read_label_file

    labels, said_um = read_label_file(Path(file), most=MOST_LABELS)
    labels = labels[0] if labels.ndim == 3 and labels.shape[0] == 1 else labels
    found = _phases(file, labels, names)
    try:
        check_labels(labels, {each.name: each.label for each in found})
    except InputError as error:
        raise InputError(f"{file}: {error}") from None
    return LabelledFile(file=file, labels=labels, phases=found, voxel_size_um=voxel_size_um or said_um)


def _phases(file: str, labels: "NDArray[np.uint8]", names: str | None) -> "list[Phase]":
    """The phases of a volume: one per label, named by the label or by the user."""
    import numpy as np

    from engine.models.bundle import Phase

    found, counts = np.unique(labels, return_counts=True)
    given = [str(label) for label in found] if names is None else [name.strip() for name in names.split(",")]
    if len(given) != len(found) or len(set(given)) != len(given):
        listed = ", ".join(map(str, found))
        raise InputError(f"{file}: {len(found)} labels ({listed}) but --phases names {len(given)}: {', '.join(given)}")
    total = counts.sum()
    return [
        Phase(name=name, label=int(label), fraction=float(count / total))
        for name, label, count in zip(given, found, counts, strict=True)
    ]


def reference_blocks(files: Sequence[str], measured: LabelledFile) -> list[LabelledFile]:
    """Reference files, cut into disjoint blocks of the measured shape where they are larger.

    Raises:
        InputError: a file that cannot be read or has other labels.
    """
    labels = ",".join(each.name for each in measured.phases)
    blocks = []
    for file in files:
        found = read_labelled(file, labels, measured.voxel_size_um)
        if found.labels.ndim != measured.labels.ndim or found.label_values != measured.label_values:
            raise InputError(f"{file}: cannot be compared with {measured.file}: other labels, or image against volume")
        sides = measured.labels.shape
        counts = [max(n // side, 1) for n, side in zip(found.labels.shape, sides, strict=True)]
        for place in product(*map(range, counts)):
            cut = tuple(slice(i * side, (i + 1) * side) for i, side in zip(place, sides, strict=True))
            blocks.append(LabelledFile(file=file, labels=found.labels[cut], phases=measured.phases, voxel_size_um=None))
    return blocks


def check_picture(target: str, files: Sequence[str]) -> None:
    """Refuse a picture that could not be drawn or written, before any work.

    Raises:
        InputError: several files, another format, or a folder that does not exist.
    """
    path = Path(target)
    if len(files) != 1:
        raise InputError(f"--picture: draws one file, {len(files)} were given; call it for each")
    if path.suffix.lower() not in PICTURES:
        raise InputError(f"--picture {target}: must end in {', '.join(PICTURES)}")
    if not path.parent.is_dir():
        raise InputError(f"--picture {target}: the folder {path.parent} does not exist; make it first")


def draw_page(
    read: LabelledFile, measurement: "Measurement", compared: Sequence[LabelledFile], target: str, periodic: bool
) -> None:
    """Write the page about a measured file, with the band of the files it is compared with.

    Raises:
        WorkError: the picture could not be written.
    """
    import numpy as np

    from engine.export.volumes import replace_whole
    from engine.measure import measure
    from engine.plots.page import page

    keys = [key for key in measurement.curves if key.partition("[")[0] in ON_PAGE]
    band = None
    if compared:
        curves = [measure(each.labels, each.phases, metrics=[]).curves for each in compared]
        shortest = min(len(curve[keys[0]]) for curve in [*curves, measurement.curves])
        band = {key: np.stack([curve[key][:shortest] for curve in curves]) for key in keys}
    field, title = _field(read, periodic)
    figure = page(
        read.labels,
        [found.name for found in read.phases],
        {key: measurement.curves[key] for key in keys},
        reference=band,
        field=field,
        field_title=title,
        voxel_size_um=read.voxel_size_um,
        title=Path(read.file).name,
    )
    path = Path(target)
    replace_whole(path, lambda stream: figure.savefig(stream, format=path.suffix[1:].lower(), dpi=150))


def _field(read: LabelledFile, periodic: bool) -> "tuple[NDArray[np.float32] | None, str]":
    """Potential in the first phase that percolates along z (an image: y), in the middle slice along the flux."""
    import numpy as np
    import torch

    from engine.descriptors.connectivity import spanning_mask
    from engine.metrics import AXES
    from engine.properties.transport import solve

    image = read.labels.ndim == 2
    labels, axis = (read.labels[None], 1) if image else (read.labels, 0)
    for found in read.phases:
        spanning = spanning_mask(labels == found.label, axis, periodic=periodic)
        if not spanning.any():
            continue
        solved = solve(torch.from_numpy(spanning).float().unsqueeze(0), axis, periodic=periodic)
        middle = labels.shape[1] // 2
        shown = (0,) if image else (slice(None), middle)
        field = np.where(spanning[shown], solved.field[0][shown].numpy(), np.nan).astype(np.float32)
        where = "" if image else f" (y = {middle})"
        flux = f"potential in {found.name}, flux along {AXES[axis]}"
        return field, f"{flux}\nD/D0 = {float(solved.value):.3g}{where}"
    return None, ""
