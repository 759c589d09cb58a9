"""studies.folder: one study, one driver, whole files."""

import errno
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from engine.errors import InputError, WorkError
from studies.folder import LOCK, OWNER, STUDY_FILE, check_folder, folder_errors, freeze, hold_study, write_text
from tests.studies.fakes import study


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_new_folder_holds_the_frozen_study(tmp_path: Path) -> None:
    out = tmp_path / "a" / "b"
    assert freeze(study(), out) is False
    assert (out / STUDY_FILE).read_text() == study().text()
    assert freeze(study(), out) is True


def test_checking_writes_nothing(tmp_path: Path) -> None:
    assert check_folder(study(), tmp_path / "absent") is False
    assert not (tmp_path / "absent").exists()


@pytest.mark.parametrize("name", ["file", "file/below", "file/far/below"])
def test_a_folder_that_cannot_be_made_is_refused_beforehand(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("the only copy")
    with pytest.raises(InputError, match="is a file; give"):
        check_folder(study(), tmp_path / name)


def test_a_folder_that_may_not_be_written_into_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda place, mode: place != tmp_path)  # root may write anywhere
    with pytest.raises(InputError, match=f"{tmp_path} may not be written into; give another --out"):
        check_folder(study(), tmp_path / "a" / "b")


@pytest.mark.parametrize("change", [{"seed": 4}, {"sampler": "qmc"}, {"constraints": "[]"}, {"samples": 3}])
def test_a_different_study_is_refused_and_nothing_is_written(tmp_path: Path, change: dict[str, object]) -> None:
    freeze(study(), tmp_path)
    before = contents(tmp_path)
    with pytest.raises(InputError, match=f"holds a different study: {next(iter(change))} is "):
        freeze(study(**change), tmp_path)
    assert contents(tmp_path) == before


def test_a_study_may_go_on_for_longer(tmp_path: Path) -> None:
    freeze(study(), tmp_path)
    longer = study(trials=50, hours=2)
    assert freeze(longer, tmp_path) is True
    assert (tmp_path / STUDY_FILE).read_text() == longer.text()


def test_a_study_of_an_older_version_has_the_defaults_of_what_it_does_not_name(tmp_path: Path) -> None:
    freeze(study(), tmp_path)
    text = study(deterministic="true").text()
    (tmp_path / STUDY_FILE).write_text(study().text().replace("samples: 2\n", ""))
    with pytest.raises(InputError, match="samples is 1 there and 2 here"):
        freeze(study(), tmp_path)
    assert freeze(study(samples=1), tmp_path) is True
    with pytest.raises(InputError, match="deterministic is False there and True here"):
        freeze(study(samples=1, deterministic="true"), tmp_path)
    assert "window: 8" in text


@pytest.mark.parametrize("name", ["notes.txt", "structures.parquet", "optuna.journal", "structures/x.parquet"])
def test_other_files_are_refused_and_nothing_is_written(tmp_path: Path, name: str) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("mine")
    with pytest.raises(InputError, match="holds other files"):
        freeze(study(), tmp_path)
    assert contents(tmp_path) == {name: b"mine"}


def test_what_a_pool_prepares_is_not_in_the_way(tmp_path: Path) -> None:
    (tmp_path / ".token").write_text("t")
    (tmp_path / "volumes").mkdir()
    assert freeze(study(), tmp_path) is False


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine")
    with pytest.raises(InputError, match="is a file"):
        freeze(study(), tmp_path / "out")
    with pytest.raises(InputError, match="out is a file; give another"):
        freeze(study(), tmp_path / "out" / "below")


def test_a_damaged_study_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / STUDY_FILE).write_text("a: [")
    with pytest.raises(InputError, match="cannot be read as a study"):
        freeze(study(), tmp_path)


ROOT = Path(__file__).parents[2]
HOLD = """
import sys, time
from pathlib import Path
from studies.folder import hold_study
from tests.studies.fakes import study
with hold_study(study(), Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)  # it is killed before
"""


def test_a_second_driver_is_refused_until_the_first_dies(tmp_path: Path) -> None:
    freeze(study(), tmp_path)
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True, cwd=ROOT)
    try:
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        owner = json.loads((tmp_path / OWNER).read_text())
        owner["since"] -= 600
        (tmp_path / OWNER).write_text(json.dumps(owner))
        with pytest.raises(InputError, match=rf"process {holder.pid} on \S+ \(since 10 min\) works on this study"):
            freeze(study(), tmp_path)
        with pytest.raises(InputError, match="works on this study"):
            check_folder(study(), tmp_path)
    finally:
        holder.kill()
        holder.wait()
    assert (tmp_path / OWNER).exists() and (tmp_path / LOCK).exists()  # what a killed driver leaves
    with hold_study(study(), tmp_path) as goes_on:
        assert goes_on
        assert time.time() - json.loads((tmp_path / OWNER).read_text())["since"] < 60
    assert not (tmp_path / OWNER).exists()


@pytest.mark.parametrize(
    ("number", "kind", "message"),
    [
        (errno.ENOSPC, WorkError, "no space left on the disk; free some and run the same command again"),
        (errno.EDQUOT, WorkError, "no space left"),
        (errno.EROFS, InputError, "cannot be written"),
    ],
)
def test_the_disk_answers_in_one_line(tmp_path: Path, number: int, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message), folder_errors(tmp_path):
        raise OSError(number, "strerror", str(tmp_path / "x"))


def test_errors_elsewhere_are_not_blamed_on_the_folder(tmp_path: Path) -> None:
    with pytest.raises(PermissionError), folder_errors(tmp_path):
        raise PermissionError(errno.EACCES, "strerror", "/somewhere/else")


def test_a_failed_write_leaves_the_old_file_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_text("old", tmp_path, "file.txt")

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_text("new", tmp_path, "file.txt")
    assert contents(tmp_path) == {"file.txt": b"old"}


def test_a_held_folder_can_be_entered_again_by_its_holder(tmp_path: Path) -> None:
    with hold_study(study(), tmp_path / "out"):
        before = contents(tmp_path)
        with hold_study(study(), tmp_path / "out") as goes_on:
            assert goes_on
        assert contents(tmp_path) == before and f"out/{OWNER}" in before
        with pytest.raises(InputError, match="holds a different study"), hold_study(study(seed=9), tmp_path / "out"):
            pass
    assert f"out/{OWNER}" not in contents(tmp_path)
