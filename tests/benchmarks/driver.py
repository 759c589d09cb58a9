"""The driver of a study with an engine that takes no time: trials per second, memory, the journal against a bare loop.

    python -m tests.benchmarks.driver                     # 10,000 trials in memory, 1,000 with the journal
    python -m tests.benchmarks.driver --trials 500 --journal-trials 100 --folder /some/disk

Sixteen fake actors answer at once; four structures per trial, `qmc`.

In memory: Optuna's in-memory storage and rows that go nowhere, so that the driver's own work is left. Memory is "flat"
where it grows by no more than what Optuna itself keeps of a trial, measured in the same run.

With the journal: the real thing, rows as Parquet files and trials in the journal, flushed to disk. The named peer is a
bare loop of `study.ask` and `study.tell` over Optuna's own file journal on the same disk, in the same run.
"""

import argparse
import logging
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

from actors.messages import Completed, Result
from actors.pool import Pool, PoolFullError, PoolStats
from engine.request import Request
from studies import loop
from studies.config import StudyConfig
from studies.runs import RunRecord
from studies.samplers import StudySampler
from studies.space import Points, distributions
from studies.storage import OpenStudy, quiet
from studies.summary import Progress
from tests.benchmarks.common import machine
from tests.studies.fakes import STUDY, made_up_row, study

ACTORS = 16
SAMPLES = 4


class InstantPool(Pool):
    """Sixteen actors, each with a request at work and one waiting; every `wait` returns what sixteen finished."""

    def __init__(self) -> None:
        self._waiting: list[Request] = []
        self._done = 0

    def submit(self, request: Request) -> None:
        if self.free_slots < 1:
            raise PoolFullError
        self._waiting.append(request)

    @property
    def free_slots(self) -> int:
        return 2 * ACTORS - len(self._waiting)

    @property
    def in_flight(self) -> int:
        return len(self._waiting)

    def wait(self, timeout_s: float) -> list[Result]:
        finished, self._waiting = self._waiting[:ACTORS], self._waiting[ACTORS:]
        self._done += len(finished)
        return [Completed(request.structure_id, made_up_row(request), 1) for request in finished]

    @property
    def stats(self) -> PoolStats:
        return PoolStats(done=self._done)

    def close(self) -> None:
        self._waiting.clear()


def alone(function: Callable[..., Any], *arguments: object) -> Any:
    """Call a function in a fresh process: memory that another measurement freed would be taken again unseen."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as fresh:
        return fresh.submit(function, *arguments).result()


def config_of(trials: int) -> StudyConfig:
    return study(STUDY, sampler="qmc", trials=trials, samples=SAMPLES)


def memory_bytes() -> int:
    """Resident memory of this process now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def in_memory(trials: int) -> None:
    config = config_of(trials)
    Points(config)[0]  # imports are no part of it
    seen: list[tuple[int, int]] = []

    def report(now: Progress) -> None:
        if now.trials_done >= len(seen) * trials / 10:
            seen.append((now.trials_done, memory_bytes()))

    with tempfile.TemporaryDirectory() as folder, no_rows(), quiet():
        sampled = optuna.create_study(sampler=StudySampler(config), direction="maximize")
        driver = loop.Driver(
            config,
            Path(folder),
            InstantPool(),
            OpenStudy(study=sampled, flush=lambda: None),
            None,
            record=RunRecord(Path(folder), "benchmark"),
            report=report,
        )
        started, cpu = time.perf_counter(), time.process_time()
        summary = driver.run()
        elapsed, cpu = time.perf_counter() - started, time.process_time() - cpu
    assert summary.trials_done == trials
    (first, start), (last, end) = seen[1], seen[-1]
    ours, bare = (end - start) / (last - first), alone(bare_memory, config, first, last)
    print(f"in memory: {trials / elapsed:.0f} trials/s ({trials} trials of {SAMPLES} structures in {elapsed:.1f} s)")
    print(f"  {trials / cpu:.0f} trials per second of processor time (a machine that does other work is slower)")
    print(f"  choosing points {summary.time.choosing_s:.1f} s, scoring and telling {summary.time.writing_s:.1f} s")
    print(f"  memory per trial: {ours / 1000:.1f} kB, of which Optuna itself keeps {bare / 1000:.1f} kB")
    print(f"  memory at {first} trials {start / 1e6:.0f} MB, at {last} trials {end / 1e6:.0f} MB")


def bare_memory(config: StudyConfig, first: int, last: int) -> float:
    """Bytes per trial of a bare loop that tells the same parameters, attributes and constraint."""
    with quiet():
        return _bare_memory(config, first, last)


def _bare_memory(config: StudyConfig, first: int, last: int) -> float:
    bare = optuna.create_study(sampler=StudySampler(config), direction="maximize")
    start = 0
    for number in range(last):
        trial = bare.ask(distributions(config, number))
        for name in ("structures attained", "structures failed", *(f"{w} {m}" for w in "ta" for m in trial.params)):
            trial.set_user_attr(name, 0.125 + number)
        trial.set_constraint("fraction[pore]<=0.2", -0.5 - number)
        bare.tell(trial, float(number))
        if number == first:
            start = memory_bytes()
    return (memory_bytes() - start) / (last - first)


def with_journal(trials: int, folder: Path) -> None:
    config = config_of(trials)
    with tempfile.TemporaryDirectory(dir=folder) as out:
        started = time.perf_counter()
        summary = loop.run_study(config, Path(out) / "study", InstantPool())
        ours = trials / (time.perf_counter() - started)
        assert summary.trials_done == trials
        bare = bare_journal(config, trials, Path(out))
    print(f"with the journal: {ours:.0f} trials/s with {SAMPLES * trials} rows ({trials} trials)")
    print(f"  a bare ask/tell loop on the same disk: {bare:.0f} trials/s; ratio {ours / bare:.2f}")


def bare_journal(config: StudyConfig, trials: int, folder: Path) -> float:
    """Trials per second of Optuna's own loop and file journal: parameters and a value, nothing else."""

    class NoLock(JournalFileOpenLock):
        def acquire(self) -> bool:
            return True

        def release(self) -> None:
            pass

    path = str(folder / "bare.journal")
    with quiet():
        storage = JournalStorage(JournalFileBackend(path, lock_obj=NoLock(path)))
        bare = optuna.create_study(storage=storage, sampler=StudySampler(config), direction="maximize")
        started = time.perf_counter()
        for number in range(trials):
            trial = bare.ask(distributions(config, number))
            bare.tell(trial, float(number))
        return trials / (time.perf_counter() - started)


@contextmanager
def no_rows() -> Iterator[None]:
    """Rows and records of runs go nowhere."""
    kept = loop.write_rows, loop.read_structures, RunRecord.keep
    from studies.table import rows_to_table

    loop.write_rows = lambda out, rows, phases: out  # type: ignore[assignment]
    loop.read_structures = lambda out: rows_to_table([], ())  # type: ignore[assignment]
    RunRecord.keep = lambda self, document: None  # type: ignore[method-assign]
    try:
        yield
    finally:
        loop.write_rows, loop.read_structures = kept[:2]
        RunRecord.keep = kept[2]  # type: ignore[method-assign]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=10_000, help="in memory")
    parser.add_argument("--journal-trials", type=int, default=1_000)
    parser.add_argument("--folder", type=Path, default=Path.cwd(), help="on the disk to measure")
    arguments = parser.parse_args()
    logging.getLogger("mesoforge").addHandler(logging.NullHandler())
    print(machine())
    alone(in_memory, arguments.trials)
    with_journal(arguments.journal_trials, arguments.folder)


if __name__ == "__main__":
    main()
