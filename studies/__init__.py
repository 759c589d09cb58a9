"""What to search, the loop over a pool, and what came of it: `studies.open(DIR)` gives a folder's results as tables."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from studies.results import Results


def open(folder: "str | Path") -> "Results":
    """The results in the folder of a sweep, `reconstruct` or `design`; see `studies.results.Results`.

    Raises:
        InputError: no such folder, or no results in it.
    """
    from studies.results import Results

    return Results(folder)
