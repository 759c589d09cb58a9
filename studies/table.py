"""The structure table: one row per structure, with a versioned Arrow schema that carries units and meanings.

A study writes one file per flush below `structures/`; `reconstruct` and `design` keep a single `structures.parquet`.
Both read back as one table, whatever phases and schema versions the files have.
"""

import hashlib
import io
import re
import time
import uuid
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from actors.files import write_atomically
from actors.rows import Row
from engine.errors import InputError, WorkError
from engine.metrics import all_metrics, mean_metrics, own_metrics
from studies.dataset import list_files, open_parquet
from studies.folder import DAMAGED, STRUCTURES, write_bytes

SCHEMA_VERSION = 3
SINGLE_FILE = f"{STRUCTURES}.parquet"
_VERSION_KEY = b"mesoforge_structures_version"

_TEXTS = pa.list_(pa.field("element", pa.string()))  # Parquet's own name for an item: a file reads back as written

# name, type, unit, meaning
_COLUMNS: tuple[tuple[str, pa.DataType, str, str], ...] = (
    ("structure_id", pa.string(), "", "name of the structure; key of volumes and curves"),
    ("study", pa.string(), "", "study that asked for it; null where a single command did"),
    ("trial", pa.int64(), "", "number of the trial in the study"),
    ("sample", pa.int32(), "", "number of the sample within the trial"),
    ("seed", pa.int64(), "", "only source of randomness of the structure"),
    ("shape_z", pa.int32(), "voxel", "size along z, array axis 0"),
    ("shape_y", pa.int32(), "voxel", "size along y, array axis 1"),
    ("shape_x", pa.int32(), "voxel", "size along x, array axis 2"),
    ("periodic", pa.bool_(), "", "opposite faces join; measured so too: no face cuts it, sides are open; null: no"),
    ("voxel_size_um", pa.float64(), "um", "edge of a voxel; null where the source does not say"),
    ("bundle", pa.string(), "", "model bundle that generated it"),
    ("bundle_hash", pa.string(), "", "sha256 that identifies weights and calibration of the bundle"),
    ("code_version", pa.string(), "", "version of mesoforge"),
    ("sampler", pa.string(), "", "multi-plane sampler"),
    ("solver", pa.string(), "", "solver of the denoising steps; null stands for the bundle's own"),
    ("steps", pa.int32(), "", "denoising steps; null stands for the bundle's own"),
    ("eta", pa.float64(), "", "stochasticity, 0 deterministic to 1 ancestral; null stands for the bundle's own"),
    ("harmonizing_passes", pa.int32(), "", "repeats of each step of the sampler harmonized"),
    ("harmonizing_blend", pa.float64(), "", "share of the re-noised volume in a repeat of the sampler harmonized"),
    ("refinement", pa.string(), "", "what a refinement pass does: sdedit or rounds; null stands for the bundle's own"),
    ("refine_passes", pa.int32(), "", "refinement passes after decoding; null stands for the bundle's own"),
    ("guidance", pa.string(), "", "how targets were brought about; null stands for volume"),
    ("route", pa.string(), "", "how targets were reached; null stands for guided"),
    ("guidance_weight", pa.float64(), "", "omega, what the network was told against nothing; null stands for 1"),
    ("candidates", pa.int32(), "", "most volumes tried for targets that no gradient leads to; null stands for 1"),
    ("guidance_iterations", pa.int32(), "", "most guidance iterations of a structure with targets"),
    ("slice_numbers", pa.string(), "", "numbers of the guidance sds-slices; null stands for the published ones"),
    ("targets", _TEXTS, "", "what it was asked to have"),
    ("properties", _TEXTS, "", "functions of the user's own: name and import path; null stands for none"),
    ("materials", pa.string(), "", "what the phases are made of; null where no metric was to depend on it"),
    ("materials_hash", pa.string(), "", "sha256 of the materials' constants"),
    ("materials_constants", pa.string(), "", "the materials as JSON: constants of each phase as in a materials file"),
    ("device", pa.string(), "", "device that generated it"),
    ("status", pa.string(), "", "attained, missed, unguided (no targets) or failed (no volume)"),
    ("reason", pa.string(), "", "why it missed or failed; empty where nothing is wrong"),
    ("error_type", pa.string(), "", "class of the error of a failed structure"),
    ("traceback", pa.string(), "", "remote traceback of a failed structure"),
    ("attempt", pa.int32(), "", "number of the attempt that gave this row; 1 is the first"),
    ("generate_wall_time_s", pa.float64(), "s", "share of its batch's generation time"),
    ("measure_wall_time_s", pa.float64(), "s", "time of its measurement"),
    ("failed_wall_time_s", pa.float64(), "s", "time of the last attempt of a failed structure"),
    ("volume_sha256", pa.string(), "", "sha256 of the uint8 labels in C order (z, y, x)"),
)


def structure_schema(phases: Sequence[str], columns: Collection[str] = ()) -> pa.Schema:
    """Schema of the structure table of a material; every field's metadata holds `unit` and `meaning`.

    Args:
        phases: of the material.
        columns: those of the rows, for the means of the axes and functions of the user's own: a table has the ones that
            were asked for.
    """
    fields = [_field(*column) for column in _COLUMNS]
    means = [mean for mean in mean_metrics(phases) if mean.column in columns]
    for metric in (*all_metrics(phases), *means, *own_metrics(columns)):
        fields.append(_field(metric.column, pa.float64(), metric.kind.unit, metric.meaning))
        fields.append(_field(f"{metric.column}_outcome", pa.string(), "", f"how {metric} came to be"))
    return pa.schema(fields, metadata={_VERSION_KEY: str(SCHEMA_VERSION).encode()})


def _field(name: str, kind: pa.DataType, unit: str, meaning: str) -> pa.Field:
    return pa.field(name, kind, nullable=name != "structure_id", metadata={"unit": unit, "meaning": meaning})


def rows_to_table(rows: Sequence[Row], phases: Sequence[str]) -> pa.Table:
    """Rows -> table; a column that a row lacks is null there."""
    columns = {key for row in rows for key in row}
    schema = structure_schema(phases, columns)
    unknown = columns - set(schema.names)
    assert not unknown, f"columns without a place in the schema: {sorted(unknown)}"
    return pa.Table.from_pylist(list(rows), schema=schema)


def write_rows(out: Path, rows: Sequence[Row], phases: Sequence[str]) -> Path:
    """Write rows as one new file below `out/structures/`; they are durable on return.

    Raises:
        WorkError: the disk refused.
    """
    table, body = rows_to_table(rows, phases), io.BytesIO()
    pq.write_table(table, body, compression="zstd", write_page_checksum=True)
    data = body.getvalue()
    # Nanoseconds in 16 hexadecimal digits: names sort by time, and the last row of a structure wins on reading. Then
    # the checksum of the whole file: that of Parquet leaves out the footer, which says what each column is.
    name = f"{STRUCTURES}/{time.time_ns():016x}-{_checksum(data)}.parquet"
    try:
        (out / STRUCTURES).mkdir(parents=True, exist_ok=True)
        write_bytes(data, out, name)
    except OSError as error:
        raise WorkError(
            f"output folder {out}: rows could not be written ({error.strerror or error}); free some space or mend the "
            "folder, then give the same command again: it goes on where it stopped"
        ) from error
    return out / name


def _checksum(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]


def append_rows(out: Path, rows: Sequence[Row], phases: Sequence[str]) -> Path:
    """Add rows to the single file `out/structures.parquet`, which is replaced as a whole.

    A row with a structure_id that is there already takes its place.

    Raises:
        InputError: the file there is no structure table.
        WorkError: the disk refused.
    """
    table = rows_to_table(rows, phases)
    path = out / SINGLE_FILE
    if path.exists():
        table = unify([_read(path), table])
    return write_atomically(table, out, SINGLE_FILE)


def structure_files(out: Path) -> list[Path]:
    """The files that hold the rows of a folder, oldest first."""
    files = list_files(out / STRUCTURES)
    single = out / SINGLE_FILE
    return [single, *files] if single.is_file() else files


def read_structures(out: Path) -> pa.Table:
    """Every row of a folder, one per structure (the last written wins), in the order of their first writing.

    Raises:
        InputError: the folder holds no structures, or a file of it cannot be read.
    """
    if not (out / SINGLE_FILE).is_file() and not (out / STRUCTURES).is_dir():
        raise InputError(f"{out}: holds no structures; give the --out folder of a sweep, reconstruct or design")
    for last_try in (False, False, True):
        try:
            return unify(_read(path) for path in structure_files(out))
        except WorkError:  # a compaction removed a file that it has replaced
            if last_try:
                raise
    raise AssertionError("the last try returns or raises")


def set_damaged_aside(out: Path) -> list[Path]:
    """Move files of rows that cannot be read out of the way; the study makes their structures again.

    Such a file is no trace of a kill (files appear whole), but of a disk or a copy that lost bytes.

    Returns:
        where they are now.
    """
    moved = []
    for path in structure_files(out):
        try:
            _read(path)
        except InputError:
            place = out / DAMAGED / f"{path.name}.{uuid.uuid4().hex[:8]}"
            place.parent.mkdir(exist_ok=True)
            path.rename(place)
            moved.append(place)
    return moved


def unify(tables: Iterable[pa.Table]) -> pa.Table:
    """Tables of any phases and versions -> one table with a row per structure; a column that a file lacks is null."""
    found = list(tables)
    if not found:
        return structure_schema(()).empty_table()
    merged = pa.concat_tables(found, promote_options="permissive")
    ids = merged["structure_id"]
    last = {name: place for place, name in enumerate(ids.to_pylist())}  # a dict keeps the place of the first writing
    if len(last) < len(ids):
        merged = merged.take(pa.array(list(last.values()), pa.int64()))
    version = max(int((table.schema.metadata or {}).get(_VERSION_KEY, b"0")) for table in found)
    return merged.replace_schema_metadata({_VERSION_KEY: str(version).encode()}).combine_chunks()


def rows_of_trials(table: pa.Table, trials: Sequence[int]) -> list[Row]:
    """The rows of some trials."""
    if not trials:
        return []
    return table.filter(pc.is_in(table["trial"], value_set=pa.array(trials, pa.int64()))).to_pylist()


_CHECKSUM = re.compile(r"-([0-9a-f]{16})\.parquet$")


def _read(path: Path) -> pa.Table:
    checksum = _CHECKSUM.search(path.name)
    if checksum is not None and path.is_file() and _checksum(path.read_bytes()) != checksum[1]:
        raise InputError(f"{path}: its bytes are not those that were written; restore it or move it away")
    with open_parquet(path) as file:
        table = file.read()
    if "structure_id" not in table.column_names:
        raise InputError(f"{path}: is no structure table (it has no column structure_id); move it away")
    return table
