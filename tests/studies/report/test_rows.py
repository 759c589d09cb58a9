"""studies.report.rows: what the report reads from a folder."""

from pathlib import Path

import numpy as np
import pytest

from engine.errors import InputError
from engine.metrics import Metric
from studies.report.rows import STATUSES, Rows
from studies.table import append_rows, write_rows
from tests.studies.fakes import PHASES
from tests.studies.made_up import make_up


def test_columns_have_names_units_and_values(tmp_path: Path) -> None:
    make_up(tmp_path, trials=3, samples=2, volumes=0)
    rows = Rows(tmp_path)
    assert len(rows) == 6 and rows.phases == ["pore", "solid"]
    area = rows.columns[rows.place("surface_area[pore]") or 0]
    assert (area.name, area.unit) == ("surface_area_pore_per_voxel", "1/voxel") and area.meaning
    assert rows.place("surface_area_pore_per_voxel") == rows.place("surface_area[pore]")
    assert rows.place("mean_chord[pore,z]") is None, "a column without any value is left out"
    assert [str(metric) for metric, more in rows.objectives if more] == ["diffusivity[pore,z]"]
    assert [str(target) for target in rows.constraints] == ["fraction[pore]<=0.2"]
    assert [str(metric) for metric in rows.searched] == ["fraction[pore]", "diffusivity[pore,z]"]


def test_targets_and_missing_numbers(tmp_path: Path) -> None:
    append_rows(
        tmp_path,
        [
            {"structure_id": "a", "status": "attained", "targets": ["fraction[pore]>=0.1"], "fraction_pore": 0.3},
            {"structure_id": "b", "status": "failed", "fraction_pore": float("nan"), "seed": 2**63 - 25},
        ],
        PHASES,
    )
    rows = Rows(tmp_path)
    low, high = rows.asked(Metric("fraction", "pore"))
    assert low[0] == 0.1 and np.isinf(high[0]) and np.isnan(low[1])
    assert [STATUSES[code] for code in rows.status] == ["attained", "failed"]
    assert np.isnan(rows.columns[0].values[1]) and rows.texts("seed") == ["", str(2**63 - 25)]
    assert rows.objectives == [] and rows.study_text == ""


def test_a_folder_without_rows_is_refused(tmp_path: Path) -> None:
    write_rows(tmp_path, [], PHASES)
    with pytest.raises(InputError, match="holds no structures yet"):
        Rows(tmp_path)
