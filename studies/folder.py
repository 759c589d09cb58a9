"""A study's folder: whose it is, who works in it, and its frozen configuration.

DIR/study.yaml          the frozen configuration
DIR/optuna.journal      trials
DIR/structures/         one row per structure, a file per flush
DIR/curves/  volumes/   one file per structure, written by the pool
DIR/runs/               what each run did: a summary and a log
DIR/damaged/            files of rows that could not be read; their structures were made again
DIR/.lock  .owner.json  one driver at a time; DIR/.tmp holds files that are not whole yet
"""

import errno
import json
import os
import socket
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import filelock
import yaml

from actors.files import TEMPORARY, TOKEN, clear_leftovers
from actors.places import VOLUMES_URI
from actors.volumes import CURVES, VOLUMES
from engine.errors import InputError, WorkError
from studies.config import BUDGET_KEYS, StudyConfig
from studies.yaml_file import StudyFile

STUDY_FILE = "study.yaml"
JOURNAL = "optuna.journal"
STRUCTURES = "structures"
REPORT_FILE = "report.html"
DAMAGED = "damaged"
RUNS = "runs"
LOCK = ".lock"
OWNER = ".owner.json"
_OURS = frozenset(
    {
        STUDY_FILE,
        JOURNAL,
        STRUCTURES,
        CURVES,
        VOLUMES,
        "artifacts",
        RUNS,
        DAMAGED,
        LOCK,
        OWNER,
        TEMPORARY,
        TOKEN,
        VOLUMES_URI,
    }
)


def check_folder(config: StudyConfig, out: Path) -> bool:
    """See whether `out` can hold the study; writes nothing.

    Returns:
        True where it holds this study already, False where it is absent or empty.

    Raises:
        InputError: it is a file, holds a different study or other files, or another process works in it.
    """
    check_place(out)
    if not out.exists():
        return False
    if (out / LOCK).exists():
        with _file_lock(out):
            pass
    if (out / STUDY_FILE).exists():
        _check_same(config, out / STUDY_FILE)
        return True
    for item in sorted(out.iterdir()):
        if item.name not in _OURS or item.name == JOURNAL or (item.is_dir() and _holds_results(item)):
            raise InputError(f"{out}: holds other files ('{item.name}') and no {STUDY_FILE}; give another --out")
    return False


def check_place(out: Path) -> None:
    """See whether `out` is, or can be made, a folder to write into; writes nothing.

    Raises:
        InputError: it or a part of its path is a file, or may not be written into.
    """
    if os.path.isfile(out):
        raise InputError(f"{out}: is a file; give a folder with --out")
    nearest = next(place for place in (out, *out.absolute().parents) if os.path.exists(place))
    if not nearest.is_dir():
        raise InputError(f"{out}: cannot be made, {nearest} is a file; give another --out")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise InputError(f"{out}: {nearest} may not be written into; give another --out")


def freeze(config: StudyConfig, out: Path) -> bool:
    """Make `out` the folder of this study: create it and write study.yaml, or see that it holds the same study.

    Returns:
        True where the study goes on, False where it is new.

    Raises:
        InputError: as `check_folder`; nothing is written then.
    """
    with hold_study(config, out) as goes_on:
        return goes_on


@contextmanager
def hold_study(config: StudyConfig, out: Path) -> Iterator[bool]:
    """Hold `out` as the folder of this study, frozen: no other process works in it meanwhile.

    Enter it before the pool is made, which writes into the folder too; `run_study` enters it again.
    The system frees the folder when the process dies. Yields True where the study goes on, False where it is new.

    Raises:
        InputError: as `check_folder`; nothing is written then.
        WorkError: the disk is full.
    """
    check_folder(config, out)
    with folder_errors(out):
        out.mkdir(parents=True, exist_ok=True)
        with _file_lock(out) as outermost:
            goes_on = check_folder(config, out)
            if outermost:
                clear_leftovers(out, STRUCTURES, STUDY_FILE, RUNS)
                _write_owner(out)
            try:
                if not goes_on or _read_study(out / STUDY_FILE) != config.document():  # the budget may have changed
                    write_text(config.text(), out, STUDY_FILE)
                (out / STRUCTURES).mkdir(exist_ok=True)
                yield goes_on
            finally:
                if outermost:
                    with suppress(OSError):
                        (out / OWNER).unlink()


@contextmanager
def hold_folder(out: Path) -> Iterator[None]:
    """Hold a folder of results that exists, whatever study it is of: no driver works in it meanwhile.

    Raises:
        InputError: another process works in it.
    """
    with _file_lock(out) as outermost:
        if outermost:
            _write_owner(out)
        try:
            yield
        finally:
            if outermost:
                with suppress(OSError):
                    (out / OWNER).unlink()


def _write_owner(out: Path) -> None:
    clear_leftovers(out, OWNER)
    owner = {"pid": os.getpid(), "host": socket.gethostname(), "since": time.time()}
    write_text(json.dumps(owner), out, OWNER)


@contextmanager
def _file_lock(out: Path) -> Iterator[bool]:
    """Lock the folder, or refuse; within a process it can be entered again. Yields whether this is the outermost."""
    lock = filelock.FileLock(out.resolve() / LOCK, timeout=0, is_singleton=True)
    outermost = not lock.is_locked
    try:
        lock.acquire()
    except filelock.Timeout:
        raise InputError(f"{out}: {_owner(out)} works on this study; wait for it, or stop it first") from None
    try:
        yield outermost
    finally:
        lock.release()


@contextmanager
def folder_errors(out: Path) -> Iterator[None]:
    """Turn what the disk of `out` may answer into one clear line.

    Raises:
        WorkError: the disk is full.
        InputError: the folder cannot be written.
    """
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise WorkError(
                f"{out}: no space left on the disk; free some and run the same command again, what is finished is kept"
            ) from error
        refused = error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST)
        where = str(error.filename or "-")
        if refused and (where.startswith(str(out)) or str(out).startswith(where)):
            raise InputError(f"{out}: cannot be written ({error.strerror}); give another --out") from error
        raise


def write_text(text: str, out: Path, name: str) -> None:
    """Write `out/name` so that it appears whole or not at all, and lasts once this returns. Raises OSError."""
    write_bytes(text.encode(), out, name)


def write_bytes(data: bytes, out: Path, name: str) -> None:
    """As `write_text`."""
    temporary = out / TEMPORARY
    temporary.mkdir(exist_ok=True)
    path = temporary / f"{name.replace('/', '-')}-{os.getpid()}.{uuid.uuid4().hex[:8]}"
    try:
        with path.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(path, out / name)
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    folder = os.open((out / name).parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _check_same(config: StudyConfig, file: Path) -> None:
    there, asked = _read_study(file), config.document()
    if not isinstance(there, dict):
        raise InputError(f"{file}: cannot be read as a study; restore it, or give another --out")
    for key in asked | there:
        if key not in BUDGET_KEYS and _value(there, key) != _value(asked, key):
            raise InputError(
                f"{file.parent}: holds a different study: {key} is {_short(_value(there, key))} there and "
                f"{_short(_value(asked, key))} here; give another --out"
            )


def _read_study(file: Path) -> object:
    try:
        return yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return None


def _value(document: dict, key: str) -> object:
    """A key that an older version did not know has its default."""
    field = StudyFile.model_fields.get(key)
    return document.get(key, field.get_default(call_default_factory=True) if field is not None else None)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _holds_results(folder: Path) -> bool:
    return not folder.name.startswith(".") and any(folder.iterdir())


def _owner(out: Path) -> str:
    try:
        owner = json.loads((out / OWNER).read_text(encoding="utf-8"))
        age_s = time.time() - float(owner["since"])
        return f"process {owner['pid']} on {owner['host']} (since {_duration(age_s)})"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{max(seconds, 0):.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
