"""studies.open, and the files themselves in other people's readers: the same answer from each, across versions."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import polars
import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet as pq
import pytest

import studies
from actors.volumes import VolumeWriter
from engine.errors import InputError
from engine.export.volumes import write_volume
from studies.compact import compact
from studies.loop import run_study
from studies.table import SCHEMA_VERSION, append_rows, read_structures, rows_to_table, write_rows
from tests.studies.fakes import PHASES, FakePool, study

FIRST_VERSION = Path(__file__).parent / "data" / "structures-1.parquet"
"""Three rows as the first version of the schema wrote them, one of them failed, with a seed beyond float64."""


@pytest.fixture
def two_versions(tmp_path: Path) -> Path:
    """The rows of the first version, one of this, and one of a version to come: a new column, one gone, one wider."""
    (tmp_path / "structures").mkdir()
    shutil.copy(FIRST_VERSION, tmp_path / "structures" / "0.parquet")
    write_rows(tmp_path, [{"structure_id": "now", "seed": 2**62 + 1, "trial": 7, "fraction_pore": 0.25}], PHASES)
    newer = rows_to_table([{"structure_id": "next", "status": "attained", "sample": 3}], PHASES)
    newer = newer.drop_columns(["device"]).append_column("grain_size_um", pa.array([1.5]))
    newer = newer.replace_schema_metadata({b"mesoforge_structures_version": str(SCHEMA_VERSION + 1).encode()})
    pq.write_table(newer, tmp_path / "structures" / "zz.parquet")
    return tmp_path


def with_arrow(out: Path) -> pa.Table:
    files = sorted((out / "structures").glob("*.parquet"))
    schema = pa.unify_schemas([pq.read_schema(file) for file in files])
    return pyarrow.dataset.dataset([str(file) for file in files], schema=schema).to_table()


def with_polars(out: Path) -> pa.Table:
    files = sorted((out / "structures").glob("*.parquet"))
    return polars.concat([polars.read_parquet(file) for file in files], how="diagonal_relaxed").to_arrow()


def with_pandas(out: Path) -> pa.Table:
    files = sorted((out / "structures").glob("*.parquet"))
    frames = [pandas.read_parquet(file, dtype_backend="pyarrow") for file in files]
    return pa.Table.from_pandas(pandas.concat(frames), preserve_index=False)


@pytest.mark.parametrize("read", [with_arrow, with_polars, with_pandas])
@pytest.mark.parametrize("compacted", [False, True])
def test_the_files_of_two_versions_read_the_same_everywhere(two_versions: Path, read: Any, compacted: bool) -> None:
    ours = read_structures(two_versions)
    assert ours["structure_id"].to_pylist()[3:] == ["now", "next"] and ours.num_rows == 5
    assert ours["seed"].to_pylist()[1] == 2**63 - 25
    if compacted:
        compact(two_versions)
    theirs = read(two_versions)
    assert set(theirs.column_names) == set(ours.column_names)
    for name in ours.column_names:
        assert theirs[name].to_pylist() == ours[name].to_pylist(), name


def test_the_first_version_has_every_column_that_it_had(two_versions: Path) -> None:
    names = pq.read_schema(FIRST_VERSION).names
    assert set(names) <= set(read_structures(two_versions).column_names)
    assert pq.read_schema(FIRST_VERSION).metadata[b"mesoforge_structures_version"] == b"1"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished study with volumes and curves."""
    out = tmp_path_factory.mktemp("study")
    pool = FakePool()
    run_study(study(trials=3, sampler="qmc"), out, pool)
    for number, request in enumerate(pool.submitted):
        labels = np.full((2, 3, 4), number % 2, np.uint8)
        labels[0, 0, 0] = 1
        VolumeWriter(out).write(request.structure_id, labels, 2.0, {"s2[pore]": np.linspace(1, 0, 3)})
    return out


def test_tables_are_data_frames_with_the_same_content(folder: Path) -> None:
    results = studies.open(folder)
    for name, rows in (("structures", 6), ("curves", 6), ("volumes", 6), ("trials", 3)):
        arrow, frame, polar = (getattr(results, name)(library) for library in ("arrow", "pandas", "polars"))
        assert isinstance(frame, pandas.DataFrame) and isinstance(polar, polars.DataFrame)
        assert arrow.num_rows == len(frame) == len(polar) == rows
        assert arrow.column_names == list(frame.columns) == polar.columns
        assert polar.to_arrow().to_pylist() == arrow.to_pylist()
    frame = results.structures()
    assert frame["seed"].dtype == pandas.Int64Dtype()
    assert frame["seed"].tolist() == results.structures("arrow")["seed"].to_pylist()
    assert frame["fraction_pore"].dtype == np.float64 and frame["fraction_pore"].mean() > 0
    assert "packed" not in results.volumes().columns


def test_a_missing_integer_leaves_the_others_whole(tmp_path: Path) -> None:
    write_rows(tmp_path, [{"structure_id": "a", "seed": 2**63 - 25}, {"structure_id": "b"}], PHASES)
    frame = studies.open(tmp_path).structures()
    assert frame["seed"][0] == 2**63 - 25 and frame["seed"].isna().tolist() == [False, True]


def test_volumes_are_arrays(folder: Path) -> None:
    results = studies.open(folder)
    name = results.structures()["structure_id"][0]
    labels = results.volume(name)
    assert labels.shape == (2, 3, 4) and labels.dtype == np.uint8 and labels[0, 0, 0] == 1
    labels[:] = 0  # the caller's own
    with pytest.raises(InputError, match="holds no volume"):
        results.volume("nothing")


@pytest.mark.parametrize("suffix", ["tif", "npy"])
def test_volumes_of_single_commands_are_their_files(tmp_path: Path, suffix: str) -> None:
    labels = np.arange(24, dtype=np.uint8).reshape(2, 3, 4) % 3
    append_rows(tmp_path, [{"structure_id": "a"}], PHASES)
    write_volume(labels, tmp_path / f"a.{suffix}")
    assert (studies.open(tmp_path).volume("a") == labels).all()


def test_queries_and_schema(folder: Path) -> None:
    results = studies.open(str(folder))
    assert results.query("SELECT count(*) AS n FROM structures", "arrow").to_pylist() == [{"n": 6}]
    schema = results.schema()
    assert set(schema["view"]) == {"structures", "curves", "volumes", "trials"}
    assert (schema["meaning"].str.len() > 0).all()


def test_what_cannot_be_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        studies.open(tmp_path / "none")
    with pytest.raises(InputError, match="holds no results"):
        studies.open(tmp_path)
    with pytest.raises(InputError, match=r"library 'panda'.*did you mean 'pandas'"):
        studies.open(folder).structures("panda")  # type: ignore[arg-type]
