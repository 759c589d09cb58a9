"""`mesoforge query`: SQL over a folder of results."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Annotated

import typer

from cluster.terminal import Bar, kept_on_interrupt, phase, table
from engine.errors import InputError
from engine.metrics import nearest

LONG_S = 2.0
"""After which a query shows a bar."""


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
    with kept_on_interrupt("the folder is as it was"), _long() as on_progress:
        found = run_query(folder, sql, on_progress)
    written = format_table(found, format)
    if format == "parquet":
        sys.stdout.buffer.write(written)
    else:
        sys.stdout.write(written.decode())


@contextmanager
def _long() -> Iterator[Callable[[float], None]]:
    """A bar for queries that take a while, on a terminal."""
    started = time.monotonic()
    with ExitStack() as stack:
        bars: list[Bar] = []

        def on_progress(percent: float) -> None:
            if time.monotonic() - started < LONG_S or percent <= 0 or not sys.stderr.isatty():
                return
            if not bars:
                bars.append(stack.enter_context(phase("query", 100, unit="%")))
            bars[0].update(int(percent))

        yield on_progress
