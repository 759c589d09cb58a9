"""Harmonized sampling by its two numbers, beside `spectral` at equal network calls.

    python -m tests.benchmarks.harmonized --blends .15 .3 .5 .75 1 --passes 0 1 2 4 8 --count 8
    python -m tests.benchmarks.harmonized --blends .5 --passes 0 2 --count 2 --steps 10        # a minute

Rows are gamma, columns n_h (anisotropic paper, Figs 6-7): every cell has `--steps` steps of DDIM, eta 1, each repeated
n_h times but the last, so its network calls grow with n_h; `spectral` is given the same number of calls as steps, and
its calibrated number. `gamma` means nothing at n_h = 0, which is `mpdd`. The first phase is judged against the training
images' curves on the bundle's card, or a tomogram's unseen part (`--unseen`). Cells are kept under runs/benchmarks.
"""

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from engine.descriptors.discrepancy import relative_area
from engine.descriptors.lineal_path import lineal_path
from engine.descriptors.surface import surface_area
from engine.descriptors.two_point import directional_s2
from engine.design import decode_latents, draw_of, sample_latents, sampler_numbers
from engine.evaluation.null import blocks
from engine.models.bundle import Bundle, load_bundle
from engine.models.inference import Inference
from engine.request import Settings
from engine.sampling.choices import Harmonizing
from engine.sampling.multiplane import Noise
from tests.benchmarks.common import machine, table
from tests.benchmarks.materials import DATA, MATERIALS

LAGS = 32


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--material", choices=list(MATERIALS), default="berea")
    parser.add_argument("--bundle", help="default: the material's name")
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--blends", type=float, nargs="+", default=[0.15, 0.3, 0.5, 0.75, 1.0])
    parser.add_argument("--passes", type=int, nargs="+", default=[0, 1, 2, 4, 8])
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--count", type=int, default=8)
    parser.add_argument("--unseen", action="store_true", help="judge by the tomogram's unseen part")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("runs/benchmarks"))
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(arguments.threads)
    bundle = load_bundle(arguments.bundle or arguments.material, arguments.device)
    inference, truth = Inference(bundle), truth_of(arguments, bundle)
    name = f"harmonized-{bundle.card.name}-{bundle.card.hash[:8]}-{arguments.size}-{arguments.count}-{arguments.steps}"
    file = arguments.out / f"{name}.json"
    cells: dict[str, dict[str, float]] = json.loads(file.read_text()) if file.exists() else {}

    def measured(key: str, settings: Settings) -> dict[str, float]:
        if key not in cells:
            cells[key] = run(bundle, inference, settings, arguments)
            file.write_text(json.dumps(cells))
        return cells[key]

    print(machine())
    print(f"{bundle.card.name} {bundle.card.hash[:12]}, {arguments.count} volumes of {arguments.size} voxels cubed")
    rows: list[list[object]] = []
    picture: dict[str, list[dict[str, float]]] = {}
    for passes in arguments.passes:
        calls = arguments.steps + (arguments.steps - 1) * passes
        for blend in arguments.blends if passes else arguments.blends[:1]:
            settings = Settings(
                sampler="harmonized", steps=arguments.steps, harmonizing_passes=passes, harmonizing_blend=blend
            )
            found = errors(measured(f"harmonized {passes} {blend}", settings), truth)
            for each in [blend] if passes else arguments.blends:
                picture.setdefault(f"γ {each:g}", []).append(found | {"calls": calls})
            rows.append(["mpdd" if not passes else f"harmonized, γ {blend:g}", passes, calls, *words(found)])
        found = errors(measured(f"spectral {calls}", Settings(steps=calls)), truth)
        picture.setdefault("spectral", []).append(found | {"calls": calls})
        rows.append(["spectral", "/", calls, *words(found)])
    steps = bundle.calibration.numbers.steps
    rows.append(
        ["spectral, as calibrated", "/", steps, *words(errors(measured(f"spectral {steps}", Settings()), truth))]
    )
    header = ["sampler", "n_h", "network calls", "fraction", "S2 %", "lineal path %", "surface %", "s/volume"]
    print(f"truth: fraction {truth['fraction']:.4f}, surface {truth['surface']:.4f}")
    print(table(header, rows))
    plot(picture, arguments.out / f"{name}.png")
    print(arguments.out / f"{name}.png")


def truth_of(arguments: argparse.Namespace, bundle: Bundle) -> dict[str, Any]:
    """Of the first phase: blocks of the unseen part, or the curves that the card holds of the training images."""
    phase = bundle.card.phases[0]
    if arguments.unseen:
        unseen = MATERIALS[arguments.material].judging(arguments.data)
        return statistics([part == 0 for part in blocks(unseen, arguments.size)])
    curves = bundle.card.metrics["training_curves"]
    s2, lineal = (np.array(curves[f"{name}[{phase.name}]"]["mean"][:LAGS]) for name in ("s2", "lineal_path"))
    # Interfaces per step of a line, 2 (S2(0) - S2(1)), are half the surface (docs/theory.md).
    return {"fraction": float(s2[0]), "surface": float(4 * (s2[0] - s2[1])), "s2": s2, "lineal": lineal}


def run(bundle: Bundle, inference: Inference, settings: Settings, arguments: argparse.Namespace) -> dict[str, Any]:
    """Statistics of volumes; refinement and draw are the calibrated ones for all, so that only the sampler differs."""
    numbers = sampler_numbers(settings, bundle)
    numbers = replace(numbers, refine_passes=bundle.calibration.numbers.refine_passes)
    side, started = arguments.size, time.perf_counter()
    volumes = []
    for seed in range(arguments.count):
        noise = Noise([seed], bundle.device)
        harmonizing: Harmonizing | None = settings.harmonizing
        latents = sample_latents(bundle, inference, (side, side, side), numbers, noise, settings.sampler, harmonizing)
        draw = draw_of(bundle, (side, side, side), numbers, noise)
        [soft] = decode_latents(bundle, inference, latents, numbers, noise, draw)
        volumes.append(soft.argmax(dim=0).cpu().numpy() == 0)
    seconds = (time.perf_counter() - started) / arguments.count
    found = statistics(volumes) | {"seconds": seconds}
    return {key: value.tolist() if isinstance(value, np.ndarray) else value for key, value in found.items()}


def statistics(masks: list[np.ndarray]) -> dict[str, Any]:
    stack = np.stack(masks)
    return {
        "fraction": float(stack.mean()),
        "surface": float(surface_area(stack).mean()),
        "s2": directional_s2(stack, LAGS).mean(dim=(0, 1)).numpy(),
        "lineal": lineal_path(stack, LAGS).mean(axis=(0, 1)),
    }


def errors(found: dict[str, Any], truth: dict[str, Any]) -> dict[str, float]:
    lags = min(len(truth["s2"]), len(found["s2"]))

    def area(name: str) -> float:
        return float(relative_area(np.array(found[name])[:lags], np.array(truth[name])[:lags]))

    return {
        "fraction": found["fraction"],
        "s2": area("s2"),
        "lineal": area("lineal"),
        "surface": found["surface"] / truth["surface"] - 1,
        "seconds": found["seconds"],
    }


def words(found: dict[str, float]) -> list[str]:
    return [
        f"{found['fraction']:.4f}",
        f"{100 * found['s2']:.1f}",
        f"{100 * found['lineal']:.1f}",
        f"{100 * found['surface']:+.1f}",
        f"{found['seconds']:.1f}",
    ]


def plot(picture: dict[str, list[dict[str, float]]], file: Path) -> None:
    """S2's and the lineal path's discrepancy by network calls."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    for panel, name, title in zip(panels, ("s2", "lineal"), ("S₂", "lineal path"), strict=True):
        for label, points in picture.items():
            style = {"color": "black", "linewidth": 2.5} if label == "spectral" else {}
            x, y = [point["calls"] for point in points], [100 * point[name] for point in points]
            panel.plot(x, y, marker="o", label=label, **style)
        panel.set(xscale="log", xlabel="network calls for each plane", ylabel=f"{title} off by, %", ylim=(0, 105))
        calls = [point["calls"] for point in picture["spectral"]]
        panel.set_xticks(calls, [f"{number:g}" for number in calls])
        panel.minorticks_off()
    panels[0].legend(frameon=False)
    figure.savefig(file, dpi=150)
    pyplot.close(figure)


if __name__ == "__main__":
    main()
