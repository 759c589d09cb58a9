"""Seconds per 64-cubed volume in a batch of 8, and beside it a plain peer of the same run.

    python -m tests.benchmarks.speed

The peer is one 2048 x 2048 float32 matrix product on the same threads: machines differ and are shared, the ratio does
not.
"""

import argparse
import statistics
import time

import torch

from engine.calibrate import sample_indices
from engine.models.bundle import load_bundle
from engine.models.inference import Inference
from tests.benchmarks.common import machine


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", default="berea")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    bundle = load_bundle(arguments.bundle, arguments.device)
    inference, numbers = Inference(bundle), bundle.calibration.numbers
    matrix = torch.randn(2048, 2048, device=arguments.device)

    def wait() -> None:
        if arguments.device.startswith("cuda"):
            torch.cuda.synchronize()

    def seconds(work: object) -> float:
        wait()
        started = time.perf_counter()
        work()  # type: ignore[operator]
        wait()
        return time.perf_counter() - started

    def batch() -> None:
        sample_indices(bundle, inference, numbers, list(range(arguments.batch)), batch=arguments.batch)

    batch()
    ours, peer = [], []
    for _ in range(arguments.repeats):
        ours.append(seconds(batch) / arguments.batch)
        peer.append(seconds(lambda: [matrix @ matrix for _ in range(20)]) / 20)
    print(machine())
    print(f"{numbers}")
    print(
        f"{statistics.median(ours):.2f} s per volume (min {min(ours):.2f}, max {max(ours):.2f}); "
        f"matrix product {1e3 * statistics.median(peer):.1f} ms; "
        f"ratio {statistics.median(a / b for a, b in zip(ours, peer, strict=True)):.0f}"
    )


if __name__ == "__main__":
    torch.set_num_threads(2)
    main()
