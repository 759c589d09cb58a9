"""Curves and maps: lines, bands and points are where the numbers are."""

import numpy as np
import pandas
import pyarrow as pa
import pytest

from engine import plots
from engine.errors import InputError

TABLE = {"f": [0.1, 0.2, 0.3, 0.4], "d": [1.0, 2.0, None, 4.0], "c": [5.0, 6.0, 7.0, float("nan")], "t": ["a"] * 4}


class Frame:
    """What pandas and Polars have in common: columns by name, which iterate."""

    columns = tuple(TABLE)

    def __getitem__(self, name: str) -> object:
        return iter(TABLE[name])  # type: ignore[arg-type]


def test_curves_draw_means_and_the_band_of_a_set() -> None:
    rows = np.random.default_rng(0).random((50, 9))
    [panel] = plots.curves({"truth": rows, "one": rows[0]}, voxel_size_um=2.0).axes
    mean, one = panel.lines
    np.testing.assert_allclose(mean.get_xdata(), 2.0 * np.arange(9))
    np.testing.assert_allclose(mean.get_ydata(), rows.mean(axis=0))
    np.testing.assert_allclose(one.get_ydata(), rows[0])
    [band] = panel.collections
    corners = band.get_paths()[0].vertices
    low, high = np.percentile(rows, (5, 95), axis=0)
    assert corners[:, 1].min() == pytest.approx(low.min()) and corners[:, 1].max() == pytest.approx(high.max())
    assert "mean of 50" in panel.get_legend().get_texts()[0].get_text()
    assert "µm" in panel.get_xlabel()


@pytest.mark.parametrize("kind", ["dict", "frame", "pyarrow"])
def test_a_map_draws_whole_rows_and_counts_the_others(kind: str) -> None:
    table = {"dict": TABLE, "frame": Frame(), "pyarrow": pa.table(TABLE)}[kind]
    figure = plots.map(table, "f", "d", "c", targets={"f": (0.1, 0.2)})
    points = figure.axes[0].collections[0]
    np.testing.assert_allclose(points.get_offsets(), [[0.1, 1.0], [0.2, 2.0]])
    np.testing.assert_allclose(points.get_array(), [5.0, 6.0])
    assert figure.axes[0].texts[0].get_text() == "2 structures; 2 without a value left out"
    assert len(figure.axes[0].patches) == 1


def test_missing_integers_of_pandas() -> None:
    frame = pandas.DataFrame({"a": [1, None, 3], "b": [1.0, 2.0, 3.0]}).astype({"a": "Int64"})
    np.testing.assert_allclose(plots.map(frame, "a", "b").axes[0].collections[0].get_offsets(), [[1, 1], [3, 3]])


def test_refusals() -> None:
    for table in (TABLE, Frame(), pa.table(TABLE)):
        with pytest.raises(InputError, match="no column 'g'"):
            plots.map(table, "f", "g")
    with pytest.raises(InputError, match="holds no numbers"):
        plots.map(TABLE, "f", "t")
    with pytest.raises(InputError, match="no row has"):
        plots.map({"f": [None], "d": [1.0]}, "f", "d")
    with pytest.raises(InputError, match="nothing to draw"):
        plots.curves({})
    with pytest.raises(InputError, match="'a' must be finite"):
        plots.curves({"a": [float("nan")]})
