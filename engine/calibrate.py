"""Calibration of a trained bundle: what sampling in 3D needs to know, measured on 2D training data and on volumes.

First the statistics of the latents (autocovariance, the network's mean error, composition), then the numbers of the
sampler, chosen by generated volumes against the 2D statistics of the training data. No 3D truth is used.

Shapes: `M` crops, `C` latent channels, `K` phases, `R` lags in voxels.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from engine.descriptors.lineal_path import lineal_path
from engine.descriptors.surface import surface_area
from engine.descriptors.two_point import directional_s2
from engine.design import refine_levels, sample_latents
from engine.micrographs.crops import CropSampler, one_hot
from engine.micrographs.micrograph import Micrographs
from engine.models.bundle import Bundle
from engine.models.inference import Inference
from engine.sampling.composition import Composition, fit_composition
from engine.sampling.multiplane import Calibration, Noise, SamplerNumbers
from engine.sampling.refine import decode_volume, refine
from engine.sampling.spectra import radial_autocovariance

TAPER = 13.0  # latent pixels: below half of the 16 of a crop, so that the autocovariance ends inside what was seen
ERROR_TIMES = (30, 60, 100, 150, 200, 300, 400, 500, 600, 700, 800, 900, 960, 999)
LAGS = 32


@dataclass(frozen=True, kw_only=True)
class Statistics:
    """What a set of micrographs or volumes looks like; everything a 2D image shows of an isotropic material."""

    fraction: NDArray[np.float64]
    """[K] mean."""
    surface: NDArray[np.float64]
    """[K] specific surface area, 1/voxel."""
    s2: NDArray[np.float64]
    """[K, R]."""
    lineal: NDArray[np.float64]
    """[K, R]."""


def latent_statistics(
    inference: Inference, crops: CropSampler, phases: int, seed: int, count: int
) -> tuple[Calibration, Composition]:
    """Autocovariance, mean error per noise level and composition, from training crops."""
    rng = np.random.default_rng([seed, 2])
    noise = torch.Generator().manual_seed(seed)
    hot = one_hot(crops.draw(count, rng), phases).to(inference.device)
    latents = inference.encode(hot)  # [M, C, h, w]
    mean = latents.mean(dim=(0, 2, 3))
    autocovariance = radial_autocovariance((latents - mean[:, None, None]).cpu(), TAPER)
    composition = fit_composition(latents.cpu(), hot.mean(dim=(2, 3)).cpu())
    levels = [inference.schedule.abar_at(t * inference.schedule.timesteps / 1_000) for t in reversed(ERROR_TIMES)]
    errors = []
    for abar in levels:
        epsilon = torch.randn(latents.shape, generator=noise).to(latents)
        clean = inference.denoise(math.sqrt(abar) * latents + math.sqrt(1 - abar) * epsilon, abar)
        errors.append(_mean_error(clean.mean(dim=(2, 3)), latents.mean(dim=(2, 3)), mean))
    log_snr = torch.tensor([math.log(abar / (1 - abar)) for abar in levels])
    calibration = Calibration(
        autocovariance=autocovariance, error_log_snr=log_snr, error_mean=torch.stack(errors).cpu()
    )
    return calibration, composition


def _mean_error(estimate: Tensor, truth: Tensor, mean: Tensor) -> Tensor:
    """Mean of (estimate - truth) per channel, with the truth as control variate: at high noise nearly all of the
    scatter of the plain mean is that of the crops themselves.

    Args: estimate, truth [M, C] crop means; mean [C] of the truth. Returns [C].
    """
    centred = truth - truth.mean(dim=0)
    slope = (centred * (estimate - estimate.mean(dim=0))).sum(dim=0) / centred.square().sum(dim=0)
    return estimate.mean(dim=0) - slope * (truth.mean(dim=0) - mean) - mean


def image_statistics(micrographs: Micrographs) -> Statistics:
    """Of the training data: in-plane statistics; along all axes for a volume (each axis lies in two planes)."""
    return _average([_statistics(array, len(micrographs.phases)) for array in micrographs.arrays])


def volume_statistics(volumes: Sequence[NDArray[np.uint8]], phases: int) -> Statistics:
    """Of generated volumes of phase indices."""
    return _average([_statistics(volume, phases) for volume in volumes])


def _statistics(array: NDArray[np.uint8], phases: int) -> Statistics:
    masks = [array == k for k in range(phases)]
    dims, lags = array.ndim, min(LAGS, *array.shape)
    return Statistics(
        fraction=np.array([mask.mean() for mask in masks]),
        surface=np.array([float(surface_area(mask, space_dims=dims)) for mask in masks]),
        s2=np.stack([directional_s2(mask, lags, space_dims=dims).numpy().mean(axis=0) for mask in masks]),
        lineal=np.stack([lineal_path(mask, lags, space_dims=dims).mean(axis=0) for mask in masks]),
    )


def _average(parts: Sequence[Statistics]) -> Statistics:
    lags = min(part.s2.shape[1] for part in parts)
    return Statistics(
        fraction=np.mean([part.fraction for part in parts], axis=0),
        surface=np.mean([part.surface for part in parts], axis=0),
        s2=np.mean([part.s2[:, :lags] for part in parts], axis=0),
        lineal=np.mean([part.lineal[:, :lags] for part in parts], axis=0),
    )


def mismatch(found: Statistics, wanted: Statistics) -> dict[str, float]:
    """Relative errors of the worst phase: fraction and surface area (signed), S2 and lineal path (areas)."""

    def worst(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
        relative = a / b - 1
        return float(relative[np.abs(relative).argmax()])

    def curve(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
        lags = min(a.shape[1], b.shape[1])
        a, b = a[:, :lags], b[:, :lags]
        return float((np.abs(a - b).sum(axis=1) / b.sum(axis=1)).max())

    return {
        "fraction": worst(found.fraction, wanted.fraction),
        "surface_area": worst(found.surface, wanted.surface),
        "s2": curve(found.s2, wanted.s2),
        "lineal_path": curve(found.lineal, wanted.lineal),
    }


def sample_indices(
    bundle: Bundle,
    inference: Inference,
    numbers: SamplerNumbers,
    seeds: Sequence[int],
    side: int = 64,
    batch: int = 8,
    sampler: str = "spectral",
) -> list[NDArray[np.uint8]]:
    """Unguided cubes of phase indices."""
    out: list[NDArray[np.uint8]] = []
    with torch.no_grad():
        for start in range(0, len(seeds), batch):
            noise = Noise(seeds[start : start + batch], bundle.device)
            latents = sample_latents(bundle, inference, (side, side, side), numbers, noise, sampler)
            soft = decode_volume(latents, inference)
            soft = refine(soft, inference, inference.denoise, refine_levels(bundle, numbers), noise)
            out += list(soft.argmax(dim=1).to(torch.uint8).cpu().numpy())
    return out


CANDIDATES: tuple[dict[str, Any], ...] = (
    {},
    {"snr_height": 1.15},
    {"snr_height": 1.3},
    {"snr_height": 1.45},
)
SECOND: tuple[dict[str, Any], ...] = (
    {"snr_from": 500.0, "snr_to": 100.0},
    {"eta": 0.3},
    {"eta": 0.7},
    {"zero_mode": False},
)


def choose_numbers(
    bundle: Bundle,
    inference: Inference,
    wanted: Statistics,
    seed: int,
    count: int = 16,
    known: Sequence[dict[str, Any]] = (),
    on_step: Callable[[int, int, list[dict[str, Any]]], None] | None = None,
) -> tuple[SamplerNumbers, list[dict[str, Any]]]:
    """Pick the sampler's numbers: first the SNR height, then one change at a time that improves the score.

    Args:
        known: entries of a curve measured before the run was interrupted; they are not measured again.
        on_step: called after each candidate with (candidates done, candidates in all, curve so far).

    Returns:
        the numbers and the curve: every candidate with its mismatch and score.
    """
    phases, total = len(bundle.card.phases), len(CANDIDATES) + len(SECOND)
    curve: list[dict[str, Any]] = []

    def score(numbers: SamplerNumbers) -> float:
        for entry in known:
            if all(entry[name] == value for name, value in asdict(numbers).items()):
                curve.append(entry)
                return float(entry["score"])
        volumes = sample_indices(bundle, inference, numbers, [seed * 1_000 + i for i in range(count)])
        errors = mismatch(volume_statistics(volumes, phases), wanted)
        # Root mean square of the four, so that no single one can be bought with the others.
        value = math.sqrt(sum(error**2 for error in errors.values()) / len(errors))
        curve.append({**asdict(numbers), **errors, "score": value})
        if on_step is not None:
            on_step(len(curve), total, curve)
        return value

    start = bundle.calibration.numbers
    options = [replace(start, **change) for change in CANDIDATES]
    scores = [score(option) for option in options]
    best, best_score = options[int(np.argmin(scores))], min(scores)
    for change in SECOND:
        option = replace(best, **change)
        value = score(option)
        if value < best_score:
            best, best_score = option, value
    return best, curve
