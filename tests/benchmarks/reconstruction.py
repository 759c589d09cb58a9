"""Real materials reconstructed from 2D slices, judged against the part of the file that never trained.

    python -m tests.benchmarks.reconstruction --count 128 --seeds 0 1 2
    python -m tests.benchmarks.reconstruction --material nmc-cathode --bundle PATH
    python -m tests.benchmarks.reconstruction --sampler mpdd --count 32 --seeds 0

Every seed generates `count` volumes of 64 voxels cubed; its curves and numbers are kept under runs/benchmarks, so a
run that is stopped goes on. Curves are judged against the null distribution (engine.evaluation.null), phase by phase,
axis by axis where the axes differ. Of the anode there is one image: one slice of each volume, the axes in turn, is
judged against the image's disjoint squares.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from engine.calibrate import sample_indices
from engine.descriptors.chords import chord_lengths, mean_chord
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
from tests.benchmarks.common import machine, table
from tests.benchmarks.materials import DATA, MATERIALS, Material, crops

SIDE, LAGS = 64, 32
CURVES = ("s2", "lineal_path", "autocovariance", "chord_length")
Found = dict[str, NDArray[np.float64]]


def measured(arrays: NDArray[np.uint8], material: Material, *, diffusivity: bool) -> Found:
    """Statistics of cubes or squares by phase and axis: curves [N, A, R], numbers [N], diffusivity [N, axes]; A is 1
    where the axes are alike."""
    dims = arrays.ndim - 1
    out: Found = {}
    for k, phase in enumerate(material.phases):
        masks = arrays == k
        s2 = directional_s2(masks, LAGS, space_dims=dims)
        curves = {
            "s2": s2.numpy(),
            "lineal_path": lineal_path(masks, LAGS, space_dims=dims),
            "chord_length": chord_lengths(masks, LAGS, space_dims=dims),
        }
        if material.isotropic:
            curves = {name: curve.mean(axis=1, keepdims=True) for name, curve in curves.items()}
        curves["autocovariance"] = autocovariance(torch.from_numpy(curves["s2"])).numpy()
        out |= {f"{name}[{phase}]": curve for name, curve in curves.items()}
        out[f"mean_chord[{phase}]"] = mean_chord(masks, space_dims=dims)
        out[f"surface_area[{phase}]"] = surface_area(masks, space_dims=dims)
        out[f"fraction[{phase}]"] = masks.reshape(len(masks), -1).mean(axis=1)
        if diffusivity and dims == 3:
            # Our own solver: the tests hold it to 0.5 % of TauFactor, and it takes a tenth of the time.
            soft = torch.from_numpy(masks).float()
            solved = [solve(soft, axis, tolerance=1e-3).value.numpy() for axis in range(3)]
            out[f"diffusivity[{phase}]"] = np.stack(solved, axis=1)
    return out


def truth_of(material: Material, data: Path) -> NDArray[np.uint8]:
    """Disjoint cubes or squares of the judging part."""
    judged = material.judging(data)
    return blocks(judged, SIDE) if judged.ndim == 3 else crops(judged, SIDE)


def as_truth(volumes: list[NDArray[np.uint8]], material: Material, data: Path) -> NDArray[np.uint8]:
    """Volumes, or a slice of each where the truth is an image."""
    if material.judging(data).ndim == 3:
        return np.stack(volumes)
    return np.stack([volume.take(SIDE // 2, axis=i % 3) for i, volume in enumerate(volumes)])


def judged(found: Found, truth: Found, material: Material, seed: int) -> list[list[object]]:
    """One row for each phase and axis."""
    rows: list[list[object]] = []
    for phase in material.phases:
        axes = truth[f"s2[{phase}]"].shape[1]
        for axis in range(axes):
            row: list[object] = [seed, phase, "zyx"[axis] if axes > 1 else "all"]
            for name in CURVES:
                ours, theirs = (part[f"{name}[{phase}]"][:, axis] for part in (found, truth))
                result = compare(ours, theirs, draws=2_000, seed=seed, r_max=LAGS)
                row.append(
                    f"{100 * result.observed:.1f} / {100 * result.null_p95:.1f}{'' if result.passes else ' **over**'} "
                    f"(×{result.ratio_to_median:.1f}, {100 * result.signed_bias:+.1f} %)"
                )
            chords = [part[f"mean_chord[{phase}]"].mean(axis=0) for part in (found, truth)]
            relative = chords[0] / chords[1] - 1
            chord = relative[axis] if axes > 1 else chords[0].mean() / chords[1].mean() - 1
            row.append(f"{100 * chord:+.1f} %")
            surface = found[f"surface_area[{phase}]"].mean() / truth[f"surface_area[{phase}]"].mean() - 1
            row.append(f"{100 * surface:+.1f} %")
            share = compare_scalars(found[f"fraction[{phase}]"], truth[f"fraction[{phase}]"])
            mean = found[f"fraction[{phase}]"].mean()
            row += [f"{mean:.4f} ({share.median_shift:+.2f} sd, {share.mean_shift:+.2f} s.e.)", f"{share.sd_ratio:.2f}"]
            if f"diffusivity[{phase}]" in found:
                true, made = (
                    (d[:, axis] if axes > 1 else d.ravel())
                    for d in (truth[f"diffusivity[{phase}]"], found[f"diffusivity[{phase}]"])
                )
                if (true > 0).sum() > 1 and (made > 0).sum() > 1:
                    spread = compare_scalars(made[made > 0], true[true > 0])
                    row += [
                        f"{np.median(made[made > 0]):.4f} ({spread.median_shift:+.2f} sd)",
                        f"{spread.sd_ratio:.2f}",
                        f"{(made > 0).mean():.3f}",
                    ]
                else:
                    row += ["does not percolate", "", f"{(made > 0).mean():.3f}"]
            rows.append(row)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--material", choices=MATERIALS, default="berea")
    parser.add_argument("--bundle", help="name or path, where not the one that ships")
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
    material = MATERIALS[arguments.material]

    bundle = load_bundle(arguments.bundle or arguments.material)
    inference = Inference(bundle)
    numbers = sampler_numbers(Settings(sampler=arguments.sampler, steps=arguments.steps), bundle)
    truth_file = arguments.out / f"truth-{arguments.material}.npz"
    if truth_file.exists():
        truth = dict(np.load(truth_file))
    else:
        truth = measured(truth_of(material, arguments.data), material, diffusivity=True)
        np.savez(truth_file, **truth)  # type: ignore[arg-type]

    rows: list[list[object]] = []
    for seed in arguments.seeds:
        name = f"{arguments.sampler}-{bundle.card.hash[:8]}-{arguments.count}-{numbers.steps}-seed{seed}-by-phase.npz"
        file = arguments.out / name
        if file.exists():
            found = dict(np.load(file))
        else:
            started = time.perf_counter()
            seeds = [seed * 1_000_000 + i for i in range(arguments.count)]
            volumes = sample_indices(bundle, inference, numbers, seeds, sampler=arguments.sampler)
            seconds = (time.perf_counter() - started) / arguments.count
            found = measured(as_truth(volumes, material, arguments.data), material, diffusivity=diffusivity)
            found["seconds"] = np.array(seconds)
            np.savez(file, **found)  # type: ignore[arg-type]
            np.save(arguments.out / name.replace(".npz", "-volumes.npy"), np.stack(volumes[:16]))
        rows += judged(found, truth, material, seed)
        print(f"seed {seed}: {float(found['seconds']):.2f} s a volume", flush=True)
    header = ["seed", "phase", "axis", "S₂ % / null's 95th", "lineal path", "autocovariance", "chord lengths"]
    header += ["mean chord", "surface", "fraction", "its spread"]
    if any(key.startswith("diffusivity") for key in found):
        header += ["median D percolating", "its spread", "percolating share"]
    print(machine())
    print(f"{arguments.sampler}, bundle {bundle.card.hash[:12]}, {arguments.count} volumes a seed, {numbers}")
    for phase in material.phases:
        line = f"truth: fraction[{phase}] {truth[f'fraction[{phase}]'].mean():.4f}, "
        line += f"surface {truth[f'surface_area[{phase}]'].mean():.4f}"
        if (true := truth.get(f"diffusivity[{phase}]")) is not None and (true > 0).any():
            line += f", median D {np.median(true[true > 0]):.4f} (sd {true[true > 0].std():.4f}), "
            line += f"percolating {(true > 0).mean():.3f}"
        print(line)
    print(table(header, rows))
    record = arguments.out / f"reconstruction-{arguments.material}-{arguments.sampler}.json"
    record.write_text(json.dumps([header, *rows], indent=1, default=str))


if __name__ == "__main__":
    torch.set_num_threads(2)
    main()
