"""Charts of results: curves with the band of a set, and structure-property maps."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from engine.errors import InputError
from engine.metrics import nearest
from engine.plots.style import LINE_COLOURS, drawn

if TYPE_CHECKING:
    from matplotlib.figure import FigureBase

BAND = (5.0, 95.0)
"""Percentiles between which the band of a set of curves lies."""


def curves(
    sets: Mapping[str, ArrayLike],
    *,
    quantity: str = "S₂",
    voxel_size_um: float | None = None,
    title: str = "",
    figure: "FigureBase | None" = None,
) -> "FigureBase":
    """Curves over distance: one line per set, and where a set holds several curves the band of 5 to 95 % of them.

    Args:
        sets: by name, [R] one curve or [n, R] several; entry r belongs to a distance of r voxels. The first is drawn
            in black: give the reference (the training data) first.
        quantity: what is drawn, for the axis.
        voxel_size_um: distances in micrometres; None in voxels.
        title: above the picture.
        figure: drawn into; None makes one.

    Returns:
        the figure.

    Raises:
        InputError: no set, or one that is no curve.
    """
    if not sets:
        raise InputError("curves: nothing to draw; give at least one named set")
    figure = drawn(figure, 5.0, 3.6)
    panel = figure.subplots()
    draw_curves(panel, sets, quantity=quantity, voxel_size_um=voxel_size_um)
    panel.legend(frameon=False, fontsize=8)
    if title:
        figure.suptitle(title, fontsize=11)
    return figure


def draw_curves(
    panel: Any, sets: Mapping[str, ArrayLike], *, quantity: str = "S₂", voxel_size_um: float | None = None
) -> None:
    """Draw what `curves` draws into given axes, without the legend. Arguments and errors as `curves`."""
    read = {name: _rows(name, values) for name, values in sets.items()}
    step = 1.0 if voxel_size_um is None else voxel_size_um
    for place, (name, rows) in enumerate(read.items()):
        colour = LINE_COLOURS[place % len(LINE_COLOURS)]
        distance = np.arange(rows.shape[1]) * step
        text = name if len(rows) == 1 else f"{name} (mean of {len(rows)}, band {BAND[0]:g} to {BAND[1]:g} %)"
        panel.plot(distance, rows.mean(axis=0), color=colour, linewidth=1.6, label=text)
        if len(rows) > 1:
            low, high = np.percentile(rows, BAND, axis=0)
            panel.fill_between(distance, low, high, color=colour, alpha=0.18, linewidth=0)
    panel.set_xlabel("distance r (voxels)" if voxel_size_um is None else "distance r (µm)")
    panel.set_ylabel(quantity)
    panel.set_xlim(left=0)
    panel.set_ylim(bottom=min(0.0, min(float(rows.min()) for rows in read.values())))
    _plain(panel)


def map(  # the name that a user looks for; this module does not need the built-in
    table: Any,
    x: str,
    y: str,
    colour: str | None = None,
    *,
    targets: Mapping[str, tuple[float, float]] | None = None,
    title: str = "",
    figure: "FigureBase | None" = None,
) -> "FigureBase":
    """Structure-property map: one point per structure.

    Args:
        table: anything whose `table[column]` is a column of numbers: a dict of lists, a pandas or Polars DataFrame, a
            pyarrow table. Rows where one of the values is missing are left out and counted below the picture.
        x, y: columns, such as `fraction_pore` and `diffusivity_pore_z`.
        colour: column that colours the points; None draws all alike.
        targets: windows (low, high) by column, shaded; of x, y or both.
        title: above the picture.
        figure: drawn into; None makes one.

    Returns:
        the figure.

    Raises:
        InputError: a column that is not there or holds no numbers, or no row with all values.
    """
    wanted = [x, y] if colour is None else [x, y, colour]
    columns = np.stack([_column(table, name) for name in wanted])
    whole = np.isfinite(columns).all(axis=0)
    if not whole.any():
        raise InputError(f"map: no row has {' and '.join(wanted)}; look at the outcomes of the table")
    figure = drawn(figure, 5.2 if colour is None else 6.0, 4.2)
    panel = figure.subplots()
    for name, shade in (("x", panel.axvspan), ("y", panel.axhspan)):
        window = (targets or {}).get(x if name == "x" else y)
        if window is not None:
            shade(*window, color="#0072b2", alpha=0.10, linewidth=0)
    style: dict[str, Any] = (
        {"color": LINE_COLOURS[1]} if colour is None else {"c": columns[2, whole], "cmap": "cividis"}
    )
    size = float(np.clip(4000 / whole.sum(), 3, 36))  # 10,000 points still show where they lie
    points = panel.scatter(columns[0, whole], columns[1, whole], s=size, linewidths=0, alpha=0.85, **style)
    if colour is not None:
        figure.colorbar(points, ax=panel, label=colour)
    panel.set_xlabel(x)
    panel.set_ylabel(y)
    left_out = int((~whole).sum())
    note = f"{int(whole.sum())} structures" + (f"; {left_out} without a value left out" if left_out else "")
    panel.text(0.99, 0.01, note, transform=panel.transAxes, ha="right", va="bottom", fontsize=7, color="#555555")
    _plain(panel)
    if title:
        figure.suptitle(title, fontsize=11)
    return figure


def _rows(name: str, values: ArrayLike) -> NDArray[np.float64]:
    """A set as [n, R]."""
    rows = np.atleast_2d(np.asarray(values, dtype=np.float64))
    if rows.ndim != 2 or rows.size == 0 or not np.isfinite(rows).all():
        raise InputError(f"curves: '{name}' must be finite numbers [R] or [n, R], not shape {rows.shape}")
    return rows


def _column(table: Any, name: str) -> NDArray[np.float64]:
    """A column as numbers, missing ones as NaN."""
    # pyarrow calls its columns column_names, pandas and Polars columns; a dict has keys
    names = list(getattr(table, "column_names", None) or getattr(table, "columns", table))
    if name not in names:
        raise InputError(f"map: there is no column '{name}'{nearest(name, names)}")
    column = table[name]
    values = column.to_pylist() if hasattr(column, "to_pylist") else list(column)
    try:
        # pandas marks a missing integer by a type of its own, which is not imported for its sake
        missing = [value is None or type(value).__name__ == "NAType" for value in values]
        return np.array([np.nan if gone else float(value) for value, gone in zip(values, missing, strict=True)])
    except (TypeError, ValueError) as error:
        raise InputError(f"map: column '{name}' holds no numbers ({error})") from None


def _plain(panel: Any) -> None:
    panel.spines[["top", "right"]].set_visible(False)
    panel.tick_params(labelsize=8)
