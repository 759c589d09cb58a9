"""Pictures of one volume: three slices, or the whole seen from a corner."""

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from engine.errors import InputError
from engine.metrics import AXES, nearest
from engine.plots.style import drawn, legend_of_phases, length_text, phase_rgb, scale_bar
from engine.plots.view import view_from_corner

if TYPE_CHECKING:
    from matplotlib.figure import FigureBase


def slices(
    labels: NDArray[Any],
    phases: Sequence[str] | None = None,
    *,
    at: tuple[int, int, int] | None = None,
    voxel_size_um: float | None = None,
    title: str = "",
    figure: "FigureBase | None" = None,
) -> "FigureBase":
    """Three slices of a volume, one across each axis; of an image (y, x) the image itself.

    Args:
        labels: (z, y, x) or (y, x), integers.
        phases: names of the labels that occur, in ascending order; None names them by label.
        at: index of the slice across z, y and x; None takes the middle.
        voxel_size_um: adds a scale bar; None none.
        title: above the picture.
        figure: drawn into; None makes one.

    Returns:
        the figure.

    Raises:
        InputError: labels that are no volume or image, names that do not fit them, or an index outside.
    """
    indices, names = indexed(labels, phases)
    volume_ = indices if indices.ndim == 3 else indices[None]
    axes_shown = range(3) if indices.ndim == 3 else range(1)
    places = at if at is not None else tuple(side // 2 for side in volume_.shape)
    if len(places) != 3 or not all(0 <= place < side for place, side in zip(places, volume_.shape, strict=True)):
        raise InputError(f"at: must hold an index within {volume_.shape} for each axis (z, y, x), not {places}")
    figure = drawn(figure, 3.2 * len(axes_shown), 3.7)
    colours = phase_rgb(len(names))
    panels = figure.subplots(1, len(axes_shown), squeeze=False)[0]
    for panel, axis in zip(panels, axes_shown, strict=True):
        image = volume_.take(places[axis], axis=axis)
        panel.imshow(colours[image], interpolation="nearest")
        panel.set_xticks([])
        panel.set_yticks([])
        left, bottom = (name for name in AXES if name != AXES[axis])
        panel.set_ylabel(left, fontsize=9)
        panel.xaxis.set_label_position("top")
        panel.set_xlabel(f"{bottom}   ({AXES[axis]} = {places[axis]})" if indices.ndim == 3 else bottom, fontsize=9)
        if voxel_size_um is not None:
            scale_bar(panel, image.shape[1], voxel_size_um)
    _finish(figure, names, range(len(names)), title)
    return figure


def volume(
    labels: NDArray[Any],
    phases: Sequence[str] | None = None,
    *,
    hide: Collection[str] = (),
    voxel_size_um: float | None = None,
    title: str = "",
    pixels: int = 480,
    figure: "FigureBase | None" = None,
) -> "FigureBase":
    """A volume seen from a corner, z upwards, voxel by voxel.

    Args:
        labels: (z, y, x), integers.
        phases: names of the labels that occur, in ascending order; None names them by label.
        hide: names of phases to see through, such as the solid to show the pores.
        voxel_size_um: adds the size to the caption; None gives it in voxels.
        title: above the picture.
        pixels: height of the picture in pixels.
        figure: drawn into; None makes one.

    Returns:
        the figure.

    Raises:
        InputError: labels that are no volume, names that do not fit them, or everything hidden.
    """
    indices, names = indexed(labels, phases)
    if indices.ndim != 3:
        raise InputError(f"labels: a volume (z, y, x) is needed, not an image {indices.shape}; use slices")
    for name in hide:
        if name not in names:
            raise InputError(f"hide: no phase is called '{name}'{nearest(name, names)}")
    shown = np.array([name not in hide for name in names])
    if not shown.any():
        raise InputError("hide: hides every phase; leave one to be seen")
    figure = drawn(figure, 4.4, 4.8)
    panel = figure.subplots()
    panel.imshow(view_from_corner(indices, phase_rgb(len(names)), shown, pixels=pixels), interpolation="antialiased")
    panel.set_axis_off()
    sides = indices.shape
    if voxel_size_um is None:
        size = " × ".join(map(str, sides)) + " voxels (z, y, x)"
    else:
        size = " × ".join(length_text(side * voxel_size_um) for side in sides) + " (z, y, x)"
    panel.text(0.5, -0.01, size, transform=panel.transAxes, ha="center", va="top", fontsize=8, color="#444444")
    _finish(figure, names, np.flatnonzero(shown).tolist(), title)
    return figure


def indexed(labels: NDArray[Any], phases: Sequence[str] | None) -> tuple[NDArray[np.uint8], list[str]]:
    """Labels as indices 0..K-1 of the labels that occur, and the K names.

    Raises:
        InputError: neither image nor volume, no integers, or names that do not fit.
    """
    array = np.asarray(labels)
    if array.ndim not in (2, 3) or array.size == 0 or array.dtype.kind not in "bui":
        raise InputError(
            f"labels: must be integers (z, y, x) or (y, x), not {array.dtype} of shape {array.shape}; "
            "segment grey values first"
        )
    found, inverse = np.unique(array, return_inverse=True)
    if len(found) > 255:
        raise InputError(f"labels: {len(found)} different values are no phases; segment grey values first")
    names = [str(value) for value in found] if phases is None else list(phases)
    if len(names) != len(found):
        listed = ", ".join(map(str, found))
        raise InputError(f"phases: {len(names)} names for {len(found)} labels ({listed}); name each label that occurs")
    return inverse.reshape(array.shape).astype(np.uint8), names


def _finish(figure: "FigureBase", names: Sequence[str], shown: Collection[int], title: str) -> None:
    legend_of_phases(figure, [(names[index], index) for index in shown])
    if title:
        figure.suptitle(title, fontsize=11)
