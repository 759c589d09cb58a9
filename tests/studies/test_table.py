"""studies.table: rows on disk, whatever their phases and versions."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from actors.rows import Row, request_columns
from engine.errors import InputError
from engine.metrics import KINDS
from engine.request import Request
from studies.table import (
    SCHEMA_VERSION,
    append_rows,
    read_structures,
    rows_of_trials,
    rows_to_table,
    set_damaged_aside,
    structure_schema,
    write_rows,
)
from tests.studies.fakes import PHASES, made_up_row


def row(name: str, **values: object) -> Row:
    return {"structure_id": name, "seed": 1, "status": "attained", **values}


def test_every_column_says_its_unit_and_meaning() -> None:
    schema = structure_schema(PHASES)
    for field in schema:
        assert set(field.metadata) == {b"unit", b"meaning"} and field.metadata[b"meaning"]
        if field.name.endswith("_s"):
            assert field.metadata[b"unit"] == b"s"
        if field.name.endswith("_um"):
            assert field.metadata[b"unit"] == b"um"
        if field.name.endswith("_per_voxel"):
            assert field.metadata[b"unit"] == b"1/voxel"
    for kind in KINDS.values():
        columns = [name for name in schema.names if name.startswith(f"{kind.name}_")]
        enough = len(PHASES) >= kind.least_phases and kind.needs != "function"
        phases, axes = len(PHASES) if kind.takes_phase else 1, len(kind.directions) or 1
        assert len(columns) == 2 * enough * phases * axes  # the value and its outcome


def test_a_function_of_the_user_s_own_has_a_column_where_it_was_measured(tmp_path: Path) -> None:
    measured = row("a", property_mine=0.2, property_mine_outcome="measured", properties=["mine=models:mine"])
    write_rows(tmp_path, [measured, row("b")], PHASES)
    table = read_structures(tmp_path)
    assert table["property_mine"].to_pylist() == [0.2, None]
    assert b"function mine" in table.schema.field("property_mine").metadata[b"meaning"]


def test_a_mean_of_the_axes_has_a_column_where_it_was_asked_for(tmp_path: Path) -> None:
    asked = row("a", diffusivity_pore=0.2, diffusivity_pore_outcome="converged")
    assert "diffusivity_pore" not in structure_schema(PHASES).names
    write_rows(tmp_path, [asked, row("b")], PHASES)
    write_rows(tmp_path, [row("c")], PHASES)
    assert read_structures(tmp_path)["diffusivity_pore"].to_pylist() == [0.2, None, None]


def test_rows_come_back_with_schema_and_nulls_for_what_they_lack(tmp_path: Path) -> None:
    path = write_rows(tmp_path, [row("a", fraction_pore=0.2, targets=["x"], trial=3)], PHASES)
    assert path.parent.name == "structures"
    assert int(pq.read_schema(path).metadata[b"mesoforge_structures_version"]) == SCHEMA_VERSION
    table = read_structures(tmp_path)
    assert table.schema.equals(structure_schema(PHASES), check_metadata=True)
    [found] = table.to_pylist()
    assert found["fraction_pore"] == 0.2 and found["targets"] == ["x"]
    assert found["fraction_solid"] is None and found["steps"] is None


def test_a_seed_near_the_limit_is_kept_exactly(tmp_path: Path) -> None:
    write_rows(tmp_path, [row("a", seed=2**63 - 1)], PHASES)
    assert read_structures(tmp_path)["seed"].to_pylist() == [2**63 - 1]


def test_numpy_scalars_are_values_too() -> None:
    found = rows_to_table([row("a", fraction_pore=np.float32(0.25), shape_z=np.int64(8))], PHASES).to_pylist()[0]
    assert (found["fraction_pore"], found["shape_z"]) == (0.25, 8)


def test_a_column_without_a_place_is_a_bug_and_not_dropped() -> None:
    with pytest.raises(AssertionError, match="fraction_binder"):
        rows_to_table([row("a", fraction_binder=0.1)], PHASES)


def test_the_last_row_of_a_structure_wins_and_none_counts_twice(tmp_path: Path) -> None:
    write_rows(tmp_path, [row("a", fraction_pore=0.1), row("b", fraction_pore=0.2)], PHASES)
    write_rows(tmp_path, [row("c", fraction_pore=0.3), row("a", fraction_pore=0.4)], PHASES)
    table = read_structures(tmp_path)
    assert dict(zip(table["structure_id"].to_pylist(), table["fraction_pore"].to_pylist(), strict=True)) == {
        "a": 0.4,
        "b": 0.2,
        "c": 0.3,
    }


def test_files_of_other_phases_and_versions_read_as_one(tmp_path: Path) -> None:
    write_rows(tmp_path, [row("a", fraction_pore=0.1)], PHASES)
    write_rows(tmp_path, [row("b", fraction_ni=0.3)], ("ni", "ysz", "pore"))
    newer = rows_to_table([row("c", fraction_pore=0.2)], PHASES)
    newer = newer.append_column("grain_size_um", pa.array([1.5]))
    version = str(SCHEMA_VERSION + 1).encode()
    newer = newer.replace_schema_metadata({b"mesoforge_structures_version": version}).drop_columns(["seed"])
    pq.write_table(newer, tmp_path / "structures" / "zz.parquet")
    table = read_structures(tmp_path)
    assert table["fraction_pore"].to_pylist() == [0.1, None, 0.2]
    assert table["fraction_ni"].to_pylist() == [None, 0.3, None]
    assert table["grain_size_um"].to_pylist() == [None, None, 1.5]
    assert table["seed"].to_pylist() == [1, 1, None]
    assert table.schema.metadata[b"mesoforge_structures_version"] == version
    assert table.schema.field("fraction_ni").metadata[b"meaning"]


def test_half_written_files_are_not_seen(tmp_path: Path) -> None:
    path = write_rows(tmp_path, [row("a")], PHASES)
    data = path.read_bytes()
    (tmp_path / ".tmp" / "structures-x.parquet.1.abcd").write_bytes(data[: len(data) // 2])
    (path.parent / ".hidden.parquet").write_bytes(data[:9])
    assert read_structures(tmp_path)["structure_id"].to_pylist() == ["a"]


def test_a_damaged_or_foreign_file_is_named(tmp_path: Path) -> None:
    path = write_rows(tmp_path, [row("a")], PHASES)
    other = path.parent / "other.parquet"
    other.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(InputError, match=r"other\.parquet: cannot be read as a table"):
        read_structures(tmp_path)
    pq.write_table(pa.table({"x": [1]}), other)
    with pytest.raises(InputError, match="no column structure_id"):
        read_structures(tmp_path)


def test_a_folder_without_structures_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no structures"):
        read_structures(tmp_path)
    (tmp_path / "structures").mkdir()
    assert read_structures(tmp_path).num_rows == 0


def test_rows_are_appended_to_the_single_file(tmp_path: Path) -> None:
    append_rows(tmp_path, [row("a", fraction_pore=0.1)], PHASES)
    append_rows(tmp_path, [row("b"), row("a", fraction_pore=0.2)], PHASES)
    path = append_rows(tmp_path, [row("c", fraction_ni=0.3)], ("ni",))
    assert path.name == "structures.parquet"
    table = read_structures(tmp_path)
    assert sorted(table["structure_id"].to_pylist()) == ["a", "b", "c"]
    assert sorted(value for value in table["fraction_pore"].to_pylist() if value) == [0.2]
    assert list((tmp_path / ".tmp").iterdir()) == []


def test_rows_of_trials(tmp_path: Path) -> None:
    write_rows(tmp_path, [row("a", trial=0), row("b", trial=1), row("c", trial=2), row("d")], PHASES)
    table = read_structures(tmp_path)
    assert [found["structure_id"] for found in rows_of_trials(table, [2, 0, 9])] == ["a", "c"]
    assert rows_of_trials(table, []) == []


def test_everything_asked_of_a_structure_has_a_column() -> None:
    asked = request_columns(Request(structure_id="a", bundle="berea", shape=(8, 8, 8), seed=1))
    assert asked.keys() <= set(structure_schema(("pore",)).names)


@pytest.mark.parametrize("damage", ["cut", "zeros", "garbage"])
def test_a_damaged_file_of_rows_is_set_aside_wherever_it_is_damaged(tmp_path: Path, damage: str) -> None:
    """Read wrongly it must never be: either it is refused, or every value is what was written."""
    row = made_up_row(Request(structure_id="a", bundle="berea", shape=(8, 8, 8), seed=1))
    path = write_rows(tmp_path, [row], PHASES)
    whole, expected = path.read_bytes(), read_structures(tmp_path).to_pylist()
    step = max(1, len(whole) // 150)
    for place in range(0, len(whole), step):
        changed = {
            "cut": whole[:place],
            "zeros": whole[:place] + bytes(min(16, len(whole) - place)) + whole[place + 16 :],
            "garbage": whole[:place] + bytes([whole[place] ^ 0xA5]) + whole[place + 1 :],
        }[damage]
        path.write_bytes(changed)
        if set_damaged_aside(tmp_path):
            assert not path.exists() and read_structures(tmp_path).num_rows == 0
        else:
            assert damage != "cut" and read_structures(tmp_path).to_pylist() == expected, place
