"""Synthetic materials of known truth, trained on 2D slices and judged in 3D by as many true volumes as are wanted.

    mesoforge synth levelcut --count 16 --size 128 --seed 1 --out levelcut
    mesoforge train --images levelcut --phases matrix,phase --material "Gaussian level cut" --out runs/levelcut
    python -m tests.benchmarks.synthetic_truth --material levelcut --bundle runs/levelcut

    mesoforge synth plurigaussian --count 16 --size 128 --seed 1 --out plurigaussian
    mesoforge train --images plurigaussian --phases a,b,c --material "Plurigaussian" --out runs/plurigaussian
    python -m tests.benchmarks.synthetic_truth --material plurigaussian --bundle runs/plurigaussian

True volumes are disjoint blocks of larger samples of other seeds, so none is periodic. S2 and lineal path: relative
area between the means, lags below 32, mean of the axes. Diffusivity: median over volumes and axes that percolate.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from engine.calibrate import sample_indices
from engine.descriptors.discrepancy import relative_area
from engine.descriptors.lineal_path import lineal_path
from engine.descriptors.surface import surface_area
from engine.descriptors.two_point import directional_s2
from engine.evaluation.null import blocks
from engine.micrographs.synthetic.gaussian import LevelCut, Plurigaussian
from engine.models.bundle import load_bundle
from engine.models.inference import Inference
from engine.properties.transport import solve
from tests.benchmarks.common import machine, table

SIDE, LARGE, LAGS = 64, 128, 32
BARS = {"S₂": 2, "lineal path": 3, "surface": 3, "median diffusivity": 5}
"""Per cent."""
MATERIALS = {"levelcut": LevelCut(), "plurigaussian": Plurigaussian()}
Sums = dict[str, NDArray[np.float64]]


def measured(cubes: NDArray[np.uint8], phases: int, *, diffusivity: bool) -> Sums:
    """Per volume: curves [N, K, R], surfaces and fractions [N, K], diffusivities [N, K, 3]."""
    masks = np.stack([cubes == k for k in range(phases)], axis=1)
    out = {
        "s2": directional_s2(masks, LAGS).mean(dim=-2).numpy(),
        "lineal": lineal_path(masks, LAGS).mean(axis=-2),
        "surface": surface_area(masks),
        "fraction": masks.mean(axis=(2, 3, 4)),
    }
    if diffusivity:
        soft = torch.from_numpy(masks.reshape(-1, *masks.shape[2:])).float()
        found = np.stack([solve(soft, axis, tolerance=1e-3).value.numpy() for axis in range(3)], axis=1)
        out["diffusivity"] = found.reshape(len(cubes), phases, 3)
    return out


def together(parts: list[Sums]) -> Sums:
    return {name: np.concatenate([part[name] for part in parts if name in part]) for name in parts[0]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--material", choices=MATERIALS, required=True)
    parser.add_argument("--bundle", required=True)
    parser.add_argument("--count", type=int, default=256)
    parser.add_argument("--true", type=int, default=2_000)
    parser.add_argument("--true-diffusivity", type=int, default=400, help="of the true volumes, these are solved too")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--out", type=Path, default=Path("runs/benchmarks"))
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    material = MATERIALS[arguments.material]
    phases = len(material.phases)

    kept = arguments.out / f"truth-{arguments.material}-{arguments.true}-{arguments.true_diffusivity}.npz"
    if kept.exists():
        truth = dict(np.load(kept))
    else:
        parts, solved = [], 0
        for i in range(-(-arguments.true // 8)):
            cubes = blocks(material.sample((LARGE, LARGE, LARGE), seed=1_000_000 + i), SIDE)
            parts.append(measured(cubes, phases, diffusivity=solved < arguments.true_diffusivity))
            solved += len(cubes)
        truth = together(parts)
        np.savez(kept, **truth)  # type: ignore[arg-type]

    bundle = load_bundle(arguments.bundle)
    inference = Inference(bundle)
    rows: list[list[object]] = []
    for seed in arguments.seeds:
        parts = []
        seconds = 0.0
        for start in range(0, arguments.count, 8):
            seeds = [seed * 1_000_000 + i for i in range(start, min(start + 8, arguments.count))]
            started = time.perf_counter()
            cubes = np.stack(sample_indices(bundle, inference, bundle.calibration.numbers, seeds))
            seconds += time.perf_counter() - started
            parts.append(measured(cubes, phases, diffusivity=True))
        found = together(parts)
        for k, phase in enumerate(material.phases):
            ours, true = (part["diffusivity"][:, k].ravel() for part in (found, truth))
            median = np.median(ours[ours > 0]) / np.median(true[true > 0]) - 1 if (ours > 0).any() else np.nan
            errors = [
                *(
                    100 * float(relative_area(found[name][:, k].mean(axis=0), truth[name][:, k].mean(axis=0)))
                    for name in ("s2", "lineal")
                ),
                100 * (found["surface"][:, k].mean() / truth["surface"][:, k].mean() - 1),
                100 * median,
            ]
            over = (abs(error) > bar for error, bar in zip(errors, BARS.values(), strict=True))
            cells = [f"{error:+.1f}{' **over**' if o else ''}" for error, o in zip(errors, over, strict=True)]
            percolating = f"{(ours > 0).mean():.2f} ({(true > 0).mean():.2f})"
            share = f"{found['fraction'][:, k].mean():.4f} ({truth['fraction'][:, k].mean():.4f})"
            rows.append([seed, phase, *cells, percolating, share, f"{seconds / arguments.count:.2f}"])
    header = ["seed", "phase", *(f"{name}, % (bar {bar})" for name, bar in BARS.items())]
    header += ["percolate (true)", "fraction (true)", "s a volume"]
    print(machine())
    print(f"{arguments.material}, bundle {bundle.card.hash[:12]}, {arguments.count} volumes a seed")
    print(table(header, rows))


if __name__ == "__main__":
    torch.set_num_threads(2)
    main()
