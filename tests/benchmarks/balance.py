"""Two ways to balance targets and prior without weights: Gauss-Newton on constraints, and normalised gradients.

    python -m tests.benchmarks.balance --bundles berea runs/sofc-anode runs/nmc-cathode --seeds 0 1 2 --size 64

Of each bundle, on volumes of its own: the fraction of a percolating phase at its natural median (± .01) and its
diffusivity along z at .75 and 1.25 times the natural median (± 5 %), all requests counted. TauFactor has the last word
on the diffusivity; surface and autocovariance are held against volumes of the bundle without targets.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch

from engine.design import generate, judge, measure
from engine.evaluation.proportions import wilson_interval
from engine.guidance.targets import parse_target
from engine.models.bundle import load_bundle
from engine.models.inference import Inference
from engine.request import Request, Settings
from tests.benchmarks.common import machine, table
from tests.benchmarks.naturals import naturals, spread

METHODS = ("volume", "volume-sds")
FACTORS = (0.75, 1.25)
LARGEST = 0.85  # diffusivity over fraction: 1 is the Voigt bound, which no structure of finite size comes close to
HEADER = ["bundle", "guidance", "attained", "Wilson 95 %", "processor s", "surface / natural", "autocovariance off by"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundles", nargs="+", default=["berea"], help="names or paths")
    parser.add_argument("--methods", nargs="+", default=METHODS, choices=METHODS)
    parser.add_argument("--factors", type=float, nargs="+", default=FACTORS)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--iterations", type=int, default=80)
    parser.add_argument("--naturals", type=int, default=8, help="volumes without targets")
    parser.add_argument("--out", type=Path, default=Path("runs/benchmarks"))
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    arguments.out.mkdir(parents=True, exist_ok=True)
    rows: list[list[object]] = []
    record: list[dict[str, object]] = []
    for name in arguments.bundles:
        bundle = load_bundle(name, "cuda" if torch.cuda.is_available() else "cpu")
        inference, card = Inference(bundle), bundle.card
        natural = naturals(bundle, inference, arguments.size, arguments.naturals)
        print(f"{card.name}: {natural.phase} {natural.fraction:.3f}, D_z {natural.diffusivity:.4g}", flush=True)
        for method in arguments.methods:
            hits, seconds, surfaces, errors = [], [], [], []
            for factor in arguments.factors:
                goal = min(factor * natural.diffusivity, LARGEST * natural.fraction)
                targets = (
                    parse_target(f"fraction[{natural.phase}]={natural.fraction:.4f}±0.01"),
                    parse_target(f"diffusivity[{natural.phase},z]={goal:.6g}±5%"),
                )
                for seed in arguments.seeds:
                    request = Request(
                        structure_id=f"{factor}-{seed}",
                        bundle=name,
                        shape=(arguments.size,) * 3,
                        seed=seed,
                        targets=targets,
                        settings=Settings(guidance=method, guidance_iterations=arguments.iterations),
                    )
                    started = time.process_time()
                    (made,) = generate([request], bundle, inference=inference)
                    seconds.append(time.process_time() - started)
                    found = measure(made.labels, card.phases, metrics=[target.metric for target in targets])
                    values = [found.values[target.metric].value for target in targets]
                    hits.append(judge(targets, found) == "attained")
                    mask = made.labels == natural.label
                    surfaces.append(natural.surface_ratio(mask))
                    errors.append(natural.correlation_error(mask))
                    record.append(
                        {"bundle": card.name, "method": method, "factor": factor, "seed": seed, "values": values}
                        | {"attained": hits[-1], "s": seconds[-1], "surface": surfaces[-1], "error": errors[-1]}
                    )
                    print(record[-1], flush=True)
            low, high = wilson_interval(sum(hits), len(hits))
            rows.append(
                [
                    card.name,
                    method,
                    f"{sum(hits)} of {len(hits)}",
                    f"{low:.2f} to {high:.2f}",
                    spread(seconds),
                    spread(surfaces),
                    f"{100 * np.median(errors):.1f} %",
                ]
            )
    print(machine())
    print(f"{arguments.size}³, at most {arguments.iterations} iterations, seeds {arguments.seeds}; median (range)")
    print(table(HEADER, rows))
    (arguments.out / "balance.json").write_text(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
