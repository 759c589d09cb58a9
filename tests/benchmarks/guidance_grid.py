"""Guided design on a fixed grid: pore fraction and pore diffusivity along z together, all requests counted.

    python -m tests.benchmarks.guidance_grid --seeds 0 1 2

Fractions .16, .20, .24 (± .01) times .7, 1, 1.4 times the natural median diffusivity at that fraction (± 5 %). The
natural median is a power law fitted to the true blocks of the whole tomogram, three axes each. TauFactor has the last
word. Requests run one by one, so a time is that of one structure on this machine.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch

from engine.descriptors.surface import surface_area
from engine.design import generate, judge, measure
from engine.evaluation.null import blocks
from engine.evaluation.proportions import wilson_interval
from engine.guidance.targets import parse_target
from engine.models.bundle import load_bundle
from engine.properties.transport import solve
from engine.request import Request
from tests.benchmarks.common import DATA, berea, machine, table

FRACTIONS, FACTORS = (0.16, 0.20, 0.24), (0.7, 1.0, 1.4)


def natural_law(volume: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Power laws of the true blocks: coefficients of log D (percolating) and of log surface area in log fraction."""
    cubes = blocks(volume, 64) == 0
    phi = cubes.mean(axis=(1, 2, 3))
    d = np.stack([solve(torch.from_numpy(cubes).float(), axis).value.numpy() for axis in range(3)], axis=1)
    keep = d > 0
    x = np.log(np.broadcast_to(phi[:, None], d.shape)[keep])
    return np.polyfit(x, np.log(d[keep]), 1), np.polyfit(np.log(phi), np.log(surface_area(cubes)), 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", default="berea")
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--out", type=Path, default=Path("runs/benchmarks"))
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    bundle = load_bundle(arguments.bundle)
    law, surface_law = natural_law(berea(arguments.data))
    rows: list[list[object]] = []
    hits, seconds = [], []
    for fraction in FRACTIONS:
        natural = float(np.exp(np.polyval(law, np.log(fraction))))
        surface = float(np.exp(np.polyval(surface_law, np.log(fraction))))
        for factor in FACTORS:
            targets = (
                parse_target(f"fraction[pore]={fraction}±0.01"),
                parse_target(f"diffusivity[pore,z]={factor * natural:.6g}±5%"),
            )
            for seed in arguments.seeds:
                request = Request(
                    structure_id=f"{fraction}-{factor}-{seed}",
                    bundle=arguments.bundle,
                    shape=(64, 64, 64),
                    seed=seed,
                    targets=targets,
                )
                started = time.perf_counter()
                (made,) = generate([request], bundle)
                seconds.append(time.perf_counter() - started)
                found = measure(made.labels, bundle.card.phases, metrics=[target.metric for target in targets])
                hits.append(judge(targets, found) == "attained")
                values = [found.values[target.metric].value or 0.0 for target in targets]
                area = float(surface_area(made.labels == bundle.card.phases[0].label))
                rows.append(
                    [
                        fraction,
                        factor,
                        seed,
                        f"{values[0]:.4f}",
                        f"{values[1]:.5f}",
                        f"{values[1] / (factor * natural):.3f}",
                        f"{area / surface:.2f}",
                        len(made.trace),
                        f"{seconds[-1]:.1f}",
                        "yes" if hits[-1] else "NO",
                    ]
                )
                np.save(arguments.out / f"guided-{request.structure_id}.npy", made.labels)
                print(rows[-1], flush=True)
    low, high = wilson_interval(sum(hits), len(hits))
    print(machine())
    print(f"natural median D = {np.exp(law[1]):.3f} * fraction^{law[0]:.2f}")
    header = ["fraction", "factor", "seed", "found", "D", "D/target", "surface/natural", "evaluations", "s", "both"]
    print(table(header, rows))
    print(
        f"{sum(hits)} of {len(hits)} reach both: {sum(hits) / len(hits):.2f} (Wilson 95 % {low:.2f} to {high:.2f}); "
        f"median {np.median(seconds):.1f} s, longest {max(seconds):.1f} s"
    )
    (arguments.out / "guidance_grid.json").write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    torch.set_num_threads(2)
    main()
