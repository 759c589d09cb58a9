"""Volumes of any size, cubic or not, periodic or not: do they look alike, and what does their making leave behind?

    python -m tests.benchmarks.size --sizes 64 96 --volumes 12 4
    python -m tests.benchmarks.size --sizes 64 192 256 --volumes 27 2 1
    python -m tests.benchmarks.size --sizes 64 96 --volumes 24 8 --periodic

For every size: seconds and the peak of memory beside what the formula states; fraction, surface and S2 against those of
the first size in combined standard errors (larger volumes are cut into blocks of the first size for their scatter); a
rhythm at the latents' period in interfaces and in the fraction, an autocovariance peak at the crop's length, and
interfaces across opposite faces (`engine.evaluation.seams`: size, score in standard errors). Volumes are kept under
runs/benchmarks, so a run that is stopped goes on. A shape such as 64x96x128 stands where a size may.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from engine.descriptors.surface import surface_area
from engine.descriptors.two_point import directional_s2
from engine.design import generate, request_bytes
from engine.evaluation.null import blocks
from engine.evaluation.seams import Trace, curves_apart, face_trace, repeat_trace, rhythm_trace
from engine.models.bundle import Card, load_bundle, read_card
from engine.models.inference import Inference
from engine.request import Request
from tests.benchmarks.common import machine, table

LAGS = 32


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", default="berea")
    parser.add_argument("--sizes", nargs="+", default=["64", "96"])
    parser.add_argument("--volumes", type=int, nargs="+", default=[12, 4])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--periodic", action="store_true")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("runs/benchmarks"))
    parser.add_argument("--one", type=Path, help=argparse.SUPPRESS)  # the child process: makes one size
    arguments = parser.parse_args()
    if len(arguments.sizes) != len(arguments.volumes):
        parser.error("--volumes: one number for each size")
    if arguments.one is not None:
        make(arguments, shape_of(arguments.sizes[0]), arguments.volumes[0])
        return
    arguments.out.mkdir(parents=True, exist_ok=True)
    card = read_card(arguments.bundle)
    phase = card.phases[0].label
    print(machine())
    print(f"bundle {card.name} {card.hash[:12]}, {'periodic' if arguments.periodic else 'not periodic'}")
    rows: list[list[object]] = []
    reference: list[NDArray[np.uint8]] = []
    for size, count in zip(arguments.sizes, arguments.volumes, strict=True):
        volumes, record = made(arguments, card, size, count)
        reference = reference or volumes
        rows.append([size, count, *numbers(volumes, reference, phase, card, arguments.periodic), *cost(record)])
    header = ["voxels", "volumes", "fraction", "surface", "S2, largest difference", "block sd of fraction"]
    header += ["rhythm, interfaces", "rhythm, fraction", "repeat at crop", "faces", "s/volume", "memory MB (formula)"]
    print(table(header, rows))


def shape_of(text: str) -> tuple[int, int, int]:
    """`64` or `64x96x128`."""
    sides = [int(part) for part in text.split("x")]
    z, y, x = sides * 3 if len(sides) == 1 else sides
    return z, y, x


def numbers(
    volumes: list[NDArray[np.uint8]], reference: list[NDArray[np.uint8]], phase: int, card: Card, periodic: bool
) -> list[str]:
    """Of one size, in words; errors from blocks of the reference's size."""
    side = min(reference[0].shape)
    parts = {name: [part == phase for volume in some for part in blocks(volume, side)]
             for name, some in (("ours", volumes), ("reference", reference))}  # fmt: skip
    fractions = np.array([part.mean() for part in parts["ours"]])
    surfaces = np.array([float(surface_area(part)) for part in parts["ours"]])
    s2 = {name: [directional_s2(part, LAGS).mean(dim=0).numpy() for part in some] for name, some in parts.items()}
    apart = curves_apart(s2["ours"], s2["reference"]) if volumes is not reference else 0.0
    period = card.autoencoder.factor
    out = [with_error(fractions), with_error(surfaces), "reference" if volumes is reference else f"{apart:.1f} s.e."]
    out.append(f"{fractions.std(ddof=1):.4f}")
    out += [words(rhythm_trace(volumes, period)), words(rhythm_trace(volumes, period, "fraction", phase))]
    longest = max(volumes[0].shape)
    out.append(words(repeat_trace(volumes, card.crop, phase=phase)) if longest > card.crop + 12 else "/")
    # A period of 1: a periodic volume's faces lie anywhere on the latents' lattice.
    out.append(words(face_trace(volumes)) if periodic else words(face_trace(volumes, period)))
    return out


def words(trace: Trace) -> str:
    return f"{100 * trace.size:+.1f} % ({trace.score:+.1f} s.e.)"


def with_error(values: NDArray[np.float64]) -> str:
    error = values.std(ddof=1) / len(values) ** 0.5 if len(values) > 1 else float("nan")
    return f"{values.mean():.4f} ± {error:.4f}"


def cost(record: dict[str, float]) -> list[str]:
    return [f"{record['seconds']:.1f}", f"{record['peak'] / 1e6:.0f} ({record['formula'] / 1e6:.0f})"]


def made(
    arguments: argparse.Namespace, card: Card, size: str, count: int
) -> tuple[list[NDArray[np.uint8]], dict[str, float]]:
    """Volumes of one size, made in a process of its own, whose memory is seen by itself."""
    border = "periodic" if arguments.periodic else "open"
    folder = arguments.out / f"size-{card.name}-{card.hash[:8]}-{size}-{border}-{arguments.seed}-{arguments.device}"
    folder.mkdir(exist_ok=True)
    if len(list(folder.glob("*.npy"))) < count:
        command = [sys.executable, "-m", "tests.benchmarks.size", *sys.argv[1:]]
        subprocess.run([*command, "--one", str(folder), "--sizes", size, "--volumes", str(count)], check=True)
    record: dict[str, float] = json.loads((folder / "cost.json").read_text())
    return [np.load(folder / f"{number}.npy") for number in range(count)], record


def make(arguments: argparse.Namespace, shape: tuple[int, int, int], count: int) -> None:
    """One volume after the other, so that time and memory are those of one."""
    torch.set_num_threads(arguments.threads)
    bundle = load_bundle(arguments.bundle, arguments.device)
    inference = Inference(bundle)
    cuda = arguments.device.startswith("cuda")
    requests = [
        Request(structure_id=str(n), bundle=arguments.bundle, shape=shape, seed=arguments.seed * 1_000_000 + n,
                periodic=arguments.periodic)
        for n in range(count)
    ]  # fmt: skip
    generate([Request(structure_id="warm", bundle=arguments.bundle, shape=(32, 32, 32), seed=0)], bundle)
    before = 0 if cuda else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    seconds = []
    for number, request in enumerate(requests):
        if (arguments.one / f"{number}.npy").exists():
            continue
        started = time.perf_counter()
        (one,) = generate([request], bundle, inference=inference)
        seconds.append(time.perf_counter() - started)
        np.save(arguments.one / f"{number}.npy", one.labels)
        print(f"{arguments.sizes[0]} {number + 1}/{count}: {seconds[-1]:.1f} s", file=sys.stderr, flush=True)
    peak = torch.cuda.max_memory_allocated() if cuda else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    record = {
        "seconds": float(np.median(seconds)),
        "peak": float(peak - before),
        "formula": float(request_bytes(requests[0], bundle.card)),
    }
    (arguments.one / "cost.json").write_text(json.dumps(record))


if __name__ == "__main__":
    main()
