"""Pictures of volumes and of results with Matplotlib: `slices`, `volume`, `curves`, `map`.

    from engine import plots
    plots.slices(labels, ("pore", "solid"), voxel_size_um=5.345).savefig("slices.png")

Each function returns a Matplotlib figure, or draws into a `figure` that is given (a SubFigure composes several into
one page). None touches pyplot or its global state, so they run in workers and without a display.
"""

from engine.plots.charts import curves, map
from engine.plots.pictures import slices, volume

__all__ = ["curves", "map", "slices", "volume"]
