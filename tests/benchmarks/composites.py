"""Elastic constants and expansion of generated fibre composites against true ones.

    mesoforge synth disks --shape 192,192,64 --count 6 --seed 1001 --out judge
    python -m tests.benchmarks.composites --bundle fibre-composite --truth judge --count 50

Volumes are periodic cells of the constants in `t300_epoxy`; both kinds are cut the same way, so that what the borders
do not fit costs both alike. Medians of Young's and shear moduli, Poisson's ratios and expansions, and mean chords.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from engine.calibrate import sample_indices
from engine.descriptors.chords import mean_chord
from engine.evaluation.sets import cut_blocks
from engine.micrographs.read import find_files, read_label_file
from engine.models.bundle import load_bundle
from engine.models.inference import Inference
from engine.properties.elasticity import homogenize
from engine.properties.materials import load_materials
from engine.properties.stiffness import engineering_constants
from tests.benchmarks.common import machine, table

SIDE, BAR = 64, 10


def constants(cube: NDArray[np.uint8], stiffness: torch.Tensor, expansion: torch.Tensor) -> dict[str, float]:
    """Engineering constants of one cell, GPa and 1/K, and the fibres' mean chords in voxels."""
    hot = torch.nn.functional.one_hot(torch.from_numpy(cube.astype(np.int64)), len(stiffness)).movedim(-1, 0)
    cell = homogenize(hot[None].float(), stiffness, expansion, tolerance=1e-3)
    found = engineering_constants(cell.stiffness[0])
    assert found is not None and cell.expansion is not None
    out = {f"E {axis}": value for axis, value in found.youngs_modulus_gpa.items()}
    out |= {f"G {plane}": value for plane, value in found.shear_modulus_gpa.items()}
    out |= {f"ν {pair}": found.poissons_ratio[pair] for pair in ("xy", "xz", "yz")}
    out |= {f"α {axis}": float(cell.expansion[0, i]) for i, axis in enumerate("xyz")}
    chords = mean_chord(cube == 1)
    return out | {f"chord {axis}": float(chords[i]) for i, axis in enumerate("zyx")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", default="fibre-composite")
    parser.add_argument("--truth", type=Path, required=True)
    parser.add_argument("--count", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    bundle = load_bundle(arguments.bundle)
    materials = load_materials("t300_epoxy")
    tables = materials.stiffnesses(bundle.card.phase_names), materials.expansions(bundle.card.phase_names)
    files = find_files([str(arguments.truth)])
    true = [block for file in files for block in cut_blocks(read_label_file(file)[0], SIDE)][: arguments.count]
    seeds = [arguments.seed * 1_000_000 + i for i in range(arguments.count)]
    made = sample_indices(bundle, Inference(bundle), bundle.calibration.numbers, seeds)
    theirs = [constants(np.asarray(cube, dtype=np.uint8), *tables) for cube in true]
    ours = [constants(cube, *tables) for cube in made]
    rows: list[list[object]] = []
    for name in theirs[0]:
        a, b = (np.array([each[name] for each in group]) for group in (ours, theirs))
        finite = np.isfinite(a), np.isfinite(b)
        if not finite[0].any() or not finite[1].any():
            rows.append([name, f"{finite[0].mean():.2f} finite", f"{finite[1].mean():.2f} finite", "", "", ""])
            continue
        a, b = a[finite[0]], b[finite[1]]
        relative = 100 * (np.median(a) / np.median(b) - 1)
        mark = " **over**" if abs(relative) > BAR else ""
        rows.append([name, f"{np.median(a):.4g}", f"{np.median(b):.4g}", f"{relative:+.1f}{mark}", a.std(), b.std()])
    print(machine())
    print(f"bundle {bundle.card.hash[:12]}, {len(made)} generated against {len(true)} true volumes")
    fractions = [np.mean([(cube == 1).mean() for cube in group]) for group in (made, true)]
    print(f"fibres: {fractions[0]:.4f} generated, {fractions[1]:.4f} true")
    header = ["constant", "median, generated", "median, true", f"difference, % (bar {BAR})", "sd", "sd, true"]
    print(table(header, [[f"{cell:.2g}" if isinstance(cell, float) else cell for cell in row] for row in rows]))


if __name__ == "__main__":
    torch.set_num_threads(2)
    main()
