"""studies.query: SQL over results, and what SQL must not do."""

import shutil
import time
from pathlib import Path

import numpy as np
import pytest

from actors.places import ObjectStore, settle
from actors.volumes import CURVES, VOLUMES, VolumeWriter
from engine.errors import InputError, WorkError
from studies import open as open_results
from studies.folder import JOURNAL
from studies.loop import run_study
from studies.query import best_rows, query, schema
from studies.table import append_rows
from tests.actors.s3_server import s3_server
from tests.studies.fakes import PHASES, FakePool, study


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished study with volumes and curves, in a folder whose name SQL and globs could trip over."""
    out = tmp_path_factory.mktemp("it's [a] study*")
    pool = FakePool()
    run_study(study(trials=6, sampler="qmc"), out, pool)
    writer = VolumeWriter(out)
    for request in pool.submitted:
        labels = np.zeros((4, 4, 4), np.uint8)
        writer.write(request.structure_id, labels, None, {"s2[pore]": np.ones(3, np.float32)})
    return out


def test_the_four_views_join(folder: Path) -> None:
    table = query(
        folder,
        """SELECT structure_id, s.trial, t.value, v.shape_z, c.curve FROM structures s JOIN trials t USING (trial)
        JOIN volumes v USING (structure_id) JOIN curves c USING (structure_id)""",
    )
    assert table.num_rows == 12
    assert set(table["shape_z"].to_pylist()) == {4} and set(table["curve"].to_pylist()) == {"s2"}


def test_curves_and_volumes_in_an_object_store_are_queried_where_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    with s3_server() as s3:
        store, pool = ObjectStore(s3.uri("studies/one")), FakePool()
        run_study(study(trials=2, sampler="qmc"), tmp_path, pool)
        settle(tmp_path, store)
        empty = query(tmp_path, "SELECT (SELECT count(*) FROM volumes) + (SELECT count(*) FROM curves) AS n")
        assert empty.to_pylist() == [{"n": 0}]
        writer, labels = VolumeWriter(store), np.ones((4, 4, 4), np.uint8)
        for request in pool.submitted:
            writer.write(request.structure_id, labels, 2.5, {"s2[pore]": np.ones(3, np.float32)})
        assert query(tmp_path, "SELECT * FROM structures JOIN trials USING (trial)").num_rows == 4
        assert s3.listed == []
        found = query(
            tmp_path,
            """SELECT structure_id, v.voxel_size_um, c.curve, len(c.value) AS lags FROM structures s
            JOIN volumes v USING (structure_id) JOIN curves c USING (structure_id)""",
        )
        assert [list(row.values())[1:] for row in found.to_pylist()] == [[2.5, "s2", 3]] * 4
        frame = open_results(tmp_path).volumes("arrow")
        assert set(frame["structure_id"].to_pylist()) == {request.structure_id for request in pool.submitted}
        assert "packed" not in frame.column_names
        with pytest.raises(InputError, match="only SELECT"):
            query(tmp_path, "COPY volumes TO 'x.parquet'")
    with pytest.raises(WorkError, match="could not be listed"):
        query(tmp_path, "SELECT * FROM volumes")


def test_a_folder_of_single_commands_is_queried_too(tmp_path: Path) -> None:
    append_rows(tmp_path, [{"structure_id": "a", "status": "missed", "fraction_pore": 0.2}], PHASES)
    found = query(tmp_path, "SELECT fraction_pore, (SELECT count(*) FROM volumes) AS volumes FROM structures")
    assert found.to_pylist() == [{"fraction_pore": 0.2, "volumes": 0}]
    assert query(tmp_path, "SELECT * FROM trials").num_rows == 0


def test_a_running_study_with_a_torn_journal_is_queried(folder: Path, tmp_path: Path) -> None:
    lines = (folder / JOURNAL).read_bytes().splitlines(keepends=True)
    (tmp_path / JOURNAL).write_bytes(b"".join(lines[:6]) + lines[6][:9])
    states = query(tmp_path, "SELECT DISTINCT state FROM trials").to_pylist()
    assert states == [{"state": "running"}]
    assert query(tmp_path, "SELECT count(*) AS n FROM structures").to_pylist() == [{"n": 0}]


@pytest.mark.parametrize("sql", ["DESCRIBE structures", "FROM trials", "WITH x AS (SELECT 1) FROM x", "VALUES (1);"])
def test_other_forms_of_select_work(folder: Path, sql: str) -> None:
    assert query(folder, sql).num_rows > 0


def test_equal_names_are_told_apart(folder: Path) -> None:
    assert query(folder, "SELECT 1 AS a, 2 AS a, 3 AS a").to_pylist() == [{"a": 1, "a_2": 2, "a_3": 3}]


FORBIDDEN = [
    "SELECT * FROM '/etc/passwd'",
    "SELECT * FROM read_csv('/etc/passwd')",
    "SELECT * FROM read_text('/etc/passwd')",
    "SELECT * FROM read_text('{out}/../secret.txt')",
    "SELECT * FROM glob('/etc/*')",
    "SELECT * FROM read_parquet('http://127.0.0.1:1/x.parquet')",
    "COPY (SELECT 1) TO '/tmp/mesoforge-copy.csv'",
    "COPY (SELECT 1) TO '{out}/copy.csv'",
    "EXPLAIN ANALYZE COPY (SELECT 1) TO '{out}/copy.csv'",
    "SELECT * FROM query('COPY (SELECT 1) TO ''{out}/copy.csv''')",
    "ATTACH '{out}/new.db'",
    "ATTACH '/tmp/mesoforge-new.db'",
    "EXPORT DATABASE '{out}/export'",
    "INSTALL httpfs",
    "LOAD httpfs",
    "SET enable_external_access = true",
    "SET lock_configuration = false",
    "RESET ALL",
    "CREATE TABLE x AS SELECT 1",
    "DROP VIEW structures",
    "PRAGMA database_list",
    "SELECT 1; COPY (SELECT 1) TO '{out}/copy.csv'",
    "SELECT * FROM pool",
]


@pytest.mark.parametrize("sql", FORBIDDEN)
def test_a_query_reads_the_folder_and_nothing_else(folder: Path, sql: str) -> None:
    (folder.parent / "secret.txt").write_text("secret")
    pool = query(folder, "SELECT 1")  # a Python variable that DuckDB could find
    assert pool.num_rows == 1
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    with pytest.raises(InputError) as caught:
        query(folder, sql.format(out=str(folder.resolve()).replace("'", "''")))
    assert str(caught.value).startswith("query: ") and "\n" not in str(caught.value)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before
    assert not Path("/tmp/mesoforge-copy.csv").exists() and not Path("/tmp/mesoforge-new.db").exists()


def test_a_wrong_column_names_the_nearest(folder: Path) -> None:
    with pytest.raises(InputError, match=r"query: .*\"fraction_prore\" not found.*fraction_pore"):
        query(folder, "SELECT fraction_prore FROM structures")
    with pytest.raises(InputError, match=r"query: Parser Error: syntax error at or near \"structures\""):
        query(folder, "SELECT 1 FORM structures")


@pytest.mark.parametrize("sql", ["", " -- nothing"])
def test_no_statement_is_refused(folder: Path, sql: str) -> None:
    with pytest.raises(InputError, match="give one SELECT, not 0 statements"):
        query(folder, sql)


def test_a_folder_without_results_is_refused(tmp_path: Path) -> None:
    for out in (tmp_path, tmp_path / "absent"):
        for call in (schema, best_rows_of, select_one):
            with pytest.raises(InputError, match="give the --out folder of a sweep"):
                call(out)


def best_rows_of(out: Path) -> None:
    best_rows(out, 3)


def select_one(out: Path) -> None:
    query(out, "SELECT 1")


def test_the_schema_is_what_the_views_have(folder: Path) -> None:
    rows = schema(folder)
    for view in ("structures", "trials", CURVES, VOLUMES):
        described = [column for name, column, *_ in rows if name == view]
        assert query(folder, f"SELECT * FROM {view} LIMIT 0").column_names == described
    assert all(meaning for *_, meaning in rows)
    units = {(view, column): unit for view, column, _, unit, _ in rows}
    assert units["structures", "surface_area_pore_per_voxel"] == "1/voxel"
    assert units["volumes", "voxel_size_um"] == "um"


def test_the_best_rows_are_feasible_and_in_order(folder: Path) -> None:
    rows = best_rows(folder, 3).to_pylist()
    assert list(rows[0])[:6] == ["structure_id", "trial", "sample", "status", "diffusivity_pore_z", "fraction_pore"]
    values = query(
        folder, "SELECT diffusivity_pore_z FROM structures WHERE fraction_pore <= 0.2 ORDER BY 1 DESC LIMIT 3"
    )
    assert [row["diffusivity_pore_z"] for row in rows] == values["diffusivity_pore_z"].to_pylist()
    assert all(row["fraction_pore"] <= 0.2 for row in rows)


def test_the_best_rows_of_several_objectives_are_by_pareto_rank(tmp_path: Path) -> None:
    both = '[{maximize: "diffusivity[pore,z]"}, {minimize: "fraction[pore]"}]'
    run_study(study(trials=6, objective=None, objectives=both, constraints=None), tmp_path, FakePool())
    everything = best_rows(tmp_path, 100)
    assert everything.column_names[:5] == ["structure_id", "trial", "sample", "status", "rank"]
    rows = everything.to_pylist()
    points = [(row["diffusivity_pore_z"], -row["fraction_pore"]) for row in rows]
    for row, (d, f) in zip(rows, points, strict=True):
        beaten = any(a >= d and b >= f and (a, b) != (d, f) for a, b in points)
        assert beaten == (row["rank"] > 1)
    assert [row["rank"] for row in rows] == sorted(row["rank"] for row in rows) and len(rows) == 12
    assert best_rows(tmp_path, 3).to_pylist() == rows[:3]


def test_a_map_has_no_best_rows(tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text('name: toy\nmap: {"fraction[pore]": {low: 0.1, high: 0.5}}\n')
    assert best_rows(tmp_path, 3).num_rows == 0


def test_best_rows_of_a_study_without_structures_are_none(tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text(study().text())
    table = best_rows(tmp_path, 3)
    assert table.num_rows == 0 and table.column_names == ["structure_id", "trial", "sample", "status"]


@pytest.mark.parametrize("name", [CURVES, VOLUMES])
def test_a_damaged_file_is_named_with_a_remedy(folder: Path, tmp_path: Path, name: str) -> None:
    shutil.copytree(folder, tmp_path / "copy")
    victim = sorted((tmp_path / "copy" / name).glob("*.parquet"))[0]
    victim.write_bytes(b"PAR1 not whole")
    with pytest.raises(InputError, match=f"{victim.name}: cannot be read as a table .*; restore it or move it away"):
        query(tmp_path / "copy", f"SELECT count(*) FROM {name}")
    victim.unlink()
    assert query(tmp_path / "copy", f"SELECT count(*) AS n FROM {name}")["n"].to_pylist() == [11]


def test_a_long_query_tells_progress_and_is_interrupted_at_once(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    seen: list[float] = []

    def interrupt(percent: float) -> None:
        seen.append(percent)
        if percent > 0:
            raise KeyboardInterrupt

    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        query(folder, "SELECT count(*) FROM range(100000000000) a WHERE hash(a.range) = 5", interrupt)
    assert 0 < seen[-1] < 100 and time.monotonic() - started < 60
    assert capfd.readouterr().out == "", "DuckDB's own bar would go to stdout"
