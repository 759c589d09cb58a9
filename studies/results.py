"""A results folder in Python: tables as data frames, volumes as arrays.

import studies

results = studies.open("runs/berea_transport")
frame = results.structures()            # pandas; library="polars" and "arrow" give the others
labels = results.volume(frame["structure_id"][0])
"""

from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from actors.places import VOLUMES, ObjectStore, keeps_volumes, place_of
from actors.volumes import check_structure_id
from actors.volumes import read_volume as read_stored
from engine.errors import InputError
from engine.export.volumes import read_volume
from engine.metrics import nearest
from studies.dataset import stored_ids
from studies.query import check_results, query, schema

Library = Literal["pandas", "polars", "arrow"]


class Results:
    """What is in a folder now: every call reads anew, so it may be used while a sweep runs. Nothing is changed.

    Args:
        folder: the --out folder of a sweep, `reconstruct` or `design`.

    Raises:
        InputError: no such folder, or no results in it.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        check_results(self.folder)

    def structures(self, library: Library = "pandas") -> Any:
        """One row per structure: seed, targets, measured values with outcomes, times."""
        return self.query("SELECT * FROM structures", library)

    def curves(self, library: Library = "pandas") -> Any:
        """One row per curve and structure; `value[i]` is at the distance `r_voxels[i]`."""
        return self.query("SELECT * FROM curves", library)

    def volumes(self, library: Library = "pandas") -> Any:
        """One row per stored volume, without its voxels: `volume` gives those."""
        return self.query("SELECT * EXCLUDE (packed) FROM volumes", library)

    def trials(self, library: Library = "pandas") -> Any:
        """One row per trial of the study; empty for the folder of a single command."""
        return self.query("SELECT * FROM trials", library)

    def schema(self, library: Library = "pandas") -> Any:
        """Every column there is: view, column, type, unit, meaning."""
        rows = schema(self.folder)
        columns = list(zip(*rows, strict=True))
        return _as(pa.table(columns, names=["view", "column", "type", "unit", "meaning"]), library)

    def query(self, sql: str, library: Library = "pandas") -> Any:
        """One SELECT over the views structures, curves, volumes, trials.

        Args:
            sql: as for `mesoforge query`.
            library: `pandas` (integers stay integers where values are missing), `polars` or `arrow`.

        Raises:
            InputError: the statement cannot be run, or the library is not installed.
        """
        return _as(query(self.folder, sql), library)

    def volume(self, structure_id: str) -> NDArray[np.uint8]:
        """Labels of a structure, uint8 (z, y, x), as in the training images; `torch.from_numpy` takes it as it is.

        Raises:
            InputError: the folder holds no volume of that name, or its file is damaged.
        """
        check_structure_id(structure_id)
        path = self._own_files().get(structure_id)
        return read_stored(self.folder, structure_id).labels if path is None else read_volume(path).labels

    def stored(self) -> set[str]:
        """The structures of which there is a volume."""
        if isinstance(place_of(self.folder), ObjectStore):
            made = self.query("SELECT structure_id FROM structures WHERE volume_sha256 IS NOT NULL", "arrow")
            return set(made["structure_id"].to_pylist())
        return stored_ids(self.folder, VOLUMES) | set(self._own_files())

    def _own_files(self) -> dict[str, Path]:
        """Of the folder of `reconstruct` or `design`, which writes files for people; those that read back."""
        if keeps_volumes(self.folder):
            return {}
        suffixes = (".npy", ".tiff", ".tif")  # the last counts: it holds the voxel size too
        return {path.stem: path for suffix in suffixes for path in self.folder.glob(f"*{suffix}")}


def _as(table: pa.Table, library: str) -> Any:
    if library == "arrow":
        return table
    try:
        if library == "polars":
            import polars

            return polars.from_arrow(table)
        if library == "pandas":
            import pandas

            kept = {  # NumPy's integers and truth values know no missing ones; a seed does not fit a float
                pa.int64(): pandas.Int64Dtype(),
                pa.int32(): pandas.Int32Dtype(),
                pa.uint8(): pandas.UInt8Dtype(),
                pa.bool_(): pandas.BooleanDtype(),
            }
            return table.to_pandas(types_mapper=kept.get)
    except ModuleNotFoundError as error:
        raise InputError(f"library {library}: is not installed ({error}); run: pip install {library}") from None
    raise InputError(f"library {library!r}: there is no such library{nearest(library, get_args(Library))}")
