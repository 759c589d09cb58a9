"""Many small files of a results folder into few: `mesoforge compact`.

A pack is written under a temporary name, flushed to disk, read back and renamed into place; only then the files that
it replaces are removed. A kill at any moment therefore loses no row, and the rule of `studies.dataset` (of two files
that hold a structure the later one counts) keeps a row that is in two files for that moment from counting twice; the
next compaction removes what such a kill left.
"""

import os
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from actors.files import TEMPORARY, clear_leftovers, sync_folder
from actors.volumes import CURVES, PACK_PREFIX, VOLUMES
from engine.errors import InputError, WorkError
from studies.dataset import Part, list_files, open_parquet, parts
from studies.folder import STRUCTURES, folder_errors, hold_folder
from studies.table import SINGLE_FILE, structure_files, unify

PACK_BYTES = 256 * 2**20  # large enough to be few, small enough to be copied and read in one piece
GROUP_BYTES = 8 * 2**20  # what is read together where one structure is asked for
_LEFTOVERS = "compact"


@dataclass(frozen=True, kw_only=True)
class Compacted:
    """What became of one kind of files."""

    name: str
    """structures, curves or volumes."""
    rows: int
    files_before: int
    files_after: int
    bytes_before: int
    bytes_after: int


Report = Callable[[str, int, int], None]
"""Called with the kind of files, how many of them were read, and how many there are to read."""


def compact(out: Path, on_progress: Report = lambda name, done, total: None) -> list[Compacted]:
    """Merge the files of a results folder. It may be killed at any moment.

    Raises:
        InputError: no such folder, no results in it, a driver works in it, or a file cannot be read (no file of its
            kind is removed then).
        WorkError: the disk refused; nothing is lost.
    """
    if not out.is_dir():
        what = "is a file, not a folder" if out.exists() else "no such folder"
        raise InputError(f"{out}: {what}; give the --out folder of a sweep")
    if not any((out / name).is_dir() for name in (STRUCTURES, CURVES, VOLUMES)):
        if (out / SINGLE_FILE).is_file():
            raise InputError(f"{out}: its rows are in one file already ({SINGLE_FILE}); there is nothing to compact")
        raise InputError(f"{out}: holds no results; give the --out folder of a sweep")
    with folder_errors(out), hold_folder(out):
        clear_leftovers(out, _LEFTOVERS)
        return [
            _compact_structures(out, on_progress),
            _compact_parts(out, CURVES, on_progress),
            _compact_parts(out, VOLUMES, on_progress),
        ]


def _compact_structures(out: Path, on_progress: Report) -> Compacted:
    """Rows are few and small: all of them into one file, which sorts directly after the newest one of before."""
    sources = [path for path in structure_files(out) if path.parent.name == STRUCTURES]
    before = _bytes(sources)
    if len(sources) > 1:
        tables = []
        for path in sources:
            with open_parquet(path) as file:
                tables.append(file.read())
            on_progress(STRUCTURES, len(tables), len(sources))
        merged = unify(tables)
        file_name = f"{sources[-1].stem.partition('~')[0]}~{uuid.uuid4().hex[:8]}.parquet"  # '~' is after '-' and '.'
        _write(out, STRUCTURES, file_name, merged.schema, iter([merged]))
        _remove(sources)
    return _result(out, STRUCTURES, len(sources), before)


def _compact_parts(out: Path, name: str, on_progress: Report) -> Compacted:
    there = parts(out, name)
    before = _bytes([part.path for part in there])
    # Packs from the oldest on, then the files of single structures.
    sources = sorted(
        (part for part in there if not part.is_pack or part.hidden or _bytes([part.path]) < PACK_BYTES // 2),
        key=lambda part: (not part.is_pack, part.path.name),
    )
    if len(sources) > 1 or any(not part.is_pack for part in sources):
        schemas = []
        for part in sources:
            with open_parquet(part.path) as file:
                schemas.append(file.schema_arrow)
        schema = pa.unify_schemas(schemas, promote_options="permissive")
        groups = _grouped(_tables(sources, schema, lambda done: on_progress(name, done, len(sources))))
        for first in groups:  # a pack takes from `groups` as much as fits
            _write(out, name, f"{PACK_PREFIX}{time.time_ns():016x}.parquet", schema, chain([first], groups))
        _remove([part.path for part in sources])
    return _result(out, name, len(there), before)


def _tables(sources: list[Part], schema: pa.Schema, on_part: Callable[[int], None]) -> Iterator[pa.Table]:
    """The rows that count, at most a row group at a time, in one schema."""
    for done, part in enumerate(sources, start=1):
        hidden = pa.array(sorted(part.hidden), pa.string())
        with open_parquet(part.path) as file:
            for number in range(file.num_row_groups):
                table = file.read_row_group(number)
                if part.hidden:
                    table = table.filter(pc.invert(pc.is_in(table["structure_id"], value_set=hidden)))
                whole = pa.concat_tables([schema.empty_table(), table], promote_options="permissive")
                yield whole.select(schema.names).cast(schema)
        on_part(done)


def _grouped(tables: Iterator[pa.Table]) -> Iterator[pa.Table]:
    """Tables joined to about GROUP_BYTES each."""
    waiting: list[pa.Table] = []
    size = 0
    for table in tables:
        waiting.append(table)
        size += table.nbytes
        if size >= GROUP_BYTES:
            yield pa.concat_tables(waiting)
            waiting, size = [], 0
    if size:
        yield pa.concat_tables(waiting)


def _write(out: Path, name: str, file_name: str, schema: pa.Schema, groups: Iterator[pa.Table]) -> None:
    """Write `out/name/file_name` from groups, as many as PACK_BYTES take; it appears once it has been read back.

    Raises:
        WorkError: what was read back is not what was written.
    """
    (out / TEMPORARY).mkdir(exist_ok=True)
    temporary = out / TEMPORARY / f"{_LEFTOVERS}-{name}-{file_name}.{os.getpid()}"
    ids: list[str] = []
    try:
        with pq.ParquetWriter(temporary, schema, compression="zstd", write_page_checksum=True) as writer:
            for group in groups:
                writer.write_table(group, row_group_size=max(group.num_rows, 1))
                ids += group["structure_id"].to_pylist()
                if temporary.stat().st_size >= PACK_BYTES:
                    break
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        _read_back(temporary, ids)
        os.replace(temporary, out / name / file_name)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(out / name)  # the new name is durable before any old file goes


def _read_back(path: Path, ids: list[str]) -> None:
    found: list[str] = []
    with open_parquet(path) as file:
        for number in range(file.num_row_groups):  # every page's checksum is verified
            found += file.read_row_group(number)["structure_id"].to_pylist()
    if found != ids:
        raise WorkError(f"{path}: does not read back as it was written; the disk may be failing; nothing was removed")


def _remove(paths: list[Path]) -> None:
    for path in paths:
        path.unlink(missing_ok=True)
    if paths:
        sync_folder(paths[0].parent)


def _result(out: Path, name: str, files_before: int, bytes_before: int) -> Compacted:
    files = list_files(out / name)
    rows = 0
    for path in files:
        with open_parquet(path) as file:
            rows += file.metadata.num_rows
    return Compacted(
        name=name,
        rows=rows,
        files_before=files_before,
        files_after=len(files),
        bytes_before=bytes_before,
        bytes_after=_bytes(files),
    )


def _bytes(paths: list[Path]) -> int:
    return sum(path.stat().st_size for path in paths)
