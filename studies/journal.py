"""Optuna's journal on disk for one writer: records written in groups, each with a checksum.

A record is one line of JSON. Optuna's own file backend flushes every record to disk by itself, some ten times per
trial; here the driver says when (`flush`): before a request of a new trial is submitted, and once for all trials told
together. A crash can tear the last line; Optuna tolerates that until something is appended after it, then no read
succeeds. So the journal is cut back to its last whole record before it is opened.
"""

import json
import os
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from optuna.storages.journal import BaseJournalBackend

Record = dict[str, Any]
CUT_SUFFIX = ".cut"
_CHECKSUM = b',"crc32":"%08x"}'  # the last key of a record; Optuna passes over keys that it does not know


class JournalFile(BaseJournalBackend):
    """Appends to a journal. The caller holds the study's lock and has repaired the file.

    Records are seen by the storage at once and are on disk after `flush`; what was never flushed never happened.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        data = path.read_bytes() if path.exists() else b""
        self._length = len(data)
        self._records = list(parse_records(data))
        self._first = 0  # number of the first record kept: the storage reads each record once
        self._pending: list[bytes] = []

    def read_logs(self, log_number_from: int) -> Iterable[Record]:
        del self._records[: log_number_from - self._first]
        self._first = log_number_from
        return list(self._records)

    def append_logs(self, logs: list[Record]) -> None:
        for log in logs:
            body = json.dumps(log, separators=(",", ":")).encode()
            self._pending.append(_sealed(body))
            self._records.append(json.loads(body))  # as it will be read back

    def flush(self) -> None:
        """Make every record so far durable. Raises OSError; the file is then cut back to what it held before."""
        if not self._pending:
            return
        group = b"".join(self._pending)
        with open(self._path, "ab", buffering=0) as file:
            try:
                append_all(file.fileno(), group)
            except OSError:
                os.truncate(self._path, self._length)
                raise
        self._length += len(group)
        self._pending.clear()


class JournalSnapshot(BaseJournalBackend):
    """The whole records that a journal holds now; nothing is written or locked."""

    def __init__(self, path: Path) -> None:
        data = path.read_bytes()
        self._records = list(parse_records(data[: valid_length(data)]))

    def read_logs(self, log_number_from: int) -> Iterable[Record]:
        return self._records[log_number_from:]

    def append_logs(self, logs: list[Record]) -> None:
        raise AssertionError("a snapshot of a journal is read-only")


def append_all(descriptor: int, data: bytes) -> None:
    """Write bytes whole and flush them to disk."""
    left = memoryview(data)
    while left:
        left = left[os.write(descriptor, left) :]
    os.fsync(descriptor)


def parse_records(data: bytes) -> Iterable[Record]:
    """The records of a journal without damage."""
    return (json.loads(line) for line in data.split(b"\n") if line)


def repair_journal(path: Path) -> int:
    """Cut a journal back to its last whole record. The caller holds the study's lock.

    Bytes beyond the one torn record that a crash leaves are kept in `<journal>.cut`.

    Returns:
        Number of bytes cut off.
    """
    if not path.exists():
        return 0
    data = path.read_bytes()
    valid = valid_length(data)
    if valid == len(data):
        return 0
    if b"\n" in data[valid:-1]:
        with open(f"{path}{CUT_SUFFIX}", "ab") as kept:
            kept.write(data[valid:])
    with path.open("rb+") as journal:
        journal.truncate(valid)
        os.fsync(journal.fileno())
    return len(data) - valid


def valid_length(data: bytes) -> int:
    """Length of the part of a journal in which every line is a whole record with the right checksum."""
    valid, sealed = 0, False
    while (end := data.find(b"\n", valid) + 1) > 0:
        line = data[valid:end]
        if _sealed(line[:-_SEAL_LENGTH] + b"}") == line:
            sealed = True
        elif sealed or not _is_record(line):  # a journal that was begun by an older version has no checksums there
            break
        valid = end
    return valid


def _sealed(body: bytes) -> bytes:
    return body[:-1] + _CHECKSUM % zlib.crc32(body) + b"\n"


_SEAL_LENGTH = len(_sealed(b"{}")) - 1


def _is_record(line: bytes) -> bool:
    try:
        record = json.loads(line)
    except ValueError:
        return False
    return isinstance(record, dict) and "op_code" in record
