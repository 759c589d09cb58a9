"""Permeability against published values: plates, square ducts and cubic arrays of spheres, at several voxel sizes.

    python -m tests.benchmarks.permeability --size 16 32 48
    python -m tests.benchmarks.permeability --size 16 --rock 64      and the pore of Berea, 64^3

Plates: w^2/12 (Poiseuille). Ducts: the series of a rectangular duct. Spheres: the drag of a simple cubic array by Zick
and Homsy, k = 2 a^2 / (9 c K); sources in `tests.published`. Every case is printed with its outcome and steps,
and where the walls fall on voxel faces with the order in the voxel size at which the error falls.
"""

import argparse
import math
import resource
import time
from pathlib import Path

import numpy as np
import torch

from engine.properties.permeability import ARRAYS, permeability
from tests import structures
from tests.benchmarks.common import machine, table
from tests.benchmarks.materials import DATA, MATERIALS
from tests.published import ZICK_HOMSY, sphere_drag, square_duct_flow


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--size", type=int, nargs="*", default=[16, 32], help="voxels on a side of the spheres' cell")
    parser.add_argument("--fraction", type=float, nargs="*", default=list(ZICK_HOMSY), choices=list(ZICK_HOMSY))
    parser.add_argument("--rock", type=int, default=0, help="side of a block of Berea's pore; 0 for none")
    parser.add_argument("--tolerance", type=float, default=1e-4)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    print(machine())
    rows = [_row("plates", [(_plates(w), _plates_value(w)) for w in (4, 8, 16)], arguments.tolerance)]
    rows.append(_row("square duct", [(_duct(a), _duct_value(a)) for a in (4, 8, 16)], arguments.tolerance))
    for fraction in arguments.fraction:
        cases = [_spheres(fraction, size) for size in arguments.size]
        name = f"spheres, fraction {fraction:g} (K = {ZICK_HOMSY[fraction]:g})"
        rows.append(_row(name, cases, arguments.tolerance))
    print(table(["case", "voxels", "error of k, %", "order", "MINRES steps", "s", "outcome"], rows))
    if arguments.rock:
        n = arguments.rock
        pore = np.ascontiguousarray(MATERIALS["berea"].whole(arguments.data)[:n, :n, -n:] == 0)
        value, steps, seconds, outcome = _solve(pore, arguments.tolerance)
        print(f"Berea pore {n}^3: k = {value:.4g} voxel^2, {outcome}, {steps} steps, {seconds:.1f} s")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(f"a solve asks for {8 * ARRAYS} bytes a voxel before it starts; peak of this process {peak:.2f} GB")


def _row(name: str, cases: list[tuple[np.ndarray, float]], tolerance: float) -> list[object]:
    solved = [_solve(fluid, tolerance) for fluid, _ in cases]
    errors = [value / expected - 1 for (value, *_), (_, expected) in zip(solved, cases, strict=True)]
    sides = [round(float(fluid[0].sum(0).max())) if len(fluid) == 2 else len(fluid) for fluid, _ in cases]
    order = "/"
    if not name.startswith("spheres"):
        order = f"{math.log(abs(errors[0] / errors[-1])) / math.log(sides[-1] / sides[0]):.1f}"
    return [
        name,
        ", ".join(map(str, sides)),
        ", ".join(f"{100 * error:+.2f}" for error in errors),
        order,
        ", ".join(str(steps) for _, steps, _, _ in solved),
        ", ".join(f"{seconds:.1f}" for _, _, seconds, _ in solved),
        ", ".join(sorted({outcome for *_, outcome in solved})),
    ]


def _solve(fluid: np.ndarray, tolerance: float) -> tuple[float, int, float, str]:
    started = time.perf_counter()
    result = permeability(torch.from_numpy(fluid)[None], 0, tolerance=tolerance)
    return float(result.value), result.iterations[0], time.perf_counter() - started, str(result.outcome[0])


def _plates(width: int) -> np.ndarray:
    fluid = np.zeros((2, width + 2, 3), bool)
    fluid[:, 1:-1] = True
    return fluid


def _plates_value(width: int) -> float:
    return width / (width + 2) * width**2 / 12


def _duct(side: int) -> np.ndarray:
    fluid = np.zeros((2, side + 2, side + 2), bool)
    fluid[:, 1:-1, 1:-1] = True
    return fluid


def _duct_value(side: int) -> float:
    return side**4 / (side + 2) ** 2 * square_duct_flow()


def _spheres(fraction: float, size: int) -> tuple[np.ndarray, float]:
    """One sphere in a cell whose faces are mirrors, and k = 2 a^2 / (9 c K)."""
    inside = structures.cubic_spheres((size,) * 3, size, (fraction * 3 / (4 * math.pi)) ** (1 / 3) * size)
    c = float(inside.mean())
    radius = (c * 3 / (4 * math.pi)) ** (1 / 3) * size
    return inside == 0, 2 * radius**2 / (9 * c * sphere_drag(c, near=fraction))


if __name__ == "__main__":
    main()
