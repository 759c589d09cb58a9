"""studies.compact: few files instead of many, with every row there exactly once at every moment."""

import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import studies.compact
from actors.volumes import CURVES, PACK_PREFIX, VOLUMES, VolumeWriter, read_volume
from engine.errors import InputError, WorkError
from studies.compact import compact
from studies.dataset import list_files, parts
from studies.query import query
from studies.table import append_rows, read_structures, write_rows
from tests.studies.fakes import PHASES

NAMES = ("s0", "s1", "s2", "s3", "s4")


def store(out: Path, name: str, value: int = 0) -> None:
    labels = np.full((3, 4, 5), value, np.uint8)
    labels[0, 0, : int(name[1:]) % 5] = 1 + value
    VolumeWriter(out).write(name, labels, 2.5, {"s2[pore]": np.ones(3, np.float32), "s2[solid]": np.zeros(2)})


def fill(out: Path, names: Sequence[str] = NAMES) -> Path:
    for number, name in enumerate(names):
        write_rows(out, [{"structure_id": name, "trial": number, "fraction_pore": number / 10}], PHASES)
        store(out, name)
    write_rows(out, [{"structure_id": "s0", "trial": 0, "fraction_pore": 0.9}], PHASES)  # s0 was made again
    return out


def contents(out: Path) -> dict[str, object]:
    """Everything that a reader sees."""
    [row] = query(
        out,
        """SELECT (SELECT list(s ORDER BY structure_id) FROM structures s) AS structures,
        (SELECT list(c ORDER BY structure_id, phase) FROM curves c) AS curves,
        (SELECT list(v ORDER BY structure_id) FROM volumes v) AS volumes""",
    ).to_pylist()
    return row | {"labels": [read_volume(out, each["structure_id"]).labels.tolist() for each in row["volumes"]]}


def all_files(out: Path) -> list[Path]:
    return [path for name in ("structures", CURVES, VOLUMES) for path in list_files(out / name)]


def test_many_files_become_one_of_each_kind(tmp_path: Path) -> None:
    before = contents(fill(tmp_path))
    steps: list[tuple[str, int, int]] = []
    done = {each.name: each for each in compact(tmp_path, lambda *step: steps.append(step))}
    assert [(each.files_before, each.files_after, each.rows) for each in done.values()] == [
        (6, 1, 5),
        (5, 1, 10),
        (5, 1, 5),
    ]
    assert all(each.bytes_after < each.bytes_before for each in done.values())
    assert contents(tmp_path) == before
    assert read_structures(tmp_path)["fraction_pore"].to_pylist() == [0.9, 0.1, 0.2, 0.3, 0.4]
    assert not list((tmp_path / ".tmp").iterdir())
    assert steps[-1] == (VOLUMES, 5, 5)


def test_again_changes_nothing_and_later_rows_are_taken_in(tmp_path: Path) -> None:
    compact(fill(tmp_path))
    files = all_files(tmp_path)
    compact(tmp_path)
    assert all_files(tmp_path) == files
    write_rows(tmp_path, [{"structure_id": "s1", "fraction_pore": 0.5}, {"structure_id": "s9"}], PHASES)
    store(tmp_path, "s9")
    assert query(tmp_path, "SELECT count(*) AS n FROM volumes").to_pylist() == [{"n": 6}]
    compact(tmp_path)
    assert len(all_files(tmp_path)) == 3
    table = read_structures(tmp_path)
    assert dict(zip(table["structure_id"].to_pylist(), table["fraction_pore"].to_pylist(), strict=True)) == {
        "s0": 0.9, "s1": 0.5, "s2": 0.2, "s3": 0.3, "s4": 0.4, "s9": None,
    }  # fmt: skip
    assert query(tmp_path, "SELECT count(DISTINCT structure_id) AS n, count(*) AS m FROM volumes").to_pylist() == [
        {"n": 6, "m": 6}
    ]


def test_a_structure_made_again_counts_once_as_it_is_now(tmp_path: Path) -> None:
    compact(fill(tmp_path))
    store(tmp_path, "s2", value=4)
    for _ in range(2):
        assert read_volume(tmp_path, "s2").labels.max() == 5
        rows = query(tmp_path, "SELECT structure_id, labels FROM volumes ORDER BY 1").to_pylist()
        assert tuple(row["structure_id"] for row in rows) == NAMES and rows[2]["labels"] == [4, 5]
        assert query(tmp_path, "SELECT count(*) AS n FROM curves").to_pylist() == [{"n": 10}]
        compact(tmp_path)
    assert not any(part.hidden for part in parts(tmp_path, VOLUMES))


def test_packs_are_closed_when_they_are_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(studies.compact, "GROUP_BYTES", 1)
    monkeypatch.setattr(studies.compact, "PACK_BYTES", 1)
    before = contents(fill(tmp_path))
    compact(tmp_path)
    assert len(list_files(tmp_path / VOLUMES)) == 5
    assert contents(tmp_path) == before
    files = all_files(tmp_path)
    compact(tmp_path)
    assert all_files(tmp_path) == files, "full packs are left alone"


def test_files_of_two_versions_share_a_pack(tmp_path: Path) -> None:
    fill(tmp_path)
    path = tmp_path / VOLUMES / "s1.parquet"
    pq.write_table(pq.read_table(path).append_column("origin_um", pa.array([1.0])), path)
    compact(tmp_path)
    found = query(tmp_path, "SELECT structure_id, origin_um FROM volumes ORDER BY 1").to_pylist()
    assert [row["origin_um"] for row in found] == [None, 1.0, None, None, None]


def killed_at(out: Path, moment: int) -> None:
    """In a process of its own: compact, and be killed just before the given change to the disk."""
    left = moment

    def dying(function):  # type: ignore[no-untyped-def]
        def call(*arguments, **options):  # type: ignore[no-untyped-def]
            nonlocal left
            left -= 1
            if left < 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*arguments, **options)

        return call

    os.replace, os.fsync, os.unlink = dying(os.replace), dying(os.fsync), dying(os.unlink)
    Path.unlink = dying(Path.unlink)  # type: ignore[method-assign]
    compact(out)


def test_a_kill_at_any_moment_loses_and_doubles_nothing(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    before = contents(fill(tmp_path / "before", NAMES[:2]))
    for moment in range(60):
        out = fill(tmp_path / str(moment), NAMES[:2])
        process = context.Process(target=killed_at, args=(out, moment))
        process.start()
        process.join()
        assert contents(out) == before, moment
        if process.exitcode == 0:
            assert moment > 12  # every file went in a step of its own
            return
        assert process.exitcode == -signal.SIGKILL
        compact(out)
        assert contents(out) == before, moment
        assert len(all_files(out)) == 3 and not list((out / ".tmp").iterdir()), moment
    raise AssertionError("never came to its end")


def test_a_damaged_file_stops_it_before_anything_is_removed(tmp_path: Path) -> None:
    fill(tmp_path)
    path = tmp_path / CURVES / "s3.parquet"
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(InputError, match=r"s3\.parquet: cannot be read as a table"):
        compact(tmp_path)
    assert len(list_files(tmp_path / CURVES)) == 5
    assert not list((tmp_path / ".tmp").iterdir())


def test_what_does_not_read_back_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path)
    files = all_files(tmp_path)
    monkeypatch.setattr(studies.compact, "_read_back", lambda path, ids: (_ for _ in ()).throw(WorkError("bad disk")))
    with pytest.raises(WorkError, match="bad disk"):
        compact(tmp_path)
    assert all_files(tmp_path) == files and not list((tmp_path / ".tmp").iterdir())


def test_a_flipped_byte_in_a_pack_is_noticed(tmp_path: Path) -> None:
    compact(fill(tmp_path))
    [pack] = list_files(tmp_path / VOLUMES)
    assert pack.name.startswith(PACK_PREFIX)
    data = bytearray(pack.read_bytes())
    column = pq.ParquetFile(pack).metadata.row_group(0).column(0)
    data[(column.dictionary_page_offset or column.data_page_offset) + 40] ^= 255
    pack.write_bytes(bytes(data))
    with pytest.raises(InputError, match="cannot be read as a table"):
        parts(tmp_path, VOLUMES)


HOLD = """
import sys, time
from pathlib import Path
from studies.folder import hold_folder
with hold_folder(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)  # it is killed before
"""


def test_refused_while_a_driver_works_in_the_folder(tmp_path: Path, repository: Path) -> None:
    fill(tmp_path)
    files = all_files(tmp_path)
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], cwd=repository, stdout=subprocess.PIPE, text=True
    ) as driver:
        assert driver.stdout is not None and driver.stdout.readline() == "held\n"
        with pytest.raises(InputError, match=rf"process {driver.pid} on .* works on this study"):
            compact(tmp_path)
        driver.kill()
    assert all_files(tmp_path) == files
    compact(tmp_path)


def test_a_folder_without_files_of_its_own_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        compact(tmp_path / "none")
    with pytest.raises(InputError, match="holds no results"):
        compact(tmp_path)
    append_rows(tmp_path, [{"structure_id": "a"}], PHASES)
    with pytest.raises(InputError, match="in one file already"):
        compact(tmp_path)
    assert [path.name for path in tmp_path.iterdir() if not path.name.startswith(".")] == ["structures.parquet"]
