"""Guided design on fixed grids of targets, all requests counted.

    python -m tests.benchmarks.guidance_grid --case diffusivity --seeds 0 1 2 3 4
    python -m tests.benchmarks.guidance_grid --case modulus --bundle nmc-cathode=PATH

The cases are those of `guidance_cases`. Requests run one by one, so a time is that of one structure on this machine;
processor time, of all threads, tells it where other work shares the machine. What they found is kept under
runs/benchmarks, so a run that is stopped goes on. TauFactor has the last word on diffusivities, torch-fem on moduli.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from engine.descriptors.discrepancy import relative_area
from engine.descriptors.surface import surface_area
from engine.descriptors.two_point import directional_s2
from engine.design import generate, judge, measure
from engine.evaluation.proportions import wilson_interval
from engine.guidance.targets import parse_target
from engine.models.bundle import Bundle, load_bundle
from engine.models.inference import Inference
from engine.request import Request
from tests.benchmarks.common import machine, table
from tests.benchmarks.finite_elements import modulus_by_torch_fem
from tests.benchmarks.guidance_cases import CASES, LAGS, SIDE, Case, Natural
from tests.benchmarks.materials import DATA


def run(case: Case, seed: int, bundle: Bundle, inference: Inference, natural: Natural) -> dict[str, Any]:
    """One structure: made, certified, compared with natural ones of its fraction."""
    targets = tuple(parse_target(text, bundle.card.phase_names) for text in case.targets)
    request = Request(
        structure_id=f"{case.name}-{seed}",
        bundle=case.bundle,
        shape=(SIDE, SIDE, SIDE),
        seed=seed,
        targets=targets,
        materials=case.materials,
    )
    started = time.perf_counter(), time.process_time()
    (made,) = generate([request], bundle, inference=inference)
    seconds, busy = time.perf_counter() - started[0], time.process_time() - started[1]
    found = measure(
        made.labels,
        bundle.card.phases,
        metrics=[target.metric for target in targets],
        materials=case.materials,
        training=bundle.card.training_means,
    )
    values = {str(target.metric): found.values[target.metric].value for target in targets}
    attained = judge(targets, found) == "attained"
    labels = [phase.label for phase in bundle.card.phases]
    indices = np.searchsorted(labels, made.labels).astype(np.uint8)
    if case.materials is not None:
        made_of = [case.materials.phases[phase] for phase in bundle.card.phase_names]
        moduli, ratios = [m.youngs_modulus_gpa[0] for m in made_of], [m.poissons_ratio[0] for m in made_of]
        (target,) = targets
        _, independent, unbalanced = modulus_by_torch_fem(
            indices, moduli, ratios, "zyx".index(target.metric.axis or "")
        )
        values |= {"torch-fem": independent, "out of balance": unbalanced}
        attained = attained and target.holds(independent)
    mask = indices == 0
    return {
        "case": case.name,
        "seed": seed,
        "targets": list(case.targets),
        "found": values,
        "attained": attained,
        "seconds": seconds,
        "processor_seconds": busy,
        "evaluations": len(made.trace),
        "surface": float(surface_area(mask)) / natural.surface(float(mask.mean())),
        "fraction": float(mask.mean()),
        "s2": directional_s2(mask, LAGS).mean(dim=0).tolist(),
    }


def summary(name: str, rows: list[dict[str, Any]], natural: Natural) -> list[object]:
    """One line of the table."""
    hits = sum(row["attained"] for row in rows)
    low, high = wilson_interval(hits, len(rows))
    seconds, busy = ([row[name] for row in rows] for name in ("seconds", "processor_seconds"))
    surfaces = [row["surface"] for row in rows]
    s2 = np.mean([row["s2"] for row in rows], axis=0)
    alike = np.mean([natural.s2(row["fraction"]) for row in rows], axis=0)
    return [
        name,
        f"{hits} of {len(rows)} ({low:.2f} to {high:.2f})",
        f"{np.median(seconds):.1f} ({max(seconds):.1f})",
        f"{np.median(busy):.1f} ({max(busy):.1f})",
        f"{100 * (np.mean(surfaces) - 1):+.1f} ({100 * (min(surfaces) - 1):+.0f} to {100 * (max(surfaces) - 1):+.0f})",
        f"{100 * float(relative_area(s2, alike)):.1f}",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", choices=CASES, nargs="+", default=list(CASES))
    parser.add_argument("--material", nargs="+", help="of the case's, these alone")
    parser.add_argument("--bundle", nargs="*", default=[], help="MATERIAL=PATH, where not the one that ships")
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("runs/benchmarks"))
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    arguments.out.mkdir(parents=True, exist_ok=True)
    paths = dict(text.split("=", 1) for text in arguments.bundle)
    lines: list[list[object]] = []
    print(machine())
    for name in arguments.case:
        make, materials = CASES[name]
        for material in materials:
            if arguments.material and material not in arguments.material:
                continue
            natural = Natural(name=material, bundle=paths.get(material, material), data=arguments.data)
            bundle = load_bundle(natural.bundle)
            inference = Inference(bundle)
            file = arguments.out / f"guided-{name}-{material}-{bundle.card.hash[:8]}.json"
            rows: list[dict[str, Any]] = json.loads(file.read_text()) if file.exists() else []
            known = {(row["case"], row["seed"]) for row in rows}
            cases = list(make(natural))
            for case in cases:
                for seed in arguments.seeds:
                    if (case.name, seed) in known:
                        continue
                    rows.append(run(case, seed, bundle, inference, natural))
                    file.write_text(json.dumps(rows))
                    last = {key: value for key, value in rows[-1].items() if key not in ("s2", "targets")}
                    print(name, material, last, flush=True)
                ours = [row for row in rows if row["case"] == case.name and row["seed"] in arguments.seeds]
                lines.append(summary(f"{name}, {material}: {case.name}", ours, natural))
            wanted = {case.name for case in cases}
            ours = [row for row in rows if row["case"] in wanted and row["seed"] in arguments.seeds]
            lines.append(summary(f"**{name}, {material}**", ours, natural))
    header = ["case", "attained (Wilson 95 %)", "median s (longest)", "processor s", "surface, % of natural", "S₂, %"]
    print(table(header, lines))


if __name__ == "__main__":
    main()
