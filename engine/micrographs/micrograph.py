"""Training images as the rest of the engine sees them: phase indices or grey values, with their origin."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where one array came from: enough to find the file again and to say what was taken from it."""

    name: str
    """File name without folders."""
    sha256: str
    """Of the file's bytes, hexadecimal."""
    shape: tuple[int, ...]
    """Of the whole file, before the region was cut out: (y, x) or (z, y, x)."""
    kind: Literal["image", "volume"]
    region: str = ""
    """The part that was used, such as `x=0:256`; empty for all of it."""
    segment: str = ""
    """The segmentation rule that made labels of grey values; empty for a labelled file."""
    thresholds: tuple[float, ...] = ()
    """The grey values the rule cut at; phase index i+1 starts above thresholds[i]."""
    planes: str = ""
    """Planes that its slices are, such as `xy` or `xz,yz`; empty where the material looks alike in all of them."""


MOST_LISTED = 100
"""Sources that a card lists one by one."""


def listed(sources: Sequence[Source]) -> tuple[Source, ...]:
    """The sources; of more than MOST_LISTED, those that differ by name and content only in one entry, with the names
    of the first and the last, their number, and the sha256 of all their hashes in a row."""
    if len(sources) <= MOST_LISTED:
        return tuple(sources)
    kinds: dict[Source, list[Source]] = {}
    for source in sources:
        kinds.setdefault(replace(source, name="", sha256=""), []).append(source)
    return tuple(
        same[0]
        if len(same) == 1
        else replace(
            kind,
            name=f"{same[0].name} ... {same[-1].name} ({len(same)} files)",
            sha256=hashlib.sha256("".join(each.sha256 for each in same).encode()).hexdigest(),
        )
        for kind, same in kinds.items()
    )


PLANES = ("xy", "xz", "yz")
"""Names of the planes across the axes 0, 1, 2 (z, y, x). An image of a plane has the axis that comes first in (z, y, x)
along its rows: z runs down an image of xz or yz."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Slicing:
    """An array that is cut into images along one axis."""

    array: NDArray[np.uint8]
    axis: int
    """That is sliced; -1: the array is an image."""
    plane: int
    """Axis across the plane that the images show; -1 where planes are alike."""
    label: int
    """Index of the class; -1 where there are none."""

    @property
    def images(self) -> int:
        return 1 if self.axis < 0 else self.array.shape[self.axis]

    @property
    def sides(self) -> tuple[int, ...]:
        """Of an image."""
        return tuple(n for a, n in enumerate(self.array.shape) if a != self.axis)

    def image(self, index: int) -> NDArray[np.uint8]:
        return self.array if self.axis < 0 else np.take(self.array, index, axis=self.axis)


@dataclass(frozen=True, kw_only=True, eq=False)
class Micrographs:
    """Training images of one material, all 2D or all 3D.

    Of a volume, the slices across its planes' axes are the micrographs; across all three where no plane is named.
    """

    arrays: tuple[NDArray[np.uint8], ...]
    """Phase indices 0..K-1, or grey values 0..255; each (y, x) or (z, y, x), C-contiguous."""
    phases: tuple[str, ...]
    """K names; phase index i is phases[i]. None of grey images."""
    labels: tuple[int, ...]
    """Label in the files of each phase index, ascending, within 0..255."""
    sources: tuple[Source, ...]
    """One per array."""
    voxel_size_um: float | None = None
    planes: tuple[tuple[int, ...], ...] = ()
    """For each array the axes across which it is cut (`PLANES`); empty where the material looks alike in all planes."""
    classes: tuple[str, ...] = ()
    """Names of the kinds of material that one model learns; empty for one material."""
    class_of: tuple[int, ...] = ()
    """Index of each array's class."""
    grey: tuple[float, float] | None = None
    """Values in the files that the grey values 0 and 255 stand for; None: the arrays hold phase indices."""
    class_labels: tuple[tuple[int, ...], ...] = ()
    """Of grey images, for each class: its labels, where it was segmented (they are evenly spaced grey values here);
    empty where it has grey values of its own."""

    def __post_init__(self) -> None:
        assert self.arrays and len(self.arrays) == len(self.sources)
        assert not self.planes or len(self.planes) == len(self.arrays)
        assert not self.classes or len(self.class_of) == len(self.arrays)
        assert self.grey is None or (not self.phases and len(self.class_labels) == len(self.classes))
        assert len(self.phases) == len(self.labels)
        assert all(array.dtype == np.uint8 and array.ndim in (2, 3) for array in self.arrays)
        assert len({array.ndim for array in self.arrays}) == 1

    @property
    def is_volume(self) -> bool:
        """Whether the arrays are 3D."""
        return self.arrays[0].ndim == 3

    @property
    def is_anisotropic(self) -> bool:
        """Whether the planes are told apart."""
        return bool(self.planes)

    def slicings(self) -> list[Slicing]:
        """Everything that can be cut into images.

        An image of two planes shows both; it is turned where their common axis lies along its other side.
        """
        out = []
        for index, array in enumerate(self.arrays):
            label = self.class_of[index] if self.classes else -1
            if not self.planes:
                axes = (-1,) if array.ndim == 2 else (0, 1, 2)
                out += [Slicing(array=array, axis=axis, plane=-1, label=label) for axis in axes]
                continue
            planes = self.planes[index]
            for plane in planes:
                turned = array.ndim == 2 and {planes[0], plane} == {0, 2}  # y runs along rows of xy, columns of yz
                axis = plane if array.ndim == 3 else -1
                out.append(Slicing(array=array.T if turned else array, axis=axis, plane=plane, label=label))
        return out

    @cached_property
    def fractions(self) -> tuple[float, ...]:
        """Share of each phase over all pixels or voxels, in the order of `phases`; empty of grey images."""
        if self.grey is not None:
            return ()
        counts = np.zeros(len(self.phases), dtype=np.int64)
        for array in self.arrays:
            counts += [np.count_nonzero(array == index) for index in range(len(self.phases))]
        return tuple(float(count) for count in counts / counts.sum())

    def describe(self) -> str:
        """One line for the user: what a training run learns from."""
        count, smallest, largest = len(self.arrays), *_extreme_shapes(self.arrays)
        noun = "volume" if self.is_volume else "image"
        what = f"{count} {noun}{'s' if count > 1 else ''} {smallest}"
        if largest != smallest:
            what += f" to {largest}"
        if self.planes:
            named = ", ".join(PLANES[plane] for plane in sorted({p for planes in self.planes for p in planes}))
            return f"trains on {what}, planes {named} told apart"
        return f"trains on the slices of {what} along z, y and x" if self.is_volume else f"trains on {what}"


def _extreme_shapes(arrays: tuple[NDArray[np.uint8], ...]) -> tuple[str, str]:
    """Shapes of the arrays with the fewest and the most elements, as text."""
    by_size = sorted(arrays, key=lambda array: (array.size, array.shape))
    smallest, largest = ("x".join(str(side) for side in array.shape) for array in (by_size[0], by_size[-1]))
    return smallest, largest
