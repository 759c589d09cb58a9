import errno
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from actors.files import TEMPORARY, check_token, clear_leftovers, write_atomically, write_token
from engine.errors import InputError, WorkError

TABLE = pa.table({"a": [1, 2]})


def test_a_written_file_is_whole_and_leaves_nothing_behind(tmp_path: Path) -> None:
    path = write_atomically(TABLE, tmp_path / "deep" / "study", "volumes/x.parquet")
    assert path == tmp_path / "deep" / "study" / "volumes" / "x.parquet"
    assert pq.read_table(path) == TABLE
    assert not list((tmp_path / "deep" / "study" / TEMPORARY).iterdir())


def test_writing_twice_keeps_the_last(tmp_path: Path) -> None:
    write_atomically(TABLE, tmp_path, "x.parquet")
    path = write_atomically(TABLE.slice(1), tmp_path, "x.parquet")
    assert pq.read_table(path).to_pylist() == [{"a": 2}]


def test_the_file_is_on_disk_before_its_name_is_and_the_name_before_the_return(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    replace, fsync = os.replace, os.fsync

    def watched_fsync(descriptor: int) -> None:
        calls.append(f"fsync {Path(os.readlink(f'/proc/self/fd/{descriptor}')).relative_to(tmp_path).parts[:1]}")
        fsync(descriptor)

    def watched_replace(source: Path, target: Path) -> None:
        calls.append("replace")
        replace(source, target)

    (tmp_path / "volumes").mkdir()
    (tmp_path / TEMPORARY).mkdir()
    monkeypatch.setattr(os, "fsync", watched_fsync)
    monkeypatch.setattr(os, "replace", watched_replace)
    write_atomically(TABLE, tmp_path, "volumes/x.parquet")
    assert calls == [f"fsync {(TEMPORARY,)}", "replace", f"fsync {('volumes',)}"]


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="looks at open files through /proc")
def test_a_new_folder_is_durable_in_its_parent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: set[str] = set()
    fsync = os.fsync

    def watched(descriptor: int) -> None:
        synced.add(os.readlink(f"/proc/self/fd/{descriptor}"))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", watched)
    write_atomically(TABLE, tmp_path / "study", "volumes/x.parquet")
    assert {str(tmp_path), str(tmp_path / "study"), str(tmp_path / "study" / "volumes")} <= synced


@pytest.mark.parametrize("call", ["os.fsync", "os.replace"])
def test_a_full_disk_is_a_clear_error_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    (tmp_path / "volumes").mkdir()
    (tmp_path / TEMPORARY).mkdir()
    monkeypatch.setattr(call, refuse)
    with pytest.raises(WorkError, match=r"No space left on device.*free some space") as caught:
        write_atomically(TABLE, tmp_path, "volumes/x.parquet")
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not list((tmp_path / "volumes").iterdir())
    assert not list((tmp_path / TEMPORARY).iterdir())


def test_a_kill_before_the_name_is_given_leaves_no_visible_file(tmp_path: Path, repository: Path) -> None:
    code = f"""
import os, signal, pathlib, pyarrow
from actors.files import write_atomically
os.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
write_atomically(pyarrow.table({{"a": [1]}}), pathlib.Path({str(tmp_path)!r}), "volumes/x.parquet")
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=repository, check=False)
    assert done.returncode == -signal.SIGKILL
    assert not list((tmp_path / "volumes").iterdir())
    assert len(list((tmp_path / TEMPORARY).iterdir())) == 1
    clear_leftovers(tmp_path, "curves")
    assert len(list((tmp_path / TEMPORARY).iterdir())) == 1
    clear_leftovers(tmp_path, "volumes")
    assert not list((tmp_path / TEMPORARY).iterdir())


def test_a_node_that_sees_the_folder_passes(tmp_path: Path) -> None:
    token = write_token(tmp_path / "study")
    check_token(tmp_path / "study", token, patience_s=0.0)
    assert write_token(tmp_path / "study") != token


def test_a_node_that_does_not_is_refused_by_name(tmp_path: Path) -> None:
    token = write_token(tmp_path / "study")
    with pytest.raises(InputError, match="does not see it") as caught:
        check_token(tmp_path / "elsewhere", token, patience_s=0.0)
    assert socket.gethostname() in str(caught.value)
    assert str(tmp_path / "elsewhere") in str(caught.value)
    write_token(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="sees another folder"):
        check_token(tmp_path / "elsewhere", token, patience_s=0.0)


def test_a_folder_that_cannot_be_made_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(WorkError, match="could not be written"):
        write_token(tmp_path / "file" / "study")
