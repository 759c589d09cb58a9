"""One page about one volume or image: slices, curves against a reference, and the field of one solve."""

from collections.abc import Mapping, Sequence
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from engine.errors import InputError
from engine.plots.charts import draw_curves
from engine.plots.pictures import slices
from engine.plots.style import new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure, FigureBase

CURVES = {"s2": "S₂(r)", "lineal_path": "lineal path L(r)"}
"""Curves on the page, by name, with the text of their axis."""


def page(
    labels: NDArray[Any],
    phases: Sequence[str],
    measured: Mapping[str, ArrayLike],
    *,
    reference: Mapping[str, ArrayLike] | None = None,
    field: NDArray[np.floating[Any]] | None = None,
    field_title: str = "",
    voxel_size_um: float | None = None,
    title: str = "",
) -> "Figure":
    """The page.

    Args:
        labels: (z, y, x) or (y, x), integers.
        phases: names of the labels that occur, in ascending order.
        measured: curves [R] named `s2[phase]` and `lineal_path[phase]`.
        reference: curves [n, R] of the same names, drawn as a band; None draws none.
        field: [rows, columns] to be shown, such as a slice through a concentration; NaN stays blank.
        field_title: what the field is.
        voxel_size_um: distances and scale bars in micrometres.
        title: above everything.

    Raises:
        InputError: labels that are no volume or image, or a curve that is not there.
    """
    names = [name for name in CURVES if f"{name}[{phases[0]}]" in measured]
    if not names:
        raise InputError(f"page: no curve of '{phases[0]}' to draw; it needs s2[{phases[0]}]")
    shown = [phase for phase in phases if f"{names[0]}[{phase}]" in measured]
    columns = len(shown) + (field is not None)
    figure = new_figure(max(3.1 * columns, 8.0), 4.0 + 2.7 * len(names))
    halves: Any = figure.subfigures(2, 1, height_ratios=[4.0, 2.7 * len(names)])
    top, bottom = halves
    slices(labels, phases, voxel_size_um=voxel_size_um, title=title, figure=top)
    grid = bottom.add_gridspec(len(names), columns, width_ratios=[1.0] * len(shown) + [1.3] * (columns - len(shown)))
    panel: Any = None
    for (row, name), (column, phase) in product(enumerate(names), enumerate(shown)):
        key = f"{name}[{phase}]"
        sets = {"reference": reference[key]} if reference and key in reference else {}
        panel = bottom.add_subplot(grid[row, column])
        draw_curves(panel, {**sets, "this": measured[key]}, quantity=CURVES[name], voxel_size_um=voxel_size_um)
        panel.set_title(phase, fontsize=9)
    if reference:
        bottom.legend(*panel.get_legend_handles_labels(), loc="outside lower left", ncols=2, frameon=False, fontsize=9)
    if field is not None:
        _draw_field(bottom, bottom.add_subplot(grid[:, -1]), field, field_title)
    return figure


def _draw_field(figure: "FigureBase", panel: Any, field: NDArray[np.floating[Any]], title: str) -> None:
    image = panel.imshow(field, cmap="viridis", vmin=0, vmax=1, interpolation="nearest")
    panel.set_xticks([])
    panel.set_yticks([])
    panel.set_title(title, fontsize=9)
    figure.colorbar(image, ax=panel, location="bottom", shrink=0.8, label="potential")
