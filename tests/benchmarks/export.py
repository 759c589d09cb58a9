"""Time, memory and size of every export format, each in a process of its own.

    python -m tests.benchmarks.export                 256^3, a binary random medium
    python -m tests.benchmarks.export --size 48       to see that it works

Memory is the peak of the process above what it held before the export, labels not counted.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.benchmarks.common import machine, table

CASES = (
    ("tiff", "smooth"), ("npy", "smooth"), ("vti", "smooth"), ("stl", "voxel"), ("stl", "smooth"), ("inp", "smooth")
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--case", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.case:
        one(arguments.size, *arguments.case.split(":"))
        return
    print(machine())
    rows: list[list[object]] = []
    for format, surface in CASES:
        name = f"{format}:{surface}"
        command = [sys.executable, "-m", "tests.benchmarks.export", "--size", str(arguments.size), "--case", name]
        done = subprocess.run(command, capture_output=True, text=True)
        found = done.stdout.split() if done.returncode == 0 else [f"failed ({done.returncode})", "-", "-"]
        rows.append([name if format == "stl" else format, *found])
    print(table(["format", "seconds", "memory, GB", "files, MB"], rows))


def one(size: int, format: str, surface: str) -> None:
    """Print seconds, GB and MB of one export."""
    from engine.export.formats import export, known_surface
    from tests.structures import level_cut

    labels = level_cut((size,) * 3, 0.3, 3.0, seed=0)
    export(labels[:8, :8, :8], {"solid": 0}, "/tmp", f"warm-{os.getpid()}", "npy")
    Path(f"/tmp/warm-{os.getpid()}.npy").unlink()
    before = resident()
    peak_before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        paths = export(
            labels, {"solid": 0, "pore": 1}, folder, "a", format, voxel_size_um=2.0, surface=known_surface(surface)
        )
        seconds = time.perf_counter() - started
        megabytes = sum(path.stat().st_size for path in paths) / 1e6
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # making the labels takes more than the small formats do: then the peak says only that it was not passed
    memory = f"{(peak - before) / 1e6:.2f}" if peak > peak_before else f"<{(peak_before - before) / 1e6:.2f}"
    print(f"{seconds:.1f} {memory} {megabytes:.0f}")


def resident() -> int:
    """kB of memory that this process holds now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() // 1024


if __name__ == "__main__":
    main()
