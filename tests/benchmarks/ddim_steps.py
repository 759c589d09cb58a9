"""Quality and time of DDIM against its number of steps, for one or several networks (Lee & Yun, Figs 8 and 10; networks
of several sizes as in the anisotropic paper's Fig. B1).

    python -m tests.benchmarks.ddim_steps --bundles small large --train six/train --judge six/judge

One class of each bundle (the paper's is the carbonate); numbers, folders and features are those of `six_materials`.
Prints a table and draws `ddim_steps.png`. Images are kept, so a run that is stopped goes on.
"""

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from engine.models.bundle import load_bundle
from engine.models.inference import Inference
from engine.request import Settings
from tests.benchmarks.common import machine, table
from tests.benchmarks.six_materials import EXTRACTOR, drawn, judge, read_truth

STEPS = (10, 20, 50, 100, 150, 300, 500)
PANELS = {
    "frechet": "Frechet distance",
    "precision": "precision",
    "recall": "recall",
    "s2": "S2 discrepancy",
    "lineal_path": "lineal path discrepancy",
    "seconds": "seconds per image",
}


def plot(record: list[dict[str, Any]], least: dict[str, float], path: Path) -> None:
    """A panel for each number over the steps, a line for each bundle; dashed what the training images get."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.0, 5.0), layout="constrained")
    for (key, title), panel in zip(PANELS.items(), figure.subplots(2, 3).flat, strict=True):
        for name in dict.fromkeys(entry["bundle"] for entry in record):
            mine = [entry for entry in record if entry["bundle"] == name]
            panel.plot([entry["steps"] for entry in mine], [entry[key] for entry in mine], marker="o", label=name)
        if key in least:
            panel.axhline(least[key], color="0.5", linestyle="--", linewidth=1, label="training images")
        panel.set_xscale("log")
        steps = sorted({entry["steps"] for entry in record})
        panel.set_xticks(steps, [str(count) for count in steps], fontsize=8)
        panel.minorticks_off()
        panel.set_xlabel("DDIM steps")
        panel.set_title(title, fontsize=10)
        if key in ("frechet", "s2", "lineal_path", "seconds"):
            panel.set_ylim(bottom=0)
    figure.axes[0].legend(fontsize=8)
    figure.savefig(path, dpi=150)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundles", nargs="+", required=True)
    parser.add_argument("--class", dest="label", default="carbonate")
    parser.add_argument("--train", type=Path, required=True)
    parser.add_argument("--judge", type=Path, required=True)
    parser.add_argument("--count", type=int, default=256)
    parser.add_argument("--steps", type=int, nargs="+", default=list(STEPS))
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path, default=Path("runs/benchmarks"))
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    label, record, least = arguments.label, [], {}
    for where in arguments.bundles:
        bundle = load_bundle(where, arguments.device)
        inference, card = Inference(bundle), bundle.card
        labels = card.class_labels[card.classes.index(label)]
        truth = read_truth(arguments.train / label, arguments.judge / label, labels, arguments.count)
        least = asdict(judge(truth.training, truth))
        parameters = sum(weight.numel() for weight in bundle.denoiser.parameters())
        for steps in arguments.steps:
            kept = arguments.out / f"six-{card.hash[:12]}-{label}-ddim{steps}-{arguments.count}.npz"
            settings = Settings(solver="ddim", steps=steps, eta=0.0)
            images, seconds = drawn(bundle, inference, label, arguments.count, settings, kept)
            found = {"bundle": f"{card.name} ({parameters / 1e6:.1f} M)", "steps": steps, "seconds": seconds}
            record.append(found | asdict(judge(images, truth)))
            print(json.dumps(record[-1]), flush=True)
    print(f"\n{machine()}\n{arguments.count} images of {label}; features: {EXTRACTOR.name}\n")
    keys = ("frechet", "precision", "recall", "s2", "lineal_path", "seconds")
    rows: list[list[object]] = [
        [entry["bundle"], entry["steps"], *(f"{entry[key]:.3g}" for key in keys)] for entry in record
    ]
    rows.append(["training images", "-", *(f"{least[key]:.3g}" if key in least else "-" for key in keys)])
    print(table(["bundle", "steps", *(PANELS[key] for key in keys)], rows))
    plot(record, least, arguments.out / "ddim_steps.png")
    (arguments.out / "ddim_steps.json").write_text(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
