"""Trials on a PostgreSQL server, for studies that several people watch. The password comes from the environment
(PGPASSWORD, or ~/.pgpass), never from the study.

One driver per study, as on disk: it holds an advisory lock of the server, which ends with its connection.
"""

import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import optuna
from optuna.storages import RDBStorage

from engine.errors import InputError

FOLDER = "mesoforge folder"
"""Attribute of the study: the folder with its results."""
CONNECT_TIMEOUT_S = 10
_LOCKS = 0x6D65736F  # "meso": the first of the two numbers of an advisory lock keeps clear of other programs'


@contextmanager
def open_postgres(url: str, name: str, out: Path) -> Iterator[RDBStorage]:
    """The storage, held for one driver.

    Raises:
        InputError: the server cannot be used; another driver works on this study, or it belongs to another folder.
    """
    import sqlalchemy

    storage = _connect(url)
    try:
        with storage.engine.connect() as connection:
            key = zlib.crc32(name.encode()) & 0x7FFFFFFF
            locked = connection.execute(
                sqlalchemy.text("SELECT pg_try_advisory_lock(:room, :key)"), {"room": _LOCKS, "key": key}
            ).scalar()
            connection.commit()  # the lock belongs to the connection, not to the transaction
            if not locked:
                raise InputError(f"storage: another process works on '{name}' in {url}; wait for it, or stop it first")
            _check_folder(storage, url, name, out)
            yield storage
    finally:
        _close(storage)


def read_postgres(url: str, out: Path) -> list[optuna.trial.FrozenTrial]:
    """The trials of the study whose results are in `out`. Raises InputError where the server cannot be used."""
    storage = _connect(url)
    try:
        for study in storage.get_all_studies():
            if study.user_attrs.get(FOLDER) == str(out.resolve()):
                return storage.get_all_trials(study._study_id)
        return []
    finally:
        _close(storage)


def claim_folder(study: optuna.Study, out: Path) -> None:
    """Note in a new study which folder its results are in."""
    if FOLDER not in study.user_attrs:
        study.set_user_attr(FOLDER, str(out.resolve()))


def _check_folder(storage: RDBStorage, url: str, name: str, out: Path) -> None:
    for study in storage.get_all_studies():
        if study.study_name == name and study.user_attrs.get(FOLDER) not in (None, str(out.resolve())):
            raise InputError(
                f"storage: {url} holds a study '{name}' whose results are in {study.user_attrs[FOLDER]}; "
                "give --out that folder, or choose another name"
            )


def _connect(url: str) -> RDBStorage:
    try:
        import psycopg  # noqa: F401
    except ImportError:
        raise InputError("storage: PostgreSQL needs a package: pip install 'psycopg[binary]'") from None
    import sqlalchemy.exc

    driver = "postgresql+psycopg://" + url.partition("://")[2]
    try:
        return RDBStorage(
            driver, engine_kwargs={"connect_args": {"connect_timeout": CONNECT_TIMEOUT_S}, "pool_pre_ping": True}
        )
    except (sqlalchemy.exc.SQLAlchemyError, optuna.exceptions.StorageInternalError, RuntimeError) as error:
        reason = str(error.__cause__ or error).strip().splitlines()[0]
        raise InputError(f"storage: {url} cannot be used ({reason}); is the server up, and PGPASSWORD set?") from None


def _close(storage: RDBStorage) -> None:
    storage.remove_session()
    storage.engine.dispose()
