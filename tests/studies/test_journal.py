"""studies.journal: groups of records, whole or not at all, and what is left after damage."""

import errno
import json
import os
from pathlib import Path

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from studies.journal import JournalFile, repair_journal, valid_length


def two_trials(path: Path) -> bytes:
    journal = JournalFile(path)
    study = optuna.create_study(storage=JournalStorage(journal), study_name="toy")
    for value in (0.5, 0.25):
        trial = study.ask({"x": optuna.distributions.FloatDistribution(0, 1)})
        study.tell(trial, value)
    journal.flush()
    return path.read_bytes()


def values(path: Path, backend: type = JournalFile) -> list[float | None]:
    argument = path if backend is JournalFile else str(path)
    study = optuna.load_study(storage=JournalStorage(backend(argument)), study_name="toy")
    return [trial.values[0] if trial.values else None for trial in study.trials]


def test_optuna_itself_reads_what_is_written(tmp_path: Path) -> None:
    two_trials(tmp_path / "j")
    assert values(tmp_path / "j") == values(tmp_path / "j", JournalFileBackend) == [0.5, 0.25]


def test_a_journal_of_optuna_itself_is_read_and_continued(tmp_path: Path) -> None:
    """Records without a checksum count up to the first one that has it."""
    path = tmp_path / "j"
    study = optuna.create_study(storage=JournalStorage(JournalFileBackend(str(path))), study_name="toy")
    study.tell(study.ask(), 1.0)
    plain = path.read_bytes()
    assert repair_journal(path) == 0
    journal = JournalFile(path)
    study = optuna.load_study(storage=JournalStorage(journal), study_name="toy")
    study.tell(study.ask(), 2.0)
    journal.flush()
    assert values(path) == [1.0, 2.0]
    path.write_bytes(path.read_bytes() + plain.splitlines(keepends=True)[-1])
    assert repair_journal(path) == len(plain.splitlines(keepends=True)[-1])


def test_nothing_is_on_disk_before_the_flush_and_all_is_after(tmp_path: Path) -> None:
    path = tmp_path / "j"
    whole = two_trials(path)
    journal = JournalFile(path)
    study = optuna.load_study(storage=JournalStorage(journal), study_name="toy")
    study.tell(study.ask(), 2.0)
    assert path.read_bytes() == whole and len(study.trials) == 3
    journal.flush()
    assert values(path) == [0.5, 0.25, 2.0]


@pytest.mark.parametrize("garbage", [b"\0", b"7", b"\n", b"\xff", b'"'])
def test_one_wrong_byte_anywhere_in_the_last_record_is_seen(tmp_path: Path, garbage: bytes) -> None:
    whole = two_trials(tmp_path / "j")
    last = whole[:-1].rindex(b"\n") + 1
    for place in range(last, len(whole)):
        damaged = whole[:place] + garbage + whole[place + 1 :]
        assert damaged == whole or valid_length(damaged) == last, place


def test_a_full_disk_leaves_the_journal_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "j"
    whole = two_trials(path)
    journal = JournalFile(path)
    study = optuna.load_study(storage=JournalStorage(journal), study_name="toy")
    study.ask()
    write = os.write

    def half(descriptor: int, data: memoryview) -> int:
        write(descriptor, bytes(data[: len(data) // 2]))
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "write", half)
    with pytest.raises(OSError, match="No space"):
        journal.flush()
    monkeypatch.undo()
    assert path.read_bytes() == whole
    journal.flush()  # there is space again
    assert len(values(path)) == 3


def test_memory_does_not_grow_with_the_journal(tmp_path: Path) -> None:
    journal = JournalFile(tmp_path / "j")
    study = optuna.create_study(storage=JournalStorage(journal), study_name="toy")
    for _ in range(20):
        study.tell(study.ask(), 1.0)
        journal.flush()
    study.trials  # noqa: B018  # reads what is new
    assert list(journal.read_logs(10**6)) == [] and journal._pending == []


def test_every_record_is_a_line_of_json_with_its_checksum(tmp_path: Path) -> None:
    lines = two_trials(tmp_path / "j").splitlines()
    assert all(len(json.loads(line)["crc32"]) == 8 for line in lines)
