import json
import subprocess
import sys
from pathlib import Path

import pytest

from studies.table import append_rows
from tests.cluster.conftest import Call


@pytest.fixture
def results(call: Call) -> Path:
    """A folder with two rows, as `reconstruct` writes it."""
    folder = Path("results")
    folder.mkdir()
    rows: list[dict[str, object]] = [
        {"structure_id": name, "fraction_pore": value, "status": "unguided"} for name, value in (("a", 0.1), ("b", 0.2))
    ]
    append_rows(folder, rows, ["pore", "solid"])
    return folder


SELECT = "SELECT structure_id, fraction_pore FROM structures ORDER BY structure_id"


def test_formats(call: Call, results: Path) -> None:
    assert call("query", results, SELECT).stdout.splitlines()[2].split() == ["a", "0.1"]
    assert call("query", results, SELECT, "--format", "csv").stdout.splitlines()[1:] == ['"a",0.1', '"b",0.2']
    rows = json.loads(call("query", results, SELECT, "--format", "json").stdout)
    assert rows == [{"structure_id": "a", "fraction_pore": 0.1}, {"structure_id": "b", "fraction_pore": 0.2}]


def test_parquet_is_binary_on_stdout(results: Path, repository: Path) -> None:
    code = "from cluster.cli import main; main()"
    command = [sys.executable, "-c", code, "query", str(results.resolve()), SELECT, "--format", "parquet"]
    data = subprocess.run(command, cwd=repository, capture_output=True, check=True).stdout
    assert data[:4] == b"PAR1" == data[-4:]


def test_schema_lists_columns_with_units(call: Call, results: Path) -> None:
    lines = [line.split() for line in call("query", results, "--schema").stdout.splitlines()]
    assert ["structures", "shape_z", "int32", "voxel"] in [line[:4] for line in lines]
    assert {line[0] for line in lines[2:]} >= {"structures", "curves", "volumes", "trials"}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["results"], ["--schema"]),
        (["results", SELECT, "--schema"], ["--schema"]),
        (["results", SELECT, "--format", "cvs"], ["cvs", "did you mean 'csv'"]),
        (["results", "SELECT fraction_por FROM structures"], ["fraction_por", "fraction_pore"]),
        (["results", "DROP VIEW structures"], ["SELECT"]),
        (["nowhere", SELECT], ["nowhere"]),
        (["..", SELECT], ["holds no results"]),
    ],
)
def test_refuses(refused: Call, results: Path, options: list[str], words: list[str]) -> None:
    line = refused("query", *options)
    assert all(word in line for word in words), line
