"""Berea reconstructed from 2D slices, judged against the unseen part of the tomogram.

    python -m tests.benchmarks.reconstruction --count 128 --seeds 0 1 2
    python -m tests.benchmarks.reconstruction --sampler mpdd --count 32 --seeds 0

Every seed generates `count` volumes of 64 voxels cubed; its curves and numbers are kept under runs/benchmarks, so a
run that is stopped goes on. Curves are judged against the null distribution (engine.evaluation.null).
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch

from engine.calibrate import sample_indices
from engine.descriptors.fractions import volume_fractions
from engine.descriptors.lineal_path import lineal_path
from engine.descriptors.surface import surface_area
from engine.descriptors.two_point import autocovariance, directional_s2
from engine.design import sampler_numbers
from engine.evaluation.compare import compare, compare_scalars
from engine.evaluation.null import blocks
from engine.models.bundle import load_bundle
from engine.models.inference import Inference
from engine.properties.transport import solve
from engine.request import Settings
from tests.benchmarks.common import BEREA_JUDGED_FROM, DATA, berea, machine, table

SIDE, LAGS, PORE = 64, 32, 0


def measured(volumes: list[np.ndarray], *, diffusivity: bool) -> dict[str, np.ndarray]:
    """Per-volume statistics of the pore phase: curves [N, R], numbers [N], diffusivity [N, 3]."""
    masks = np.stack([volume == PORE for volume in volumes])
    s2 = directional_s2(masks, LAGS).mean(dim=-2)  # [N, R]
    out = {
        "s2": s2.numpy(),
        "autocovariance": autocovariance(s2).numpy(),
        "lineal_path": lineal_path(masks, LAGS).mean(axis=-2),
        "surface_area": surface_area(masks),
        "fraction": volume_fractions(np.stack(volumes), [PORE])[:, 0],
    }
    if diffusivity:
        # Our own solver: the tests hold it to 0.5 % of TauFactor and takes a tenth of the time.
        soft = torch.from_numpy(masks).float()
        out["diffusivity"] = np.stack([solve(soft, axis, tolerance=1e-3).value.numpy() for axis in range(3)], axis=1)
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", default="berea")
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--count", type=int, default=128)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--sampler", default="spectral")
    parser.add_argument("--steps", type=int)
    parser.add_argument("--out", type=Path, default=Path("runs/benchmarks"))
    parser.add_argument("--no-diffusivity", action="store_true")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    diffusivity = not arguments.no_diffusivity

    bundle = load_bundle(arguments.bundle)
    inference = Inference(bundle)
    numbers = sampler_numbers(Settings(sampler=arguments.sampler, steps=arguments.steps), bundle)
    truth_file = arguments.out / "truth.npz"
    if truth_file.exists():
        truth = dict(np.load(truth_file))
    else:
        cubes = blocks(berea(arguments.data)[:, :, BEREA_JUDGED_FROM:], SIDE)
        truth = measured(list(cubes), diffusivity=True)
        np.savez(truth_file, **truth)

    rows: list[list[object]] = []
    record = []
    for seed in arguments.seeds:
        name = f"{arguments.sampler}-{bundle.card.hash[:8]}-{arguments.count}-{numbers.steps}-seed{seed}.npz"
        file = arguments.out / name
        if file.exists():
            found = dict(np.load(file))
        else:
            started = time.perf_counter()
            seeds = [seed * 1_000_000 + i for i in range(arguments.count)]
            volumes = sample_indices(bundle, inference, numbers, seeds, sampler=arguments.sampler)
            seconds = (time.perf_counter() - started) / arguments.count
            found = measured(volumes, diffusivity=diffusivity) | {"seconds": np.array(seconds)}
            np.savez(file, **found)
            np.save(arguments.out / name.replace(".npz", "-volumes.npy"), np.stack(volumes[:16]))
        row: list[object] = [seed]
        for curve in ("s2", "lineal_path", "autocovariance"):
            result = compare(found[curve], truth[curve], draws=2_000, seed=seed, r_max=LAGS)
            row.append(
                f"{100 * result.observed:.1f} / {100 * result.null_p95:.1f} {'pass' if result.passes else 'FAIL'} "
                f"(x{result.ratio_to_median:.2f}, bias {100 * result.signed_bias:+.1f} %)"
            )
        surface = found["surface_area"].mean() / truth["surface_area"].mean() - 1
        fraction = compare_scalars(found["fraction"], truth["fraction"])
        row += [f"{100 * surface:+.1f} %", f"{found['fraction'].mean():.4f} ({fraction.mean_shift:+.2f} s.e.)"]
        row.append(f"{fraction.sd_ratio:.2f}")
        if "diffusivity" in found:
            true, ours = (d["diffusivity"].ravel() for d in (truth, found))
            spread = compare_scalars(ours[ours > 0], true[true > 0])
            row += [
                f"{np.median(ours[ours > 0]):.4f} ({spread.median_shift:+.2f} sd)",
                f"{spread.sd_ratio:.2f}",
                f"{(ours > 0).mean():.3f}",
            ]
        row.append(f"{float(found['seconds']):.2f}")
        rows.append(row)
        record.append(row)
    header = ["seed", "S2 % / null p95 %", "lineal path", "autocovariance", "surface", "fraction", "fraction sd ratio"]
    if diffusivity:
        header += ["median D percolating", "D sd ratio", "percolating share"]
    print(machine())
    print(f"{arguments.sampler}, bundle {bundle.card.hash[:12]}, {arguments.count} volumes a seed, {numbers}")
    true = truth["diffusivity"].ravel()
    print(
        f"truth: fraction {truth['fraction'].mean():.4f}, surface {truth['surface_area'].mean():.4f}, "
        f"median D {np.median(true[true > 0]):.4f} (sd {true[true > 0].std():.4f}), percolating {(true > 0).mean():.3f}"
    )
    print(table([*header, "s/volume"], rows))
    (arguments.out / f"reconstruction-{arguments.sampler}.json").write_text(json.dumps(record, indent=1))


if __name__ == "__main__":
    torch.set_num_threads(2)
    main()
