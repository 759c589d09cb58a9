"""Tables as text or bytes for the command line."""

import io
import json
import math
from typing import Any

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from engine.errors import InputError

FORMATS = ("table", "csv", "json", "parquet")
_CELL_WIDTH = 60  # a longer text would push the other columns off the screen


def format_table(table: pa.Table, fmt: str) -> bytes:
    """A table as `table` (aligned text), `csv`, `json` (a list of objects) or `parquet`.

    Raises:
        InputError: unknown format.
    """
    if fmt == "table":
        return _aligned(table).encode()
    if fmt == "json":
        rows = [_json_ready(row) for row in table.to_pylist()]
        return (json.dumps(rows, ensure_ascii=False, indent=1, allow_nan=False) + "\n").encode()
    sink = io.BytesIO()
    if fmt == "csv":
        pa_csv.write_csv(_flat(table), sink)
    elif fmt == "parquet":
        pq.write_table(table, sink, compression="zstd")
    else:
        raise InputError(f"format '{fmt}': must be {', '.join(FORMATS[:-1])} or {FORMATS[-1]}")
    return sink.getvalue()


def _json_ready(value: Any) -> Any:
    """JSON knows no bytes (hexadecimal text), no times (ISO text) and no NaN (null)."""
    if isinstance(value, dict):
        return {key: _json_ready(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_json_ready(item) for item in value]
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, bool | int | str) else str(value)


def _aligned(table: pa.Table) -> str:
    """Columns side by side, numbers to the right."""
    numbers = [pa.types.is_integer(field.type) or pa.types.is_floating(field.type) for field in table.schema]
    columns = [
        [name, *map(_cell, column.to_pylist())] for name, column in zip(table.column_names, table.columns, strict=True)
    ]
    widths = [max(map(len, column)) for column in columns]
    padded = [
        [text.rjust(width) if number else text.ljust(width) for text in (column[0], "-" * width, *column[1:])]
        for column, width, number in zip(columns, widths, numbers, strict=True)
    ]
    return "".join("  ".join(line).rstrip() + "\n" for line in zip(*padded, strict=True))


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.6g}"
    text = ", ".join(map(_cell, value)) if isinstance(value, list) else str(_json_ready(value)).replace("\n", " ")
    return text if len(text) <= _CELL_WIDTH else text[: _CELL_WIDTH - 3] + "..."


def _flat(table: pa.Table) -> pa.Table:
    """CSV knows no lists and no bytes: lists become JSON text, bytes hexadecimal text."""
    columns = []
    for field, column in zip(table.schema, table.columns, strict=True):
        if pa.types.is_nested(field.type):
            texts = [None if value is None else json.dumps(_json_ready(value)) for value in column.to_pylist()]
        elif pa.types.is_binary(field.type) or pa.types.is_large_binary(field.type):
            texts = [None if value is None else value.hex() for value in column.to_pylist()]
        else:
            columns.append(column)
            continue
        columns.append(pa.chunked_array([pa.array(texts, pa.string())]))
    return pa.table(columns, names=table.column_names)
