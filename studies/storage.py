"""Trials on disk: Optuna's journal in the study's folder, or a PostgreSQL server; for writing by the one holder of the
study's lock, for reading by anyone."""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import optuna
import yaml
from optuna.storages import BaseStorage, JournalStorage

from engine.errors import InputError
from studies.config import JOURNAL_STORAGE, StudyConfig
from studies.folder import JOURNAL, STUDY_FILE
from studies.journal import JournalFile, JournalSnapshot, repair_journal
from studies.samplers import StudySampler


@dataclass(frozen=True, kw_only=True)
class OpenStudy:
    """The trials of a study, open for writing."""

    study: optuna.Study
    flush: Callable[[], None]
    """Makes everything so far durable."""


@contextmanager
def open_study(config: StudyConfig, out: Path, sampler: StudySampler | None = None) -> Iterator[OpenStudy]:
    """Open the trials of a study for writing, repaired. The caller holds the study's lock.

    Raises:
        InputError: a PostgreSQL server that cannot be used, or that holds the study of another folder.
    """
    if config.storage != JOURNAL_STORAGE:
        from studies.postgres import claim_folder, open_postgres

        with quiet(), open_postgres(config.storage, config.name, out) as storage:
            study = _study(config, storage, sampler)
            claim_folder(study, out)
            yield OpenStudy(study=study, flush=lambda: None)
        return
    repair_journal(out / JOURNAL)
    with quiet():
        journal = JournalFile(out / JOURNAL)
        study = _study(config, JournalStorage(journal), sampler)
        journal.flush()
        yield OpenStudy(study=study, flush=journal.flush)


def _study(config: StudyConfig, storage: BaseStorage, sampler: StudySampler | None) -> optuna.Study:
    sampler = sampler or StudySampler(config)
    names = [str(objective.metric) for objective in config.objectives] or ["new cells"]
    if config.name in (study.study_name for study in storage.get_all_studies()):
        study = optuna.load_study(study_name=config.name, storage=storage, sampler=sampler)
    else:  # create_study(load_if_exists=True) would add a record at every start
        maximize = [objective.maximize for objective in config.objectives] or [True]
        direction = optuna.study.StudyDirection
        directions = [direction.MAXIMIZE if each else direction.MINIMIZE for each in maximize]
        study = optuna.create_study(study_name=config.name, storage=storage, sampler=sampler, directions=directions)
    if study.metric_names != names:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", category=optuna.exceptions.ExperimentalWarning)
            study.set_metric_names(names)
    return study


def read_trials(out: Path) -> list[optuna.trial.FrozenTrial]:
    """The trials of a study as they are stored now, without its lock; [] where there are none.

    Raises:
        InputError: they are on a PostgreSQL server that cannot be reached.
    """
    url = _storage_url(out)
    if url is not None:
        from studies.postgres import read_postgres

        with quiet():
            return read_postgres(url, out)
    path = out / JOURNAL
    if not path.is_file():
        return []
    with quiet():
        storage = JournalStorage(JournalSnapshot(path))
        studies = storage.get_all_studies()
    if not studies:
        if b"\n" in path.read_bytes():  # one torn record is how a study begins; a whole one that is no record is damage
            raise InputError(
                f"{path}: holds no record that can be read; restore it, or move it away: rows and volumes are whole "
                "without it"
            )
        return []
    return storage.get_all_trials(studies[0]._study_id)


def _storage_url(out: Path) -> str | None:
    """Where the trials of a folder are, if not in its journal."""
    try:
        document = yaml.safe_load((out / STUDY_FILE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        raise InputError(f"{out / STUDY_FILE}: cannot be read as a study; restore it") from None
    storage = document.get("storage", JOURNAL_STORAGE) if isinstance(document, dict) else JOURNAL_STORAGE
    try:  # a password that somebody wrote into the folder by hand must not get into a page or a message
        checked = checked_storage(str(storage))
    except InputError as error:
        raise InputError(f"{out / STUDY_FILE}: {error}") from None
    return None if checked == JOURNAL_STORAGE else checked


def checked_storage(text: str) -> str:
    """`journal` or a PostgreSQL URL. Secrets never reach study.yaml, logs or reports: raises InputError at one."""
    if text == JOURNAL_STORAGE:
        return text
    parts = urlsplit(text)
    if parts.scheme not in ("postgresql", "postgres") or not parts.path.strip("/"):
        raise InputError("storage: must be journal or postgresql://USER@HOST:PORT/DATABASE")
    if parts.password is not None or "password" in parts.query:
        raise InputError(
            "storage: holds a password; take it out of the URL and put it into PGPASSWORD or ~/.pgpass instead"
        )
    return text


@contextmanager
def quiet() -> Iterator[None]:
    """Optuna logs every trial; a study reports through its own progress."""
    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(level)
