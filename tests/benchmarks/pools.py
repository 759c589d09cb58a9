"""Figures of the pools: `python -m tests.benchmarks.pools [scaling] [share] [start]`.

scaling  two design actors against one, with an engine that sleeps: structures per second of the whole pool
share    real structures: time of the design actors inside `generate`, of that from their first call to their last
start    from the command `mesoforge sweep` to the first row's volume on disk
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from actors.engines import BundleEngine
from actors.messages import Completed
from engine.design import Generated
from engine.guidance.targets import parse_target
from engine.request import Request
from tests.actors.fakes import FakeEngine, FakeGenerated
from tests.benchmarks.common import machine, table

SLEEP_S = 0.5
BATCH = 4


class SleepingEngine(FakeEngine):
    """A batch takes a fixed time and no processor."""

    def generate(self, requests: Sequence[Request]) -> list[FakeGenerated]:
        time.sleep(SLEEP_S)
        return super().generate(requests)


class TimedEngine(BundleEngine):
    """Notes when each call of `generate` began and ended."""

    def __init__(self, log: Path) -> None:
        super().__init__("cpu")
        self._log = log

    def generate(self, requests: Sequence[Request]) -> list[Generated]:
        started = time.time()
        made = super().generate(requests)
        with open(self._log, "a") as stream:
            stream.write(json.dumps([os.getpid(), started, time.time()]) + "\n")
        return made


def scaling(batches: int) -> list[object]:
    """Time for the same requests with one and with two design actors, from the first result on."""
    from actors.ray_pool import RayPool

    seconds = {}
    for actors in (1, 2):
        with tempfile.TemporaryDirectory() as folder:
            scratch = Path(folder) / "scratch"
            scratch.mkdir()
            pool = RayPool(
                partial(SleepingEngine, scratch),
                Path(folder) / "out",
                design_actors=actors,
                property_actors=1,
                batch_size=BATCH,
                cpus_per_design_actor=0.25,
                cpus_per_property_actor=0.25,
                code_version="benchmark",
            )
            with pool:
                warm = [Request(structure_id=f"w{i}", bundle="fake", shape=(8, 8, 8), seed=i) for i in range(16)]
                run(pool, warm[: pool.free_slots], until_actors=2 + actors)
                work = [
                    Request(structure_id=f"r{i}", bundle="fake", shape=(8, 8, 8), seed=i)
                    for i in range(batches * BATCH)
                ]
                started = time.perf_counter()
                run(pool, work)
                seconds[actors] = time.perf_counter() - started
    ratio = seconds[1] / seconds[2]
    return ["two design actors against one, engine sleeps", f"{ratio:.3f} times", "≥ 1.95", f"{seconds}"]


def run(pool, requests, until_actors: int = 0) -> None:  # type: ignore[no-untyped-def]
    """Feed a pool until everything is back, and so many actors are ready."""
    waiting = list(requests)
    extra = 0
    while waiting or pool.in_flight or len(pool.actors) < until_actors:
        if not waiting and not pool.in_flight:
            extra += 1
            waiting.append(Request(structure_id=f"extra{extra}", bundle="fake", shape=(8, 8, 8), seed=extra))
        while waiting and pool.free_slots:
            pool.submit(waiting.pop(0))
        for result in pool.wait(1.0):
            assert isinstance(result, Completed), result


def share(structures: int) -> list[object]:
    """One design actor on this machine's cores, structures of the shipped bundle with a target."""
    import torch

    from actors.ray_pool import RayPool

    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        pool = RayPool(
            partial(TimedEngine, log),
            Path(folder) / "out",
            batch_size=2,
            cpus_per_design_actor=0.5,
            threads_per_design_actor=torch.get_num_threads(),
            threads_per_property_actor=1,
            code_version="benchmark",
        )
        targets = (parse_target("fraction[pore]=0.2±0.02"),)
        with pool:
            run(
                pool,
                [
                    Request(structure_id=f"r{i}", bundle="berea", shape=(32, 32, 32), seed=i, targets=targets)
                    for i in range(structures)
                ],
            )
        calls = [json.loads(line) for line in log.read_text().splitlines()]
    busy = sum(end - start for _, start, end in calls)
    whole = max(end for _, _, end in calls) - min(start for _, start, _ in calls)
    return ["share of design-actor time inside the engine", f"{busy / whole:.1%}", "≥ 95 %", f"{len(calls)} batches"]


def start() -> list[object]:
    """The recipe that ships, from the command to its first volume; warm file caches."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out"
        command = [sys.executable, "-c", "from cluster.cli import main; main()", "sweep", "berea_transport"]
        started = time.perf_counter()
        process = subprocess.Popen([*command, "--out", str(out)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            while not list(out.glob("volumes/*.parquet")):
                assert process.poll() is None, "the sweep ended"
                time.sleep(0.05)
            elapsed_s = time.perf_counter() - started
        finally:
            process.terminate()
            process.wait(60)
    return ["start to first structure", f"{elapsed_s:.1f} s", "≤ 15 s", "recipe berea_transport"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("figures", nargs="*", default=["scaling", "share", "start"])
    parser.add_argument("--batches", type=int, default=40, help="of the sleeping engine")
    parser.add_argument("--structures", type=int, default=12, help="real ones, for the share")
    arguments = parser.parse_args()
    rows = []
    if "start" in arguments.figures:
        rows.append(start())
    if {"scaling", "share"} & set(arguments.figures):
        from cluster.connect import connected

        with connected("local"):
            if "scaling" in arguments.figures:
                rows.append(scaling(arguments.batches))
            if "share" in arguments.figures:
                rows.append(share(arguments.structures))
    print(machine(), f"load {os.getloadavg()[0]:.1f}")
    print(table(["figure", "measured", "bar", "notes"], rows))


if __name__ == "__main__":
    main()
