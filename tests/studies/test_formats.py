"""studies.formats: a table for the eye and for other programs."""

import csv
import io
import json
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from engine.errors import InputError
from studies.formats import format_table

TABLE = pa.table(
    {
        "name": ["a", "long, name", None],
        "number": [0.123456789, float("nan"), None],
        "count": [1, 20, 300],
        "targets": [["x", "y"], [], None],
        "packed": [b"\x00\xff", None, b""],
        "when": [datetime(2026, 1, 2, tzinfo=UTC), None, None],
    }
)


def test_text_is_aligned_numbers_to_the_right() -> None:
    lines = format_table(TABLE.select(["name", "number", "count", "targets"]), "table").decode().splitlines()
    assert lines == [
        "name          number  count  targets",
        "----------  --------  -----  -------",
        "a           0.123457      1  x, y",
        "long, name       nan     20",
        "                        300",
    ]


def test_a_long_text_is_cut() -> None:
    text = format_table(pa.table({"x": ["w" * 500]}), "table").decode()
    assert max(map(len, text.splitlines())) == 60 and "..." in text


def test_csv_reads_back() -> None:
    rows = list(csv.DictReader(io.StringIO(format_table(TABLE, "csv").decode())))
    assert [row["name"] for row in rows] == ["a", "long, name", ""]
    assert json.loads(rows[0]["targets"]) == ["x", "y"] and rows[0]["packed"] == "00ff"
    assert float(rows[0]["number"]) == 0.123456789


def test_json_is_strict() -> None:
    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is no JSON")

    rows = json.loads(format_table(TABLE, "json"), parse_constant=refuse)
    assert rows[0]["targets"] == ["x", "y"] and rows[0]["packed"] == "00ff"
    assert rows[1]["number"] is None and rows[0]["when"].startswith("2026-01-02")


def test_parquet_reads_back() -> None:
    assert pq.read_table(io.BytesIO(format_table(TABLE, "parquet"))).drop_columns("number") == TABLE.drop_columns(
        "number"
    )


def test_an_empty_table_keeps_its_header() -> None:
    empty = TABLE.slice(0, 0)
    assert format_table(empty, "table").decode().startswith("name")
    assert format_table(empty, "csv").decode().startswith('"name"')
    assert json.loads(format_table(empty, "json")) == []


def test_an_unknown_format_is_refused() -> None:
    with pytest.raises(InputError, match="format 'xml': must be table, csv, json or parquet"):
        format_table(TABLE, "xml")
