"""A study on a disk that runs full: it stops, says so, and goes on once there is space again."""

import os
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from actors.local_pool import LocalPool
from engine.errors import WorkError
from studies.folder import hold_study
from studies.loop import run_study
from studies.table import read_structures
from tests.actors.fakes import FakeEngine
from tests.studies.fakes import FakePool, study
from tests.studies.test_loop_resume import check_complete, durable

CONFIG = study(trials=30, samples=2, sampler="qmc", constraints="[]")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 300 kB."""
    place = tmp_path / "disk"
    place.mkdir()
    if os.getuid() != 0:
        pytest.skip("needs root to mount a small tmpfs")
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", place], capture_output=True, text=True
    )
    if mounted.returncode:
        pytest.skip(f"needs to mount a small tmpfs: {mounted.stderr.strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", place], check=True)


def test_a_full_disk_stops_the_study_and_space_lets_it_go_on(disk: Path) -> None:
    out = disk / "out"
    with pytest.raises(WorkError, match="space"):
        run_study(CONFIG, out, FakePool(per_wait=1, slots=1))  # a file of rows for each structure
    kept = durable(out)
    assert 0 < len(kept) < 60
    with pytest.raises(WorkError, match="space"):  # still full
        run_study(CONFIG, out, FakePool(per_wait=1, slots=1))
    subprocess.run(["mount", "-o", "remount,size=20m", disk], check=True)
    pool = FakePool(per_wait=1, slots=1)
    summary = run_study(CONFIG, out, pool)
    assert summary.finished and summary.resumed
    assert durable(out).issuperset(kept) and kept.isdisjoint(request.structure_id for request in pool.submitted)
    check_complete(CONFIG, out)


def test_volumes_too(disk: Path, tmp_path: Path) -> None:
    config = study(trials=30, samples=2, sampler="qmc", constraints="[]", size=64)
    out = disk / "out"

    def run() -> None:
        engine = partial(FakeEngine, tmp_path)
        with hold_study(config, out), LocalPool(engine, out, batch_size=2, code_version="0.1.0") as pool:
            run_study(config, out, pool)

    with pytest.raises(WorkError, match="space"):
        run()
    subprocess.run(["mount", "-o", "remount,size=40m", disk], check=True)
    run()
    assert read_structures(out).num_rows == 60
