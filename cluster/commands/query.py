"""`mesoforge query`: SQL over a folder of results."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from cluster.terminal import table
from engine.errors import InputError
from engine.metrics import nearest


def query(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of a sweep, reconstruct or design.")],
    sql: Annotated[
        str | None, typer.Argument(metavar="SELECT", help="One SELECT over structures, curves, volumes, trials.")
    ] = None,
    format: Annotated[str, typer.Option("--format", metavar="NAME", help="table, csv, json or parquet.")] = "table",
    schema: Annotated[bool, typer.Option("--schema", help="List what can be queried, with units.")] = False,
) -> None:
    """Ask a folder of results with SQL; it is only read. Works while a sweep runs.

    \b
    Examples:
      mesoforge query runs/berea_transport --schema
      mesoforge query runs/berea_transport "SELECT status, count(*) FROM structures GROUP BY status"
      mesoforge query volumes "SELECT * FROM structures" --format csv > structures.csv
    """
    from studies.formats import FORMATS, format_table
    from studies.query import query as run_query
    from studies.query import schema as list_schema

    if schema == (sql is not None):
        raise InputError("query: give either a SELECT or --schema")
    if format not in FORMATS:
        raise InputError(f"--format {format}: there is no such format{nearest(format, FORMATS)}")
    if sql is None:
        print(table(["view", "column", "type", "unit", "meaning"], list_schema(folder)))
        return
    if format == "parquet" and sys.stdout.isatty():
        raise InputError("--format parquet: is binary; send it to a file: mesoforge query ... > result.parquet")
    written = format_table(run_query(folder, sql), format)
    if format == "parquet":
        sys.stdout.buffer.write(written)
    else:
        sys.stdout.write(written.decode())
