"""The files behind a view: a file per structure or per flush, and the packs that `mesoforge compact` makes of them.

A file appears whole or not at all, and one that is replaced by a pack goes only after the pack is there. So at any
moment every row is in some file, and perhaps in two; of two files that hold a structure, the later one counts: packs
by their names, which begin with a time, then the files of single structures.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from actors.volumes import PACK_PREFIX
from engine.errors import InputError, WorkError

_LISTINGS = 100  # two that agree come at once unless files come and go all the time


@dataclass(frozen=True, kw_only=True)
class Part:
    """A file of `curves/` or `volumes/`."""

    path: Path
    is_pack: bool
    hidden: frozenset[str] = frozenset()
    """Structures of this file that a later one holds too; their rows here do not count."""


def list_files(folder: Path) -> list[Path]:
    """The Parquet files of a folder, by name; [] where there is none.

    A listing that overlaps with a compaction may miss the pack and the files it replaced. The pack is older than any
    removal, so the next listing has it: two equal ones in a row have missed nothing.
    """
    before = _names(folder)
    for _ in range(_LISTINGS):
        now = _names(folder)
        if now == before:
            break
        before = now
    return [folder / name for name in before]


def _names(folder: Path) -> list[str]:
    if not folder.is_dir():
        return []
    return sorted(
        path.name for path in folder.iterdir() if path.suffix == ".parquet" and not path.name.startswith((".", "_"))
    )


def parts(out: Path, name: str) -> list[Part]:
    """The files of `out/name/` (curves or volumes) in the order in which they count, the last of a structure first.

    Raises:
        InputError: a pack cannot be read.
        WorkError: a file was removed meanwhile; try again.
    """
    files = list_files(out / name)
    singles = [path for path in files if not path.name.startswith(PACK_PREFIX)]
    found = [Part(path=path, is_pack=False) for path in singles]
    later = {path.stem for path in singles}
    for pack in sorted((path for path in files if path.name.startswith(PACK_PREFIX)), reverse=True):
        with open_parquet(pack) as file:
            ids = set(file.read(["structure_id"])["structure_id"].to_pylist())
        found.append(Part(path=pack, is_pack=True, hidden=frozenset(ids & later)))
        later |= ids
    return found


def stored_ids(out: Path, name: str) -> set[str]:
    """The structures that `out/name/` holds. Raises as `parts`."""
    found: set[str] = set()
    for path in list_files(out / name):
        if not path.name.startswith(PACK_PREFIX):
            found.add(path.stem)  # a file of its own is named after its structure
            continue
        with open_parquet(path) as file:
            found.update(file.read(["structure_id"])["structure_id"].to_pylist())
    return found


@contextmanager
def open_parquet(path: Path) -> Iterator[pq.ParquetFile]:
    """A Parquet file for reading, its checksums verified where it has them.

    Raises:
        InputError: it cannot be read, now or within the block.
        WorkError: it is gone.
    """
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            yield file
    except FileNotFoundError:
        raise WorkError(f"{path}: was removed while it was read; give the same command again") from None
    except (pa.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{path}: cannot be read as a table ({reason}); restore it or move it away") from None
