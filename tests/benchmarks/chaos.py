"""A sweep under fire: random SIGKILLs of the driver, design actors and property actors; the same command goes on.

    python -m tests.benchmarks.chaos                            # 300 trials of 3 structures, 30 kills: some minutes
    python -m tests.benchmarks.chaos --trials 30 --kills 5

The real driver, the real pool and files on a local Ray; the engine is a fake one that makes its voxels from the seed
and takes a moment for it, so that what is tested is everything around it. A killed driver takes its Ray with it.

Afterwards: every trial told under its own number, a row for each of its structures and no second one, every volume
there with its sha256 and the voxels of its seed, and nothing hung (no new row for a while).
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow.parquet as pq

from cluster.connect import FOLDER_PREFIX, connected
from engine.request import structure_id, structure_seed
from studies.config import StudyConfig
from studies.reading import parse_study
from studies.storage import read_trials
from studies.summary import Progress
from studies.table import read_structures, structure_files
from tests.actors.fakes import FakeCard, is_running
from tests.benchmarks.common import machine
from tests.studies.fakes import PHASES, STUDY

REPOSITORY = Path(__file__).resolve().parents[2]
HANG_S = 180.0
"""Without a new row for so long the sweep hangs; a start of Ray on a busy machine takes half a minute."""
MOST_TROUBLE = 5
"""Hangs, and starts of Ray that fail, after which the benchmark gives up."""
ROLES = ("driver", "design", "property")


def config_of(trials: int, samples: int) -> StudyConfig:
    text = STUDY.replace("trials: 4", f"trials: {trials}").replace("samples: 2", f"samples: {samples}")
    text = text.replace("sampler: tpe", "sampler: qmc").replace('constraints: ["fraction[pore]<=0.2"]', "")
    return parse_study(text, "chaos", default_name="chaos", facts=lambda bundle: (PHASES, FakeCard(name=bundle).hash))


def drive(config: StudyConfig, out: Path, scratch: Path, seconds: float) -> None:
    """The command: run the study or go on with it, and note who is at work."""
    from functools import partial

    from studies.folder import hold_study
    from studies.loop import run_study

    def note(now: Progress) -> None:
        actors = {name: pid for name, (_, pid) in pool.actors.items()}
        state = {"driver": os.getpid(), **actors}
        (scratch / "pids.tmp").write_text(json.dumps(state))
        os.replace(scratch / "pids.tmp", scratch / "pids")

    with connected("local"), hold_study(config, out):
        from actors.ray_pool import RayPool  # imports ray, which `connected` sets up first

        with RayPool(
            partial(_slow_engine, scratch, seconds),
            out,
            design_actors=2,
            property_actors=2,
            batch_size=4,
            cpus_per_design_actor=0.1,
            cpus_per_property_actor=0.1,
            max_attempts=10,  # a request may meet several kills in a row
            code_version="chaos",
        ) as pool:
            run_study(config, out, pool, note)


def _slow_engine(scratch: Path, seconds: float) -> object:
    from tests.actors.fakes import FakeEngine

    class SlowEngine(FakeEngine):
        def generate(self, requests):  # type: ignore[no-untyped-def]
            time.sleep(seconds * len(requests))
            return super().generate(requests)

    return SlowEngine(scratch)


@dataclass
class Attack:
    """Kills at random moments."""

    scratch: Path
    left: int
    every_s: float
    draw: random.Random
    done: dict[str, int] = field(default_factory=lambda: dict.fromkeys(ROLES, 0))

    def strike(self) -> None:
        """Kill one process of a random kind, if one is known and alive."""
        with suppress(OSError, ValueError):
            pids: dict[str, int] = json.loads((self.scratch / "pids").read_text())
            role = self.draw.choice(ROLES)
            targets = [pid for name, pid in pids.items() if name.partition("-")[0] == role and is_running(pid)]
            if not targets:
                return  # killed a moment ago, and not replaced yet
            os.kill(self.draw.choice(targets), signal.SIGKILL)
            self.done[role] += 1
            self.left -= 1


def run(arguments: argparse.Namespace, out: Path, scratch: Path) -> bool:
    config = config_of(arguments.trials, arguments.samples)
    command = [sys.executable, "-m", "tests.benchmarks.chaos", "--drive", str(out), str(scratch)]
    command += ["--trials", str(arguments.trials), "--samples", str(arguments.samples)]
    command += ["--seconds", str(arguments.seconds)]
    environment = os.environ | {"TMPDIR": str(scratch), "PYTHONPATH": str(REPOSITORY)}
    attack = Attack(scratch, arguments.kills, arguments.every, random.Random(arguments.seed))
    starts, hung, unstarted, started = 0, 0, 0, time.monotonic()
    while True:
        (scratch / "pids").unlink(missing_ok=True)
        with (scratch / "driver.log").open("ab") as output:
            driver = subprocess.Popen(command, cwd=REPOSITORY, env=environment, stdout=output, stderr=output)
        starts += 1
        seen, last = -1, time.monotonic()
        while driver.poll() is None:
            time.sleep(attack.draw.expovariate(1 / arguments.every))
            rows = len(list((out / "structures").glob("*.parquet"))) if (out / "structures").is_dir() else 0
            if rows != seen:
                seen, last = rows, time.monotonic()
            if time.monotonic() - last > HANG_S:
                hung += 1
                driver.kill()
            elif attack.left > 0 and seen > 0:
                attack.strike()
        if driver.returncode not in (0, -signal.SIGKILL) and not (scratch / "pids").exists():
            unstarted += 1  # a machine under load may not bring Ray up in its own time limit
        elif driver.returncode != -signal.SIGKILL:
            break
        if hung + unstarted > MOST_TROUBLE:
            break
    elapsed = time.monotonic() - started
    kills = ", ".join(f"{count} of the {role}" for role, count in attack.done.items())
    print(f"kills: {sum(attack.done.values())} ({kills}); starts of the command: {starts}; {elapsed:.0f} s")
    if unstarted:
        print(f"  Ray did not come up {unstarted} times")
    if attack.left > 0:
        print(f"  the sweep was over {attack.left} kills too early: raise --seconds or lower --every")
    if driver.returncode != 0:
        print(f"  the command ended with {driver.returncode}: {(scratch / 'driver.log').read_text()[-2000:]}")
    left = len(list(scratch.glob(f"{FOLDER_PREFIX}*")))
    print(f"folders of Ray left behind: {left} (its processes may outlive a driver by seconds)")
    return judge(config, out, hung) and attack.left == driver.returncode == 0


def judge(config: StudyConfig, out: Path, hung: int) -> bool:
    """Print what came of it. Returns whether every bar holds."""
    from actors.volumes import read_volume, volume_sha256
    from tests.actors.fakes import voxels

    trials = read_trials(out)
    total = config.budget.trials or 0
    expected = {structure_id(config.name, n, s): (n, s) for n in range(total) for s in range(config.samples)}
    rows = read_structures(out).to_pylist()
    written: dict[str, list[str]] = {}
    for path in structure_files(out):
        for name in pq.read_table(path, columns=["structure_id"])["structure_id"].to_pylist():
            written.setdefault(name, []).append(path.name)
    twice = {name: files for name, files in written.items() if len(files) > 1}
    told = [trial.number for trial in trials if trial.state.name == "COMPLETE"]
    wrong = 0
    for row in rows:
        if row["status"] == "failed":
            continue
        number, sample = expected[row["structure_id"]]
        seed = structure_seed(config.name, config.seed, number, sample)
        stored = read_volume(out, row["structure_id"])
        made = voxels(_request(config, row["structure_id"], seed))
        wrong += not (volume_sha256(made) == stored.sha256 == row["volume_sha256"] and row["seed"] == seed)
    lost = len(expected.keys() - {row["structure_id"] for row in rows})
    failed = sum(row["status"] == "failed" for row in rows)
    strange = len({row["structure_id"] for row in rows} - expected.keys())
    print(f"trials told under their own numbers: {len(told)} of {total}, numbers {'0 to' if told else ''} {total - 1}")
    print(f"rows lost {lost}, duplicated {len(twice)}, failed {failed}, strange {strange}; hangs {hung}")
    for name, files in twice.items():
        print(f"  {name} of trial {expected.get(name)} in {', '.join(files)}")
    print(f"volumes or seeds that are not those of their requests: {wrong}")
    good = told == list(range(total)) and len(trials) == total
    return good and not (lost or twice or failed or strange or hung or wrong)


def _request(config: StudyConfig, name: str, seed: int):  # type: ignore[no-untyped-def]
    from engine.request import Request

    return Request(structure_id=name, bundle=config.bundles[0].name, shape=config.shapes[0], seed=seed)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=300)
    parser.add_argument("--samples", type=int, default=3)
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--seconds", type=float, default=0.25, help="that the fake engine takes for a structure")
    parser.add_argument("--every", type=float, default=4.0, help="mean seconds between kills")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--drive", nargs=2, type=Path, metavar=("OUT", "SCRATCH"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.drive:
        out, scratch = arguments.drive
        drive(config_of(arguments.trials, arguments.samples), out, scratch, arguments.seconds)
        return
    print(machine())
    with tempfile.TemporaryDirectory(prefix="chaos", dir="/tmp", ignore_cleanup_errors=True) as folder:
        scratch = Path(folder) / "t"  # short: Ray's sockets lie below it
        scratch.mkdir()
        good = run(arguments, Path(folder) / "out", scratch)
    print("every bar holds" if good else "MISSED")
    sys.exit(not good)


if __name__ == "__main__":
    main()
