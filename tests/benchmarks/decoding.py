"""What latents can hold: true blocks encoded, decoded and measured, nothing sampled.

    python -m tests.benchmarks.decoding --material nmc-cathode --count 6

Blocks of 64 voxels cubed of the part that trains. Either their planes across one axis are encoded and decoded, all of
them, by one axis or with the mean of the three; or, as volumes are, from a cube of latents with its planes
interpolated, and their phases drawn. Columns: by how much fraction, interfaces crossed along z, y and x, and lineal
path are off, by phase.

Last, how well the probabilities of the cubes of latents tell the true phases when they are taken to a power: the mean
of the negative logarithm over the inner voxels (the blocks are no torus, and decoding takes them for one).
"""

import argparse
from pathlib import Path

import torch
from torch import Tensor

from engine.calibrate import Statistics, volume_statistics
from engine.descriptors.discrepancy import relative_area
from engine.evaluation.null import blocks
from engine.guidance.newton import logits
from engine.micrographs.crops import one_hot
from engine.models.bundle import load_bundle
from engine.models.inference import Inference
from engine.sampling.draw import SURER, Draw
from engine.sampling.multiplane import Noise
from engine.sampling.planes import to_planes, to_volume
from engine.sampling.refine import decode_volume
from tests.benchmarks.common import machine, table
from tests.benchmarks.materials import DATA, MATERIALS
from tests.benchmarks.throats import SIDE, true_latents

EDGE = 8
POWERS = (1.0, 1.2, 1.4, 1.5, 1.6, 1.8, 2.0, 2.5)


def row(way: str, phase: str, k: int, found: Statistics, true: Statistics) -> list[object]:
    """Of phase number k."""
    lineal = [float(relative_area(ours, wanted)) for ours, wanted in zip(found.lineal[k], true.lineal[k], strict=True)]
    fraction, surface = found.fraction[k] / true.fraction[k] - 1, found.surface[k] / true.surface[k] - 1
    return [
        phase,
        way,
        f"{fraction:+.1%}",
        "; ".join(f"{each:+.1%}" for each in surface),
        "; ".join(f"{each:.1%}" for each in lineal),
    ]


def surprise(soft: Tensor, cubes: Tensor, power: float) -> float:
    """Mean negative log-likelihood of the true phases [N, D, H, W], nats per inner voxel; soft [N, K, D, H, W]."""
    inner = slice(EDGE, SIDE - EDGE)
    powered = power * logits(soft[:, :, inner, inner, inner])
    return float(torch.nn.functional.cross_entropy(powered, cubes[:, inner, inner, inner]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--material", choices=[name for name in MATERIALS if name != "sofc-anode"], required=True)
    parser.add_argument("--bundle", help="name or path, where not the one that ships")
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--count", type=int, default=6)
    parser.add_argument("--lengths", type=float, nargs="*", default=[1.5, 2.5], help="of draws, voxels")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    material = MATERIALS[arguments.material]
    bundle = load_bundle(arguments.bundle or arguments.material)
    inference, phases = Inference(bundle), len(material.phases)
    cubes = blocks(material.training(arguments.data), SIDE)[: arguments.count]

    hot = one_hot(torch.from_numpy(cubes).long().flatten(0, 1), phases).unflatten(0, cubes.shape[:2]).movedim(2, 1)
    by_axis = [
        to_volume(inference.decode(inference.encode(to_planes(hot, axis))), axis, len(cubes)) for axis in range(3)
    ]
    latents = true_latents(cubes, inference, phases)
    ways: dict[str, Tensor] = {f"planes across {name}": soft for name, soft in zip("zyx", by_axis, strict=True)}
    ways["mean of the three"] = torch.stack(by_axis).mean(dim=0)
    ways["cube of latents"] = decode_volume(latents, inference, bundle.calibration.neighbour_correlation)
    for length in arguments.lengths:
        draw = Draw((phases, SIDE, SIDE, SIDE), length, Noise(list(range(len(cubes)))))
        ways[f"drawn, {length:g}"] = draw(ways["cube of latents"].clone(), surer=SURER)

    true = volume_statistics(list(cubes), phases, by_axis=True)
    found = {
        way: volume_statistics(list(soft.argmax(dim=1).to(torch.uint8).numpy()), phases, by_axis=True)
        for way, soft in ways.items()
    }
    rows = [row(way, name, k, each, true) for k, name in enumerate(material.phases) for way, each in found.items()]
    print(machine())
    print(f"{bundle.card.name} {bundle.card.hash[:12]}, {len(cubes)} blocks")
    print(table(["phase", "decoded", "fraction", "interfaces along z; y; x", "lineal path along z; y; x"], rows))
    soft, indices = ways["cube of latents"], torch.from_numpy(cubes).long()
    print(table(["power", "nats per voxel"], [[power, f"{surprise(soft, indices, power):.4f}"] for power in POWERS]))


if __name__ == "__main__":
    main()
