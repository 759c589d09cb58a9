"""S2 of many volumes against NumPy and PoreSpy in the same run, and what each descriptor of one volume costs.

    python -m tests.benchmarks.descriptors                          64 volumes of 64^3, 2 threads
    python -m tests.benchmarks.descriptors --count 8 --size 32      to see that it works

Ours counts exactly (double precision) over all directions for r < size / 2, and along the axes. The obvious NumPy FFT
zero-pads to twice the side (without that, pairs wrap around the border), takes the inverse of the squared spectrum and
averages over shells by `bincount`. PoreSpy's `two_point_correlation` does the same with its own bins; it is timed where
it is installed (`pip install porespy`; it is no dependency of this project). Every code sees the volumes one after the
other or as a batch, as it likes; the codes take turns, and the median over the turns is kept.
"""

import argparse
import itertools
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from engine.descriptors.describe import describe
from engine.descriptors.two_point import directional_s2, radial_s2
from tests.benchmarks.common import machine, table
from tests.structures import level_cut


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=64)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    print(machine())
    side, r_max = (arguments.size,) * 3, arguments.size // 2
    volumes = np.stack([level_cut(side, 0.3, 2.0, seed) for seed in range(arguments.count)]).astype(bool)

    codes: dict[str, Callable[[], object]] = {
        "mesoforge, all directions": lambda: radial_s2(volumes, r_max),
        "mesoforge, along the axes": lambda: directional_s2(volumes, r_max),
        "NumPy FFT, all directions": lambda: [numpy_s2(volume, r_max) for volume in volumes],
    }
    try:
        from porespy.metrics import two_point_correlation
    except ImportError:
        print("PoreSpy is not installed: not timed")
    else:
        codes["PoreSpy, all directions"] = lambda: [two_point_correlation(volume, bins=r_max) for volume in volumes]
        compare_with_porespy(two_point_correlation(volumes[0], bins=r_max), volumes[0], r_max)
    np.testing.assert_allclose(
        radial_s2(volumes[:2], r_max), [numpy_s2(each, r_max) for each in volumes[:2]], rtol=1e-9
    )

    seconds: dict[str, list[float]] = {name: [] for name in codes}
    for _ in range(arguments.repeats):
        for name, code in codes.items():
            started = time.perf_counter()
            code()
            seconds[name].append(time.perf_counter() - started)
    medians = {name: statistics.median(found) for name, found in seconds.items()}
    ours = medians["mesoforge, all directions"]
    rows: list[list[object]] = [[name, f"{found:.2f}", f"{found / ours:.1f}"] for name, found in medians.items()]
    print(f"\nS2 of {arguments.count} volumes of {arguments.size}^3, r < {r_max}")
    print(table(["code", "seconds", "times ours over all directions"], rows))
    describe_one(volumes[0].astype(np.uint8))


def numpy_s2(mask: np.ndarray, r_max: int) -> np.ndarray:
    """Mean over the pairs of each shell, as one writes it down."""
    sizes = [2 * n for n in mask.shape]
    spectrum = np.fft.fftn(mask, s=sizes)
    products = np.fft.ifftn(np.abs(spectrum) ** 2).real
    lags = [np.fft.fftfreq(m, 1 / m) for m in sizes]
    shell = np.rint(np.sqrt(sum(lag**2 for lag in np.ix_(*lags)))).astype(int)
    places = [np.maximum(n - np.abs(lag), 0) for n, lag in zip(mask.shape, lags, strict=True)]
    pairs = places[0][:, None, None] * places[1][:, None] * places[2]
    both, total = (np.bincount(shell.ravel(), weights=each.ravel())[:r_max] for each in (products, pairs))
    return both / total


def compare_with_porespy(found: Any, mask: np.ndarray, r_max: int) -> None:
    """Its shells reach from r to r + 1, ours from r - 1/2 to r + 1/2, and it divides by the fraction: at the mean
    distances of its shells our curve must have its values."""
    lag = np.arange(1 - r_max, r_max)
    distance = np.sqrt(sum(axis**2 for axis in np.ix_(lag, lag, lag))).ravel()
    means = []
    for shell in (np.floor(distance).astype(int), np.rint(distance).astype(int)):
        means.append((np.bincount(shell, weights=distance) / np.maximum(np.bincount(shell), 1))[:r_max])
    theirs = np.asarray(found.probability)[1 : r_max - 2] * mask.mean()
    at_their_distances = np.interp(means[0][1 : r_max - 2], means[1], radial_s2(mask, r_max).numpy())
    np.testing.assert_allclose(theirs, at_their_distances, rtol=0.03)


def describe_one(labels: np.ndarray) -> None:
    """Seconds that each descriptor of one volume takes."""
    marks: list[tuple[str, float]] = []
    describe(labels, {"a": 0, "b": 1}, note=lambda what: marks.append((what, time.perf_counter())))
    marks.append(("end", time.perf_counter()))
    spent: dict[str, float] = {}
    for (what, since), (_, until) in itertools.pairwise(marks):
        name = what.partition(" of ")[0]
        spent[name] = spent.get(name, 0.0) + until - since
    print(f"\ndescriptors of one volume of {'x'.join(map(str, labels.shape))}, two phases")
    print(table(["descriptor", "seconds"], [[name, f"{found:.3f}"] for name, found in spent.items()]))


if __name__ == "__main__":
    main()
