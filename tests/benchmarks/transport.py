"""Effective diffusivity by our solver and by TauFactor at equal error, in the same run.

    python -m tests.benchmarks.transport --size 64 128 --repeats 3
    python -m tests.benchmarks.transport --whole                      200 x 251 x 256 voxels
    python -m tests.benchmarks.transport --device cuda --batch 64     64 volumes of 64^3, three axes

The reference is our solve in double precision to 1e-8. Each code runs with the loosest of its tolerances whose error is
at most 0.1 %, and the whole call is timed, from the labelled array to the number. Both errors and the cost of value +
gradient over value alone are printed too.
"""

import argparse
import contextlib
import io
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from engine.properties.transport import solve, value_and_gradient
from tests.benchmarks.common import machine, table
from tests.benchmarks.materials import DATA, MATERIALS

BAR = 1e-3
OURS = (3e-3, 1e-3, 3e-4, 1e-4)
PEERS = (1e-1, 3e-2, 1e-2, 3e-3, 1e-3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--size", type=int, nargs="*", default=[64, 128])
    parser.add_argument("--whole", action="store_true", help="200 x 251 x 256 of Berea's solid instead")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--batch", type=int, default=0, help="volumes of 64^3 solved together, three axes each")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    os.environ.setdefault("MPLBACKEND", "Agg")
    import taufactor  # noqa: F401  # its import of plotting libraries is not part of a call

    print(machine())
    cathode = MATERIALS["nmc-cathode"].whole(arguments.data)
    if arguments.batch:
        _batch(cathode, arguments.batch, arguments.device, arguments.repeats)
        return
    volumes = {f"NMC pore {n}^3": cathode[:n, :n, :n] == 0 for n in arguments.size}
    if arguments.whole:
        volumes = {"Berea solid 200x251x256": MATERIALS["berea"].whole(arguments.data)[:200, :251, :256] == 1}
    rows = [_compare(name, np.ascontiguousarray(mask), arguments.repeats) for name, mask in volumes.items()]
    header = ["volume", "ours, s (error)", "TauFactor, s (error)", "ratio", "gradient, cost over value"]
    print(table(header, rows))


def _compare(name: str, mask: np.ndarray, repeats: int) -> list[object]:
    reference = float(solve(torch.from_numpy(mask)[None].double(), 0, tolerance=1e-8).value)

    def ours(tolerance: float) -> float:
        return float(solve(torch.from_numpy(mask)[None], 0, tolerance=tolerance).value)

    def peer(criterion: float) -> float:
        return _taufactor(mask[None], "cpu", criterion)[0]

    tolerance, error = _loosest(ours, OURS, reference)
    criterion, peer_error = _loosest(peer, PEERS, reference)
    seconds, peer_seconds, with_gradient = [], [], []
    for _ in range(repeats):  # alternating, so that both see the same load
        seconds.append(_seconds(lambda: ours(tolerance)))
        with_gradient.append(_seconds(lambda: value_and_gradient(torch.from_numpy(mask)[None], 0, tolerance=tolerance)))
        peer_seconds.append(_seconds(lambda: peer(criterion)))
    ratio = statistics.median(b / a for a, b in zip(seconds, peer_seconds, strict=True))
    cost = statistics.median(b / a for a, b in zip(seconds, with_gradient, strict=True))
    return [
        name,
        f"{statistics.median(seconds):.2f} ({100 * error:+.3f} %, tolerance {tolerance:g})",
        f"{statistics.median(peer_seconds):.2f} ({100 * peer_error:+.3f} %, conv_crit {criterion:g})",
        f"{ratio:.1f}",
        f"{cost:.2f}",
    ]


def _batch(cathode: np.ndarray, count: int, device: str, repeats: int) -> None:
    """Many small volumes, three axes: what a study measures."""
    generator = np.random.default_rng(0)
    corners = [[generator.integers(0, side - 63) for side in cathode.shape] for _ in range(count)]
    masks = np.stack([cathode[z : z + 64, y : y + 64, x : x + 64] == 0 for z, y, x in corners])
    volumes = torch.from_numpy(masks).to(device)

    def ours() -> list[float]:
        return [float(v) for axis in range(3) for v in solve(volumes, axis, tolerance=1e-3).value]

    def peer() -> list[float]:
        turned = [np.ascontiguousarray(np.moveaxis(masks, axis + 1, 1)) for axis in range(3)]
        return [value for each in turned for value in _taufactor(each, device, 1e-2)]

    exact = [float(v) for axis in range(3) for v in solve(volumes.double(), axis, tolerance=1e-8).value]
    rows = []
    for name, call in (("ours", ours), ("TauFactor", peer)):
        found = call()
        worst = max(abs(a / b - 1) for a, b in zip(found, exact, strict=True) if b)
        rows.append([name, f"{statistics.median(_seconds(call) for _ in range(repeats)):.2f}", f"{100 * worst:.3f} %"])
    print(table([f"{count} volumes of 64^3, three axes", "s", "largest error"], rows))


def _taufactor(masks: np.ndarray, device: str, criterion: float) -> list[float]:
    from taufactor import Solver

    with contextlib.redirect_stdout(io.StringIO()):
        solver = Solver(masks.astype(np.uint8), device=device)
        solver.solve(verbose=False, conv_crit=criterion)
    return [float(value) for value in solver.D_rel]


def _loosest(call: Callable[[float], float], settings: tuple[float, ...], reference: float) -> tuple[float, float]:
    """The first setting whose relative error is within the bar, and that error."""
    error = float("inf")
    for setting in settings:
        error = call(setting) / reference - 1
        if abs(error) <= BAR:
            return setting, error
    raise SystemExit(f"no setting of {settings} reaches {BAR:g}: {error:g}")


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
