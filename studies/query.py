"""SQL over a folder of results, read-only: views structures, curves, volumes, trials.

DuckDB is locked down twice: one statement, and that a SELECT, is let through (with `allowed_directories` alone, a
COPY could overwrite a study's own files); and the engine may read below the folder and nowhere else.
"""

import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from actors.places import ObjectStore, place_of
from actors.volumes import CURVE_SCHEMA, CURVES, VOLUME_SCHEMA, VOLUMES
from engine.errors import InputError
from engine.metrics import parse_metric
from studies.dataset import Part, parts
from studies.folder import JOURNAL, STRUCTURES, STUDY_FILE
from studies.front import pareto_rank
from studies.table import SINGLE_FILE, read_structures, structure_schema
from studies.trials import trials_table
from studies.yaml_file import read_yaml

_MEANINGS: dict[str, tuple[str, str]] = {
    "structure_id": ("", "name of the structure"),
    "curve": ("", "name of the curve: s2, lineal_path, chord_length, pore_size"),
    "phase": ("", "phase that it belongs to"),
    "axis": ("", "direction; null where it is an average"),
    "r_voxels": ("voxel", "distances"),
    "value": ("", "values of the curve at these distances"),
    "shape_z": ("voxel", "size along z, array axis 0"),
    "shape_y": ("voxel", "size along y, array axis 1"),
    "shape_x": ("voxel", "size along x, array axis 2"),
    "voxel_size_um": ("um", "edge of a voxel; null where the source does not say"),
    "labels": ("", "labels that occur, sorted; packed voxels number them 0, 1, ..."),
    "bits_per_voxel": ("bit", "bit planes in packed"),
    "packed": ("", "packed voxels; `mesoforge export` unpacks them"),
    "sha256": ("", "sha256 of the uint8 labels in C order (z, y, x)"),
}
VIEWS = ("structures", "curves", "volumes", "trials")


def query(out: Path, sql: str, on_progress: Callable[[float], None] = lambda percent: None) -> pa.Table:
    """Run one SELECT over the folder of a sweep, reconstruct or design. An interrupt ends it at once.

    Args:
        out: the folder.
        sql: the statement.
        on_progress: called several times a second with the percentage done as DuckDB sees it, -1 where it does not.

    Raises:
        InputError: the folder holds no results; the statement is no SELECT or cannot be run (with what is wrong and,
            where DuckDB knows it, the nearest valid name).
    """
    check_results(out)
    for last_try in (False, True):
        try:
            table = _run(out, sql, on_progress)
            break
        except duckdb.IOException as error:  # a compaction may have removed a file that it has replaced
            if last_try:
                raise _refusal(error) from None
        except duckdb.Error as error:
            raise _refusal(error) from None
    return table.rename_columns(_distinct(table.column_names))


def _run(out: Path, sql: str, on_progress: Callable[[float], None]) -> pa.Table:
    with duckdb.connect(":memory:") as connection:
        _make_views(connection, out, sql)
        _lock_down(connection, out)
        statements = connection.extract_statements(sql)
        if len(statements) != 1:
            raise InputError(f"query: give one SELECT, not {len(statements)} statements")
        if statements[0].type is not duckdb.StatementType.SELECT:
            raise InputError("query: only SELECT is allowed here; results are never changed by a query")
        # In a thread of its own: DuckDB looks for Ctrl-C too rarely, and only in some of its operators.
        with ThreadPoolExecutor(1) as thread:
            running = thread.submit(lambda: connection.sql(sql).to_arrow_table())
            try:
                while not wait([running], timeout=0.2).done:
                    on_progress(connection.query_progress())
            except BaseException:
                connection.interrupt()
                raise
            return running.result()


def schema(out: Path) -> list[tuple[str, str, str, str, str]]:
    """What can be queried: (view, column, type, unit, meaning).

    Raises:
        InputError: the folder holds no results.
    """
    check_results(out)
    rows = []
    for view, fields in zip(
        VIEWS, (_structures(out).schema, CURVE_SCHEMA, VOLUME_SCHEMA, trials_table(out).schema), strict=True
    ):
        for field in fields:
            rows.append((view, field.name, str(field.type), *describe(field)))
    return rows


def describe(field: pa.Field) -> tuple[str, str]:
    """Unit and meaning of a column: what the file says of it, else what is known of columns of its name."""
    metadata = {key.decode(): value.decode() for key, value in (field.metadata or {}).items()}
    unit, meaning = ("", "") if metadata else _MEANINGS.get(field.name, ("", ""))
    return metadata.get("unit", unit), metadata.get("meaning", meaning)


def best_rows(out: Path, count: int) -> pa.Table:
    """The best structures of a study for the end of a sweep: of complete trials that meet every constraint, best first.

    With several objectives that is by Pareto rank (non-dominated sorting: rank 1 is beaten by none, rank 2 by those of
    rank 1 alone, and so on; Deb et al., IEEE Trans. Evol. Comput. 6, 182, 2002), then by the first objective. A map has
    no objective, hence no rows.

    Columns: structure_id, trial, sample, status, with several objectives rank, and the metrics that the study names,
    the objectives first.

    Raises:
        InputError: the folder holds no study.
    """
    document = _document(out)
    stated = [document["objective"]] if "objective" in document else document.get("objectives", [])
    directions = {metric: direction for each in stated for direction, metric in each.items()}
    named = [*directions, *document.get("search", {}), *document.get("targets", ()), *document.get("constraints", ())]
    metrics = [parse_metric(re.split("[<>=]", text)[0]) for text in named if not text.startswith("settings.")]
    there = set(_structures(out).column_names)
    columns = [column for column in dict.fromkeys(metric.column for metric in metrics) if column in there]
    goals = {parse_metric(text).column: direction == "maximize" for text, direction in directions.items()}
    fixed = ["structure_id", "trial", "sample", "status"]
    if not goals or not set(goals) <= there:
        return _structures(out).slice(0, 0).select([*fixed, *columns])
    quoted = ", ".join(f'"{column}"' for column in columns)
    first, more = next(iter(goals.items()))
    wanted = " AND ".join(f'"{column}" IS NOT NULL' for column in goals)
    found = query(
        out,
        f"""SELECT structure_id, trial, sample, status, {quoted}
        FROM structures JOIN (SELECT trial FROM trials WHERE state = 'complete' AND feasible) USING (trial)
        WHERE {wanted}
        ORDER BY "{first}" {"DESC" if more else "ASC"}, trial, sample"""
        + (f" LIMIT {int(count)}" if len(goals) == 1 else ""),
    )
    if len(goals) == 1:
        return found
    gains = np.stack([found[name].to_numpy() * (1 if more else -1) for name, more in goals.items()], axis=1)
    rank = pareto_rank(gains, count)
    order = [place for place in np.argsort(rank, kind="stable") if rank[place] > 0][:count]
    return found.take(order).add_column(len(fixed), "rank", pa.array(rank[order], pa.int64()))


def _document(out: Path) -> dict[str, Any]:
    try:
        text = (out / STUDY_FILE).read_text(encoding="utf-8")
    except OSError:
        raise InputError(f"{out}: holds no study; give the --out folder of a sweep") from None
    return read_yaml(text, str(out / STUDY_FILE))


def check_results(out: Path) -> None:
    """Raises InputError where `out` is no folder of results."""
    remedy = "give the --out folder of a sweep, reconstruct or design"
    if not out.is_dir():
        raise InputError(f"{out}: {'is a file, not a folder' if out.exists() else 'no such folder'}; {remedy}")
    if not any((out / name).exists() for name in (STUDY_FILE, JOURNAL, STRUCTURES, SINGLE_FILE)):
        raise InputError(f"{out}: holds no results; {remedy}")


def _make_views(connection: duckdb.DuckDBPyConnection, out: Path, sql: str) -> None:
    """Structures and trials are small and read here; curves and volumes stay where they are and are read as needed."""
    tables = {"structures": _structures(out), "trials": trials_table(out)}
    for name, empty in ((CURVES, CURVE_SCHEMA), (VOLUMES, VOLUME_SCHEMA)):
        found = parts(out, name)
        if found:
            _make_view(connection, name, found)
        else:
            tables[name] = empty.empty_table()
    for name, table in tables.items():
        connection.register(name, table)
    place = place_of(out)
    if isinstance(place, ObjectStore):
        for name in tables.keys() & {CURVES, VOLUMES}:
            if re.search(rf"\b{name}\b", sql, re.IGNORECASE):  # else the store is not even listed
                connection.register(name, place.dataset(name, tables[name].schema))


def _make_view(connection: duckdb.DuckDBPyConnection, name: str, found: list[Part]) -> None:
    """The rows that count; those that a later file holds too are left out."""
    hidden = [(str(part.path.resolve()), structure) for part in found for structure in sorted(part.hidden)]
    # union_by_name: files of different versions may have different columns
    relation = connection.read_parquet(
        [str(part.path.resolve()) for part in found],
        union_by_name=True,
        hive_partitioning=False,
        filename=bool(hidden),
    )
    if not hidden:
        relation.create_view(name)
        return
    files, structures = zip(*hidden, strict=True)
    connection.register(f"_hidden_{name}", pa.table({"filename": files, "structure_id": structures}))
    relation.create_view(f"_all_{name}")
    connection.execute(
        f"CREATE VIEW {name} AS SELECT * EXCLUDE filename FROM _all_{name} ANTI JOIN _hidden_{name} "
        "USING (filename, structure_id)"
    )


def _structures(out: Path) -> pa.Table:
    has_any = (out / STRUCTURES).is_dir() or (out / SINGLE_FILE).is_file()
    return read_structures(out) if has_any else structure_schema(()).empty_table()


def _lock_down(connection: duckdb.DuckDBPyConnection, out: Path) -> None:
    """The order matters: nothing can be set after the last line, no directory after the one before."""
    folder = str(out.resolve()).replace("'", "''")
    connection.execute(f"SET allowed_directories = ['{folder}']")
    connection.execute("SET enable_progress_bar = true")  # measured for `query_progress`,
    connection.execute("SET enable_progress_bar_print = false")  # never printed: DuckDB would print it to stdout
    connection.execute("SET temp_directory = ''")  # else a large sort spills into the current folder
    connection.execute("SET python_enable_replacements = false")  # a name is a view, never a Python variable
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")


def _refusal(error: duckdb.Error) -> InputError:
    """What went wrong; where it is a file of the folder, which one and what to do."""
    text = _one_line(error)
    file = re.search(r"'([^']+\.parquet)'", text)
    if file is not None and isinstance(error, duckdb.InvalidInputException | duckdb.IOException):
        return InputError(f"{file[1]}: cannot be read as a table ({text}); restore it or move it away")
    return InputError(f"query: {text}")


def _one_line(error: duckdb.Error) -> str:
    """DuckDB's message without its excerpt of the statement; candidates stay."""
    text = re.split(r"\n\s*\nLINE \d+:", str(error))[0]
    return re.sub(r"\s+", " ", text.replace("!", ";")).strip().rstrip(";")


def _distinct(names: list[str]) -> list[str]:
    """`SELECT a, a` gives a and a_2: neither JSON nor Parquet can hold one name twice."""
    taken: list[str] = []
    for name in names:
        number, chosen = 1, name
        while chosen in taken:
            number += 1
            chosen = f"{name}_{number}"
        taken.append(chosen)
    return taken
