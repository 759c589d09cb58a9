"""Files that appear whole or not at all, and the token that proves that a node sees the output folder."""

import os
import socket
import time
import uuid
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from engine.errors import InputError, WorkError

TEMPORARY = ".tmp"  # beside the dataset folders, never inside: DuckDB's and Polars' globs do read dot-files
TOKEN = ".token"
TOKEN_PATIENCE_S = 2.0  # a network file system may show a new file a moment later


def write_atomically(table: pa.Table, folder: Path, name: str) -> Path:
    """Write `folder/name` (such as `volumes/0123.parquet`) so that it appears whole and durable, or not at all.

    The bytes go to a temporary name in `folder/.tmp`, are flushed to disk, and take their final name by `os.replace`.

    Args:
        table: with the full, versioned schema.
        folder: the study folder, on one file system.
        name: path below `folder`.

    Raises:
        WorkError: the file system refused (full, read-only, a file where a folder must be); nothing half-written stays.
    """
    target = folder / name
    temporary = folder / TEMPORARY / f"{name.replace('/', '-')}.{os.getpid()}.{uuid.uuid4().hex[:8]}"
    try:
        _make_folder(temporary.parent)
        _make_folder(target.parent)
        try:
            with open(temporary, "wb") as stream:
                pq.write_table(table, stream, compression="zstd", write_page_checksum=True)
                stream.flush()
                os.fsync(stream.fileno())
            os.replace(temporary, target)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        sync_folder(target.parent)
    except OSError as error:
        raise WorkError(_refusal(folder, name, error)) from error
    return target


def clear_leftovers(folder: Path, *prefixes: str) -> None:
    """Remove temporary files that a killed writer left in `folder/.tmp`; call it while no such writer runs."""
    for prefix in prefixes:
        for path in (folder / TEMPORARY).glob(f"{prefix}-*"):
            path.unlink(missing_ok=True)


def write_token(folder: Path) -> str:
    """Make `folder` and put a new token into it, from the driver, before any actor starts.

    Written in place, not replaced: opening a file again shows its new content on NFS, where a name may be cached.

    Raises:
        WorkError: the folder cannot be written.
    """
    token = uuid.uuid4().hex
    try:
        _make_folder(folder)
        with open(folder / TOKEN, "w", encoding="ascii") as stream:
            stream.write(token)
            stream.flush()
            os.fsync(stream.fileno())
    except OSError as error:
        raise WorkError(_refusal(folder, TOKEN, error)) from error
    return token


def check_token(folder: Path, token: str, patience_s: float = TOKEN_PATIENCE_S) -> None:
    """Refuse a node that does not see the driver's output folder.

    Raises:
        InputError: naming the node and the folder.
    """
    deadline = time.monotonic() + patience_s
    while (found := _read_token(folder)) != token:
        if time.monotonic() >= deadline:
            what = "does not see it" if found is None else "sees another folder under this name"
            raise InputError(
                node_refusal(f"output folder {folder}", f"{what}; choose an --out folder that is mounted on every node")
            )
        time.sleep(0.1)


def node_refusal(place: str, what: str) -> str:
    """The line that refuses this node."""
    return f"{place}: must be open to every node, but node {socket.gethostname()} {what}"


def _read_token(folder: Path) -> str | None:
    try:
        return (folder / TOKEN).read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return None


def _make_folder(folder: Path) -> None:
    """Make `folder` with its parents, each new name durable in its parent."""
    missing = []
    while not folder.is_dir():
        missing.append(folder)
        folder = folder.parent
    for path in reversed(missing):
        path.mkdir(exist_ok=True)
        sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable: what was renamed or removed there stays so after a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _refusal(folder: Path, name: str, error: OSError) -> str:
    return (
        f"output folder {folder}: {name} could not be written ({error.strerror or error}); free some space or mend "
        f"the folder, then give the same command again: it goes on where it stopped"
    )
