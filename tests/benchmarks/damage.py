"""Damage at every byte: the journal's last record, a file of rows, and a volume that was being written.

    python -m tests.benchmarks.damage                 # some minutes on an idle core
    python -m tests.benchmarks.damage --every 50      # every fiftieth byte of the Parquet files

After each damage of the journal, and after a hundred of each Parquet file, the study is run again with the same
command. It must end with every trial told under its own number and every row there; structures that are finished must
not be made again, but for those of the damaged file. Every damage of a file of rows must be seen; one of a volume must
be seen or change neither its voxels nor their size.
"""

import argparse
import shutil
import sys
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from actors.local_pool import LocalPool
from actors.volumes import read_volume
from engine.errors import InputError
from engine.request import structure_id
from studies.folder import JOURNAL, hold_study
from studies.loop import run_study
from studies.storage import read_trials
from studies.table import read_structures, set_damaged_aside
from tests.actors.fakes import FakeEngine
from tests.benchmarks.common import machine
from tests.studies.fakes import FakePool, study

CONFIG = study(trials=2, samples=2, startup_trials=1)
RESUMED = 100
"""Damages of a Parquet file after which the study is run again; all the others are only read."""
SHARED_MEMORY = Path("/dev/shm")
"""No byte of it waits for a disk."""
EXPECTED = {structure_id(CONFIG.name, trial, sample) for trial in range(2) for sample in range(2)}


def damaged(data: bytes, start: int, every: int) -> Iterator[tuple[str, bytes]]:
    """Cut, or one byte made garbage, at every byte from `start` on."""
    for place in range(start, len(data), every):
        yield f"cut at {place}", data[:place]
        yield f"garbage at {place}", data[:place] + bytes([data[place] ^ 0xA5]) + data[place + 1 :]


def resume(out: Path) -> int | None:
    """Run the study again. Returns how many structures were made, None where it did not end as it must."""
    pool = FakePool()
    run_study(CONFIG, out, pool)
    trials = read_trials(out)
    complete = [trial.number for trial in trials if trial.state.name == "COMPLETE"]
    there = set(read_structures(out)["structure_id"].to_pylist())
    return len(pool.submitted) if complete == [0, 1] and len(trials) == 2 and there == EXPECTED else None


def journal(folder: Path) -> bool:
    whole = folder / "whole"
    run_study(CONFIG, whole, FakePool())
    data = (whole / JOURNAL).read_bytes()
    last = data[:-1].rindex(b"\n") + 1
    results = []
    for _, changed in damaged(data, last, 1):
        out = folder / "damaged"
        shutil.copytree(whole, out)
        (out / JOURNAL).write_bytes(changed)
        results.append(resume(out))
        shutil.rmtree(out)
    print(f"journal: {len(results)} damages of the last record ({len(data) - last} bytes), resumed {_good(results)}")
    print(f"  structures made again, at most: {max(made for made in results if made is not None)}")
    return None not in results and max(made or 0 for made in results) == 0


def rows(folder: Path, every: int) -> bool:
    whole = folder / "rows"
    run_study(CONFIG, whole, FakePool(slots=4, per_wait=4))  # all in one file
    [path] = (whole / "structures").glob("*.parquet")
    data, unseen, results = path.read_bytes(), 0, []
    changes = list(damaged(data, 0, every))
    for number, (_, changed) in enumerate(changes):
        path.write_bytes(changed)
        if number % max(1, len(changes) // RESUMED) == 0:
            out = folder / "damaged"
            shutil.copytree(whole, out)
            results.append(resume(out))
            shutil.rmtree(out)
        unseen += not set_damaged_aside(whole)
        shutil.rmtree(whole / "damaged", ignore_errors=True)
    print(f"file of rows: {len(changes)} damages ({len(data)} bytes), {unseen} not seen")
    print(f"  {len(results)} of them resumed {_good(results)}; structures made again: {set(results)} of 4")
    return unseen == 0 and set(results) == {4}


def volume(folder: Path, every: int) -> bool:
    """A volume is there in part and its row is not: what a kill would leave, were it not for renaming."""
    out, scratch = folder / "volumes", folder / "scratch"
    scratch.mkdir()

    def run() -> None:
        engine = partial(FakeEngine, scratch)
        with hold_study(CONFIG, out), LocalPool(engine, out, batch_size=2, code_version="0") as pool:
            run_study(CONFIG, out, pool)

    run()
    path = out / "volumes" / f"{structure_id(CONFIG.name, 1, 1)}.parquet"
    data, whole = path.read_bytes(), read_volume(out, path.stem)
    kept = {file.name for file in (out / "volumes").iterdir()}
    seen = wrong = left = resumed = 0
    changes = list(damaged(data, 0, every))
    for number, (_, changed) in enumerate(changes):
        path.write_bytes(changed)
        try:
            found = read_volume(out, path.stem)
            wrong += not np.array_equal(found.labels, whole.labels) or found.voxel_size_um != whole.voxel_size_um
        except InputError:
            seen += 1
        if number % max(1, len(changes) // RESUMED) == 0:
            shutil.rmtree(out / "structures")
            (out / ".tmp" / "volumes-half").write_bytes(changed)
            run()
            resumed += 1
            left += (out / ".tmp" / "volumes-half").exists() or path.read_bytes() != data
            left += {file.name for file in (out / "volumes").iterdir()} != kept
    print(f"volume: {len(changes)} damages ({len(data)} bytes), {seen} seen, {wrong} read as something else")
    print(f"  {resumed} of them resumed, {left} left behind")
    return wrong == left == 0


def _good(results: list[int | None]) -> str:
    bad = results.count(None)
    return "every time" if bad == 0 else f"WRONGLY {bad} times"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--every", type=int, default=1, help="bytes between damages of the Parquet files")
    every = parser.parse_args().every
    print(machine())
    with tempfile.TemporaryDirectory(dir=SHARED_MEMORY if SHARED_MEMORY.is_dir() else None) as name:
        folder = Path(name)
        good = [journal(folder), rows(folder, every), volume(folder, every)]
    print("every bar holds" if all(good) else "MISSED")
    sys.exit(not all(good))


if __name__ == "__main__":
    main()
