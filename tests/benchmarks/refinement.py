"""Ways from latents to voxels, all from the same sampled latents: which measures best?

    python -m tests.benchmarks.refinement --count 16
    python -m tests.benchmarks.refinement --count 2 --ways interpolated "sdedit 100"        # two minutes

Interpolated decode alone; rounds of encoding and decoding along the three axes (MicroLad: five); SDEdit at full depth,
one or two passes from several trained times; SDEdit whose planes join and whose lattice is offset. Beside them the
published decode, each plane copied over its slab. The first phase is judged against disjoint blocks of the tomogram's
unseen part by surface area, lineal path, Euler number and diffusivity together: the score is the root mean square of
their relative errors, the Euler number's in units of the true blocks' standard deviation. Diffusivity: over the natural
power law of the true blocks at each volume's own fraction; volumes that do not percolate count as 0.
"""

import argparse
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from engine.descriptors.discrepancy import relative_area
from engine.descriptors.euler import euler_number_density
from engine.descriptors.lineal_path import lineal_path
from engine.descriptors.surface import surface_area
from engine.design import sample_latents
from engine.evaluation.null import blocks
from engine.evaluation.seams import rhythm_trace
from engine.models.bundle import Bundle, load_bundle
from engine.models.inference import Inference
from engine.properties.transport import solve
from engine.sampling.multiplane import Noise
from engine.sampling.planes import to_planes, to_volume
from engine.sampling.refine import decode_volume, refine
from tests.benchmarks.common import machine, table
from tests.benchmarks.materials import DATA, MATERIALS

LAGS = 32


@dataclass(frozen=True)
class Way:
    """From interpolated decode on."""

    times: tuple[float, ...] = ()
    """Trained times (of 1,000) of SDEdit passes."""
    rounds: int = 0
    joined: bool = False
    copied: bool = False
    """Planes copied over their slabs instead of interpolated."""


WAYS = {
    "slabs copied": Way(copied=True),
    "slabs copied, 5 rounds (MicroLad)": Way(copied=True, rounds=5),
    "interpolated": Way(),
    "1 round": Way(rounds=1),
    "5 rounds": Way(rounds=5),
    "sdedit 50": Way(times=(50,)),
    "sdedit 100": Way(times=(100,)),
    "sdedit 150": Way(times=(150,)),
    "sdedit 100, 50": Way(times=(100, 50)),
    "sdedit 150, 75": Way(times=(150, 75)),
    "sdedit 100, joined and offset": Way(times=(100,), joined=True),
    "sdedit 100, 50, joined and offset": Way(times=(100, 50), joined=True),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--material", choices=["berea", "nmc-cathode"], default="berea")
    parser.add_argument("--bundle", help="default: the material's name")
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--count", type=int, default=16)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--ways", nargs="+", default=list(WAYS), choices=list(WAYS), metavar="WAY")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("runs/benchmarks"))
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(arguments.threads)
    bundle = load_bundle(arguments.bundle or arguments.material, arguments.device)
    inference = Inference(bundle)
    whole = MATERIALS[arguments.material].judging(arguments.data) == 0
    true = [measured(block) for block in blocks(whole, arguments.size)]
    law = natural_law(true)
    name = f"refinement-{bundle.card.name}-{bundle.card.hash[:8]}-{arguments.size}-{arguments.count}-{arguments.seed}"
    file = arguments.out / f"{name}.json"
    known: dict[str, list[dict[str, Any]]] = json.loads(file.read_text()) if file.exists() else {}
    seeds = [arguments.seed * 1_000_000 + i for i in range(arguments.count)]
    side, latents = arguments.size, []
    for seed in seeds:  # one by one, to be found again whatever the count
        noise = Noise([seed], bundle.device)
        latents.append(sample_latents(bundle, inference, (side, side, side), bundle.calibration.numbers, noise))
    rows: list[list[object]] = []
    for label in arguments.ways:
        if label not in known:
            known[label] = [one(WAYS[label], bundle, inference, some, seed)
                            for some, seed in zip(latents, seeds, strict=True)]  # fmt: skip
            file.write_text(json.dumps(known))
        rows.append([label, *judged(known[label], true, law)])
        print(*rows[-1], sep=" | ", flush=True)
    print(machine())
    print(f"{bundle.card.name} {bundle.card.hash[:12]}, {arguments.count} volumes, {len(true)} true blocks")
    header = ["way", "fraction", "surface %", "lineal path %", "Euler, true sd", "diffusivity / law", "percolate"]
    print(table([*header, "rhythm %", "score", "s/volume"], sorted(rows, key=lambda row: float(str(row[8])))))


def one(way: Way, bundle: Bundle, inference: Inference, latents: Tensor, seed: int) -> dict[str, Any]:
    started = time.perf_counter()
    noise = Noise([seed + 500_000], bundle.device)
    if way.copied:
        soft = copied(latents, inference)
    else:
        soft = decode_volume(latents, inference, bundle.calibration.neighbour_correlation)
    levels = [bundle.schedule.abar_at(t * bundle.schedule.timesteps / 1_000) for t in way.times] + [1.0] * way.rounds
    soft = refine(soft, inference, inference.denoise, levels, noise, border=inference.border(way.joined))
    seconds = time.perf_counter() - started
    labels = soft[0].argmax(dim=0).cpu().numpy().astype(np.uint8)
    rhythm = rhythm_trace([labels], bundle.factor).size if bundle.factor > 1 else 0.0
    return measured(labels == 0) | {"seconds": seconds, "rhythm": rhythm}


def copied(latents: Tensor, inference: Inference) -> Tensor:
    """Each latent plane decoded once and copied over its slab, the three axes averaged (MicroLad)."""
    out: Tensor | None = None
    for axis in range(3):
        planes = to_volume(inference.decode(to_planes(latents, axis)), axis, latents.shape[0])
        slabs = planes.repeat_interleave(inference.factor, dim=2 + axis)
        out = slabs if out is None else out + slabs
    assert out is not None
    return out / 3


def measured(mask: np.ndarray) -> dict[str, Any]:
    """Of one phase of a volume; the diffusivities are our own solver's, 0 where it does not percolate."""
    soft = torch.from_numpy(mask).float().unsqueeze(0)
    return {
        "fraction": float(mask.mean()),
        "surface": float(surface_area(mask)),
        "lineal": lineal_path(mask, LAGS).mean(axis=0).tolist(),
        "euler": float(euler_number_density(mask)),
        "diffusivity": [float(solve(soft, axis, tolerance=1e-3).value) for axis in range(3)],
    }


def natural_law(true: list[dict[str, Any]]) -> np.ndarray:
    """log diffusivity by log fraction, of the blocks and axes that percolate."""
    pairs = [(each["fraction"], value) for each in true for value in each["diffusivity"] if value > 0]
    x, y = np.log(np.array(pairs)).T
    return np.polyfit(x, y, 1)


def judged(found: list[dict[str, Any]], true: list[dict[str, Any]], law: np.ndarray) -> list[str]:
    def mean(some: list[dict[str, Any]], name: str) -> np.ndarray:
        return np.mean([each[name] for each in some], axis=0)

    def ratio(some: list[dict[str, Any]]) -> float:
        natural = np.exp(np.polyval(law, np.log([each["fraction"] for each in some])))
        return float(mean(some, "diffusivity").mean() / natural.mean())  # those that do not percolate count as 0

    surface = float(mean(found, "surface") / mean(true, "surface")) - 1
    lineal = float(relative_area(mean(found, "lineal"), mean(true, "lineal")))
    spread = float(np.std([each["euler"] for each in true], ddof=1))
    euler = float(mean(found, "euler") - mean(true, "euler")) / spread
    diffusivity = ratio(found) / ratio(true)
    score = float(np.sqrt(np.mean(np.square([surface, lineal, euler, diffusivity - 1]))))
    return [
        f"{mean(found, 'fraction'):.4f}",
        f"{100 * surface:+.1f}",
        f"{100 * lineal:.1f}",
        f"{euler:+.2f}",
        f"{diffusivity:.2f}",
        f"{np.mean([value > 0 for each in found for value in each['diffusivity']]):.2f}",
        f"{100 * mean(found, 'rhythm'):.1f}",
        f"{score:.3f}",
        f"{mean(found, 'seconds'):.1f}",
    ]


if __name__ == "__main__":
    main()
