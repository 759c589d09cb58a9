"""Effective stiffness of a two-phase cell: six load cases, contrast 100; beside it a plain peer of the same run.

    python -m tests.benchmarks.elasticity --size 64

The peer is one forward and backward FFT of a displacement field of that size: an iteration cannot be cheaper. The error
is against a solve in double precision (--exact, slow), as the largest over the diagonal of the stiffness.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch

from engine.properties.elasticity import homogenize
from engine.properties.stiffness import isotropic, uniaxial_strain
from tests import structures
from tests.benchmarks.common import machine, table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--contrast", type=float, default=100.0, help="0 for a void")
    parser.add_argument("--fraction", type=float, default=0.4, help="of the stiff phase")
    parser.add_argument("--tolerance", type=float, default=1e-3)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--exact", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    n = arguments.size
    inside = torch.from_numpy(structures.level_cut((n, n, n), arguments.fraction, n / 24, seed=3))
    indicators = torch.stack([1 - inside, inside])[None].float().to(arguments.device)
    soft = 1 / arguments.contrast if arguments.contrast else 0.0
    stiffness = torch.stack([isotropic(soft, 0.35 if soft else 0.0), isotropic(1.0, 0.2)])
    vectors = torch.randn(3, n, n, n, device=arguments.device)

    def peer() -> None:
        torch.fft.irfftn(torch.fft.rfftn(vectors, dim=(1, 2, 3)), s=(n, n, n), dim=(1, 2, 3))

    def timed(work: Callable[[], object]) -> tuple[float, object]:
        started = time.perf_counter()
        result = work()
        if arguments.device.startswith("cuda"):
            torch.cuda.synchronize()
        return time.perf_counter() - started, result

    peer()
    seconds, peers, gradients, result = [], [], [], None
    for _ in range(arguments.repeats):
        taken, result = timed(lambda: homogenize(indicators, stiffness, tolerance=arguments.tolerance))
        seconds.append(taken)
        strain = uniaxial_strain(result.stiffness[0], 0)
        gradients.append(timed(lambda: result.stiffness_gradient(torch.outer(strain, strain)[None]))[0])  # noqa: B023
        peers.append(min(timed(peer)[0] for _ in range(5)))
    print(machine())
    row = [
        f"{n}^3, contrast {arguments.contrast:g}",
        f"{statistics.median(seconds):.1f} (min {min(seconds):.1f}, max {max(seconds):.1f})",
        result.iterations[0],
        f"{statistics.median(peers) * 1e3:.1f}",
        f"{statistics.median(a / b for a, b in zip(seconds, peers, strict=True)) / sum(result.iterations[0]):.1f}",
        f"{statistics.median(gradients):.2f}",
    ]
    header = ["cell", "six load cases, s", "steps", "one FFT pair, ms", "step / FFT pair", "gradient of E, s"]
    print(table(header, [row]))
    if arguments.exact:
        exact = homogenize(indicators.double(), stiffness, tolerance=1e-9)
        error = (result.stiffness / exact.stiffness - 1)[0].diagonal().abs().max()
        print(f"largest error of the diagonal {float(error):.1e}")


if __name__ == "__main__":
    main()
