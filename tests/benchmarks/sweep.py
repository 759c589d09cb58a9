"""A real sweep as its user starts it: seconds to the first structure, and the share of time that design actors work.

    python -m tests.benchmarks.sweep                       # the Berea bundle, 8 trials of 64 voxels a side
    python -m tests.benchmarks.sweep --size 32 --trials 4

The first structure is there when its volume is on disk. The share is that of `runs/*.json`: time inside the engine of
all design actors, of that from when each was ready to its last answer. Start it twice and count the second: the machine
is warm.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.benchmarks.common import machine

REPOSITORY = Path(__file__).resolve().parents[2]
STUDY = """
bundle: berea
size: {size}
seed: 1
trials: {trials}
sampler: qmc
search:
  fraction[pore]: {{low: 0.15, high: 0.25, tolerance: 0.01}}
objective: {{maximize: "diffusivity[pore,z]"}}
"""
POLL_S = 0.05


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--trials", type=int, default=8)
    arguments = parser.parse_args()
    print(machine())
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        folder = Path(name)
        (folder / "study.yaml").write_text(STUDY.format(size=arguments.size, trials=arguments.trials))
        command = [sys.executable, "-c", "from cluster.cli import main; main()", "sweep", "study.yaml", "--out", "out"]
        environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
        started, first = time.perf_counter(), None
        process = subprocess.Popen(command, cwd=folder, env=environment)
        while process.poll() is None:
            time.sleep(POLL_S)
            if first is None and any((folder / "out" / "volumes").glob("*.parquet")):
                first = time.perf_counter() - started
        elapsed = time.perf_counter() - started
        if process.returncode != 0 or first is None:
            sys.exit(f"the sweep ended with {process.returncode}")
        [record] = (folder / "out" / "runs").glob("*.json")
        spent = json.loads(record.read_text())["time"]
    print(f"start to first structure ({arguments.size}³): {first:.1f} s; {arguments.trials} trials: {elapsed:.1f} s")
    print(f"share of design-actor time inside the engine: {spent['design_share']:.1%}")
    print(f"  busy seconds by actor: {', '.join(f'{name} {each:.1f}' for name, each in spent['busy_s'].items())}")


if __name__ == "__main__":
    main()
