"""Curves of all structures against the band of the training data."""

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from engine.models.bundle import Card
from engine.models.training_curves import KEY
from studies.query import query
from studies.report.rows import Rows

BAND = (5, 95)  # percent, of structures as of the training crops
LINES = 3  # best structures whose own curves are drawn
_NAMES = {"s2": "S₂, two-point correlation", "lineal_path": "L, lineal path", "chord_lengths": "chord lengths"}


def curve_sets(rows: Rows, best: list[int], card: Card | None) -> list[dict[str, Any]]:
    """One entry per curve, phase and axis: mean and band of the structures, some single ones, the training band."""
    table = query(rows.out, "SELECT structure_id, curve, phase, axis, value FROM curves")
    shown = {rows.ids[row]: row for row in best[:LINES]}
    keys = table.group_by(["curve", "phase", "axis"]).aggregate([]).to_pylist()
    found = []
    for key in sorted(keys, key=lambda key: (key["curve"] != "s2", key["curve"], key["phase"], key["axis"] or "")):
        same = pc.and_(pc.equal(table["curve"], key["curve"]), pc.equal(table["phase"], key["phase"]))
        axis = pc.is_null(table["axis"]) if key["axis"] is None else pc.equal(table["axis"], key["axis"])
        group = table.filter(pc.and_(same, axis))
        values = _stacked(group["value"])
        if values.shape[1] < 2:
            continue
        name = f"{key['curve']}[{key['phase']}{',' + key['axis'] if key['axis'] else ''}]"
        low, high = np.nanpercentile(values, BAND, axis=0)
        places = {name: place for place, name in enumerate(group["structure_id"].to_pylist()) if name in shown}
        found.append(
            {
                "name": name,
                "quantity": _NAMES.get(key["curve"], key["curve"].replace("_", " ")),
                "count": len(values),
                "mean": _listed(np.nanmean(values, axis=0)),
                "low": _listed(low),
                "high": _listed(high),
                "lines": [
                    {"row": row, "values": _listed(values[places[id_]])} for id_, row in shown.items() if id_ in places
                ],
                "training": training_band(card, name),
            }
        )
    return found


def training_band(card: Card | None, name: str) -> dict[str, list[float]] | None:
    """Mean and band of a curve over the bundle's training crops; None where the bundle does not tell."""
    if card is None:
        return None
    band: dict[str, list[float]] | None = card.metrics.get(KEY, {}).get(name)
    return band


def _stacked(column: pa.ChunkedArray) -> NDArray[np.float64]:
    """Lists -> [n, R], R the shortest length: structures of other shapes have other lengths."""
    array = column.combine_chunks()
    lengths = pc.list_value_length(array).to_numpy(zero_copy_only=False)
    flat = array.flatten().to_numpy(zero_copy_only=False).astype(np.float64)
    if lengths.min() == lengths.max():
        return flat.reshape(len(lengths), int(lengths[0]))
    starts = np.concatenate([[0], np.cumsum(lengths)[:-1]])
    return flat[starts[:, None] + np.arange(lengths.min())]


def _listed(values: NDArray[np.float64]) -> list[float]:
    return [float(f"{value:.5g}") for value in values]
