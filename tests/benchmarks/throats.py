"""Where on its way down the noise does sampling lose the throats between pores?

    python -m tests.benchmarks.throats --count 12 --times 100 200 300 450 600
    python -m tests.benchmarks.throats --count 2 --times 100                # a minute

Latents of true blocks (mean of the three axes' encodings) are noised to a time of training and sampled down from there
as volumes are, in steps of `--step` trained times; two more rows begin with noise alone, in the bundle's own steps, its
planes taken one axis at a time or all at once with lines and points. The first phase's diffusivity is held against the
natural power law of the true blocks at each volume's own fraction; blocks that do not percolate count as 0. Beside it
the network's mean squared error on the planes of the result, noised to time 100: planes that it knows as natural have
that of the true ones. Blocks of the training part; the last row of the table is the blocks as they are.
"""

import argparse
import copy
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from engine.descriptors.surface import surface_area
from engine.design import fusion, sample_latents
from engine.evaluation.null import blocks
from engine.micrographs.crops import one_hot
from engine.models.bundle import Bundle, load_bundle
from engine.models.inference import Inference
from engine.properties.transport import solve
from engine.sampling.moments import MomentMatching
from engine.sampling.multiplane import ROLL, Noise, rolled
from engine.sampling.planes import to_planes
from engine.sampling.refine import decode_volume
from engine.sampling.solvers import make_solver
from engine.sampling.spectra import volume_spectrum
from tests.benchmarks.common import machine, table
from tests.benchmarks.materials import DATA, MATERIALS

SIDE, PROBED = 64, 100.0


def true_latents(cubes: NDArray[np.uint8], inference: Inference, phases: int) -> Tensor:
    """Mean of what the planes across each axis say, read between the two middle planes of each latent one:
    [N, D, H, W] -> [N, C, d, h, w]."""
    hot = one_hot(torch.from_numpy(cubes).long().flatten(0, 1), phases)
    hot = hot.reshape(len(cubes), -1, *hot.shape[1:]).movedim(2, 1)  # [N, K, D, H, W]
    total, middle = torch.zeros(()), inference.factor // 2
    for axis in range(3):
        planes = inference.encode(to_planes(hot, axis))  # [N n, C, h, w]
        split = planes.reshape(len(cubes), -1, inference.factor, *planes.shape[1:])
        total = total + split[:, :, middle - 1 : middle + 1].mean(dim=2).movedim(1, 2 + axis)
    return total / 3


def sampled_down(latents: Tensor, start: float, step: float, bundle: Bundle, inference: Inference) -> Tensor:
    """Noised to time `start` and brought back by the bundle's sampler, its moments matched anew."""
    calibration, shape = bundle.calibration, tuple(latents.shape[1:])
    noise = Noise(list(range(len(latents))))
    space = (shape[1], shape[2], shape[3])
    denoise = fusion(bundle, inference, space, calibration.numbers, inference.denoise)
    power = volume_spectrum(calibration.autocovariance, space).float()
    matching = MomentMatching(power, torch.zeros(shape[0]), side=bundle.card.latent_crop, by_axis=calibration.by_axis)
    times = np.linspace(start, 0, max(2, round(start / step) + 1)) * bundle.schedule.timesteps / 1_000
    levels = [bundle.schedule.abar_at(float(time)) for time in times] + [1.0]
    solver = make_solver(calibration.numbers.solver, calibration.numbers.eta)
    x = levels[0] ** 0.5 * latents + (1 - levels[0]) ** 0.5 * noise(shape)
    for i, (abar, following) in enumerate(pairwise(levels)):
        turned = rolled(denoise, [[i * pixels for pixels in ROLL]] * len(x))
        fresh = noise(shape) if solver.stochastic and following < 1 else None
        x = solver.step(x, turned(x, i % 3, abar), abar, following, fresh)
        x = matching(x, (i + 1) / len(times), following)
    return x


def from_noise(count: int, together: bool, bundle: Bundle, inference: Inference) -> Tensor:
    """Volumes of the bundle's sampler, their moments matched anew; `together` with planes of all axes at once."""
    calibration, side = bundle.calibration, SIDE // bundle.factor
    used = bundle if together else copy.copy(bundle)
    used.calibration = replace(calibration, points=calibration.points if together else None)
    power = volume_spectrum(calibration.autocovariance, (side, side, side)).float()
    matching = MomentMatching(power, torch.zeros(len(power)), side=bundle.card.latent_crop, by_axis=calibration.by_axis)
    noise = Noise(list(range(count)))
    return sample_latents(used, inference, (SIDE, SIDE, SIDE), calibration.numbers, noise, after_step=matching)


def measured(masks: NDArray[np.bool_]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Fraction [N] and diffusivity along each axis [N, 3]."""
    soft = torch.from_numpy(masks).float()
    found = np.stack([solve(soft, axis, tolerance=1e-3).value.numpy() for axis in range(3)], axis=1)
    return masks.mean(axis=(1, 2, 3)), found


def plane_error(latents: Tensor, bundle: Bundle, inference: Inference) -> float:
    """Mean squared error of the clean estimate of the latents' planes, all axes, noised to time `PROBED`."""
    planes = torch.cat([to_planes(latents, axis) for axis in range(3)])
    abar = bundle.schedule.abar_at(PROBED * bundle.schedule.timesteps / 1_000)
    fresh = torch.randn(planes.shape, generator=torch.Generator().manual_seed(0))
    noisy = abar**0.5 * planes + (1 - abar) ** 0.5 * fresh
    return float((inference.denoise(noisy, abar) - planes).square().mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", default="berea")
    parser.add_argument("--material", choices=MATERIALS, default="berea")
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--count", type=int, default=12)
    parser.add_argument("--times", type=float, nargs="+", default=[100, 200, 300, 450, 600])
    parser.add_argument("--step", type=float, default=20.0)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    bundle = load_bundle(arguments.bundle)
    inference, material = Inference(bundle), MATERIALS[arguments.material]
    cubes = blocks(material.training(arguments.data), SIDE)
    cubes = cubes[np.random.default_rng(0).permutation(len(cubes))]
    fraction, diffusivity = measured(cubes == 0)
    percolates = diffusivity > 0
    exponent, height = np.polyfit(
        np.log(np.repeat(fraction[:, None], 3, axis=1)[percolates]), np.log(diffusivity[percolates]), 1
    )
    latents = true_latents(cubes[: arguments.count], inference, len(bundle.card.phases))

    def row(name: str, found: Tensor | None) -> list[object]:
        masks = cubes[: arguments.count] == 0
        if found is not None:
            correlations = bundle.calibration.neighbour_correlation
            masks = decode_volume(found, inference, correlations).argmax(dim=1).numpy() == 0
        share, values = measured(masks)
        ratio = values / (np.exp(height) * share[:, None] ** exponent)
        error = "" if found is None else f"{plane_error(found, bundle, inference):.4f}"
        scatter = ratio.mean(axis=1).std() / len(ratio) ** 0.5
        return [
            name,
            f"{np.median(ratio):.2f}",
            f"{ratio.mean():.2f} ± {scatter:.2f}",
            f"{(values > 0).mean():.2f}",
            f"{surface_area(masks).mean():.4f}",
            f"{share.mean():.4f}",
            error,
        ]

    rows = [
        row(f"{time:g}", sampled_down(latents, time, arguments.step, bundle, inference)) for time in arguments.times
    ]
    rows.append(row("noise, axis by axis", from_noise(arguments.count, False, bundle, inference)))
    if bundle.lines is not None:
        rows.append(row("noise, planes, lines, points", from_noise(arguments.count, True, bundle, inference)))
    rows += [row("latents decoded", latents), row("true blocks", None)]
    print(machine())
    print(f"{bundle.card.name} {bundle.card.hash[:12]}; natural law {np.exp(height):.3f} f^{exponent:.2f}")
    header = ["from time", "D / natural, median", "mean", "percolate", "surface", "fraction", "error of planes"]
    print(table(header, rows))


if __name__ == "__main__":
    main()
