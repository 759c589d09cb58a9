"""Trials on disk: Optuna's journal, opened for writing by the one holder of the study's lock, or read by anyone.

A record of the journal is one line of JSON. A crash can tear the last line; Optuna tolerates that until something
is appended after it, then no read succeeds. So the journal is cut back to its last whole record before it is opened.
"""

import json
import os
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import BaseJournalBackend, JournalFileBackend, JournalFileOpenLock

from studies.config import StudyConfig
from studies.folder import JOURNAL

CUT_SUFFIX = ".cut"


class _HeldByStudy(JournalFileOpenLock):
    """The journal needs no lock of its own: one driver per study. Optuna's outlives a killed process by 30 s."""

    def acquire(self) -> bool:
        return True

    def release(self) -> None:
        pass


class _Snapshot(BaseJournalBackend):
    """The whole records that a journal holds now; nothing is written or locked."""

    def __init__(self, path: Path) -> None:
        data = path.read_bytes()
        self._records: list[dict[str, Any]] = [json.loads(line) for line in data[: _valid_length(data)].splitlines()]

    def read_logs(self, log_number_from: int) -> Iterable[dict[str, Any]]:
        return self._records[log_number_from:]

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        raise AssertionError("a snapshot of a journal is read-only")


def repair_journal(path: Path) -> int:
    """Cut a journal back to its last whole record. The caller holds the study's lock.

    Bytes beyond the one torn record that a crash leaves are kept in `<journal>.cut`.

    Returns:
        Number of bytes cut off.
    """
    if not path.exists():
        return 0
    data = path.read_bytes()
    valid = _valid_length(data)
    if valid == len(data):
        return 0
    if b"\n" in data[valid:-1]:
        with open(f"{path}{CUT_SUFFIX}", "ab") as kept:
            kept.write(data[valid:])
    with path.open("rb+") as journal:
        journal.truncate(valid)
        os.fsync(journal.fileno())
    return len(data) - valid


def _valid_length(data: bytes) -> int:
    """Length of the part of a journal in which every line is a whole record."""
    valid = 0
    for line in data.splitlines(keepends=True):
        if not line.endswith(b"\n"):
            break
        try:
            record = json.loads(line)
        except ValueError:
            break
        if not isinstance(record, dict) or "op_code" not in record:
            break
        valid += len(line)
    return valid


@contextmanager
def open_study(config: StudyConfig, out: Path) -> Iterator[optuna.Study]:
    """Open the trials of a study for writing, repaired. The caller holds the study's lock."""
    repair_journal(out / JOURNAL)
    with _quiet():
        storage = JournalStorage(JournalFileBackend(str(out / JOURNAL), lock_obj=_HeldByStudy(str(out / JOURNAL))))
        sampler = optuna.samplers.RandomSampler()  # replaced before every ask, see studies.space
        if storage.get_all_studies():  # create_study(load_if_exists=True) would add a record at every start
            study = optuna.load_study(study_name=config.name, storage=storage, sampler=sampler)
        else:
            study = optuna.create_study(
                study_name=config.name,
                storage=storage,
                sampler=sampler,
                direction="maximize" if config.objective.maximize else "minimize",
            )
        names = [str(config.objective.metric)]
        if study.metric_names != names:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", category=optuna.exceptions.ExperimentalWarning)
                study.set_metric_names(names)
        yield study


def read_trials(out: Path) -> list[optuna.trial.FrozenTrial]:
    """The trials of a study as they are on disk now, without its lock; [] where there are none."""
    path = out / JOURNAL
    if not path.is_file():
        return []
    with _quiet():
        storage = JournalStorage(_Snapshot(path))
        studies = storage.get_all_studies()
        return storage.get_all_trials(studies[0]._study_id) if studies else []


@contextmanager
def _quiet() -> Iterator[None]:
    """Optuna logs every trial; a study reports through its own progress."""
    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(level)
