"""Routes to the same targets: attained share, seconds, and how like the material the volumes are.

    python -m tests.benchmarks.routes --bundle berea --seeds 0 1 2 3 4
    python -m tests.benchmarks.routes --bundle PATH --size 32 --natural 4 --seeds 0 --sets fraction --routes guided auto

Sets of targets are functions of the bundle: goals are multiples of what its own unguided volumes have, and surface and
S2 are set beside those of unguided volumes at the same fraction. A route that cannot lead to a set is refused and says
so. Requests run one by one, so a time is that of one structure; processor seconds, of all threads, since other work may
share the machine. Judged on the certified values; everything is kept under runs/benchmarks, so a run that is stopped
goes on.
"""

import argparse
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from engine.descriptors.chords import mean_chord
from engine.descriptors.discrepancy import relative_area
from engine.descriptors.surface import surface_area
from engine.descriptors.two_point import autocovariance, directional_s2
from engine.design import generate, judge, measure
from engine.errors import InputError
from engine.evaluation.proportions import wilson_interval
from engine.guidance.targets import parse_target
from engine.models.bundle import Bundle, load_bundle
from engine.models.inference import Inference
from engine.properties.transport import solve
from engine.request import Request, Settings
from engine.sampling.choices import ROUTES, Route
from tests.benchmarks.common import machine, table

FIRST_NATURAL = 900_000  # seeds that no guided volume has


@dataclass(frozen=True, kw_only=True)
class Natural:
    """Unguided volumes of the bundle: what goals are multiples of."""

    cubes: NDArray[np.uint8]
    """[M, D, H, W] phase indices."""
    phase: str
    """The first, of which things are asked."""

    @property
    def fractions(self) -> NDArray[np.float64]:
        share: NDArray[np.float64] = (self.cubes == 0).mean(axis=(1, 2, 3))
        return share

    def surface(self, fraction: float) -> float:
        """By a power law in phi (1 - phi)."""
        x = np.log(self.fractions * (1 - self.fractions))
        law = np.polyfit(x, np.log(surface_area(self.cubes == 0)), 1)
        return float(np.exp(np.polyval(law, np.log(fraction * (1 - fraction)))))

    def s2(self, fraction: float, lags: int) -> NDArray[np.float64]:
        """From the mean normalised autocovariance."""
        shape = autocovariance(directional_s2(self.cubes == 0, lags).mean(dim=-2)).numpy().mean(axis=0)
        found: NDArray[np.float64] = fraction**2 + fraction * (1 - fraction) * shape
        return found

    def sets(self) -> dict[str, tuple[tuple[str, ...], ...]]:
        """Targets by name, several points each."""
        p, phi, sd = self.phase, float(self.fractions.mean()), float(self.fractions.std())
        around = [phi - sd, phi, phi + sd]
        chord = float(np.median(mean_chord(self.cubes == 0)))
        soft = torch.from_numpy((self.cubes == 0).astype(np.float32))
        found = np.concatenate([solve(soft, axis, tolerance=1e-3).value.numpy() for axis in range(3)])
        d = float(np.median(found[found > 0])) if (found > 0).any() else 0.0
        sets = {
            "fraction ±.01": [(f"fraction[{p}]={goal:.4f}±0.01",) for goal in around],
            "fraction ±.03": [(f"fraction[{p}]={goal:.4f}±0.03",) for goal in around],
            "chord ±5 %": [(f"mean_chord[{p}]={factor * chord:.4g}±5%",) for factor in (0.85, 1.0, 1.15)],
            "fraction ±.01, chord ±5 %": [
                (f"fraction[{p}]={goal:.4f}±0.01", f"mean_chord[{p}]={chord:.4g}±5%") for goal in around
            ],
        }
        if d > 0:
            sets["fraction ±.01, diffusivity ±2 %"] = [
                (f"fraction[{p}]={phi:.4f}±0.01", f"diffusivity[{p},z]={factor * d:.4g}±2%")
                for factor in (0.75, 1, 1.5)
            ]
        return {name: tuple(points) for name, points in sets.items()}


def natural_volumes(bundle: Bundle, inference: Inference, size: int, count: int) -> Natural:
    seeds = range(FIRST_NATURAL, FIRST_NATURAL + count)
    made = [
        generate([request(bundle, size, seed, (), Settings())], bundle, inference=inference)[0].labels for seed in seeds
    ]
    return Natural(cubes=np.stack([indices_of(bundle, each) for each in made]), phase=bundle.card.phase_names[0])


def indices_of(bundle: Bundle, labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Phase indices of labels."""
    of = np.zeros(256, dtype=np.uint8)
    of[[phase.label for phase in bundle.card.phases]] = np.arange(len(bundle.card.phases))
    found: NDArray[np.uint8] = of[labels]
    return found


def request(bundle: Bundle, size: int, seed: int, texts: tuple[str, ...], settings: Settings) -> Request:
    return Request(
        structure_id=f"{settings.route}-{seed}",
        bundle=str(bundle.card.folder),
        shape=(size, size, size),
        seed=seed,
        targets=tuple(parse_target(text, bundle.card.phase_names) for text in texts),
        settings=settings,
    )


def run(
    bundle: Bundle, inference: Inference, natural: Natural, size: int, seed: int, texts: tuple[str, ...], route: Route
) -> dict[str, Any]:
    """One structure: made, certified, set beside natural ones of its fraction. Refused: why."""
    asked = request(bundle, size, seed, texts, Settings(route=route))
    started = time.process_time()
    try:
        (made,) = generate([asked], bundle, inference=inference)
    except InputError as error:
        return {"refused": str(error)}
    seconds = time.process_time() - started
    metrics = [target.metric for target in asked.targets]
    found = measure(made.labels, bundle.card.phases, metrics=metrics, also=asked.asked)
    mask = indices_of(bundle, made.labels) == 0
    lags, fraction = min(32, size), float(mask.mean())
    return {
        "attained": judge(asked.targets, found) == "attained",
        "found": {str(metric): found.values[metric].value for metric in metrics},
        "seconds": seconds,
        "evaluations": len(made.trace),
        "fraction": fraction,
        "surface": float(surface_area(mask)) / natural.surface(fraction),
        "s2": directional_s2(mask, lags).mean(dim=0).tolist(),
        "s2_natural": natural.s2(fraction, lags).tolist(),
    }


def line(name: str, route: str, rows: list[dict[str, Any]]) -> list[object]:
    """Of the table."""
    if all("refused" in row for row in rows):
        return [name, route, "refused", "", "", "", ""]
    rows = [row for row in rows if "refused" not in row]
    hits = sum(row["attained"] for row in rows)
    low, high = wilson_interval(hits, len(rows))
    seconds = [row["seconds"] for row in rows]
    s2, alike = (np.mean([row[key] for row in rows], axis=0) for key in ("s2", "s2_natural"))
    return [
        name,
        route,
        f"{hits} of {len(rows)} ({low:.2f} to {high:.2f})",
        f"{np.median(seconds):.1f} ({max(seconds):.1f})",
        f"{np.median([row['evaluations'] for row in rows]):.0f}",
        f"{100 * (np.mean([row['surface'] for row in rows]) - 1):+.1f}",
        f"{100 * float(relative_area(s2, alike)):.1f}",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", default="berea", help="name or path")
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument(
        "--natural", type=int, default=32, help="unguided volumes that goals and surfaces are taken from"
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--routes", nargs="+", default=list(ROUTES), choices=ROUTES)
    parser.add_argument("--sets", nargs="+", help="names that a set begins with; default all")
    parser.add_argument("--points", type=int, default=3, help="of each set, so many")
    parser.add_argument("--out", type=Path, default=Path("runs/benchmarks"))
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    arguments.out.mkdir(parents=True, exist_ok=True)
    bundle = load_bundle(arguments.bundle)
    inference = Inference(bundle)
    stem = f"routes-{bundle.card.name}-{bundle.card.hash[:8]}-{arguments.size}"
    cubes = arguments.out / f"{stem}-natural-{arguments.natural}.npy"
    if cubes.exists():
        natural = Natural(cubes=np.load(cubes), phase=bundle.card.phase_names[0])
    else:
        natural = natural_volumes(bundle, inference, arguments.size, arguments.natural)
        np.save(cubes, natural.cubes)
    file = arguments.out / f"{stem}.json"
    known: dict[str, dict[str, Any]] = json.loads(file.read_text()) if file.exists() else {}
    lines = []
    print(machine())
    for name, points in natural.sets().items():
        if arguments.sets and not any(name.startswith(wanted) for wanted in arguments.sets):
            continue
        for route in arguments.routes:
            rows = []
            for texts in points[: arguments.points]:
                for seed in arguments.seeds:
                    key = f"{route}|{seed}|{' '.join(texts)}"
                    if key not in known:
                        known[key] = run(bundle, inference, natural, arguments.size, seed, texts, route)
                        file.write_text(json.dumps(known))
                        shown = {k: v for k, v in known[key].items() if not k.startswith("s2")}
                        print(route, seed, texts, shown, flush=True)
                    rows.append(known[key])
            lines.append(line(name, route, rows))
    header = [
        "targets",
        "route",
        "attained (Wilson 95 %)",
        "median processor s (longest)",
        "evaluations",
        "surface, %",
        "S₂, %",
    ]
    print(table(header, lines))


if __name__ == "__main__":
    main()
